//! News for a daemon, forwarded over ttrpc to the address it gave: in order, at least once, and never in anyone's way. What the daemon does
//! not take waits in [`queue`] and is offered again when it answers; a daemon that gave no address costs nothing.

mod queue;

use gantry_proto_shim::{
    Envelope, EventsClient, any,
    api::ForwardRequest,
    protobuf::{Message, MessageField},
    ttrpc::{self, Code, context},
};
use queue::{Queue, Ticket};
use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime},
};
use tokio::sync::Notify;

/// How long one piece of news may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two tries, at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// How often news may be answered by an error that says nothing about it, before it counts as lost.
const ANSWERS: u32 = 5;
/// The connection is let go when there was nothing to tell for so long.
const QUIET: Duration = Duration::from_millis(500);
/// How long a shim that has nothing else to do stays for a daemon that does not answer.
const LOYALTY: Duration = Duration::from_secs(120);
/// The same after the daemon has sent it away: it knows how its tasks ended, and only those who listen there may miss a word.
const DISMISSED: Duration = Duration::from_secs(2);

/// Where news go.
pub struct Events {
    line: Option<Arc<Line>>,
    namespace: String,
}

struct Line {
    address: String,
    queue: Mutex<Queue>,
    /// Since when the daemon does not take what waits.
    deaf: Mutex<Option<Instant>>,
    /// There is something to tell, or the daemon showed itself.
    wake: Notify,
    /// Told when nothing waits any more.
    done: Arc<Notify>,
}

impl Events {
    /// Starts forwarding to `address`, if there is one. `done` is told whenever everything has been.
    pub fn new(address: &str, namespace: &str, dir: &Path, done: Arc<Notify>) -> Self {
        let namespace = namespace.to_owned();
        if address.is_empty() {
            return Self { line: None, namespace };
        }
        let address = if address.contains("://") {
            address.to_owned()
        } else {
            format!("unix://{address}")
        };
        let line = Arc::new(Line {
            address,
            queue: Mutex::new(Queue::new(dir)),
            deaf: Mutex::default(),
            wake: Notify::new(),
            done,
        });
        tokio::spawn(line.clone().forward_all());
        Self {
            line: Some(line),
            namespace,
        }
    }

    /// What waits is kept in this directory from now on; what an earlier life left there is told first.
    pub fn keep_in(&self, dir: &Path) {
        if let Some(line) = &self.line
            && crate::io::lock(&line.queue).keep_in(dir)
        {
            line.wake.notify_one();
        }
    }

    /// Whether anybody is told.
    pub fn are_wanted(&self) -> bool {
        self.line.is_some()
    }

    /// One piece of news, ready to be told. None if nobody listens.
    pub fn envelope(&self, topic: &str, event: &impl Message) -> Option<Envelope> {
        self.line.as_ref()?;
        let kind = format!("containerd.events.{}", name_of(event));
        let event = any(&kind, event.write_to_bytes().ok()?);
        Some(envelope(&self.namespace, topic, SystemTime::now(), event))
    }

    /// Tells it, after all that was told before.
    pub fn send(&self, envelope: Option<Envelope>) {
        if let (Some(line), Some(envelope)) = (&self.line, envelope) {
            crate::io::lock(&line.queue).push(envelope);
            line.wake.notify_one();
        }
    }

    pub fn tell(&self, topic: &str, event: &impl Message) {
        self.send(self.envelope(topic, event));
    }

    /// The daemon has shown that it is there.
    pub fn poke(&self) {
        if let Some(line) = &self.line {
            line.wake.notify_one();
        }
    }

    /// Everything was told, or there is no hope left.
    pub fn may_end(&self, dismissed: bool) -> bool {
        let Some(line) = &self.line else { return true };
        let loyalty = if dismissed { DISMISSED } else { LOYALTY };
        let deaf = crate::io::lock(&line.deaf).is_some_and(|since| since.elapsed() > loyalty);
        deaf || crate::io::lock(&line.queue).is_empty()
    }
}

fn envelope(
    namespace: &str,
    topic: &str,
    at: SystemTime,
    event: gantry_proto_shim::protobuf::well_known_types::any::Any,
) -> Envelope {
    Envelope {
        timestamp: MessageField::some(crate::task::timestamp(at)),
        namespace: namespace.to_owned(),
        topic: topic.to_owned(),
        event: MessageField::some(event),
        ..Default::default()
    }
}

fn name_of<M: Message>(_: &M) -> &'static str {
    M::NAME
}

/// What became of one piece of news.
enum Heard {
    Taken,
    /// The daemon will never take it.
    Refused,
    /// It answered with an error of its own.
    Failed,
    /// It did not answer.
    Deaf,
}

impl Line {
    async fn forward_all(self: Arc<Self>) {
        let mut client = None;
        let (mut pause, mut answers) = (PAUSE.0, 0);
        loop {
            let next = crate::io::lock(&self.queue).front();
            let Some((ticket, envelope)) = next else {
                self.done.notify_one();
                if client.is_none() || tokio::time::timeout(QUIET, self.wake.notified()).await.is_err() {
                    client = None;
                    self.wake_or_news().await;
                }
                continue;
            };
            let known = client.is_some();
            let heard = self.forward(&mut client, envelope).await;
            if !matches!(heard, Heard::Deaf) {
                crate::io::lock(&self.deaf).take();
            }
            match heard {
                Heard::Taken | Heard::Refused => {
                    self.over(ticket, false);
                    (pause, answers) = (PAUSE.0, 0);
                    continue;
                }
                Heard::Failed if answers + 1 >= ANSWERS => {
                    self.over(ticket, true);
                    (pause, answers) = (PAUSE.0, 0);
                    continue;
                }
                Heard::Failed => answers += 1,
                // The connection may have been a former daemon's.
                Heard::Deaf if known => {
                    client = None;
                    continue;
                }
                Heard::Deaf => {
                    client = None;
                    crate::io::lock(&self.deaf).get_or_insert_with(Instant::now);
                    crate::io::lock(&self.queue).spill();
                }
            }
            let end = tokio::time::Instant::now() + pause;
            // It may have shown itself meanwhile.
            let _ = tokio::time::timeout_at(end, self.wake.notified()).await;
            tokio::time::sleep(PAUSE.0).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    /// Waits until there is something to tell.
    async fn wake_or_news(&self) {
        while crate::io::lock(&self.queue).is_empty() {
            self.wake.notified().await;
        }
    }

    fn over(&self, ticket: Ticket, lost: bool) {
        let mut queue = crate::io::lock(&self.queue);
        if lost && matches!(ticket, Ticket::News(_)) {
            queue.count_lost(1);
        }
        queue.pop(ticket);
    }

    async fn forward(&self, client: &mut Option<EventsClient>, envelope: Envelope) -> Heard {
        let request = ForwardRequest {
            envelope: MessageField::some(envelope),
            ..Default::default()
        };
        match self.try_forward(client, &request).await {
            Ok(()) => Heard::Taken,
            Err(ttrpc::Error::RpcStatus(status)) => match status.code.enum_value() {
                Ok(
                    Code::INVALID_ARGUMENT
                    | Code::NOT_FOUND
                    | Code::ALREADY_EXISTS
                    | Code::PERMISSION_DENIED
                    | Code::FAILED_PRECONDITION
                    | Code::OUT_OF_RANGE
                    | Code::UNIMPLEMENTED,
                ) => Heard::Refused,
                Ok(Code::UNAVAILABLE | Code::DEADLINE_EXCEEDED | Code::CANCELLED) => Heard::Deaf,
                _ => Heard::Failed,
            },
            Err(_) => Heard::Deaf,
        }
    }

    async fn try_forward(&self, client: &mut Option<EventsClient>, request: &ForwardRequest) -> ttrpc::Result<()> {
        let events = match client {
            Some(events) => events,
            None => {
                let connected = tokio::time::timeout(PATIENCE, ttrpc::r#async::Client::connect(&self.address)).await;
                let connected = connected.unwrap_or_else(|_| Err(ttrpc::Error::RemoteClosed))?;
                client.insert(EventsClient::new(connected))
            }
        };
        let answer = events.forward(context::with_timeout(PATIENCE.as_nanos() as i64), request);
        // A peer that takes no bytes at all is not waited for either.
        match tokio::time::timeout(PATIENCE * 2, answer).await {
            Ok(answer) => answer.map(drop),
            Err(_) => Err(ttrpc::Error::RemoteClosed),
        }
    }
}
