//! Taking down: what a run leaves in the kernel, and what a container leaves on disk.

use crate::background::Job;
use crate::container::make;
use crate::context::Context;
use crate::events::Event;
use crate::gate::blocking;
use crate::keeper::Keeper;
use crate::volume::Going;
use crate::{failpoint, records};
use gantry_core::container::ContainerRecord;
use gantry_core::{ContainerId, Error, Result, error::io_kind};
use gantry_snapshots_dirs::refuse_mounted;
use gantry_task::{Leftover, Reunion, Shim};
use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::{Instrument, debug, info, warn};

const SIGKILL: u32 = 9;
/// How long what a broken-off start still does is waited for.
const STEPS: Duration = Duration::from_secs(30);

/// Waits for the end of what a broken-off start still does: what it makes after the clearing would stay. What hangs (a mount of a
/// server that does not answer) holds up the container no longer than that, and is cleared when it ends.
pub(crate) async fn steps_over(context: &Arc<Context>, keeper: &Arc<Keeper>, mut steps: mpsc::Receiver<Infallible>) {
    // Nothing is ever sent: it ends with the last step.
    if timeout(STEPS, steps.recv()).await.is_ok() {
        return;
    }
    warn!("a step of the start that was broken off hangs; what it makes is cleared when it ends");
    let (context, keeper) = (context.clone(), keeper.clone());
    let late = async move {
        let _ended = steps.recv().await;
        // One that was started again has taken it up, and clears it with the rest of that run.
        if !keeper.state().may_hold_resources() {
            context.networks.leave(keeper.id());
            let left = blocking(move || {
                context.volumes.leave(keeper.id(), Some(&*keeper.record()));
                Ok(())
            });
            match left.await {
                Ok(()) => info!("what the hung step made is cleared"),
                Err(error) => warn!(err = %error, "what the hung step made is not cleared"),
            }
        }
    };
    tokio::spawn(late.in_current_span());
}

/// Clears what a run left: the task, the shim, the bundle, the cgroup, its place in networks. Safe to do again.
pub(crate) async fn clear(context: &Arc<Context>, id: &ContainerId, shim: Option<Shim>) -> Result<()> {
    clear_task(context, id, shim).await?;
    context.networks.leave(id);
    let (context, id) = (context.clone(), id.clone());
    blocking(move || {
        let keeper = context.registry.get(&id);
        context
            .volumes
            .leave(&id, keeper.map(|keeper| keeper.record()).as_deref());
        Ok(())
    })
    .await
}

async fn clear_task(context: &Arc<Context>, id: &ContainerId, shim: Option<Shim>) -> Result<()> {
    let shim = match shim {
        Some(shim) => Some(shim),
        None => match make::reunion(context, id).await? {
            Reunion::Found { shim, .. } | Reunion::Idle { shim } => Some(shim),
            Reunion::Ended(_) | Reunion::Gone | Reunion::Unanswered(_) => None,
        },
    };
    failpoint!("engine::clear::task");
    if let Some(shim) = shim {
        // A run that was broken off may still be in its making, in a hook for one; of a run that has ended this finds nothing.
        let _ = shim.kill(None, SIGKILL, true).await;
        match shim.delete(None).await {
            Ok(_) => {
                failpoint!("engine::clear::shim");
                // It lives on until clients have read what is theirs, then ends by itself.
                let (_, released) = tokio::join!(shim.shutdown(), context.shims.release(&shim));
                let leaving = released?;
                let what = format!("removing the bundle of container {id}");
                context
                    .background
                    .hand(Job::new(what, move || Ok(leaving.remove()?)))
                    .await;
                return Ok(());
            }
            Err(error) => debug!(err = %error, "the shim could not delete its task; cleaning up without it"),
        }
    }
    cleanup(context, id).await
}

/// Ends by force whatever a container has in the kernel.
pub(crate) async fn cleanup(context: &Arc<Context>, id: &ContainerId) -> Result<()> {
    let cgroup_path = Some(context.cgroup_path(id));
    let leftover = Leftover {
        namespace: context.namespace.clone(),
        id: id.clone(),
        mark: None,
        cgroup_path,
    };
    Ok(context.shims.cleanup(leftover).await?)
}

/// Takes a container that does not run out of the books, all of it in one batch, and has its files deleted in the background: its
/// id is never given again, so nobody looks for them under their names. Whatever is mounted among them is noticed before
/// anything is touched. Answers what is to be told.
pub(crate) async fn delete(context: &Arc<Context>, record: &Arc<ContainerRecord>, volumes: bool) -> Result<Vec<Event>> {
    let (worker, subject) = (context.clone(), record.clone());
    let (told, remains, jobs) = blocking(move || {
        let context = worker;
        refuse_mounted(&context.state_dir(&subject.id)).map_err(from_path)?;
        failpoint!("engine::delete::records");
        let destroyed = context.container_event(&subject, "destroy", Default::default());
        let going = volumes.then(|| context.volumes.going(&context, &subject)).transpose()?;
        let (told, remains) = records::delete(&context, &subject, going.as_ref(), vec![destroyed])?;
        failpoint!("engine::delete::recorded");
        Ok((told, remains, going.map(Going::finish).unwrap_or_default()))
    })
    .await?;
    for job in jobs {
        context.background.hand(job).await;
    }
    let (dir, what) = (
        context.state_dir(&record.id),
        format!("deleting the files of container {}", record.id),
    );
    let files = Job::new(what, move || {
        failpoint!("engine::delete::snapshot");
        if let Some(remains) = &remains {
            remains.remove()?;
        }
        failpoint!("engine::delete::files");
        remove_tree(&dir)
    });
    context.background.hand(files).await;
    Ok(told)
}

/// Removes a directory with all in it, but nothing that is mounted there; already gone is as good.
pub(crate) fn remove_tree(dir: &Path) -> Result<()> {
    gantry_snapshots_dirs::remove_tree(dir).map_err(from_path)
}

fn from_path(error: gantry_snapshots_dirs::PathError) -> Error {
    Error::wrap(io_kind(&error.source), error)
}
