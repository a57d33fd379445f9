//! Those who are on their way out: what waits for an address, a port or a network to be free waits for them.

use gantry_core::ContainerId;
use parking_lot::{Condvar, Mutex};
use std::collections::HashSet;
use std::time::{Duration, Instant};

/// Who they are. A container is one of them from the moment its run is over until nothing of it is left in its networks; one that a
/// former daemon left behind, until it is known to run.
#[derive(Debug, Default)]
pub struct Leaving {
    who: Mutex<HashSet<ContainerId>>,
    gone: Condvar,
}

impl Leaving {
    pub fn begin(&self, id: &ContainerId) {
        self.who.lock().insert(id.clone());
    }

    /// It has nothing any more, or stays.
    pub fn end(&self, id: &ContainerId) {
        if self.who.lock().remove(id) {
            self.gone.notify_all();
        }
    }

    /// Waits until all who are on the way out now have gone, at most `limit`; whether there was anybody to wait for.
    pub fn wait(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut who = self.who.lock();
        let awaited = who.clone();
        while !who.is_disjoint(&awaited) && !self.gone.wait_until(&mut who, deadline).timed_out() {}
        !awaited.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    const LONG: Duration = Duration::from_secs(30);

    fn id(digit: u8) -> ContainerId {
        ContainerId::from_random([digit; 32])
    }

    #[test]
    fn who_waits_goes_on_when_the_last_has_gone() {
        let leaving = Leaving::default();
        assert!(!leaving.wait(LONG), "nobody to wait for");
        leaving.begin(&id(1));
        leaving.begin(&id(2));
        let (sender, answers) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| sender.send(leaving.wait(LONG)));
            leaving.end(&id(1));
            assert!(
                answers.recv_timeout(Duration::from_millis(50)).is_err(),
                "one is there still"
            );
            leaving.end(&id(2));
            assert_eq!(answers.recv_timeout(LONG), Ok(true));
        });
        assert!(!leaving.wait(LONG), "and now nobody is");
    }

    #[test]
    fn patience_has_an_end_and_newcomers_are_not_waited_for() {
        let leaving = Leaving::default();
        leaving.begin(&id(1));
        let began = Instant::now();
        assert!(leaving.wait(Duration::from_millis(10)));
        assert!(began.elapsed() >= Duration::from_millis(10));
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| leaving.wait(LONG));
            // Whether it came before the wait began or after: the first one's going is enough, or both go.
            leaving.end(&id(1));
            waiter.join().unwrap();
        });
        leaving.end(&id(9));
        assert!(!leaving.wait(LONG));
    }
}
