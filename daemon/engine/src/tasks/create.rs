//! Making a task: the shim its container names, the bundle, the process that waits to be run.

use super::room::Room;
use super::state::Event;
use super::task::{Task, told};
use super::{NewTask, checkpoint};
use crate::gate::blocking;
use gantry_core::meta::{Any, Container};
use gantry_core::{ContainerId, Error, ErrorKind, Mount, Namespace, Result};
use gantry_task::{BundleName, Endpoint, ForeignTask, LaunchShim, Shim, TaskError, shim_program};
use serde::Deserialize;
use std::path::PathBuf;
use std::sync::Arc;
use tracing::warn;

/// What a task is made of.
struct Parts {
    program: PathBuf,
    host: Option<Endpoint>,
    options: Option<Any>,
    spec: Any,
    rootfs: Vec<Mount>,
}

impl Room {
    pub(super) async fn create(self: &Arc<Self>, ns: &Namespace, id: &ContainerId, new: NewTask) -> Result<u32> {
        let container = self.meta.container(ns, id).await?;
        let task = self.reserve(ns, id).await?;
        let room = self.clone();
        crate::finish(async move {
            let made = room.make(&task, container, new).await;
            if made.is_err() {
                task.apply(Event::Gone(None));
                room.forget(&task);
            }
            made
        })
        .await
    }

    async fn make(self: &Arc<Self>, task: &Arc<Task>, container: Container, mut new: NewTask) -> Result<u32> {
        let program = runtime(&container, &new)?;
        let host = self.host(&task.ns, &container, new.guest_of.take()).await?;
        let options = new.options.clone().or_else(|| container.runtime.options.clone());
        let spec = container.spec.clone().unwrap_or_default();
        let rootfs = self
            .rootfs(task, &container, &spec, std::mem::take(&mut new.rootfs))
            .await?;
        let (rootfs, kept) = self.mount_before(task, &program, rootfs).await?;
        let parts = Parts {
            program,
            host,
            options,
            spec,
            rootfs,
        };
        let made = self.launch(task, parts, new).await;
        if made.is_err() && kept {
            self.unmount_after(task).await;
        }
        made
    }

    async fn launch(self: &Arc<Self>, task: &Arc<Task>, parts: Parts, new: NewTask) -> Result<u32> {
        let Parts {
            program,
            host,
            options,
            spec,
            rootfs,
        } = parts;
        let restore = match new.checkpoint {
            Some(blob) => Some(checkpoint::unpack(self, task, blob).await?),
            None => None,
        };
        let launch = LaunchShim {
            namespace: task.ns.clone(),
            id: task.id.clone(),
            spec: spec.value,
            program,
            options: options.clone(),
            work: self.work_dir(task),
        };
        let launched = match host {
            Some(host) => self.shims.join(launch, host).await,
            None => self.shims.launch(launch).await,
        };
        let shim = match launched {
            Ok(shim) => shim,
            Err(error) => return Err(self.unlaunched(task, error).await),
        };
        let request = ForeignTask {
            rootfs,
            stdio: new.stdio.clone(),
            checkpoint: restore.as_ref().map(|dir| dir.text()).unwrap_or_default(),
            options,
        };
        match shim.create_task(request).await {
            Ok(pid) => {
                task.take(shim.clone(), new.stdio);
                task.apply(Event::Made { pid });
                self.keep(task.clone(), shim);
                Ok(pid)
            }
            Err(error) => {
                self.unmake(task, shim, &error).await;
                Err(told(error).context("failed to create shim task"))
            }
        }
    }

    /// The shim that the task joins: the one its caller names, else that of its container's sandbox.
    async fn host(&self, ns: &Namespace, container: &Container, named: Option<Endpoint>) -> Result<Option<Endpoint>> {
        if named.is_some() || container.sandbox.is_empty() {
            return Ok(named);
        }
        let lost = |error: Error| error.context(format!("find the sandbox of container {}", container.id));
        let id = ContainerId::new(&container.sandbox).map_err(lost)?;
        if let Some(endpoint) = self.sandboxes.endpoint(ns, &id) {
            return Ok(Some(endpoint));
        }
        // A task may stand for a sandbox, as all did before there was a controller of them.
        let shim = match self.find(ns, &id).await {
            Ok(task) => task.shim().map_err(lost)?,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(lost(Error::not_found(format!(
                    "sandbox {id} not found: start it first"
                ))));
            }
            Err(error) => return Err(lost(error)),
        };
        Ok(shim.endpoint())
    }

    /// The shim did not come up.
    async fn unlaunched(&self, task: &Task, error: TaskError) -> Error {
        if let TaskError::MakeBundle { source, .. } = &error
            && source.kind() == std::io::ErrorKind::AlreadyExists
        {
            return Error::exists(format!("task {}: already exists", task.id));
        }
        self.clear(task).await;
        let kind = match error.kind() {
            ErrorKind::Internal => ErrorKind::Unknown,
            kind => kind,
        };
        Error::new(kind, format!("failed to start shim: {}", told(error)))
    }

    /// The shim came up, but not the task.
    async fn unmake(self: &Arc<Self>, task: &Arc<Task>, shim: Shim, error: &TaskError) {
        let stuck = matches!(error, TaskError::Late { .. });
        if !stuck && !error.is_lost() {
            // Most shims keep nothing of a task that failed; some do.
            let removed = shim.remove(None).await;
            let lost = removed.is_err_and(|error| error.is_lost());
            shim.retire().await;
            if !lost && self.discard(task, &shim).await.is_ok() {
                return;
            }
        }
        if stuck && !shim.answers(self.shims.config().deadlines.call).await {
            self.put_down(task).await;
        }
        drop(shim);
        self.clear(task).await;
    }

    async fn clear(&self, task: &Task) {
        if let Err(error) = self.shims.mourn(&name(task)).await {
            warn!(ns = %task.ns, container = %task.id, err = %error, "what a failed start left could not be cleared");
        }
    }

    pub(super) async fn put_down(&self, task: &Task) {
        match self.shims.put_down(&name(task)).await {
            Ok(true) => warn!(ns = %task.ns, container = %task.id, "its shim did not answer and was killed"),
            Ok(false) => {
                warn!(ns = %task.ns, container = %task.id, "its shim does not answer and is not known by its process")
            }
            Err(error) => {
                warn!(ns = %task.ns, container = %task.id, err = %error, "its shim does not answer and cannot be killed")
            }
        }
    }

    /// The caller's mounts, else those of the container's snapshot, if its spec expects them in the bundle.
    async fn rootfs(&self, task: &Task, container: &Container, spec: &Any, given: Vec<Mount>) -> Result<Vec<Mount>> {
        if !given.is_empty() || container.snapshot_key.is_empty() || !expects_rootfs(&spec.value) {
            return Ok(given);
        }
        let (snapshots, ns) = (self.snapshots.clone(), task.ns.clone());
        let (snapshotter, key) = (container.snapshotter.clone(), container.snapshot_key.clone());
        blocking(move || snapshots.mounts(&ns, &snapshotter, &key)).await
    }
}

pub(super) fn name(task: &Task) -> BundleName {
    BundleName {
        namespace: task.ns.clone(),
        id: task.id.clone(),
    }
}

fn runtime(container: &Container, new: &NewTask) -> Result<PathBuf> {
    let name = match new.runtime_path.as_str() {
        "" => &container.runtime.name,
        path => path,
    };
    shim_program(name).map_err(|error| error.context("failed to start shim"))
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Spec {
    root: Root,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Root {
    path: String,
}

/// Whether the root filesystem is the bundle's, and not a directory of the caller's own.
fn expects_rootfs(spec: &[u8]) -> bool {
    serde_json::from_slice::<Spec>(spec)
        .is_ok_and(|spec| !spec.root.path.is_empty() && !spec.root.path.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_root_it_is() {
        assert!(expects_rootfs(br#"{"root":{"path":"rootfs"}}"#));
        assert!(!expects_rootfs(br#"{"root":{"path":"/somewhere"}}"#));
        assert!(!expects_rootfs(b"{}") && !expects_rootfs(b"nonsense"));
    }
}
