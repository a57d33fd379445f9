//! Looking at one container without asking anybody, and the size of its terminal.

use crate::Engine;
use gantry_core::Result;
use gantry_core::container::ContainerRecord;
use gantry_core::lifecycle::State;
use std::sync::Arc;

impl Engine {
    /// What a container is and how it is, from published state.
    pub fn look(&self, name: &str) -> Result<(Arc<ContainerRecord>, State)> {
        let keeper = self.find(name)?;
        Ok((keeper.record(), keeper.state()))
    }

    /// Tells the terminal of a running container its size.
    pub async fn resize(&self, name: &str, height: u16, width: u16) -> Result<()> {
        let shim = self.find(name)?.shim().await?;
        Ok(shim.resize(None, height, width).await?)
    }
}
