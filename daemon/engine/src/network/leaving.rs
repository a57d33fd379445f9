//! Those who are on their way out: what waits for an address, a port or a network to be free waits for them.

use gantry_core::ContainerId;
use std::collections::HashSet;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::watch;

/// Who they are. A container is one of them from the moment its run is over until nothing of it is left in its networks; one that a
/// former daemon left behind, until it is known to run.
#[derive(Debug, Default)]
pub struct Leaving {
    who: watch::Sender<HashSet<ContainerId>>,
}

impl Leaving {
    pub fn begin(&self, id: &ContainerId) {
        self.who.send_if_modified(|who| who.insert(id.clone()));
    }

    /// It has nothing any more, or stays.
    pub fn end(&self, id: &ContainerId) {
        self.who.send_if_modified(|who| who.remove(id));
    }

    /// Waits until all who are on the way out now have gone, at most `limit`; whether there was anybody to wait for. No thread waits:
    /// those who leave need threads to do so.
    pub async fn gone(&self, limit: Duration) -> bool {
        let mut who = self.who.subscribe();
        let awaited = who.borrow().clone();
        if awaited.is_empty() {
            return false;
        }
        // Whoever is not gone by then is not waited for.
        let _ = tokio::time::timeout(limit, who.wait_for(|who| who.is_disjoint(&awaited))).await;
        true
    }

    /// Waits until one has gone that may be on the way out, at most `limit`; for who has a thread to wait on.
    pub fn wait_for(&self, id: &ContainerId, limit: Duration) {
        let mut who = self.who.subscribe();
        let gone = async move {
            // One that is not gone by then is not waited for.
            let _ = tokio::time::timeout(limit, who.wait_for(|who| !who.contains(id))).await;
        };
        Handle::current().block_on(gone);
    }

    /// As [`Leaving::gone`], for who has a thread to wait on: one of few.
    pub fn wait(&self, limit: Duration) -> bool {
        Handle::current().block_on(self.gone(limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tokio::time::{Instant, timeout};

    const LONG: Duration = Duration::from_secs(30);

    fn id(digit: u8) -> ContainerId {
        ContainerId::from_random([digit; 32])
    }

    #[tokio::test]
    async fn who_waits_goes_on_when_the_last_has_gone() {
        let leaving = Arc::new(Leaving::default());
        assert!(!leaving.gone(LONG).await, "nobody to wait for");
        leaving.begin(&id(1));
        leaving.begin(&id(2));
        let mut waiter = tokio::spawn({
            let leaving = leaving.clone();
            async move { leaving.gone(LONG).await }
        });
        tokio::task::yield_now().await;
        leaving.end(&id(1));
        assert!(
            timeout(Duration::from_millis(50), &mut waiter).await.is_err(),
            "one is there still"
        );
        leaving.end(&id(2));
        assert!(timeout(LONG, waiter).await.unwrap().unwrap());
        assert!(!leaving.gone(LONG).await, "and now nobody is");
    }

    #[tokio::test]
    async fn patience_has_an_end_and_newcomers_are_not_waited_for() {
        let leaving = Arc::new(Leaving::default());
        leaving.begin(&id(1));
        let began = Instant::now();
        assert!(leaving.gone(Duration::from_millis(10)).await);
        assert!(began.elapsed() >= Duration::from_millis(10));
        let waiter = tokio::spawn({
            let leaving = leaving.clone();
            async move { leaving.gone(LONG).await }
        });
        tokio::task::yield_now().await;
        leaving.begin(&id(9));
        leaving.end(&id(1));
        assert!(waiter.await.unwrap());
        assert!(began.elapsed() < LONG, "the newcomer is not waited for");
    }

    #[tokio::test]
    async fn a_thread_may_wait_too() {
        let leaving = Arc::new(Leaving::default());
        leaving.begin(&id(1));
        let waiter = tokio::task::spawn_blocking({
            let leaving = leaving.clone();
            move || leaving.wait(LONG)
        });
        leaving.end(&id(1));
        // Whether it came before the end or after.
        waiter.await.unwrap();
        let (leaving, began) = (Arc::new(Leaving::default()), Instant::now());
        leaving.begin(&id(1));
        leaving.begin(&id(2));
        let waiter = tokio::task::spawn_blocking({
            let leaving = leaving.clone();
            move || leaving.wait_for(&id(1), LONG)
        });
        leaving.end(&id(1));
        waiter.await.unwrap();
        assert!(began.elapsed() < LONG, "the other one is not waited for");
    }
}
