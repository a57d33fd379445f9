//! `publish`: tells the daemon an event, for shims that call the daemon's program to do so (containerd's `publish` command).
//! The event comes as a protobuf Any on stdin and goes to the socket on which shims tell what happens.

use crate::config::{PLACES, PublishDeed};
use crate::error::{Error, Result};
use gantry_core::Namespace;
use gantry_proto_shim::protobuf::Message;
use gantry_proto_shim::protobuf::well_known_types::{any::Any, timestamp::Timestamp};
use gantry_proto_shim::ttrpc::r#async::Client;
use gantry_proto_shim::ttrpc::context;
use gantry_proto_shim::{Envelope, EventsClient, api};
use std::io::Read;
use std::path::Path;
use std::time::Duration;

/// Bytes of an event; a ttrpc message is at most 4 MiB.
const LARGEST: u64 = 4 << 20;
/// For the daemon to answer: an answer means that the event is durable.
const PATIENCE: Duration = Duration::from_secs(5);

/// `address` is the gRPC socket, as containerd's own flag is.
pub fn run(deed: &PublishDeed, address: Option<String>) -> Result<()> {
    if deed.topic.is_empty() {
        return Err(Error::bad(
            "--topic",
            "topic required to publish event: invalid argument",
        ));
    }
    Namespace::new(&deed.namespace).map_err(|error| Error::bad("--namespace", error.to_string()))?;
    let path = socket(address);
    let failed = |reason: String| Error::Publish {
        address: path.clone(),
        reason,
    };
    let mut bytes = Vec::new();
    let read = std::io::stdin().take(LARGEST).read_to_end(&mut bytes);
    read.map_err(|error| failed(format!("read the event from standard input: {error}")))?;
    let event =
        Any::parse_from_bytes(&bytes).map_err(|error| failed(format!("standard input is no event: {error}")))?;
    let envelope = Envelope {
        timestamp: Some(Timestamp::now()).into(),
        namespace: deed.namespace.clone(),
        topic: deed.topic.clone(),
        event: Some(event).into(),
        ..Envelope::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| Error::System {
        deed: "start the runtime",
        source,
    })?;
    runtime.block_on(forward(&path, envelope)).map_err(failed)
}

async fn forward(path: &str, envelope: Envelope) -> Result<(), String> {
    let client = Client::connect(&format!("unix://{path}"))
        .await
        .map_err(|error| error.to_string())?;
    let request = api::ForwardRequest {
        envelope: Some(envelope).into(),
        ..api::ForwardRequest::default()
    };
    let limit = i64::try_from(PATIENCE.as_nanos()).unwrap_or(i64::MAX);
    let told = EventsClient::new(client);
    let told = told.forward(context::with_timeout(limit), &request);
    match tokio::time::timeout(PATIENCE, told).await {
        Ok(answer) => answer.map(drop).map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

/// Beside the gRPC socket that was named; else where the daemon told the shim; else where a daemon is by default.
fn socket(address: Option<String>) -> String {
    let told = std::env::var("TTRPC_ADDRESS").ok().filter(|path| !path.is_empty());
    let beside = |path: String| format!("{path}.ttrpc");
    let bare = |path: String| path.strip_prefix("unix://").map(str::to_owned).unwrap_or(path);
    match (
        address.filter(|path| !path.is_empty()).map(bare).map(beside),
        told.map(bare),
    ) {
        // The daemon may have been told to put it elsewhere.
        (Some(named), Some(told)) if !Path::new(&named).exists() => told,
        (Some(named), _) => named,
        (None, Some(told)) => told,
        (None, None) => {
            let grpc = std::env::var("GRPC_ADDRESS").ok().filter(|path| !path.is_empty());
            beside(grpc.map_or_else(|| format!("{}/gantry.sock", PLACES.exec_root), bare))
        }
    }
}
