//! The door of containerd's API: what `ctr`, `nerdctl`, BuildKit, and `dockerd --containerd` speak.
//!
//! It translates: a wire type comes in, a use case is called (of the engine, or of a store where the store's trait is the use case), a
//! wire type goes out. It holds no rule of its own, and no
//! state but the streams that clients have opened for a call to come.
//!
//! The flow: one module per service; [`call`] reads what comes with every call and wraps every failure, [`mask`] reads
//! which part of a record an update speaks of; filters are `gantry_core::filter`'s.

mod activations;
mod any;
mod call;
mod containers;
mod content;
mod controller;
mod descriptors;
mod diff;
mod events;
mod forward;
mod happening;
mod health;
mod identifier;
mod images;
mod introspection;
mod leases;
mod mask;
mod mounts;
mod namespaces;
mod page;
mod sandboxes;
mod snapshots;
mod streams;
mod tasks;
mod transfer;
mod version;

use gantry_engine::Engine;
use gantry_proto_containerd::{MAX_MESSAGE, services};
use gantry_store::{Background, BlobStore, Collector, Leases, SnapshotStore};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use tonic::service::RoutesBuilder;

/// Names of the services, for the health service.
pub const SERVICES: [&str; 17] = [
    "containerd.services.containers.v1.Containers",
    "containerd.services.content.v1.Content",
    "containerd.services.diff.v1.Diff",
    "containerd.services.events.v1.Events",
    "containerd.services.images.v1.Images",
    "containerd.services.introspection.v1.Introspection",
    "containerd.services.leases.v1.Leases",
    "containerd.services.mounts.v1.Mounts",
    "containerd.services.namespaces.v1.Namespaces",
    "containerd.services.sandbox.v1.Controller",
    "containerd.services.sandbox.v1.Store",
    "containerd.services.snapshots.v1.Snapshots",
    "containerd.services.streaming.v1.Streaming",
    "containerd.services.tasks.v1.Tasks",
    "containerd.services.transfer.v1.Transfer",
    "containerd.services.version.v1.Version",
    // The daemon as a whole, which Go's clients ask for.
    "",
];

pub use forward::serve as serve_shims;
pub use health::health;
pub use introspection::{platform_text, plugin_names};

/// What the services work with; gantryd makes these.
#[derive(Clone)]
pub struct Rooms {
    pub engine: Engine,
    pub content: Arc<BlobStore>,
    pub snapshots: Arc<SnapshotStore>,
    pub leases: Arc<Leases>,
    pub collector: Arc<Collector>,
    /// Collects soon after something was deleted.
    pub background: Arc<Background>,
    pub about: About,
}

/// What the daemon says of itself.
#[derive(Debug, Clone)]
pub struct About {
    pub version: String,
    pub revision: String,
    /// Names this data root's daemon among all others.
    pub uuid: String,
    /// The data root.
    pub root: PathBuf,
    /// Where clients install programs.
    pub opt: PathBuf,
    /// On which tasks run, as `linux/amd64`; empty = this machine's.
    pub platforms: Vec<String>,
    /// What the configuration says of snapshotters that are services outside, by name.
    pub outside: BTreeMap<String, Outside>,
    /// Whether clients' tasks are kept running as their containers' labels say.
    pub tends: bool,
    pub messages: Messages,
}

/// A snapshots service outside, as it is shown.
#[derive(Debug, Clone)]
pub struct Outside {
    /// Path of its socket.
    pub address: String,
    pub platform: Option<String>,
    pub exports: BTreeMap<String, String>,
    pub capabilities: Vec<String>,
}

/// Bytes of the largest message.
#[derive(Debug, Clone, Copy)]
pub struct Messages {
    pub taken: usize,
    pub sent: usize,
}

impl Default for Messages {
    fn default() -> Self {
        Self {
            taken: MAX_MESSAGE,
            sent: MAX_MESSAGE,
        }
    }
}

/// The services' common state: the rooms, and the streams that wait to be used.
#[derive(Clone)]
struct Door {
    rooms: Arc<Rooms>,
    streams: streams::Streams,
}

/// Adds the services to a server.
pub fn add_services(rooms: Rooms, routes: &mut RoutesBuilder) {
    let Messages { taken, sent } = rooms.about.messages;
    let door = Door {
        rooms: Arc::new(rooms),
        streams: streams::Streams::default(),
    };
    macro_rules! add {
        ($($path:ident :: $module:ident :: $server:ident),* $(,)?) => {
            $(routes.add_service(
                services::$path::v1::$module::$server::new(door.clone())
                    .max_decoding_message_size(taken)
                    .max_encoding_message_size(sent),
            );)*
        };
    }
    add!(
        containers::containers_server::ContainersServer,
        content::content_server::ContentServer,
        diff::diff_server::DiffServer,
        events::events_server::EventsServer,
        images::images_server::ImagesServer,
        introspection::introspection_server::IntrospectionServer,
        leases::leases_server::LeasesServer,
        mounts::mounts_server::MountsServer,
        namespaces::namespaces_server::NamespacesServer,
        sandbox::controller_server::ControllerServer,
        sandbox::store_server::StoreServer,
        snapshots::snapshots_server::SnapshotsServer,
        streaming::streaming_server::StreamingServer,
        tasks::tasks_server::TasksServer,
        transfer::transfer_server::TransferServer,
        version::version_server::VersionServer,
    );
}
