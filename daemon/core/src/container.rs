//! What a container is configured to be, in the engine's words (those of the Docker Engine API, snake-cased).

use crate::{ContainerId, Digest, Labels};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::SystemTime;

/// What runs in a container and how it talks: the part that an image can preset.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerConfig {
    /// Empty = the short id.
    pub hostname: String,
    pub domainname: String,
    /// `user[:group]` by name or number; empty = root.
    pub user: String,
    pub attach_stdin: bool,
    pub attach_stdout: bool,
    pub attach_stderr: bool,
    pub tty: bool,
    pub open_stdin: bool,
    pub stdin_once: bool,
    /// `NAME=value`.
    pub env: Vec<String>,
    pub cmd: Vec<String>,
    /// `None` = the image's; `Some` and empty = none.
    pub entrypoint: Option<Vec<String>>,
    /// As the user wrote it.
    pub image: String,
    pub labels: Labels,
    pub working_dir: String,
    /// Name or number; empty = SIGTERM.
    pub stop_signal: String,
    /// Seconds; `None` = 10, negative = for ever.
    pub stop_timeout: Option<i32>,
    pub exposed_ports: Vec<String>,
    pub volumes: Vec<String>,
}

/// What the host lends to a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostConfig {
    pub network_mode: NetworkMode,
    pub binds: Vec<BindMount>,
    /// Mount point to options.
    pub tmpfs: BTreeMap<String, String>,
    /// Bytes, 0 = no limit.
    pub memory: i64,
    /// Bytes of memory and swap together; 0 = twice the memory, -1 = unlimited.
    pub memory_swap: i64,
    /// Bytes, 0 = none.
    pub memory_reservation: i64,
    /// Bytes; kept as asked for and never applied.
    pub kernel_memory: i64,
    /// Billionths of a CPU, 0 = no limit.
    pub nano_cpus: i64,
    pub cpu_shares: i64,
    pub cpuset_cpus: String,
    pub cpuset_mems: String,
    /// 0 or negative = no limit.
    pub pids_limit: i64,
    pub ulimits: Vec<Ulimit>,
    pub cap_add: Vec<String>,
    pub cap_drop: Vec<String>,
    pub privileged: bool,
    pub security_opt: Vec<String>,
    pub readonly_rootfs: bool,
    pub log: LogConfig,
    /// Absolute path of a file of OCI hooks; empty = none.
    pub hook_spec: String,
    pub auto_remove: bool,
    pub oom_score_adj: Option<i32>,
    /// Empty = the daemon's default.
    pub runtime: String,
    /// Bytes of /dev/shm, 0 = 64 MiB.
    pub shm_size: i64,
    pub annotations: BTreeMap<String, String>,
    /// `private`, `host`, or empty for the default of the cgroup version.
    pub cgroupns_mode: String,
}

/// How a container sees the network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkMode {
    /// A network namespace of its own with nothing but loopback.
    #[default]
    None,
    /// The host's network namespace.
    Host,
}

impl NetworkMode {
    pub fn name(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Host => "host",
        }
    }
}

/// A host path seen in the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BindMount {
    pub source: String,
    pub target: String,
    #[serde(default)]
    pub read_only: bool,
    /// Empty = rprivate.
    #[serde(default)]
    pub propagation: String,
}

/// A resource limit; -1 = unlimited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    pub name: String,
    pub soft: i64,
    pub hard: i64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogConfig {
    /// `json-file` or `none`; empty = the daemon's default.
    pub driver: String,
    pub options: BTreeMap<String, String>,
}

/// Everything about a container that does not change while it lives, except its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerRecord {
    pub id: ContainerId,
    pub name: String,
    pub created_at: SystemTime,
    /// Digest of the image's config.
    pub image_id: Digest,
    /// Chain id of the image's layers: the parent of `snapshot_key`; empty for an image without layers.
    pub chain_id: String,
    pub config: ContainerConfig,
    pub host: HostConfig,
    /// Program and arguments as they will be executed.
    pub args: Vec<String>,
    pub snapshotter: String,
    pub snapshot_key: String,
    /// What could not be applied and was left out.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// How a container's process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// As a shell sees it: 128 and the signal's number for a process killed by one.
    pub code: i32,
    pub started_at: Option<SystemTime>,
    pub finished_at: SystemTime,
    #[serde(default)]
    pub oom_killed: bool,
    /// Why it could not be started, or is not known to have ended otherwise.
    #[serde(default)]
    pub error: String,
}

/// A name: one letter or digit, then letters, digits, `_`, `.`, `-` (Docker's rule); at least two characters.
pub fn is_container_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric());
    first && name.len() >= 2 && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}
