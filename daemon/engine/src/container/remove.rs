//! Remove: all of it goes, or the record stays and says what is left.

use super::start::{CLEARING, settle};
use super::stop::kill_until_over;
use crate::Engine;
use crate::keeper::{Keeper, View};
use gantry_core::lifecycle::{Event, Request, State};
use gantry_core::{ErrorKind, Result};
use std::sync::Arc;

/// How often a forced removal kills again what was started meanwhile.
const TRIES: usize = 5;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RemoveOptions {
    /// Kill it first if it runs.
    pub force: bool,
    /// Its anonymous volumes too.
    pub volumes: bool,
}

impl Engine {
    pub async fn remove(&self, name: &str, options: RemoveOptions) -> Result<()> {
        let keeper = self.find(name)?;
        let RemoveOptions { force, volumes } = options;
        crate::finish(async move {
            keeper.take_volumes(volumes);
            for attempt in 1.. {
                if force {
                    keeper.stopped().await;
                    kill_until_over(&keeper).await?;
                }
                settle(&keeper).await;
                put_back(&keeper).await;
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

/// Somebody attached to it before a start that has not come: it is made ready, and still only created.
async fn put_back(keeper: &Arc<Keeper>) {
    let making = |view: &View| matches!(view.state, State::Preparing { start: false, .. });
    if making(&keeper.view()) {
        keeper.until(Some(CLEARING), |view| !making(view)).await;
    }
    if matches!(keeper.state(), State::Prepared { .. }) {
        keeper.put_back().await;
        let back = |view: &View| !matches!(view.state, State::Prepared { .. } | State::Clearing { .. });
        keeper.until(Some(CLEARING), back).await;
    }
}
