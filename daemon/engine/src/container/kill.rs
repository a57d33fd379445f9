//! Kill: one signal to the container's process.

use crate::Engine;
use gantry_core::lifecycle::{Event, Request};
use gantry_core::{Result, signal};

impl Engine {
    /// Sends a signal, SIGKILL if none is named.
    pub async fn kill(&self, name: &str, signal: &str) -> Result<()> {
        let keeper = self.find(name)?;
        let number = if signal.is_empty() {
            nix::libc::SIGKILL
        } else {
            signal::parse(signal)?
        };
        keeper.ask(Event::Kill { signal: number }, Request::Kill).await
    }
}
