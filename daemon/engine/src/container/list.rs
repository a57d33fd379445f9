//! List: published state only, so that no container can make it wait.

use crate::Engine;
use crate::filters::Filters;
use crate::gate::blocking;
use crate::keeper::Keeper;
use crate::network::plan;
use gantry_core::container::{ContainerRecord, NetworkMode};
use gantry_core::health::HealthStatus;
use gantry_core::lifecycle::State;
use gantry_core::snapshot::SnapshotService;
use gantry_core::volume::MountPoint;
use gantry_core::{Digest, Error, Result};
use std::collections::BTreeMap;
use std::sync::Arc;

const KNOWN: &[&str] = &[
    "ancestor", "before", "exited", "expose", "health", "id", "label", "name", "network", "publish", "since", "status",
    "volume",
];

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

/// The containers that `before` and `since` name.
struct Bounds {
    before: Vec<Arc<Keeper>>,
    since: Vec<Arc<Keeper>>,
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
        request.filters.check(KNOWN)?;
        check_values(&request.filters)?;
        let status_asked = !request.filters.values("status").is_empty() || !request.filters.values("exited").is_empty();
        let everything = request.all || request.limit > 0 || status_asked;
        let bounds = self.bounds(&request.filters)?;
        let mut keepers = self.context.registry.all();
        keepers.sort_by_cached_key(|keeper| std::cmp::Reverse(keeper.record().created_at));
        let mut linked = link_names(&keepers);
        let mut rows = Vec::new();
        for keeper in keepers {
            let view = keeper.view();
            let record = keeper.record();
            let state = view.told(&record.host);
            let alive = state.is_running() || matches!(state, State::Restarting { .. });
            let health = view.health.filter(|_| state.is_running()).map(|health| health.status);
            let shown = (everything || alive) && state != State::Removed;
            let well = request
                .filters
                .any("health", |value| value == health.map_or("none", HealthStatus::name));
            if shown && well && self.matches(&record, &state, &request.filters, &bounds) {
                rows.push(Summary {
                    image_left: false,
                    link_names: linked.remove(record.id.as_str()).unwrap_or_default(),
                    record,
                    state,
                    health,
                    size: None,
                });
            }
            if request.limit > 0 && rows.len() == request.limit {
                break;
            }
        }
        self.name_images(&mut rows).await?;
        if request.size {
            self.measure(&mut rows).await?;
        }
        Ok(rows)
    }

    /// What a listed container has in its networks. Asked for row by row, so that a long list is never held whole with all it has.
    pub fn networks_of(&self, row: &Summary) -> crate::ContainerNetworks {
        self.context.networks.of_container(&row.record, &row.state)
    }

    /// What is mounted in a listed container, with the directories of volumes.
    pub fn points_of(&self, row: &Summary) -> Vec<MountPoint> {
        self.context.volumes.points(&row.record)
    }

    /// Each image is looked for once, however many containers have it.
    async fn name_images(&self, rows: &mut [Summary]) -> Result<()> {
        let mut images: BTreeMap<(String, Digest), bool> = BTreeMap::new();
        let of = |row: &Summary| (row.record.config.image.clone(), row.record.image_id.clone());
        for row in rows.iter() {
            images.entry(of(row)).or_insert(false);
        }
        let context = self.context.clone();
        let images = blocking(move || {
            for ((name, id), left) in &mut images {
                *left = !crate::image::find::means(&context, name, id)?;
            }
            Ok(images)
        });
        let images = images.await?;
        if images.values().any(|left| *left) {
            for row in rows {
                row.image_left = images.get(&of(row)).copied().unwrap_or(false);
            }
        }
        Ok(())
    }

    fn bounds(&self, filters: &Filters) -> Result<Bounds> {
        let named = |key: &str| {
            filters
                .values(key)
                .iter()
                .map(|name| self.find(name))
                .collect::<Result<Vec<_>>>()
        };
        Ok(Bounds {
            before: named("before")?,
            since: named("since")?,
        })
    }

    fn matches(&self, record: &ContainerRecord, state: &State, filters: &Filters, bounds: &Bounds) -> bool {
        let code = state.ended().map(|ended| ended.code);
        let exited = matches!(
            state,
            State::Exited { .. } | State::Restarting { .. } | State::Clearing { .. } | State::Dead { .. }
        );
        filters.any("id", |value| record.id.as_str().starts_with(value))
            && filters.any("name", |value| name_matches(&record.name, value))
            && filters.any("status", |value| value == state.status().name())
            && filters.any("exited", |value| exited && value.parse().ok() == code)
            && filters.any("network", |value| self.context.networks.is_wanted(record, value))
            && filters.any("publish", |value| self.context.networks.has_port(record, value, true))
            && filters.any("expose", |value| self.context.networks.has_port(record, value, false))
            && filters.any("ancestor", |value| self.descends(record, value))
            && filters.any("volume", |value| {
                record
                    .mounts
                    .iter()
                    .any(|point| point.name == value || point.source == value || point.target == value)
            })
            && filters.labels(&record.config.labels)
            && bounds
                .before
                .iter()
                .all(|bound| record.created_at < bound.record().created_at)
            && bounds
                .since
                .iter()
                .all(|bound| record.created_at > bound.record().created_at)
    }

    fn descends(&self, record: &ContainerRecord, image: &str) -> bool {
        let id = record.image_id.to_string();
        record.config.image == image
            || id.starts_with(image)
            || record.image_id.hex().starts_with(image)
            || normalised(image).is_some_and(|name| normalised(&record.config.image) == Some(name))
    }

    async fn measure(&self, rows: &mut [Summary]) -> Result<()> {
        for row in rows {
            row.size = Some(self.size_of(&row.record).await?);
        }
        Ok(())
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

/// Values of which there are only so many.
fn check_values(filters: &Filters) -> Result<()> {
    const STATES: &[&str] = &[
        "created",
        "running",
        "paused",
        "restarting",
        "removing",
        "exited",
        "dead",
    ];
    const HEALTH: &[&str] = &["none", "starting", "healthy", "unhealthy"];
    for (key, what, known) in [("status", "state", STATES), ("health", "health", HEALTH)] {
        if let Some(odd) = filters
            .values(key)
            .iter()
            .find(|value| !known.contains(&value.as_str()))
        {
            return Err(Error::invalid(format!(
                "invalid filter '{key}={odd}': invalid value for {what} ({odd}): must be one of {}",
                known.join(", ")
            )));
        }
    }
    if let Some(odd) = filters
        .values("exited")
        .iter()
        .find(|value| value.parse::<i64>().is_err())
    {
        return Err(Error::invalid(format!(
            "invalid filter 'exited={odd}': strconv.Atoi: parsing {odd:?}: invalid syntax"
        )));
    }
    Ok(())
}

fn normalised(text: &str) -> Option<String> {
    gantry_core::reference::Reference::parse(text)
        .ok()
        .map(|reference| reference.or_latest().to_string())
}

/// Docker matches names as regular expressions, with or without the leading slash.
fn name_matches(name: &str, pattern: &str) -> bool {
    match regex_lite::Regex::new(pattern) {
        Ok(regex) => regex.is_match(name) || regex.is_match(&format!("/{name}")),
        Err(_) => name == pattern,
    }
}
