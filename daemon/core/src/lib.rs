//! The words of gantry: ids, digests, errors, records' building blocks, and the traits that stores implement.
//!
//! Everything here is pure: no IO, no async, no RocksDB, no wire type. A use case flows through this room as data only:
//! a door parses strings into these types, the engine decides with them, mechanisms implement the traits.

pub mod container;
pub mod content;
pub mod digest;
pub mod error;
pub mod filter;
pub mod gc;
pub mod health;
pub mod id;
pub mod label;
pub mod lease;
pub mod lifecycle;
pub mod meta;
pub mod mount;
pub mod network;
pub mod reference;
pub mod signal;
pub mod snapshot;
pub mod spec;
pub mod volume;

pub use digest::{Algorithm, Digest};
pub use error::{Error, ErrorKind, Result};
pub use id::{ContainerId, ExecId, LeaseId, Namespace};
pub use label::Labels;
pub use mount::Mount;
