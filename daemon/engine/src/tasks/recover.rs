//! After a restart of the daemon: every bundle's shim is looked for, many at a time, while the daemon serves already.

use super::create::name;
use super::room::Room;
use super::state::{Event, State};
use super::task::Task;
use super::{ProcessExit, process_status};
use crate::gate::blocking;
use gantry_core::Result;
use gantry_core::meta::Happening;
use gantry_task::{BundleName, Reunion, Shim};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::Semaphore;
use tracing::{Instrument, info, info_span, warn};

/// How many shims are asked at the same time.
const AT_ONCE: usize = 64;
/// How often a shim that does not answer is asked before it is taken for stuck.
const TRIES: u32 = 3;

impl Room {
    /// Takes every name that was taken, before anybody asks, and looks for the shims beside everything else.
    pub(crate) async fn recover(self: &Arc<Self>) -> Result<()> {
        let room = self.clone();
        let bundles = blocking(move || {
            let bundles = room.shims.foreign_bundles()?;
            room.sweep_work(&bundles);
            Ok(bundles)
        })
        .await?;
        let permits = Arc::new(Semaphore::new(AT_ONCE));
        for bundle in bundles {
            let task = Task::new(bundle.namespace, bundle.id, State::Finding);
            self.insert(task.clone());
            let (room, permits) = (self.clone(), permits.clone());
            let span = info_span!("task", ns = %task.ns, container = %task.id);
            let work = async move {
                let permit = permits.acquire_owned().await;
                room.rejoin(&task, permit).await;
            };
            tokio::spawn(work.instrument(span));
        }
        Ok(())
    }

    /// Removes what tasks kept that are gone with a former boot, and checkpoints that were broken off.
    fn sweep_work(&self, bundles: &[BundleName]) {
        let known: BTreeSet<PathBuf> = bundles
            .iter()
            .map(|name| self.work.join(name.namespace.as_str()).join(name.id.as_str()))
            .collect();
        for path in children(&self.work) {
            let hidden = path
                .file_name()
                .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
            let gone = if hidden { vec![path] } else { children(&path) };
            for path in gone.into_iter().filter(|path| !known.contains(path)) {
                if let Err(error) = std::fs::remove_dir_all(&path) {
                    warn!(path = %path.display(), err = %error, "what a former task kept could not be removed");
                }
            }
        }
    }

    async fn rejoin<P>(self: &Arc<Self>, task: &Arc<Task>, permit: P) {
        let mut tries = 0;
        let reunion = loop {
            tries += 1;
            match self.shims.rejoin(&name(task)).await {
                Ok(Reunion::Unanswered(error)) if tries < TRIES => {
                    warn!(err = %error, "its shim does not answer yet");
                }
                reunion => break reunion,
            }
        };
        drop(permit);
        match reunion {
            Ok(Reunion::Found { shim, .. }) => self.adopt(task, shim).await,
            Ok(Reunion::Idle { shim }) => self.dismiss(task, shim).await,
            Ok(Reunion::Ended(exit)) => {
                let known = ProcessExit {
                    status: exit.status,
                    at: exit.at,
                };
                self.mourn(task, Some(known)).await;
            }
            Ok(Reunion::Gone) => {
                info!("its shim is gone");
                self.mourn(task, None).await;
            }
            Ok(Reunion::Unanswered(_)) => {
                self.put_down(task).await;
                self.mourn(task, None).await;
            }
            Err(error) => {
                warn!(err = %error, "its shim cannot be looked for");
                self.mourn(task, None).await;
            }
        }
    }

    async fn adopt(self: &Arc<Self>, task: &Arc<Task>, shim: Shim) {
        let limit = self.shims.config().deadlines.reconnect;
        let state = match shim.look(None, limit).await {
            Ok(state) => state,
            Err(error) => {
                warn!(err = %error, "its shim was there a moment ago and does not answer now");
                if !shim.answers(limit).await {
                    self.put_down(task).await;
                }
                drop(shim);
                return self.mourn(task, None).await;
            }
        };
        let exit = state.exit.map(|exit| ProcessExit {
            status: exit.status,
            at: exit.at,
        });
        if let Some(exit) = exit {
            self.tell_missed(task, state.pid, exit).await;
        }
        info!(pid = state.pid, "task found again");
        task.take(shim.clone(), state.stdio);
        task.apply(Event::Found {
            pid: state.pid,
            status: process_status(state.status),
            exit,
        });
        self.keep(task.clone(), shim);
    }

    /// It ended while no daemon was there to be told; a shim that tries for a while only has given up by now.
    async fn tell_missed(&self, task: &Task, pid: u32, exit: ProcessExit) {
        if !self.shims.told_exit(&name(task)).await.unwrap_or(false) {
            return;
        }
        let id = task.id.to_string();
        let ended = Happening::TaskExit {
            container: id.clone(),
            id,
            pid,
            status: exit.status,
            at: exit.at,
        };
        if let Err(error) = self.exchange.tell(&task.ns, vec![ended]).await {
            warn!(err = %error, "the end of a task could not be told");
        }
    }

    /// A shim without its task: it was never made, or is deleted already.
    async fn dismiss(self: &Arc<Self>, task: &Arc<Task>, shim: Shim) {
        info!("its shim has no task and is let go");
        let _ = shim.remove(None).await;
        task.apply(Event::Gone(None));
        shim.retire().await;
        if let Err(error) = self.discard(task, &shim).await {
            warn!(err = %error, "a bundle without a task could not be removed");
            drop(shim);
            self.mourn(task, None).await;
        }
    }
}

fn children(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}
