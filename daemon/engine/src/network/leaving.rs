//! Those who are on their way out: what waits for an address, a port or a network to be free waits for them.

use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How many there are.
#[derive(Debug, Clone, Default)]
pub struct Leaving(Arc<(Mutex<usize>, Condvar)>);

/// One of them, until it is dropped.
pub struct Departure(Leaving);

impl Leaving {
    pub fn begin(&self) -> Departure {
        *self.0.0.lock() += 1;
        Departure(self.clone())
    }

    /// Waits until nobody is on the way out, at most `limit`; whether there was anybody to wait for.
    pub fn wait(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut count = self.0.0.lock();
        let waited = *count > 0;
        while *count > 0 && !self.0.1.wait_until(&mut count, deadline).timed_out() {}
        waited
    }
}

impl Drop for Departure {
    fn drop(&mut self) {
        *self.0.0.0.lock() -= 1;
        self.0.0.1.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_is_woken_by_the_last() {
        let leaving = Leaving::default();
        assert!(!leaving.wait(Duration::from_secs(5)), "nobody to wait for");
        let (one, two) = (leaving.begin(), leaving.begin());
        let other = leaving.clone();
        let waiter = std::thread::spawn(move || other.wait(Duration::from_secs(30)));
        drop(one);
        drop(two);
        assert!(waiter.join().unwrap() || !leaving.wait(Duration::ZERO));
    }
}
