//! Every state answers every event.

use super::{Effect, Event, Refusal, Request, State};
use crate::ErrorKind;
use Effect::{Abort, AgainLater, Clear, Delete, Done, ExpireLater, Refuse, RetryLater, Signal};

type Next = (State, Vec<Effect>);

/// The whole behaviour of a container. Pure: the same pair always gives the same answer.
pub fn step(state: State, event: Event) -> Next {
    match event {
        Event::Prepare => prepare(state),
        Event::Start => start(state),
        Event::Kill { signal } => kill(state, signal),
        Event::Pause => pause(state),
        Event::Resume => resume(state),
        Event::Remove => remove(state),
        Event::Prepared { pid } => prepared(state, pid),
        Event::Failed { ended, kind } => failed(state, ended, kind),
        Event::Started { at } => started(state, at),
        Event::PauseDone { ok } => pause_done(state, ok),
        Event::ResumeDone { ok } => resume_done(state, ok),
        Event::Exit { ended } => exit(state, ended),
        Event::Cleared => cleared(state),
        Event::Gone => gone(state),
        Event::Stuck { reason } => stuck(state, reason),
        Event::Expired => expired(state),
        Event::Retry => retry(state),
        Event::Backoff => backoff(state),
        Event::Again => again(state),
        Event::GiveUp => give_up(state),
    }
}

fn refuse(state: State, request: Request, why: Refusal) -> Next {
    (state, vec![Refuse(request, why)])
}

/// News that no longer matters.
fn stale(state: State) -> Next {
    (state, Vec::new())
}

fn prepare(state: State) -> Next {
    match state {
        State::Created => (
            State::Preparing {
                start: false,
                last: None,
            },
            vec![Effect::Prepare],
        ),
        State::Exited { ended } | State::Restarting { ended } => (
            State::Preparing {
                start: false,
                last: Some(ended),
            },
            vec![Effect::Prepare],
        ),
        State::Preparing { .. } => stale(state),
        State::Prepared { .. } | State::Starting { .. } => (state, vec![Done(Request::Prepare)]),
        State::Running { .. } | State::Pausing { .. } | State::Paused { .. } | State::Resuming { .. } => {
            (state, vec![Done(Request::Prepare)])
        }
        State::Clearing { .. } => refuse(
            state,
            Request::Prepare,
            Refusal::Busy("being cleared after its last run"),
        ),
        State::Removing { .. } | State::Dead { .. } | State::Removed => {
            refuse(state, Request::Prepare, Refusal::Removing)
        }
    }
}

fn start(state: State) -> Next {
    match state {
        State::Created => (
            State::Preparing {
                start: true,
                last: None,
            },
            vec![Effect::Prepare],
        ),
        State::Exited { ended } | State::Restarting { ended } => (
            State::Preparing {
                start: true,
                last: Some(ended),
            },
            vec![Effect::Prepare],
        ),
        State::Preparing { last, .. } => (State::Preparing { start: true, last }, Vec::new()),
        State::Prepared { pid, last } => (State::Starting { pid, last }, vec![Effect::Start]),
        State::Starting { .. } => stale(state),
        State::Running { .. } | State::Pausing { .. } => refuse(state, Request::Start, Refusal::AlreadyRunning),
        State::Paused { .. } | State::Resuming { .. } => refuse(state, Request::Start, Refusal::Paused),
        State::Clearing { ended, .. } => (State::Clearing { ended, start: true }, Vec::new()),
        State::Removing { .. } | State::Dead { .. } | State::Removed => {
            refuse(state, Request::Start, Refusal::Removing)
        }
    }
}

fn kill(state: State, signal: i32) -> Next {
    match state {
        State::Running { .. } | State::Pausing { .. } | State::Resuming { .. } => (state, vec![Signal(signal)]),
        State::Paused { pid, started_at } => (
            State::Resuming { pid, started_at },
            vec![Signal(signal), Effect::Resume],
        ),
        // A start stuck in a hook is broken off by the signal that cannot be caught.
        State::Preparing { .. } | State::Starting { .. } if signal == KILL => (state, vec![Abort, Done(Request::Kill)]),
        State::Preparing { .. } | State::Starting { .. } => refuse(
            state,
            Request::Kill,
            Refusal::Busy("being started; SIGKILL breaks that off"),
        ),
        State::Prepared { last, .. } if signal == KILL => (
            State::Clearing {
                ended: last,
                start: false,
            },
            vec![Clear, Done(Request::Kill)],
        ),
        State::Prepared { .. }
        | State::Created
        | State::Clearing { .. }
        | State::Exited { .. }
        | State::Restarting { .. }
        | State::Removing { .. }
        | State::Dead { .. }
        | State::Removed => refuse(state, Request::Kill, Refusal::NotRunning),
    }
}

const KILL: i32 = 9;

fn pause(state: State) -> Next {
    match state {
        State::Running { pid, started_at } => (State::Pausing { pid, started_at }, vec![Effect::Pause]),
        State::Pausing { .. } => stale(state),
        State::Restarting { .. } => refuse(state, Request::Pause, Refusal::Restarting),
        State::Paused { .. } => refuse(state, Request::Pause, Refusal::AlreadyPaused),
        State::Resuming { .. } => refuse(state, Request::Pause, Refusal::Busy("being resumed")),
        State::Removing { .. } | State::Dead { .. } | State::Removed => {
            refuse(state, Request::Pause, Refusal::Removing)
        }
        State::Created
        | State::Preparing { .. }
        | State::Prepared { .. }
        | State::Starting { .. }
        | State::Clearing { .. }
        | State::Exited { .. } => refuse(state, Request::Pause, Refusal::NotRunning),
    }
}

fn resume(state: State) -> Next {
    match state {
        State::Paused { pid, started_at } => (State::Resuming { pid, started_at }, vec![Effect::Resume]),
        State::Resuming { .. } => stale(state),
        State::Pausing { .. } => refuse(state, Request::Resume, Refusal::Busy("being paused")),
        State::Removing { .. } | State::Dead { .. } | State::Removed => {
            refuse(state, Request::Resume, Refusal::Removing)
        }
        State::Running { .. }
        | State::Created
        | State::Preparing { .. }
        | State::Prepared { .. }
        | State::Starting { .. }
        | State::Clearing { .. }
        | State::Exited { .. }
        | State::Restarting { .. } => refuse(state, Request::Resume, Refusal::NotPaused),
    }
}

fn remove(state: State) -> Next {
    match state {
        State::Created => (State::Removing { ended: None }, vec![Delete]),
        State::Exited { ended } => (State::Removing { ended: Some(ended) }, vec![Delete]),
        State::Dead { ended, .. } => (State::Removing { ended }, vec![Delete]),
        State::Removing { .. } => stale(state),
        State::Restarting { .. } => refuse(state, Request::Remove, Refusal::NotWhileRestarting),
        State::Removed => (state, vec![Done(Request::Remove)]),
        State::Clearing { .. } => refuse(
            state,
            Request::Remove,
            Refusal::Busy("being cleared after its last run"),
        ),
        State::Preparing { .. } | State::Prepared { .. } | State::Starting { .. } => {
            refuse(state, Request::Remove, Refusal::Busy("being started"))
        }
        State::Running { .. } | State::Pausing { .. } | State::Paused { .. } | State::Resuming { .. } => {
            refuse(state, Request::Remove, Refusal::Running)
        }
    }
}

fn prepared(state: State, pid: u32) -> Next {
    match state {
        State::Preparing { start: true, last } => (
            State::Starting { pid, last },
            vec![Done(Request::Prepare), Effect::Start],
        ),
        State::Preparing { start: false, last } => {
            (State::Prepared { pid, last }, vec![Done(Request::Prepare), ExpireLater])
        }
        State::Created
        | State::Prepared { .. }
        | State::Starting { .. }
        | State::Running { .. }
        | State::Pausing { .. }
        | State::Paused { .. }
        | State::Resuming { .. }
        | State::Clearing { .. }
        | State::Exited { .. }
        | State::Restarting { .. }
        | State::Removing { .. }
        | State::Dead { .. }
        | State::Removed => stale(state),
    }
}

fn failed(state: State, ended: Ended, kind: ErrorKind) -> Next {
    match state {
        State::Preparing { last, .. } | State::Starting { last, .. } => {
            // One that ran before has ended, and is not as if it had never been.
            let ended = Ended {
                started_at: last.and_then(|last| last.started_at),
                ..ended
            };
            let why = Refusal::Failed(kind, ended.error.clone());
            let replies = [Request::Prepare, Request::Start].map(|request| Refuse(request, why.clone()));
            let mut effects = Vec::from(replies);
            effects.push(Clear);
            (
                State::Clearing {
                    ended: Some(ended),
                    start: false,
                },
                effects,
            )
        }
        State::Created
        | State::Prepared { .. }
        | State::Running { .. }
        | State::Pausing { .. }
        | State::Paused { .. }
        | State::Resuming { .. }
        | State::Clearing { .. }
        | State::Exited { .. }
        | State::Restarting { .. }
        | State::Removing { .. }
        | State::Dead { .. }
        | State::Removed => stale(state),
    }
}

fn started(state: State, at: std::time::SystemTime) -> Next {
    match state {
        State::Starting { pid, .. } => (State::Running { pid, started_at: at }, vec![Done(Request::Start)]),
        State::Created
        | State::Preparing { .. }
        | State::Prepared { .. }
        | State::Running { .. }
        | State::Pausing { .. }
        | State::Paused { .. }
        | State::Resuming { .. }
        | State::Clearing { .. }
        | State::Exited { .. }
        | State::Restarting { .. }
        | State::Removing { .. }
        | State::Dead { .. }
        | State::Removed => stale(state),
    }
}

fn pause_done(state: State, ok: bool) -> Next {
    match state {
        State::Pausing { pid, started_at } if ok => (State::Paused { pid, started_at }, vec![Done(Request::Pause)]),
        State::Pausing { pid, started_at } => {
            let why = Refusal::Failed(ErrorKind::Internal, "the container could not be frozen".to_owned());
            (State::Running { pid, started_at }, vec![Refuse(Request::Pause, why)])
        }
        State::Created
        | State::Preparing { .. }
        | State::Prepared { .. }
        | State::Starting { .. }
        | State::Running { .. }
        | State::Paused { .. }
        | State::Resuming { .. }
        | State::Clearing { .. }
        | State::Exited { .. }
        | State::Restarting { .. }
        | State::Removing { .. }
        | State::Dead { .. }
        | State::Removed => stale(state),
    }
}

fn resume_done(state: State, ok: bool) -> Next {
    match state {
        State::Resuming { pid, started_at } if ok => (State::Running { pid, started_at }, vec![Done(Request::Resume)]),
        State::Resuming { pid, started_at } => {
            let why = Refusal::Failed(ErrorKind::Internal, "the container could not be thawed".to_owned());
            (State::Paused { pid, started_at }, vec![Refuse(Request::Resume, why)])
        }
        State::Created
        | State::Preparing { .. }
        | State::Prepared { .. }
        | State::Starting { .. }
        | State::Running { .. }
        | State::Pausing { .. }
        | State::Paused { .. }
        | State::Clearing { .. }
        | State::Exited { .. }
        | State::Restarting { .. }
        | State::Removing { .. }
        | State::Dead { .. }
        | State::Removed => stale(state),
    }
}

fn exit(state: State, ended: Ended) -> Next {
    match state {
        State::Running { .. } => (
            State::Clearing {
                ended: Some(ended),
                start: false,
            },
            vec![Clear],
        ),
        State::Pausing { .. } => (
            State::Clearing {
                ended: Some(ended),
                start: false,
            },
            vec![Refuse(Request::Pause, Refusal::NotRunning), Clear],
        ),
        State::Paused { .. } => (
            State::Clearing {
                ended: Some(ended),
                start: false,
            },
            vec![Clear],
        ),
        State::Resuming { .. } => (
            State::Clearing {
                ended: Some(ended),
                start: false,
            },
            vec![Refuse(Request::Resume, Refusal::NotRunning), Clear],
        ),
        // It ran and ended before the answer to its start came.
        State::Starting { .. } => (
            State::Clearing {
                ended: Some(ended),
                start: false,
            },
            vec![Done(Request::Start), Clear],
        ),
        State::Prepared { last, .. } => (
            State::Clearing {
                ended: last,
                start: false,
            },
            vec![Clear],
        ),
        State::Preparing { .. } => failed(state, ended, ErrorKind::Internal),
        State::Created
        | State::Clearing { .. }
        | State::Exited { .. }
        | State::Restarting { .. }
        | State::Removing { .. }
        | State::Dead { .. }
        | State::Removed => stale(state),
    }
}

fn cleared(state: State) -> Next {
    match state {
        State::Clearing { ended, start: true } => (
            State::Preparing {
                start: true,
                last: ended,
            },
            vec![Effect::Prepare],
        ),
        State::Clearing {
            ended: Some(ended),
            start: false,
        } => (State::Exited { ended }, Vec::new()),
        State::Clearing {
            ended: None,
            start: false,
        } => (State::Created, Vec::new()),
        State::Created
        | State::Preparing { .. }
        | State::Prepared { .. }
        | State::Starting { .. }
        | State::Running { .. }
        | State::Pausing { .. }
        | State::Paused { .. }
        | State::Resuming { .. }
        | State::Exited { .. }
        | State::Restarting { .. }
        | State::Removing { .. }
        | State::Dead { .. }
        | State::Removed => stale(state),
    }
}

fn gone(state: State) -> Next {
    match state {
        State::Removing { .. } => (State::Removed, vec![Done(Request::Remove)]),
        State::Created
        | State::Preparing { .. }
        | State::Prepared { .. }
        | State::Starting { .. }
        | State::Running { .. }
        | State::Pausing { .. }
        | State::Paused { .. }
        | State::Resuming { .. }
        | State::Clearing { .. }
        | State::Exited { .. }
        | State::Restarting { .. }
        | State::Dead { .. }
        | State::Removed => stale(state),
    }
}

fn stuck(state: State, reason: String) -> Next {
    match state {
        State::Removing { ended } => {
            let why = Refusal::Failed(ErrorKind::FailedPrecondition, reason.clone());
            (
                State::Dead { ended, reason },
                vec![Refuse(Request::Remove, why), RetryLater],
            )
        }
        State::Created
        | State::Preparing { .. }
        | State::Prepared { .. }
        | State::Starting { .. }
        | State::Running { .. }
        | State::Pausing { .. }
        | State::Paused { .. }
        | State::Resuming { .. }
        | State::Clearing { .. }
        | State::Exited { .. }
        | State::Restarting { .. }
        | State::Dead { .. }
        | State::Removed => stale(state),
    }
}

fn expired(state: State) -> Next {
    match state {
        State::Prepared { last, .. } => (
            State::Clearing {
                ended: last,
                start: false,
            },
            vec![Clear],
        ),
        State::Created
        | State::Preparing { .. }
        | State::Starting { .. }
        | State::Running { .. }
        | State::Pausing { .. }
        | State::Paused { .. }
        | State::Resuming { .. }
        | State::Clearing { .. }
        | State::Exited { .. }
        | State::Restarting { .. }
        | State::Removing { .. }
        | State::Dead { .. }
        | State::Removed => stale(state),
    }
}

fn retry(state: State) -> Next {
    match state {
        State::Dead { ended, .. } => (State::Removing { ended }, vec![Delete]),
        State::Created
        | State::Preparing { .. }
        | State::Prepared { .. }
        | State::Starting { .. }
        | State::Running { .. }
        | State::Pausing { .. }
        | State::Paused { .. }
        | State::Resuming { .. }
        | State::Clearing { .. }
        | State::Exited { .. }
        | State::Restarting { .. }
        | State::Removing { .. }
        | State::Removed => stale(state),
    }
}

fn backoff(state: State) -> Next {
    match state {
        State::Exited { ended } => (State::Restarting { ended }, vec![AgainLater]),
        State::Created
        | State::Preparing { .. }
        | State::Prepared { .. }
        | State::Starting { .. }
        | State::Running { .. }
        | State::Pausing { .. }
        | State::Paused { .. }
        | State::Resuming { .. }
        | State::Clearing { .. }
        | State::Restarting { .. }
        | State::Removing { .. }
        | State::Dead { .. }
        | State::Removed => stale(state),
    }
}

fn again(state: State) -> Next {
    match state {
        State::Restarting { ended } => (
            State::Preparing {
                start: true,
                last: Some(ended),
            },
            vec![Effect::Prepare],
        ),
        State::Created
        | State::Preparing { .. }
        | State::Prepared { .. }
        | State::Starting { .. }
        | State::Running { .. }
        | State::Pausing { .. }
        | State::Paused { .. }
        | State::Resuming { .. }
        | State::Clearing { .. }
        | State::Exited { .. }
        | State::Removing { .. }
        | State::Dead { .. }
        | State::Removed => stale(state),
    }
}

fn give_up(state: State) -> Next {
    match state {
        State::Restarting { ended } => (State::Exited { ended }, Vec::new()),
        State::Created
        | State::Preparing { .. }
        | State::Prepared { .. }
        | State::Starting { .. }
        | State::Running { .. }
        | State::Pausing { .. }
        | State::Paused { .. }
        | State::Resuming { .. }
        | State::Clearing { .. }
        | State::Exited { .. }
        | State::Removing { .. }
        | State::Dead { .. }
        | State::Removed => stale(state),
    }
}

use crate::container::Ended;
