//! Kill: one signal to the container's process.

use crate::Engine;
use gantry_core::lifecycle::{Event, Request, State};
use gantry_core::{Result, signal};
use std::time::Duration;

/// How long a killed container may take to be seen dead before the answer is given all the same.
const SEEN_DEAD: Duration = Duration::from_secs(1);

impl Engine {
    /// Sends a signal, SIGKILL if none is named.
    pub async fn kill(&self, name: &str, signal: &str) -> Result<()> {
        let keeper = self.find(name)?;
        let number = if signal.is_empty() {
            nix::libc::SIGKILL
        } else {
            signal::parse(signal)?
        };
        let record = keeper.record();
        let ends = ends(number, &record.config.stop_signal);
        // One between two runs is not to have the next, and what is made of that is broken off.
        let between = matches!(keeper.view().told(&record.host), State::Restarting { .. });
        let number = match ends && between {
            true => nix::libc::SIGKILL,
            false => number,
        };
        // What is refused changes nothing.
        let taken = keeper.state().is_running() || number == nix::libc::SIGKILL;
        if ends && taken {
            keeper.stopped().await;
        }
        match keeper.ask(Event::Kill { signal: number }, Request::Kill).await {
            Err(_) if ends && between && !keeper.state().is_running() => return Ok(()),
            asked => asked?,
        }
        if number == nix::libc::SIGKILL {
            // As Docker does: who kills for good finds it dead.
            keeper.until(Some(SEEN_DEAD), |view| !view.state.is_running()).await;
        }
        Ok(())
    }
}

/// Whether who sends this signal wants the container to stay away: any does, unless it has a signal of its own for that.
fn ends(number: i32, stop_signal: &str) -> bool {
    match signal::parse(stop_signal) {
        Ok(own) => number == own || number == nix::libc::SIGKILL,
        Err(_) => true,
    }
}
