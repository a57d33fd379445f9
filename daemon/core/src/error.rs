//! The one table of error kinds: what a failure means to a gRPC caller, to an HTTP caller and to a shell.

use std::error::Error as StdError;
use std::fmt;

/// What went wrong, in the classes that callers act on.
///
/// gRPC codes are those of `google.rpc.Code`; HTTP statuses those of the Docker Engine API; exit codes those of the
/// `docker` command (125 daemon error, 126 cannot be invoked, 127 not found).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    InvalidArgument,
    NotFound,
    AlreadyExists,
    /// The state of the thing forbids it (a running container cannot be removed).
    Conflict,
    FailedPrecondition,
    NotModified,
    PermissionDenied,
    Unauthenticated,
    ResourceExhausted,
    Aborted,
    OutOfRange,
    Unimplemented,
    Internal,
    Unavailable,
    DataLoss,
    DeadlineExceeded,
    Cancelled,
    Unknown,
    /// The command of a container or exec was not found in it.
    CommandNotFound,
    /// The command of a container or exec is there but cannot be executed.
    CommandNotExecutable,
}

/// One row of the table.
struct Row {
    grpc: i32,
    http: u16,
    exit: u8,
    word: &'static str,
}

impl ErrorKind {
    /// Every kind, for tests that walk the table.
    pub const ALL: [ErrorKind; 20] = [
        Self::InvalidArgument,
        Self::NotFound,
        Self::AlreadyExists,
        Self::Conflict,
        Self::FailedPrecondition,
        Self::NotModified,
        Self::PermissionDenied,
        Self::Unauthenticated,
        Self::ResourceExhausted,
        Self::Aborted,
        Self::OutOfRange,
        Self::Unimplemented,
        Self::Internal,
        Self::Unavailable,
        Self::DataLoss,
        Self::DeadlineExceeded,
        Self::Cancelled,
        Self::Unknown,
        Self::CommandNotFound,
        Self::CommandNotExecutable,
    ];

    fn row(self) -> Row {
        let (grpc, http, exit, word) = match self {
            Self::Cancelled => (1, 500, 125, "cancelled"),
            Self::Unknown => (2, 500, 125, "unknown"),
            Self::InvalidArgument => (3, 400, 125, "invalid-argument"),
            Self::DeadlineExceeded => (4, 500, 125, "deadline-exceeded"),
            Self::NotFound => (5, 404, 125, "not-found"),
            Self::AlreadyExists => (6, 409, 125, "already-exists"),
            Self::PermissionDenied => (7, 403, 125, "permission-denied"),
            Self::ResourceExhausted => (8, 500, 125, "resource-exhausted"),
            Self::FailedPrecondition => (9, 500, 125, "failed-precondition"),
            Self::Conflict => (9, 409, 125, "conflict"),
            Self::NotModified => (9, 304, 0, "not-modified"),
            Self::CommandNotFound => (3, 400, 127, "command-not-found"),
            Self::CommandNotExecutable => (3, 400, 126, "command-not-executable"),
            Self::Aborted => (10, 500, 125, "aborted"),
            Self::OutOfRange => (11, 400, 125, "out-of-range"),
            Self::Unimplemented => (12, 501, 125, "unimplemented"),
            Self::Internal => (13, 500, 125, "internal"),
            Self::Unavailable => (14, 503, 125, "unavailable"),
            Self::DataLoss => (15, 500, 125, "data-loss"),
            Self::Unauthenticated => (16, 401, 125, "unauthenticated"),
        };
        Row { grpc, http, exit, word }
    }

    /// `google.rpc.Code` number.
    pub fn grpc_code(self) -> i32 {
        self.row().grpc
    }

    /// HTTP status of the Docker Engine API.
    pub fn http_status(self) -> u16 {
        self.row().http
    }

    /// Exit code of the command tool.
    pub fn exit_code(self) -> u8 {
        self.row().exit
    }

    /// Stable word for logs and for the `gantry-error-kind` metadata, by which a client tells kinds that share a code.
    pub fn word(self) -> &'static str {
        self.row().word
    }

    /// Whether the daemon itself failed, which its log tells; anything else the caller can mend or wait for.
    pub fn is_fault(self) -> bool {
        match self {
            Self::Internal | Self::DataLoss | Self::Unknown => true,
            Self::InvalidArgument
            | Self::NotFound
            | Self::AlreadyExists
            | Self::Conflict
            | Self::FailedPrecondition
            | Self::NotModified
            | Self::PermissionDenied
            | Self::Unauthenticated
            | Self::ResourceExhausted
            | Self::Aborted
            | Self::OutOfRange
            | Self::Unimplemented
            | Self::Unavailable
            | Self::DeadlineExceeded
            | Self::Cancelled
            | Self::CommandNotFound
            | Self::CommandNotExecutable => false,
        }
    }

    /// The kind that [`ErrorKind::word`] names.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

/// The error that crosses rooms: a kind, a sentence naming the thing, and what caused it.
///
/// Each room has an enum of its own and turns it into this at its border.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    /// Wraps an error whose own text is the message; its sources stay reachable.
    pub fn wrap(kind: ErrorKind, source: impl StdError + Send + Sync + 'static) -> Self {
        Self {
            kind,
            message: chain(&source),
            source: Some(Box::new(source)),
        }
    }

    /// Puts what was tried in front of the message.
    pub fn context(mut self, what: impl fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    pub fn message(&self) -> &str {
        &self.message
    }

    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidArgument, message)
    }

    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    pub fn exists(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::AlreadyExists, message)
    }

    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Conflict, message)
    }

    pub fn precondition(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::FailedPrecondition, message)
    }

    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }
}

/// An error and its causes in one line, a cause that repeats its parent's text left out.
fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        next = cause.source();
    }
    text
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().and_then(|source| source.source())
    }
}

/// The kind of a failed system call, as callers should see it.
pub fn io_kind(error: &std::io::Error) -> ErrorKind {
    use std::io::ErrorKind as Io;
    match error.kind() {
        Io::NotFound => ErrorKind::NotFound,
        Io::PermissionDenied => ErrorKind::PermissionDenied,
        Io::AlreadyExists => ErrorKind::AlreadyExists,
        Io::StorageFull | Io::QuotaExceeded => ErrorKind::ResourceExhausted,
        Io::TimedOut => ErrorKind::DeadlineExceeded,
        Io::InvalidInput => ErrorKind::InvalidArgument,
        _ => ErrorKind::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_lead_back_to_their_kind() {
        for kind in ErrorKind::ALL {
            assert_eq!(ErrorKind::from_word(kind.word()), Some(kind));
        }
        assert_eq!(ErrorKind::from_word("nonsense"), None);
    }

    #[test]
    fn every_kind_has_a_real_code() {
        for kind in ErrorKind::ALL {
            assert!((1..=16).contains(&kind.grpc_code()), "{kind:?}");
            assert!((300..600).contains(&kind.http_status()), "{kind:?}");
        }
    }

    #[test]
    fn wrapping_keeps_the_causes() {
        let io = std::io::Error::other("disk on fire");
        let error = Error::wrap(ErrorKind::Internal, io).context("write blob sha256:aa");
        assert_eq!(error.to_string(), "write blob sha256:aa: disk on fire");
    }
}
