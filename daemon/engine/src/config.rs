//! What the administrator decides, as far as the engine cares.

use crate::network::NetworkConfig;
use gantry_core::container::{LogConfig, Ulimit};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A runtime that the administrator gave a name.
#[derive(Debug, Clone, PartialEq)]
pub enum NamedRuntime {
    /// An OCI runtime, or a shim, told by its name.
    Program { path: PathBuf, args: Vec<String> },
    /// A shim, by runtime name or absolute path, with options as the configuration writes them.
    Shim { name: String, options: Map<String, Value> },
}

#[derive(Debug, Clone)]
pub struct Config {
    pub data_root: PathBuf,
    pub exec_root: PathBuf,
    /// The snapshotter new containers and images use.
    pub snapshotter: String,
    /// Parent of every container's cgroup: `/gantry`, or `/gantry-<instance>` for a second daemon.
    pub cgroup_parent: String,
    /// Empty = built in.
    pub default_runtime: String,
    /// Beside what is found on PATH.
    pub runtimes: BTreeMap<String, NamedRuntime>,
    pub log: LogConfig,
    pub default_ulimits: Vec<Ulimit>,
    /// Daemon-wide file of OCI hooks.
    pub hook_spec: Option<PathBuf>,
    /// Seccomp profile for containers that name none: `builtin`, `unconfined`, or JSON text.
    pub seccomp_profile: String,
    pub no_new_privileges: bool,
    pub shm_size: i64,
    /// Whether containers that do not say have an init process.
    pub init: bool,
    /// The program for it; `None` = what is found on PATH.
    pub init_path: Option<PathBuf>,
    /// For containers that do not say; empty = `private`.
    pub ipc_mode: String,
    /// The same; empty = as is fit for the cgroup version.
    pub cgroupns_mode: String,
    /// Microseconds of real-time processes in all containers together (cgroup v1); 0 = none.
    pub cpu_rt_period: i64,
    pub cpu_rt_runtime: i64,
    pub labels: Vec<String>,
    pub insecure_registries: Vec<String>,
    pub live_restore: bool,
    pub debug: bool,
    pub network: NetworkConfig,
    /// The number that tells this data root's daemon from any other.
    pub id: String,
    /// Version of gantry, for `version` and `info`.
    pub version: String,
    pub git_commit: String,
}

impl Config {
    /// Forty bits that are this data root's own (RFC 4193, 3.2), from the number the daemon was given once.
    pub(crate) fn global_id(&self) -> [u8; 5] {
        let mut bits = [0; 5];
        let digits: Vec<u8> = self.id.bytes().filter(u8::is_ascii_hexdigit).collect();
        let pairs = digits.chunks_exact(2).filter_map(|pair| std::str::from_utf8(pair).ok());
        for (bit, pair) in bits.iter_mut().zip(pairs) {
            *bit = u8::from_str_radix(pair, 16).unwrap_or_default();
        }
        bits
    }
}
