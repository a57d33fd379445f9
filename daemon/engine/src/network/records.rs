//! Networks and started containers' places in them, as the store has them.

use crate::context::Context;
use crate::events::Event;
use crate::records::commit;
use gantry_core::network::{NetworkRecord, Sandbox};
use gantry_core::{ContainerId, Labels, Result};
use gantry_store::{Batch, Record, Store};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Network(NetworkRecord);

impl Record for Network {
    /// The network's id.
    type Key = String;
    const TABLE: &'static str = "networks";
    const VERSION: u16 = 1;
}

#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Entered(Sandbox);

impl Record for Entered {
    type Key = ContainerId;
    const TABLE: &'static str = "network_sandboxes";
    const VERSION: u16 = 1;
}

pub fn networks(store: &Store) -> Result<Vec<NetworkRecord>> {
    let all = store.scan::<Network>(&())?;
    Ok(all.into_iter().map(|(_, Network(record))| record).collect())
}

pub fn put_network(context: &Context, record: &NetworkRecord, events: Vec<Event>) -> Result<Vec<Event>> {
    let mut batch = Batch::new();
    batch.put(&record.id.to_string(), &Network(record.clone()))?;
    commit(context, batch, events)
}

pub fn delete_network(context: &Context, record: &NetworkRecord, events: Vec<Event>) -> Result<Vec<Event>> {
    let mut batch = Batch::new();
    batch.delete::<Network>(&record.id.to_string());
    commit(context, batch, events)
}

pub fn sandboxes(store: &Store) -> Result<Vec<(ContainerId, Sandbox)>> {
    let all = store.scan::<Entered>(&())?;
    Ok(all.into_iter().map(|(id, Entered(sandbox))| (id, sandbox)).collect())
}

/// What will be made in the kernel. Nothing of it outlives a boot, so the disk is not waited for: a kill does not lose it.
pub fn put_sandbox(store: &Store, id: &ContainerId, sandbox: &Sandbox) -> Result<()> {
    let mut batch = Batch::new();
    batch.put(id, &Entered(sandbox.clone()))?;
    store.commit_unsynced(batch)?;
    Ok(())
}

pub fn delete_sandbox(store: &Store, id: &ContainerId) -> Result<()> {
    let mut batch = Batch::new();
    batch.delete::<Entered>(id);
    store.commit_unsynced(batch)?;
    Ok(())
}

/// An event about a network, with Docker's attributes.
pub fn event(record: &NetworkRecord, action: &str, extra: Labels) -> Event {
    let mut attributes = Labels::from([
        ("name".to_owned(), record.name.clone()),
        ("type".to_owned(), record.driver.clone()),
    ]);
    attributes.extend(extra);
    Event::new("network", action, record.id.as_str(), attributes)
}
