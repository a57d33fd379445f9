//! Sandboxes as descriptions. What happens to one is told by whoever runs it.

use super::{Extensions, Meta, change_extensions, change_labels, check_extensions, new_labels};
use gantry_core::gc::{Facts, Kind, Node};
use gantry_core::meta::{Any, Change, RuntimeChoice, Sandbox};
use gantry_core::{ContainerId, Error, Labels, Namespace, Result};
use gantry_store::Batch;
use serde::{Deserialize, Serialize};
use std::time::SystemTime;

#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub struct Record(Sandbox);

impl gantry_store::Record for Record {
    type Key = (Namespace, ContainerId);
    const TABLE: &'static str = "sandboxes";
    const VERSION: u16 = 1;

    /// A sandbox keeps what its labels name.
    fn facts(&self, (ns, id): &Self::Key) -> Option<Facts> {
        Some(Facts {
            node: Node::new(ns, Kind::Holder("sandbox"), id.as_str()),
            root: true,
            needs: Vec::new(),
            labels: self.0.labels.clone(),
        })
    }
}

/// What changes in a sandbox; none leaves a field as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SandboxUpdate {
    pub labels: Option<Change<Labels>>,
    pub spec: Option<Option<Any>>,
    pub extensions: Option<Change<Extensions>>,
    /// Its options may change, its name not.
    pub runtime: Option<RuntimeChoice>,
    /// Cannot change: refused if it is another one.
    pub sandboxer: Option<String>,
}

impl Meta {
    /// By id.
    pub async fn sandboxes(&self, ns: &Namespace) -> Result<Vec<Sandbox>> {
        let ns = ns.clone();
        self.run(move |meta| {
            let all = meta.store.scan::<Record>(&ns)?;
            Ok(all.into_iter().map(|(_, Record(sandbox))| sandbox).collect())
        })
        .await
    }

    pub async fn sandbox(&self, ns: &Namespace, id: &ContainerId) -> Result<Sandbox> {
        let key = (ns.clone(), id.clone());
        self.run(move |meta| meta.find_sandbox(&key)).await
    }

    fn find_sandbox(&self, key: &(Namespace, ContainerId)) -> Result<Sandbox> {
        let found = self.store.get::<Record>(key)?;
        found.map(|Record(sandbox)| sandbox).ok_or_else(|| {
            let (ns, id) = key;
            Error::not_found(format!("sandbox \"{id}\" in namespace \"{ns}\": not found"))
        })
    }

    /// Its times are set here. Answers it as it is kept.
    pub async fn create_sandbox(&self, ns: &Namespace, sandbox: Sandbox) -> Result<Sandbox> {
        let ns = ns.clone();
        self.run(move |meta| {
            let now = SystemTime::now();
            check_extensions(&sandbox.extensions)?;
            let mut sandbox = Sandbox {
                labels: new_labels(sandbox.labels)?,
                created_at: now,
                updated_at: now,
                ..sandbox
            };
            sandbox.extensions.retain(|_, value| *value != Any::default());
            let key = (ns, sandbox.id.clone());
            let _claim = meta.claim("sandbox", &key.0, key.1.as_str())?;
            if meta.store.contains::<Record>(&key)? {
                return Err(Error::exists(format!("sandbox \"{}\": already exists", key.1)));
            }
            meta.put_sandbox(&key, sandbox)
        })
        .await
    }

    /// Answers it as it is afterwards.
    pub async fn update_sandbox(&self, ns: &Namespace, id: &ContainerId, update: SandboxUpdate) -> Result<Sandbox> {
        let key = (ns.clone(), id.clone());
        self.run(move |meta| {
            let _claim = meta.claim("sandbox", &key.0, key.1.as_str())?;
            let mut sandbox = meta.find_sandbox(&key)?;
            change(&mut sandbox, update)?;
            sandbox.updated_at = SystemTime::now();
            meta.put_sandbox(&key, sandbox)
        })
        .await
    }

    fn put_sandbox(&self, key: &(Namespace, ContainerId), sandbox: Sandbox) -> Result<Sandbox> {
        let record = Record(sandbox);
        let mut batch = Batch::new();
        batch.put(key, &record)?;
        self.commit(&key.0, batch, None)?;
        Ok(record.0)
    }

    /// Deletes the description; what runs is not touched.
    pub async fn delete_sandbox(&self, ns: &Namespace, id: &ContainerId) -> Result<()> {
        let key = (ns.clone(), id.clone());
        self.run(move |meta| {
            let _claim = meta.claim("sandbox", &key.0, key.1.as_str())?;
            meta.find_sandbox(&key)?;
            let mut batch = Batch::new();
            batch.delete::<Record>(&key);
            meta.commit(&key.0, batch, None)
        })
        .await
    }
}

fn change(sandbox: &mut Sandbox, update: SandboxUpdate) -> Result<()> {
    if update.sandboxer.is_some_and(|name| name != sandbox.sandboxer) {
        return Err(Error::invalid("sandbox.Sandboxer field is immutable: invalid argument"));
    }
    if let Some(runtime) = update.runtime {
        if runtime.name != sandbox.runtime.name {
            return Err(Error::invalid(
                "sandbox.Runtime.Name field is immutable: invalid argument",
            ));
        }
        sandbox.runtime = runtime;
    }
    change_labels(&mut sandbox.labels, update.labels)?;
    change_extensions(&mut sandbox.extensions, update.extensions)?;
    if let Some(spec) = update.spec {
        sandbox.spec = spec;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{any, labels, ns, room};
    use super::*;
    use gantry_core::ErrorKind;

    fn sandbox(id: &str) -> Sandbox {
        Sandbox {
            id: ContainerId::new(id).unwrap(),
            labels: labels(&[("a", "1"), ("none", "")]),
            runtime: RuntimeChoice {
                name: "io.containerd.runc.v2".to_owned(),
                options: None,
            },
            spec: Some(any("spec")),
            created_at: SystemTime::UNIX_EPOCH,
            updated_at: SystemTime::UNIX_EPOCH,
            extensions: Extensions::from([("e".to_owned(), any("x"))]),
            sandboxer: "shim".to_owned(),
        }
    }

    #[tokio::test]
    async fn the_five_verbs() {
        let room = room();
        let (meta, one) = (&room.meta, ns("one"));
        let made = meta.create_sandbox(&one, sandbox("pod")).await.unwrap();
        assert_eq!(made.labels, labels(&[("a", "1")]));
        assert!(made.created_at > SystemTime::UNIX_EPOCH);
        let error = meta.create_sandbox(&one, sandbox("pod")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        meta.create_sandbox(&one, sandbox("a")).await.unwrap();
        let all = meta.sandboxes(&one).await.unwrap();
        assert_eq!(all.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), ["a", "pod"]);
        assert!(meta.sandboxes(&ns("two")).await.unwrap().is_empty());

        let update = SandboxUpdate {
            labels: Some(Change::Merge(labels(&[("b", "2")]))),
            extensions: Some(Change::Replace(Extensions::new())),
            runtime: Some(RuntimeChoice {
                options: Some(any("new")),
                ..made.runtime.clone()
            }),
            spec: Some(None),
            sandboxer: Some("shim".to_owned()),
        };
        let after = meta.update_sandbox(&one, &made.id, update).await.unwrap();
        assert_eq!(after.labels, labels(&[("a", "1"), ("b", "2")]));
        assert_eq!(
            (after.runtime.options.clone(), after.spec.clone()),
            (Some(any("new")), None)
        );
        assert!(after.extensions.is_empty());
        for update in [
            SandboxUpdate {
                sandboxer: Some("other".to_owned()),
                ..SandboxUpdate::default()
            },
            SandboxUpdate {
                runtime: Some(RuntimeChoice::default()),
                ..SandboxUpdate::default()
            },
            SandboxUpdate {
                extensions: Some(Change::Merge(Extensions::from([(String::new(), any("x"))]))),
                ..SandboxUpdate::default()
            },
        ] {
            let error = meta.update_sandbox(&one, &made.id, update).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        }
        assert_eq!(meta.sandbox(&one, &made.id).await.unwrap(), after);
        let error = meta.delete_namespace(&one).await.unwrap_err();
        assert!(error.message().contains("still has sandboxes"), "{error}");

        meta.delete_sandbox(&one, &made.id).await.unwrap();
        for error in [
            meta.sandbox(&one, &made.id).await.unwrap_err(),
            meta.delete_sandbox(&one, &made.id).await.unwrap_err(),
            meta.update_sandbox(&one, &made.id, SandboxUpdate::default())
                .await
                .unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::NotFound);
        }
    }

    #[tokio::test]
    async fn a_sandbox_keeps_what_its_labels_name() {
        let room = room();
        let one = ns("one");
        let kept = room.blob(&one, "kept").digest;
        let mut pod = sandbox("pod");
        pod.labels
            .insert("containerd.io/gc.ref.content.x".to_owned(), kept.to_string());
        let pod = room.meta.create_sandbox(&one, pod).await.unwrap();
        room.meta.collect().await.unwrap();
        assert!(room.has_blob(&one, &kept));
        room.meta.delete_sandbox(&one, &pod.id).await.unwrap();
        room.meta.collect().await.unwrap();
        assert!(!room.has_blob(&one, &kept));
    }
}
