//! The life of a task as a pure function.
//!
//! ```text
//!  Making ──► Created ──► Running ◄──► Paused
//!               │            │            │
//!  Finding ──► (any)         ▼            │
//!               └────────► Stopped ◄──────┘        any ──► Gone (deleted, or its shim died)
//! ```

use super::{ProcessExit, ProcessStatus};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Its shim and its process are being made: nobody sees it yet.
    Making,
    /// The daemon has begun anew and looks for its shim.
    Finding,
    Created {
        pid: u32,
    },
    Running {
        pid: u32,
    },
    Paused {
        pid: u32,
    },
    /// Its process ended; its shim waits for the deletion.
    Stopped {
        pid: u32,
        exit: ProcessExit,
    },
    /// There is no such task any more. How it ended, for those who still wait for that.
    Gone {
        pid: u32,
        exit: Option<ProcessExit>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// The shim has made it.
    Made {
        pid: u32,
    },
    /// Its shim was found again and says so.
    Found {
        pid: u32,
        status: ProcessStatus,
        exit: Option<ProcessExit>,
    },
    Started {
        pid: u32,
    },
    Paused,
    Resumed,
    Ended(ProcessExit),
    /// Deleted, or lost with its shim; the exit, if it is known better than before.
    Gone(Option<ProcessExit>),
}

impl State {
    pub(super) fn pid(self) -> u32 {
        match self {
            Self::Making | Self::Finding => 0,
            Self::Created { pid }
            | Self::Running { pid }
            | Self::Paused { pid }
            | Self::Stopped { pid, .. }
            | Self::Gone { pid, .. } => pid,
        }
    }

    pub(super) fn exit(self) -> Option<ProcessExit> {
        match self {
            Self::Stopped { exit, .. } => Some(exit),
            Self::Gone { exit, .. } => exit,
            Self::Making | Self::Finding | Self::Created { .. } | Self::Running { .. } | Self::Paused { .. } => None,
        }
    }

    /// What clients see; none of a task that is not there yet, or not any more.
    pub(super) fn status(self) -> Option<ProcessStatus> {
        match self {
            Self::Making | Self::Gone { .. } => None,
            Self::Finding => Some(ProcessStatus::Unknown),
            Self::Created { .. } => Some(ProcessStatus::Created),
            Self::Running { .. } => Some(ProcessStatus::Running),
            Self::Paused { .. } => Some(ProcessStatus::Paused),
            Self::Stopped { .. } => Some(ProcessStatus::Stopped),
        }
    }

    pub(super) fn is_gone(self) -> bool {
        matches!(self, Self::Gone { .. })
    }

    /// Its first process has ended, one way or another.
    pub(super) fn is_over(self) -> bool {
        matches!(self, Self::Stopped { .. } | Self::Gone { .. })
    }
}

/// News may come late: an end may be known before the start that it ends.
pub(super) fn step(state: State, event: Event) -> State {
    let pid = state.pid();
    match (state, event) {
        (State::Gone { .. }, _) => state,
        (_, Event::Gone(exit)) => State::Gone {
            pid,
            exit: state.exit().or(exit),
        },
        (State::Stopped { .. }, _) => state,
        (_, Event::Ended(exit)) => State::Stopped { pid, exit },
        (State::Making | State::Finding, Event::Made { pid }) => State::Created { pid },
        (State::Making | State::Finding, Event::Found { pid, status, exit }) => found(pid, status, exit),
        (State::Making | State::Finding, Event::Started { pid }) => State::Running { pid },
        (State::Making | State::Finding, Event::Paused | Event::Resumed) => state,
        (
            State::Created { .. } | State::Running { .. } | State::Paused { .. },
            Event::Made { .. } | Event::Found { .. },
        ) => state,
        (State::Created { .. }, Event::Started { pid }) => State::Running { pid },
        (State::Running { .. } | State::Paused { .. }, Event::Started { .. }) => state,
        (State::Created { pid } | State::Running { pid } | State::Paused { pid }, Event::Paused) => {
            State::Paused { pid }
        }
        (State::Created { .. } | State::Running { .. }, Event::Resumed) => state,
        (State::Paused { pid }, Event::Resumed) => State::Running { pid },
    }
}

fn found(pid: u32, status: ProcessStatus, exit: Option<ProcessExit>) -> State {
    match (status, exit) {
        (ProcessStatus::Created, _) => State::Created { pid },
        (ProcessStatus::Paused | ProcessStatus::Pausing, _) => State::Paused { pid },
        (ProcessStatus::Stopped, Some(exit)) => State::Stopped { pid, exit },
        (ProcessStatus::Running | ProcessStatus::Unknown | ProcessStatus::Stopped, _) => State::Running { pid },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    fn exit(status: u32) -> ProcessExit {
        ProcessExit {
            status,
            at: SystemTime::UNIX_EPOCH,
        }
    }

    fn walk(events: &[Event]) -> State {
        events.iter().fold(State::Making, |state, event| step(state, *event))
    }

    #[test]
    fn a_life() {
        let (made, started) = (Event::Made { pid: 7 }, Event::Started { pid: 7 });
        assert_eq!(walk(&[made]), State::Created { pid: 7 });
        assert_eq!(walk(&[made, started, Event::Paused]), State::Paused { pid: 7 });
        assert_eq!(
            walk(&[made, started, Event::Paused, Event::Resumed]),
            State::Running { pid: 7 }
        );
        let ended = walk(&[made, started, Event::Ended(exit(3))]);
        assert_eq!(ended.exit(), Some(exit(3)));
        assert_eq!(
            step(ended, Event::Gone(Some(exit(255)))).exit(),
            Some(exit(3)),
            "what is known stays"
        );
    }

    #[test]
    fn an_end_stays_an_end() {
        let all = [
            Event::Made { pid: 9 },
            Event::Found {
                pid: 9,
                status: ProcessStatus::Running,
                exit: None,
            },
            Event::Started { pid: 9 },
            Event::Paused,
            Event::Resumed,
            Event::Ended(exit(1)),
            Event::Gone(Some(exit(1))),
        ];
        let stopped = walk(&[Event::Made { pid: 7 }, Event::Ended(exit(0))]);
        let gone = step(stopped, Event::Gone(None));
        for event in all {
            assert!(step(stopped, event).is_over(), "{event:?}");
            assert_eq!(step(stopped, event).exit(), Some(exit(0)), "{event:?}");
            assert_eq!(step(gone, event), gone, "{event:?}");
        }
    }

    #[test]
    fn what_a_shim_says_after_a_restart_holds() {
        let find = |status, exit| step(State::Finding, Event::Found { pid: 5, status, exit });
        assert_eq!(find(ProcessStatus::Paused, None), State::Paused { pid: 5 });
        assert_eq!(find(ProcessStatus::Stopped, Some(exit(2))).exit(), Some(exit(2)));
        assert_eq!(find(ProcessStatus::Unknown, None), State::Running { pid: 5 });
    }
}
