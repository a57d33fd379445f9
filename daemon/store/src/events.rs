//! The events table: what happened, in order; of the daemon's own topics and of all others the newest ten thousand and a few each, so
//! that neither kind pushes the other out.
//!
//! An event is committed in the batch of the change it tells of, under a number of its own. Batches may land out of the
//! order of their numbers; the horizon is the number up to which all have landed (or failed, which leaves a gap), and
//! nobody reads beyond it: a reader that goes from number to number misses nothing.

use crate::db::Store;
use crate::error::Result;
use crate::record::{Event, Record};
use parking_lot::{Condvar, Mutex};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, VecDeque};
use std::ops::ControlFlow;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::watch;

/// At least this many of either kind are kept.
pub const KEPT: u64 = 10_000;
const MANY: usize = KEPT as usize;
/// Topics of the daemon's own begin so.
pub const OWN: &str = "/gantry/";
/// So many are removed together, with the batch of a new one.
const TRIM: usize = 64;
/// How long a reader waits for batches that were under way when it came.
const LANDING: Duration = Duration::from_secs(5);

/// Key: number.
impl Record for Event {
    type Key = u64;
    const TABLE: &'static str = "events";
    const VERSION: u16 = 1;
}

/// An event as far as its place in the table goes.
#[derive(Serialize, Deserialize)]
pub struct Topic {
    topic: String,
}

impl Record for Topic {
    type Key = u64;
    const TABLE: &'static str = Event::TABLE;
    const VERSION: u16 = Event::VERSION;
}

impl Topic {
    pub fn is_own(&self) -> bool {
        is_own(&self.topic)
    }
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
    /// Numbers that are kept, the oldest first.
    own: VecDeque<u64>,
    others: VecDeque<u64>,
    /// Of the others none of a smaller number is surely kept.
    oldest: u64,
    in_flight: BTreeSet<u64>,
}

/// Numbers given to one batch.
pub struct Numbered {
    pub first: u64,
    /// Old events that go out with it.
    pub trim: Vec<u64>,
    count: u64,
}

impl Numbered {
    pub fn numbers(&self) -> std::ops::Range<u64> {
        self.first..self.first + self.count
    }
}

fn is_own(topic: &str) -> bool {
    topic.starts_with(OWN)
}

/// The oldest of those that are too many, once there are enough of them to be worth it.
fn surplus(kept: &mut VecDeque<u64>) -> Vec<u64> {
    let surplus = kept.len().saturating_sub(MANY);
    match surplus >= TRIM {
        true => kept.drain(..surplus).collect(),
        false => Vec::new(),
    }
}

impl EventLog {
    /// With what is in the table, in order.
    pub fn new(kept: impl IntoIterator<Item = (u64, bool)>) -> Self {
        let (mut own, mut others) = (VecDeque::new(), VecDeque::new());
        for (number, is_own) in kept {
            if is_own { &mut own } else { &mut others }.push_back(number);
        }
        let newest = own.back().max(others.back()).copied().unwrap_or(0);
        Self {
            state: Mutex::new(State {
                next: newest + 1,
                oldest: others.front().copied().unwrap_or(newest + 1),
                own,
                others,
                in_flight: BTreeSet::new(),
            }),
            moved: Condvar::new(),
            horizon: watch::Sender::new(newest),
        }
    }

    pub fn number(&self, events: &[Event]) -> Numbered {
        let mut state = self.state.lock();
        let (first, count) = (state.next, events.len() as u64);
        state.next += count;
        state.in_flight.extend(first..first + count);
        for (number, event) in (first..).zip(events) {
            if is_own(&event.topic) {
                &mut state.own
            } else {
                &mut state.others
            }
            .push_back(number);
        }
        let mut trim = surplus(&mut state.others);
        if let Some(last) = trim.last() {
            state.oldest = last + 1;
        }
        trim.extend(surplus(&mut state.own));
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

    /// The number of the oldest event of others' topics that is surely kept; asked for after a reading, it tells what that may have
    /// missed.
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
    use gantry_core::Namespace;

    fn event(topic: &str) -> Event {
        Event {
            topic: topic.to_owned(),
            ns: "default".parse::<Namespace>().unwrap(),
            at: SystemTime::UNIX_EPOCH,
            payload: serde_json::Value::Null,
        }
    }

    /// Neither kind pushes the other out, in one life of the daemon and over several.
    #[test]
    fn each_kind_has_its_own_bound() {
        let log = EventLog::new([]);
        let mut kept = std::collections::BTreeMap::new();
        let tell = |log: &EventLog, kept: &mut std::collections::BTreeMap<u64, bool>, topic: &str| {
            let numbered = log.number(&[event(topic)]);
            kept.insert(numbered.first, topic.starts_with(OWN));
            for number in &numbered.trim {
                assert!(kept.remove(number).is_some(), "{number} is removed twice");
            }
            log.landed(&numbered);
        };
        let count = |kept: &std::collections::BTreeMap<u64, bool>, own: bool| {
            kept.values().filter(|is_own| **is_own == own).count()
        };
        for _ in 0..MANY + 100 {
            tell(&log, &mut kept, "/gantry/event");
        }
        for _ in 0..3 * MANY {
            tell(&log, &mut kept, "/tasks/exec-started");
        }
        for own in [true, false] {
            assert!(
                (MANY..MANY + TRIM).contains(&count(&kept, own)),
                "{}",
                count(&kept, own)
            );
        }
        let oldest = *kept.iter().find(|(_, own)| !**own).unwrap().0;
        assert_eq!(log.state.lock().oldest, oldest);
        let again = EventLog::new(kept.clone());
        assert_eq!(again.state.lock().oldest, oldest);
        for _ in 0..100 {
            tell(&again, &mut kept, "/tasks/exec-started");
        }
        assert!(count(&kept, true) >= MANY && count(&kept, false) < MANY + TRIM);
        assert_eq!(
            *kept.last_key_value().unwrap().0,
            (4 * MANY + 200) as u64,
            "numbers go on"
        );
    }

    #[test]
    fn a_reader_waits_for_what_was_under_way_before_it_came() {
        let log = EventLog::new([]);
        let (early, late) = (log.number(&[event("/tasks/exit")]), log.number(&[event("/tasks/exit")]));
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
