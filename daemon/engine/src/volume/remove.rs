//! Removing volumes: written down, put aside under another name, deleted when there is time for it.

use super::list::{in_use, measure};
use super::{GONE, Volumes, event, records};
use crate::background::Job;
use crate::context::Context;
use crate::events::Event;
use crate::filters::Filters;
use crate::gate::blocking;
use crate::{Engine, failpoint};
use gantry_core::container::ContainerRecord;
use gantry_core::volume::{VolumeRecord, VolumeState};
use gantry_core::{Error, Labels, Result, error::io_kind};
use gantry_store::{Batch, Claim};
use std::path::PathBuf;
use std::sync::Arc;

/// What a cleaning up took away.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Names or ids.
    pub removed: Vec<String>,
    /// Bytes.
    pub space: u64,
}

impl Engine {
    /// With `force`, one that is not there is as good.
    pub async fn remove_volume(&self, name: &str, force: bool) -> Result<()> {
        let (context, name) = (self.context.clone(), name.to_owned());
        crate::finish(async move {
            let worker = context.clone();
            let removed = blocking(move || {
                if force && worker.volumes.get(&name).is_none() {
                    return Ok(None);
                }
                worker.volumes.remove(&worker, &name).map(Some)
            });
            if let Some((told, job)) = removed.await? {
                context.bus.publish(told);
                context.background.hand(job).await;
            }
            Ok(())
        })
        .await
    }

    /// Removes volumes that no container has: those without a name, and with the filter `all` the others too.
    pub async fn prune_volumes(&self, filters: Filters) -> Result<Pruned> {
        filters.check(&["all", "label", "label!"])?;
        let all = filters.flag("all")?.unwrap_or(false);
        let context = self.context.clone();
        let alone = context.pruning_volumes.turn().await;
        crate::finish(async move {
            let _alone = alone;
            let worker = context.clone();
            let (pruned, told, jobs) = blocking(move || worker.volumes.prune(&worker, &filters, all)).await?;
            context.bus.publish(told);
            for job in jobs {
                context.background.hand(job).await;
            }
            let space = pruned.space.to_string();
            let reclaimed = Labels::from([("reclaimed".to_owned(), space)]);
            context.tell(vec![Event::new("volume", "prune", "", reclaimed)]).await;
            Ok(pruned)
        })
        .await
    }
}

/// Volumes that go with their container, in its batch.
pub(crate) struct Going {
    volumes: Arc<Volumes>,
    records: Vec<VolumeRecord>,
    _claims: Vec<Claim>,
}

impl Going {
    /// Writes into the batch that they are being removed, and answers what is to be told.
    pub fn record_in(&self, batch: &mut Batch) -> Result<Vec<Event>> {
        let mut told = Vec::new();
        for record in &self.records {
            records::put_in(batch, record)?;
            told.push(event(record, "destroy", Labels::new()));
        }
        Ok(told)
    }

    /// To be called when the batch is committed: puts them aside. Whatever fails is done by the next start.
    pub fn finish(self) -> Vec<Job> {
        let mut jobs = Vec::new();
        for record in &self.records {
            self.volumes.known.write().remove(&record.name);
            match self.volumes.put_aside(record) {
                Ok(aside) => jobs.push(self.volumes.burial(aside)),
                Err(error) => {
                    tracing::warn!(volume = record.name, err = %error, "a removed volume stays until the next start");
                }
            }
        }
        jobs
    }
}

impl Volumes {
    /// The anonymous volumes of a container that nobody else has.
    pub(crate) fn going(self: &Arc<Self>, context: &Context, record: &ContainerRecord) -> Result<Going> {
        let own: Vec<&str> = record
            .mounts
            .iter()
            .filter(|point| point.anonymous)
            .filter_map(|point| point.volume())
            .collect();
        let claims = self.claim_each(own.iter().copied())?;
        let mut records = Vec::new();
        for name in own {
            let others = context.volume_users(name);
            let Some(volume) = self.get(name) else { continue };
            if others.iter().all(|id| id == record.id.as_str()) && self.refuse_mounted(&volume).is_ok() {
                records.push(removing(&volume));
            }
        }
        Ok(Going {
            volumes: self.clone(),
            records,
            _claims: claims,
        })
    }

    fn remove(&self, context: &Context, name: &str) -> Result<(Vec<Event>, Job)> {
        let _claim = self.claim(name)?;
        let volume = self.find(name)?;
        let users = context.volume_users(name);
        if !users.is_empty() {
            return Err(in_use(name, &users));
        }
        self.refuse_mounted(&volume)?;
        let record = removing(&volume);
        let told = records::put(context, &record, vec![event(&record, "destroy", Labels::new())])?;
        failpoint!("engine::volume::remove::recorded");
        self.known.write().remove(name);
        let aside = self.put_aside(&record)?;
        Ok((told, self.burial(aside)))
    }

    fn prune(&self, context: &Context, filters: &Filters, all: bool) -> Result<(Pruned, Vec<Event>, Vec<Job>)> {
        let (mut pruned, mut told, mut jobs) = (Pruned::default(), Vec::new(), Vec::new());
        for volume in self.all() {
            let labels = &volume.labels;
            let wanted = (all || volume.is_anonymous()) && filters.labels(labels) && filters.lacks_labels(labels);
            if !wanted || !context.volume_users(&volume.name).is_empty() {
                continue;
            }
            let size = measure(self, &volume).unwrap_or(0);
            match self.remove(context, &volume.name) {
                Ok((events, job)) => {
                    told.extend(events);
                    jobs.push(job);
                    pruned.space += size;
                    pruned.removed.push(volume.name.clone());
                }
                // Somebody took it into use, or has something mounted in it.
                Err(error) => tracing::debug!(volume = volume.name, err = %error, "the volume is not pruned"),
            }
        }
        Ok((pruned, told, jobs))
    }

    /// What is mounted in it is somebody's, and must not be deleted along with it.
    fn refuse_mounted(&self, volume: &VolumeRecord) -> Result<()> {
        gantry_snapshots_dirs::refuse_mounted(&self.dir.join(&volume.name))
            .map_err(|error| Error::wrap(io_kind(&error.source), error).context(format!("remove {}", volume.name)))
    }

    /// Gives the directory of a removed volume another name, and forgets the record. Gone already is as good.
    pub(super) fn put_aside(&self, record: &VolumeRecord) -> Result<PathBuf> {
        let aside = self.dir.join(format!("{GONE}{:016x}", rand::random::<u64>()));
        let dir = self.dir.join(&record.name);
        match std::fs::rename(&dir, &aside) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(super::failed("rename", &dir)(error));
            }
            _ => {}
        }
        failpoint!("engine::volume::remove::aside");
        gantry_snapshots_dirs::sync_dir(&self.dir).map_err(|error| Error::internal(error.to_string()))?;
        records::delete(&self.store, &record.name)?;
        Ok(aside)
    }
}

fn removing(volume: &VolumeRecord) -> VolumeRecord {
    VolumeRecord {
        state: VolumeState::Removing,
        ..volume.clone()
    }
}
