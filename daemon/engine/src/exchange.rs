//! The exchange: events of the containerd API, from shims, from clients and from the daemon itself, to whoever subscribes.
//!
//! An event is in the store's log before anybody is told of it, and subscribers read the log: all see one order, and one who
//! is slow reads later instead of losing. Who is so slow that the log has dropped what he did not read is told so, and
//! his stream ends. Docker's own events are in the same log and not for these subscribers.

use crate::gate::blocking;
use crate::records;
use futures::stream::{self, BoxStream, StreamExt};
use gantry_core::id::is_identifier;
use gantry_core::meta::{Any, Envelope, Happening};
use gantry_core::{Error, ErrorKind, Namespace, Result};
use gantry_store::{Event, EventQuery, Store};
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::watch;

/// Events read at once for one subscriber.
const PAGE: usize = 256;
/// Events among which one that comes again is known.
const REMEMBERED: usize = 4096;
/// How long an event may wait for its double that is being written.
const CLAIM: Duration = Duration::from_secs(10);

/// Envelopes from the moment of subscription on. An error is the last item.
pub type Envelopes = BoxStream<'static, Result<Envelope>>;

/// Cheap to clone.
#[derive(Clone)]
pub struct Exchange {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<Store>,
    hasher: RandomState,
    /// Read from the log by the first who publishes.
    recent: Mutex<Option<Recent>>,
}

/// The newest events from outside, by what they say.
#[derive(Default)]
struct Recent {
    numbers: HashMap<u64, u64>,
    order: VecDeque<u64>,
}

impl Recent {
    fn remember(&mut self, mark: u64, number: u64) {
        if self.numbers.insert(mark, number).is_none() {
            self.order.push_back(mark);
        }
        while self.order.len() > REMEMBERED {
            if let Some(old) = self.order.pop_front() {
                self.numbers.remove(&old);
            }
        }
    }
}

impl Exchange {
    pub fn new(store: Arc<Store>) -> Self {
        Self {
            inner: Arc::new(Inner {
                store,
                hasher: RandomState::new(),
                recent: Mutex::new(None),
            }),
        }
    }

    /// Takes an event from a shim or a client, durably; answers its number. The same event again (namespace, topic, time
    /// and payload) is not stored twice: its first number is the answer.
    pub async fn publish(&self, ns: &Namespace, topic: &str, at: SystemTime, event: Any) -> Result<u64> {
        check_topic(topic)?;
        let (inner, ns, topic) = (self.inner.clone(), ns.clone(), topic.to_owned());
        blocking(move || inner.publish(&ns, &topic, at, event)).await
    }

    /// Tells what the daemon itself has seen, several in one batch and in this order; answers their numbers.
    pub async fn tell(&self, ns: &Namespace, what: Vec<Happening>) -> Result<Vec<u64>> {
        let (inner, ns) = (self.inner.clone(), ns.clone());
        blocking(move || {
            let mut batch = gantry_store::Batch::new();
            for happening in &what {
                batch.event(told(&ns, SystemTime::now(), happening)?);
            }
            Ok(inner.store.commit(batch)?)
        })
        .await
    }

    /// Every event of every namespace from now on, in the order of the log.
    pub fn subscribe(&self) -> Envelopes {
        let mut newest = self.inner.store.watch_events();
        let after = *newest.borrow_and_update();
        self.reader(newest, after)
    }

    /// The same for one who has read up to a number.
    pub fn subscribe_after(&self, number: u64) -> Envelopes {
        let newest = self.inner.store.watch_events();
        self.reader(newest, number)
    }

    fn reader(&self, newest: watch::Receiver<u64>, after: u64) -> Envelopes {
        let reader = Reader {
            store: self.inner.store.clone(),
            newest,
            after,
            ready: VecDeque::new(),
            end: None,
            ended: false,
        };
        stream::unfold(reader, |mut reader| async move {
            let item = reader.next().await?;
            Some((item, reader))
        })
        .boxed()
    }
}

impl Inner {
    fn publish(&self, ns: &Namespace, topic: &str, at: SystemTime, event: Any) -> Result<u64> {
        let mark = self.mark(ns, topic, at, &event);
        // A double that comes while the first is written waits for it: it is answered when the event is durable.
        let _claim = self.store.claim(format!("event/{mark:016x}"), CLAIM)?;
        if let Some(number) = self.known(mark)? {
            return Ok(number);
        }
        let mut batch = gantry_store::Batch::new();
        batch.event(stored(ns, topic, at, &Happening::Opaque(event))?);
        let numbers = self.store.commit(batch)?;
        let number = numbers.first().copied().expect("a batch with one event has one number");
        if let Some(recent) = self.recent.lock().as_mut() {
            recent.remember(mark, number);
        }
        Ok(number)
    }

    fn mark(&self, ns: &Namespace, topic: &str, at: SystemTime, event: &Any) -> u64 {
        self.hasher.hash_one((ns, topic, at, &event.type_url, &event.value))
    }

    fn known(&self, mark: u64) -> Result<Option<u64>> {
        let mut recent = self.recent.lock();
        if recent.is_none() {
            *recent = Some(self.read_recent()?);
        }
        Ok(recent.as_ref().and_then(|recent| recent.numbers.get(&mark).copied()))
    }

    /// A shim may send again to this daemon what the former one stored.
    fn read_recent(&self) -> Result<Recent> {
        let newest = *self.store.watch_events().borrow();
        let query = EventQuery {
            after: newest.saturating_sub(REMEMBERED as u64),
            ..EventQuery::default()
        };
        let mut recent = Recent::default();
        for (number, event) in self.store.events(&query)? {
            if let Some(Envelope {
                event: Happening::Opaque(any),
                namespace,
                topic,
                at,
                ..
            }) = envelope(number, event)
            {
                recent.remember(self.mark(&namespace, &topic, at, &any), number);
            }
        }
        Ok(recent)
    }
}

/// One subscriber's place in the log.
struct Reader {
    store: Arc<Store>,
    newest: watch::Receiver<u64>,
    /// All up to this number is read.
    after: u64,
    ready: VecDeque<Envelope>,
    /// To be said when what is ready has been.
    end: Option<Error>,
    ended: bool,
}

/// What was found in the log.
struct Page {
    envelopes: VecDeque<Envelope>,
    /// All up to this number is read.
    last: u64,
    /// First and last number of what the log no longer has.
    missed: Option<(u64, u64)>,
}

impl Reader {
    async fn next(&mut self) -> Option<Result<Envelope>> {
        loop {
            if let Some(envelope) = self.ready.pop_front() {
                return Some(Ok(envelope));
            }
            if self.ended {
                return None;
            }
            if let Some(error) = self.end.take() {
                self.ended = true;
                return Some(Err(error));
            }
            let newest = *self.newest.borrow_and_update();
            if newest <= self.after {
                // It fails only if the store is gone, and this reader holds it.
                self.newest.changed().await.ok()?;
                continue;
            }
            let (store, after) = (self.store.clone(), self.after);
            match blocking(move || page(&store, after, newest)).await {
                Ok(page) => {
                    self.after = page.last;
                    self.ready = page.envelopes;
                    self.end = page.missed.map(|(first, last)| too_slow(first, last));
                }
                Err(error) => self.end = Some(error),
            }
        }
    }
}

fn too_slow(first: u64, last: u64) -> Error {
    Error::new(
        ErrorKind::DataLoss,
        format!(
            "this subscriber was too slow: events {first} to {last} are no longer kept; subscribe again and list what there is"
        ),
    )
}

fn page(store: &Store, after: u64, newest: u64) -> Result<Page> {
    let query = EventQuery {
        after,
        limit: Some(PAGE),
        ..EventQuery::default()
    };
    let found = store.events(&query)?;
    // A number that is not there was given to a batch that failed, or is older than what is kept.
    let oldest = store.oldest_event();
    let full = found.len() == PAGE;
    let mut page = Page {
        envelopes: VecDeque::with_capacity(found.len()),
        last: after,
        missed: None,
    };
    for (number, event) in found {
        let next = page.last + 1;
        if next < number && next < oldest {
            page.missed = Some((next, number - 1));
            return Ok(page);
        }
        page.last = number;
        page.envelopes.extend(envelope(number, event));
    }
    if !full {
        page.last = page.last.max(newest);
    }
    Ok(page)
}

/// The event as subscribers see it; none for Docker's own, and for one that cannot be read.
fn envelope(number: u64, event: Event) -> Option<Envelope> {
    if event.topic == records::TOPIC {
        return None;
    }
    match serde_json::from_value(event.payload) {
        Ok(happening) => Some(Envelope {
            number,
            at: event.at,
            namespace: event.ns,
            topic: event.topic,
            event: happening,
        }),
        Err(error) => {
            tracing::warn!(number, topic = event.topic, err = %error, "an event cannot be read and is told to nobody");
            None
        }
    }
}

/// An event of the daemon's own, for the batch of the change it tells of.
pub(crate) fn told(ns: &Namespace, at: SystemTime, happening: &Happening) -> Result<Event> {
    let topic = happening
        .topic()
        .ok_or_else(|| Error::internal("an event from outside needs the topic it came with"))?;
    stored(ns, topic, at, happening)
}

fn stored(ns: &Namespace, topic: &str, at: SystemTime, happening: &Happening) -> Result<Event> {
    let payload =
        serde_json::to_value(happening).map_err(|error| Error::internal(format!("encode an event: {error}")))?;
    Ok(Event {
        ns: ns.clone(),
        topic: topic.to_owned(),
        at,
        payload,
    })
}

fn check_topic(topic: &str) -> Result<()> {
    let Some(path) = topic.strip_prefix('/') else {
        return Err(Error::invalid(format!("event topic {topic:?} must start with '/'")));
    };
    match path.split('/').find(|part| !is_identifier(part)) {
        Some(part) => Err(Error::invalid(format!(
            "event topic {topic:?} has part {part:?}, which is no identifier"
        ))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
