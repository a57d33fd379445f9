//! Volumes as the store has them.

use crate::context::Context;
use crate::events::Event;
use crate::records::commit;
use gantry_core::Result;
use gantry_core::volume::VolumeRecord;
use gantry_store::{Batch, Record, Store};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Volume(VolumeRecord);

impl Record for Volume {
    /// The volume's name.
    type Key = String;
    const TABLE: &'static str = "volumes";
    const VERSION: u16 = 1;
}

pub fn all(store: &Store) -> Result<Vec<VolumeRecord>> {
    let all = store.scan::<Volume>(&())?;
    Ok(all.into_iter().map(|(_, Volume(record))| record).collect())
}

pub fn put_in(batch: &mut Batch, record: &VolumeRecord) -> Result<()> {
    Ok(batch.put(&record.name, &Volume(record.clone()))?)
}

pub fn put(context: &Context, record: &VolumeRecord, events: Vec<Event>) -> Result<Vec<Event>> {
    let mut batch = Batch::new();
    put_in(&mut batch, record)?;
    commit(context, batch, events)
}

/// What is true for a moment only, or is found out by the next start: the disk is not waited for.
pub fn put_unsynced(store: &Store, record: &VolumeRecord) -> Result<()> {
    let mut batch = Batch::new();
    put_in(&mut batch, record)?;
    store.commit_unsynced(batch)?;
    Ok(())
}

pub fn delete(store: &Store, name: &str) -> Result<()> {
    let mut batch = Batch::new();
    batch.delete::<Volume>(&name.to_owned());
    store.commit_unsynced(batch)?;
    Ok(())
}
