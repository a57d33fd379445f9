//! What can go wrong in the tool, how it is said, and with which exit code.

use crate::template::TemplateError;

pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// Metadata key under which the daemon names the kind of an error.
pub(crate) const KIND_KEY: &str = "gantry-error-kind";

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("Cannot connect to the gantry daemon at {host}. Is the gantryd running?")]
    Connect { host: String },
    #[error("permission denied while trying to connect to the gantry daemon at {host}")]
    Denied { host: String },
    #[error("Error response from daemon: {message}")]
    Daemon { kind: String, message: String },
    /// What the user asked for makes no sense.
    #[error("{0}")]
    Refused(String),
    /// The same, where docker says it bare and exits by 1 from `run` too.
    #[error("{0}")]
    Bare(&'static str),
    #[error("failed to parse template: {0}")]
    TemplateParse(TemplateError),
    #[error("failed to execute template: {0}")]
    TemplateRun(TemplateError),
    #[error("{what}: {}", plain(source))]
    Io {
        what: String,
        #[source]
        source: std::io::Error,
    },
    /// The conversation with a container's shim broke off.
    #[error("{0}")]
    Attach(String),
    /// Errors of several objects, a line each.
    #[error("{}", .0.join("\n"))]
    Several(Vec<String>),
}

impl Error {
    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Self::Refused(message.into())
    }

    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// The daemon's word for the kind, if it was the daemon.
    pub(crate) fn kind(&self) -> &str {
        match self {
            Self::Daemon { kind, .. } => kind,
            _ => "",
        }
    }

    /// It is the image that is not there, and not something else that was asked for.
    pub(crate) fn is_no_image(&self) -> bool {
        self.is_not_found() && self.to_string().contains("No such image")
    }

    pub(crate) fn is_not_found(&self) -> bool {
        self.kind() == "not-found"
    }

    /// Exit code where a container was to be run: 125, or what its command deserves.
    pub(crate) fn run_code(&self) -> i32 {
        match self.kind() {
            "command-not-found" => 127,
            "command-not-executable" => 126,
            _ => 125,
        }
    }
}

/// A system error as C and Go word it: "no such file or directory".
pub(crate) fn plain(err: &std::io::Error) -> String {
    let text = err.to_string();
    let words = text.rsplit_once(" (os error").map_or(text.as_str(), |(words, _)| words);
    let mut letters = words.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

/// The word for a gRPC code, for a daemon that does not name kinds.
pub(crate) fn word_of(code: tonic::Code) -> &'static str {
    match code {
        tonic::Code::Ok => "ok",
        tonic::Code::Cancelled => "cancelled",
        tonic::Code::Unknown => "unknown",
        tonic::Code::InvalidArgument => "invalid-argument",
        tonic::Code::DeadlineExceeded => "deadline-exceeded",
        tonic::Code::NotFound => "not-found",
        tonic::Code::AlreadyExists => "already-exists",
        tonic::Code::PermissionDenied => "permission-denied",
        tonic::Code::ResourceExhausted => "resource-exhausted",
        tonic::Code::FailedPrecondition => "failed-precondition",
        tonic::Code::Aborted => "aborted",
        tonic::Code::OutOfRange => "out-of-range",
        tonic::Code::Unimplemented => "unimplemented",
        tonic::Code::Internal => "internal",
        tonic::Code::Unavailable => "unavailable",
        tonic::Code::DataLoss => "data-loss",
        tonic::Code::Unauthenticated => "unauthenticated",
    }
}
