//! Making volumes: written down, made, written down as made; by themselves or along with a container.

use super::fill::Source;
use super::{DATA, Volumes, event, failed, make_dir, records};
use crate::context::Context;
use crate::events::Event;
use crate::gate::blocking;
use crate::{Engine, failpoint};
use gantry_core::container::ContainerRecord;
use gantry_core::volume::{ANONYMOUS, LOCAL, MountPoint, NewVolume, VolumeRecord, VolumeState};
use gantry_core::{Error, Labels, Result};
use gantry_store::{Batch, Claim, Made};
use std::fs;
use std::sync::Arc;
use tracing::warn;

impl Engine {
    /// Makes a volume; one that is there already is answered as it is.
    pub async fn create_volume(&self, new: NewVolume) -> Result<Arc<VolumeRecord>> {
        let context = self.context.clone();
        let work = async move {
            let worker = context.clone();
            let (record, told) = blocking(move || worker.volumes.define(&worker, new)).await?;
            context.bus.publish(told);
            Ok(record)
        };
        crate::finish(work).await
    }
}

/// A name that nobody has: 256 random bits.
fn random_name() -> String {
    hex::encode(rand::random::<[u8; 32]>())
}

/// The record of a volume that is asked for.
pub(super) fn draft(new: &NewVolume) -> Result<VolumeRecord> {
    let mut labels = new.labels.clone();
    let name = match new.name.as_str() {
        "" => {
            labels.insert(ANONYMOUS.to_owned(), String::new());
            random_name()
        }
        name => name.to_owned(),
    };
    let driver = if new.driver.is_empty() { LOCAL } else { &new.driver };
    VolumeRecord::new(&name, driver, new.options.clone(), labels)
        .map_err(|error| error.context(format!("create {name}")))
}

/// Volumes that a container about to be created brings along: taken back unless they are recorded with it.
pub(crate) struct Brought {
    volumes: Arc<Volumes>,
    made: Vec<VolumeRecord>,
    kept: bool,
    /// Of every volume it uses: nobody removes them before it is known.
    claims: Vec<Claim>,
}

impl Brought {
    /// Puts them into the batch of their container, as ready, and answers what is to be told.
    pub fn record_in(&self, batch: &mut Batch) -> Result<Vec<Event>> {
        let mut told = Vec::new();
        for record in &self.made {
            let ready = ready(record);
            records::put_in(batch, &ready)?;
            told.push(event(&ready, "create", Labels::new()));
        }
        Ok(told)
    }

    /// To be called when the batch is committed. The claims hold until what is answered is dropped.
    pub fn keep(mut self) -> Vec<Claim> {
        for record in &self.made {
            self.volumes.know(ready(record));
        }
        self.kept = true;
        std::mem::take(&mut self.claims)
    }
}

impl Drop for Brought {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        for record in &self.made {
            self.volumes.unmake(record);
        }
    }
}

fn ready(record: &VolumeRecord) -> VolumeRecord {
    VolumeRecord {
        state: VolumeState::Ready,
        ..record.clone()
    }
}

impl Volumes {
    fn define(&self, context: &Context, new: NewVolume) -> Result<(Arc<VolumeRecord>, Vec<Event>)> {
        let draft = draft(&new)?;
        let _claim = self.claim(&draft.name)?;
        if let Some(known) = self.get(&draft.name) {
            return Ok((known, Vec::new()));
        }
        self.make(&draft)?;
        let record = ready(&draft);
        let told = records::put(context, &record, vec![event(&record, "create", Labels::new())]);
        match told {
            Ok(told) => Ok((self.know(record), told)),
            Err(error) => {
                self.unmake(&draft);
                Err(error)
            }
        }
    }

    /// Writes down that it is being made, and makes its directory. Its name must be claimed.
    fn make(&self, draft: &VolumeRecord) -> Result<()> {
        records::put_unsynced(&self.store, draft)?;
        failpoint!("engine::volume::create::recorded");
        let made = make_dir(&self.dir.join(&draft.name), 0o701)
            .and_then(|()| make_dir(&self.path(&draft.name), 0o755))
            .and_then(|()| {
                gantry_snapshots_dirs::sync_dir(&self.dir).map_err(|error| Error::internal(error.to_string()))
            });
        failpoint!("engine::volume::create::made");
        made.inspect_err(|_| self.unmake(draft))
    }

    /// Takes back a volume that is recorded as being made.
    pub(super) fn unmake(&self, record: &VolumeRecord) {
        let dir = self.dir.join(&record.name);
        let gone =
            crate::container::teardown::remove_tree(&dir).and_then(|()| records::delete(&self.store, &record.name));
        if let Err(error) = gone {
            warn!(volume = record.name, err = %error, "a volume that was not made whole stays until the next start");
        }
    }

    /// Makes and fills what a container's mounts need and is not there.
    pub(crate) fn bring(
        self: &Arc<Self>,
        context: &Context,
        record: &ContainerRecord,
        wanted: &[NewVolume],
        layer: &Made,
    ) -> Result<Brought> {
        let mut brought = Brought {
            volumes: self.clone(),
            made: Vec::new(),
            kept: false,
            claims: self.claim_each(record.volumes())?,
        };
        for new in wanted.iter().filter(|new| self.get(&new.name).is_none()) {
            let draft = draft(new)?;
            self.make(&draft)?;
            brought.made.push(draft);
        }
        for point in &record.mounts {
            let Some(name) = point.volume() else { continue };
            let fresh = brought.made.iter().find(|made| made.name == name).cloned();
            let volume = match (&fresh, self.get(name)) {
                (Some(fresh), _) => Arc::new(fresh.clone()),
                (None, Some(known)) => known,
                (None, None) => return Err(Error::not_found(format!("get {name}: no such volume"))),
            };
            if self.may_fill(point, &volume, fresh.is_some()) {
                let source = Source {
                    mounts: layer.mounts()?,
                    at: context.mount_point(),
                    path: point.target.clone(),
                };
                self.fill(&volume, source, fresh.is_some())?;
            }
        }
        Ok(brought)
    }

    /// Whether what the image has at a mount's place is to be copied into its volume.
    fn may_fill(&self, point: &MountPoint, volume: &VolumeRecord, fresh: bool) -> bool {
        let empty = || fs::read_dir(self.path(&volume.name)).is_ok_and(|mut entries| entries.next().is_none());
        let wanted = !point.no_copy && point.subpath.is_empty();
        wanted && (fresh || volume.is_mounted() || empty())
    }

    pub(super) fn data_of(&self, name: &str) -> std::path::PathBuf {
        self.dir.join(name).join(DATA)
    }
}

pub(super) fn rename(from: &std::path::Path, to: &std::path::Path) -> Result<()> {
    fs::rename(from, to).map_err(failed("rename", from))
}
