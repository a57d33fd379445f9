//! Execs: further processes in a running container.

mod create;
mod run;

use gantry_core::container::Ended;
use gantry_core::{ContainerId, Error, ExecId, Result};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::watch;

pub use create::{CreateExec, CreatedExec};
pub(crate) use run::recover;

/// An exec as the store keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExecRecord {
    pub id: ExecId,
    pub container: ContainerId,
    pub cmd: Vec<String>,
    pub user: String,
    pub tty: bool,
    pub privileged: bool,
    pub open_stdin: bool,
    #[serde(default = "yes")]
    pub open_stdout: bool,
    #[serde(default = "yes")]
    pub open_stderr: bool,
    /// What a client types to detach; empty = the usual keys.
    #[serde(default)]
    pub detach_keys: Vec<u8>,
    pub state: ExecState,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum ExecState {
    /// Known to the shim, not run.
    Created,
    Running {
        pid: u32,
    },
    Exited {
        ended: Ended,
    },
}

fn yes() -> bool {
    true
}

/// What callers see of an exec.
#[derive(Debug, Clone, PartialEq)]
pub struct ExecView {
    pub record: ExecRecord,
}

impl ExecView {
    pub fn running(&self) -> bool {
        matches!(self.record.state, ExecState::Running { .. })
    }

    pub fn pid(&self) -> u32 {
        match self.record.state {
            ExecState::Running { pid } => pid,
            ExecState::Created | ExecState::Exited { .. } => 0,
        }
    }

    pub fn exit_code(&self) -> Option<i32> {
        match &self.record.state {
            ExecState::Exited { ended } => Some(ended.code),
            ExecState::Created | ExecState::Running { .. } => None,
        }
    }
}

/// The execs this daemon knows of.
#[derive(Default)]
pub struct Execs {
    by_id: RwLock<BTreeMap<String, Arc<Entry>>>,
}

pub(crate) struct Entry {
    record: watch::Sender<ExecRecord>,
    /// Somebody runs it, or does away with it: once and by one.
    taken: AtomicBool,
}

impl Entry {
    pub(crate) fn record(&self) -> ExecRecord {
        self.record.borrow().clone()
    }

    fn set(&self, state: ExecState) -> ExecRecord {
        self.record.send_modify(|record| record.state = state);
        self.record()
    }

    /// Whether it is the caller's to run, or to do away with; nobody else's from then on.
    fn take(&self) -> bool {
        matches!(self.record.borrow().state, ExecState::Created) && !self.taken.swap(true, Ordering::SeqCst)
    }

    /// Waits until it runs, or is over.
    async fn begun(&self) {
        let mut seen = self.record.subscribe();
        // The sender is ours.
        let _ = seen
            .wait_for(|record| !matches!(record.state, ExecState::Created))
            .await;
    }

    /// Waits until it has exited.
    async fn exited(&self) -> Option<Ended> {
        let mut seen = self.record.subscribe();
        let done = seen
            .wait_for(|record| matches!(record.state, ExecState::Exited { .. }))
            .await
            .ok()?;
        match &done.state {
            ExecState::Exited { ended } => Some(ended.clone()),
            ExecState::Created | ExecState::Running { .. } => None,
        }
    }
}

impl Execs {
    pub(crate) fn insert(&self, record: ExecRecord) -> Arc<Entry> {
        let id = record.id.to_string();
        let entry = Arc::new(Entry {
            record: watch::channel(record).0,
            taken: AtomicBool::new(false),
        });
        self.by_id.write().insert(id, entry.clone());
        entry
    }

    pub(crate) fn remove(&self, id: &str) {
        self.by_id.write().remove(id);
    }

    /// Full id or unique prefix.
    pub(crate) fn find(&self, id: &str) -> Result<Arc<Entry>> {
        let unknown = || Error::not_found(format!("No such exec instance: {id}"));
        if id.is_empty() {
            return Err(unknown());
        }
        let by_id = self.by_id.read();
        if let Some(entry) = by_id.get(id) {
            return Ok(entry.clone());
        }
        let mut matches = by_id
            .range(id.to_owned()..)
            .take_while(|(known, _)| known.starts_with(id));
        match (matches.next(), matches.next()) {
            (Some((_, entry)), None) => Ok(entry.clone()),
            (None, _) => Err(unknown()),
            (Some(_), Some(_)) => Err(Error::invalid(format!(
                "ambiguous exec id prefix \"{id}\": give more digits"
            ))),
        }
    }

    /// Ids of a container's execs that have not exited.
    pub fn of(&self, container: &ContainerId) -> Vec<String> {
        let by_id = self.by_id.read();
        let records = by_id.values().map(|entry| entry.record());
        records
            .filter(|record| record.container == *container && !matches!(record.state, ExecState::Exited { .. }))
            .map(|record| record.id.to_string())
            .collect()
    }

    pub(crate) fn all_of(&self, container: &ContainerId) -> Vec<ExecId> {
        let by_id = self.by_id.read();
        by_id
            .values()
            .map(|entry| entry.record())
            .filter(|record| record.container == *container)
            .map(|record| record.id)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(state: ExecState) -> ExecRecord {
        ExecRecord {
            id: ExecId::from_random([1; 32]),
            container: ContainerId::from_random([2; 32]),
            cmd: Vec::new(),
            user: String::new(),
            tty: false,
            privileged: false,
            open_stdin: false,
            open_stdout: true,
            open_stderr: true,
            detach_keys: Vec::new(),
            state,
        }
    }

    #[test]
    fn one_that_is_not_run_is_taken_by_one() {
        let execs = Execs::default();
        let entry = execs.insert(record(ExecState::Created));
        let takers = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| entry.take())).collect();
            threads
                .into_iter()
                .filter_map(|thread| thread.join().ok())
                .filter(|taken| *taken)
                .count()
        });
        assert_eq!(takers, 1);
        assert!(
            !execs.insert(record(ExecState::Running { pid: 1 })).take(),
            "it runs already"
        );
    }
}
