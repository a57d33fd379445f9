//! The keeper of a task: it sees the end of its process, and the end of its shim, whichever comes first and however it comes.
//!
//! A shim that hangs is found out when a call gets no answer, or when the process has ended and the shim does not say so. It is then
//! asked whether it is there at all; if nothing comes back, it is killed, and its task ends as one whose shim died.

use super::create::name;
use super::room::Room;
use super::state::Event;
use super::task::{Task, unknown_exit};
use super::{Deleted, ProcessExit};
use gantry_core::meta::Happening;
use gantry_core::{ContainerId, Namespace, Result};
use gantry_task::{ProcessMark, Shim};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;
use tracing::{Instrument, info, info_span, warn};

/// How long the files of a deleted task stay, out of everybody's way.
const ASIDE: Duration = Duration::from_millis(10);
/// How long a call waits for the keeper's word on a shim that is gone.
const VERDICT: Duration = Duration::from_secs(30);
/// First and longest pause between two tries to clear what a dead shim left.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LONGEST: Duration = Duration::from_secs(60);

impl Room {
    /// Keeps a task whose shim is known, until it is gone.
    pub(super) fn keep(self: &Arc<Self>, task: Arc<Task>, shim: Shim) {
        let span = info_span!("task", ns = %task.ns, container = %task.id);
        let room = self.clone();
        let work = async move {
            if room.watch(&task, &shim).await {
                drop(shim);
                room.mourn(&task, None).await;
            }
        };
        tokio::spawn(work.instrument(span));
    }

    /// Whether the shim died; else the task was deleted.
    async fn watch(&self, task: &Arc<Task>, shim: &Shim) -> bool {
        let patience = self.shims.config().deadlines.call;
        let overdue = overdue(task.state().pid(), patience);
        let ended = shim.ended(None);
        tokio::pin!(overdue, ended);
        let (mut waiting, mut running) = (true, true);
        loop {
            let doubt = tokio::select! {
                biased;
                _ = task.until(None, |state| state.is_gone()) => return false,
                exit = &mut ended, if waiting => {
                    waiting = false;
                    self.see_end(task, exit).await;
                    false
                }
                () = shim.gone() => {
                    warn!("its shim is gone");
                    return true;
                }
                () = task.suspect.notified() => true,
                () = &mut overdue, if waiting && running => {
                    running = false;
                    true
                }
            };
            if doubt && !shim.answers(patience).await {
                self.put_down(task).await;
                return true;
            }
        }
    }

    async fn see_end(&self, task: &Arc<Task>, exit: Result<gantry_task::Exit, gantry_task::TaskError>) {
        match exit {
            Ok(exit) => {
                let exit = ProcessExit {
                    status: exit.status,
                    at: exit.at,
                };
                info!(status = exit.status, "its process ended");
                // The shim tells the event.
                let _ = self.shims.told_exit(&name(task)).await;
                task.apply(Event::Ended(exit));
            }
            // The end of the connection is seen by itself.
            Err(error) if error.is_lost() => {}
            Err(error) => warn!(err = %error, "its end cannot be waited for"),
        }
    }

    /// A task whose shim is dead: what is left of it is cleared, and it is gone. Its end, and that it is gone, are told once.
    pub(super) async fn mourn(self: &Arc<Self>, task: &Arc<Task>, known: Option<ProcessExit>) {
        let name = name(task);
        // Asked first: the mark goes with the bundle.
        let untold = self.shims.told_exit(&name).await.unwrap_or(false);
        let mut cleared = self.shims.mourn(&name).await;
        let said = cleared.as_mut().ok().and_then(|mourned| mourned.deleted.take());
        let said = said.map(|deleted| ProcessExit {
            status: deleted.exit.status,
            at: deleted.exit.at,
        });
        let exit = task.state().exit().or(known).or(said).unwrap_or_else(unknown_exit);
        self.tell_end(&task.ns, &task.id, task.state().pid(), exit, untold)
            .await;
        task.apply(Event::Gone(Some(exit)));
        let mut pause = RETRY_FIRST;
        while let Err(error) = cleared {
            warn!(err = %error, "what a dead shim left could not be cleared, trying again in {} s", pause.as_secs());
            sleep(pause).await;
            pause = (pause * 2).min(RETRY_LONGEST);
            cleared = self.shims.mourn(&name).await;
        }
        self.unmount_after(task).await;
        self.forget(task);
    }

    async fn tell_end(&self, ns: &Namespace, id: &ContainerId, pid: u32, exit: ProcessExit, untold: bool) {
        let ProcessExit { status, at } = exit;
        let container = id.to_string();
        let ended = Happening::TaskExit {
            container: container.clone(),
            id: container.clone(),
            pid,
            status,
            at,
        };
        let deleted = Happening::TaskDelete {
            container,
            id: String::new(),
            pid,
            status,
            at,
        };
        let what = if untold { vec![ended, deleted] } else { vec![deleted] };
        if let Err(error) = self.exchange.tell(ns, what).await {
            warn!(err = %error, "the end of a task could not be told");
        }
    }

    /// Forgets a task that has ended, and lets its shim go.
    pub(super) async fn delete(self: &Arc<Self>, ns: &Namespace, id: &ContainerId) -> Result<Deleted> {
        let task = self.find(ns, id).await?;
        let room = self.clone();
        crate::finish(async move {
            let shim = task.shim()?;
            match shim.remove(None).await {
                Ok(deleted) => {
                    let exit = ProcessExit {
                        status: deleted.exit.status,
                        at: deleted.exit.at,
                    };
                    room.part(&task, shim, exit).await;
                    Ok(Deleted { pid: deleted.pid, exit })
                }
                Err(error) if error.is_lost() => {
                    drop(shim);
                    let state = task.until(Some(VERDICT), |state| state.is_gone()).await;
                    let exit = state.exit().unwrap_or_else(unknown_exit);
                    Ok(Deleted { pid: state.pid(), exit })
                }
                Err(error) => task.heard(Err(error)),
            }
        })
        .await
    }

    async fn part(self: &Arc<Self>, task: &Arc<Task>, shim: Shim, exit: ProcessExit) {
        task.apply(Event::Gone(Some(exit)));
        shim.retire().await;
        if let Err(error) = self.discard(task, &shim).await {
            warn!(ns = %task.ns, container = %task.id, err = %error, "the bundle of a deleted task could not be removed, trying again");
            let (room, task) = (self.clone(), task.clone());
            tokio::spawn(async move {
                let mut pause = RETRY_FIRST;
                while room.discard(&task, &shim).await.is_err() {
                    sleep(pause).await;
                    pause = (pause * 2).min(RETRY_LONGEST);
                }
            });
        }
    }

    /// Frees the name of a task that is gone. Its files are deleted beside everything else; what fails is left for the next start.
    pub(super) async fn discard(self: &Arc<Self>, task: &Arc<Task>, shim: &Shim) -> Result<()> {
        let discarded = self.shims.discard(shim).await?;
        self.unmount_after(task).await;
        self.forget(task);
        tokio::spawn(async move {
            // Whoever hears that the task is deleted has more to do.
            sleep(ASIDE).await;
            let removed = tokio::task::spawn_blocking(move || discarded.remove()).await;
            if let Ok(Err(error)) = removed {
                warn!(err = %error, "files of a deleted task could not be removed");
            }
        });
        Ok(())
    }

    /// Waits for the end of a process.
    pub(super) async fn wait(&self, task: &Arc<Task>, exec: Option<&gantry_core::ExecId>) -> Result<ProcessExit> {
        let Some(exec) = exec else {
            let state = task.until(None, |state| state.is_over()).await;
            return Ok(state.exit().unwrap_or_else(unknown_exit));
        };
        let shim = task.shim()?;
        let answer = tokio::select! {
            biased;
            answer = shim.ended(Some(exec)) => answer,
            _ = task.until(None, |state| state.is_gone()) => return Ok(unknown_exit()),
        };
        match answer {
            Ok(exit) => Ok(ProcessExit {
                status: exit.status,
                at: exit.at,
            }),
            Err(error) if error.is_lost() => Ok(unknown_exit()),
            Err(error) => task.heard(Err(error)),
        }
    }
}

/// Returns when a process has ended and its shim has had time to say so; never, if there is none to be seen.
async fn overdue(pid: u32, patience: Duration) {
    match ProcessMark::of(pid) {
        Some(process) => {
            process.ended().await;
            sleep(patience).await;
        }
        None => std::future::pending().await,
    }
}
