//! Remove: all of it goes, or the record stays and says what is left.

use super::start::settle;
use super::stop::kill_until_over;
use crate::Engine;
use gantry_core::lifecycle::{Event, Request, State};
use gantry_core::{ErrorKind, Result};

/// How often a forced removal kills again what was started meanwhile.
const TRIES: usize = 5;

impl Engine {
    pub async fn remove(&self, name: &str, force: bool) -> Result<()> {
        let keeper = self.find(name)?;
        crate::finish(async move {
            for attempt in 1.. {
                if force {
                    kill_until_over(&keeper).await?;
                }
                settle(&keeper).await;
                if matches!(keeper.state(), State::Removed) {
                    return Ok(());
                }
                match keeper.ask(Event::Remove, Request::Remove).await {
                    Err(error) if error.kind() == ErrorKind::Conflict && force && attempt < TRIES => {}
                    // It was `--rm` or another removal was faster: gone is gone.
                    Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
                    other => return other,
                }
            }
            Ok(())
        })
        .await
    }
}
