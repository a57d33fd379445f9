//! What looks after a container while it is as it is: its probes while it runs, its guard while it is frozen, and who waits for its
//! start while it is made ready.

use super::actor::{Actor, ago};
use super::{Keeper, Message};
use gantry_core::health::{Health, HealthStatus, Probe, Schedule};
use gantry_core::lifecycle::{Event, State};
use std::time::{Duration, SystemTime};
use tracing::{Instrument, debug, error};

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

    /// Begins or ends whatever goes on beside a container in its state.
    pub(super) fn look_after(&mut self) {
        self.probe_or_not();
        self.guard_or_not();
        self.ask_kills();
    }

    /// Has its shim say when the kernel's memory killer takes something of it. That is asked once in a run, and ends with it.
    fn ask_kills(&mut self) {
        let Some(shim) = self.shim.clone().filter(|_| self.state().is_running()) else {
            return;
        };
        if self.kills_asked.replace(self.run) == Some(self.run) {
            return;
        }
        let (run, inbox, mut known) = (self.run, self.inbox.clone(), self.memory_kills);
        let work = async move {
            loop {
                match shim.memory_kills(known).await {
                    Ok(kills) if kills > known => known = kills,
                    Ok(_) => break,
                    // One of before does not know. At the end of the run it is told all the same.
                    Err(error) => return debug!(err = %error, "memory kills are told when the container ends"),
                }
                if inbox.send(Message::MemoryKills(run, known)).await.is_err() {
                    break;
                }
            }
        };
        tokio::spawn(work.in_current_span());
    }

    /// Tells of a memory kill that the container outlived so far.
    pub(super) async fn memory_killed(&mut self, kills: u64) {
        let state = self.state();
        if !state.is_running() || kills <= self.memory_kills {
            // Told with its end.
            return;
        }
        let before = std::mem::replace(&mut self.memory_kills, kills);
        if let Err(error) = self.persist(&state, vec![self.event("oom", [])]).await {
            error!(err = %error, "a memory kill could not be written; it is told when the container ends");
            self.memory_kills = before;
        }
        self.republish();
    }

    /// Asks a running container whether it is well; leaves any other alone.
    fn probe_or_not(&mut self) {
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
