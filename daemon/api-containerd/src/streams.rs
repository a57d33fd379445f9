//! containerd.services.streaming.v1: streams that other services refer to by id. A stream waits here until one of them takes
//! it, and goes when its client goes, or the lease under which it was opened.

pub mod bytes;

use crate::Door;
use crate::call::{Answer, lease, namespace, refuse};
use futures::stream::{BoxStream, StreamExt};
use gantry_core::{Error, ErrorKind, LeaseId, Namespace, Result};
use gantry_proto_containerd::any::{pack, unpack};
use gantry_proto_containerd::prost::{Message, Name};
use gantry_proto_containerd::prost_types::Any;
use gantry_proto_containerd::services::streaming::v1 as pb;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// Messages under way to a client; one that does not read holds its sender back.
const OUTGOING: usize = 16;
/// Streams that wait to be taken, of all clients.
const WAITING: usize = 1024;
/// How long the first message may take.
const INIT: Duration = Duration::from_secs(30);

type Key = (Namespace, String);

/// The streams that nobody has taken yet.
#[derive(Clone, Default)]
pub struct Streams {
    waiting: Arc<Mutex<HashMap<Key, Stream>>>,
}

/// A stream, both ways. Dropped, it ends.
pub struct Stream {
    pub incoming: Streaming<Any>,
    pub outgoing: Outgoing,
    lease: Option<LeaseId>,
}

/// The way to the client.
#[derive(Clone)]
pub struct Outgoing(mpsc::Sender<std::result::Result<Any, Status>>);

impl Outgoing {
    /// Whether the client hears nothing more.
    pub fn is_gone(&self) -> bool {
        self.0.is_closed()
    }

    /// Waits until all that was sent is on its way.
    pub async fn flushed(&self) {
        // A client that is gone has nothing more on its way.
        let _ = self.0.reserve_many(self.0.max_capacity()).await;
    }

    /// Waits while the client does not read. An error if it is gone.
    pub async fn send<M: Message + Name>(&self, message: &M) -> Result<()> {
        let sent = self.0.send(Ok(pack(message))).await;
        sent.map_err(|_| Error::new(ErrorKind::Cancelled, "the client's stream has ended"))
    }
}

impl Streams {
    fn waiting(&self) -> MutexGuard<'_, HashMap<Key, Stream>> {
        // Each change is one insertion or removal: a panic leaves nothing half done.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, key: &Key, stream: Stream) -> Result<()> {
        let mut waiting = self.waiting();
        if waiting.contains_key(key) {
            return Err(Error::exists(format!("stream \"{}\": already exists", key.1)));
        }
        if waiting.len() >= WAITING {
            let text = format!("{WAITING} streams wait to be used already");
            return Err(Error::new(ErrorKind::ResourceExhausted, text));
        }
        waiting.insert(key.clone(), stream);
        Ok(())
    }

    /// A stream for the one who works with it.
    pub fn take(&self, ns: &Namespace, id: &str) -> Result<Stream> {
        let found = self.waiting().remove(&(ns.clone(), id.to_owned()));
        found.ok_or_else(|| Error::not_found(format!("stream \"{id}\": not found")))
    }

    /// Ends the streams that nobody took before their lease went.
    pub fn release(&self, ns: &Namespace, lease: &LeaseId) {
        let mut waiting = self.waiting();
        let of_lease = |(key, stream): (&Key, &Stream)| {
            (key.0 == *ns && stream.lease.as_ref() == Some(lease)).then(|| key.clone())
        };
        let keys: Vec<Key> = waiting.iter().filter_map(of_lease).collect();
        let gone: Vec<Stream> = keys.iter().filter_map(|key| waiting.remove(key)).collect();
        drop(waiting);
        drop(gone);
    }
}

impl Door {
    /// A stream for the one who works with it. One whose lease has expired is none.
    pub async fn take_stream(&self, ns: &Namespace, id: &str) -> Result<Stream> {
        let stream = self.streams.take(ns, id)?;
        if let Some(lease) = &stream.lease
            && self.check_lease(ns, lease).await.is_err()
        {
            return Err(Error::not_found(format!("stream \"{id}\": not found")));
        }
        Ok(stream)
    }

    /// NotFound unless there is such a lease.
    pub async fn check_lease(&self, ns: &Namespace, lease: &LeaseId) -> Result<()> {
        let (leases, ns, lease) = (self.rooms.leases.clone(), ns.clone(), lease.clone());
        let asked = tokio::task::spawn_blocking(move || leases.resources(&ns, &lease)).await;
        let asked = asked.map_err(|join| Error::internal(format!("the operation ended early: {join}")))?;
        Ok(asked.map(drop)?)
    }
}

/// Forgets a stream that nobody took before its client went.
struct Guard {
    streams: Streams,
    key: Key,
    sender: mpsc::WeakSender<std::result::Result<Any, Status>>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut waiting = self.streams.waiting();
        let own = |stream: &Stream| {
            self.sender
                .upgrade()
                .is_some_and(|own| own.same_channel(&stream.outgoing.0))
        };
        let gone = match waiting.get(&self.key).is_some_and(own) {
            true => waiting.remove(&self.key),
            false => None,
        };
        drop(waiting);
        drop(gone);
    }
}

type Answers = BoxStream<'static, std::result::Result<Any, Status>>;

impl Streams {
    /// Takes a client's stream in under the id it says first. The answers are the way to the client.
    async fn open(
        &self,
        ns: Namespace,
        lease: Option<LeaseId>,
        mut incoming: Streaming<Any>,
    ) -> std::result::Result<Answers, Status> {
        let first = match tokio::time::timeout(INIT, incoming.message()).await {
            Ok(first) => first?,
            Err(_) => {
                let text = "the stream's first message did not come";
                return Err(refuse(Error::new(ErrorKind::DeadlineExceeded, text)));
            }
        };
        let first = first.ok_or_else(|| refuse(Error::invalid("a stream begins with a StreamInit")))?;
        let init: pb::StreamInit = unpack(&first)
            .map_err(|error| refuse(Error::invalid(format!("a stream begins with a StreamInit: {error}"))))?;
        if init.id.is_empty() {
            return Err(refuse(Error::invalid("a stream needs an id")));
        }
        let (sender, receiver) = mpsc::channel(OUTGOING);
        let key = (ns, init.id);
        let guard = Guard {
            streams: self.clone(),
            key: key.clone(),
            sender: sender.downgrade(),
        };
        let outgoing = Outgoing(sender);
        outgoing.send(&()).await.map_err(refuse)?;
        let stream = Stream {
            incoming,
            outgoing,
            lease,
        };
        self.put(&key, stream).map_err(refuse)?;
        // The guard goes with the answer, which goes with the client.
        let answers = ReceiverStream::new(receiver).map(move |item| {
            let _with = &guard;
            item
        });
        Ok(answers.boxed())
    }
}

#[tonic::async_trait]
impl pb::streaming_server::Streaming for Door {
    type StreamStream = Answers;

    async fn stream(&self, request: Request<Streaming<Any>>) -> Answer<Self::StreamStream> {
        let (ns, lease) = (namespace(&request)?, lease(&request));
        if let Some(lease) = &lease {
            self.check_lease(&ns, lease).await.map_err(refuse)?;
        }
        let answers = self.streams.open(ns, lease, request.into_inner()).await?;
        Ok(Response::new(answers))
    }
}

#[cfg(test)]
mod tests;
