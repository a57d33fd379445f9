//! Why the daemon does not start.

use std::io;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("read the configuration file {}: {source}", path.display())]
    ReadFile { path: PathBuf, source: io::Error },
    #[error("the configuration file {} is not JSON: {source}", path.display())]
    Json { path: PathBuf, source: serde_json::Error },
    #[error("the configuration file {} is not TOML, line {line}: {source}", path.display())]
    Toml {
        path: PathBuf,
        line: usize,
        source: Box<toml::de::Error>,
    },
    #[error("the configuration file {}: {reason}", path.display())]
    File { path: PathBuf, reason: String },
    #[error("the configuration file {}, line {line}: key {key}: {reason}", path.display())]
    Key {
        path: PathBuf,
        line: usize,
        key: String,
        reason: String,
    },
    #[error("the configuration file {} has options that do not exist: {}", path.display(), keys.join(", "))]
    UnknownKeys { path: PathBuf, keys: Vec<String> },
    #[error("options are given twice, {first} and {second}; keep one of each: {}", options.join(", "))]
    Conflict {
        first: String,
        second: String,
        options: Vec<String>,
    },
    #[error("option {option}: {reason}")]
    BadValue { option: String, reason: String },
    #[error("option {option} ({value}) is not built yet; {instead}")]
    Unbuilt {
        option: String,
        value: String,
        instead: String,
    },
    #[error("the plugin {id} is required by the configuration and is not here")]
    Required { id: String },
    #[error("publish an event at {address}: {reason}")]
    Publish { address: String, reason: String },
    #[error("fill in the hook's {what}: {reason}")]
    Hook { what: String, reason: String },
    #[error("{deed} {}: {source}", path.display())]
    Path {
        deed: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("another gantryd{} runs on the {what} {}; stop it or give this one a {what} of its own", pid_text(*pid), path.display())]
    Taken {
        what: &'static str,
        path: PathBuf,
        pid: Option<u32>,
    },
    #[error("somebody answers on the socket {} already; stop that daemon or give this one another --address (or --host, for the Docker API)", path.display())]
    SocketTaken { path: PathBuf },
    #[error("the socket path {} is longer than the {limit} bytes that the kernel takes; give a shorter one", path.display())]
    SocketLong { path: PathBuf, limit: usize },
    #[error("the storage driver {driver} does not work on {}: {reason}; move the data root to another filesystem or use --storage-driver native", path.display())]
    Driver {
        driver: String,
        path: PathBuf,
        reason: String,
    },
    #[error("{0}")]
    Room(#[from] gantry_core::Error),
    #[error("{deed}: {source}")]
    System { deed: &'static str, source: io::Error },
    #[error("listen on tcp://{address}: {source}")]
    Listen { address: String, source: io::Error },
    #[error("fd://: no sockets were handed down to this process (LISTEN_FDS)")]
    Inherited,
    #[error("TLS for the Docker API: {}: {reason}", path.display())]
    Tls { path: PathBuf, reason: String },
    #[error("serve the gRPC socket: {0}")]
    Serve(#[from] tonic::transport::Error),
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

fn pid_text(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
}

impl Error {
    pub fn bad(option: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::BadValue {
            option: option.into(),
            reason: reason.into(),
        }
    }

    pub fn path(deed: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Path { deed, path, source }
    }
}
