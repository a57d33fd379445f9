//! What a container is configured to be, in the engine's words (those of the Docker Engine API, snake-cased).

use crate::network::{EndpointSettings, MacAddress, PortBinding};
use crate::volume::{MountPoint, MountRequest};
use crate::{ContainerId, Digest, Error, Labels, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

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
    /// Paths at which an anonymous volume is to be, unless something else is mounted there.
    pub volumes: Vec<String>,
    /// How to tell whether it is well; `None` = as the image says.
    pub healthcheck: Option<HealthCheck>,
    /// For builders: what is done first in an image made from this one.
    pub on_build: Vec<String>,
    /// Program and options that run a line of text: a builder's, and a health check's. Empty = `/bin/sh -c`.
    pub shell: Vec<String>,
}

/// How a container is asked whether it is well. Times are nanoseconds; 0 = the default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HealthCheck {
    /// Empty = the image's; `["NONE"]`, `["CMD", program, ...]` or `["CMD-SHELL", text]`.
    pub test: Vec<String>,
    pub interval: i64,
    pub timeout: i64,
    pub start_period: i64,
    pub start_interval: i64,
    /// 0 = 3.
    pub retries: i64,
    /// Kill it when it is found to be unhealthy; `None` = as the image says.
    pub exit_on_unhealthy: Option<bool>,
}

impl HealthCheck {
    /// Whether there is anything to run.
    pub fn is_some(&self) -> bool {
        !matches!(self.test.first().map(String::as_str), None | Some("" | "NONE"))
    }
}

/// What the host lends to a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostConfig {
    pub network_mode: NetworkMode,
    /// Rows and columns of the terminal at first; `None` = whatever it begins with.
    pub console_size: Option<(u16, u16)>,
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
    /// `--mount`.
    pub mounts: Vec<MountRequest>,
    /// Containers, by name or id, whose mounts it has too; `:ro` or `:rw` may follow.
    pub volumes_from: Vec<String>,
    /// Of volumes that are made with it; empty = local.
    pub volume_driver: String,
    pub restart: RestartPolicy,
    /// An init process reaps for the user's program; `None` = the daemon's default.
    pub init: Option<bool>,
    /// Empty, `private`, `host`, or `container:<id>`.
    pub pid_mode: String,
    /// Empty, `private`, `none`, `shareable`, `host`, or `container:<id>`.
    pub ipc_mode: String,
    /// Empty or `host`.
    pub uts_mode: String,
    pub sysctls: BTreeMap<String, String>,
    pub devices: Vec<DeviceMapping>,
    /// `c 42:* rmw`.
    pub device_cgroup_rules: Vec<String>,
    /// Additional groups, by name or number.
    pub group_add: Vec<String>,
    pub oom_kill_disable: bool,
    /// 0 to 100; `None` or -1 = the kernel's.
    pub memory_swappiness: Option<i64>,
    /// Microseconds; 0 = not given.
    pub cpu_period: i64,
    pub cpu_quota: i64,
    /// The same of real-time processes.
    pub cpu_rt_period: i64,
    pub cpu_rt_runtime: i64,
    pub blkio: BlockIo,
    /// The cgroup that its own is made in; empty = the daemon's.
    pub cgroup_parent: String,
    /// `None` = the usual ones, `Some` and empty = none.
    pub masked_paths: Option<Vec<String>>,
    pub readonly_paths: Option<Vec<String>>,
    /// Empty or `host`.
    pub userns_mode: String,
    /// Empty or `default`, as it was written: only Windows has others.
    pub isolation: String,
    /// Where the client wrote the id, for the record only.
    pub container_id_file: String,
}

/// Shares and bounds of block devices.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BlockIo {
    /// 10 to 1000; 0 = not given.
    pub weight: u16,
    pub weight_devices: Vec<DeviceRate>,
    /// Bytes a second.
    pub read_bps: Vec<DeviceRate>,
    pub write_bps: Vec<DeviceRate>,
    /// Operations a second.
    pub read_iops: Vec<DeviceRate>,
    pub write_iops: Vec<DeviceRate>,
}

/// A block device of the host, and how much of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRate {
    pub path: String,
    pub rate: u64,
}

/// When a container whose run is over runs again by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RestartPolicy {
    pub name: RestartName,
    /// With `on-failure`: how often; 0 = without end.
    pub maximum_retries: u32,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartName {
    #[default]
    No,
    Always,
    UnlessStopped,
    OnFailure,
}

impl RestartName {
    pub fn name(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Always => "always",
            Self::UnlessStopped => "unless-stopped",
            Self::OnFailure => "on-failure",
        }
    }
}

impl RestartPolicy {
    /// Reads a policy's name and its number, in Docker's words where they make no sense.
    pub fn read(name: &str, maximum_retries: i64) -> Result<Self> {
        let invalid = |why: &str| Error::invalid(format!("invalid restart policy: {why}"));
        let name = match name {
            "" | "no" => RestartName::No,
            "always" => RestartName::Always,
            "unless-stopped" => RestartName::UnlessStopped,
            "on-failure" => RestartName::OnFailure,
            other => {
                return Err(invalid(&format!(
                    "unknown policy '{other}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
                )));
            }
        };
        let maximum_retries =
            u32::try_from(maximum_retries).map_err(|_| invalid("maximum retry count cannot be negative"))?;
        if maximum_retries > 0 && name != RestartName::OnFailure {
            return Err(invalid("maximum retry count can only be used with 'on-failure'"));
        }
        Ok(Self { name, maximum_retries })
    }

    /// Whether a run that ended so is followed by another. `stopped` = somebody stopped it; `restarts` = how often it was done since
    /// somebody started it.
    pub fn again(&self, code: i32, stopped: bool, restarts: u32) -> bool {
        match self.name {
            RestartName::No => false,
            RestartName::Always | RestartName::UnlessStopped => !stopped,
            RestartName::OnFailure => {
                !stopped && code != 0 && (self.maximum_retries == 0 || restarts < self.maximum_retries)
            }
        }
    }

    /// Whether a starting daemon runs it, whose last run ended so.
    pub fn at_boot(&self, code: i32, stopped: bool, restarts: u32) -> bool {
        self.name == RestartName::Always || self.again(code, stopped, restarts)
    }
}

/// What is known of a container's runs beside where it is in its life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tally {
    /// How often its policy ran it again since somebody started it.
    pub restarts: u32,
    /// Somebody stopped it since.
    pub stopped: bool,
    /// Milliseconds to wait before its policy runs it again.
    pub pause: u64,
    /// Its last start was its policy's, or the starting daemon's for it: one that fails is tried again.
    pub by_policy: bool,
}

impl Tally {
    const FIRST: u64 = 100;
    const LONGEST: u64 = 60_000;
    /// A run of so long was a good one.
    const GOOD: Duration = Duration::from_secs(10);

    /// After a run of so long: the pause before the next is the first one, or twice the last.
    pub fn ended(&mut self, ran: Duration) {
        self.pause = match self.pause {
            0 => Self::FIRST,
            _ if ran >= Self::GOOD => Self::FIRST,
            last => last.saturating_mul(2).min(Self::LONGEST),
        };
    }
}

/// A device of the host seen in the container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceMapping {
    pub host: String,
    /// Empty = as on the host.
    pub container: String,
    /// Of `r`, `w`, `m`; empty = all.
    pub permissions: String,
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

/// `-v source:target`: a host path, or a volume by name, seen in the container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BindMount {
    /// An absolute path, made where it is missing, or the name of a volume.
    pub source: String,
    pub target: String,
    pub read_only: bool,
    /// Empty = rprivate.
    pub propagation: String,
    /// The rest of what was written after the second colon: `z`, `nocopy`, ...
    pub mode: String,
    /// Without the mounts below the source.
    pub non_recursive: bool,
    /// Mounts below a read-only source stay as they are.
    pub shallow_read_only: bool,
}

impl BindMount {
    /// Whether the source is a volume's name.
    pub fn is_volume(&self) -> bool {
        !self.source.starts_with('/')
    }
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
    /// What is mounted in it at the user's or the image's wish.
    #[serde(default)]
    pub mounts: Vec<MountPoint>,
}

impl ContainerRecord {
    /// The volumes it uses.
    pub fn volumes(&self) -> impl Iterator<Item = &str> {
        self.mounts.iter().filter_map(MountPoint::volume)
    }
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
    /// Memory kills that its run saw, as far as is known.
    #[serde(default)]
    pub memory_kills: u64,
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
    fn pauses_double_until_a_run_is_good() {
        let mut tally = Tally::default();
        let mut pauses = Vec::new();
        for _ in 0..12 {
            tally.ended(Duration::from_secs(1));
            pauses.push(tally.pause);
        }
        assert_eq!(&pauses[..4], [100, 200, 400, 800]);
        assert_eq!(pauses[11], 60_000);
        tally.ended(Duration::from_secs(10));
        assert_eq!(tally.pause, 100);
    }

    #[test]
    fn policies_are_read_and_kept() {
        let read = |name: &str, retries| RestartPolicy::read(name, retries);
        assert_eq!(read("", 0).unwrap(), RestartPolicy::default());
        for (name, retries, part) in [
            ("never", 0, "unknown policy 'never'"),
            ("always", 2, "only be used with 'on-failure'"),
            ("on-failure", -1, "cannot be negative"),
        ] {
            assert!(read(name, retries).unwrap_err().message().contains(part), "{name}");
        }
        let thrice = read("on-failure", 3).unwrap();
        assert!(thrice.again(1, false, 2) && !thrice.again(1, false, 3) && !thrice.again(0, false, 0));
        assert!(!thrice.again(1, true, 0));
        let (always, unless) = (read("always", 0).unwrap(), read("unless-stopped", 0).unwrap());
        assert!(always.again(0, false, 99) && !always.again(0, true, 0));
        assert!(always.at_boot(0, true, 0) && !unless.at_boot(0, true, 0) && unless.at_boot(0, false, 0));
    }

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
