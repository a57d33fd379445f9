//! What a former daemon left: half made and half removed volumes, and mounts of containers that are over.

use super::{DATA, FILL, GONE, Volumes, records};
use crate::context::Context;
use crate::records::Course;
use gantry_core::container::ContainerRecord;
use gantry_core::volume::{self, LOCAL, VolumeRecord, VolumeState};
use gantry_core::{ContainerId, Labels, Result};
use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use tracing::{info, warn};

impl Volumes {
    pub(super) fn settle(&self) -> Result<()> {
        for record in records::all(&self.store)? {
            match record.state {
                VolumeState::Ready => drop(self.know(record)),
                VolumeState::Making => self.unmake(&record),
                VolumeState::Removing => {
                    if let Err(error) = self.put_aside(&record) {
                        warn!(volume = record.name, err = %error, "a removed volume cannot be put aside");
                    }
                }
            }
        }
        for dir in directories(&self.dir) {
            let Some(name) = dir.file_name().and_then(|name| name.to_str()) else {
                continue;
            };
            if !name.starts_with(GONE) && self.get(name).is_none() {
                self.take_up(name, &dir)?;
            }
            for filling in directories(&dir).iter().filter(|path| is_called(path, FILL)) {
                crate::container::teardown::remove_tree(filling)?;
            }
        }
        Ok(())
    }

    /// A directory that no record names, after damage to the store or put there by hand: users' data is never deleted for that.
    fn take_up(&self, name: &str, dir: &Path) -> Result<()> {
        if volume::check_name(name).is_err() || !dir.join(DATA).is_dir() {
            return Ok(());
        }
        let created_at = fs::metadata(dir).and_then(|meta| meta.modified());
        let record = VolumeRecord {
            name: name.to_owned(),
            created_at: created_at.unwrap_or_else(|_| SystemTime::now()),
            driver: LOCAL.to_owned(),
            options: BTreeMap::new(),
            labels: Labels::new(),
            state: VolumeState::Ready,
        };
        warn!(
            volume = name,
            "a directory that no record names is taken up as a volume"
        );
        records::put_unsynced(&self.store, &record)?;
        self.know(record);
        Ok(())
    }

    /// Compares with the containers: what is mounted for those that may run stays, the rest is taken down.
    pub(crate) fn compare(&self, containers: &[(ContainerRecord, Course)]) {
        let mut living: HashSet<&ContainerId> = HashSet::new();
        for (record, _) in containers
            .iter()
            .filter(|(_, course)| course.state.may_hold_resources())
        {
            living.insert(&record.id);
            let mut active = self.active.lock();
            for name in record.volumes() {
                if self.get(name).is_some_and(|volume| volume.is_mounted()) {
                    active.entry(name.to_owned()).or_default().insert(record.id.clone());
                }
            }
        }
        for place in directories(&self.places) {
            let id = place
                .file_name()
                .and_then(|name| name.to_str())
                .and_then(|name| ContainerId::new(name).ok());
            if id.is_none_or(|id| !living.contains(&id)) {
                info!(place = %place.display(), "taking down what a former daemon left mounted");
                self.take_down(&place);
            }
        }
        for volume in self.all().iter().filter(|volume| volume.is_mounted()) {
            if !self.is_active(&volume.name) {
                self.unmount(&volume.name);
            }
        }
    }

    /// Has what was put aside deleted.
    pub(crate) fn bury(&self, context: &std::sync::Arc<Context>) {
        for dir in directories(&self.dir).into_iter().filter(|path| is_called(path, GONE)) {
            let (context, job) = (context.clone(), self.burial(dir));
            tokio::spawn(async move { context.background.hand(job).await });
        }
    }
}

fn is_called(path: &Path, prefix: &str) -> bool {
    path.file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with(prefix))
}

fn directories(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let dirs = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    dirs.map(|entry| entry.path()).collect()
}
