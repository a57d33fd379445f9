//! Finding shims again after a restart of the daemon.

use crate::cleanup::living_shim;
use crate::error::{Result, TaskError};
use crate::exits::own_exit;
use crate::process::ProcessMark;
use crate::shim::Shim;
use crate::shims::{Shims, blocking};
use crate::words::{Exit, TaskState};
use gantry_core::{ContainerId, ErrorKind, Namespace};
use gantry_shim_protocol::Bootstrap;
use std::path::PathBuf;

/// How many shims are asked at the same time.
pub(crate) const AT_ONCE: usize = 64;

/// A task that was there when the daemon last knew.
#[derive(Clone, Debug)]
pub struct Lookup {
    pub namespace: Namespace,
    pub id: ContainerId,
    pub state_dir: PathBuf,
    /// The process that was recorded; tells this run's exit record from a former one's.
    pub mark: Option<ProcessMark>,
}

/// What became of a task.
#[derive(Debug)]
pub enum Reunion {
    /// Its shim answers and has it.
    Found { shim: Shim, state: TaskState },
    /// Its shim answers but has no such task, and nothing says how one ended: it was never made.
    Idle { shim: Shim },
    /// Its shim is gone, or has deleted it; the record says how the task ended.
    Ended(Exit),
    /// Its shim is gone and left no record: whatever still runs of it must be cleaned up ([`Shims::cleanup`]).
    Gone,
    /// Its shim is there, or may be, but gives no answer: what became of the task is not known yet.
    Unanswered(TaskError),
}

impl Shims {
    /// Looks for one task's shim, a few at a time. Answers within the deadline for it, whatever the shim does.
    pub async fn reconnect(&self, lookup: &Lookup) -> Result<Reunion> {
        // Never closed.
        let _turn = self.looks.acquire().await;
        let bundle = self.bundle(&lookup.namespace, &lookup.id);
        let bootstrap = blocking("find a shim", move || bundle.bootstrap()).await?;
        match bootstrap {
            Some(bootstrap) => self.ask(lookup, bootstrap).await,
            None => self.after_the_end(lookup).await,
        }
    }

    async fn ask(&self, lookup: &Lookup, bootstrap: Bootstrap) -> Result<Reunion> {
        let limit = self.config().deadlines.reconnect;
        let connected = self
            .connect(lookup.namespace.clone(), lookup.id.clone(), bootstrap, limit)
            .await;
        let shim = match connected {
            Ok(shim) => shim,
            Err(error) if error.is_nobody() => return self.nobody(lookup, error).await,
            Err(error) => return Ok(Reunion::Unanswered(error)),
        };
        match shim.state_within(None, limit).await {
            Ok(state) => Ok(Reunion::Found {
                state: self.with_oom(lookup, state).await,
                shim,
            }),
            Err(error) if error.kind() == ErrorKind::NotFound => match self.after_the_end(lookup).await? {
                // Deleted already: a former daemon got that far.
                Reunion::Ended(exit) => Ok(Reunion::Ended(exit)),
                _ => Ok(Reunion::Idle { shim }),
            },
            Err(error) if error.is_lost() => self.nobody(lookup, error).await,
            Err(error) => Ok(Reunion::Unanswered(error)),
        }
    }

    /// Nobody listens where the shim did. It is gone only if its process is: one that has lost its socket holds its container still.
    async fn nobody(&self, lookup: &Lookup, error: TaskError) -> Result<Reunion> {
        let (bundle, id) = (self.bundle(&lookup.namespace, &lookup.id), lookup.id.clone());
        let lives = blocking("look for a shim's process", move || {
            Ok(living_shim(&bundle, id.as_str()).is_some())
        });
        match self.after_the_end(lookup).await? {
            Reunion::Gone if lives.await? => Ok(Reunion::Unanswered(error)),
            known => Ok(known),
        }
    }

    /// A stopped task's record knows of the memory killer; the task API does not.
    async fn with_oom(&self, lookup: &Lookup, mut state: TaskState) -> TaskState {
        if let Some(exit) = &mut state.exit
            && let Ok(Reunion::Ended(recorded)) = self.after_the_end(lookup).await
        {
            (exit.oom, exit.memory_kills) = (recorded.oom, recorded.memory_kills);
        }
        state
    }

    async fn after_the_end(&self, lookup: &Lookup) -> Result<Reunion> {
        let lookup = lookup.clone();
        let record = blocking("read an exit", move || {
            own_exit(&lookup.state_dir, lookup.mark.as_ref())
        })
        .await?;
        Ok(record.map_or(Reunion::Gone, |record| Reunion::Ended(Exit::from(&record))))
    }
}
