//! After a restart of the daemon: compare the record with the kernel, then go on from there.

use super::actor::Actor;
use super::ended_by;
use super::ended_from;
use crate::container::make;
use gantry_core::lifecycle::{Effect, Event, State};
use gantry_task::{Reunion, Shim, Status};
use tracing::{Instrument, info, warn};

impl Actor {
    /// Looks and goes on from there before serving: requests wait in the inbox, readers see the recorded state meanwhile. A request
    /// that came first would wait for what the former daemon had under way, and nobody has that under way any more.
    pub(super) async fn recover(mut self) {
        let span = self.span();
        let found = async {
            let state = self.state();
            if state.may_hold_resources() {
                let (shim, event) = self.look(&state).await;
                self.recovered(shim, event).await;
            } else if matches!(state, State::Restarting { .. }) {
                self.perform(Effect::AgainLater);
            }
        };
        found.instrument(span).await;
        self.run().await;
    }

    async fn look(&self, state: &State) -> (Option<Shim>, Option<Event>) {
        match state {
            State::Removing { .. } | State::Dead { .. } | State::Clearing { .. } => return (None, None),
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
            | State::Removed => {}
        }
        match make::reunion(&self.context, self.keeper.id()).await {
            Ok(Reunion::Found { shim, .. }) => (Some(shim), None),
            Ok(Reunion::Ended(exit)) => (
                None,
                Some(Event::Exit {
                    ended: ended_from(exit),
                }),
            ),
            Ok(Reunion::Idle { .. }) => (None, Some(unknown("its shim knows nothing of it"))),
            Ok(Reunion::Gone) => (None, Some(unknown("its shim is gone; the exit status is not known"))),
            Ok(Reunion::Unanswered(error)) => (None, Some(unknown(&format!("its shim does not answer: {error}")))),
            Err(error) => {
                warn!(err = %error, "the container's shim cannot be looked for");
                (None, Some(unknown(&format!("its shim cannot be looked for: {error}"))))
            }
        }
    }

    /// Goes on from what was found.
    async fn recovered(&mut self, shim: Option<Shim>, event: Option<Event>) {
        let state = self.state();
        info!(
            state = state.status().name(),
            found = shim.is_some(),
            "container found again"
        );
        if let Some(shim) = shim {
            self.adopt(shim).await;
            return;
        }
        if let Some(event) = event {
            self.apply(event).await;
            return;
        }
        match state {
            State::Clearing { .. } => self.perform(Effect::Clear),
            State::Removing { .. } => self.perform(Effect::Delete),
            State::Dead { .. } => self.apply(Event::Retry).await,
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
            | State::Removed => {}
        }
    }

    /// A living shim: what it says of its process is what holds.
    async fn adopt(&mut self, shim: Shim) {
        let run = shim.state(None).await;
        self.shim = Some(shim.clone());
        self.republish();
        let (pid, run) = match run {
            Ok(task) => (task.pid, task.status),
            Err(error) => {
                let ended = ended_by(255, None, format!("its shim does not answer: {error}"));
                self.apply(Event::Exit { ended }).await;
                return;
            }
        };
        match run {
            Status::Created => self.adopt_created(pid).await,
            Status::Running | Status::Pausing | Status::Paused => {
                if let Err(error) = crate::network::take_up(&self.context, &self.keeper.record(), &shim).await {
                    warn!(err = %error, "the container's networks could not be taken up whole");
                }
                self.adopt_running(pid, run == Status::Paused).await;
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
        let started_at = self.state().started_at().unwrap_or_else(std::time::SystemTime::now);
        match (self.state(), frozen) {
            (State::Preparing { last, .. } | State::Prepared { last, .. }, false) => {
                self.set_state(State::Starting { pid, last }).await;
                self.apply(Event::Started { at: started_at }).await;
            }
            (State::Starting { .. }, false) => {
                self.apply(Event::Started {
                    at: std::time::SystemTime::now(),
                })
                .await
            }
            (_, true) => self.set_state(State::Paused { pid, started_at }).await,
            (_, false) => self.set_state(State::Running { pid, started_at }).await,
        }
    }
}

/// An end that nobody saw; 255 as Docker shows it.
fn unknown(why: &str) -> Event {
    Event::Exit {
        ended: ended_by(255, None, why),
    }
}
