//! Tasks: what runs of the containers that clients of the containerd API describe, each under whatever shim its container names.
//!
//! Each task has one keeper; slow ones delay only themselves. A shim that dies or hangs ends its tasks: their exit is then unknown.

mod words;

pub use words::*;

use crate::Engine;
use crate::context::Context;
use gantry_core::{ContainerId, Error, ErrorKind, ExecId, Namespace, Result};
use std::sync::Arc;

/// The use cases on tasks. Cheap to make and to clone.
#[derive(Clone)]
pub struct Tasks {
    #[allow(dead_code, reason = "filled in the next commit")]
    context: Arc<Context>,
}

impl Engine {
    /// Tasks of every namespace. Those of the engine's own containers are seen here, too.
    pub fn tasks(&self) -> Tasks {
        Tasks {
            context: self.context.clone(),
        }
    }
}

impl Tasks {
    /// Makes the task of a container; its process waits for [`Tasks::start`]. Answers its pid.
    ///
    /// `NotFound` without such a container, `AlreadyExists` when it has a task.
    pub async fn create(&self, _ns: &Namespace, _id: &ContainerId, _new: NewTask) -> Result<u32> {
        soon()
    }

    /// Runs the task's program, or an exec's. Answers its pid.
    pub async fn start(&self, _ns: &Namespace, _id: &ContainerId, _exec: Option<&ExecId>) -> Result<u32> {
        soon()
    }

    /// Forgets a task that has ended, and its shim. `FailedPrecondition` while it runs, and for the engine's own containers.
    pub async fn delete(&self, _ns: &Namespace, _id: &ContainerId) -> Result<Deleted> {
        soon()
    }

    /// Forgets an exec that has ended.
    pub async fn delete_process(&self, _ns: &Namespace, _id: &ContainerId, _exec: &ExecId) -> Result<Deleted> {
        soon()
    }

    /// Asks the shim, at most two seconds.
    pub async fn get(&self, _ns: &Namespace, _id: &ContainerId, _exec: Option<&ExecId>) -> Result<Process> {
        soon()
    }

    /// Every task of a namespace, by id. Never waits for a shim.
    pub async fn list(&self, _ns: &Namespace) -> Result<Vec<Process>> {
        soon()
    }

    /// Signals a process, or all of the task's. `NotFound` for one that has ended.
    pub async fn kill(
        &self,
        _ns: &Namespace,
        _id: &ContainerId,
        _exec: Option<&ExecId>,
        _signal: u32,
        _all: bool,
    ) -> Result<()> {
        soon()
    }

    /// Adds a process; [`Tasks::start`] runs it. `AlreadyExists` for a taken id.
    pub async fn exec(&self, _ns: &Namespace, _id: &ContainerId, _exec: &ExecId, _new: NewExec) -> Result<()> {
        soon()
    }

    /// Sets the size of a terminal.
    pub async fn resize(
        &self,
        _ns: &Namespace,
        _id: &ContainerId,
        _exec: Option<&ExecId>,
        _width: u32,
        _height: u32,
    ) -> Result<()> {
        soon()
    }

    /// Ends a process's stdin.
    pub async fn close_stdin(&self, _ns: &Namespace, _id: &ContainerId, _exec: Option<&ExecId>) -> Result<()> {
        soon()
    }

    pub async fn pause(&self, _ns: &Namespace, _id: &ContainerId) -> Result<()> {
        soon()
    }

    pub async fn resume(&self, _ns: &Namespace, _id: &ContainerId) -> Result<()> {
        soon()
    }

    pub async fn pids(&self, _ns: &Namespace, _id: &ContainerId) -> Result<Vec<Pid>> {
        soon()
    }

    /// Answers the blobs it made: none if the caller named a directory.
    pub async fn checkpoint(&self, _ns: &Namespace, _id: &ContainerId, _new: NewCheckpoint) -> Result<Vec<Blob>> {
        soon()
    }

    pub async fn update(&self, _ns: &Namespace, _id: &ContainerId, _update: TaskUpdate) -> Result<()> {
        soon()
    }

    /// What the wanted tasks of a namespace use. Those whose shims do not answer are left out.
    pub async fn metrics(&self, _ns: &Namespace, _wanted: impl Fn(&ContainerId) -> bool + Send) -> Result<Vec<Metric>> {
        soon()
    }

    /// Waits for the end of a process, however long that takes; the death of its shim ends it, too.
    pub async fn wait(&self, _ns: &Namespace, _id: &ContainerId, _exec: Option<&ExecId>) -> Result<ProcessExit> {
        soon()
    }
}

fn soon<T>() -> Result<T> {
    Err(Error::new(ErrorKind::Unimplemented, "tasks are not served yet"))
}
