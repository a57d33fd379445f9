//! Shims: started, found again and talked to; what their containers' processes use, print and come to.
//!
//! It never knows a Docker or CRI word, keeps no rule of a container's life and no record of its own: the keeper of a container calls it
//! and decides. It touches only names below its own exec root.
//!
//! The one flow: [`Shims::start`] makes a bundle and a shim beside it, the [`Shim`] handle creates and starts the task, [`Shim::wait`]
//! gives its end, [`Shims::cleanup`] leaves nothing of it. After a restart of the daemon [`Shims::reconnect`] answers what became of each
//! task meanwhile. Tasks of containerd's clients take the same road under whatever shim they name: [`Shims::launch`], [`Shims::mourn`].
//! Beside that road: [`logs`] reads what shims wrote, [`stats`] is what a container uses, [`top`] lists
//! processes, [`attach`] joins a process's stdio, [`descriptors`] travel to a shim and back.

mod allowed;
pub mod attach;
mod behind;
mod bundle;
pub mod cgroup;
mod cleanup;
mod connect;
pub mod descriptors;
mod error;
mod exe;
mod exits;
mod foreign;
pub mod logs;
mod pidfd_unsafe;
pub mod process;
mod program;
mod readonly_unsafe;
mod reconnect;
mod runtime;
mod sandbox;
mod shim;
mod shims;
mod spawn;
pub mod stats;
pub mod top;
mod words;

pub use bundle::{Bundle, BundleName, Leaving};
pub use cleanup::Leftover;
pub use error::{Result, TaskError};
pub use exits::{exit_record, exit_records, forget_exits, has_exit_record};
pub use foreign::{Discarded, Endpoint, LaunchShim, Mourned};
pub use process::ProcessMark;
pub use program::{find_shim, shim_program};
pub use reconnect::{Lookup, Reunion};
pub use runtime::{Runtime, is_shim};
pub use sandbox::{NewSandbox, SandboxEnd, SandboxMetric, SandboxPlatform, SandboxStarted, SandboxState};
pub use shim::Shim;
pub use shims::{Deadlines, Shims, ShimsConfig, StartShim};
pub use words::{
    CreateTask, Deleted, ExecSpec, Exit, ForeignExec, ForeignTask, HeldStdin, LogConfig, ProcessInfo, ProcessState,
    Rotation, Status, Stdio, TaskState,
};

/// Every named stop of this room, in the order of a container's life.
pub const FAILPOINTS: &[&str] = &[
    "task::bundle::make",
    "task::bundle::made",
    "task::shim::spawn",
    "task::shim::spawned",
    "task::create",
    "task::created",
    "task::start",
    "task::started",
    "task::exec",
    "task::kill",
    "task::delete",
    "task::deleted",
    "task::shutdown",
    "task::cleanup::kill",
    "task::cleanup::cgroup",
    "task::cleanup::socket",
    "task::bundle::rename",
    "task::bundle::remove",
];
