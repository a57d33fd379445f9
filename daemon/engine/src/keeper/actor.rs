//! The loop of a keeper.

use super::{Keeper, Message, View};
use crate::context::Context;
use crate::events::Event as Told;
use crate::gate::blocking;
use crate::records::{self, Course};
use gantry_core::container::{Ended, Tally};
use gantry_core::health::{Health, HealthStatus, Probe, Schedule};
use gantry_core::lifecycle::{Effect, Event, Refusal, Request, State, step};
use gantry_core::{Labels, Result};
use gantry_task::Shim;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{Instrument, Span, error, info_span};

/// A prepared container that nobody starts is put back after this.
const PREPARED: Duration = Duration::from_secs(60);
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
    hold: bool,
    retry: Duration,
    tally: Tally,
    health: Option<Health>,
    /// What waits to run it again, and what asks it whether it is well; broken off when they no longer matter.
    again: Option<tokio::task::AbortHandle>,
    probing: Option<tokio::task::AbortHandle>,
    /// What looks after it while it is frozen in another's pid namespace.
    guarding: Option<tokio::task::AbortHandle>,
    /// What is being done beside the actor; dropped (and so broken off) with it.
    pub(super) making: Option<tokio::task::AbortHandle>,
}

impl Actor {
    pub(super) fn new(
        context: Arc<Context>,
        keeper: Arc<Keeper>,
        inbox: mpsc::Sender<Message>,
        messages: mpsc::Receiver<Message>,
        publish: watch::Sender<View>,
    ) -> Self {
        let (tally, health) = {
            let view = publish.borrow();
            (view.tally, view.health.clone())
        };
        Self {
            context,
            keeper,
            inbox,
            messages,
            publish,
            shim: None,
            waiting: HashMap::new(),
            hold: false,
            retry: RETRY_FIRST,
            tally,
            health,
            again: None,
            probing: None,
            guarding: None,
            making: None,
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
                    self.asked(&event);
                    self.waiting.entry(request).or_default().push(reply);
                    self.apply(event).await;
                }
                Message::News(event) => self.apply(event).await,
                Message::Deleted(told) => {
                    self.apply(Event::Gone).await;
                    self.context.bus.publish(told);
                }
                Message::Made { shim, pid } => {
                    self.shim = Some(shim);
                    self.apply(Event::Prepared { pid }).await;
                }
                Message::Boot => self.boot().await,
                Message::Stopped(reply) => {
                    self.stopped().await;
                    // Who does not wait for it has gone away.
                    let _ = reply.send(());
                }
                Message::Probed(run, probe) => self.probed(run, probe).await,
                Message::Hold(on) => {
                    self.hold = on;
                    self.remove_if_done().await;
                }
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
        let kept = (self.tally, self.health.clone());
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
            if effects.contains(&Effect::Clear) {
                // Before anybody hears of the end, so that who wants what it has waits for it.
                self.context.networks.departing(self.keeper.id());
            }
            self.clear_early(&event, &mut effects);
            if let Err(refused) = self.persist(&next, told).await {
                (self.tally, self.health) = kept;
                return self.could_not_write(event, refused);
            }
            self.show(&before, next);
            self.probe_or_not();
            self.guard_or_not();
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
        match request_of(&event) {
            Some(request) => self.answer(request, &Err(Refusal::Failed(refused.kind(), refused.to_string()))),
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
        self.publish.send_modify(|view| {
            (view.tally, view.health) = (tally, health);
            view.exits += u64::from(ended);
            if let Some(end) = next.ended() {
                view.ended = Some(end.clone());
            }
            view.state = next;
            view.shim = shim;
        });
    }

    /// Shows the shim that was found again, the state being what it was.
    pub(super) fn republish(&mut self) {
        let shim = self.shim.clone();
        self.publish.send_modify(|view| view.shim = shim);
    }

    /// Corrects the state to what the kernel shows, after a restart of the daemon.
    pub(super) async fn set_state(&mut self, next: State) {
        let before = self.state();
        if before == next {
            // It may be one to be asked how it is, or to be guarded, which the former daemon did.
            self.guard_or_not();
            return self.probe_or_not();
        }
        if let Err(refused) = self.persist(&next, Vec::new()).await {
            error!(err = %refused, "the container's state could not be written; it is shown as found");
        }
        self.show(&before, next);
        self.probe_or_not();
        self.guard_or_not();
    }

    pub(super) fn course(&self, state: &State) -> Course {
        Course {
            state: state.clone(),
            tally: self.tally,
            health: self.health.clone(),
        }
    }

    async fn persist(&self, state: &State, told: Vec<Told>) -> Result<()> {
        let (context, id, course) = (self.context.clone(), self.keeper.id().clone(), self.course(state));
        let bus = self.context.clone();
        let told = blocking(move || records::write_course(&context, &id, &course, told)).await?;
        bus.bus.publish(told);
        Ok(())
    }

    async fn tell_signal(&self, effects: &[Effect]) {
        for effect in effects {
            if let Effect::Signal(signal) = effect {
                let told = self.event("kill", [("signal".to_owned(), signal.to_string())]);
                self.context.tell(vec![told]).await;
            }
        }
    }

    pub(super) fn event<const N: usize>(&self, action: &str, extra: [(String, String); N]) -> Told {
        self.context
            .container_event(&self.keeper.record(), action, extra.into_iter().collect())
    }

    /// The events that a change of state is.
    fn told(&self, before: &State, event: &Event, next: &State) -> Vec<Told> {
        let mut told = Vec::new();
        let starting = matches!(before, State::Starting { .. });
        match (event, next) {
            (Event::Started { .. }, State::Running { .. }) => {
                told.extend(self.beginning());
            }
            (Event::PauseDone { ok: true }, State::Paused { .. }) => told.push(self.event("pause", [])),
            (Event::ResumeDone { ok: true }, State::Running { .. }) => told.push(self.event("unpause", [])),
            (Event::Exit { ended }, State::Clearing { .. }) if starting => {
                told.extend(self.beginning());
                told.extend(self.death(ended));
            }
            (Event::Exit { ended }, State::Clearing { .. }) if before.is_running() => told.extend(self.death(ended)),
            // What never ran does not die. Whoever prepares and then starts it hears of the failure when it is started.
            (Event::Failed { .. }, State::Clearing { .. })
                if !matches!(before, State::Preparing { start: false, .. }) =>
            {
                told.extend(self.context.networks.told(self.keeper.id(), "connect"));
                told.extend(self.context.networks.told(self.keeper.id(), "disconnect"));
            }
            (Event::Kill { signal }, _) => told.push(self.event("kill", [("signal".to_owned(), signal.to_string())])),
            _ => {}
        }
        told
    }

    fn beginning(&self) -> Vec<Told> {
        let mut told = self.context.volumes.told(&self.keeper.record(), "mount");
        told.extend(self.context.networks.told(self.keeper.id(), "connect"));
        told.push(self.event("start", []));
        told
    }

    fn death(&self, ended: &Ended) -> Vec<Told> {
        let mut told = Vec::new();
        if ended.oom_killed {
            told.push(self.event("oom", []));
        }
        let mut attributes: Labels = [("exitCode".to_owned(), ended.code.to_string())].into();
        if let Some(ran) = ended
            .started_at
            .and_then(|started| ended.finished_at.duration_since(started).ok())
        {
            attributes.insert("execDuration".to_owned(), ran.as_secs().to_string());
        }
        told.push(self.context.container_event(&self.keeper.record(), "die", attributes));
        told.extend(self.context.networks.told(self.keeper.id(), "disconnect"));
        if ended.started_at.is_some() {
            told.extend(self.context.volumes.told(&self.keeper.record(), "unmount"));
        }
        told
    }

    /// Who starts it begins anew, whatever its policy did before.
    fn asked(&mut self, event: &Event) {
        let rests = matches!(
            self.state(),
            State::Created | State::Exited { .. } | State::Restarting { .. } | State::Clearing { .. }
        );
        if rests && matches!(event, Event::Start | Event::Prepare) {
            self.tally = Tally::default();
        }
    }

    /// Keeps count of runs, and begins and ends the account of a run's health.
    fn count(&mut self, before: &State, event: &Event) {
        match event {
            Event::Started { .. } => {
                let check = &self.keeper.record().config.healthcheck;
                self.health = check
                    .as_ref()
                    .filter(|check| check.is_some())
                    .map(|_| Health::default());
            }
            Event::Again => self.tally.by_policy = true,
            // Nobody was told that it failed, so it is tried again: a port may be free by then.
            Event::Failed { .. } if self.tally.by_policy => self.tally.ended(Duration::ZERO),
            // Whoever asked was told, and it is not tried again until somebody asks.
            Event::Failed { .. } => self.tally.stopped = true,
            Event::Exit { ended } if before.is_running() || matches!(before, State::Starting { .. }) => {
                let ran = ended
                    .started_at
                    .and_then(|began| ended.finished_at.duration_since(began).ok());
                self.tally.ended(ran.unwrap_or_default());
                if let Some(health) = &mut self.health {
                    health.status = HealthStatus::Unhealthy;
                }
            }
            _ => {}
        }
    }

    /// Whether its policy wants another run after one that ended so; if it does, that is counted.
    fn is_wanted(&mut self, ended: &Ended) -> bool {
        let record = self.keeper.record();
        let policy = &record.host.restart;
        let wanted = (ended.started_at.is_some() || self.tally.by_policy)
            && !self.hold
            && !self.context.closing.load(Ordering::Relaxed)
            && policy.again(ended.code, self.tally.stopped, self.tally.restarts);
        self.tally.restarts += u32::from(wanted);
        wanted
    }

    /// The daemon has started, and its policy wants it to run. Who was quicker has his way.
    async fn boot(&mut self) {
        if matches!(self.state(), State::Exited { .. } | State::Clearing { .. }) {
            self.tally = Tally {
                by_policy: true,
                ..Tally::default()
            };
            self.apply(Event::Start).await;
        }
    }

    /// Somebody stops it. A kill of the daemon does not lose that.
    async fn stopped(&mut self) {
        self.tally.stopped = true;
        if matches!(self.state(), State::Restarting { .. }) {
            return self.apply(Event::GiveUp).await;
        }
        self.note().await;
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

    /// Takes what a probe said, unless it was of a former run.
    async fn probed(&mut self, run: SystemTime, probe: Probe) {
        let state = self.state();
        let (Some(began), Some(health)) = (state.started_at().filter(|_| state.is_running()), &mut self.health) else {
            return;
        };
        if began != run {
            return;
        }
        let ran = probe.end.duration_since(began).unwrap_or_default();
        let record = self.keeper.record();
        let Some(check) = &record.config.healthcheck else {
            return;
        };
        let changed = health.take(probe, &Schedule::of(check), ran);
        let status = health.status;
        let is_over = status == HealthStatus::Unhealthy && check.exit_on_unhealthy == Some(true);
        self.note().await;
        if changed {
            let told = self.event(&format!("health_status: {}", status.name()), []);
            self.context.tell(vec![told]).await;
        }
        if is_over {
            let signal = nix::libc::SIGKILL;
            self.apply(Event::Kill { signal }).await;
        }
    }

    /// Asks a running container whether it is well; leaves any other alone.
    pub(super) fn probe_or_not(&mut self) {
        let state = self.state();
        let runs = matches!(state, State::Running { .. });
        if !runs {
            if let Some(probing) = self.probing.take() {
                probing.abort();
            }
            return;
        }
        let record = self.keeper.record();
        let check = record.config.healthcheck.as_ref().filter(|check| check.is_some());
        if let (Some(check), Some(began), None) = (check, state.started_at(), &self.probing) {
            if self.health.is_none() {
                self.health = Some(Health::default());
            }
            let (engine, keeper, inbox) = (self.context.clone(), self.keeper.clone(), self.inbox.clone());
            let work = super::probe::watch(engine, keeper, inbox, check.clone(), began);
            self.probing = Some(tokio::spawn(work.in_current_span()).abort_handle());
        }
    }

    /// Guards a container that is frozen; leaves any other alone.
    fn guard_or_not(&mut self) {
        let frozen = matches!(self.state(), State::Paused { .. });
        match (frozen, &self.guarding) {
            (true, None) => {
                let (context, keeper, inbox) = (self.context.clone(), self.keeper.clone(), self.inbox.clone());
                let work = super::guard::thaw_in_time(context, keeper, inbox);
                self.guarding = Some(tokio::spawn(work.in_current_span()).abort_handle());
            }
            (false, Some(guarding)) => {
                guarding.abort();
                self.guarding = None;
            }
            (true, Some(_)) | (false, None) => {}
        }
    }

    /// Has it run again after the pause that its last runs have come to.
    pub(super) fn again_later(&mut self) {
        if let Some(again) = self.again.take() {
            again.abort();
        }
        let (inbox, pause) = (self.inbox.clone(), Duration::from_millis(self.tally.pause));
        let mut opened = self.context.opened.subscribe();
        let wait = async move {
            tokio::time::sleep(pause).await;
            // It ends with the engine, and nothing is started then.
            if opened.wait_for(|opened| *opened).await.is_ok() {
                let _ = inbox.send(Message::News(Event::Again)).await;
            }
        };
        self.again = Some(tokio::spawn(wait).abort_handle());
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

    pub(super) fn expire_later(&self) {
        self.later(PREPARED, Event::Expired);
    }

    pub(super) fn retry_later(&mut self) {
        self.later(self.retry, Event::Retry);
        self.retry = (self.retry * 2).min(RETRY_LONGEST);
    }

    /// `--rm`: a run that is over and cleared, and not half of a restart, ends the container.
    async fn remove_if_done(&mut self) {
        if self.is_done(&self.state()) {
            Box::pin(self.apply(Event::Remove)).await;
        }
    }

    fn is_done(&self, state: &State) -> bool {
        let over = matches!(state, State::Exited { .. });
        over && !self.hold && self.keeper.record().host.auto_remove
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
