//! `GET /info`.

use crate::ID_FILE;
use crate::answer::{self, Answer};
use crate::call::Call;
use crate::inspect::text;
use crate::system::{RUNTIME, host_name, line};
use crate::time;
use gantry_core::spec::{Cgroup, HostFacts};
use gantry_engine::{Config, Info};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::fs;
use std::path::Path;
use std::time::SystemTime;

/// Go's names of machines, back to the kernel's.
fn machine(arch: &str) -> &str {
    match arch {
        "amd64" => "x86_64",
        "arm64" => "aarch64",
        "386" => "i686",
        "arm" => "armv7l",
        other => other,
    }
}

/// A table in the order in which it is written.
struct Ordered(Vec<(&'static str, Value)>);

impl Serialize for Ordered {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

pub async fn info(call: Call) -> Answer {
    let found = call.engine().info().await?;
    let mut rows = counts(&call, &found);
    rows.extend(abilities(&call));
    rows.extend(host(&call, &found));
    rows.extend(programs(&call, &found));
    answer::ok(&Ordered(rows))
}

fn counts(call: &Call, found: &Info) -> Vec<(&'static str, Value)> {
    let config = call.engine().config();
    let status: Vec<[&str; 2]> = found
        .snapshotter_status
        .iter()
        .map(|(key, value)| [key.as_str(), value.as_str()])
        .collect();
    vec![
        ("ID", line(config.data_root.join(ID_FILE)).into()),
        ("Containers", (found.running + found.paused + found.stopped).into()),
        ("ContainersRunning", found.running.into()),
        ("ContainersPaused", found.paused.into()),
        ("ContainersStopped", found.stopped.into()),
        ("Images", found.images.into()),
        ("Driver", found.snapshotter.clone().into()),
        ("DriverStatus", json!(status)),
        (
            "Plugins",
            json!({
                "Volume": ["local"],
                "Network": found.network_drivers,
                "Authorization": Value::Null,
                "Log": found.log_drivers,
            }),
        ),
    ]
}

fn abilities(call: &Call) -> Vec<(&'static str, Value)> {
    let facts = call.engine().facts();
    let mut rows: Vec<(&'static str, Value)> =
        vec![("MemoryLimit", true.into()), ("SwapLimit", facts.swap_limit.into())];
    if call.before(42) {
        rows.push(("KernelMemory", false.into()));
        rows.push(("KernelMemoryTCP", false.into()));
    }
    let forwards = line("/proc/sys/net/ipv4/ip_forward") == "1";
    for (name, yes) in [
        ("CpuCfsPeriod", true),
        ("CpuCfsQuota", true),
        ("CPUShares", true),
        ("CPUSet", true),
        ("PidsLimit", true),
        ("IPv4Forwarding", forwards),
    ] {
        rows.push((name, yes.into()));
    }
    if call.before(50) {
        let bridged = |file: &str| line(Path::new("/proc/sys/net/bridge").join(file)) == "1";
        rows.push(("BridgeNfIptables", bridged("bridge-nf-call-iptables").into()));
        rows.push(("BridgeNfIp6tables", bridged("bridge-nf-call-ip6tables").into()));
    }
    rows
}

fn open_files() -> usize {
    fs::read_dir("/proc/self/fd").map_or(0, |dir| dir.count())
}

fn host(call: &Call, found: &Info) -> Vec<(&'static str, Value)> {
    let (config, facts) = (call.engine().config(), call.engine().facts());
    let about = &call.door.about;
    let version = match facts.cgroup {
        Cgroup::V1 | Cgroup::Hybrid => "1",
        Cgroup::V2 => "2",
    };
    vec![
        ("Debug", config.debug.into()),
        ("NFd", open_files().into()),
        ("OomKillDisable", (version == "1").into()),
        ("NGoroutines", 0.into()),
        ("SystemTime", time::nano(SystemTime::now()).into()),
        ("LoggingDriver", config.log.driver.clone().into()),
        ("CgroupDriver", "cgroupfs".into()),
        ("CgroupVersion", version.into()),
        ("NEventsListener", 0.into()),
        ("KernelVersion", line("/proc/sys/kernel/osrelease").into()),
        ("OperatingSystem", found.operating_system.clone().into()),
        ("OSVersion", os_version().into()),
        ("OSType", "linux".into()),
        ("Architecture", machine(&facts.arch).into()),
        ("IndexServerAddress", "https://index.docker.io/v1/".into()),
        ("RegistryConfig", registries(call, config)),
        ("NCPU", facts.cpus.into()),
        ("MemTotal", found.memory.into()),
        ("GenericResources", Value::Null),
        ("DockerRootDir", text(&config.data_root).into()),
        ("HttpProxy", about.http_proxy.clone().into()),
        ("HttpsProxy", about.https_proxy.clone().into()),
        ("NoProxy", about.no_proxy.clone().into()),
        ("Name", host_name().into()),
        ("Labels", json!(config.labels)),
        ("ExperimentalBuild", false.into()),
        ("ServerVersion", config.version.clone().into()),
    ]
}

fn os_version() -> String {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let version = release.lines().find_map(|line| line.strip_prefix("VERSION_ID="));
    version.unwrap_or_default().trim_matches('"').to_owned()
}

/// Hosts in one table, networks in the other, as Docker sorts them.
fn registries(call: &Call, config: &Config) -> Value {
    let mut networks = vec!["::1/128".to_owned(), "127.0.0.0/8".to_owned()];
    let mut hosts = Map::new();
    hosts.insert(
        "docker.io".to_owned(),
        json!({ "Mirrors": [], "Name": "docker.io", "Official": true, "Secure": true }),
    );
    for name in &config.insecure_registries {
        match name.contains('/') {
            true => networks.push(name.clone()),
            false => {
                let index = json!({ "Mirrors": [], "Name": name, "Official": false, "Secure": false });
                hosts.insert(name.clone(), index);
            }
        }
    }
    let mut shown = json!({ "InsecureRegistryCIDRs": networks, "IndexConfigs": hosts, "Mirrors": Value::Null });
    if call.before(47) {
        for name in [
            "AllowNondistributableArtifactsCIDRs",
            "AllowNondistributableArtifactsHostnames",
        ] {
            shown[name] = Value::Null;
        }
    }
    shown
}

fn programs(call: &Call, found: &Info) -> Vec<(&'static str, Value)> {
    let (config, facts) = (call.engine().config(), call.engine().facts());
    let runtimes: Map<String, Value> = found
        .runtimes
        .iter()
        .map(|name| (name.clone(), json!({ "path": name })))
        .collect();
    let default = match config.default_runtime.as_str() {
        "" => RUNTIME,
        name => name,
    };
    // None of the programs that these name is used here.
    let commit = || match call.before(49) {
        true => json!({ "ID": "", "Expected": "" }),
        false => json!({ "ID": "" }),
    };
    let mut rows = vec![
        ("Runtimes", Value::Object(runtimes)),
        ("DefaultRuntime", default.into()),
        (
            "Swarm",
            json!({
                "NodeID": "", "NodeAddr": "", "LocalNodeState": "inactive", "ControlAvailable": false, "Error": "",
                "RemoteManagers": Value::Null,
            }),
        ),
        ("LiveRestoreEnabled", config.live_restore.into()),
        ("Isolation", "".into()),
        ("InitBinary", "".into()),
        ("ContainerdCommit", commit()),
        ("RuncCommit", commit()),
        ("InitCommit", commit()),
        ("SecurityOptions", json!(security(config, facts))),
    ];
    if call.since(49) {
        rows.push(("FirewallBackend", json!({ "Driver": firewall(config) })));
    }
    let warnings = Some(&found.warnings).filter(|warnings| !warnings.is_empty());
    rows.push(("Warnings", json!(warnings)));
    rows
}

fn firewall(config: &Config) -> String {
    format!("{:?}", config.network.firewall).to_ascii_lowercase()
}

/// In the form `name=...[,key=value]`.
fn security(config: &Config, facts: &HostFacts) -> Vec<String> {
    let profile = match config.seccomp_profile.as_str() {
        "" | "builtin" => "builtin",
        "unconfined" => "unconfined",
        _ => "custom",
    };
    let all = [
        (facts.apparmor_profile.is_some(), "name=apparmor".to_owned()),
        (facts.seccomp, format!("name=seccomp,profile={profile}")),
        (facts.cgroup == Cgroup::V2, "name=cgroupns".to_owned()),
        (config.no_new_privileges, "name=no-new-privileges".to_owned()),
    ];
    all.into_iter()
        .filter(|(there, _)| *there)
        .map(|(_, name)| name)
        .collect()
}
