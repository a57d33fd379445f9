//! What can fail in this room, named by the deed.

use gantry_core::error::io_kind;
use gantry_core::{Digest, ErrorKind};
use std::io;
use std::sync::Arc;

pub type Result<T, E = ImageError> = std::result::Result<T, E>;

#[derive(Debug, Clone, thiserror::Error)]
pub enum ImageError {
    /// A store below refused; its own words are the message.
    #[error(transparent)]
    Store(Arc<gantry_core::Error>),

    #[error("connect to registry {host}: {reason}")]
    Connect { host: String, reason: String },
    #[error("registry {host} sent nothing for {seconds} s while reading {what}")]
    Stalled { host: String, what: String, seconds: u64 },
    #[error("{reference} not found in its registry: {detail}")]
    Unknown { reference: String, detail: String },
    #[error("{deed} access denied for {reference}, repository does not exist or may require login: {detail}")]
    Denied {
        deed: &'static str,
        reference: String,
        detail: String,
    },
    #[error("registry {host} refused the credentials: {detail}")]
    Login { host: String, detail: String },
    #[error("registry {host} asks to come back later (too many requests): {detail}")]
    TooManyRequests { host: String, detail: String },
    #[error("registry {host} answered {status} for {what}: {detail}")]
    Status {
        host: String,
        what: String,
        status: u16,
        detail: String,
    },
    #[error("registry {host} sent a bad answer for {what}: {detail}")]
    BadAnswer { host: String, what: String, detail: String },
    #[error("registry settings: {detail}")]
    Settings { detail: String },

    #[error(
        "{what} is an image manifest of schema version 1, which is no longer supported: push the image again with a newer client"
    )]
    Schema1 { what: String },
    #[error("{what} has media type \"{media_type}\", which is not a known image manifest or index")]
    MediaType { what: String, media_type: String },
    #[error("parse {what}: {reason}")]
    Parse { what: String, reason: String },
    #[error("{what} is {got} bytes, more than the {limit} allowed")]
    TooLarge { what: String, got: u64, limit: u64 },
    #[error("{what} has digest {got}, expected {expected}")]
    WrongDigest {
        what: String,
        expected: Digest,
        got: Digest,
    },
    #[error("{what} is {got} bytes, expected {expected}")]
    WrongSize { what: String, expected: u64, got: u64 },
    #[error("no image for platform {wanted} in {what} (it has {have})")]
    NoPlatform { what: String, wanted: String, have: String },
    #[error("index {digest} contains itself")]
    CyclicIndex { digest: Digest },
    #[error("index {digest} is nested deeper than {limit} levels")]
    NestedIndex { digest: Digest, limit: usize },
    #[error("{what} is missing: {digest}")]
    MissingBlob { what: String, digest: Digest },
    #[error("config {config} names {diff_ids} layers but manifest {manifest} has {layers}")]
    LayerCount {
        config: Digest,
        diff_ids: usize,
        manifest: Digest,
        layers: usize,
    },
    #[error("layer {layer} unpacks to diffID {got}, but config says {expected}")]
    WrongDiffId {
        layer: Digest,
        expected: Digest,
        got: Digest,
    },

    #[error("layer entry \"{path}\" would leave the layer's root")]
    Escape { path: String },
    #[error("layer entry \"{path}\" {detail}")]
    BadEntry { path: String, detail: String },
    #[error("unpack \"{path}\": {doing}: {source}")]
    Entry {
        path: String,
        doing: &'static str,
        source: Arc<io::Error>,
    },
    #[error("unpack stopped at limit {limit} = {allowed}: raise it if the image is to be trusted")]
    Limit { limit: &'static str, allowed: u64 },
    #[error("malformed tar: {detail}")]
    BadTar { detail: String },
    #[error("truncated {what}")]
    Truncated { what: String },
    #[error("decompress ({format}): {source}")]
    Decompress {
        format: &'static str,
        source: Arc<io::Error>,
    },

    #[error("unrecognized archive: {detail}")]
    NotAnArchive { detail: String },
    #[error("archive: {detail}")]
    BadArchive { detail: String },
    #[error("image change \"{text}\": {detail}")]
    BadChange { text: String, detail: String },
    #[error("nothing to save: no image given")]
    NothingToSave,

    #[error("{doing}: {source}")]
    Io { doing: String, source: Arc<io::Error> },
    #[error("{doing} was cancelled")]
    Cancelled { doing: &'static str },
    #[error("{doing} ended without a result (a bug, please report it): {reason}")]
    Panicked { doing: &'static str, reason: String },
}

impl ImageError {
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Store(error) => error.kind(),
            Self::Connect { .. } | Self::TooManyRequests { .. } | Self::BadAnswer { .. } => ErrorKind::Unavailable,
            Self::Status { status, .. } if *status >= 500 => ErrorKind::Unavailable,
            Self::Status { .. } => ErrorKind::Unknown,
            Self::Stalled { .. } => ErrorKind::DeadlineExceeded,
            Self::Unknown { .. } | Self::NoPlatform { .. } => ErrorKind::NotFound,
            Self::MissingBlob { .. } => ErrorKind::NotFound,
            Self::Denied { .. } => ErrorKind::PermissionDenied,
            Self::Login { .. } => ErrorKind::Unauthenticated,
            Self::Settings { .. } | Self::BadChange { .. } | Self::NothingToSave => ErrorKind::InvalidArgument,
            Self::Schema1 { .. } | Self::MediaType { .. } => ErrorKind::Unimplemented,
            Self::Parse { .. } | Self::NotAnArchive { .. } | Self::BadArchive { .. } => ErrorKind::InvalidArgument,
            Self::CyclicIndex { .. } | Self::NestedIndex { .. } => ErrorKind::InvalidArgument,
            Self::Escape { .. } | Self::BadEntry { .. } | Self::BadTar { .. } => ErrorKind::InvalidArgument,
            Self::Truncated { .. } | Self::Decompress { .. } => ErrorKind::InvalidArgument,
            Self::TooLarge { .. } | Self::Limit { .. } => ErrorKind::ResourceExhausted,
            Self::WrongDigest { .. } | Self::WrongSize { .. } => ErrorKind::FailedPrecondition,
            Self::WrongDiffId { .. } | Self::LayerCount { .. } => ErrorKind::FailedPrecondition,
            Self::Entry { source, .. } | Self::Io { source, .. } => io_kind(source),
            Self::Cancelled { .. } => ErrorKind::Cancelled,
            Self::Panicked { .. } => ErrorKind::Internal,
        }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.kind() == ErrorKind::Cancelled
    }

    /// Whether the bytes themselves are to blame: then they are not worth keeping for resumption.
    pub(crate) fn blames_content(&self) -> bool {
        matches!(
            self,
            Self::Escape { .. }
                | Self::BadEntry { .. }
                | Self::BadTar { .. }
                | Self::Limit { .. }
                | Self::Truncated { .. }
                | Self::Decompress { .. }
                | Self::WrongDigest { .. }
        )
    }

    pub(crate) fn parse(what: impl Into<String>, reason: impl std::fmt::Display) -> Self {
        Self::Parse {
            what: what.into(),
            reason: reason.to_string(),
        }
    }

    /// An io error that may carry one of ours through a `Read` chain: ours is taken out again.
    pub(crate) fn from_io(error: io::Error, otherwise: impl FnOnce(io::Error) -> Self) -> Self {
        match error.downcast::<Self>() {
            Ok(ours) => ours,
            Err(error) => otherwise(error),
        }
    }

    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |error| {
            Self::from_io(error, |error| Self::Io {
                doing,
                source: Arc::new(error),
            })
        }
    }

    /// Ours, wrapped to pass through a `Read` or `Write`.
    pub(crate) fn into_io(self) -> io::Error {
        io::Error::other(self)
    }
}

impl From<gantry_core::Error> for ImageError {
    fn from(error: gantry_core::Error) -> Self {
        Self::Store(Arc::new(error))
    }
}

impl From<ImageError> for gantry_core::Error {
    fn from(error: ImageError) -> Self {
        match error {
            ImageError::Store(inner) => match Arc::try_unwrap(inner) {
                Ok(inner) => inner,
                Err(shared) => gantry_core::Error::new(shared.kind(), shared.message()),
            },
            other => gantry_core::Error::wrap(other.kind(), other),
        }
    }
}
