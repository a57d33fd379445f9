//! Sandboxes that run: each a shim of the runtime that its record names, which serves containerd's sandbox API.
//!
//! The one flow: [`Sandboxes::create`] starts the shim and makes the sandbox in it, [`Sandboxes::start`] starts it and answers where
//! tasks may join it. A watcher waits for the end of the sandbox and of its shim, and tells it once. After a restart of the daemon every
//! shim is looked for.

use crate::Engine;
use crate::exchange::Exchange;
use crate::gate::blocking;
use crate::meta::Meta;
use gantry_core::meta::{Any, Happening, RuntimeChoice, Sandbox};
use gantry_core::{ContainerId, Error, ErrorKind, Namespace, Result};
use gantry_task::{
    BundleName, Endpoint, LaunchShim, NewSandbox, SandboxEnd, SandboxMetric, SandboxPlatform, SandboxStarted,
    SandboxState, Shim, Shims, TaskError, shim_program,
};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::watch;
use tracing::{debug, info, warn};

/// What nobody knows is said so.
const UNKNOWN: u32 = 255;
/// How long a shim may take to say what it knows.
const LOOK: Duration = Duration::from_secs(2);
/// When a shim is asked again that does not let itself be waited for.
const AGAIN: Duration = Duration::from_secs(1);

type Key = (Namespace, ContainerId);

/// A running sandbox, seen from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningSandbox {
    pub started: SandboxStarted,
    pub address: String,
    /// Of the task API at that address.
    pub version: u32,
}

/// How a sandbox is, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxView {
    pub state: SandboxState,
    pub address: String,
    pub version: u32,
}

/// The use cases on sandboxes. Cheap to clone.
#[derive(Clone)]
pub struct Sandboxes {
    room: Arc<Room>,
}

impl Engine {
    /// Sandboxes of every namespace.
    pub fn sandboxes(&self) -> Sandboxes {
        Sandboxes {
            room: self.context.sandboxes.clone(),
        }
    }
}

pub(crate) struct Room {
    shims: Shims,
    meta: Meta,
    exchange: Exchange,
    /// Directories of sandboxes that outlive reboots.
    work: PathBuf,
    /// A name without a sandbox is being made, or looked for.
    all: Mutex<BTreeMap<Key, Option<Arc<One>>>>,
}

/// One that is there.
struct One {
    key: Key,
    shim: Shim,
    ended: watch::Sender<Option<SandboxEnd>>,
}

impl One {
    /// Waits for the end, however long that takes.
    async fn end(&self) -> SandboxEnd {
        let mut ended = self.ended.subscribe();
        let seen = ended.wait_for(Option::is_some).await;
        seen.ok().and_then(|end| *end).unwrap_or_else(unknown)
    }
}

fn unknown() -> SandboxEnd {
    SandboxEnd {
        status: UNKNOWN,
        at: SystemTime::now(),
    }
}

fn not_found(id: &ContainerId) -> Error {
    Error::not_found(format!("sandbox {id} not found"))
}

/// A shim's own words go through as they are.
fn told(error: TaskError) -> Error {
    match error {
        TaskError::Refused { kind, message, .. } => Error::new(kind, message),
        TaskError::Lost { id, .. } => Error::new(ErrorKind::Unavailable, format!("the shim of sandbox {id} is gone")),
        other => other.into(),
    }
}

impl Sandboxes {
    /// Starts a shim and makes the sandbox in it. `given` says of which runtime; without it the sandbox's record does.
    ///
    /// `AlreadyExists` if there is one; Unimplemented of a shim that is for tasks only.
    pub async fn create(
        &self,
        ns: &Namespace,
        id: &ContainerId,
        given: Option<Sandbox>,
        new: NewSandbox,
    ) -> Result<()> {
        let given = match given {
            Some(given) => given,
            None => self.room.meta.sandbox(ns, id).await?,
        };
        let key = (ns.clone(), id.clone());
        self.room.reserve(&key)?;
        let room = self.room.clone();
        crate::finish(async move {
            let made = room.make(&key, given.runtime, given.spec, new).await;
            match made {
                Ok(shim) => {
                    let told = vec![Happening::SandboxCreate { id: key.1.to_string() }];
                    room.exchange.tell(&key.0, told).await?;
                    room.keep(key, shim);
                    Ok(())
                }
                Err(error) => {
                    room.all.lock().remove(&key);
                    Err(error)
                }
            }
        })
        .await
    }

    /// Starts it. One that cannot be started is taken away.
    pub async fn start(&self, ns: &Namespace, id: &ContainerId) -> Result<RunningSandbox> {
        let one = self.room.find(ns, id)?;
        let room = self.room.clone();
        crate::finish(async move {
            let started = match one.shim.start_sandbox().await {
                Ok(started) => started,
                // It runs: the call came twice.
                Err(error) if error.kind() == ErrorKind::FailedPrecondition => return Err(told(error)),
                Err(error) => {
                    room.take_away(&one).await;
                    return Err(told(error).context(format!("failed to start sandbox {}", one.key.1)));
                }
            };
            let happening = Happening::SandboxStart {
                id: one.key.1.to_string(),
            };
            room.exchange.tell(&one.key.0, vec![happening]).await?;
            Ok(RunningSandbox {
                started,
                address: one.shim.task_address(),
                version: one.shim.version(),
            })
        })
        .await
    }

    pub async fn platform(&self, ns: &Namespace, id: &ContainerId) -> Result<SandboxPlatform> {
        self.room.find(ns, id)?.shim.sandbox_platform().await.map_err(told)
    }

    /// One that is not there is stopped.
    pub async fn stop(&self, ns: &Namespace, id: &ContainerId, limit: Option<Duration>) -> Result<()> {
        let Ok(one) = self.room.find(ns, id) else {
            return Ok(());
        };
        crate::finish(async move {
            match one.shim.stop_sandbox(limit).await {
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Unavailable) => Ok(()),
                stopped => stopped.map_err(|error| told(error).context("failed to stop sandbox")),
            }
        })
        .await
    }

    /// Waits for its end; the death of its shim is one, too.
    pub async fn wait(&self, ns: &Namespace, id: &ContainerId) -> Result<SandboxEnd> {
        let one = self.room.find(ns, id)?;
        Ok(one.end().await)
    }

    /// `NotFound` for one that is not there.
    pub async fn status(&self, ns: &Namespace, id: &ContainerId, verbose: bool) -> Result<SandboxView> {
        let one = self.room.find(ns, id)?;
        let state = one.shim.sandbox_state(verbose, LOOK).await.map_err(told)?;
        Ok(SandboxView {
            state,
            address: one.shim.task_address(),
            version: one.shim.version(),
        })
    }

    /// Ends the sandbox and its shim, and leaves nothing of it.
    pub async fn shutdown(&self, ns: &Namespace, id: &ContainerId) -> Result<()> {
        let one = self.room.find(ns, id)?;
        let room = self.room.clone();
        crate::finish(async move {
            match one.shim.shutdown_sandbox().await {
                // Its shim is gone: what is left of it goes as well.
                Err(error) if error.is_lost() || error.kind() == ErrorKind::NotFound => {}
                answer => {
                    answer.map_err(|error| told(error).context("failed to shutdown sandbox"))?;
                    // How it ended is on its way to who waits for it.
                    let _ = tokio::time::timeout(LOOK, one.end()).await;
                }
            }
            room.take_away(&one).await;
            Ok(())
        })
        .await
    }

    pub async fn metrics(&self, ns: &Namespace, id: &ContainerId) -> Result<Option<SandboxMetric>> {
        self.room.find(ns, id)?.shim.sandbox_metrics().await.map_err(told)
    }

    /// Whether it is there. What changes in a record is nothing to a shim: its API has no word for it.
    pub fn exists(&self, ns: &Namespace, id: &ContainerId) -> Result<()> {
        self.room.find(ns, id).map(drop)
    }
}

impl Room {
    pub(crate) fn new(shims: &Shims, meta: Meta, exchange: Exchange, data_root: &std::path::Path) -> Arc<Self> {
        Arc::new(Self {
            shims: shims.for_sandboxes(),
            meta,
            exchange,
            work: data_root.join("sandboxes"),
            all: Mutex::default(),
        })
    }

    fn find(&self, ns: &Namespace, id: &ContainerId) -> Result<Arc<One>> {
        let key = (ns.clone(), id.clone());
        let found = self.all.lock().get(&key).cloned().flatten();
        found.ok_or_else(|| not_found(id))
    }

    /// Where tasks of a sandbox are made, if it is there.
    pub(crate) fn endpoint(&self, ns: &Namespace, id: &ContainerId) -> Option<Endpoint> {
        self.find(ns, id).ok().and_then(|one| one.shim.endpoint())
    }

    fn reserve(&self, key: &Key) -> Result<()> {
        let mut all = self.all.lock();
        if all.contains_key(key) {
            return Err(Error::exists(format!(
                "sandbox {} already running: already exists",
                key.1
            )));
        }
        all.insert(key.clone(), None);
        Ok(())
    }

    async fn make(&self, key: &Key, runtime: RuntimeChoice, spec: Option<Any>, new: NewSandbox) -> Result<Shim> {
        if runtime.name.is_empty() {
            return Err(Error::invalid(format!("sandbox {} names no runtime", key.1)));
        }
        let failed = |error: Error| error.context(format!("failed to start new shim for sandbox {}", key.1));
        let launch = LaunchShim {
            namespace: key.0.clone(),
            id: key.1.clone(),
            // What is no OCI spec is for the shim's eyes only; its start reads one.
            spec: spec
                .filter(|spec| spec.type_url.ends_with("/Spec"))
                .map_or_else(|| b"{}".to_vec(), |spec| spec.value),
            program: shim_program(&runtime.name).map_err(failed)?,
            options: runtime.options,
            work: self.work.join(key.0.as_str()).join(key.1.as_str()),
        };
        let shim = match self.shims.launch(launch).await {
            Ok(shim) => shim,
            Err(error) => {
                self.clear(key).await;
                return Err(failed(told(error)));
            }
        };
        match shim.create_sandbox(new).await {
            Ok(()) => Ok(shim),
            Err(error) => {
                shim.retire().await;
                self.bury(key, shim).await;
                Err(told(error).context(format!("failed to create sandbox {}", key.1)))
            }
        }
    }

    fn keep(self: &Arc<Self>, key: Key, shim: Shim) {
        let one = Arc::new(One {
            key: key.clone(),
            shim,
            ended: watch::Sender::new(None),
        });
        self.all.lock().insert(key, Some(one.clone()));
        tokio::spawn(self.clone().watch(one));
    }

    /// Waits for the end, tells it, and clears up after a shim that died.
    async fn watch(self: Arc<Self>, one: Arc<One>) {
        let end = loop {
            let error = match one.shim.wait_sandbox().await {
                Ok(end) => break Ok(end),
                Err(error) => error,
            };
            // A connection may break, and some shims are not to be waited for before they are started; a shim that is gone is.
            debug!(ns = %one.key.0, container = %one.key.1, err = %error, "a sandbox is waited for again");
            tokio::select! {
                () = one.shim.gone() => break Err(error),
                () = tokio::time::sleep(AGAIN) => {}
            }
        };
        let died = end.is_err();
        self.ended(&one, end.unwrap_or_else(|_| unknown())).await;
        if !died {
            one.shim.gone().await;
        }
        // Whoever shuts it down clears up after it; a shim that died by itself has nobody else.
        if self.forget(&one) {
            info!(ns = %one.key.0, container = %one.key.1, "the shim of a sandbox is gone");
            self.clear(&one.key).await;
        }
    }

    async fn ended(&self, one: &One, end: SandboxEnd) {
        let first = one.ended.send_if_modified(|ended| {
            let first = ended.is_none();
            ended.get_or_insert(end);
            first
        });
        if first {
            let happening = Happening::SandboxExit {
                id: one.key.1.to_string(),
                status: end.status,
                at: end.at,
            };
            if let Err(error) = self.exchange.tell(&one.key.0, vec![happening]).await {
                warn!(ns = %one.key.0, container = %one.key.1, err = %error, "the end of a sandbox could not be told");
            }
        }
    }

    /// Whether it was known until now.
    fn forget(&self, one: &Arc<One>) -> bool {
        let mut all = self.all.lock();
        let known = all
            .get(&one.key)
            .is_some_and(|known| known.as_ref().is_some_and(|known| Arc::ptr_eq(known, one)));
        if known {
            all.remove(&one.key);
        }
        known
    }

    /// The name is free once nothing is left of it.
    async fn take_away(&self, one: &Arc<One>) {
        {
            let mut all = self.all.lock();
            match all.get_mut(&one.key) {
                Some(known) if known.as_ref().is_some_and(|known| Arc::ptr_eq(known, one)) => *known = None,
                _ => return,
            }
        }
        one.shim.retire().await;
        self.bury(&one.key, one.shim.clone()).await;
        self.ended(one, unknown()).await;
        self.all.lock().remove(&one.key);
    }

    async fn bury(&self, key: &Key, shim: Shim) {
        if let Err(error) = self.shims.bury(shim).await {
            warn!(ns = %key.0, container = %key.1, err = %error, "what a sandbox left could not be cleared");
        }
    }

    async fn clear(&self, key: &Key) {
        let name = BundleName {
            namespace: key.0.clone(),
            id: key.1.clone(),
        };
        if let Err(error) = self.shims.mourn(&name).await {
            warn!(ns = %key.0, container = %key.1, err = %error, "what a sandbox left could not be cleared");
        }
    }

    /// Finds the sandboxes of a former daemon again, all at once; those whose shims are gone have ended.
    pub(crate) async fn recover(self: &Arc<Self>) -> Result<()> {
        let room = self.clone();
        let bundles = blocking(move || Ok(room.shims.sandbox_bundles()?)).await?;
        let mut looking = tokio::task::JoinSet::new();
        for name in bundles {
            self.all.lock().insert((name.namespace.clone(), name.id.clone()), None);
            let room = self.clone();
            looking.spawn(async move { room.rejoin(name).await });
        }
        while let Some(looked) = looking.join_next().await {
            looked.map_err(|join| Error::internal(format!("the search for a sandbox ended early: {join}")))?;
        }
        Ok(())
    }

    async fn rejoin(self: Arc<Self>, name: BundleName) {
        let key = (name.namespace.clone(), name.id.clone());
        match self.shims.rejoin_sandbox(&name).await {
            Ok(Some(shim)) => return self.keep(key, shim),
            Ok(None) => info!(ns = %key.0, container = %key.1, "the shim of a sandbox is gone"),
            Err(error) => {
                warn!(ns = %key.0, container = %key.1, err = %error, "the shim of a sandbox does not answer and is ended");
                if let Err(error) = self.shims.put_down(&name).await {
                    warn!(ns = %key.0, container = %key.1, err = %error, "it cannot be ended either");
                }
            }
        }
        self.clear(&key).await;
        let end = unknown();
        let happening = Happening::SandboxExit {
            id: key.1.to_string(),
            status: end.status,
            at: end.at,
        };
        if let Err(error) = self.exchange.tell(&key.0, vec![happening]).await {
            warn!(ns = %key.0, container = %key.1, err = %error, "the end of a sandbox could not be told");
        }
        self.all.lock().remove(&key);
    }
}
