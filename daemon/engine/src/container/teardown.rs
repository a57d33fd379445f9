//! Taking down: what a run leaves in the kernel, and what a container leaves on disk.

use crate::container::make;
use crate::context::Context;
use crate::gate::blocking;
use crate::{failpoint, records};
use gantry_core::container::ContainerRecord;
use gantry_core::{ContainerId, Error, ErrorKind, Result, error::io_kind};
use gantry_task::{Leftover, Reunion, Shim};
use std::path::Path;
use std::sync::Arc;

const SIGKILL: u32 = 9;

/// Clears what a run left: the task, the shim, the bundle, the cgroup. Safe to do again.
pub(crate) async fn clear(context: &Arc<Context>, id: &ContainerId, shim: Option<Shim>) -> Result<()> {
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
                let _ = shim.shutdown().await;
                return Ok(context.shims.release(&shim).await?);
            }
            Err(error) => tracing::debug!(err = %error, "the shim could not delete its task; cleaning up without it"),
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

/// Deletes everything a container has, the record last, so that a failure leaves something to try again with.
pub(crate) async fn delete(context: &Arc<Context>, record: &Arc<ContainerRecord>) -> Result<()> {
    cleanup(context, &record.id).await?;
    let (context, record) = (context.clone(), record.clone());
    blocking(move || {
        failpoint!("engine::delete::snapshot");
        match context
            .snapshots
            .remove(&context.namespace, &record.snapshotter, &record.snapshot_key)
        {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error.context(format!("remove the root filesystem of container {}", record.id)));
            }
            Ok(()) | Err(_) => {}
        }
        failpoint!("engine::delete::files");
        remove_tree(&context.state_dir(&record.id))?;
        failpoint!("engine::delete::records");
        records::delete(&context, &record)
    })
    .await
}

/// Removes a directory with all in it; already gone is as good.
pub(crate) fn remove_tree(dir: &Path) -> Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::new(
            io_kind(&error),
            format!("remove {}: {error}", dir.display()),
        )),
        Ok(()) | Err(_) => Ok(()),
    }
}
