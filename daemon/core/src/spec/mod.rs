//! Building the OCI runtime spec of a container, as Docker's defaults have it.
//!
//! Pure: what the host is like comes in as [`HostFacts`], what was asked for as [`SpecInput`], and out comes the spec with
//! the warnings about what was left out. Nothing here reads a file. What was asked for by name and cannot be had is an
//! error; a default that cannot be had is left out with a warning.
//!
//! Sources: OCI runtime-spec 1.2, the defaults printed by `docker run` of engine 28, capabilities(7), proc(5).

pub mod block;
pub mod caps;
mod env;
pub mod hooks;
mod kernel;
pub mod merge;
mod mounts;
mod process;
pub mod resources;
mod rlimits;
pub mod seccomp;
pub mod security;
pub mod user;

pub use caps::CapSet;
pub use mounts::{masked_paths, readonly_paths};
pub use process::{ExecInput, exec_process};
pub use rlimits::Limits;
pub use user::ResolvedUser;

use crate::container::{ContainerConfig, HostConfig, Ulimit};
use crate::{ContainerId, Error, Result};
use oci_spec::runtime::{
    Hooks, Linux, LinuxDevice, LinuxDeviceCgroup, LinuxNamespace, LinuxNamespaceType, LinuxResources, Root, Spec,
    VERSION,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;

/// A sentence for the user about something that was left out.
pub type Warning = String;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct SpecInput<'a> {
    pub id: &'a ContainerId,
    /// Program and arguments ([`merge::command`]).
    pub args: &'a [String],
    /// Merged with the image's ([`merge::merge`]). An empty hostname stands for the short id.
    pub config: &'a ContainerConfig,
    /// Variables below those of `config`.
    pub linked: &'a [String],
    pub host: &'a HostConfig,
    /// Who runs it ([`user::resolve`]).
    pub user: ResolvedUser,
    pub network: Network,
    /// What of the host or of other containers it shares.
    pub shared: Shared,
    /// Files of the host that are put over `/etc/hostname`, `/etc/hosts` and `/etc/resolv.conf`.
    pub etc: EtcFiles,
    /// `/gantry/<id>`, or with the instance's name.
    pub cgroups_path: PathBuf,
    /// The daemon's and the container's, merged ([`hooks::merge`]).
    pub hooks: Option<Hooks>,
    /// `None` = the runtime's, 0022.
    pub umask: Option<u32>,
    pub defaults: &'a Defaults,
}

/// The network namespace of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Network {
    /// A new one.
    Private,
    /// The host's.
    Host,
    /// One that was made before.
    Path(PathBuf),
}

/// A namespace other than that of the network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Share {
    /// A new one.
    #[default]
    Private,
    /// The host's.
    Host,
    /// Another container's.
    Path(PathBuf),
}

/// What a container has of the host or of other containers, found by whoever builds its spec.
#[derive(Debug, Clone, Default)]
pub struct Shared {
    pub pid: Share,
    pub ipc: Share,
    pub uts: Share,
    /// A directory that is to be `/dev/shm`.
    pub shm: Option<PathBuf>,
    /// `/dev/shm` is not there at all.
    pub no_shm: bool,
    /// `--device`, as found on the host.
    pub devices: Vec<LinuxDevice>,
    /// What of them may be done, with `--device-cgroup-rule`.
    pub device_rules: Vec<LinuxDeviceCgroup>,
    /// The host's program that reaps for the user's.
    pub init: Option<PathBuf>,
    /// Numbers of the block devices that are spoken of, by path.
    pub block_devices: BTreeMap<String, (i64, i64)>,
}

/// Where the init program is in the container.
pub const INIT: &str = "/sbin/docker-init";

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EtcFiles {
    pub hostname: Option<PathBuf>,
    pub hosts: Option<PathBuf>,
    pub resolv_conf: Option<PathBuf>,
}

/// What the daemon's configuration presets.
#[derive(Debug, Clone, Default)]
pub struct Defaults {
    /// A limit that cannot be applied degrades with a warning.
    pub ulimits: Vec<Ulimit>,
    pub seccomp: security::Seccomp,
    pub no_new_privileges: bool,
    /// Bytes; 0 = 64 MiB.
    pub shm_size: i64,
}

/// How the host's cgroups are mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cgroup {
    V1,
    Hybrid,
    V2,
}

/// What the host and the daemon's own process are like.
#[derive(Debug, Clone)]
pub struct HostFacts {
    /// `CapBnd` of `/proc/self/status`.
    pub bounding: CapSet,
    pub cgroup: Cgroup,
    /// Major and minor of `uname -r`.
    pub kernel: (u32, u32),
    /// As Go names it: `amd64`, `arm64`, ...
    pub arch: String,
    pub seccomp: bool,
    /// What `--privileged` gives: every device node below `/dev`.
    pub devices: Vec<LinuxDevice>,
    /// `/proc/self/limits`, by ulimit name (`nofile`).
    pub rlimits: BTreeMap<String, Limits>,
    /// `/proc/self/oom_score_adj`.
    pub oom_score_adj: i32,
    /// `/proc/sys/fs/nr_open`, above which no limit of files goes.
    pub nr_open: u64,
    pub cpus: u32,
    /// `/sys/devices/system/cpu/online`, `/sys/devices/system/node/online`, as lists such as `0-3,6`.
    pub cpuset_cpus: String,
    pub cpuset_mems: String,
    /// The memory controller counts swap.
    pub swap_limit: bool,
    /// Files by which a cgroup's block devices are shared out: `blkio.throttle.read_bps_device`, `io.max`, ...
    pub block_files: BTreeSet<String>,
    /// The kernel schedules real-time processes by group.
    pub real_time: bool,
    /// An AppArmor profile to run under, where the host has AppArmor.
    pub apparmor_profile: Option<String>,
    /// Paths that exist on this host only and are masked too (`/sys/devices/system/cpu/cpu0/thermal_throttle`, ...).
    pub masked: Vec<String>,
}

impl HostFacts {
    pub fn kernel_at_least(&self, major: u32, minor: u32) -> bool {
        self.kernel >= (major, minor)
    }
}

/// The spec of a container, and what was left out of it.
pub fn build(input: &SpecInput<'_>, facts: &HostFacts) -> Result<(Spec, Vec<Warning>)> {
    let mut warnings = Vec::new();
    let security = security::parse(&input.host.security_opt, input.defaults)?;
    let caps = caps::resolve(input.host, facts.bounding, &mut warnings)?;
    let process = process::build(input, facts, &security, caps, &mut warnings)?;
    let mounts = mounts::build(input, facts)?;
    let linux = linux(input, facts, &security, caps, &mut warnings)?;

    let mut root = Root::default();
    root.set_path(PathBuf::from("rootfs"));
    root.set_readonly(Some(input.host.readonly_rootfs));
    let mut spec = Spec::default();
    spec.set_version(VERSION.to_owned());
    spec.set_root(Some(root));
    spec.set_process(Some(process));
    spec.set_mounts(Some(mounts));
    if input.shared.uts == Share::Private {
        spec.set_hostname(Some(hostname(input)));
        spec.set_domainname(Some(input.config.domainname.clone()).filter(|name| !name.is_empty()));
    } else {
        spec.set_hostname(None);
    }
    spec.set_hooks(input.hooks.clone());
    let annotations: HashMap<_, _> = input.host.annotations.clone().into_iter().collect();
    spec.set_annotations(Some(annotations).filter(|all| !all.is_empty()));
    spec.set_linux(Some(linux));
    Ok((spec, warnings))
}

/// The name that the container's UTS namespace bears.
pub(crate) fn hostname(input: &SpecInput<'_>) -> String {
    if input.config.hostname.is_empty() {
        input.id.short().to_owned()
    } else {
        input.config.hostname.clone()
    }
}

fn linux(
    input: &SpecInput<'_>,
    facts: &HostFacts,
    security: &security::Security,
    caps: CapSet,
    warnings: &mut Vec<Warning>,
) -> Result<Linux> {
    let privileged = input.host.privileged;
    let mut resources: LinuxResources = resources::build(input.host, facts, &input.shared.block_devices, warnings)?;
    let mut rules = resources::device_rules(privileged);
    rules.extend(input.shared.device_rules.iter().cloned());
    resources.set_devices(Some(rules));
    let mut linux = Linux::default();
    linux.set_resources(Some(resources));
    linux.set_cgroups_path(Some(input.cgroups_path.clone()));
    linux.set_namespaces(Some(namespaces(input, facts)?));
    linux.set_devices(Some(devices(input, facts)).filter(|all| !all.is_empty()));
    linux.set_sysctl(kernel::sysctls(input)?);
    linux.set_seccomp(seccomp_of(privileged, security, facts, caps, warnings)?);
    linux.set_rootfs_propagation(mounts::rootfs_propagation(&input.host.binds));
    let open = privileged || security.unmasked;
    let chosen = |asked: &Option<Vec<String>>, usual: Vec<String>| match asked {
        Some(paths) => paths.clone(),
        None if open => Vec::new(),
        None => usual,
    };
    let masked = chosen(&input.host.masked_paths, mounts::masked_paths(facts));
    let readonly = chosen(&input.host.readonly_paths, mounts::readonly_paths());
    linux.set_masked_paths(Some(masked).filter(|all| !all.is_empty()));
    linux.set_readonly_paths(Some(readonly).filter(|all| !all.is_empty()));
    Ok(linux)
}

fn namespaces(input: &SpecInput<'_>, facts: &HostFacts) -> Result<Vec<LinuxNamespace>> {
    let new = |typ| namespace(typ, None);
    let mut all = vec![new(LinuxNamespaceType::Mount)];
    for (typ, share) in [
        (LinuxNamespaceType::Uts, &input.shared.uts),
        (LinuxNamespaceType::Ipc, &input.shared.ipc),
        (LinuxNamespaceType::Pid, &input.shared.pid),
    ] {
        match share {
            Share::Private => all.push(new(typ)),
            Share::Path(path) => all.push(namespace(typ, Some(path.clone()))),
            Share::Host => {}
        }
    }
    match &input.network {
        Network::Private => all.push(new(LinuxNamespaceType::Network)),
        Network::Path(path) => all.push(namespace(LinuxNamespaceType::Network, Some(path.clone()))),
        Network::Host => {}
    }
    let private_cgroup = match input.host.cgroupns_mode.as_str() {
        "" => facts.cgroup == Cgroup::V2,
        "private" => true,
        "host" => false,
        other => return Err(Error::invalid(format!("invalid cgroup namespace mode: {other}"))),
    };
    if private_cgroup {
        all.push(new(LinuxNamespaceType::Cgroup));
    }
    Ok(all)
}

fn namespace(typ: LinuxNamespaceType, path: Option<PathBuf>) -> LinuxNamespace {
    let mut namespace = LinuxNamespace::default();
    namespace.set_typ(typ).set_path(path);
    namespace
}

/// All of the host's for a privileged container, and those asked for, which may bear names of their own.
fn devices(input: &SpecInput<'_>, facts: &HostFacts) -> Vec<LinuxDevice> {
    let asked = &input.shared.devices;
    let mut all = Vec::new();
    if input.host.privileged {
        let free = |device: &&LinuxDevice| !asked.iter().any(|own| own.path() == device.path());
        all.extend(facts.devices.iter().filter(free).cloned());
    }
    all.extend(asked.iter().cloned());
    all
}

fn seccomp_of(
    privileged: bool,
    security: &security::Security,
    facts: &HostFacts,
    caps: CapSet,
    warnings: &mut Vec<Warning>,
) -> Result<Option<oci_spec::runtime::LinuxSeccomp>> {
    use security::Seccomp;
    let host = seccomp::Host {
        arch: &facts.arch,
        kernel: facts.kernel,
        caps,
    };
    match &security.seccomp {
        Seccomp::Unconfined => Ok(None),
        Seccomp::Default if privileged => Ok(None),
        Seccomp::Default if !facts.seccomp => {
            warnings.push("seccomp is not enabled in the kernel: the container runs without a filter".to_owned());
            Ok(None)
        }
        Seccomp::Default => Ok(Some(seccomp::default_filter(&host))),
        Seccomp::Profile(_) if !facts.seccomp => Err(Error::invalid(
            "seccomp is not enabled in your kernel, cannot run a custom seccomp profile",
        )),
        Seccomp::Profile(text) => seccomp::profile_filter(text, &host).map(Some),
    }
}

#[cfg(test)]
mod tests;
