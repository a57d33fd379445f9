//! What its policy, `--rm` and the daemon's own coming and going make of a container's runs.

use super::Message;
use super::actor::Actor;
use gantry_core::container::{Ended, Tally};
use gantry_core::health::{Health, HealthStatus};
use gantry_core::lifecycle::{Event, State};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

impl Actor {
    /// Who starts it begins anew, whatever its policy did before.
    pub(super) fn asked(&mut self, event: &Event) {
        let rests = matches!(
            self.state(),
            State::Created | State::Exited { .. } | State::Restarting { .. } | State::Clearing { .. }
        );
        if rests && matches!(event, Event::Start | Event::Prepare) {
            self.tally = Tally::default();
        }
    }

    /// Keeps count of runs, and begins and ends the account of a run's health.
    pub(super) fn count(&mut self, before: &State, event: &Event) {
        match event {
            Event::Started { .. } => {
                self.began = Some(Instant::now());
                self.brief = false;
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
                // One that no daemon saw end is measured by what was written down.
                let told = ended
                    .started_at
                    .and_then(|began| ended.finished_at.duration_since(began).ok());
                let ran = self.began.take().map(|began| began.elapsed()).or(told);
                self.tally.ended(ran.unwrap_or_default());
                if let Some(health) = &mut self.health {
                    health.status = HealthStatus::Unhealthy;
                }
            }
            _ => {}
        }
    }

    /// Whether its policy wants another run after one that ended so; if it does, that is counted.
    pub(super) fn is_wanted(&mut self, ended: &Ended) -> bool {
        let record = self.keeper.record();
        let policy = &record.host.restart;
        let wanted = (ended.started_at.is_some() || self.tally.by_policy)
            && !self.keeper.is_held()
            && !self.is_closing()
            && policy.again(ended.code, self.tally.stopped, self.tally.restarts);
        self.tally.restarts += u32::from(wanted);
        wanted
    }

    pub(super) fn is_closing(&self) -> bool {
        self.context.closing.load(Ordering::Relaxed)
    }

    /// The daemon has started, and its policy wants it to run. Who was quicker has his way.
    pub(super) async fn boot(&mut self) {
        if !self.is_closing() && matches!(self.state(), State::Exited { .. } | State::Clearing { .. }) {
            self.tally = Tally {
                by_policy: true,
                ..Tally::default()
            };
            self.apply(Event::Start).await;
        }
    }

    /// Somebody stops it. A kill of the daemon does not lose that.
    pub(super) async fn stopped(&mut self) {
        self.tally.stopped = true;
        if matches!(self.state(), State::Restarting { .. }) {
            return self.apply(Event::GiveUp).await;
        }
        self.note().await;
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

    /// `--rm`: a run that is over and cleared, and not half of a restart, ends the container.
    pub(super) async fn remove_if_done(&mut self) {
        if self.is_done(&self.state()) {
            Box::pin(self.apply(Event::Remove)).await;
        }
    }

    pub(super) fn is_done(&self, state: &State) -> bool {
        let over = matches!(state, State::Exited { .. });
        over && !self.keeper.is_held() && self.keeper.record().host.auto_remove
    }
}
