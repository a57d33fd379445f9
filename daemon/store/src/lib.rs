//! The store: all metadata in one RocksDB, blob bytes and layer directories as files beside it.
//!
//! It does not know what a container engine is: other rooms bring their records ([`Record`]), this room keeps them. It
//! never touches a kernel resource but files.
//!
//! The one flow: a caller claims what is unique ([`Claims`]), reads, puts its changes and events into a [`Batch`] and
//! commits it: one synced write, shared by everybody who commits at that moment. Where an effect belongs to a step, the
//! intent is committed before it and the outcome after it, and `reconcile` finishes or undoes on start what a kill left
//! between them. What containerd's clients are to hear of goes along ([`Batch::tell`]). [`Collector`] takes away what nothing refers to.

macro_rules! failpoint {
    ($name:expr) => {
        #[cfg(feature = "failpoints")]
        fail::fail_point!($name);
    };
}

mod blob;
mod collect;
mod db;
mod error;
mod events;
mod frame;
mod key;
mod lease;
mod namespace;
mod record;
mod snapshot;
mod young;

pub use blob::{BlobReport, BlobStore, INGEST_LIFETIME, Sharing};
pub use collect::{Background, Collected, Collector, Reclaim};
pub use db::quarantine::Quarantined;
pub use db::repair::RepairReport;
pub use db::{Claim, Claims, Damage, Store, StoreOptions, TABLES, View};
pub use error::{Error, Result};
pub use events::{EventQuery, KEPT};
pub use key::Key;
pub use lease::{Lease, Leases, Resource};
pub use namespace::NamespaceRecord;
pub use record::{Batch, DecodeError, Event, Record};
pub use snapshot::{Forgotten, Made, Remains, SnapshotReport, SnapshotStore};
pub use young::Step;

/// Every place between an intent and its effect, or an effect and its outcome, where the fault tests end the daemon.
pub const FAILPOINTS: &[&str] = &[
    "store::blob::commit::recorded",
    "store::blob::commit::renamed",
    "store::blob::commit::synced",
    "store::blob::ingest::intent",
    "store::blob::unlink",
    "store::collect::marked",
    "store::collect::sweep",
    "store::collect::swept",
    "store::snapshot::commit::intent",
    "store::snapshot::commit::recorded",
    "store::snapshot::commit::synced",
    "store::snapshot::prepare::made",
    "store::snapshot::prepare::recorded",
    "store::snapshot::remove::gone",
    "store::snapshot::remove::intent",
    "store::snapshot::remove::recorded",
    "store::snapshot::sweep::intent",
];
