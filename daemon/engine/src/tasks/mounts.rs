//! What of a task's root has to be mounted before its shim can mount the rest: kept under the task's name until it is gone, and as
//! long as its container needs it.

use super::room::Room;
use super::task::Task;
use crate::NewActivation;
use crate::gate::blocking;
use gantry_core::{ErrorKind, Labels, Mount, Result};
use std::path::Path;
use tracing::warn;

/// Whose mounts they are, for the collector.
const OF_CONTAINER: &str = "containerd.io/gc.bref.container";

impl Room {
    /// The mounts that are left for the shim, and whether others were performed for them.
    pub(super) async fn mount_before(
        &self,
        task: &Task,
        program: &Path,
        mounts: Vec<Mount>,
    ) -> Result<(Vec<Mount>, bool)> {
        if !mounts.iter().any(|mount| crate::activations::needs_more(&mount.kind)) {
            return Ok((mounts, false));
        }
        let allowed = self.shims.mounts_itself(&program.to_string_lossy(), None).await;
        let (activations, ns, name) = (self.activations.clone(), task.ns.clone(), task.id.to_string());
        blocking(move || {
            let new = NewActivation {
                name: name.clone(),
                mounts: mounts.clone(),
                labels: Labels::from([(OF_CONTAINER.to_owned(), name.clone())]),
                allowed,
                ..NewActivation::default()
            };
            match activations.activate(&ns, new) {
                Ok(activation) => Ok((activation.system, true)),
                Err(error) if error.kind() == ErrorKind::Unimplemented => Ok((mounts, false)),
                // Whoever made them under the task's name meant them for it.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    Ok((activations.info(&ns, &name)?.system, false))
                }
                Err(error) => Err(error),
            }
        })
        .await
    }

    /// Nobody has the task's root mounted any more.
    pub(super) async fn unmount_after(&self, task: &Task) {
        let (activations, ns, name) = (self.activations.clone(), task.ns.clone(), task.id.to_string());
        match blocking(move || activations.deactivate(&ns, &name)).await {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                warn!(ns = %task.ns, container = %task.id, err = %error, "what was mounted for a task is taken down later");
            }
            _ => {}
        }
    }
}
