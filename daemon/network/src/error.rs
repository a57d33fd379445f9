//! What can go wrong with networks.

use gantry_core::ErrorKind;
use gantry_core::error::io_kind;
use std::io;
use std::path::PathBuf;

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The caller asked for what cannot be.
    #[error("{0}")]
    Asked(gantry_core::Error),
    #[error("open a netlink socket: {0}")]
    NetlinkSocket(#[source] io::Error),
    /// The kernel refused a deed; `deed` says what and on what (`add bridge gantry0`).
    #[error("{deed}: {source}")]
    Kernel { deed: String, source: io::Error },
    #[error("{deed}: the kernel's answer cannot be read: {reason}")]
    Answer { deed: String, reason: String },
    #[error("{deed} network namespace {}: {source}", path.display())]
    Namespace {
        deed: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("{what}: {source}")]
    File { what: String, source: io::Error },
    /// A program that was run (nft, iptables, a CNI plugin) failed.
    #[error("{program}: {output}")]
    Program { program: String, output: String },
    /// etcd refused, or is not there.
    #[error("{deed}: {}", source.message())]
    Cluster { deed: String, source: Box<tonic::Status> },
    #[error("a record of the cluster store cannot be read or written: {0}")]
    ClusterRecord(String),
    #[error("the settings of the cluster store: {0}")]
    ClusterSettings(String),
    #[error("{0}")]
    Unsupported(String),
    #[error("{what} took more than {seconds} s")]
    TooSlow { what: String, seconds: u64 },
}

impl Error {
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Asked(error) => error.kind(),
            Self::NetlinkSocket(source) | Self::Kernel { source, .. } => io_kind(source),
            Self::Namespace { source, .. } | Self::File { source, .. } => io_kind(source),
            Self::Answer { .. } | Self::Program { .. } => ErrorKind::Internal,
            Self::Cluster { source, .. } => cluster_kind(source),
            Self::ClusterRecord(_) => ErrorKind::Internal,
            Self::ClusterSettings(_) => ErrorKind::InvalidArgument,
            Self::Unsupported(_) => ErrorKind::Unimplemented,
            Self::TooSlow { .. } => ErrorKind::DeadlineExceeded,
        }
    }
}

impl From<gantry_core::Error> for Error {
    fn from(error: gantry_core::Error) -> Self {
        Self::Asked(error)
    }
}

impl From<Error> for gantry_core::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Asked(error) => error,
            other => gantry_core::Error::wrap(other.kind(), other),
        }
    }
}

/// An etcd that is away comes back; one that refuses us does not change its mind.
fn cluster_kind(status: &tonic::Status) -> ErrorKind {
    use tonic::Code;
    match status.code() {
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown => ErrorKind::Unavailable,
        Code::Unauthenticated => ErrorKind::Unauthenticated,
        Code::PermissionDenied => ErrorKind::PermissionDenied,
        Code::ResourceExhausted => ErrorKind::ResourceExhausted,
        // What we ask is ours to know.
        Code::Ok
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Internal
        | Code::DataLoss => ErrorKind::Internal,
    }
}
