//! containerd.services.events.ttrpc.v1: what shims tell, on a socket of its own beside the daemon's.
//!
//! An answer means that the event is durable; a shim that got none sends it again, and the exchange knows doubles.

use async_trait::async_trait;
use gantry_core::meta::Any;
use gantry_core::{Error, ErrorKind, Namespace};
use gantry_engine::Engine;
use gantry_proto_shim::ttrpc::r#async::{Server, TtrpcContext, transport::Listener};
use gantry_proto_shim::ttrpc::{self, Code};
use gantry_proto_shim::{Envelope, Events, api, create_events};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long a shim may wait for its event to be durable: it gives up after five seconds itself.
const PATIENCE: Duration = Duration::from_secs(5);

struct Forward {
    engine: Engine,
}

/// Serves until the server is dropped or shut down.
pub async fn serve(engine: Engine, listener: tokio::net::UnixListener) -> gantry_core::Result<Server> {
    let service = create_events(Arc::new(Forward { engine }));
    let mut server = Server::new()
        .add_listener(Listener::from(listener))
        .register_service(service);
    server
        .start()
        .await
        .map_err(|error| Error::internal(format!("serve events of shims: {error}")))?;
    Ok(server)
}

#[async_trait]
impl Events for Forward {
    async fn forward(&self, _: &TtrpcContext, request: api::ForwardRequest) -> ttrpc::Result<api::Empty> {
        let envelope = request
            .envelope
            .into_option()
            .ok_or_else(|| refuse(&Error::invalid("envelope must not be empty")))?;
        let told = tokio::time::timeout(PATIENCE, self.take(envelope)).await;
        match told {
            Ok(Ok(())) => Ok(api::Empty::new()),
            Ok(Err(error)) => Err(refuse(&error)),
            Err(_) => {
                let text = format!("the event was not stored within {PATIENCE:?}");
                Err(refuse(&Error::new(ErrorKind::DeadlineExceeded, text)))
            }
        }
    }
}

impl Forward {
    async fn take(&self, envelope: Envelope) -> gantry_core::Result<()> {
        let ns = Namespace::new(&envelope.namespace).map_err(|_| {
            Error::invalid(format!(
                "event envelope has invalid namespace: {:?}",
                envelope.namespace
            ))
        })?;
        let at = envelope
            .timestamp
            .as_ref()
            .and_then(|stamp| time(stamp.seconds, stamp.nanos));
        let at = at.ok_or_else(|| Error::invalid("timestamp must be set on forwarded event"))?;
        let event = envelope.event.into_option().unwrap_or_default();
        let event = Any {
            type_url: event.type_url,
            value: event.value,
        };
        self.engine.exchange().publish(&ns, &envelope.topic, at, event).await?;
        Ok(())
    }
}

fn time(seconds: i64, nanos: i32) -> Option<SystemTime> {
    let whole = Duration::from_secs(u64::try_from(seconds).ok()?);
    UNIX_EPOCH
        .checked_add(whole)?
        .checked_add(Duration::from_nanos(u64::try_from(nanos).ok()?))
}

fn refuse(error: &Error) -> ttrpc::Error {
    let code = match error.kind() {
        ErrorKind::InvalidArgument => Code::INVALID_ARGUMENT,
        ErrorKind::DeadlineExceeded => Code::DEADLINE_EXCEEDED,
        ErrorKind::Unavailable => Code::UNAVAILABLE,
        _ => Code::INTERNAL,
    };
    ttrpc::Error::RpcStatus(ttrpc::get_status(code, error.message()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_the_epoch_are_none() {
        assert_eq!(time(1, 2), Some(UNIX_EPOCH + Duration::new(1, 2)));
        assert_eq!(time(-1, 0), None);
        assert_eq!(time(0, -1), None);
    }
}
