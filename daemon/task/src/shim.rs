//! The handle of one shim: its connection, and calls with deadlines. What is said over it: [`verbs`], [`extras`], [`seam`].

mod extras;
mod link;
mod sandbox;
mod seam;
mod verbs;

use crate::bundle::Bundle;
use crate::error::{Result, TaskError};
use crate::foreign::log::Pipe;
use crate::process::ProcessMark;
use crate::shims::Deadlines;
use gantry_core::{ContainerId, ExecId, Namespace};
use gantry_shim_protocol::Bootstrap;
use link::Link;
use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::AbortHandle;

const RELINK_PAUSE: Duration = Duration::from_millis(20);

/// Cheap to clone; calls may overlap. Dropping it ends the connection, never the shim.
#[derive(Clone)]
pub struct Shim {
    inner: Arc<Inner>,
}

struct Inner {
    namespace: Namespace,
    id: ContainerId,
    bundle: Bundle,
    bootstrap: Bootstrap,
    deadlines: Deadlines,
    link: Mutex<Link>,
    attach: Mutex<Option<PathBuf>>,
    /// Reads what the shim has to say of itself.
    log: Mutex<Option<AbortHandle>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(reader) = lock(&self.log).take() {
            reader.abort();
        }
    }
}

impl std::fmt::Debug for Shim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Shim({}/{} at {})",
            self.inner.namespace, self.inner.id, self.inner.bootstrap.address
        )
    }
}

impl Shim {
    pub(crate) async fn connect(
        namespace: Namespace,
        id: ContainerId,
        bundle: Bundle,
        bootstrap: Bootstrap,
        deadlines: Deadlines,
        limit: Duration,
    ) -> Result<Self> {
        let link = Mutex::new(Link::open(id.as_str(), namespace.as_str(), &bootstrap, limit).await?);
        let inner = Inner {
            namespace,
            id,
            bundle,
            bootstrap,
            deadlines,
            link,
            attach: Mutex::new(None),
            log: Mutex::new(None),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Reads its log for as long as this handle lives.
    pub(crate) fn keep_log(&self, pipe: Pipe) {
        *lock(&self.inner.log) = pipe.follow(self);
    }

    pub fn namespace(&self) -> &Namespace {
        &self.inner.namespace
    }

    pub fn id(&self) -> &ContainerId {
        &self.inner.id
    }

    pub fn bundle(&self) -> &Bundle {
        &self.inner.bundle
    }

    /// Whether the pid is, still, of the container's first process. Blocks. Only our own shim writes that down; another's is believed.
    pub fn is_process(&self, pid: u32) -> bool {
        self.inner.bundle.state().is_none_or(|written| {
            let mark = ProcessMark {
                pid: written.pid,
                start_time: written.start_time,
                boot_id: written.boot_id,
            };
            mark.start_time == 0 || (mark.pid == pid && mark.is_alive())
        })
    }

    pub(crate) fn deadline(&self) -> Duration {
        self.inner.deadlines.call
    }

    fn key(&self) -> &str {
        self.inner.id.as_str()
    }

    fn link(&self) -> Link {
        lock(&self.inner.link).clone()
    }

    /// Connects again after a broken connection; an error means that the shim is not there any more.
    async fn relink(&self) -> Result<()> {
        let (namespace, version) = (self.inner.namespace.as_str(), self.link().version);
        let limit = self.inner.deadlines.reconnect;
        // One that accepts and hangs up at once is not asked as fast as it can.
        tokio::time::sleep(RELINK_PAUSE).await;
        let link = Link::open(self.key(), namespace, &self.inner.bootstrap, limit).await?;
        *lock(&self.inner.link) = link.speaking(version, namespace);
        Ok(())
    }

    async fn brief<T>(&self, deed: &'static str, call: impl Future<Output = ttrpc::Result<T>>) -> Result<T> {
        self.call(deed, self.inner.deadlines.call, false, call).await
    }

    async fn starting<T>(&self, deed: &'static str, call: impl Future<Output = ttrpc::Result<T>>) -> Result<T> {
        self.call(deed, self.inner.deadlines.work, true, call).await
    }

    /// The deadline is kept on this side only: a shim told of it would break off half way.
    async fn call<T>(
        &self,
        deed: &'static str,
        after: Duration,
        starting: bool,
        call: impl Future<Output = ttrpc::Result<T>>,
    ) -> Result<T> {
        let link = self.link();
        tokio::select! {
            biased;
            answer = call => answer.map_err(|error| TaskError::from_call(deed, self.key(), starting, error)),
            () = link.closed() => Err(self.lost(deed)),
            () = tokio::time::sleep(after) => Err(TaskError::Late {
                deed,
                id: self.key().to_owned(),
                after,
            }),
        }
    }

    fn lost(&self, deed: &'static str) -> TaskError {
        TaskError::Lost {
            deed,
            id: self.key().to_owned(),
            cause: "the shim closed it".to_owned(),
        }
    }
}

fn name(exec: Option<&ExecId>) -> String {
    exec.map(|exec| exec.as_str().to_owned()).unwrap_or_default()
}

/// What these locks hold is replaced whole, so that a panic elsewhere leaves nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
