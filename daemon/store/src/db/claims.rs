//! Claims: an in-memory lock per key, held from the check of something unique until its batch is synced.

use crate::error::{Error, Result};
use parking_lot::{Condvar, Mutex};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest wait for a claim. Held ones last a few syncs, or the removal of one directory tree.
const DEADLINE: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    Alone,
    Shared(usize),
}

#[derive(Debug, Default)]
pub struct Claims {
    held: Mutex<HashMap<String, Held>>,
    released: Condvar,
}

/// The right to decide about a key. Dropped, it goes to the next.
#[derive(Debug)]
pub struct Claim {
    claims: Arc<Claims>,
    key: String,
}

impl Claims {
    /// Waits for the key to be free.
    pub fn claim(self: &Arc<Self>, key: impl Into<String>) -> Result<Claim> {
        self.wait(key.into(), false, DEADLINE)
    }

    /// The same with a deadline of the caller's.
    pub fn claim_within(self: &Arc<Self>, key: impl Into<String>, patience: Duration) -> Result<Claim> {
        self.wait(key.into(), false, patience)
    }

    /// Waits until nobody holds the key alone; others may share it.
    pub fn claim_shared(self: &Arc<Self>, key: impl Into<String>) -> Result<Claim> {
        self.wait(key.into(), true, DEADLINE)
    }

    /// Several at once. They are taken in one order by everybody, so that nobody waits in a ring.
    pub fn claim_all(self: &Arc<Self>, keys: impl IntoIterator<Item = String>) -> Result<Vec<Claim>> {
        let mut keys: Vec<_> = keys.into_iter().collect();
        keys.sort();
        keys.dedup();
        keys.into_iter().map(|key| self.claim(key)).collect()
    }

    /// Only if it is free now.
    pub fn try_claim(self: &Arc<Self>, key: impl Into<String>) -> Option<Claim> {
        self.wait(key.into(), false, Duration::ZERO).ok()
    }

    fn wait(self: &Arc<Self>, key: String, shared: bool, patience: Duration) -> Result<Claim> {
        let until = Instant::now() + patience;
        let mut held = self.held.lock();
        loop {
            match (held.get_mut(&key), shared) {
                (None, true) => {
                    held.insert(key.clone(), Held::Shared(1));
                    break;
                }
                (None, false) => {
                    held.insert(key.clone(), Held::Alone);
                    break;
                }
                (Some(Held::Shared(count)), true) => {
                    *count += 1;
                    break;
                }
                (Some(Held::Shared(_)), false) | (Some(Held::Alone), true | false) => {}
            }
            if self.released.wait_until(&mut held, until).timed_out() && Instant::now() >= until {
                return Err(Error::ClaimTimeout { key, waited: patience });
            }
        }
        drop(held);
        Ok(Claim {
            claims: self.clone(),
            key,
        })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut held = self.claims.held.lock();
        match held.get_mut(&self.key) {
            Some(Held::Shared(count)) if *count > 1 => *count -= 1,
            _ => {
                held.remove(&self.key);
            }
        }
        self.claims.released.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn one_at_a_time() {
        let claims = Arc::new(Claims::default());
        let inside = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let _claim = claims.claim("name web").unwrap();
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert!(claims.held.lock().is_empty());
    }

    #[test]
    fn sharers_keep_the_lone_one_out() {
        let claims = Arc::new(Claims::default());
        let first = claims.claim_shared("a").unwrap();
        let second = claims.claim_shared("a").unwrap();
        assert!(claims.try_claim("a").is_none());
        assert!(claims.try_claim("b").is_some());
        drop(first);
        assert!(claims.try_claim("a").is_none());
        drop(second);
        let alone = claims.try_claim("a").unwrap();
        let error = claims.wait("a".into(), true, Duration::from_millis(10)).unwrap_err();
        assert!(matches!(error, Error::ClaimTimeout { .. }));
        drop(alone);
        assert_eq!(claims.claim_all(["b".into(), "a".into(), "b".into()]).unwrap().len(), 2);
    }
}
