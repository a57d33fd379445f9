//! List: published state only, so that no container can make it wait.

use crate::Engine;
use crate::filters::{Filters, Patterns};
use crate::gate::blocking;
use crate::image;
use crate::keeper::Keeper;
use crate::network::plan::{self, exposed_ports};
use gantry_core::container::{ContainerRecord, NetworkMode};
use gantry_core::health::HealthStatus;
use gantry_core::lifecycle::State;
use gantry_core::network::Port;
use gantry_core::snapshot::SnapshotService;
use gantry_core::volume::MountPoint;
use gantry_core::{Digest, Error, ErrorKind, Result};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::SystemTime;
use tracing::warn;

const KNOWN: &[&str] = &[
    "ancestor", "before", "exited", "expose", "health", "id", "label", "name", "network", "publish", "since", "status",
    "volume",
];

const STATES: &[&str] = &[
    "created",
    "running",
    "paused",
    "restarting",
    "removing",
    "exited",
    "dead",
];
const HEALTHS: &[&str] = &["none", "starting", "healthy", "unhealthy"];

#[derive(Debug, Clone, Default)]
pub struct ListContainers {
    /// Those that do not run too.
    pub all: bool,
    /// The newest so many in any state; 0 = no limit.
    pub limit: usize,
    pub filters: Filters,
    pub size: bool,
}

#[derive(Debug, Clone)]
pub struct Summary {
    pub record: Arc<ContainerRecord>,
    /// The name of its image means another by now, or nothing.
    pub image_left: bool,
    /// By what names others link to it: `linking/alias`.
    pub link_names: Vec<String>,
    pub state: State,
    pub health: Option<HealthStatus>,
    /// Bytes of the writable layer and of the whole tree.
    pub size: Option<(u64, u64)>,
}

/// The filters, read once.
struct Wanted<'a> {
    filters: &'a Filters,
    names: Patterns,
    exited: Vec<i32>,
    before: Vec<SystemTime>,
    since: Vec<SystemTime>,
    /// Ids of the images that `ancestor` names; `None` = it was not asked for.
    ancestors: Option<HashSet<Digest>>,
    publish: Vec<Port>,
    expose: Vec<Port>,
}

impl Summary {
    /// Its image as it was written, or the id of what that meant then.
    pub fn image(&self) -> String {
        match self.image_left {
            true => self.record.image_id.to_string(),
            false => self.record.config.image.clone(),
        }
    }
}

impl Engine {
    pub async fn list(&self, request: ListContainers) -> Result<Vec<Summary>> {
        let wanted = self.wanted(&request.filters).await?;
        let status_asked = !request.filters.values("status").is_empty();
        let everything = request.all || request.limit > 0 || status_asked;
        let mut keepers = self.context.registry.all();
        keepers.sort_by_cached_key(|keeper| std::cmp::Reverse(keeper.record().created_at));
        let mut linked = link_names(&keepers);
        let mut rows = Vec::new();
        for keeper in keepers {
            let view = keeper.view();
            let record = keeper.record();
            let state = view.told(&record.host);
            let alive = state.is_running() || matches!(state, State::Restarting { .. });
            let shown = (everything || alive) && state != State::Removed;
            let health = view.health.map(|health| health.status);
            if shown && self.matches(&record, &state, health, &wanted) {
                rows.push(Summary {
                    image_left: false,
                    link_names: linked.remove(record.id.as_str()).unwrap_or_default(),
                    record,
                    health: health.filter(|_| state.is_running()),
                    state,
                    size: None,
                });
            }
            if request.limit > 0 && rows.len() == request.limit {
                break;
            }
        }
        self.name_images(&mut rows).await?;
        match request.size {
            true => self.measured(rows).await,
            false => Ok(rows),
        }
    }

    /// What a listed container has in its networks. Asked for row by row, so that a long list is never held whole with all it has.
    pub fn networks_of(&self, row: &Summary) -> crate::ContainerNetworks {
        self.context.networks.of_container(&row.record, &row.state)
    }

    /// What is mounted in a listed container, with the directories of volumes.
    pub fn points_of(&self, row: &Summary) -> Vec<MountPoint> {
        self.context.volumes.points(&row.record)
    }

    /// Each image is looked for once, however many containers have it. One that cannot be read keeps its name: a list does without.
    async fn name_images(&self, rows: &mut [Summary]) -> Result<()> {
        let mut images: BTreeMap<(&str, &Digest), &Arc<ContainerRecord>> = BTreeMap::new();
        for Summary { record, .. } in rows.iter() {
            images.insert((&record.config.image, &record.image_id), record);
        }
        let distinct: Vec<Arc<ContainerRecord>> = images.into_values().cloned().collect();
        if distinct.is_empty() {
            return Ok(());
        }
        let context = self.context.clone();
        let gone = move || {
            let is_gone = |record: &Arc<ContainerRecord>| {
                let (name, id) = (&record.config.image, &record.image_id);
                !image::find::means(&context, name, id).unwrap_or_else(|error| {
                    warn!(image = name, err = %error, "an image cannot be read and is listed by its name");
                    true
                })
            };
            Ok(distinct.into_iter().filter(is_gone).collect::<Vec<_>>())
        };
        let gone = blocking(gone).await?;
        let gone: BTreeSet<_> = gone
            .iter()
            .map(|record| (&record.config.image, &record.image_id))
            .collect();
        for row in rows {
            row.image_left = gone.contains(&(&row.record.config.image, &row.record.image_id));
        }
        Ok(())
    }

    async fn wanted<'a>(&self, filters: &'a Filters) -> Result<Wanted<'a>> {
        filters.check(KNOWN)?;
        for value in filters.values("status") {
            check_word("status", "state", value, STATES)?;
        }
        for value in filters.values("health") {
            check_word("health", "health", value, HEALTHS)?;
        }
        let created = |key: &str| {
            let of = |name: &String| self.find(name).map(|keeper| keeper.record().created_at);
            filters.values(key).iter().map(of).collect::<Result<Vec<_>>>()
        };
        Ok(Wanted {
            names: filters.patterns("name"),
            exited: codes(filters)?,
            before: created("before")?,
            since: created("since")?,
            ancestors: self.ancestors(filters.values("ancestor")).await?,
            publish: ports(filters, "publish")?,
            expose: ports(filters, "expose")?,
            filters,
        })
    }

    /// A name that leads nowhere is nobody's ancestor.
    async fn ancestors(&self, names: &[String]) -> Result<Option<HashSet<Digest>>> {
        if names.is_empty() {
            return Ok(None);
        }
        let (context, names) = (self.context.clone(), names.to_vec());
        let ids = move || {
            Ok(names
                .iter()
                .filter_map(|name| image::find::id(&context, name).ok())
                .collect())
        };
        blocking(ids).await.map(Some)
    }

    fn matches(&self, record: &ContainerRecord, state: &State, health: Option<HealthStatus>, wanted: &Wanted) -> bool {
        let filters = wanted.filters;
        let over = matches!(
            state,
            State::Exited { .. } | State::Clearing { .. } | State::Dead { .. }
        );
        let code = state.ended().filter(|_| over).map(|ended| ended.code);
        let networks = &self.context.networks;
        let has_port = |ports: &[Port], published| networks.has_port(record, ports, published);
        filters.any("id", |value| record.id.as_str().starts_with(value))
            && (wanted.names.meet(&record.name) || wanted.names.meet(&format!("/{}", record.name)))
            && filters.any("status", |value| value == state.status().name())
            && filters.any("health", |value| value == health.map_or("none", HealthStatus::name))
            && (wanted.exited.is_empty() || code.is_some_and(|code| wanted.exited.contains(&code)))
            && filters.any("network", |value| networks.is_wanted(record, value))
            && (wanted.publish.is_empty() && wanted.expose.is_empty()
                || has_port(&wanted.publish, true)
                || has_port(&wanted.expose, false))
            && wanted
                .ancestors
                .as_ref()
                .is_none_or(|ids| ids.contains(&record.image_id))
            && filters.any("volume", |value| {
                record
                    .mounts
                    .iter()
                    .any(|point| point.name == value || point.source == value || point.target == value)
            })
            && filters.labels(&record.config.labels)
            && wanted.before.iter().all(|bound| record.created_at < *bound)
            && wanted.since.iter().all(|bound| record.created_at > *bound)
    }

    /// With sizes. What was removed meanwhile is left out.
    async fn measured(&self, rows: Vec<Summary>) -> Result<Vec<Summary>> {
        let mut measured = Vec::with_capacity(rows.len());
        for row in rows {
            match self.size_of(&row.record).await {
                Ok(size) => measured.push(Summary {
                    size: Some(size),
                    ..row
                }),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(measured)
    }

    /// Bytes of a container's writable layer, and with its image's.
    pub(super) async fn size_of(&self, record: &Arc<ContainerRecord>) -> Result<(u64, u64)> {
        let (context, record) = (self.context.clone(), record.clone());
        blocking(move || {
            let usage = |key: &str| context.snapshots.usage(&context.namespace, &record.snapshotter, key);
            let own = usage(&record.snapshot_key)?.size;
            let mut total = own;
            let mut parent = (!record.chain_id.is_empty()).then(|| record.chain_id.clone());
            while let Some(name) = parent {
                total += usage(&name)?.size;
                parent = context
                    .snapshots
                    .stat(&context.namespace, &record.snapshotter, &name)?
                    .parent;
            }
            Ok((own, total))
        })
        .await
        .map_err(|error: Error| error.context("measure the container's size"))
    }
}

/// The names that legacy links give, by the ids of whom they name.
fn link_names(keepers: &[Arc<Keeper>]) -> BTreeMap<String, Vec<String>> {
    let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for keeper in keepers {
        let record = keeper.record();
        if record.host.network_mode != NetworkMode::Bridge {
            continue;
        }
        for (id, alias) in record.host.links.iter().map(|text| plan::link(text)) {
            names
                .entry(id.to_owned())
                .or_default()
                .push(format!("{}/{alias}", record.name));
        }
    }
    names
}

fn check_word(key: &str, what: &str, value: &str, known: &[&str]) -> Result<()> {
    match known.contains(&value) {
        true => Ok(()),
        false => Err(Error::invalid(format!(
            "invalid filter '{key}={value}': invalid value for {what} ({value}): must be one of {}",
            known.join(", ")
        ))),
    }
}

fn codes(filters: &Filters) -> Result<Vec<i32>> {
    let one = |value: &String| {
        value.parse().map_err(|_| {
            Error::invalid(format!(
                "invalid filter 'exited={value}': strconv.Atoi: parsing {value:?}: invalid syntax"
            ))
        })
    };
    filters.values("exited").iter().map(one).collect()
}

/// `80`, `80/udp`, `8000-8010`.
fn ports(filters: &Filters, key: &str) -> Result<Vec<Port>> {
    let mut ports = Vec::new();
    for value in filters.values(key) {
        if value.contains(':') {
            return Err(Error::invalid(format!(
                "filter for '{key}' should not contain ':': {value}"
            )));
        }
        let some = exposed_ports(value)
            .map_err(|error| Error::invalid(format!("error while looking up for {key} {value}: {error}")))?;
        ports.extend(some);
    }
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(key: &str, value: &str) -> Filters {
        Filters([(key.to_owned(), vec![value.to_owned()])].into())
    }

    #[test]
    fn values_that_make_no_sense() {
        assert_eq!(codes(&with("exited", "137")).unwrap(), [137]);
        assert!(codes(&with("exited", "abc")).is_err());
        assert!(check_word("status", "state", "foo", STATES).is_err());
        assert!(check_word("health", "health", "none", HEALTHS).is_ok());
        assert_eq!(ports(&with("expose", "80-82/udp"), "expose").unwrap().len(), 3);
        for bad in ["1.2.3.4:80", "x", "90-80", "80/foo", ""] {
            assert!(ports(&with("publish", bad), "publish").is_err(), "{bad:?}");
        }
    }
}
