//! What looks after a container while it is as it is: its probes while it runs, its guard while it is frozen, and who waits for its
//! start while it is made ready.

use super::actor::{Actor, ago};
use super::{Keeper, Message};
use gantry_core::health::{Health, HealthStatus, Probe, Schedule};
use gantry_core::lifecycle::{Event, State};
use std::time::{Duration, SystemTime};
use tracing::Instrument;

/// A prepared container that nobody starts is put back after this.
const PREPARED: Duration = Duration::from_secs(60);

impl Actor {
    /// Takes what a probe said, unless it was of a former run.
    pub(super) async fn probed(&mut self, run: SystemTime, probe: Probe) {
        let state = self.state();
        let (Some(began), Some(health)) = (state.started_at().filter(|_| state.is_running()), &mut self.health) else {
            return;
        };
        if began != run {
            return;
        }
        let ran = self.began.map(|began| began.elapsed()).unwrap_or_default();
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
            let run = super::probe::Run {
                began,
                since: *self.began.get_or_insert_with(|| ago(began)),
            };
            let (engine, keeper, inbox) = (self.context.clone(), self.keeper.clone(), self.inbox.clone());
            let work = super::probe::watch(engine, keeper, inbox, check.clone(), run);
            self.probing = Some(tokio::spawn(work.in_current_span()).abort_handle());
        }
    }

    /// Guards a container that is frozen; leaves any other alone.
    pub(super) fn guard_or_not(&mut self) {
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

    /// Puts it back if nobody starts it. Whoever is attached to it waits for that start, however late it is.
    pub(super) fn expire_later(&self) {
        let (inbox, keeper) = (self.inbox.clone(), self.keeper.clone());
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(PREPARED).await;
                if !is_awaited(&keeper).await {
                    break;
                }
            }
            // An inbox that is closed belongs to nobody.
            let _ = inbox.send(Message::News(Event::Expired)).await;
        });
    }
}

/// Whether somebody is attached to what is made ready.
async fn is_awaited(keeper: &Keeper) -> bool {
    let view = keeper.view();
    match (view.state, view.shim) {
        (State::Prepared { .. }, Some(shim)) => {
            let attached = shim.attach_state(None).await;
            attached.is_ok_and(|attached| !attached.clients.is_empty())
        }
        _ => false,
    }
}
