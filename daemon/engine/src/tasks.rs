//! Tasks: what runs of the containers that clients of the containerd API describe, each under whatever shim its container names.
//!
//! The one flow: [`Tasks::create`] takes the name, starts the shim and makes the task; from then on a keeper waits for the end
//! of its process and of its shim, and calls go straight to the shim, each with a deadline, so that a slow task delays only
//! itself. A shim that dies or hangs ends its tasks: their exit is told once, and they are gone. After a restart of the
//! daemon every shim is looked for beside everything else. The engine's own containers are seen here, too.

mod checkpoint;
mod create;
mod keeper;
mod mounts;
mod own;
mod recover;
mod room;
mod state;
mod task;
mod tend;
mod words;

pub(crate) use room::{Furniture, Room};
pub use tend::RESTART_POLICIES;
pub use words::*;

use crate::Engine;
use crate::context::Context;
use gantry_core::meta::Any;
use gantry_core::{ContainerId, ExecId, Namespace, Result};
use gantry_task::{ForeignExec, Shim};
use state::Event;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use task::{not_found, told};
use tokio::task::JoinSet;

/// How long a shim may take to say what it knows.
const LOOK: Duration = Duration::from_secs(2);

/// The use cases on tasks. Cheap to make and to clone.
#[derive(Clone)]
pub struct Tasks {
    context: Arc<Context>,
}

impl Engine {
    /// Tasks of every namespace.
    pub fn tasks(&self) -> Tasks {
        Tasks {
            context: self.context.clone(),
        }
    }
}

impl Tasks {
    fn room(&self) -> &Arc<Room> {
        &self.context.tasks
    }

    /// Makes the task of a container; its process waits for [`Tasks::start`]. Answers its pid.
    ///
    /// `NotFound` without such a container, `AlreadyExists` when it has a task.
    pub async fn create(&self, ns: &Namespace, id: &ContainerId, new: NewTask) -> Result<u32> {
        if let Some(keeper) = own::find(&self.context, ns, id) {
            return Err(own::refuse(&keeper, "create"));
        }
        self.room().create(ns, id, new).await
    }

    /// Runs the task's program, or an exec's. Answers its pid.
    pub async fn start(&self, ns: &Namespace, id: &ContainerId, exec: Option<&ExecId>) -> Result<u32> {
        if let Some(keeper) = own::find(&self.context, ns, id) {
            let exec = exec.cloned().ok_or_else(|| own::refuse(&keeper, "start"))?;
            let shim = own::shim(&keeper).await?;
            return crate::finish(async move { shim.run(Some(&exec)).await.map_err(told) }).await;
        }
        let task = self.room().find(ns, id).await?;
        let exec = exec.cloned();
        crate::finish(async move {
            let pid = task.heard(task.shim()?.run(exec.as_ref()).await)?;
            if exec.is_none() {
                task.apply(Event::Started { pid });
            }
            Ok(pid)
        })
        .await
    }

    /// Forgets a task that has ended, and its shim. The shim refuses while it runs; one of the engine's own is `FailedPrecondition`.
    pub async fn delete(&self, ns: &Namespace, id: &ContainerId) -> Result<Deleted> {
        if let Some(keeper) = own::find(&self.context, ns, id) {
            return Err(own::refuse(&keeper, "delete"));
        }
        self.room().delete(ns, id).await
    }

    /// Forgets an exec that has ended.
    pub async fn delete_process(&self, ns: &Namespace, id: &ContainerId, exec: &ExecId) -> Result<Deleted> {
        let exec = exec.clone();
        let on = self.on(ns, id).await?;
        crate::finish(async move {
            let deleted = on.heard(on.shim.remove(Some(&exec)).await)?;
            Ok(Deleted {
                pid: deleted.pid,
                exit: ProcessExit {
                    status: deleted.exit.status,
                    at: deleted.exit.at,
                },
            })
        })
        .await
    }

    /// Asks the shim, at most two seconds.
    pub async fn get(&self, ns: &Namespace, id: &ContainerId, exec: Option<&ExecId>) -> Result<Process> {
        if let (Some(keeper), None) = (own::find(&self.context, ns, id), exec) {
            return own::process(&keeper).ok_or_else(|| not_found(id));
        }
        let on = self.on(ns, id).await?;
        let state = on.heard(on.shim.look(exec, LOOK).await)?;
        Ok(Process {
            container: id.clone(),
            exec: exec.cloned(),
            pid: state.pid,
            status: process_status(state.status),
            stdio: state.stdio,
            exit: state.exit.map(|exit| ProcessExit {
                status: exit.status,
                at: exit.at,
            }),
        })
    }

    /// Every task of a namespace, by id. Shims are not asked, and only just after a restart waited for, until they are found.
    pub async fn list(&self, ns: &Namespace) -> Result<Vec<Process>> {
        let own = own::all(&self.context, ns);
        let mut all: Vec<Process> = own.iter().filter_map(|keeper| own::process(keeper)).collect();
        all.extend(self.room().found(ns).await.iter().filter_map(|task| task.process()));
        all.sort_by(|one, other| one.container.cmp(&other.container));
        Ok(all)
    }

    /// What a runtime's shim says of itself, a `containerd.types.RuntimeInfo` as bytes; see [`gantry_task::Shims::runtime_info`].
    pub async fn runtime_info(&self, runtime: &str, options: Option<Any>) -> Result<Vec<u8>> {
        self.context.shims.runtime_info(runtime, options).await
    }

    /// Signals a process, or all of the task's. `NotFound` for one that has ended.
    pub async fn kill(
        &self,
        ns: &Namespace,
        id: &ContainerId,
        exec: Option<&ExecId>,
        signal: u32,
        all: bool,
    ) -> Result<()> {
        if let Some(keeper) = own::find(&self.context, ns, id) {
            return own::kill(&keeper, exec, signal, all).await;
        }
        let on = self.on(ns, id).await?;
        on.heard(on.shim.kill(exec, signal, all).await)
    }

    /// Adds a process; [`Tasks::start`] runs it. `AlreadyExists` for a taken id.
    pub async fn exec(&self, ns: &Namespace, id: &ContainerId, exec: &ExecId, new: NewExec) -> Result<()> {
        let on = self.on(ns, id).await?;
        let exec = exec.clone();
        let new = ForeignExec {
            stdio: new.stdio,
            spec: new.spec,
        };
        crate::finish(async move { on.heard(on.shim.add_exec(&exec, new).await) }).await
    }

    /// Sets the size of a terminal.
    pub async fn resize(
        &self,
        ns: &Namespace,
        id: &ContainerId,
        exec: Option<&ExecId>,
        width: u32,
        height: u32,
    ) -> Result<()> {
        let on = self.on(ns, id).await?;
        let fit = |size: u32| u16::try_from(size).unwrap_or(u16::MAX);
        on.heard(on.shim.resize(exec, fit(height), fit(width)).await)
    }

    /// Ends a process's stdin.
    pub async fn close_stdin(&self, ns: &Namespace, id: &ContainerId, exec: Option<&ExecId>) -> Result<()> {
        let on = self.on(ns, id).await?;
        on.heard(on.shim.close_stdin(exec).await)
    }

    pub async fn pause(&self, ns: &Namespace, id: &ContainerId) -> Result<()> {
        if let Some(keeper) = own::find(&self.context, ns, id) {
            return own::pause(&keeper, true).await;
        }
        let task = self.room().find(ns, id).await?;
        task.heard(task.shim()?.pause().await)?;
        task.apply(Event::Paused);
        Ok(())
    }

    pub async fn resume(&self, ns: &Namespace, id: &ContainerId) -> Result<()> {
        if let Some(keeper) = own::find(&self.context, ns, id) {
            return own::pause(&keeper, false).await;
        }
        let task = self.room().find(ns, id).await?;
        task.heard(task.shim()?.resume().await)?;
        task.apply(Event::Resumed);
        Ok(())
    }

    pub async fn pids(&self, ns: &Namespace, id: &ContainerId) -> Result<Vec<Pid>> {
        let on = self.on(ns, id).await?;
        let pids = on.heard(on.shim.processes().await)?.into_iter();
        Ok(pids
            .map(|process| Pid {
                pid: process.pid,
                info: process.info,
            })
            .collect())
    }

    /// Answers the blobs it made: none if the caller named a directory.
    pub async fn checkpoint(&self, ns: &Namespace, id: &ContainerId, new: NewCheckpoint) -> Result<Vec<Blob>> {
        if let Some(keeper) = own::find(&self.context, ns, id) {
            return Err(own::refuse(&keeper, "checkpoint"));
        }
        let (room, ns, id) = (self.room().clone(), ns.clone(), id.clone());
        crate::finish(async move { room.checkpoint(&ns, &id, new).await }).await
    }

    pub async fn update(&self, ns: &Namespace, id: &ContainerId, update: TaskUpdate) -> Result<()> {
        if let Some(keeper) = own::find(&self.context, ns, id) {
            return Err(own::refuse(&keeper, "update"));
        }
        let on = self.on(ns, id).await?;
        on.heard(on.shim.update_with(update.resources, update.annotations).await)
    }

    /// What the wanted tasks of a namespace use. Those whose shims do not answer are left out.
    pub async fn metrics(&self, ns: &Namespace, wanted: impl Fn(&ContainerId) -> bool + Send) -> Result<Vec<Metric>> {
        let mut asked = JoinSet::new();
        for on in self.all(ns).await.into_iter().filter(|on| wanted(&on.id)) {
            asked.spawn(async move {
                let data = on.heard(on.shim.metrics(LOOK).await);
                data.map(|data| Metric {
                    container: on.id.clone(),
                    at: SystemTime::now(),
                    data,
                })
            });
        }
        let mut found = Vec::new();
        while let Some(answer) = asked.join_next().await {
            match answer {
                Ok(Ok(metric)) => found.push(metric),
                Ok(Err(error)) => tracing::warn!(%ns, err = %error, "a task's use of resources is not known"),
                Err(_) => {}
            }
        }
        found.sort_by(|one, other| one.container.cmp(&other.container));
        Ok(found)
    }

    /// Waits for the end of a process, however long that takes; the death of its shim ends it, too.
    pub async fn wait(&self, ns: &Namespace, id: &ContainerId, exec: Option<&ExecId>) -> Result<ProcessExit> {
        if let Some(keeper) = own::find(&self.context, ns, id) {
            return own::wait(&keeper, exec).await;
        }
        let task = self.room().find(ns, id).await?;
        self.room().wait(&task, exec).await
    }

    /// The shim of a task, whoever made it.
    async fn on(&self, ns: &Namespace, id: &ContainerId) -> Result<On> {
        if let Some(keeper) = own::find(&self.context, ns, id) {
            return Ok(On {
                id: id.clone(),
                shim: own::shim(&keeper).await?,
                task: None,
            });
        }
        let task = self.room().find(ns, id).await?;
        Ok(On {
            id: id.clone(),
            shim: task.shim()?,
            task: Some(task),
        })
    }

    async fn all(&self, ns: &Namespace) -> Vec<On> {
        let own = own::all(&self.context, ns).into_iter().filter_map(|keeper| {
            Some(On {
                id: keeper.id().clone(),
                shim: own::known_shim(&keeper)?,
                task: None,
            })
        });
        let rest = self.room().found(ns).await.into_iter().filter_map(|task| {
            Some(On {
                id: task.id.clone(),
                shim: task.shim().ok()?,
                task: Some(task),
            })
        });
        own.chain(rest).collect()
    }
}

/// A task to talk to; `task` is none for the engine's own.
struct On {
    id: ContainerId,
    shim: Shim,
    task: Option<Arc<task::Task>>,
}

impl On {
    fn heard<T>(&self, answer: gantry_task::Result<T>) -> Result<T> {
        match &self.task {
            Some(task) => task.heard(answer),
            None => answer.map_err(told),
        }
    }
}

fn process_status(status: gantry_task::Status) -> ProcessStatus {
    match status {
        gantry_task::Status::Unknown => ProcessStatus::Unknown,
        gantry_task::Status::Created => ProcessStatus::Created,
        gantry_task::Status::Running => ProcessStatus::Running,
        gantry_task::Status::Pausing => ProcessStatus::Pausing,
        gantry_task::Status::Paused => ProcessStatus::Paused,
        gantry_task::Status::Stopped => ProcessStatus::Stopped,
    }
}
