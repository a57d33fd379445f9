//! The loop of a keeper.

use super::{Keeper, Message, View, ended_by};
use crate::context::Context;
use crate::events::Event as Told;
use crate::gate::blocking;
use crate::records::{self, Course};
use gantry_core::container::Tally;
use gantry_core::health::Health;
use gantry_core::lifecycle::{Effect, Event, Refusal, Request, State, step};
use gantry_core::{ErrorKind, Result};
use gantry_task::Shim;
use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tracing::{Instrument, Span, error, info_span};

/// First and longest pause between two tries of a deletion.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LONGEST: Duration = Duration::from_secs(60);

pub(crate) struct Actor {
    pub(super) context: Arc<Context>,
    pub(super) keeper: Arc<Keeper>,
    pub(super) inbox: mpsc::Sender<Message>,
    messages: mpsc::Receiver<Message>,
    publish: watch::Sender<View>,
    pub(super) shim: Option<Shim>,
    waiting: HashMap<Request, Vec<oneshot::Sender<Result<()>>>>,
    retry: Duration,
    pub(super) tally: Tally,
    pub(super) health: Option<Health>,
    /// It is frozen for a while only, by somebody who thaws it.
    pub(super) brief: bool,
    /// Which run of this daemon's it is in.
    pub(super) run: u64,
    /// When its run began, as the monotonic clock has it.
    pub(super) began: Option<Instant>,
    /// What was being made of it was broken off, and is not to run should it be there already.
    pub(super) broken_off: bool,
    /// What looks for its shim, which has not answered yet.
    pub(super) searching: Option<tokio::task::AbortHandle>,
    /// What waits to run it again, and what asks it whether it is well; broken off when they no longer matter.
    pub(super) again: Option<tokio::task::AbortHandle>,
    pub(super) probing: Option<tokio::task::AbortHandle>,
    /// Memory kills of its run that were told, and the run of which they are asked.
    pub(super) memory_kills: u64,
    pub(super) kills_asked: Option<u64>,
    /// What looks after it while it is frozen in another's pid namespace.
    pub(super) guarding: Option<tokio::task::AbortHandle>,
    /// What is being done beside the actor; dropped (and so broken off) with it.
    pub(super) making: Option<tokio::task::AbortHandle>,
    /// Ends with the last step of what is being made, though that is broken off.
    pub(super) steps: Option<mpsc::Receiver<Infallible>>,
}

impl Actor {
    pub(super) fn new(
        context: Arc<Context>,
        keeper: Arc<Keeper>,
        inbox: mpsc::Sender<Message>,
        messages: mpsc::Receiver<Message>,
        publish: watch::Sender<View>,
        brief: bool,
    ) -> Self {
        let (tally, health, memory_kills) = {
            let view = publish.borrow();
            (view.tally, view.health.clone(), view.memory_kills)
        };
        Self {
            context,
            keeper,
            inbox,
            messages,
            publish,
            shim: None,
            waiting: HashMap::new(),
            retry: RETRY_FIRST,
            tally,
            health,
            brief,
            run: 0,
            began: None,
            broken_off: false,
            searching: None,
            again: None,
            probing: None,
            memory_kills,
            kills_asked: None,
            guarding: None,
            making: None,
            steps: None,
        }
    }

    pub(super) async fn run(self) {
        let span = self.span();
        self.serve().instrument(span).await;
    }

    pub(super) fn span(&self) -> Span {
        info_span!("keeper", container = %self.keeper.id().short())
    }

    async fn serve(mut self) {
        // The former daemon ended between the end of the run and the removal.
        self.remove_if_done().await;
        while let Some(message) = self.messages.recv().await {
            match message {
                Message::Ask(event, request, reply) => {
                    self.waiting.entry(request).or_default().push(reply);
                    if self.is_closing() && matches!(event, Event::Start | Event::Prepare) {
                        let why = Refusal::Failed(ErrorKind::Unavailable, "the daemon is shutting down".to_owned());
                        self.answer(request, &Err(why));
                        continue;
                    }
                    self.asked(&event);
                    self.apply(event).await;
                }
                // Its policy has it run when the daemon is there again.
                Message::News(Event::Again) if self.is_closing() => {}
                Message::News(Event::Started { .. }) if self.broken_off => self.apply(broken_off()).await,
                Message::News(event) => self.apply(event).await,
                Message::MemoryKills(run, kills) if run == self.run => self.memory_killed(kills).await,
                Message::MemoryKills(..) => {}
                Message::Ended(run, ended) if run == self.run => self.apply(Event::Exit { ended }).await,
                // Of a run that is over and cleared; another one may have begun.
                Message::Ended(..) => {}
                Message::Searched(reunion) if self.searching.take().is_some() => self.recovered(reunion).await,
                // It has been given up meanwhile.
                Message::Searched(_) => {}
                Message::Deleted(told) => {
                    self.apply(Event::Gone).await;
                    self.context.bus.publish(told);
                }
                Message::Made { shim, pid } => {
                    self.shim = Some(shim);
                    let made = match self.broken_off {
                        true => broken_off(),
                        false => Event::Prepared { pid },
                    };
                    self.apply(made).await;
                }
                Message::Boot => self.boot().await,
                Message::Stopped(reply) => {
                    self.stopped().await;
                    // Who does not wait for it has gone away.
                    let _ = reply.send(());
                }
                Message::Probed(run, probe) => self.probed(run, probe).await,
                Message::Brief(on, reply) => {
                    self.brief = on;
                    self.note().await;
                    let _ = reply.send(());
                }
                Message::Released => self.remove_if_done().await,
            }
            if self.state() == State::Removed {
                break;
            }
        }
    }

    pub(super) fn state(&self) -> State {
        self.publish.borrow().state.clone()
    }

    /// Decide, write, publish, act. In this order, so that a kill between any two is repaired at the next start.
    pub(super) async fn apply(&mut self, event: Event) {
        let before = self.state();
        let event = with_beginning(&before, event);
        let kept = (self.tally, self.health.clone(), self.memory_kills);
        let (mut next, mut effects) = step(before.clone(), event.clone());
        if next != before {
            let told = self.told(&before, &event, &next);
            self.count(&before, &event);
            let follows = match &next {
                _ if self.is_done(&next) => Some(Event::Remove),
                State::Exited { ended } if self.is_wanted(ended) => Some(Event::Backoff),
                _ => None,
            };
            if let Some(follows) = follows {
                let (further, more) = step(next, follows);
                next = further;
                effects.extend(more);
            }
            if effects.contains(&Effect::Prepare) {
                // Another run, whose first process may be killed before it is known to have started.
                self.memory_kills = 0;
            }
            if effects.contains(&Effect::Clear) {
                // Before anybody hears of the end, so that who wants what it has waits for it.
                self.context.networks.departing(self.keeper.id());
            }
            self.clear_early(&event, &mut effects);
            if let Err(refused) = self.persist(&next, told).await {
                (self.tally, self.health, self.memory_kills) = kept;
                return self.could_not_write(event, refused);
            }
            self.show(&before, next);
            self.look_after();
        } else {
            self.tell_signal(&effects).await;
        }
        for effect in effects {
            self.perform(effect);
        }
        self.remove_if_done().await;
    }

    /// The only effect that does not wait for the record: what is left of a run is taken down while its end is being written. The
    /// shim wrote that end down before it told us, so the next start finds it there.
    fn clear_early(&mut self, event: &Event, effects: &mut Vec<Effect>) {
        let ended = matches!(event, Event::Exit { .. });
        let clear = effects.iter().position(|effect| *effect == Effect::Clear);
        if let (true, Some(clear)) = (ended, clear)
            && gantry_task::has_exit_record(&self.context.state_dir(self.keeper.id()))
        {
            self.perform(effects.remove(clear));
        }
    }

    /// The store refused (a full disk): a request fails, news is brought again later.
    fn could_not_write(&mut self, event: Event, refused: gantry_core::Error) {
        error!(err = %refused, "the container's state could not be written");
        match request_of(&event).filter(|request| self.waiting.contains_key(request)) {
            Some(request) => self.answer(request, &Err(Refusal::Failed(refused.kind(), refused.to_string()))),
            // What nobody waits for is the daemon's own wish, and stays so.
            None => self.later(Duration::from_secs(1), event),
        }
    }

    fn show(&mut self, before: &State, next: State) {
        let ended = before.is_running() && !next.is_running()
            || matches!((before, &next), (State::Starting { .. }, State::Clearing { .. }));
        let idle = matches!(
            next,
            State::Created | State::Exited { .. } | State::Restarting { .. } | State::Removing { .. } | State::Removed
        );
        if idle {
            self.shim = None;
        }
        if next == State::Removed {
            // First, so that who hears of it finds the name free.
            self.context.registry.remove(self.keeper.id());
        }
        let (shim, tally, health) = (self.shim.clone(), self.tally, self.health.clone());
        let memory_kills = self.memory_kills;
        self.publish.send_modify(|view| {
            (view.tally, view.health, view.memory_kills) = (tally, health, memory_kills);
            view.exits += u64::from(ended);
            if let Some(end) = next.ended() {
                view.ended = Some(end.clone());
            }
            view.state = next;
            view.shim = shim;
        });
    }

    /// Shows what has changed, the state being what it was: a shim that was found again, memory kills.
    pub(super) fn republish(&mut self) {
        let (shim, memory_kills) = (self.shim.clone(), self.memory_kills);
        self.publish
            .send_modify(|view| (view.shim, view.memory_kills) = (shim, memory_kills));
    }

    /// Corrects the state to what the kernel shows, after a restart of the daemon.
    pub(super) async fn set_state(&mut self, next: State) {
        let before = self.state();
        if before == next {
            // As the former daemon did.
            return self.look_after();
        }
        if let Err(refused) = self.persist(&next, Vec::new()).await {
            error!(err = %refused, "the container's state could not be written; it is shown as found");
        }
        self.show(&before, next);
        self.look_after();
    }

    pub(super) fn course(&self, state: &State) -> Course {
        Course {
            state: state.clone(),
            tally: self.tally,
            health: self.health.clone(),
            brief: self.brief,
            memory_kills: self.memory_kills,
        }
    }

    pub(super) async fn persist(&self, state: &State, told: Vec<Told>) -> Result<()> {
        let (context, id, course) = (self.context.clone(), self.keeper.id().clone(), self.course(state));
        let bus = self.context.clone();
        let told = blocking(move || records::write_course(&context, &id, &course, told)).await?;
        bus.bus.publish(told);
        Ok(())
    }

    /// Writes down what is known of it beside its state, and shows it.
    pub(super) async fn note(&mut self) {
        let (context, id, course) = (
            self.context.clone(),
            self.keeper.id().clone(),
            self.course(&self.state()),
        );
        if let Err(error) = blocking(move || records::note_course(&context, &id, &course)).await {
            error!(err = %error, "what is known of the container could not be written");
        }
        let (tally, health) = (self.tally, self.health.clone());
        self.publish
            .send_modify(|view| (view.tally, view.health) = (tally, health));
    }

    pub(super) fn answer(&mut self, request: Request, result: &Result<(), Refusal>) {
        let record = self.keeper.record();
        for waiter in self.waiting.remove(&request).unwrap_or_default() {
            let refused = |why: Refusal| why.into_error(&record.name, record.id.as_str());
            let answer = result.clone().map_err(refused);
            // Whoever asked may have gone away; the thing is done all the same.
            let _ = waiter.send(answer);
        }
    }

    /// Takes those who wait for a signal to be sent, so that the sender answers them itself.
    pub(super) fn take_waiting(&mut self, request: Request) -> Vec<oneshot::Sender<Result<()>>> {
        self.waiting.remove(&request).unwrap_or_default()
    }

    pub(super) fn later(&self, after: Duration, event: Event) {
        let inbox = self.inbox.clone();
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            let _ = inbox.send(Message::News(event)).await;
        });
    }

    pub(super) fn retry_later(&mut self) {
        self.later(self.retry, Event::Retry);
        self.retry = (self.retry * 2).min(RETRY_LONGEST);
    }
}

/// An exit is told without the beginning of the run, which the state knows.
fn with_beginning(state: &State, event: Event) -> Event {
    match event {
        Event::Exit { mut ended } if ended.started_at.is_none() => {
            ended.started_at = match state {
                State::Starting { .. } => Some(ended.finished_at),
                _ if state.is_running() => state.started_at(),
                _ => None,
            };
            Event::Exit { ended }
        }
        other => other,
    }
}

/// What was broken off by SIGKILL has failed, however far it had come.
pub(super) fn broken_off() -> Event {
    let why = "the start was broken off by SIGKILL";
    Event::Failed {
        ended: ended_by(137, None, why),
        kind: ErrorKind::Cancelled,
    }
}

/// When that was, as the monotonic clock has it: for runs that another daemon began.
pub(super) fn ago(at: SystemTime) -> Instant {
    let now = Instant::now();
    let passed = SystemTime::now().duration_since(at).unwrap_or_default();
    now.checked_sub(passed).unwrap_or(now)
}

/// The request an event stands for, if somebody asked for it.
fn request_of(event: &Event) -> Option<Request> {
    match event {
        Event::Prepare => Some(Request::Prepare),
        Event::Start => Some(Request::Start),
        Event::Kill { .. } => Some(Request::Kill),
        Event::Pause => Some(Request::Pause),
        Event::Resume => Some(Request::Resume),
        Event::Remove => Some(Request::Remove),
        Event::Prepared { .. }
        | Event::Failed { .. }
        | Event::Started { .. }
        | Event::PauseDone { .. }
        | Event::ResumeDone { .. }
        | Event::Exit { .. }
        | Event::Cleared
        | Event::Gone
        | Event::Stuck { .. }
        | Event::Expired
        | Event::Retry
        | Event::Backoff
        | Event::Again
        | Event::GiveUp => None,
    }
}
