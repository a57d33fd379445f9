//! What volumes there are, who uses them, and how much is in them.

use super::Volumes;
use crate::Engine;
use crate::filters::Filters;
use crate::gate::blocking;
use gantry_core::volume::VolumeRecord;
use gantry_core::{Error, Result};
use std::path::PathBuf;
use std::sync::Arc;

const KNOWN: &[&str] = &["dangling", "driver", "label", "name"];

/// A volume as callers see it.
#[derive(Debug, Clone)]
pub struct VolumeView {
    pub record: Arc<VolumeRecord>,
    pub path: PathBuf,
    /// Ids of containers, running or not, that have it.
    pub users: Vec<String>,
    /// Bytes, where that was asked for and can be known.
    pub size: Option<u64>,
}

impl Engine {
    /// Sorted by name.
    pub fn volumes(&self, filters: &Filters) -> Result<Vec<VolumeView>> {
        filters.check(KNOWN)?;
        let dangling = filters.flag("dangling")?;
        let names = filters.patterns("name");
        let all = self.context.volumes.all();
        let mut views: Vec<VolumeView> = all.into_iter().map(|record| self.volume_view(record)).collect();
        views.retain(|view| {
            let record = &view.record;
            filters.any("driver", |value| value == record.driver)
                && names.meet(&record.name)
                && filters.labels(&record.labels)
                && dangling.is_none_or(|wanted| wanted == view.users.is_empty())
        });
        Ok(views)
    }

    pub fn volume(&self, name: &str) -> Result<VolumeView> {
        Ok(self.volume_view(self.context.volumes.find(name)?))
    }

    /// The same with how much is in them.
    pub async fn measured_volumes(&self) -> Result<Vec<VolumeView>> {
        let engine = self.clone();
        blocking(move || {
            let mut views = engine.volumes(&Filters::default())?;
            for view in &mut views {
                view.size = measure(&engine.context.volumes, &view.record);
            }
            Ok(views)
        })
        .await
    }

    fn volume_view(&self, record: Arc<VolumeRecord>) -> VolumeView {
        let users = self.volume_users(&record.name);
        VolumeView {
            path: self.context.volumes.path(&record.name),
            record,
            users,
            size: None,
        }
    }

    pub(super) fn volume_users(&self, name: &str) -> Vec<String> {
        self.context.volume_users(name)
    }
}

impl crate::context::Context {
    /// Ids of containers that have a volume.
    pub(crate) fn volume_users(&self, name: &str) -> Vec<String> {
        let keepers = self.registry.all();
        let of = keepers
            .iter()
            .filter(|keeper| keeper.record().volumes().any(|other| other == name));
        of.map(|keeper| keeper.id().to_string()).collect()
    }
}

/// What a device holds is not ours to count.
pub(super) fn measure(volumes: &Volumes, record: &VolumeRecord) -> Option<u64> {
    if record.is_mounted() {
        return None;
    }
    match gantry_snapshots_dirs::measure(&volumes.path(&record.name)) {
        Ok(usage) => Some(usage.size),
        Err(error) => {
            tracing::warn!(volume = record.name, err = %error, "the volume cannot be measured");
            None
        }
    }
}

/// What is wrong with a name that was given where a volume is meant.
pub(super) fn in_use(name: &str, users: &[String]) -> Error {
    Error::conflict(format!("remove {name}: volume is in use - [{}]", users.join(", ")))
}
