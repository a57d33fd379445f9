//! containerd.services.introspection.v1: which parts the daemon has, under the names by which clients look for them.

use crate::call::{Answer, blocking, refuse};
use crate::{About, Door, Outside, Rooms, any};
use gantry_core::filter::{self, Adaptor};
use gantry_core::{Error, ErrorKind};
use gantry_engine::RESTART_POLICIES;
use gantry_proto_containerd::prost::Message;
use gantry_proto_containerd::prost_types;
use gantry_proto_containerd::services::introspection::v1 as pb;
use gantry_proto_containerd::types::{Platform, RuntimeInfo, RuntimeRequest};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use tonic::{Request, Response};

const CONTENT: &str = "io.containerd.content.v1";
const DIFF: &str = "io.containerd.differ.v1";
const EVENT: &str = "io.containerd.event.v1";
const GC: &str = "io.containerd.gc.v1";
const GRPC: &str = "io.containerd.grpc.v1";
const INTERNAL: &str = "io.containerd.internal.v1";
const LEASE: &str = "io.containerd.lease.v1";
const MONITOR: &str = "io.containerd.monitor.container.v1";
const METADATA: &str = "io.containerd.metadata.v1";
const MOUNT_HANDLER: &str = "io.containerd.mount-handler.v1";
const MOUNT_MANAGER: &str = "io.containerd.mount-manager.v1";
const RUNTIME: &str = "io.containerd.runtime.v2";
const SANDBOX_CONTROLLER: &str = "io.containerd.sandbox.controller.v1";
const SANDBOX_STORE: &str = "io.containerd.sandbox.store.v1";
const SERVICE: &str = "io.containerd.service.v1";
const SNAPSHOTTER: &str = "io.containerd.snapshotter.v1";
const STREAMING: &str = "io.containerd.streaming.v1";
const TRANSFER: &str = "io.containerd.transfer.v1";

/// The services behind the door, as containerd calls its own.
const SERVICES: [&str; 9] = [
    "containers-service",
    "content-service",
    "diff-service",
    "images-service",
    "introspection-service",
    "leases-service",
    "namespaces-service",
    "snapshots-service",
    "tasks-service",
];
/// The services at the door.
const DOORS: [&str; 17] = [
    "containers",
    "content",
    "diff",
    "events",
    "healthcheck",
    "images",
    "introspection",
    "leases",
    "mounts",
    "namespaces",
    "sandbox-controllers",
    "sandboxes",
    "snapshots",
    "streaming",
    "tasks",
    "transfer",
    "version",
];

struct Named<'a>(&'a pb::Plugin);

impl Adaptor for Named<'_> {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        match path {
            ["type", ..] => filter::set(&self.0.r#type),
            ["id", ..] => filter::set(&self.0.id),
            _ => None,
        }
    }
}

/// Where a task's output may go, as the shims of containerd and ours know it.
const LOG_SCHEMES: &str = "binary,binary-v2,fifo,file";
/// Type of what asks a runtime about itself, and of the answer; bare or behind a host, as an Any's types are.
const RUNTIME_REQUEST: &str = "containerd.types.RuntimeRequest";
const RUNTIME_INFO: &str = "containerd.types.RuntimeInfo";

/// This host's platform, in the words of images.
fn platform() -> Platform {
    let (architecture, variant) = match std::env::consts::ARCH {
        "x86_64" => ("amd64", ""),
        "x86" => ("386", ""),
        "aarch64" => ("arm64", "v8"),
        "arm" => ("arm", "v7"),
        "powerpc64" => ("ppc64le", ""),
        other => (other, ""),
    };
    Platform {
        os: "linux".to_owned(),
        architecture: architecture.to_owned(),
        variant: variant.to_owned(),
        ..Platform::default()
    }
}

/// This host's platform as text: `linux/amd64`.
pub fn platform_text() -> String {
    let Platform {
        os,
        architecture,
        variant,
        ..
    } = platform();
    match variant.as_str() {
        "" => format!("{os}/{architecture}"),
        variant => format!("{os}/{architecture}/{variant}"),
    }
}

/// Of `linux/arm/v7`.
fn parse_platform(text: &str) -> Platform {
    let mut parts = text.split('/').map(str::to_owned);
    Platform {
        os: parts.next().unwrap_or_default(),
        architecture: parts.next().unwrap_or_default(),
        variant: parts.next().unwrap_or_default(),
        ..Platform::default()
    }
}

fn plugin(kind: &str, id: &str) -> pb::Plugin {
    pb::Plugin {
        r#type: kind.to_owned(),
        id: id.to_owned(),
        ..pb::Plugin::default()
    }
}

fn exporting(key: &str, path: &Path) -> BTreeMap<String, String> {
    BTreeMap::from([(key.to_owned(), path.display().to_string())])
}

fn on_this(kind: &str, id: &str) -> pb::Plugin {
    pb::Plugin {
        platforms: vec![platform()],
        ..plugin(kind, id)
    }
}

/// One behind a socket shows what the configuration says of it; containerd's `address` tells it from the others.
fn outside(name: &str, said: &Outside) -> pb::Plugin {
    let mut exports = said.exports.clone();
    exports.insert("address".to_owned(), said.address.clone());
    pb::Plugin {
        exports,
        capabilities: said.capabilities.clone(),
        platforms: vec![said.platform.as_deref().map_or_else(platform, parse_platform)],
        ..plugin(SNAPSHOTTER, name)
    }
}

fn snapshotters(rooms: &Rooms) -> Vec<pb::Plugin> {
    let each = rooms.snapshots.backends().map(|backend| {
        let name = backend.name();
        match rooms.about.outside.get(name) {
            Some(said) => outside(name, said),
            None => pb::Plugin {
                exports: exporting("root", backend.root()),
                capabilities: backend.capabilities().words().into_iter().map(str::to_owned).collect(),
                ..on_this(SNAPSHOTTER, name)
            },
        }
    });
    each.collect()
}

fn tasks(about: &About) -> pb::Plugin {
    let platforms = match about.platforms.is_empty() {
        true => vec![platform()],
        false => about.platforms.iter().map(|text| parse_platform(text)).collect(),
    };
    pb::Plugin {
        platforms,
        exports: BTreeMap::from([("log-uri-schemes".to_owned(), LOG_SCHEMES.to_owned())]),
        ..plugin(RUNTIME, "task")
    }
}

/// All there is. What is not there is not listed, so none has failed to start.
fn plugins(rooms: &Rooms) -> Vec<pb::Plugin> {
    let root = &rooms.about.root;
    let mut all = vec![pb::Plugin {
        exports: exporting("root", &root.join("content")),
        ..plugin(CONTENT, "content")
    }];
    all.extend(snapshotters(rooms));
    all.push(on_this(DIFF, "walking"));
    all.push(plugin(METADATA, "rocksdb"));
    if rooms.about.tends {
        all.push(pb::Plugin {
            capabilities: RESTART_POLICIES.map(str::to_owned).to_vec(),
            ..plugin(MONITOR, "restart")
        });
    }
    all.push(plugin(EVENT, "exchange"));
    all.push(plugin(GC, "scheduler"));
    all.push(plugin(LEASE, "manager"));
    all.push(on_this(MOUNT_HANDLER, "erofs"));
    all.push(plugin(MOUNT_HANDLER, "loop"));
    all.push(plugin(MOUNT_MANAGER, "bolt"));
    all.push(plugin(SANDBOX_CONTROLLER, "shim"));
    all.push(plugin(SANDBOX_STORE, "local"));
    all.push(plugin(STREAMING, "manager"));
    all.push(plugin(TRANSFER, "local"));
    all.extend(SERVICES.map(|id| plugin(SERVICE, id)));
    all.push(tasks(&rooms.about));
    all.extend(DOORS.map(|id| plugin(GRPC, id)));
    all.push(pb::Plugin {
        exports: exporting("path", &rooms.about.opt),
        ..plugin(INTERNAL, "opt")
    });
    all
}

/// `type.id` of every plugin, as configurations name them.
pub fn plugin_names(rooms: &Rooms) -> Vec<String> {
    let all = plugins(rooms).into_iter();
    all.map(|plugin| format!("{}.{}", plugin.r#type, plugin.id)).collect()
}

fn is_type(given: &str, name: &str) -> bool {
    given == name || given.rsplit_once('/').is_some_and(|(_, last)| last == name)
}

/// What a runtime's shim says of itself.
async fn runtime_info(rooms: &Rooms, options: prost_types::Any) -> Result<prost_types::Any, Error> {
    if !is_type(&options.type_url, RUNTIME_REQUEST) {
        let text = format!("unknown request type {:?}", options.type_url);
        return Err(Error::new(ErrorKind::Unimplemented, text));
    }
    let request = RuntimeRequest::decode(options.value.as_slice())
        .map_err(|error| Error::invalid(format!("unmarshal {RUNTIME_REQUEST}: {error}")))?;
    let asked = request.options.map(any::from_wire);
    let told = rooms.engine.tasks().runtime_info(&request.runtime_path, asked).await?;
    let info = RuntimeInfo::decode(told.as_slice()).map_err(|error| {
        let text = format!(
            "the answer of {} to -info is no {RUNTIME_INFO}: {error}",
            request.runtime_path
        );
        Error::new(ErrorKind::Unknown, text)
    })?;
    Ok(prost_types::Any {
        type_url: RUNTIME_INFO.to_owned(),
        value: info.encode_to_vec(),
    })
}

#[tonic::async_trait]
impl pb::introspection_server::Introspection for Door {
    async fn plugins(&self, request: Request<pb::PluginsRequest>) -> Answer<pb::PluginsResponse> {
        let filter = filter::parse_all(&request.get_ref().filters).map_err(|error| {
            // containerd's service says this twice, and its clients show it twice.
            let twice = ": invalid argument".repeat(2);
            let text = error.message().trim_end_matches(": invalid argument");
            refuse(Error::new(error.kind(), format!("{text}{twice}")))
        })?;
        let mut plugins = plugins(&self.rooms);
        plugins.retain(|plugin| filter.matches(&Named(plugin)));
        Ok(Response::new(pb::PluginsResponse { plugins }))
    }

    async fn server(&self, _: Request<()>) -> Answer<pb::ServerResponse> {
        let pidns = blocking(|| {
            let found = std::fs::metadata("/proc/self/ns/pid");
            found
                .map(|meta| meta.ino())
                .map_err(|error| Error::internal(format!("look at the pid namespace: {error}")))
        });
        Ok(Response::new(pb::ServerResponse {
            uuid: self.rooms.about.uuid.clone(),
            pid: std::process::id().into(),
            pidns: pidns.await?,
            deprecations: Vec::new(),
        }))
    }

    async fn plugin_info(&self, request: Request<pb::PluginInfoRequest>) -> Answer<pb::PluginInfoResponse> {
        let request = request.into_inner();
        let (kind, id) = (request.r#type, request.id);
        let mut all = plugins(&self.rooms).into_iter();
        let found = all.find(|plugin| plugin.r#type == kind && plugin.id == id);
        let found = found.ok_or_else(|| refuse(Error::not_found(format!("plugin {kind}.{id} not found"))))?;
        let extra = match request.options {
            Some(options) if found.r#type == RUNTIME => Some(runtime_info(&self.rooms, options).await.map_err(refuse)?),
            Some(_) => {
                let text = format!("plugin {kind}.{id} does not provide extra information");
                return Err(refuse(Error::new(ErrorKind::Unimplemented, text)));
            }
            None => None,
        };
        Ok(Response::new(pb::PluginInfoResponse {
            plugin: Some(found),
            extra,
        }))
    }
}
