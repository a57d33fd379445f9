//! News for a daemon that listens as containerd does: forwarded over ttrpc to the address it gave, in order. A daemon that gave none
//! (gantryd waits for what it wants to know) costs nothing.

use gantry_proto_shim::{
    Envelope, EventsClient, any,
    api::ForwardRequest,
    protobuf::{Message, MessageField},
    ttrpc::{self, context},
};
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;

/// News waiting to be told; what comes while it is full is lost.
const QUEUE: usize = 1024;
const TRIES: u32 = 5;
const PATIENCE: Duration = Duration::from_secs(5);

/// Where news go.
pub struct Events {
    sender: Option<mpsc::Sender<Envelope>>,
    namespace: String,
}

impl Events {
    /// Starts forwarding to `address`, if there is one.
    pub fn new(address: &str, namespace: &str) -> Self {
        let namespace = namespace.to_owned();
        if address.is_empty() {
            return Self {
                sender: None,
                namespace,
            };
        }
        let (sender, receiver) = mpsc::channel(QUEUE);
        let address = if address.contains("://") {
            address.to_owned()
        } else {
            format!("unix://{address}")
        };
        tokio::spawn(forward_all(address, receiver));
        Self {
            sender: Some(sender),
            namespace,
        }
    }

    /// One piece of news, ready to be told. None if nobody listens.
    pub fn envelope(&self, topic: &str, event: &impl Message) -> Option<Envelope> {
        self.sender.as_ref()?;
        let kind = format!("containerd.events.{}", name_of(event));
        Some(Envelope {
            timestamp: MessageField::some(crate::task::timestamp(SystemTime::now())),
            namespace: self.namespace.clone(),
            topic: topic.to_owned(),
            event: MessageField::some(any(&kind, event.write_to_bytes().ok()?)),
            ..Default::default()
        })
    }

    /// Tells it, after all that was told before.
    pub fn send(&self, envelope: Option<Envelope>) {
        if let (Some(sender), Some(envelope)) = (&self.sender, envelope) {
            let _ = sender.try_send(envelope);
        }
    }

    pub fn tell(&self, topic: &str, event: &impl Message) {
        self.send(self.envelope(topic, event));
    }
}

fn name_of<M: Message>(_: &M) -> &'static str {
    M::NAME
}

async fn forward_all(address: String, mut receiver: mpsc::Receiver<Envelope>) {
    let mut client = None;
    while let Some(envelope) = receiver.recv().await {
        let request = ForwardRequest {
            envelope: MessageField::some(envelope),
            ..Default::default()
        };
        for attempt in 0..TRIES {
            match forward(&address, &mut client, &request).await {
                Ok(()) => break,
                Err(_) => client = None,
            }
            tokio::time::sleep(Duration::from_millis(200 << attempt)).await;
        }
    }
}

async fn forward(address: &str, client: &mut Option<EventsClient>, request: &ForwardRequest) -> ttrpc::Result<()> {
    let events = match client {
        Some(events) => events,
        None => client.insert(EventsClient::new(ttrpc::r#async::Client::connect(address).await?)),
    };
    events
        .forward(context::with_timeout(PATIENCE.as_nanos() as i64), request)
        .await
        .map(drop)
}
