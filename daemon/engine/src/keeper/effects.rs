//! What a keeper does after its decision is durable. Everything here runs beside the actor and reports back to it.

use super::actor::{Actor, broken_off};
use super::{Keeper, Message, ended_by};
use crate::container::{make, teardown};
use crate::failpoint;
use gantry_core::container::Ended;
use gantry_core::lifecycle::{Effect, Event, Request, State};
use gantry_core::{Error, ErrorKind};
use gantry_task::{Exit, Shim};
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;
use tracing::{Instrument, Span, info, warn};

/// Between two tries to clear what a run left.
const CLEAR_RETRY: Duration = Duration::from_secs(1);

impl Actor {
    pub(super) fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Prepare => self.make(),
            Effect::Start => self.start(),
            Effect::Signal(signal) => self.signal(signal),
            Effect::Pause => self.freeze(),
            Effect::Resume => self.thaw(),
            Effect::Abort => self.abort(),
            Effect::Clear => self.clear(),
            Effect::Delete => self.delete(),
            Effect::RetryLater => self.retry_later(),
            Effect::ExpireLater => self.expire_later(),
            Effect::AgainLater => self.again_later(),
            Effect::Done(request) => self.answer(request, &Ok(())),
            Effect::Refuse(request, why) => self.answer(request, &Err(why)),
        }
    }

    /// Runs `work` beside the actor and puts its news into the inbox.
    fn beside<F>(&self, work: F) -> tokio::task::AbortHandle
    where
        F: Future<Output = Message> + Send + 'static,
    {
        let inbox = self.inbox.clone();
        let task = tokio::spawn(work.instrument(Span::current()));
        let handle = task.abort_handle();
        tokio::spawn(async move {
            let news = match task.await {
                Ok(message) => message,
                Err(join) if join.is_cancelled() => failed(
                    &Error::new(ErrorKind::Cancelled, "the start was broken off by SIGKILL"),
                    137,
                ),
                Err(join) => failed(&Error::internal(format!("the keeper's work ended early: {join}")), 128),
            };
            // A closed inbox means the container is gone and the news with it.
            let _ = inbox.send(news).await;
        });
        handle
    }

    fn make(&mut self) {
        self.run += 1;
        self.broken_off = false;
        let (context, record) = (self.context.clone(), self.keeper.record());
        let (under_way, steps) = mpsc::channel(1);
        self.steps = Some(steps);
        let handle = self.beside(async move {
            match make::make(&context, &record, under_way).await {
                Ok((shim, pid)) => Message::Made { shim, pid },
                Err(error) => not_started(&error),
            }
        });
        self.making = Some(handle);
    }

    fn start(&mut self) {
        let Some(shim) = self.shim.clone() else {
            let lost = Error::internal("the container's shim is not there");
            let news = failed(&lost, 128);
            self.beside(async move { news });
            return;
        };
        self.watch(shim.clone(), true);
        let handle = self.beside(async move {
            failpoint!("engine::start");
            match shim.start(None).await.map_err(Error::from) {
                Ok(_) => Message::News(Event::Started { at: SystemTime::now() }),
                Err(error) => not_started(&error),
            }
        });
        self.making = Some(handle);
    }

    /// Waits for the end of the container's process. With `starting` the answer to the start comes first: a short program may end
    /// while its poststart hooks still run, and whether they fail decides whether it was started at all.
    pub(super) fn watch(&self, shim: Shim, starting: bool) {
        let (context, keeper, run) = (self.context.clone(), self.keeper.clone(), self.run);
        self.beside(async move {
            let ended = match shim.wait(None).await {
                Ok(exit) => ended_from(exit),
                Err(error) => {
                    warn!(err = %error, "the shim went away");
                    make::outcome(&context, keeper.id()).await
                }
            };
            if starting {
                keeper
                    .until(None, |view| !matches!(view.state, State::Starting { .. }))
                    .await;
            }
            Message::Ended(run, ended)
        });
    }

    fn signal(&mut self, signal: i32) {
        if signal == nix::libc::SIGKILL && self.give_up_searching() {
            let ended = ended_by(255, None, "it was killed while its shim did not answer");
            self.later(Duration::ZERO, Event::Exit { ended });
            return self.answer(Request::Kill, &Ok(()));
        }
        let waiters = self.take_waiting(Request::Kill);
        let (shim, keeper, searching) = (self.shim.clone(), self.keeper.clone(), self.searching.is_some());
        let work = async move {
            let result = match shim {
                Some(shim) => shim.kill(None, signal.unsigned_abs(), false).await.map_err(Error::from),
                None if searching => Err(unanswered(&keeper)),
                None => Err(keeper.not_running()),
            };
            let (kind, text) = match &result {
                Ok(()) => (None, String::new()),
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    (Some(ErrorKind::Conflict), keeper.not_running().to_string())
                }
                Err(error) => (Some(error.kind()), error.to_string()),
            };
            for waiter in waiters {
                let _ = waiter.send(kind.map_or(Ok(()), |kind| Err(Error::new(kind, text.clone()))));
            }
        };
        tokio::spawn(work.instrument(Span::current()));
    }

    fn freeze(&self) {
        let shim = self.shim.clone();
        self.beside(async move {
            let result = match shim {
                Some(shim) => shim.pause().await.map_err(Error::from),
                None => Err(Error::internal("the container's shim is not there")),
            };
            if let Err(error) = &result {
                warn!(err = %error, "the container could not be frozen");
            }
            Message::News(Event::PauseDone { ok: result.is_ok() })
        });
    }

    fn thaw(&self) {
        let shim = self.shim.clone();
        self.beside(async move {
            let result = match shim {
                Some(shim) => shim.resume().await.map_err(Error::from),
                None => Err(Error::internal("the container's shim is not there")),
            };
            if let Err(error) = &result {
                warn!(err = %error, "the container could not be thawed");
            }
            Message::News(Event::ResumeDone { ok: result.is_ok() })
        });
    }

    fn abort(&mut self) {
        self.broken_off = true;
        if self.give_up_searching() {
            self.later(Duration::ZERO, broken_off());
        }
        if let Some(making) = self.making.take() {
            making.abort();
        }
    }

    /// Whether its shim was still being looked for.
    fn give_up_searching(&mut self) -> bool {
        let searching = self.searching.take();
        if let Some(searching) = &searching {
            searching.abort();
        }
        searching.is_some()
    }

    fn clear(&mut self) {
        let (context, keeper, shim) = (self.context.clone(), self.keeper.clone(), self.shim.take());
        self.making = None;
        self.give_up_searching();
        let steps = self.steps.take();
        self.beside(async move {
            if let Some(steps) = steps {
                teardown::steps_over(&context, &keeper, steps).await;
            }
            failpoint!("engine::clear");
            let mut shim = shim;
            while let Err(error) = teardown::clear(&context, keeper.id(), shim.take()).await {
                warn!(err = %error, "what the run left could not be cleared, trying again");
                tokio::time::sleep(CLEAR_RETRY).await;
            }
            Message::News(Event::Cleared)
        });
    }

    fn delete(&self) {
        let (context, record) = (self.context.clone(), self.keeper.record());
        let volumes = self.keeper.takes_volumes() || record.host.auto_remove;
        self.beside(async move {
            failpoint!("engine::delete");
            match teardown::delete(&context, &record, volumes).await {
                Ok(told) => Message::Deleted(told),
                Err(error) => {
                    warn!(err = %error, "the container could not be removed yet");
                    Message::News(Event::Stuck {
                        reason: error.to_string(),
                    })
                }
            }
        });
    }
}

fn unanswered(keeper: &Keeper) -> Error {
    let text = format!(
        "the shim of container {} does not answer yet: SIGKILL ends it without",
        keeper.id()
    );
    Error::new(ErrorKind::Unavailable, text)
}

/// Docker's exit code for a start that failed.
fn start_code(kind: ErrorKind) -> i32 {
    match kind {
        ErrorKind::CommandNotFound => 127,
        ErrorKind::CommandNotExecutable => 126,
        _ => 128,
    }
}

/// What whoever asked for the start is told, and `inspect` tells later.
fn not_started(error: &Error) -> Message {
    info!(err = %error, "the container was not started");
    failed(error, start_code(error.kind()))
}

fn failed(error: &Error, code: i32) -> Message {
    Message::News(Event::Failed {
        ended: ended_by(code, None, error.to_string()),
        kind: error.kind(),
    })
}

/// The end as the record keeps it; the actor adds when the run began.
pub(crate) fn ended_from(exit: Exit) -> Ended {
    Ended {
        code: i32::try_from(exit.status).unwrap_or(255),
        started_at: None,
        finished_at: exit.at,
        oom_killed: exit.oom,
        memory_kills: exit.memory_kills,
        error: String::new(),
    }
}
