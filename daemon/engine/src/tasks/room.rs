//! Every task of clients, and what they are made and kept with.

use super::state::State;
use super::task::{Task, not_found};
use crate::activations::Activations;
use crate::exchange::Exchange;
use crate::meta::Meta;
use crate::sandboxes;
use gantry_core::content::ContentStore;
use gantry_core::snapshot::SnapshotService;
use gantry_core::{ContainerId, Error, ErrorKind, Namespace, Result};
use gantry_task::Shims;
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long whoever asks for a task waits while it is looked for after a restart.
const FINDING: Duration = Duration::from_secs(5);
/// How long a new task waits for a former one of its name to be cleared.
const LEAVING: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

type Key = (Namespace, ContainerId);

pub(crate) struct Room {
    pub(super) shims: Shims,
    pub(super) meta: Meta,
    pub(super) exchange: Exchange,
    pub(super) snapshots: Arc<dyn SnapshotService>,
    pub(super) content: Arc<dyn ContentStore>,
    pub(super) activations: Arc<Activations>,
    /// Whose shims tasks join.
    pub(super) sandboxes: Arc<sandboxes::Room>,
    /// Directories of tasks that outlive reboots.
    pub(super) work: PathBuf,
    tasks: RwLock<BTreeMap<Key, Arc<Task>>>,
}

/// What a room is made with.
pub(crate) struct Furniture {
    pub(crate) shims: Shims,
    pub(crate) meta: Meta,
    pub(crate) exchange: Exchange,
    pub(crate) snapshots: Arc<dyn SnapshotService>,
    pub(crate) content: Arc<dyn ContentStore>,
    pub(crate) activations: Arc<Activations>,
    pub(crate) sandboxes: Arc<sandboxes::Room>,
    pub(crate) data_root: PathBuf,
}

impl Room {
    pub(crate) fn new(with: Furniture) -> Arc<Self> {
        Arc::new(Self {
            shims: with.shims,
            meta: with.meta,
            exchange: with.exchange,
            snapshots: with.snapshots,
            content: with.content,
            activations: with.activations,
            sandboxes: with.sandboxes,
            work: with.data_root.join("tasks"),
            tasks: RwLock::default(),
        })
    }

    /// The task of a container that clients see.
    pub(super) async fn find(&self, ns: &Namespace, id: &ContainerId) -> Result<Arc<Task>> {
        let key = (ns.clone(), id.clone());
        let Some(task) = self.task(&key) else {
            // What has no container is told so.
            self.meta.container(ns, id).await?;
            return Err(not_found(id));
        };
        match task.until(Some(FINDING), |state| state != State::Finding).await {
            State::Finding => Err(Error::new(
                ErrorKind::Unavailable,
                format!("the shim of task {id} is still being looked for after a restart of the daemon; try again"),
            )),
            State::Making | State::Gone { .. } => Err(task.not_found()),
            State::Created { .. } | State::Running { .. } | State::Paused { .. } | State::Stopped { .. } => Ok(task),
        }
    }

    pub(super) fn task(&self, key: &(Namespace, ContainerId)) -> Option<Arc<Task>> {
        self.tasks.read().get(key).cloned()
    }

    /// The tasks of a namespace. Those that are still looked for after a restart are waited for, a while in all.
    pub(super) async fn found(&self, ns: &Namespace) -> Vec<Arc<Task>> {
        let own = |task: &&Arc<Task>| task.ns == *ns;
        let tasks: Vec<Arc<Task>> = self.tasks.read().values().filter(own).cloned().collect();
        let end = Instant::now() + FINDING;
        for task in &tasks {
            let left = end.saturating_duration_since(Instant::now());
            task.until(Some(left), |state| state != State::Finding).await;
        }
        tasks
    }

    /// The name is taken from here on. A former task that is on its way out is waited for.
    pub(super) async fn reserve(&self, ns: &Namespace, id: &ContainerId) -> Result<Arc<Task>> {
        let end = Instant::now() + LEAVING;
        loop {
            match self.try_reserve(ns, id) {
                Ok(task) => return Ok(task),
                Err(former) if former.state().is_gone() && Instant::now() < end => sleep(LOOK_AGAIN).await,
                Err(_) => return Err(Error::exists(format!("task {id}: already exists"))),
            }
        }
    }

    fn try_reserve(&self, ns: &Namespace, id: &ContainerId) -> Result<Arc<Task>, Arc<Task>> {
        let mut tasks = self.tasks.write();
        let key = (ns.clone(), id.clone());
        if let Some(former) = tasks.get(&key) {
            return Err(former.clone());
        }
        let task = Task::new(ns.clone(), id.clone(), State::Making);
        tasks.insert(key, task.clone());
        Ok(task)
    }

    pub(super) fn insert(&self, task: Arc<Task>) {
        let key = (task.ns.clone(), task.id.clone());
        self.tasks.write().insert(key, task);
    }

    /// The name is free again.
    pub(super) fn forget(&self, task: &Arc<Task>) {
        let key = (task.ns.clone(), task.id.clone());
        let mut tasks = self.tasks.write();
        if tasks.get(&key).is_some_and(|known| Arc::ptr_eq(known, task)) {
            tasks.remove(&key);
        }
    }

    pub(super) fn work_dir(&self, task: &Task) -> PathBuf {
        self.work.join(task.ns.as_str()).join(task.id.as_str())
    }
}
