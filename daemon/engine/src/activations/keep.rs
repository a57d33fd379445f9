//! What is over is taken down: at once, by the collector, at the next start, and as soon as nobody uses it any more.

use super::records::{Ending, Record, State};
use super::{Activations, failed};
use crate::failpoint;
use crate::gate::blocking;
use gantry_core::gc::Node;
use gantry_core::{Error, Result};
use gantry_snapshots_mount::{bears, release, unmount_within};
use gantry_store::{Batch, Reclaim};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;
use tracing::{info, warn};

/// First and longest pause between two tries to take down what is busy.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LONGEST: Duration = Duration::from_secs(60);

/// Which boot this is; empty where the kernel does not tell.
pub fn boot() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}

/// By which a loop device is known to be of this activation.
pub fn device_name(id: &str) -> String {
    format!("gantry-mount-{id}")
}

impl Activations {
    /// Compares with the kernel, before anybody is served.
    pub(super) fn settle(&self) -> Result<()> {
        let boot = boot();
        let mut known: BTreeSet<String> = BTreeSet::new();
        for ((ns, name), record) in self.store.list::<Record>()? {
            if record.state == State::Active && record.boot == boot && is_mounted(&record) {
                known.insert(record.id);
                continue;
            }
            info!(%ns, mount = name, "an activation that a former daemon or boot left is over");
            let mut batch = Batch::new();
            self.end_in(&mut batch, &ns, &name, &record)?;
            self.store.commit_unsynced(batch)?;
        }
        // What no record names was made by a daemon whose records are lost.
        for entry in fs::read_dir(&self.dir).map_err(failed("read", &self.dir))?.flatten() {
            let id = entry.file_name().to_string_lossy().into_owned();
            if !known.contains(&id) {
                let mut batch = Batch::new();
                batch.put(&id, &Ending {})?;
                self.store.commit_unsynced(batch)?;
            }
        }
        self.clear();
        Ok(())
    }

    /// Unmounts whatever is in the directory of one that is over, the last first, and forgets it. Nothing in it is deleted but the
    /// places themselves.
    pub(super) fn take_down(&self, id: &String, patience: Duration) -> Result<()> {
        let _alone = self
            .store
            .claims()
            .claim(format!("deactivation/{id}"))
            .map_err(Error::from)?;
        let dir = self.dir.join(id);
        let mut places: Vec<(u32, fs::DirEntry)> = Vec::new();
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
            places.push((number.unwrap_or(u32::MAX), entry));
        }
        places.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
        for (_, place) in places {
            empty(&place.path(), id, patience)?;
        }
        match fs::remove_dir(&dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed("remove", &dir)(error)),
            _ => {}
        }
        failpoint!("engine::deactivate::unmounted");
        let mut batch = Batch::new();
        batch.delete::<Ending>(id);
        self.store.commit_unsynced(batch)?;
        Ok(())
    }

    /// Whether everything that is over is gone.
    fn clear_all(&self) -> Result<bool> {
        let mut all = true;
        for (id, _) in self.store.list::<Ending>()? {
            if let Err(error) = self.take_down(&id, Duration::ZERO) {
                all = false;
                tracing::debug!(mounts = id, err = %error, "what is over is still mounted");
            }
        }
        Ok(all)
    }

    /// Takes down what was busy, until it is done; for as long as the daemon runs.
    pub(crate) fn keep(self: &Arc<Self>) {
        let activations = self.clone();
        tokio::spawn(async move {
            loop {
                activations.busy.notified().await;
                let mut pause = RETRY_FIRST;
                loop {
                    sleep(pause).await;
                    pause = (pause * 2).min(RETRY_LONGEST);
                    let worker = activations.clone();
                    match blocking(move || worker.clear_all()).await {
                        Ok(true) => break,
                        Ok(false) => {}
                        Err(error) => warn!(err = %error, "mounts that are over cannot be taken down"),
                    }
                }
            }
        });
    }
}

impl Reclaim for Activations {
    fn forget(&self, batch: &mut Batch, node: &Node) -> gantry_store::Result<bool> {
        let key = (node.ns.clone(), node.key.clone());
        match self.store.get::<Record>(&key)? {
            Some(record) if record.state == State::Active => {
                info!(ns = %node.ns, mount = node.key, "nothing refers to an activation any more");
                self.end_in(batch, &node.ns, &node.key, &record)?;
                Ok(true)
            }
            Some(_) | None => Ok(false),
        }
    }

    fn clear(&self) {
        match self.clear_all() {
            Ok(true) => {}
            Ok(false) => self.busy.notify_one(),
            Err(error) => warn!(err = %error, "mounts that are over cannot be taken down"),
        }
    }
}

/// Whether all that it says is there.
fn is_mounted(record: &Record) -> bool {
    record
        .active
        .iter()
        .all(|active| match fs::read_link(&active.mount_point) {
            Ok(device) => bears(&device, &device_name(&record.id)),
            // It is refused with the name of what is mounted there.
            Err(_) => {
                active.mount_point.is_dir() && gantry_snapshots_dirs::refuse_mounted(&active.mount_point).is_err()
            }
        })
}

fn empty(place: &Path, id: &str, patience: Duration) -> Result<()> {
    if let Ok(device) = fs::read_link(place) {
        // Another's by now, if it was let go by itself.
        release(&device, &device_name(id))?;
        return fs::remove_file(place).map_err(failed("remove", place));
    }
    unmount_within(place, patience)?;
    fs::remove_dir(place).map_err(failed("remove", place))
}
