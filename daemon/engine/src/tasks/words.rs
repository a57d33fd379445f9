//! What a door says about tasks and hears of them: containerd's task service in words of our own. Whatever only a shim and its caller
//! understand (options, resources, process specs, metrics) passes as an opaque [`Any`].

use gantry_core::meta::Any;
use gantry_core::{ContainerId, Digest, ExecId, LeaseId, Mount};
use std::collections::BTreeMap;
use std::time::SystemTime;

pub use gantry_task::{Endpoint, Stdio};

/// How a task is made.
#[derive(Debug, Clone, Default)]
pub struct NewTask {
    /// Mounts of the root filesystem. Empty: those of the container's snapshot, if its spec's root is the bundle's.
    pub rootfs: Vec<Mount>,
    pub stdio: Stdio,
    /// For the shim; instead of the container's `runtime.options`.
    pub options: Option<Any>,
    /// Absolute path of a shim, instead of what `runtime.name` leads to.
    pub runtime_path: String,
    /// Where a shim serves tasks already, as a sandbox's does; none is started, and it stays after the task.
    pub guest_of: Option<Endpoint>,
    /// A blob with a checkpoint of a former run, from which this one goes on.
    pub checkpoint: Option<Blob>,
}

/// One more process in a task. It runs when started.
#[derive(Debug, Clone, Default)]
pub struct NewExec {
    pub stdio: Stdio,
    /// Usually an OCI process as JSON.
    pub spec: Option<Any>,
}

/// How a checkpoint is made.
#[derive(Debug, Clone, Default)]
pub struct NewCheckpoint {
    /// For the shim.
    pub options: Option<Any>,
    /// The directory that `options` names. Without one the daemon gives a directory and puts it into the content store.
    pub image_path: Option<String>,
    /// What holds the blobs until something refers to them.
    pub lease: Option<LeaseId>,
}

/// A blob of the content store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    pub media_type: String,
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProcessStatus {
    /// Its shim does not say.
    #[default]
    Unknown,
    /// Made, its program not yet run.
    Created,
    Running,
    Pausing,
    Paused,
    Stopped,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessExit {
    /// Exit code, or 128 + signal number; 255 when nobody knows.
    pub status: u32,
    pub at: SystemTime,
}

/// A process: a task's first (`exec` is `None`) or one that was added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    pub container: ContainerId,
    pub exec: Option<ExecId>,
    /// As the host sees it; 0 = none yet.
    pub pid: u32,
    pub status: ProcessStatus,
    pub stdio: Stdio,
    /// Once it is stopped.
    pub exit: Option<ProcessExit>,
}

/// What is left to say of a process that was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deleted {
    pub pid: u32,
    pub exit: ProcessExit,
}

/// One pid in a task, with what its shim says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pid {
    pub pid: u32,
    pub info: Option<Any>,
}

/// What a task uses, in its shim's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metric {
    pub container: ContainerId,
    pub at: SystemTime,
    pub data: Option<Any>,
}

/// New limits of a task.
#[derive(Debug, Clone, Default)]
pub struct TaskUpdate {
    /// Usually OCI's linux resources as JSON.
    pub resources: Option<Any>,
    pub annotations: BTreeMap<String, String>,
}
