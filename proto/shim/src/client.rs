//! A client of the task service in the version the shim speaks.

use crate::api;
use protobuf::{Message, well_known_types::empty::Empty};
use ttrpc::{r#async::Client, context::Context};

/// Metadata by which a call names its namespace.
const NAMESPACE: &str = "containerd-namespace-ttrpc";

/// Which name the task service bears; its messages are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskVersion {
    /// `containerd.task.v2.Task`: every shim up to containerd 1.7, and ours.
    V2,
    /// `containerd.task.v3.Task`: shims since containerd 2.0, and ours.
    V3,
}

impl TaskVersion {
    /// The full service name.
    pub fn service(self) -> &'static str {
        match self {
            Self::V2 => "containerd.task.v2.Task",
            Self::V3 => "containerd.task.v3.Task",
        }
    }
}

/// Calls the task service. Cheap to clone; calls may overlap. A deadline goes into the context
/// (`ttrpc::context::with_timeout(nanoseconds)`, 0 = none).
#[derive(Clone)]
pub struct TaskClient {
    client: Client,
    version: TaskVersion,
    namespace: String,
}

macro_rules! methods {
    ($($(#[$doc:meta])* $name:ident $wire:literal $request:ty => $response:ty;)*) => {
        $($(#[$doc])*
        pub async fn $name(&self, context: Context, request: &$request) -> ttrpc::Result<$response> {
            self.call($wire, context, request).await
        })*
    };
}

impl TaskClient {
    /// Speaks `version` over a connected client.
    pub fn new(client: Client, version: TaskVersion) -> Self {
        Self {
            client,
            version,
            namespace: String::new(),
        }
    }

    /// Names the containerd namespace in every call.
    pub fn in_namespace(mut self, namespace: &str) -> Self {
        self.namespace = namespace.to_owned();
        self
    }

    methods! {
        state "State" api::StateRequest => api::StateResponse;
        create "Create" api::CreateTaskRequest => api::CreateTaskResponse;
        start "Start" api::StartRequest => api::StartResponse;
        delete "Delete" api::DeleteRequest => api::DeleteResponse;
        pids "Pids" api::PidsRequest => api::PidsResponse;
        pause "Pause" api::PauseRequest => Empty;
        resume "Resume" api::ResumeRequest => Empty;
        checkpoint "Checkpoint" api::CheckpointTaskRequest => Empty;
        kill "Kill" api::KillRequest => Empty;
        exec "Exec" api::ExecProcessRequest => Empty;
        resize_pty "ResizePty" api::ResizePtyRequest => Empty;
        close_io "CloseIO" api::CloseIORequest => Empty;
        update "Update" api::UpdateTaskRequest => Empty;
        wait "Wait" api::WaitRequest => api::WaitResponse;
        stats "Stats" api::StatsRequest => api::StatsResponse;
        connect "Connect" api::ConnectRequest => api::ConnectResponse;
        shutdown "Shutdown" api::ShutdownRequest => Empty;
    }

    async fn call<Q: Message, A: Message>(&self, method: &str, mut context: Context, request: &Q) -> ttrpc::Result<A> {
        if !self.namespace.is_empty() {
            context.set(NAMESPACE.to_owned(), vec![self.namespace.clone()]);
        }
        let mut wire = ttrpc::Request::new();
        wire.service = self.version.service().to_owned();
        wire.method = method.to_owned();
        wire.timeout_nano = context.timeout_nano;
        wire.metadata = ttrpc::context::to_pb(context.metadata);
        wire.payload = request
            .write_to_bytes()
            .map_err(|err| ttrpc::Error::Others(format!("encoding {method}: {err}")))?;
        let reply = self.client.request(wire).await?;
        A::parse_from_bytes(&reply.payload).map_err(|err| ttrpc::Error::Others(format!("decoding {method}: {err}")))
    }
}
