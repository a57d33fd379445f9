//! What a gantry shim and its daemon agree on beside the wire: files in the bundle and in the state directory, names of
//! sockets, the log's line format and rotation names, the forms of a shim's answer to `start`.
//!
//! It never touches a file or a socket: words and rules only.
//!
//! The one flow: the daemon prepares a bundle ([`bundle`]), starts the shim, reads its answer ([`Bootstrap`]), talks ttrpc to it; the shim
//! writes the log ([`log`]) and [`ExitRecord`]s; whoever comes after a crash of either reads them back, and a
//! [`BundleState`] says what was running under which process start time of which boot.

mod bootstrap;
pub mod bundle;
mod exit;
pub mod log;
pub mod socket;
pub mod stdio;
mod time;

pub use bootstrap::{Bootstrap, BootstrapError};
pub use bundle::{BundleState, ForeignShim};
pub use exit::{ExitRecord, exit_file_name};
pub use time::{parse_rfc3339, rfc3339};

/// Directory of compiled system call filters, a sibling of the sockets' directory. The daemon makes it, for root only, and empties it
/// when it starts; a shim that finds it keeps there what took long to compile.
pub const FILTERS: &str = "seccomp";
