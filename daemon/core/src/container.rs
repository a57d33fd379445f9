//! What a container is configured to be, in the engine's words (those of the Docker Engine API, snake-cased).

use crate::network::{EndpointSettings, MacAddress, PortBinding};
use crate::{ContainerId, Digest, Error, Labels, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
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
    pub port_bindings: Vec<PortBinding>,
    /// Every exposed port gets a free port of the host.
    pub publish_all_ports: bool,
    pub dns: Vec<IpAddr>,
    /// `.` alone = none.
    pub dns_search: Vec<String>,
    pub dns_options: Vec<String>,
    /// `name:address`; the address may be `host-gateway`.
    pub extra_hosts: Vec<String>,
    /// `container:alias`, on the default bridge.
    pub links: Vec<String>,
    pub mac_address: Option<MacAddress>,
}

/// How a container sees the network. Written as Docker writes it: `bridge`, `none`, `host`, `container:<id>`, or a network's
/// name or id.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum NetworkMode {
    /// The default bridge network.
    #[default]
    Bridge,
    /// A network namespace of its own with nothing but loopback.
    None,
    /// The host's network namespace.
    Host,
    /// Another container's, by id or name; by id once the container is created.
    Container(String),
    /// A network that was made, by name or id.
    Network(String),
}

impl NetworkMode {
    /// The name of the network that its container joins first.
    pub fn network(&self) -> Option<&str> {
        match self {
            Self::Bridge => Some("bridge"),
            Self::Network(name) => Some(name),
            Self::None => Some("none"),
            Self::Host => Some("host"),
            Self::Container(_) => None,
        }
    }

    /// Whether the container has interfaces of its own, and so may join more networks.
    pub fn is_private(&self) -> bool {
        matches!(self, Self::Bridge | Self::None | Self::Network(_))
    }
}

impl fmt::Display for NetworkMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bridge => f.write_str("bridge"),
            Self::None => f.write_str("none"),
            Self::Host => f.write_str("host"),
            Self::Container(id) => write!(f, "container:{id}"),
            Self::Network(name) => f.write_str(name),
        }
    }
}

impl FromStr for NetworkMode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "" | "default" | "bridge" => Ok(Self::Bridge),
            "none" => Ok(Self::None),
            "host" => Ok(Self::Host),
            _ => match text.strip_prefix("container:") {
                Some("") => Err(Error::invalid("invalid container format container:<name|id>")),
                Some(container) => Ok(Self::Container(container.to_owned())),
                None => Ok(Self::Network(text.to_owned())),
            },
        }
    }
}

impl TryFrom<String> for NetworkMode {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<NetworkMode> for String {
    fn from(mode: NetworkMode) -> Self {
        mode.to_string()
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
    /// The networks it joins when it is started, by name or id as they were given.
    #[serde(default)]
    pub networks: BTreeMap<String, EndpointSettings>,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_modes_read_as_they_are_written() {
        for text in ["bridge", "none", "host", "container:web", "my-net"] {
            let mode: NetworkMode = text.parse().unwrap();
            assert_eq!(mode.to_string(), text);
            let stored = serde_json::to_string(&mode).unwrap();
            assert_eq!(serde_json::from_str::<NetworkMode>(&stored).unwrap(), mode);
        }
        for text in ["", "default"] {
            assert_eq!(text.parse::<NetworkMode>().unwrap(), NetworkMode::Bridge);
        }
        assert!("container:".parse::<NetworkMode>().is_err());
    }
}
