//! The life of a container as a pure function.
//!
//! ```text
//!            prepare/start            prepared            start            started
//!  Created ───────────────► Preparing ────────► Prepared ───────► Starting ───────► Running ◄──► Paused
//!     ▲                        │ failed             │ expired         │ failed         │ exit      │ exit
//!     │                        ▼                    ▼                 ▼                ▼           ▼
//!     └──────(never ran)─── Clearing ◄──────────────┴─────────────────┴────────────────┴───────────┘
//!                              │ cleared
//!                              ▼          remove              done
//!                  ┌──────── Exited ───────────────► Removing ──────► Removed
//!          back off │   ▲ give up                      │  ▲ retry
//!                   ▼   │                              ▼  │
//!                 Restarting ──again──► Preparing       Dead
//! ```
//!
//! The keeper of a container feeds [`step`] with requests and with what became of earlier effects; it writes the new
//! state durably, then performs the effects. Stop, restart and forced removal are made of these steps by the engine.

use crate::container::Ended;
use crate::{Error, ErrorKind};
use serde::{Deserialize, Serialize};
use std::time::SystemTime;

/// Where a container is in its life. What is written to the store is exactly this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// Never ran, nothing of it in the kernel.
    Created,
    /// A shim is making it; kernel resources may exist. `last` = how its former run ended.
    Preparing {
        start: bool,
        last: Option<Ended>,
    },
    /// Made; the user's program waits to be run.
    Prepared {
        pid: u32,
        last: Option<Ended>,
    },
    /// The user's program is being run.
    Starting {
        pid: u32,
        last: Option<Ended>,
    },
    Running {
        pid: u32,
        started_at: SystemTime,
    },
    Pausing {
        pid: u32,
        started_at: SystemTime,
    },
    Paused {
        pid: u32,
        started_at: SystemTime,
    },
    Resuming {
        pid: u32,
        started_at: SystemTime,
    },
    /// Its process ended (or never ran: `ended` is `None`); the shim takes down what is left. `start` = start again after.
    Clearing {
        ended: Option<Ended>,
        start: bool,
    },
    Exited {
        ended: Ended,
    },
    /// Its policy wants another run; it waits a while before.
    Restarting {
        ended: Ended,
    },
    /// Its things are being deleted.
    Removing {
        ended: Option<Ended>,
    },
    /// Deletion met an obstacle; it is tried again in the background.
    Dead {
        ended: Option<Ended>,
        reason: String,
    },
    /// Gone; the keeper ends.
    Removed,
}

/// What happens to a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Make it ready to run.
    Prepare,
    /// Run it.
    Start,
    /// Send a signal to its process.
    Kill {
        signal: i32,
    },
    Pause,
    Resume,
    /// Delete it, if it does not run.
    Remove,
    /// The shim made the container.
    Prepared {
        pid: u32,
    },
    /// It could not be made, or could not be run; what is left must be cleared.
    Failed {
        ended: Ended,
        kind: ErrorKind,
    },
    /// The user's program runs.
    Started {
        at: SystemTime,
    },
    /// The shim froze it, or could not.
    PauseDone {
        ok: bool,
    },
    /// The shim thawed it, or could not.
    ResumeDone {
        ok: bool,
    },
    /// Its process ended.
    Exit {
        ended: Ended,
    },
    /// Nothing of the run is left in the kernel.
    Cleared,
    /// Nothing of the container is left at all.
    Gone,
    /// Something could not be deleted.
    Stuck {
        reason: String,
    },
    /// It was prepared too long ago without being started.
    Expired,
    /// Time to try the deletion again.
    Retry,
    /// Its policy wants another run, after a while.
    Backoff,
    /// The while is over.
    Again,
    /// Somebody stopped it: there is to be no other run.
    GiveUp,
}

/// What the keeper must do after the new state is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Have a shim make the container; ends in `Prepared` or `Failed`.
    Prepare,
    /// Have the shim run the user's program; ends in `Started` or `Failed`.
    Start,
    Signal(i32),
    /// Ends in `PauseDone`.
    Pause,
    /// Ends in `ResumeDone`.
    Resume,
    /// Break off what the shim is doing, so that it ends in `Failed`.
    Abort,
    /// Take down what the shim holds; ends in `Cleared`.
    Clear,
    /// Delete snapshot, files and records; ends in `Gone` or `Stuck`.
    Delete,
    /// Ask for `Retry` later.
    RetryLater,
    /// Ask for `Expired` in a minute.
    ExpireLater,
    /// Ask for `Again` after a while.
    AgainLater,
    /// Answer those who asked for this.
    Done(Request),
    /// Refuse those who asked for this.
    Refuse(Request, Refusal),
}

/// Requests that somebody waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Request {
    Prepare,
    Start,
    Kill,
    Pause,
    Resume,
    Remove,
}

impl Request {
    pub const ALL: [Request; 6] = [
        Self::Prepare,
        Self::Start,
        Self::Kill,
        Self::Pause,
        Self::Resume,
        Self::Remove,
    ];
}

/// Why a request is not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    AlreadyRunning,
    NotRunning,
    Paused,
    NotPaused,
    AlreadyPaused,
    /// It is being deleted, or is gone.
    Removing,
    /// It runs; stop it first.
    Running,
    /// It waits for its next run.
    Restarting,
    /// It waits for its next run, so it is not removed; stop it first.
    NotWhileRestarting,
    /// It is being started or frozen; try again.
    Busy(&'static str),
    /// The effect failed.
    Failed(ErrorKind, String),
}

impl Refusal {
    /// The error a caller sees, in Docker's words. As there, some name the container
    /// and others say its id.
    pub fn into_error(self, name: &str, id: &str) -> Error {
        match self {
            Self::AlreadyRunning => Error::new(ErrorKind::NotModified, format!("container {name} is already running")),
            Self::NotRunning => Error::conflict(format!("container {id} is not running")),
            Self::Paused => Error::conflict("cannot start a paused container, try unpause instead"),
            Self::NotPaused => Error::conflict(format!("Container {id} is not paused")),
            Self::AlreadyPaused => Error::conflict(format!("Container {id} is already paused")),
            Self::Removing => Error::conflict(format!(
                "container {name} is marked for removal and cannot be started or changed"
            )),
            Self::Running => Error::conflict(format!(
                "cannot remove container \"{name}\": container is running: stop the container before removing or force remove"
            )),
            Self::Restarting => Error::conflict(format!(
                "Container {id} is restarting, wait until the container is running"
            )),
            Self::NotWhileRestarting => Error::conflict(format!(
                "cannot remove container \"{name}\": container is restarting: stop the container before removing or force remove"
            )),
            Self::Busy(what) => Error::conflict(format!("container {name} is {what}, try again when that is done")),
            Self::Failed(kind, text) => Error::new(kind, text),
        }
    }
}

impl State {
    /// Docker's word for it.
    pub fn status(&self) -> Status {
        match self {
            Self::Created => Status::Created,
            Self::Preparing { last, .. } | Self::Prepared { last, .. } | Self::Starting { last, .. } => {
                ran(last.as_ref())
            }
            Self::Running { .. } | Self::Pausing { .. } => Status::Running,
            Self::Paused { .. } | Self::Resuming { .. } => Status::Paused,
            Self::Clearing { ended, .. } => ran(ended.as_ref()),
            Self::Exited { ended } => ran(Some(ended)),
            Self::Restarting { .. } => Status::Restarting,
            Self::Removing { .. } => Status::Removing,
            Self::Dead { .. } => Status::Dead,
            Self::Removed => Status::Removing,
        }
    }

    /// The user's program runs, frozen or not.
    pub fn is_running(&self) -> bool {
        matches!(
            self,
            Self::Running { .. } | Self::Pausing { .. } | Self::Paused { .. } | Self::Resuming { .. }
        )
    }

    /// Something of it may be in the kernel, so a starting daemon must look.
    pub fn may_hold_resources(&self) -> bool {
        !matches!(
            self,
            Self::Created | Self::Exited { .. } | Self::Restarting { .. } | Self::Removed
        )
    }

    pub fn pid(&self) -> Option<u32> {
        match self {
            Self::Running { pid, .. }
            | Self::Pausing { pid, .. }
            | Self::Paused { pid, .. }
            | Self::Resuming { pid, .. } => Some(*pid),
            Self::Prepared { pid, .. } | Self::Starting { pid, .. } => Some(*pid),
            Self::Created
            | Self::Preparing { .. }
            | Self::Clearing { .. }
            | Self::Exited { .. }
            | Self::Restarting { .. }
            | Self::Removing { .. }
            | Self::Dead { .. }
            | Self::Removed => None,
        }
    }

    pub fn started_at(&self) -> Option<SystemTime> {
        match self {
            Self::Running { started_at, .. }
            | Self::Pausing { started_at, .. }
            | Self::Paused { started_at, .. }
            | Self::Resuming { started_at, .. } => Some(*started_at),
            Self::Created
            | Self::Preparing { .. }
            | Self::Prepared { .. }
            | Self::Starting { .. }
            | Self::Clearing { .. }
            | Self::Exited { .. }
            | Self::Restarting { .. }
            | Self::Removing { .. }
            | Self::Dead { .. }
            | Self::Removed => self.ended().and_then(|ended| ended.started_at),
        }
    }

    /// How the last finished run ended.
    pub fn ended(&self) -> Option<&Ended> {
        match self {
            Self::Preparing { last, .. } | Self::Prepared { last, .. } | Self::Starting { last, .. } => last.as_ref(),
            Self::Clearing { ended, .. } | Self::Removing { ended } | Self::Dead { ended, .. } => ended.as_ref(),
            Self::Exited { ended } | Self::Restarting { ended } => Some(ended),
            Self::Created
            | Self::Running { .. }
            | Self::Pausing { .. }
            | Self::Paused { .. }
            | Self::Resuming { .. }
            | Self::Removed => None,
        }
    }
}

/// A start that failed leaves a container as it was for its owner: created, never run.
fn ran(last: Option<&Ended>) -> Status {
    match last {
        Some(ended) if ended.started_at.is_some() => Status::Exited,
        Some(_) | None => Status::Created,
    }
}

/// Docker's status words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Created,
    Running,
    Paused,
    Restarting,
    Removing,
    Exited,
    Dead,
}

impl Status {
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Removing => "removing",
            Self::Exited => "exited",
            Self::Dead => "dead",
        }
    }
}

mod table;
pub use table::step;

#[cfg(test)]
mod tests;
