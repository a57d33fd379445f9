//! Pause and resume, by the freezer.

use crate::{
    failure::{Failure, Kind, Result, failed},
    foreign, peer,
    shim::{Container, Phase, Shim},
};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// How long the freezer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Makes every process of a container stand still.
pub async fn pause(shim: &Arc<Shim>, id: &str) -> Result<()> {
    let container = running(shim, id, peer::pause)?;
    if container.is_paused() {
        let words = peer::pause(Phase::Running, true);
        return Err(Failure::precondition(format!("container {id} is paused already")).with_peer(words));
    }
    set(&container, true).await?;
    container.paused.store(true, Ordering::Relaxed);
    Ok(())
}

/// Lets them go on.
pub async fn resume(shim: &Arc<Shim>, id: &str) -> Result<()> {
    let container = running(shim, id, peer::resume)?;
    if !container.is_paused() {
        let words = peer::resume(Phase::Running, false);
        return Err(Failure::precondition(format!("container {id} is not paused")).with_peer(words));
    }
    set(&container, false).await?;
    container.paused.store(false, Ordering::Relaxed);
    Ok(())
}

fn running(shim: &Shim, id: &str, words: fn(Phase, bool) -> String) -> Result<Arc<Container>> {
    let container = shim.container(id)?;
    match container.init.life().phase {
        Phase::Running => Ok(container),
        phase => {
            let words = words(phase, container.is_paused());
            Err(Failure::precondition(format!("container {id} is not running")).with_peer(words))
        }
    }
}

async fn set(container: &Container, frozen: bool) -> Result<()> {
    if let Some(foreign) = &container.foreign {
        return foreign::verbs::set_frozen(foreign, frozen).await;
    }
    let cgroups = container.cgroups();
    let deed = if frozen { "pausing" } else { "resuming" };
    cgroups
        .set_frozen(frozen)
        .map_err(failed(Kind::Runtime, format_args!("{deed} container {}", container.id)))?;
    let end = tokio::time::Instant::now() + PATIENCE;
    let mut step = Duration::from_millis(1);
    while cgroups.is_frozen() != frozen {
        if tokio::time::Instant::now() > end || container.init.life().phase == Phase::Stopped {
            cgroups.thaw();
            return Err(Failure::new(
                Kind::Runtime,
                format!(
                    "{deed} container {}: a process does not stand still; let go again",
                    container.id
                ),
            ));
        }
        tokio::time::sleep(step).await;
        step = (step * 2).min(Duration::from_millis(50));
    }
    Ok(())
}
