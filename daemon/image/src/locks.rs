//! One holder per key: how equal work waits for the one who does it.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use tokio::sync::OwnedMutexGuard;

pub(crate) struct KeyLocks<K: Eq + Hash + Clone> {
    held: Arc<Mutex<HashMap<K, Arc<tokio::sync::Mutex<()>>>>>,
}

impl<K: Eq + Hash + Clone> KeyLocks<K> {
    pub(crate) fn new() -> Self {
        Self { held: Arc::default() }
    }

    /// Whether nobody holds it or waits for it.
    pub(crate) fn is_free(&self, key: &K) -> bool {
        !self.held.lock().contains_key(key)
    }

    pub(crate) async fn lock(&self, key: K) -> KeyGuard<K> {
        let entry = Entry {
            held: self.held.clone(),
            lock: Some(self.held.lock().entry(key.clone()).or_default().clone()),
            key,
        };
        let lock = entry.lock.clone().expect("taken only on drop");
        let guard = lock.lock_owned().await;
        KeyGuard {
            _guard: guard,
            _entry: entry,
        }
    }
}

/// Held until dropped. Fields drop in order: the lock is free before its entry may go.
pub(crate) struct KeyGuard<K: Eq + Hash + Clone> {
    _guard: OwnedMutexGuard<()>,
    _entry: Entry<K>,
}

struct Entry<K: Eq + Hash + Clone> {
    held: Arc<Mutex<HashMap<K, Arc<tokio::sync::Mutex<()>>>>>,
    lock: Option<Arc<tokio::sync::Mutex<()>>>,
    key: K,
}

impl<K: Eq + Hash + Clone> Drop for Entry<K> {
    fn drop(&mut self) {
        let mut held = self.held.lock();
        self.lock = None;
        if held.get(&self.key).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            held.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn one_at_a_time_per_key_and_nothing_is_left() {
        let locks = Arc::new(KeyLocks::new());
        let inside = Arc::new(AtomicUsize::new(0));
        let tasks: Vec<_> = (0..50)
            .map(|n| {
                let (locks, inside) = (locks.clone(), inside.clone());
                tokio::spawn(async move {
                    let _guard = locks.lock(n % 2).await;
                    let here = inside.fetch_add(1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    inside.fetch_sub(1, Ordering::SeqCst);
                    here
                })
            })
            .collect();
        for task in tasks {
            assert!(task.await.unwrap() < 2);
        }
        assert!(locks.held.lock().is_empty());
        // A waiter that gives up leaves nothing either.
        let guard = locks.lock(7).await;
        let second = locks.lock(7);
        let waited = tokio::time::timeout(std::time::Duration::from_millis(1), second).await;
        assert!(waited.is_err());
        drop(guard);
        assert!(locks.is_free(&7));
    }
}
