//! What the host lends to a container, as it is shown: `HostConfig`.

use super::some;
use crate::call::Call;
use crate::list::mode;
use crate::model::shown;
use crate::ports;
use gantry_core::container::{BindMount, DeviceMapping, DeviceRate, HostConfig, NetworkMode};
use gantry_core::spec::{Cgroup, HostFacts, masked_paths, readonly_paths};
use gantry_core::volume::MountRequest;
use gantry_engine::Config;
use serde_json::{Value, json};

/// Bytes of /dev/shm where nobody says otherwise.
const SHM: i64 = 64 << 20;

pub fn shown(call: &Call, name: &str, host: &HostConfig, config: &Config, facts: &HostFacts) -> shown::Host {
    let hidden = |asked: &Option<Vec<String>>, usual: Vec<String>| match (asked, host.privileged) {
        (Some(asked), _) => Some(asked.clone()),
        (None, true) => None,
        (None, false) => Some(usual),
    };
    shown::Host {
        binds: some(host.binds.iter().map(bind).collect()),
        container_id_file: host.container_id_file.clone(),
        log_config: log(host, config),
        network_mode: host.network_mode.to_string(),
        port_bindings: ports::bindings(&host.port_bindings),
        restart_policy: shown::Restart {
            name: host.restart.name.name().to_owned(),
            maximum_retry_count: host.restart.maximum_retries.into(),
        },
        auto_remove: host.auto_remove,
        volume_driver: host.volume_driver.clone(),
        volumes_from: some(host.volumes_from.clone()),
        console_size: host.console_size.map_or([0, 0], |(height, width)| [height, width]),
        annotations: host.annotations.clone(),
        cap_add: some(host.cap_add.clone()),
        cap_drop: some(host.cap_drop.clone()),
        cgroupns_mode: match (host.cgroupns_mode.as_str(), facts.cgroup) {
            ("", Cgroup::V2) => "private".to_owned(),
            ("", Cgroup::V1 | Cgroup::Hybrid) => "host".to_owned(),
            (mode, _) => mode.to_owned(),
        },
        dns: host.dns.iter().map(ToString::to_string).collect(),
        dns_options: host.dns_options.clone(),
        dns_search: host.dns_search.clone(),
        extra_hosts: some(host.extra_hosts.clone()),
        group_add: some(host.group_add.clone()),
        ipc_mode: match host.ipc_mode.as_str() {
            "" => "private".to_owned(),
            mode => mode.to_owned(),
        },
        cgroup: "",
        links: some(links(host, name)),
        oom_score_adj: host.oom_score_adj.unwrap_or(0),
        pid_mode: host.pid_mode.clone(),
        privileged: host.privileged,
        publish_all_ports: host.publish_all_ports,
        readonly_rootfs: host.readonly_rootfs,
        security_opt: some(host.security_opt.clone()),
        tmpfs: host.tmpfs.clone(),
        uts_mode: host.uts_mode.clone(),
        userns_mode: host.userns_mode.clone(),
        shm_size: [host.shm_size, config.shm_size, SHM]
            .into_iter()
            .find(|size| *size > 0)
            .unwrap_or(SHM),
        sysctls: host.sysctls.clone(),
        runtime: runtime(host, config),
        isolation: host.isolation.clone(),
        resources: resources(call, host, facts),
        mounts: host.mounts.iter().map(mount).collect(),
        masked_paths: hidden(&host.masked_paths, masked_paths(facts)),
        readonly_paths: hidden(&host.readonly_paths, readonly_paths()),
        init: host.init,
        hook_spec: host.hook_spec.clone(),
    }
}

fn bind(bind: &BindMount) -> String {
    match mode(bind).as_str() {
        "" => format!("{}:{}", bind.source, bind.target),
        mode => format!("{}:{}:{mode}", bind.source, bind.target),
    }
}

/// As it was asked for, without what was left out.
fn mount(asked: &MountRequest) -> Value {
    let (bind, volume, tmpfs) = (&asked.bind, &asked.volume, &asked.tmpfs);
    filled(vec![
        ("Type", asked.kind.name().into()),
        ("Source", asked.source.clone().into()),
        ("Target", asked.target.clone().into()),
        ("ReadOnly", asked.read_only.into()),
        ("Consistency", asked.consistency.clone().into()),
        (
            "BindOptions",
            filled(vec![
                ("Propagation", bind.propagation.clone().into()),
                ("NonRecursive", bind.non_recursive.into()),
                ("CreateMountpoint", bind.create_source.into()),
                ("ReadOnlyNonRecursive", bind.shallow_read_only.into()),
            ]),
        ),
        (
            "VolumeOptions",
            filled(vec![
                ("NoCopy", volume.no_copy.into()),
                ("Labels", json!(volume.labels)),
                ("Subpath", volume.subpath.clone().into()),
                (
                    "DriverConfig",
                    filled(vec![
                        ("Name", volume.driver.clone().into()),
                        ("Options", json!(volume.driver_options)),
                    ]),
                ),
            ]),
        ),
        (
            "TmpfsOptions",
            filled(vec![("SizeBytes", tmpfs.size.into()), ("Mode", tmpfs.mode.into())]),
        ),
    ])
}

/// An object of what is not empty.
fn filled(fields: Vec<(&str, Value)>) -> Value {
    let is_filled = |value: &Value| match value {
        Value::Null => false,
        Value::Bool(truth) => *truth,
        Value::Number(number) => number.as_i64() != Some(0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
    };
    let fields = fields.into_iter().filter(|(_, value)| is_filled(value));
    Value::Object(fields.map(|(key, value)| (key.to_owned(), value)).collect())
}

fn log(host: &HostConfig, config: &Config) -> shown::Log {
    let own = !host.log.driver.is_empty();
    let log = if own { &host.log } else { &config.log };
    shown::Log {
        kind: log.driver.clone(),
        config: match host.log.options.is_empty() && !own {
            true => config.log.options.clone(),
            false => host.log.options.clone(),
        },
    }
}

/// On the default bridge as names of containers, elsewhere as they were asked for.
fn links(host: &HostConfig, name: &str) -> Vec<String> {
    let shown = |text: &String| match text.split_once(':') {
        Some((other, alias)) if host.network_mode == NetworkMode::Bridge => format!("/{other}:/{name}/{alias}"),
        _ => text.clone(),
    };
    host.links.iter().map(shown).collect()
}

fn runtime(host: &HostConfig, config: &Config) -> String {
    let named = [&host.runtime, &config.default_runtime];
    let named = named.into_iter().find(|name| !name.is_empty());
    named.map_or_else(|| crate::system::RUNTIME.to_owned(), Clone::clone)
}

fn resources(call: &Call, host: &HostConfig, facts: &HostFacts) -> shown::Resources {
    let swap = match (host.memory, host.memory_swap) {
        (memory, 0) if memory > 0 => memory.saturating_mul(2),
        (_, swap) => swap,
    };
    shown::Resources {
        cpu_shares: host.cpu_shares,
        memory: host.memory,
        nano_cpus: host.nano_cpus,
        cgroup_parent: host.cgroup_parent.clone(),
        blkio_weight: host.blkio.weight,
        blkio_weight_device: rates("Weight", &host.blkio.weight_devices),
        blkio_device_read_bps: rates("Rate", &host.blkio.read_bps),
        blkio_device_write_bps: rates("Rate", &host.blkio.write_bps),
        blkio_device_read_iops: rates("Rate", &host.blkio.read_iops),
        blkio_device_write_iops: rates("Rate", &host.blkio.write_iops),
        cpu_period: host.cpu_period,
        cpu_quota: host.cpu_quota,
        cpu_realtime_period: host.cpu_rt_period,
        cpu_realtime_runtime: host.cpu_rt_runtime,
        cpuset_cpus: host.cpuset_cpus.clone(),
        cpuset_mems: host.cpuset_mems.clone(),
        devices: host.devices.iter().map(device).collect(),
        device_cgroup_rules: some(host.device_cgroup_rules.clone()),
        device_requests: None,
        kernel_memory: call.before(42).then_some(host.kernel_memory),
        kernel_memory_tcp: call.before(42).then_some(0),
        memory_reservation: host.memory_reservation,
        memory_swap: swap,
        memory_swappiness: host.memory_swappiness,
        // There is no such thing in the second version.
        oom_kill_disable: (facts.cgroup != Cgroup::V2).then_some(host.oom_kill_disable),
        pids_limit: Some(host.pids_limit).filter(|limit| *limit != 0),
        ulimits: host
            .ulimits
            .iter()
            .map(|limit| shown::Ulimit {
                name: limit.name.clone(),
                hard: limit.hard,
                soft: limit.soft,
            })
            .collect(),
        cpu_count: 0,
        cpu_percent: 0,
        io_iops: 0,
        io_bandwidth: 0,
    }
}

fn rates(name: &str, devices: &[DeviceRate]) -> Vec<Value> {
    let one = |device: &DeviceRate| json!({ "Path": device.path, name: device.rate });
    devices.iter().map(one).collect()
}

fn device(device: &DeviceMapping) -> Value {
    json!({
        "PathOnHost": device.host, "PathInContainer": device.container, "CgroupPermissions": device.permissions,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_core::volume::MountKind;

    #[test]
    fn mounts_as_they_were_asked_for() {
        let mut asked = MountRequest {
            kind: MountKind::Tmpfs,
            target: "/t".to_owned(),
            ..MountRequest::default()
        };
        assert_eq!(mount(&asked), json!({ "Type": "tmpfs", "Target": "/t" }));
        asked.kind = MountKind::Volume;
        asked.volume.driver = "local".to_owned();
        asked.bind.non_recursive = true;
        let shown = mount(&asked);
        assert_eq!(shown["VolumeOptions"], json!({ "DriverConfig": { "Name": "local" } }));
        assert_eq!(shown["BindOptions"], json!({ "NonRecursive": true }));
    }
}
