//! What can go wrong between the daemon and a shim, and what each means to a caller.

use gantry_core::{Error, ErrorKind};
use gantry_proto_shim::extras::failure::Kind as Told;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

pub type Result<T, E = TaskError> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    #[error("find the shim program {program}: install it beside gantryd or on PATH")]
    FindShim { program: String },
    #[error("make bundle {}", path.display())]
    MakeBundle {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("remove bundle {}", path.display())]
    RemoveBundle {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("list bundles in {}", path.display())]
    ListBundles {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("run shim {} for {id}", program.display())]
    SpawnShim {
        program: PathBuf,
        id: String,
        #[source]
        source: io::Error,
    },
    #[error("shim for {id} did not start (exit status {status}): {said}")]
    ShimRefused { id: String, status: i32, said: String },
    #[error("shim for {id} gave no address within {} s: {said}", after.as_secs())]
    ShimSilent { id: String, after: Duration, said: String },
    #[error("shim for {id}")]
    ShimReply {
        id: String,
        #[source]
        source: gantry_shim_protocol::BootstrapError,
    },
    #[error("shim for {id} speaks {protocol} at {address}, which is not served")]
    ShimSpeaks {
        id: String,
        protocol: String,
        address: String,
    },
    #[error("connect to shim of {id} at {address}")]
    Connect {
        id: String,
        address: String,
        #[source]
        source: io::Error,
    },
    /// The shim answered with an error.
    #[error("{deed} {id}: {message}")]
    Refused {
        deed: &'static str,
        id: String,
        kind: ErrorKind,
        message: String,
    },
    /// The shim could not bring a process to life. The words are for whoever asked for it; callers add what they call it.
    #[error("{message}")]
    NotStarted {
        deed: &'static str,
        id: String,
        kind: ErrorKind,
        message: String,
    },
    /// The connection to the shim is gone, and with it, most likely, the shim.
    #[error("{deed} {id}: the connection to its shim is closed: {cause}")]
    Lost {
        deed: &'static str,
        id: String,
        cause: String,
    },
    #[error("{deed} {id}: no answer from its shim within {} s", after.as_secs())]
    Late {
        deed: &'static str,
        id: String,
        after: Duration,
    },
    /// What the shim answered makes no sense.
    #[error("{deed} {id}: {message}")]
    Answer {
        deed: &'static str,
        id: String,
        message: String,
    },
    #[error("read {}", path.display())]
    ReadRecord {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("decode {}", path.display())]
    DecodeRecord {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("signal process {pid}")]
    Signal {
        pid: u32,
        #[source]
        source: io::Error,
    },
    #[error("processes of {id} are still alive after {} s of killing them: {pids:?}", after.as_secs())]
    StillAlive {
        id: String,
        after: Duration,
        pids: Vec<u32>,
    },
    #[error("read cgroup mounts")]
    CgroupMounts {
        #[source]
        source: io::Error,
    },
    #[error("cgroup path {path:?} does not name a container's own cgroup")]
    CgroupPath { path: String },
    #[error("remove cgroup {}", path.display())]
    RemoveCgroup {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("unmount {}", path.display())]
    Unmount {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("read log {}", path.display())]
    ReadLog {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("list processes with ps: {message}")]
    Ps { message: String },
    #[error("ps arguments: {message}")]
    PsArguments { message: String },
    #[error("attach to {id} at {}", path.display())]
    Attach {
        id: String,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("attach to {id}: {message}")]
    AttachRefused {
        id: String,
        kind: ErrorKind,
        message: String,
    },
    #[error("attach to {id}: {message}")]
    AttachWire { id: String, message: String },
    #[error("{deed} descriptors kept by the shim of {id}")]
    Descriptors {
        deed: &'static str,
        id: String,
        #[source]
        source: io::Error,
    },
    #[error("{deed} descriptors kept by the shim of {id}: {message}")]
    DescriptorsRefused {
        deed: &'static str,
        id: String,
        kind: ErrorKind,
        message: String,
    },
    /// A blocking step was dropped half way: the runtime is shutting down.
    #[error("{deed}: the daemon is stopping")]
    Stopping { deed: &'static str },
}

impl TaskError {
    pub fn kind(&self) -> ErrorKind {
        use gantry_core::error::io_kind;
        match self {
            Self::FindShim { .. } => ErrorKind::FailedPrecondition,
            Self::MakeBundle { source, .. }
            | Self::RemoveBundle { source, .. }
            | Self::ListBundles { source, .. }
            | Self::ReadRecord { source, .. }
            | Self::ReadLog { source, .. } => io_kind(source),
            Self::SpawnShim { .. }
            | Self::ShimRefused { .. }
            | Self::ShimReply { .. }
            | Self::Answer { .. }
            | Self::Signal { .. }
            | Self::CgroupMounts { .. }
            | Self::RemoveCgroup { .. }
            | Self::Unmount { .. }
            | Self::Ps { .. }
            | Self::AttachWire { .. }
            | Self::Descriptors { .. } => ErrorKind::Internal,
            Self::ShimSpeaks { .. } => ErrorKind::Unimplemented,
            Self::Connect { .. } | Self::Lost { .. } | Self::Attach { .. } | Self::Stopping { .. } => {
                ErrorKind::Unavailable
            }
            Self::ShimSilent { .. } | Self::Late { .. } | Self::StillAlive { .. } => ErrorKind::DeadlineExceeded,
            Self::Refused { kind, .. }
            | Self::NotStarted { kind, .. }
            | Self::AttachRefused { kind, .. }
            | Self::DescriptorsRefused { kind, .. } => *kind,
            Self::DecodeRecord { .. } => ErrorKind::DataLoss,
            Self::CgroupPath { .. } | Self::PsArguments { .. } => ErrorKind::InvalidArgument,
        }
    }

    /// The shim cannot be reached any more: what became of its container must be looked up ([`crate::Shims::reconnect`]).
    pub fn is_lost(&self) -> bool {
        matches!(self, Self::Lost { .. } | Self::Connect { .. })
    }

    /// Nobody listens at the shim's address. Anything else that keeps from connecting says nothing of the shim.
    pub(crate) fn is_nobody(&self) -> bool {
        let nobody = [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused];
        matches!(self, Self::Connect { source, .. } if nobody.contains(&source.kind()))
    }

    /// What a failed call to a shim means. `starting`: the call was to bring a process to life, so that the text may tell why not.
    pub(crate) fn from_call(deed: &'static str, id: &str, starting: bool, error: ttrpc::Error) -> Self {
        let id = id.to_owned();
        let told = gantry_proto_shim::failure_kind(&error);
        match error {
            ttrpc::Error::RpcStatus(status) => {
                let read = || starting.then(|| start_failure(&status.message)).flatten();
                let kind = match told {
                    // A runtime program's failure, or a foreign shim's: only its words tell.
                    None | Some(Told::RUNTIME) => read().unwrap_or_else(|| kind_of_code(status.code())),
                    Some(told) => kind_of_failure(told),
                };
                let message = status.message;
                if starting {
                    Self::NotStarted {
                        deed,
                        id,
                        kind,
                        message,
                    }
                } else {
                    Self::Refused {
                        deed,
                        id,
                        kind,
                        message,
                    }
                }
            }
            // The client says all else about a broken connection in several ways; none of them is an answer of the shim.
            other => Self::Lost {
                deed,
                id,
                cause: other.to_string(),
            },
        }
    }
}

impl From<TaskError> for Error {
    fn from(error: TaskError) -> Self {
        Error::wrap(error.kind(), error)
    }
}

/// What a gantry shim says in so many words.
fn kind_of_failure(told: Told) -> ErrorKind {
    match told {
        Told::RUNTIME | Told::HOOK | Told::MOUNT => ErrorKind::Internal,
        Told::COMMAND_NOT_FOUND => ErrorKind::CommandNotFound,
        Told::COMMAND_NOT_EXECUTABLE => ErrorKind::CommandNotExecutable,
        Told::ABORTED => ErrorKind::Aborted,
        Told::SPEC => ErrorKind::InvalidArgument,
    }
}

/// ttrpc's codes are gRPC's.
fn kind_of_code(code: ttrpc::Code) -> ErrorKind {
    use ttrpc::Code;
    match code {
        Code::OK | Code::UNKNOWN => ErrorKind::Unknown,
        Code::CANCELLED => ErrorKind::Cancelled,
        Code::INVALID_ARGUMENT => ErrorKind::InvalidArgument,
        Code::DEADLINE_EXCEEDED => ErrorKind::DeadlineExceeded,
        Code::NOT_FOUND => ErrorKind::NotFound,
        Code::ALREADY_EXISTS => ErrorKind::AlreadyExists,
        Code::PERMISSION_DENIED => ErrorKind::PermissionDenied,
        Code::UNAUTHENTICATED => ErrorKind::Unauthenticated,
        Code::RESOURCE_EXHAUSTED => ErrorKind::ResourceExhausted,
        Code::FAILED_PRECONDITION => ErrorKind::FailedPrecondition,
        Code::ABORTED => ErrorKind::Aborted,
        Code::OUT_OF_RANGE => ErrorKind::OutOfRange,
        Code::UNIMPLEMENTED => ErrorKind::Unimplemented,
        Code::INTERNAL => ErrorKind::Internal,
        Code::UNAVAILABLE => ErrorKind::Unavailable,
        Code::DATA_LOSS => ErrorKind::DataLoss,
    }
}

/// Whether a runtime could not run the command, by its words: a runtime program has no other way to tell. The only place where a text
/// decides; samples of each program are in the test.
fn start_failure(text: &str) -> Option<ErrorKind> {
    const NOT_FOUND: [&str; 2] = ["executable file not found", "no such file or directory"];
    const NOT_EXECUTABLE: [&str; 4] = [
        "permission denied",
        "is a directory",
        "exec format error",
        "not a directory",
    ];
    let lower = text.to_ascii_lowercase();
    if lower.contains(NOT_FOUND[0]) {
        return Some(ErrorKind::CommandNotFound);
    }
    // Only what is said about the exec itself: a mount may lack a file, too.
    let about = lower.rfind("exec: ").or_else(|| lower.rfind("exec /"))?;
    let said = &lower[about..];
    if NOT_FOUND.iter().any(|words| said.contains(words)) {
        return Some(ErrorKind::CommandNotFound);
    }
    NOT_EXECUTABLE
        .iter()
        .any(|words| said.contains(words))
        .then_some(ErrorKind::CommandNotExecutable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtimes_words_for_a_command_that_cannot_run() {
        let samples = [
            // gantry's shim
            (
                r#"exec: "nosuch": executable file not found in $PATH"#,
                Some(ErrorKind::CommandNotFound),
            ),
            (
                r#"exec: "/etc/passwd": permission denied"#,
                Some(ErrorKind::CommandNotExecutable),
            ),
            // runc 1.1
            (
                r#"runc create failed: unable to start container process: exec: "nosuch": executable file not found in $PATH"#,
                Some(ErrorKind::CommandNotFound),
            ),
            (
                r#"runc create failed: unable to start container process: exec: "/nosuch": stat /nosuch: no such file or directory"#,
                Some(ErrorKind::CommandNotFound),
            ),
            (
                r#"runc create failed: unable to start container process: exec: "/etc": is a directory"#,
                Some(ErrorKind::CommandNotExecutable),
            ),
            (
                "exec /bin/text: exec format error",
                Some(ErrorKind::CommandNotExecutable),
            ),
            // Not about the command.
            ("error mounting \"/nosuch\" to rootfs: no such file or directory", None),
            ("container is paused", None),
        ];
        for (text, kind) in samples {
            assert_eq!(start_failure(text), kind, "{text}");
        }
    }

    #[test]
    fn a_status_keeps_its_code_and_a_broken_line_is_unavailable() {
        let status = ttrpc::Error::RpcStatus(ttrpc::get_status(ttrpc::Code::NOT_FOUND, "no such process"));
        let error = TaskError::from_call("kill", "c1", false, status);
        assert_eq!((error.kind(), error.is_lost()), (ErrorKind::NotFound, false));
        assert_eq!(error.to_string(), "kill c1: no such process");
        let status = ttrpc::Error::RpcStatus(ttrpc::get_status(
            ttrpc::Code::UNKNOWN,
            "exec: \"x\": permission denied",
        ));
        let error = TaskError::from_call("create", "c1", true, status);
        assert_eq!(error.kind(), ErrorKind::CommandNotExecutable);
        assert_eq!(error.to_string(), "exec: \"x\": permission denied");
        let error = TaskError::from_call("kill", "c1", false, ttrpc::Error::RemoteClosed);
        assert_eq!((error.kind(), error.is_lost()), (ErrorKind::Unavailable, true));
    }
}
