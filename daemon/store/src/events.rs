//! The events table: what happened, in order, the newest ten thousand and a few.
//!
//! An event is committed in the batch of the change it tells of, under a number of its own. Batches may land out of the
//! order of their numbers; the horizon is the number up to which all have landed (or failed, which leaves a gap), and
//! nobody reads beyond it: a reader that goes from number to number misses nothing.

use crate::db::Store;
use crate::error::Result;
use crate::record::{Event, Record};
use parking_lot::{Condvar, Mutex};
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::watch;

/// At least this many are kept.
pub const KEPT: u64 = 10_000;
/// Removed at most this many at a time, with the batch of a new one.
const TRIM: u64 = 64;
/// How long a reader waits for batches that were under way when it came.
const LANDING: Duration = Duration::from_secs(5);

/// Key: number.
impl Record for Event {
    type Key = u64;
    const TABLE: &'static str = "events";
    const VERSION: u16 = 1;
}

/// Which events [`Store::events`] answers. Default: all that are kept.
#[derive(Debug, Clone, Default)]
pub struct EventQuery {
    /// Only numbers greater than this.
    pub after: u64,
    /// Not before.
    pub since: Option<SystemTime>,
    /// Not after.
    pub until: Option<SystemTime>,
    /// At most this many; all if none.
    pub limit: Option<usize>,
}

#[derive(Debug)]
pub struct EventLog {
    state: Mutex<State>,
    moved: Condvar,
    horizon: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    next: u64,
    oldest: u64,
    in_flight: BTreeSet<u64>,
}

/// Numbers given to one batch.
pub struct Numbered {
    pub first: u64,
    /// Old events that go out with it.
    pub trim: std::ops::Range<u64>,
    count: u64,
}

impl Numbered {
    pub fn numbers(&self) -> std::ops::Range<u64> {
        self.first..self.first + self.count
    }
}

impl EventLog {
    /// `oldest` and `newest` are the numbers in the table; 0 if there is none.
    pub fn new(oldest: u64, newest: u64) -> Self {
        Self {
            state: Mutex::new(State {
                next: newest + 1,
                oldest: oldest.max(1),
                in_flight: BTreeSet::new(),
            }),
            moved: Condvar::new(),
            horizon: watch::Sender::new(newest),
        }
    }

    pub fn number(&self, count: u64) -> Numbered {
        let mut state = self.state.lock();
        let first = state.next;
        state.next += count;
        state.in_flight.extend(first..first + count);
        let surplus = state.next.saturating_sub(state.oldest).saturating_sub(KEPT + 1);
        let gone = if surplus >= TRIM { surplus.min(TRIM + count) } else { 0 };
        let trim = state.oldest..state.oldest + gone;
        state.oldest += gone;
        Numbered { first, trim, count }
    }

    /// To be called when the batch has landed or failed.
    pub fn landed(&self, numbered: &Numbered) {
        let mut state = self.state.lock();
        for number in numbered.numbers() {
            state.in_flight.remove(&number);
        }
        let horizon = state.in_flight.first().map_or(state.next, |first| *first) - 1;
        self.horizon
            .send_if_modified(|known| std::mem::replace(known, horizon) != horizon);
        self.moved.notify_all();
    }

    /// The horizon, once what was numbered by now has landed: what was acknowledged before this call is within it, though a batch of
    /// a smaller number was still under way. Blocks for as long as a sync takes.
    fn settled(&self) -> u64 {
        let mut state = self.state.lock();
        let (coming, deadline) = (state.next, Instant::now() + LANDING);
        while state.in_flight.first().is_some_and(|first| *first < coming) {
            if self.moved.wait_until(&mut state, deadline).timed_out() {
                break;
            }
        }
        drop(state);
        *self.horizon.borrow()
    }
}

impl Store {
    /// Events with their numbers, oldest first. Whatever was acknowledged before is among them.
    pub fn events(&self, query: &EventQuery) -> Result<Vec<(u64, Event)>> {
        let horizon = self.log().settled();
        let limit = query.limit.unwrap_or(usize::MAX);
        let mut found = Vec::new();
        self.visit_from::<Event>(&query.after.saturating_add(1), |number, event| {
            if number > horizon || found.len() >= limit {
                return ControlFlow::Break(());
            }
            let early = query.since.is_some_and(|since| event.at < since);
            let late = query.until.is_some_and(|until| event.at > until);
            if !early && !late {
                found.push((number, event));
            }
            ControlFlow::Continue(())
        })?;
        Ok(found)
    }

    /// Everything kept from a time on.
    pub fn events_since(&self, since: SystemTime) -> Result<Vec<(u64, Event)>> {
        self.events(&EventQuery {
            since: Some(since),
            ..EventQuery::default()
        })
    }

    /// The number of the oldest event that is surely kept; asked for after a reading, it tells what that may have missed.
    pub fn oldest_event(&self) -> u64 {
        self.log().state.lock().oldest
    }

    /// Tells the newest readable number whenever it grows.
    pub fn watch_events(&self) -> watch::Receiver<u64> {
        self.log().horizon.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_waits_for_what_was_under_way_before_it_came() {
        let log = EventLog::new(0, 0);
        let (early, late) = (log.number(1), log.number(1));
        log.landed(&late);
        assert_eq!(*log.horizon.borrow(), 0, "nobody reads beyond what is under way");
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| log.settled());
            std::thread::sleep(Duration::from_millis(20));
            assert!(!reader.is_finished());
            log.landed(&early);
            assert_eq!(reader.join().unwrap(), 2);
        });
        assert_eq!(log.settled(), 2);
    }
}
