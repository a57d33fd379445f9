//! What may go wrong in a shim, and how it is told over ttrpc.

use gantry_proto_shim::{extras, protobuf::Message, ttrpc};
use serde::{Deserialize, Serialize};
use std::fmt::Display;

/// What sort of failure, as far as a caller may care.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    Runtime,
    CommandNotFound,
    CommandNotExecutable,
    Hook,
    Mount,
    Aborted,
    Spec,
    /// The rest are states of the shim and travel as ttrpc codes alone.
    NotFound,
    Exists,
    Precondition,
    Invalid,
    Unsupported,
}

/// A failure: its sort and its words. Crosses the pipe from a forked child as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub kind: Kind,
    pub message: String,
    /// What containerd's own shim says of it; see [`crate::peer`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
}

pub type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            peer: None,
        }
    }

    /// With the words that containerd's own shim has for it.
    pub fn with_peer(self, words: impl Into<String>) -> Self {
        Self {
            peer: Some(words.into()),
            ..self
        }
    }

    /// As clients of containerd are to hear it: in the words, and with the code, of containerd's own shim.
    pub fn for_clients(self) -> Self {
        let Some(words) = self.peer else { return self };
        let kind = match self.kind {
            Kind::NotFound | Kind::Exists => self.kind,
            // Whatever it does not name it does not tell apart.
            Kind::Runtime
            | Kind::CommandNotFound
            | Kind::CommandNotExecutable
            | Kind::Hook
            | Kind::Mount
            | Kind::Aborted
            | Kind::Spec
            | Kind::Precondition
            | Kind::Invalid
            | Kind::Unsupported => Kind::Runtime,
        };
        Self::new(kind, words)
    }

    /// No such container or exec.
    pub fn not_found(what: &str, id: &str) -> Self {
        Self::new(Kind::NotFound, format!("{what} {id} not found"))
    }

    /// A signal came after the end. containerd's clients know these words.
    pub fn finished() -> Self {
        Self::new(Kind::NotFound, "process already finished")
    }

    /// Not in this state.
    pub fn precondition(message: impl Into<String>) -> Self {
        Self::new(Kind::Precondition, message)
    }

    /// The exit code that belongs to a command that could not be run.
    pub fn exit_code(&self) -> u32 {
        match self.kind {
            Kind::CommandNotFound => 127,
            Kind::CommandNotExecutable => 126,
            _ => 128,
        }
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// `failed(Kind::Mount, "mounting rootfs")` turns an error into a failure that says what was tried.
pub fn failed<E: Display>(kind: Kind, deed: impl Display) -> impl FnOnce(E) -> Failure {
    move |err| Failure::new(kind, format!("{deed}: {err}"))
}

impl From<Failure> for ttrpc::Error {
    fn from(failure: Failure) -> Self {
        use extras::failure::Kind as Wire;
        use ttrpc::Code;
        let (code, wire) = match failure.kind {
            Kind::Runtime => (Code::UNKNOWN, Some(Wire::RUNTIME)),
            Kind::CommandNotFound => (Code::UNKNOWN, Some(Wire::COMMAND_NOT_FOUND)),
            Kind::CommandNotExecutable => (Code::UNKNOWN, Some(Wire::COMMAND_NOT_EXECUTABLE)),
            Kind::Hook => (Code::UNKNOWN, Some(Wire::HOOK)),
            Kind::Mount => (Code::UNKNOWN, Some(Wire::MOUNT)),
            Kind::Aborted => (Code::ABORTED, Some(Wire::ABORTED)),
            Kind::Spec => (Code::INVALID_ARGUMENT, Some(Wire::SPEC)),
            Kind::NotFound => (Code::NOT_FOUND, None),
            Kind::Exists => (Code::ALREADY_EXISTS, None),
            Kind::Precondition => (Code::FAILED_PRECONDITION, None),
            Kind::Invalid => (Code::INVALID_ARGUMENT, None),
            Kind::Unsupported => (Code::UNIMPLEMENTED, None),
        };
        let mut status = ttrpc::get_status(code, failure.message);
        if let Some(wire) = wire {
            let detail = extras::Failure {
                kind: wire.into(),
                ..Default::default()
            };
            let value = detail.write_to_bytes().unwrap_or_default();
            let type_url = gantry_proto_shim::FAILURE_TYPE.to_owned();
            status.details.push(ttrpc::proto::Any {
                type_url,
                value,
                ..Default::default()
            });
        }
        Self::RpcStatus(status)
    }
}
