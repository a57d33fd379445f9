//! One owner per container: a task that takes requests and news from an inbox, decides with the pure
//! [`step`](gantry_core::lifecycle::step), writes the outcome durably, publishes it, and only then acts.
//!
//! The actor never waits for a shim, a hook or a mount: whatever may be slow runs beside it and reports back into the
//! inbox, so a kill gets through while a start is stuck, and listing reads published state without asking at all.

pub(crate) use effects::ended_from;

mod actor;
pub(crate) mod effects;
mod guard;
mod hold;
mod policy;
mod probe;
mod recover;
mod told;
mod watches;

use crate::context::Context;

use crate::records::Course;
use gantry_core::container::{ContainerRecord, Ended, HostConfig, Tally};
use gantry_core::health::{Health, Probe};
use gantry_core::lifecycle::{Event, Request, State};
use gantry_core::{ContainerId, Error, Result};
use gantry_task::{Reunion, Shim};
use parking_lot::RwLock;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};
use tokio::sync::{mpsc, oneshot, watch};

/// Requests and news a keeper can hold before senders wait.
const INBOX: usize = 256;
/// How long a request waits for a running container's shim to be found again after a restart of the daemon.
pub(crate) const FINDING: Duration = Duration::from_secs(30);

/// What a keeper publishes. Reading it never waits.
#[derive(Clone)]
pub struct View {
    pub state: State,
    /// How many runs have ended since this daemon knows the container.
    pub exits: u64,
    /// How the last run ended; kept when the container itself is gone.
    pub ended: Option<Ended>,
    /// The shim that holds the container now.
    pub shim: Option<Shim>,
    /// What its policy did.
    pub tally: Tally,
    /// What its probes said, if it has any.
    pub health: Option<Health>,
    /// Memory kills of the run that were told.
    pub memory_kills: u64,
}

impl View {
    /// Whether the kernel's memory killer took something of the run that goes on, else of the last one.
    pub fn oom_killed(&self) -> bool {
        match self.state.is_running() {
            true => self.memory_kills > 0,
            false => self.state.ended().is_some_and(|ended| ended.oom_killed),
        }
    }

    /// The state as people are told of it: between two runs that a policy wants, a container is restarting all the while.
    pub fn told(&self, host: &HostConfig) -> State {
        let again = match &self.state {
            State::Preparing { last, .. } | State::Prepared { last, .. } | State::Starting { last, .. } => {
                last.as_ref().filter(|_| self.tally.by_policy)
            }
            State::Clearing { ended, start: false } => ended.as_ref().filter(|ended| {
                let tally = &self.tally;
                ended.started_at.is_some() && host.restart.again(ended.code, tally.stopped, tally.restarts)
            }),
            _ => None,
        };
        match again {
            Some(ended) => State::Restarting { ended: ended.clone() },
            None => self.state.clone(),
        }
    }
}

/// The handle to a container's keeper.
pub struct Keeper {
    id: ContainerId,
    record: RwLock<Arc<ContainerRecord>>,
    view: watch::Receiver<View>,
    inbox: mpsc::Sender<Message>,
    /// When it is removed, its anonymous volumes go too.
    volumes: AtomicBool,
    /// How many hold it together between two halves of what they do.
    holds: AtomicUsize,
    /// Its limits are set by one at a time.
    pub(crate) limits: tokio::sync::Mutex<()>,
}

/// What comes into the inbox.
pub(crate) enum Message {
    /// Somebody wants something and waits for the answer.
    Ask(Event, Request, oneshot::Sender<Result<()>>),
    /// What became of an effect.
    News(Event),
    /// Nothing of the container is left in the books; what is to be told of it.
    Deleted(Vec<crate::events::Event>),
    /// The shim made the container.
    Made { shim: Shim, pid: u32 },
    /// The daemon has started, and its policy wants it to run.
    Boot,
    /// Somebody stops it: no policy is to run it again. Answered when that is so.
    Stopped(oneshot::Sender<()>),
    /// What a probe of the run that began then came to.
    Probed(SystemTime, Probe),
    /// How many memory kills that run has seen.
    MemoryKills(u64, u64),
    /// How the process of that run ended.
    Ended(u64, Ended),
    /// What became of its shim, that did not answer at first.
    Searched(Reunion),
    /// It is about to be frozen for a while only, or is not any more. Answered when that is written down.
    Brief(bool, oneshot::Sender<()>),
    /// Nobody holds it any more.
    Released,
}

impl Keeper {
    /// Starts the keeper of a new container.
    pub(crate) fn begin(context: Arc<Context>, record: Arc<ContainerRecord>, course: Course) -> Arc<Self> {
        let (keeper, actor) = Self::pair(context, record, course);
        tokio::spawn(actor.run());
        keeper
    }

    /// Starts the keeper of a container found in the store: the kernel is compared with the record before anything else.
    pub(crate) fn resume(context: Arc<Context>, record: Arc<ContainerRecord>, course: Course) -> Arc<Self> {
        let (keeper, actor) = Self::pair(context, record, course);
        tokio::spawn(actor.recover());
        keeper
    }

    fn pair(context: Arc<Context>, record: Arc<ContainerRecord>, course: Course) -> (Arc<Self>, actor::Actor) {
        let (inbox, messages) = mpsc::channel(INBOX);
        let (ended, brief) = (course.state.ended().cloned(), course.brief);
        let (publish, view) = watch::channel(View {
            state: course.state,
            exits: 0,
            ended,
            shim: None,
            tally: course.tally,
            health: course.health,
            memory_kills: course.memory_kills,
        });
        let keeper = Arc::new(Self {
            id: record.id.clone(),
            record: RwLock::new(record),
            view,
            inbox: inbox.clone(),
            volumes: AtomicBool::new(false),
            holds: AtomicUsize::new(0),
            limits: tokio::sync::Mutex::default(),
        });
        let actor = actor::Actor::new(context, keeper.clone(), inbox, messages, publish, brief);
        (keeper, actor)
    }

    pub fn id(&self) -> &ContainerId {
        &self.id
    }

    pub fn record(&self) -> Arc<ContainerRecord> {
        self.record.read().clone()
    }

    /// Replaces the record, after the store has it: only [`crate::records::change`] does.
    pub(crate) fn set_record(&self, record: ContainerRecord) -> Arc<ContainerRecord> {
        let record = Arc::new(record);
        *self.record.write() = record.clone();
        record
    }

    pub fn state(&self) -> State {
        self.view.borrow().state.clone()
    }

    pub fn view(&self) -> View {
        self.view.borrow().clone()
    }

    /// The shim of a running container. After a restart of the daemon it is found again first.
    pub async fn shim(&self) -> Result<Shim> {
        let known = |view: &View| view.shim.is_some() || !view.state.is_running();
        let view = self.until(Some(FINDING), known).await;
        view.filter(|view| view.state.is_running())
            .and_then(|view| view.shim)
            .ok_or_else(|| self.not_running())
    }

    /// The process of a running container whose shim was found, so that it is one of this boot.
    pub(crate) fn pid(&self) -> Option<u32> {
        let view = self.view.borrow();
        let runs = view.state.is_running() && view.shim.is_some();
        view.state.pid().filter(|_| runs)
    }

    pub fn not_running(&self) -> Error {
        Error::conflict(format!("container {} is not running", self.id))
    }

    /// Asks and waits for the answer. It comes when the thing is done, not when it is begun.
    pub async fn ask(&self, event: Event, request: Request) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        let gone = || Error::not_found(format!("No such container: {}", self.id));
        self.inbox
            .send(Message::Ask(event, request, reply))
            .await
            .map_err(|_| gone())?;
        match answer.await {
            Ok(result) => result,
            // The keeper ends only with its container: a removal is done, anything else came too late.
            Err(_) if request == Request::Remove => Ok(()),
            Err(_) => Err(gone()),
        }
    }

    /// Notes that somebody stops it. From here on its policy does not run it.
    pub(crate) async fn stopped(&self) {
        let (reply, noted) = oneshot::channel();
        // A keeper that is gone runs nothing again.
        if self.inbox.send(Message::Stopped(reply)).await.is_ok() {
            let _ = noted.await;
        }
    }

    /// Puts it back if it was made ready and nobody starts it.
    pub(crate) async fn put_back(&self) {
        // A keeper that is gone has nothing ready.
        let _ = self.inbox.send(Message::News(Event::Expired)).await;
    }

    /// What a removal from now on takes along.
    pub(crate) fn take_volumes(&self, on: bool) {
        self.volumes.store(on, Ordering::Relaxed);
    }

    pub(crate) fn takes_volumes(&self) -> bool {
        self.volumes.load(Ordering::Relaxed)
    }

    /// Runs it at the daemon's own start, as its policy wants.
    pub(crate) async fn start_at_boot(&self) {
        // A keeper that is gone runs nothing.
        let _ = self.inbox.send(Message::Boot).await;
    }

    /// Notes that it is frozen for a while only: should the daemon die meanwhile, the next one thaws it.
    pub(crate) async fn brief(&self, on: bool) {
        let (reply, noted) = oneshot::channel();
        // A keeper that is gone has nothing frozen.
        if self.inbox.send(Message::Brief(on, reply)).await.is_ok() {
            let _ = noted.await;
        }
    }

    /// Waits until the published view satisfies `test`; `None` when the keeper ended or the time is up.
    pub async fn until<F>(&self, limit: Option<Duration>, test: F) -> Option<View>
    where
        F: FnMut(&View) -> bool,
    {
        let mut view = self.view.clone();
        let reached = async move { view.wait_for(test).await.ok().map(|view| view.clone()) };
        match limit {
            Some(limit) => tokio::time::timeout(limit, reached).await.ok().flatten(),
            None => reached.await,
        }
    }

    /// Waits until the container is gone altogether.
    pub async fn until_removed(&self) {
        let mut view = self.view.clone();
        let _ = view.wait_for(|view| view.state == State::Removed).await;
    }
}

/// Whether a starting daemon runs it, as it was found.
pub(crate) fn starts_at_boot(record: &ContainerRecord, course: &Course) -> bool {
    let ended = match &course.state {
        State::Exited { ended } | State::Clearing { ended: Some(ended), .. } => ended,
        _ => return false,
    };
    let tally = &course.tally;
    let policy = &record.host.restart;
    ended.started_at.is_some() && !record.host.auto_remove && policy.at_boot(ended.code, tally.stopped, tally.restarts)
}

/// An end that is not the user's program's doing.
pub(crate) fn ended_by(code: i32, started_at: Option<std::time::SystemTime>, error: impl Into<String>) -> Ended {
    Ended {
        code,
        started_at,
        finished_at: std::time::SystemTime::now(),
        oom_killed: false,
        memory_kills: 0,
        error: error.into(),
    }
}
