//! containerd.services.introspection.v1: which parts the daemon has, under the names by which clients look for them.

use crate::call::{Answer, blocking, refuse};
use crate::{Door, Rooms};
use gantry_core::filter::{self, Adaptor};
use gantry_core::snapshot::SnapshotService;
use gantry_core::{Error, ErrorKind};
use gantry_proto_containerd::services::introspection::v1 as pb;
use gantry_proto_containerd::types::Platform;
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
const METADATA: &str = "io.containerd.metadata.v1";
const RUNTIME: &str = "io.containerd.runtime.v2";
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
const DOORS: [&str; 16] = [
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

fn plugins(rooms: &Rooms) -> Vec<pb::Plugin> {
    let on_this = |kind: &str, id: &str| pb::Plugin {
        platforms: vec![platform()],
        ..plugin(kind, id)
    };
    let root = &rooms.about.root;
    let mut all = vec![pb::Plugin {
        exports: exporting("root", &root.join("content")),
        ..plugin(CONTENT, "content")
    }];
    for backend in rooms.snapshots.backends() {
        let name = backend.name();
        let rebase = rooms.snapshots.can_rebase(name).unwrap_or(false);
        all.push(pb::Plugin {
            exports: exporting("root", &root.join("snapshotters").join(name)),
            capabilities: rebase.then(|| "rebase".to_owned()).into_iter().collect(),
            ..on_this(SNAPSHOTTER, name)
        });
    }
    all.push(on_this(DIFF, "walking"));
    all.push(plugin(METADATA, "rocksdb"));
    all.push(plugin(EVENT, "exchange"));
    all.push(plugin(GC, "scheduler"));
    all.push(plugin(SANDBOX_STORE, "local"));
    all.push(plugin(STREAMING, "manager"));
    all.push(plugin(TRANSFER, "local"));
    all.extend(SERVICES.map(|id| plugin(SERVICE, id)));
    all.push(on_this(RUNTIME, "task"));
    all.extend(DOORS.map(|id| plugin(GRPC, id)));
    all.push(pb::Plugin {
        exports: exporting("path", &root.join("opt")),
        ..plugin(INTERNAL, "opt")
    });
    all
}

#[tonic::async_trait]
impl pb::introspection_server::Introspection for Door {
    async fn plugins(&self, request: Request<pb::PluginsRequest>) -> Answer<pb::PluginsResponse> {
        let filter = filter::parse_all(&request.get_ref().filters).map_err(refuse)?;
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
        if request.options.is_some() {
            let text = "plugin does not provided extra information";
            return Err(refuse(Error::new(ErrorKind::Unimplemented, text)));
        }
        Ok(Response::new(pb::PluginInfoResponse {
            plugin: Some(found),
            extra: None,
        }))
    }
}
