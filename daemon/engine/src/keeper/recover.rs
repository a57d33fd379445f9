//! After a restart of the daemon: compare the record with the kernel, then go on from there.

use super::actor::{Actor, ago};
use super::{Message, ended_by, ended_from};
use crate::container::make;
use gantry_core::lifecycle::{Effect, Event, State};
use gantry_task::{Reunion, Shim, Status, TaskState};
use std::time::SystemTime;
use tracing::{Instrument, info, warn};

impl Actor {
    /// Looks and goes on from there before serving: requests wait in the inbox, readers see the recorded state meanwhile. A request
    /// that came first would wait for what the former daemon had under way, and nobody has that under way any more.
    pub(super) async fn recover(mut self) {
        let span = self.span();
        let found = async {
            match self.state() {
                State::Clearing { .. } => self.perform(Effect::Clear),
                State::Removing { .. } => self.perform(Effect::Delete),
                State::Dead { .. } => self.apply(Event::Retry).await,
                State::Restarting { .. } => self.perform(Effect::AgainLater),
                State::Preparing { .. }
                | State::Prepared { .. }
                | State::Starting { .. }
                | State::Running { .. }
                | State::Pausing { .. }
                | State::Paused { .. }
                | State::Resuming { .. } => self.look().await,
                State::Created | State::Exited { .. } | State::Removed => {}
            }
        };
        found.instrument(span).await;
        self.run().await;
    }

    async fn look(&mut self) {
        match make::reunion(&self.context, self.keeper.id()).await {
            Ok(reunion) => self.recovered(reunion).await,
            Err(error) => {
                warn!(err = %error, "the container's shim cannot be looked for yet");
                self.search();
            }
        }
    }

    /// Its shim is there, or may be, but gives no answer: it is looked for beside the actor, which serves meanwhile. Nobody but who
    /// sends SIGKILL ends a container for that.
    fn search(&mut self) {
        self.context.networks.stays(self.keeper.id());
        let (context, id, inbox) = (self.context.clone(), self.keeper.id().clone(), self.inbox.clone());
        let work = async move {
            let found = make::search(&context, &id).await;
            // An inbox that is closed belongs to nobody.
            let _ = inbox.send(Message::Searched(found)).await;
        };
        self.searching = Some(tokio::spawn(work.in_current_span()).abort_handle());
    }

    /// Goes on from what was found.
    pub(super) async fn recovered(&mut self, reunion: Reunion) {
        let found = matches!(reunion, Reunion::Found { .. });
        info!(
            state = self.state().status().name(),
            found, "container looked for again"
        );
        match reunion {
            Reunion::Found { shim, state } => self.adopt(shim, state).await,
            Reunion::Ended(exit) => {
                let ended = ended_from(exit);
                self.apply(Event::Exit { ended }).await;
            }
            Reunion::Idle { .. } => self.apply(unknown("its shim knows nothing of it")).await,
            Reunion::Gone => {
                let why = "its shim is gone; the exit status is not known";
                self.apply(unknown(why)).await;
            }
            Reunion::Unanswered(error) => {
                warn!(err = %error, "the container's shim does not answer yet");
                self.search();
            }
        }
    }

    /// A living shim: what it says of its process is what holds.
    async fn adopt(&mut self, shim: Shim, found: TaskState) {
        self.shim = Some(shim.clone());
        self.republish();
        match found.status {
            Status::Created => self.adopt_created(found.pid).await,
            Status::Running | Status::Pausing | Status::Paused => {
                if let Err(error) = crate::network::take_up(&self.context, &self.keeper.record(), &shim).await {
                    warn!(err = %error, "the container's networks could not be taken up whole");
                }
                self.adopt_running(found.pid, found.status == Status::Paused).await;
                self.watch(shim, false);
            }
            // The exit is still to be told; the watch brings it.
            Status::Stopped | Status::Unknown => self.watch(shim, false),
        }
    }

    /// Made but not run: whoever wanted to run it has gone with the old daemon.
    async fn adopt_created(&mut self, pid: u32) {
        self.context.networks.stays(self.keeper.id());
        match self.state() {
            State::Preparing { start, last } => {
                self.set_state(State::Preparing { start: false, last }).await;
                self.apply(Event::Prepared { pid }).await;
                if start {
                    self.apply(Event::Expired).await;
                }
            }
            State::Prepared { .. } => self.expire_later(),
            State::Starting { last, .. } => {
                self.set_state(State::Prepared { pid, last }).await;
                self.apply(Event::Expired).await;
            }
            _ => {
                let ended = ended_by(255, None, "its process was never run");
                self.apply(Event::Exit { ended }).await;
            }
        }
    }

    async fn adopt_running(&mut self, pid: u32, frozen: bool) {
        let now = SystemTime::now();
        let state = self.state();
        // Of one that was on its way only the former run's beginning is known.
        let known = state.started_at().filter(|_| state.is_running());
        let started_at = known.unwrap_or(now);
        self.began = Some(ago(started_at));
        match (state, frozen) {
            (State::Preparing { last, .. } | State::Prepared { last, .. }, false) => {
                self.set_state(State::Starting { pid, last }).await;
                self.apply(Event::Started { at: now }).await;
            }
            (State::Starting { .. }, false) => self.apply(Event::Started { at: now }).await,
            (_, true) => {
                self.set_state(State::Paused { pid, started_at }).await;
                self.thaw_if_brief().await;
            }
            (_, false) => self.set_state(State::Running { pid, started_at }).await,
        }
    }

    /// Whoever froze it for a while went with the old daemon.
    async fn thaw_if_brief(&mut self) {
        if std::mem::take(&mut self.brief) {
            info!("it was frozen for a while only and is thawed");
            self.apply(Event::Resume).await;
        }
    }
}

/// An end that nobody saw; 255 as Docker shows it.
fn unknown(why: &str) -> Event {
    Event::Exit {
        ended: ended_by(255, None, why),
    }
}
