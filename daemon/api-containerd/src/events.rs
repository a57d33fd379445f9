//! containerd.services.events.v1, and its twin for shims (containerd.services.events.ttrpc.v1).

use crate::call::{Answer, finish, namespace, refuse};
use crate::{Door, any, happening};
use futures::stream::{BoxStream, StreamExt};
use gantry_core::filter::{self, Adaptor, Filters};
use gantry_core::meta::Envelope;
use gantry_core::{Error, Namespace};
use gantry_proto_containerd::prost_types::Any;
use gantry_proto_containerd::services::events::v1 as pb;
use gantry_proto_containerd::time::{system_time, timestamp};
use gantry_proto_containerd::types;
use std::borrow::Cow;
use std::time::SystemTime;
use tonic::{Request, Response, Status};

/// An envelope in a filter: `namespace`, `topic`, and `event.<field>` of what is inside.
struct Filtered<'a> {
    namespace: &'a str,
    topic: &'a str,
    event: &'a Any,
}

impl Adaptor for Filtered<'_> {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        match path {
            ["namespace", ..] => filter::set(self.namespace),
            ["topic", ..] => filter::set(self.topic),
            ["event", rest @ ..] => happening::field(self.event, rest).map(Cow::Owned),
            _ => None,
        }
    }
}

fn to_wire(envelope: Envelope) -> types::Envelope {
    types::Envelope {
        timestamp: Some(timestamp(Some(envelope.at))),
        namespace: envelope.namespace.to_string(),
        topic: envelope.topic,
        event: Some(happening::to_wire(envelope.event)),
    }
}

fn wanted(filter: &Filters, envelope: &types::Envelope) -> bool {
    let nothing = Any::default();
    filter.match_all()
        || filter.matches(&Filtered {
            namespace: &envelope.namespace,
            topic: &envelope.topic,
            event: envelope.event.as_ref().unwrap_or(&nothing),
        })
}

#[tonic::async_trait]
impl pb::events_server::Events for Door {
    async fn publish(&self, request: Request<pb::PublishRequest>) -> Answer<()> {
        let ns = namespace(&request)?;
        let request = request.into_inner();
        let event = any::from_wire(request.event.unwrap_or_default());
        let exchange = self.rooms.engine.exchange().clone();
        finish(async move { exchange.publish(&ns, &request.topic, SystemTime::now(), event).await }).await?;
        Ok(Response::new(()))
    }

    async fn forward(&self, request: Request<pb::ForwardRequest>) -> Answer<()> {
        let envelope = request
            .into_inner()
            .envelope
            .ok_or_else(|| refuse(Error::invalid("envelope must not be empty")))?;
        let ns = Namespace::new(&envelope.namespace).map_err(|_| {
            refuse(Error::invalid(format!(
                "event envelope has invalid namespace: {:?}",
                envelope.namespace
            )))
        })?;
        let at = system_time(envelope.timestamp.as_ref())
            .ok_or_else(|| refuse(Error::invalid("timestamp must be set on forwarded event")))?;
        let event = any::from_wire(envelope.event.unwrap_or_default());
        let exchange = self.rooms.engine.exchange().clone();
        finish(async move { exchange.publish(&ns, &envelope.topic, at, event).await }).await?;
        Ok(Response::new(()))
    }

    type SubscribeStream = BoxStream<'static, Result<types::Envelope, Status>>;

    async fn subscribe(&self, request: Request<pb::SubscribeRequest>) -> Answer<Self::SubscribeStream> {
        let filter = filter::parse_all(&request.get_ref().filters).map_err(refuse)?;
        let told = self.rooms.engine.exchange().subscribe();
        let wanted = told.filter_map(move |envelope| {
            let item = match envelope {
                Ok(envelope) => Some(to_wire(envelope)).filter(|one| wanted(&filter, one)).map(Ok),
                Err(error) => Some(Err(refuse(error))),
            };
            std::future::ready(item)
        });
        Ok(Response::new(wanted.boxed()))
    }
}
