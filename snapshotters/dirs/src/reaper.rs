//! Trees that nobody can name any more, removed beside everything else: whoever asked has his answer once they are renamed.

use crate::{Result, remove_tree};
use gantry_snapshots_api::Id;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// Most that wait. When there are more, each who comes removes his own, and so waits as long as that takes.
const MOST: usize = 256;
/// How long [`Reaper::rest`] waits.
const PATIENCE: Duration = Duration::from_secs(60);

/// The thread for it begins with the first tree, and ends with this.
#[derive(Debug, Default)]
pub(crate) struct Reaper {
    queue: OnceLock<SyncSender<Doomed>>,
    waiting: Arc<Waiting>,
}

#[derive(Debug)]
struct Doomed {
    id: Id,
    path: PathBuf,
}

/// Trees that are still to go, by id.
#[derive(Debug, Default)]
struct Waiting {
    trees: Mutex<BTreeMap<Id, PathBuf>>,
    fewer: Condvar,
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Id, PathBuf>> {
        self.trees.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn gone(&self, id: Id) {
        self.lock().remove(&id);
        self.fewer.notify_all();
    }
}

impl Reaper {
    /// Removes a tree, soon. What cannot be removed stays for the next clean-up.
    pub(crate) fn take(&self, id: Id, path: PathBuf) -> Result<()> {
        let queue = self.queue.get_or_init(|| start(self.waiting.clone()));
        self.waiting.lock().insert(id, path.clone());
        match queue.try_send(Doomed { id, path }) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(doomed) | TrySendError::Disconnected(doomed)) => {
                let removed = remove_tree(&doomed.path);
                self.waiting.gone(id);
                removed
            }
        }
    }

    /// Whether the tree of this id is still to go.
    pub(crate) fn has(&self, id: Id) -> bool {
        self.waiting.lock().contains_key(&id)
    }

    /// Waits until everything that was to go is gone.
    pub(crate) fn rest(&self) {
        let trees = self.waiting.lock();
        // Whatever takes longer than this is not waited for: it is still being worked on.
        drop(
            self.waiting
                .fewer
                .wait_timeout_while(trees, PATIENCE, |trees| !trees.is_empty()),
        );
    }
}

fn start(waiting: Arc<Waiting>) -> SyncSender<Doomed> {
    let (queue, doomed) = sync_channel(MOST);
    let work = move || run(&doomed, &waiting);
    if let Err(error) = std::thread::Builder::new()
        .name("snapshot-reaper".to_owned())
        .spawn(work)
    {
        tracing::warn!(err = %error, "no thread for removing snapshots: each removal waits for its own");
    }
    queue
}

fn run(doomed: &Receiver<Doomed>, waiting: &Waiting) {
    while let Ok(Doomed { id, path }) = doomed.recv() {
        if let Err(error) = remove_tree(&path) {
            tracing::warn!(err = %error, snapshot = id, "a removed snapshot's directory stays until the next clean-up");
        }
        waiting.gone(id);
    }
}
