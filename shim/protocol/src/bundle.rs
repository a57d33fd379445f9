//! Files of a bundle, and what stands in them.

use serde::{Deserialize, Serialize};

/// The OCI spec.
pub const CONFIG: &str = "config.json";
/// Where the container's root is mounted (seen only in the container's own mount namespace).
pub const ROOTFS: &str = "rootfs";
/// `unix://` address of the ttrpc socket, written by `start`.
pub const ADDRESS: &str = "address";
/// The same as [`crate::Bootstrap`] in JSON.
pub const BOOTSTRAP: &str = "bootstrap.json";
/// Path of the attach socket.
pub const ATTACH: &str = "attach";
/// Pid of the shim, decimal.
pub const SHIM_PID: &str = "shim.pid";
/// Runtime's own directory (state of the OCI runtime, the start socket).
pub const RUNTIME: &str = "runtime";
/// [`BundleState`] in JSON, written when the container's process exists.
pub const STATE: &str = "state.json";
/// The same once the container is deleted: it says nothing any more.
pub const STATE_GONE: &str = "state.gone.json";
/// Events that the daemon has not taken yet; here, or in the state directory when gantryd drives.
pub const EVENTS: &str = "events.spool";
/// Directory of a foreign shim behind ours: `<id>/` is its own bundle, `io/` the pipes between the two.
pub const FOREIGN: &str = "foreign";
/// [`ForeignShim`] in JSON, in the directory of a foreign shim.
pub const FOREIGN_SHIM: &str = "shim.json";
/// What the shim itself has to say when something goes wrong.
pub const SHIM_LOG: &str = "shim.log";

/// What runs from a bundle, so that it can be found and ended without its shim.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BundleState {
    pub id: String,
    /// Pid of the first process.
    pub pid: u32,
    /// Field 22 of /proc/pid/stat: ticks since boot. Together with `boot_id` it tells this process from any other that bore the pid.
    pub start_time: u64,
    pub boot_id: String,
    /// Cgroup directories that are this container's own.
    pub cgroups: Vec<String>,
    /// The runtime program; empty for the built-in runtime.
    pub runtime: String,
    /// Where that program keeps its state.
    pub runtime_root: String,
}

/// The shim that stands behind ours, so that it can be found and ended without ours.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ForeignShim {
    /// Absolute path.
    pub program: String,
    /// 0 while it is being started, or when it does not say.
    pub pid: u32,
    /// As in [`BundleState`].
    pub start_time: u64,
    pub boot_id: String,
    /// `unix://` address of its ttrpc socket.
    pub address: String,
}
