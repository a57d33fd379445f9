//! Clients of containerd's API against a daemon's socket.

use gantry_proto_containerd::{MAX_MESSAGE, grpc, services};
use hyper_util::rt::TokioIo;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{GrpcMethod, Request, Status};

/// What clients are made over.
pub type Service = InterceptedService<Channel, Caller>;

/// One connection. It remembers which methods were called on it.
#[derive(Clone)]
pub struct Connection {
    channel: Channel,
    heard: Arc<Mutex<BTreeSet<String>>>,
}

/// Who calls: in which namespace, under which lease.
#[derive(Clone)]
pub struct Caller {
    connection: Connection,
    namespace: Option<MetadataValue<Ascii>>,
    lease: Option<MetadataValue<Ascii>>,
}

impl Connection {
    pub async fn dial(socket: &Path) -> Self {
        let socket = socket.to_owned();
        let connector = tower::service_fn(move |_: Uri| {
            let socket = socket.clone();
            async move { tokio::net::UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        let endpoint = Endpoint::from_static("http://gantry");
        Self {
            channel: endpoint
                .connect_with_connector(connector)
                .await
                .expect("the daemon answers"),
            heard: Arc::default(),
        }
    }

    /// Without a namespace.
    pub fn anybody(&self) -> Caller {
        Caller {
            connection: self.clone(),
            namespace: None,
            lease: None,
        }
    }

    /// In this namespace, which may be a bad one.
    pub fn of(&self, namespace: &str) -> Caller {
        Caller {
            namespace: Some(namespace.parse().expect("it fits into a header")),
            ..self.anybody()
        }
    }

    /// The methods called since this was asked last, as `package.Service/Method`.
    pub fn heard(&self) -> BTreeSet<String> {
        std::mem::take(&mut *self.heard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// For a call that no generated client makes.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    pub fn remember(&self, method: String) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.insert(method);
    }
}

impl Interceptor for Caller {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(method) = request.extensions().get::<GrpcMethod<'_>>() {
            let name = format!("{}/{}", method.service(), method.method());
            self.connection.remember(name);
        }
        let metadata = request.metadata_mut();
        for (key, value) in [
            ("containerd-namespace", &self.namespace),
            ("containerd-lease", &self.lease),
        ] {
            if let Some(value) = value {
                metadata.insert(key, value.clone());
            }
        }
        Ok(request)
    }
}

macro_rules! clients {
    ($($name:ident: $path:path;)*) => {
        impl Caller {
            $(pub fn $name(&self) -> $path {
                <$path>::new(self.service())
                    .max_decoding_message_size(MAX_MESSAGE)
                    .max_encoding_message_size(MAX_MESSAGE)
            })*
        }
    };
}

clients! {
    containers: services::containers::v1::containers_client::ContainersClient<Service>;
    content: services::content::v1::content_client::ContentClient<Service>;
    controller: services::sandbox::v1::controller_client::ControllerClient<Service>;
    diff: services::diff::v1::diff_client::DiffClient<Service>;
    events: services::events::v1::events_client::EventsClient<Service>;
    health: grpc::health::v1::health_client::HealthClient<Service>;
    images: services::images::v1::images_client::ImagesClient<Service>;
    introspection: services::introspection::v1::introspection_client::IntrospectionClient<Service>;
    leases: services::leases::v1::leases_client::LeasesClient<Service>;
    mounts: services::mounts::v1::mounts_client::MountsClient<Service>;
    namespaces: services::namespaces::v1::namespaces_client::NamespacesClient<Service>;
    sandboxes: services::sandbox::v1::store_client::StoreClient<Service>;
    snapshots: services::snapshots::v1::snapshots_client::SnapshotsClient<Service>;
    streaming: services::streaming::v1::streaming_client::StreamingClient<Service>;
    tasks: services::tasks::v1::tasks_client::TasksClient<Service>;
    transfer: services::transfer::v1::transfer_client::TransferClient<Service>;
    version: services::version::v1::version_client::VersionClient<Service>;
}

impl Caller {
    /// The same caller, whose calls are held by a lease.
    #[must_use]
    pub fn under(&self, lease: &str) -> Self {
        Self {
            lease: Some(lease.parse().expect("it fits into a header")),
            ..self.clone()
        }
    }

    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    fn service(&self) -> Service {
        InterceptedService::new(self.connection.channel(), self.clone())
    }
}
