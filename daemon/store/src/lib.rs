//! The store: all metadata in one RocksDB, blob bytes and layer directories as files beside it.
//!
//! It does not know what a container engine is: other rooms bring their records ([`Record`]), this room keeps them. It
//! never touches a kernel resource but files.
//!
//! The one flow: a caller claims what is unique ([`Claims`]), reads, puts its changes and events into a [`Batch`] and
//! commits it: one synced write, shared by everybody who commits at that moment. Where an effect belongs to a step, the
//! intent is committed before it and the outcome after it, and `reconcile` finishes or undoes on start what a kill left
//! between them. [`Collector`] takes away what nothing refers to.

macro_rules! failpoint {
    ($name:expr) => {
        #[cfg(feature = "failpoints")]
        fail::fail_point!($name);
    };
}

mod db;
mod error;
mod events;
mod frame;
mod key;
mod record;
mod young;

pub use db::quarantine::Quarantined;
pub use db::repair::RepairReport;
pub use db::{Claim, Claims, Damage, Store, StoreOptions, TABLES, View};
pub use error::{Error, Result};
pub use events::{EventQuery, KEPT};
pub use key::Key;
pub use record::{Batch, DecodeError, Event, Record};
pub use young::Step;
