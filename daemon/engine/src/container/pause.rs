//! Pause and unpause.

use crate::Engine;
use gantry_core::Result;
use gantry_core::lifecycle::{Event, Request};

impl Engine {
    pub async fn pause(&self, name: &str) -> Result<()> {
        self.find(name)?.ask(Event::Pause, Request::Pause).await
    }

    pub async fn unpause(&self, name: &str) -> Result<()> {
        self.find(name)?.ask(Event::Resume, Request::Resume).await
    }
}
