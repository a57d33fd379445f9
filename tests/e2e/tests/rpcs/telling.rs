//! What the daemon tells of itself and of what happens: version, introspection, health, events.

use crate::bed::{Bed, Entry};
use futures::future::BoxFuture;
use gantry_e2e::client::Connection;
use gantry_proto_containerd::any::json;
use gantry_proto_containerd::grpc::health::v1 as health;
use gantry_proto_containerd::services::events::v1 as events;
use gantry_proto_containerd::services::introspection::v1 as introspection;
use gantry_proto_containerd::time::timestamp;
use gantry_proto_containerd::types;
use gantry_proto_shim::{EventsClient, api};
use std::time::{Duration, SystemTime};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Code, Request, Status};

const VERSION: &str = "containerd.services.version.v1.Version/Version";
const SERVER: &str = "containerd.services.introspection.v1.Introspection/Server";
const HEALTH_WATCH: &str = "grpc.health.v1.Health/Watch";
const HEALTH_LIST: &str = "grpc.health.v1.Health/List";

pub fn entries() -> Vec<Entry> {
    let undecodable = "failed to decode Protobuf message";
    vec![
        Entry::new(VERSION, version, Code::Internal, undecodable, |bed| {
            garbage(&bed.connection, VERSION)
        }),
        Entry::new(SERVER, server, Code::Internal, undecodable, |bed| {
            garbage(&bed.connection, SERVER)
        }),
        Entry::new(
            "containerd.services.introspection.v1.Introspection/Plugins",
            plugins,
            Code::InvalidArgument,
            "type==",
            |bed| {
                Box::pin(async move {
                    let filters = vec!["type==".to_owned()];
                    bed.walk
                        .introspection()
                        .plugins(introspection::PluginsRequest { filters })
                        .await
                        .map(drop)
                })
            },
        ),
        Entry::new(
            "containerd.services.introspection.v1.Introspection/PluginInfo",
            plugin_info,
            Code::NotFound,
            "io.containerd.snapshotter.v1.nobody",
            |bed| Box::pin(async move { info(bed, "io.containerd.snapshotter.v1", "nobody").await.map(drop) }),
        ),
        Entry::new(
            "grpc.health.v1.Health/Check",
            |bed| {
                Box::pin(async move {
                    for service in ["", "containerd.services.tasks.v1.Tasks"] {
                        let answer = bed.connection.anybody().health().check(asked(service)).await.unwrap();
                        assert_eq!(
                            answer.into_inner().status(),
                            health::health_check_response::ServingStatus::Serving
                        );
                    }
                })
            },
            Code::NotFound,
            "unknown service",
            |bed| {
                Box::pin(async move {
                    bed.connection
                        .anybody()
                        .health()
                        .check(asked("no.such.Service"))
                        .await
                        .map(drop)
                })
            },
        ),
        Entry::new(HEALTH_LIST, health_list, Code::Internal, undecodable, |bed| {
            garbage(&bed.connection, HEALTH_LIST)
        }),
        Entry::new(
            HEALTH_WATCH,
            |bed| {
                Box::pin(async move {
                    use health::health_check_response::ServingStatus;
                    for (name, status) in [
                        ("", ServingStatus::Serving),
                        ("no.such.Service", ServingStatus::ServiceUnknown),
                    ] {
                        let mut told = bed
                            .connection
                            .anybody()
                            .health()
                            .watch(asked(name))
                            .await
                            .unwrap()
                            .into_inner();
                        assert_eq!(told.message().await.unwrap().unwrap().status(), status);
                    }
                })
            },
            Code::Internal,
            undecodable,
            |bed| garbage(&bed.connection, HEALTH_WATCH),
        ),
        Entry::new(
            "containerd.services.events.v1.Events/Publish",
            |bed| {
                Box::pin(async move {
                    let mut told = subscribe(bed, "topic==\"/walk/published\"").await.unwrap();
                    publish(bed, "/walk/published").await.unwrap();
                    let envelope = told.message().await.unwrap().unwrap();
                    assert_eq!(
                        (envelope.namespace.as_str(), envelope.topic.as_str()),
                        (crate::bed::NS, "/walk/published")
                    );
                    assert_eq!(envelope.event.unwrap(), json("walk.Text", "\"told\""));
                })
            },
            Code::InvalidArgument,
            "must start with '/'",
            |bed| Box::pin(publish(bed, "walk/published")),
        ),
        Entry::new(
            "containerd.services.events.v1.Events/Forward",
            |bed| {
                Box::pin(async move {
                    let mut told = subscribe(bed, "topic==\"/walk/forwarded\"").await.unwrap();
                    forward(bed, Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000)))
                        .await
                        .unwrap();
                    let envelope = told.message().await.unwrap().unwrap();
                    assert_eq!(envelope.namespace, "elsewhere");
                    assert_eq!(
                        envelope.timestamp.unwrap().seconds,
                        1_000_000,
                        "it is as old as it says"
                    );
                })
            },
            Code::InvalidArgument,
            "timestamp must be set",
            |bed| Box::pin(forward(bed, None)),
        ),
        Entry::new(
            "containerd.services.events.v1.Events/Subscribe",
            |bed| {
                Box::pin(async move {
                    let filter = "namespace==walk,topic~=|^/walk/sub|,event.none!=x";
                    let mut told = subscribe(bed, filter).await.unwrap();
                    for topic in ["/walk/other", "/walk/subscribed"] {
                        publish(bed, topic).await.unwrap();
                    }
                    assert_eq!(told.message().await.unwrap().unwrap().topic, "/walk/subscribed");
                })
            },
            Code::InvalidArgument,
            "invalid quote encountered",
            |bed| Box::pin(async move { subscribe(bed, "topic==/walk/").await.map(drop) }),
        ),
        Entry::new(
            crate::FORWARD,
            forward_well,
            Code::InvalidArgument,
            "must start with '/'",
            |bed| Box::pin(async move { told_by_shim(bed, "no/slash").await }),
        ),
    ]
}

fn version(bed: &Bed) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let answer = bed
            .connection
            .anybody()
            .version()
            .version(())
            .await
            .unwrap()
            .into_inner();
        assert!(answer.version.split('.').count() >= 3, "{answer:?}");
    })
}

fn server(bed: &Bed) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let answer = bed
            .connection
            .anybody()
            .introspection()
            .server(())
            .await
            .unwrap()
            .into_inner();
        assert_eq!(answer.uuid.len(), 36, "{answer:?}");
        assert!(answer.pid > 1 && answer.pidns > 0);
    })
}

fn plugins(bed: &Bed) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let filters = vec![
            "type==io.containerd.snapshotter.v1, id==overlayfs".to_owned(),
            "id==walking".to_owned(),
        ];
        let request = introspection::PluginsRequest { filters };
        let found = bed
            .connection
            .anybody()
            .introspection()
            .plugins(request)
            .await
            .unwrap()
            .into_inner()
            .plugins;
        let ids: Vec<_> = found.iter().map(|plugin| plugin.id.as_str()).collect();
        assert_eq!(ids, ["overlayfs", "walking"]);
        assert!(found[0].capabilities.iter().any(|one| one == "rebase") && found[0].exports.contains_key("root"));
        assert!(!found[0].platforms.is_empty());
    })
}

async fn info(bed: &Bed, kind: &str, id: &str) -> Result<introspection::PluginInfoResponse, Status> {
    let request = introspection::PluginInfoRequest {
        r#type: kind.to_owned(),
        id: id.to_owned(),
        options: None,
    };
    let answer = bed.connection.anybody().introspection().plugin_info(request).await?;
    Ok(answer.into_inner())
}

fn plugin_info(bed: &Bed) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let found = info(bed, "io.containerd.runtime.v2", "task")
            .await
            .unwrap()
            .plugin
            .unwrap();
        assert_eq!(
            (found.r#type.as_str(), found.id.as_str()),
            ("io.containerd.runtime.v2", "task")
        );
        assert!(found.init_err.is_none());
    })
}

fn asked(service: &str) -> health::HealthCheckRequest {
    health::HealthCheckRequest {
        service: service.to_owned(),
    }
}

fn health_list(bed: &Bed) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let request = health::HealthListRequest::default();
        let found = bed
            .connection
            .anybody()
            .health()
            .list(request)
            .await
            .unwrap()
            .into_inner()
            .statuses;
        let serving = health::health_check_response::ServingStatus::Serving;
        let all = crate::methods();
        let services = all.iter().filter_map(|method| Some(method.split_once('/')?.0));
        for service in services.filter(|one| one.starts_with("containerd.") && !one.contains("ttrpc")) {
            let status = found
                .get(service)
                .unwrap_or_else(|| panic!("nothing is said of {service}"));
            assert_eq!(status.status(), serving, "{service}");
        }
    })
}

async fn subscribe(bed: &Bed, filter: &str) -> Result<tonic::Streaming<types::Envelope>, Status> {
    let filters = vec![filter.to_owned()];
    let answer = bed
        .connection
        .anybody()
        .events()
        .subscribe(events::SubscribeRequest { filters })
        .await?;
    Ok(answer.into_inner())
}

async fn publish(bed: &Bed, topic: &str) -> Result<(), Status> {
    let request = events::PublishRequest {
        topic: topic.to_owned(),
        event: Some(json("walk.Text", "\"told\"")),
    };
    bed.walk.events().publish(request).await.map(drop)
}

async fn forward(bed: &Bed, at: Option<SystemTime>) -> Result<(), Status> {
    let envelope = types::Envelope {
        timestamp: at.map(|at| timestamp(Some(at))),
        namespace: "elsewhere".to_owned(),
        topic: "/walk/forwarded".to_owned(),
        event: Some(json("walk.Text", "\"told\"")),
    };
    let request = events::ForwardRequest {
        envelope: Some(envelope),
    };
    bed.connection.anybody().events().forward(request).await.map(drop)
}

/// As shims tell: over ttrpc, beside the daemon's socket.
async fn told_by_shim(bed: &Bed, topic: &str) -> Result<(), Status> {
    use gantry_proto_shim::protobuf::MessageField;
    use gantry_proto_shim::protobuf::well_known_types::{any::Any, timestamp::Timestamp};
    let address = format!("unix://{}.ttrpc", bed.socket.display());
    let client = gantry_proto_shim::ttrpc::r#async::Client::connect(&address)
        .await
        .unwrap();
    let mut envelope = gantry_proto_shim::Envelope::new();
    // The same event of the same time is taken for one that is sent again.
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap();
    envelope.timestamp = MessageField::some(Timestamp {
        seconds: now.as_secs().try_into().unwrap(),
        nanos: now.subsec_nanos().try_into().unwrap(),
        ..Timestamp::default()
    });
    envelope.namespace = "shims".to_owned();
    envelope.topic = topic.to_owned();
    envelope.event = MessageField::some(Any {
        type_url: "walk.Text".to_owned(),
        value: b"from a shim".to_vec(),
        ..Any::default()
    });
    let mut request = api::ForwardRequest::new();
    request.envelope = MessageField::some(envelope);
    bed.connection.remember(crate::FORWARD.to_owned());
    let context = gantry_proto_shim::ttrpc::context::with_timeout(10_000_000_000);
    match EventsClient::new(client).forward(context, &request).await {
        Ok(_) => Ok(()),
        Err(gantry_proto_shim::ttrpc::Error::RpcStatus(status)) => {
            Err(Status::new(Code::from_i32(status.code.value()), status.message))
        }
        Err(other) => panic!("{other}"),
    }
}

/// A shim tells, and a subscriber hears.
pub fn forward_well(bed: &Bed) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let mut told = subscribe(bed, "namespace==shims").await.unwrap();
        told_by_shim(bed, "/walk/shim").await.unwrap();
        let envelope = tokio::time::timeout(Duration::from_secs(30), told.message())
            .await
            .expect("it is told on")
            .unwrap()
            .unwrap();
        assert_eq!(
            (envelope.topic.as_str(), envelope.event.unwrap().value.as_slice()),
            ("/walk/shim", &b"from a shim"[..])
        );
    })
}

/// Calls a method that takes anything with bytes that are no message.
pub fn garbage<'a>(connection: &'a Connection, method: &'static str) -> BoxFuture<'a, Result<(), Status>> {
    Box::pin(async move {
        connection.remember(method.to_owned());
        let mut raw = tonic::client::Grpc::new(connection.channel());
        raw.ready().await.unwrap();
        let path = tonic::codegen::http::uri::PathAndQuery::try_from(format!("/{method}")).unwrap();
        raw.unary(Request::new(vec![0xff; 20]), path, Raw).await.map(drop)
    })
}

/// Bytes as they are; what comes back is not looked at.
pub struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = ();
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        bytes::BufMut::put_slice(to, &item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = ();
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<()>, Status> {
        bytes::Buf::advance(from, bytes::Buf::remaining(from));
        Ok(Some(()))
    }
}
