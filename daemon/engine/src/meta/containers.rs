//! Containers as descriptions: what is to run, not what runs.

use super::{Extensions, Meta, change_extensions, change_labels, check_extensions, new_labels, own};
use crate::records;
use gantry_core::gc::{Facts, Kind, Node};
use gantry_core::meta::{Any, Change, Container, Happening};
use gantry_core::{ContainerId, Error, Labels, Namespace, Result};
use gantry_store::Batch;
use serde::{Deserialize, Serialize};
use std::time::SystemTime;

#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub struct Record(Container);

impl gantry_store::Record for Record {
    type Key = (Namespace, ContainerId);
    const TABLE: &'static str = "client_containers";
    const VERSION: u16 = 1;

    /// A container keeps its snapshot.
    fn facts(&self, (ns, id): &Self::Key) -> Option<Facts> {
        let container = &self.0;
        let needs = match container.snapshot_key.is_empty() {
            true => Vec::new(),
            false => vec![Node::snapshot(ns, &container.snapshotter, &container.snapshot_key)],
        };
        Some(Facts {
            node: Node::new(ns, Kind::Container, id.as_str()),
            root: true,
            needs,
            labels: container.labels.clone(),
        })
    }
}

/// What changes in a container; none leaves a field as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContainerUpdate {
    pub labels: Option<Change<Labels>>,
    /// `Some(None)` is refused: a container has a spec.
    pub spec: Option<Option<Any>>,
    pub extensions: Option<Change<Extensions>>,
    pub image: Option<String>,
    pub snapshot_key: Option<String>,
    /// Cannot change: refused if it is another one.
    pub snapshotter: Option<String>,
    /// Cannot change: refused if it is another one.
    pub runtime_name: Option<String>,
}

impl Meta {
    /// By id.
    pub async fn containers(&self, ns: &Namespace) -> Result<Vec<Container>> {
        let ns = ns.clone();
        self.run(move |meta| {
            let all = meta.store.scan::<Record>(&ns)?;
            let mut all: Vec<Container> = all.into_iter().map(|(_, Record(container))| container).collect();
            if let Some(own) = &meta.own {
                all.extend(own.all(&meta.store, &ns)?);
                all.sort_by(|one, other| one.id.cmp(&other.id));
            }
            Ok(all)
        })
        .await
    }

    pub async fn container(&self, ns: &Namespace, id: &ContainerId) -> Result<Container> {
        let key = (ns.clone(), id.clone());
        self.run(move |meta| {
            let own = meta.own.as_ref().map(|own| own.find(&meta.store, &key)).transpose()?;
            own.flatten().map_or_else(|| meta.find_container(&key), Ok)
        })
        .await
    }

    fn find_container(&self, key: &(Namespace, ContainerId)) -> Result<Container> {
        let found = self.store.get::<Record>(key)?;
        found.map(|Record(container)| container).ok_or_else(|| {
            let (ns, id) = key;
            Error::not_found(format!("container \"{id}\" in namespace \"{ns}\": not found"))
        })
    }

    /// Its times are set here. Answers it as it is kept.
    pub async fn create_container(&self, ns: &Namespace, container: Container) -> Result<Container> {
        let ns = ns.clone();
        self.run(move |meta| {
            let now = SystemTime::now();
            let mut container = Container {
                labels: new_labels(container.labels)?,
                created_at: now,
                updated_at: now,
                ..container
            };
            check(&container)?;
            container.extensions.retain(|_, value| *value != Any::default());
            let key = (ns, container.id.clone());
            let _claim = meta.claim("client_container", &key.0, key.1.as_str())?;
            // The engine's own containers have bundles and cgroups under the same names.
            if meta.store.contains::<Record>(&key)? || records::is_container(&meta.store, &key)? {
                return Err(Error::exists(format!("container \"{}\": already exists", key.1)));
            }
            let happening = Happening::ContainerCreate {
                id: container.id.to_string(),
                image: container.image.clone(),
                runtime: container.runtime.clone(),
            };
            meta.put_container(&key, container, happening)
        })
        .await
    }

    /// Answers it as it is afterwards.
    pub async fn update_container(
        &self,
        ns: &Namespace,
        id: &ContainerId,
        update: ContainerUpdate,
    ) -> Result<Container> {
        let key = (ns.clone(), id.clone());
        self.run(move |meta| {
            let _claim = meta.claim("client_container", &key.0, key.1.as_str())?;
            own::refuse(&meta.store, &key, "update")?;
            let mut container = meta.find_container(&key)?;
            change(&mut container, update)?;
            check(&container)?;
            container.updated_at = SystemTime::now();
            let happening = Happening::ContainerUpdate {
                id: container.id.to_string(),
                image: container.image.clone(),
                labels: container.labels.clone(),
                snapshot_key: container.snapshot_key.clone(),
            };
            meta.put_container(&key, container, happening)
        })
        .await
    }

    fn put_container(
        &self,
        key: &(Namespace, ContainerId),
        container: Container,
        happening: Happening,
    ) -> Result<Container> {
        let record = Record(container);
        let mut batch = Batch::new();
        batch.put(key, &record)?;
        self.commit(&key.0, batch, Some(happening))?;
        Ok(record.0)
    }

    /// Deletes the description; a task that runs is not touched.
    pub async fn delete_container(&self, ns: &Namespace, id: &ContainerId) -> Result<()> {
        let key = (ns.clone(), id.clone());
        self.run(move |meta| {
            let _claim = meta.claim("client_container", &key.0, key.1.as_str())?;
            own::refuse(&meta.store, &key, "delete")?;
            meta.find_container(&key)?;
            let mut batch = Batch::new();
            batch.delete::<Record>(&key);
            let id = key.1.to_string();
            meta.commit(&key.0, batch, Some(Happening::ContainerDelete { id }))
        })
        .await
    }
}

fn change(container: &mut Container, update: ContainerUpdate) -> Result<()> {
    if update.snapshotter.is_some_and(|name| name != container.snapshotter) {
        return Err(Error::invalid(
            "container.Snapshotter field is immutable: invalid argument",
        ));
    }
    if update.runtime_name.is_some_and(|name| name != container.runtime.name) {
        return Err(Error::invalid(
            "container.Runtime.Name field is immutable: invalid argument",
        ));
    }
    change_labels(&mut container.labels, update.labels)?;
    change_extensions(&mut container.extensions, update.extensions)?;
    if let Some(spec) = update.spec {
        container.spec = spec;
    }
    if let Some(image) = update.image {
        container.image = image;
    }
    if let Some(key) = update.snapshot_key {
        container.snapshot_key = key;
    }
    Ok(())
}

fn check(container: &Container) -> Result<()> {
    check_extensions(&container.extensions)?;
    if container.runtime.name.is_empty() {
        return Err(Error::invalid("container.Runtime.Name must be set: invalid argument"));
    }
    if container.spec.is_none() {
        return Err(Error::invalid("container.Spec must be set: invalid argument"));
    }
    if !container.snapshot_key.is_empty() && container.snapshotter.is_empty() {
        return Err(Error::invalid(
            "container.Snapshotter must be set if container.SnapshotKey is set: invalid argument",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
