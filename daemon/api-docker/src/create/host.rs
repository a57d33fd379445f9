//! What the host lends: `HostConfig`.

use super::{limits, mounts, optional, text, texts};
use crate::answer::Failure;
use crate::model::asked::{Device, Host, HostPort, Ulimit};
use gantry_core::container::{DeviceMapping, HostConfig, LogConfig, RestartPolicy, Ulimit as Limit};
use gantry_core::network::PortBinding;
use gantry_core::{Error, Result};
use std::net::IpAddr;

/// With the paths of anonymous volumes that are among the mounts.
pub fn translate(asked: &Host) -> Result<(HostConfig, Vec<String>), Failure> {
    let mut host = HostConfig {
        console_size: console_size(&asked.console_size)?,
        network_mode: text("NetworkMode", asked.network_mode.clone())?.parse()?,
        memory: amount("Memory", asked.memory)?,
        memory_swap: at_least("MemorySwap", asked.memory_swap, -1)?,
        memory_reservation: amount("MemoryReservation", asked.memory_reservation)?,
        kernel_memory: amount("KernelMemory", asked.kernel_memory)?,
        nano_cpus: amount("NanoCpus", asked.nano_cpus)?,
        cpu_shares: asked.cpu_shares,
        cpuset_cpus: asked.cpuset_cpus.clone(),
        cpuset_mems: asked.cpuset_mems.clone(),
        pids_limit: asked.pids_limit.unwrap_or(0).max(0),
        ulimits: asked.ulimits.iter().map(ulimit).collect::<Result<_, _>>()?,
        cap_add: asked.cap_add.0.clone().unwrap_or_default(),
        cap_drop: asked.cap_drop.0.clone().unwrap_or_default(),
        privileged: asked.privileged,
        security_opt: asked.security_opt.clone(),
        readonly_rootfs: asked.readonly_rootfs,
        log: LogConfig {
            driver: asked.log.driver.clone(),
            options: asked.log.options.clone(),
        },
        hook_spec: text("HookSpec", asked.hook_spec.clone())?,
        auto_remove: asked.auto_remove,
        oom_score_adj: oom_score(asked.oom_score_adj)?,
        runtime: text("Runtime", asked.runtime.clone())?,
        shm_size: match asked.shm_size {
            size if size < 0 => return Err(Failure::bad("SHM size can not be less than 0")),
            size => size,
        },
        annotations: match asked.annotations.contains_key("") {
            true => {
                return Err(Failure::bad(
                    "invalid Annotations: the empty string is not permitted as an annotation key",
                ));
            }
            false => asked.annotations.clone(),
        },
        cgroupns_mode: match asked.cgroupns_mode.as_str() {
            mode @ ("" | "private" | "host") => mode.to_owned(),
            mode => return Err(Failure::bad(format!("invalid cgroup namespace mode: {mode}"))),
        },
        port_bindings: bindings(asked)?,
        publish_all_ports: asked.publish_all_ports,
        dns: asked.dns.iter().map(|text| dns(text)).collect::<Result<_, _>>()?,
        dns_search: texts("DnsSearch", asked.dns_search.clone())?,
        dns_options: texts("DnsOptions", asked.dns_options.clone())?,
        extra_hosts: texts("ExtraHosts", asked.extra_hosts.clone())?,
        links: texts("Links", asked.links.clone())?,
        volumes_from: texts("VolumesFrom", asked.volumes_from.clone())?,
        volume_driver: asked.volume_driver.clone(),
        restart: restart(asked)?,
        init: asked.init,
        pid_mode: text("PidMode", asked.pid_mode.clone())?,
        ipc_mode: text("IpcMode", asked.ipc_mode.clone())?,
        uts_mode: text("UTSMode", asked.uts_mode.clone())?,
        sysctls: asked.sysctls.clone(),
        devices: asked.devices.iter().map(device).collect::<Result<_, _>>()?,
        device_cgroup_rules: texts("DeviceCgroupRules", asked.device_cgroup_rules.clone())?,
        group_add: texts("GroupAdd", asked.group_add.clone())?,
        oom_kill_disable: asked.oom_kill_disable.unwrap_or(false),
        memory_swappiness: asked.memory_swappiness.filter(|percent| *percent != -1),
        cpu_period: asked.cpu_period,
        cpu_quota: asked.cpu_quota,
        cpu_rt_period: amount("CpuRealtimePeriod", asked.cpu_rt_period)?,
        cpu_rt_runtime: amount("CpuRealtimeRuntime", asked.cpu_rt_runtime)?,
        blkio: limits::block_io(asked)?,
        cgroup_parent: text("CgroupParent", asked.cgroup_parent.clone())?,
        masked_paths: limits::hidden("MaskedPaths", asked.masked_paths.as_ref())?,
        readonly_paths: limits::hidden("ReadonlyPaths", asked.readonly_paths.as_ref())?,
        userns_mode: asked.userns_mode.clone(),
        isolation: asked.isolation.clone(),
        container_id_file: asked.container_id_file.clone(),
        ..HostConfig::default()
    };
    let anonymous = mounts::translate(asked, &mut host)?;
    Ok((host, anonymous))
}

pub fn restart(asked: &Host) -> Result<RestartPolicy, Failure> {
    Ok(RestartPolicy::read(&asked.restart.name, asked.restart.tries.into())?)
}

/// Rows and columns; none of both is no size.
pub fn console_size(asked: &[i64]) -> Result<Option<(u16, u16)>, Failure> {
    let side = |value: i64| u16::try_from(value).map_err(|_| Failure::bad(format!("invalid ConsoleSize: {value}")));
    match asked {
        [] | [0, 0] => Ok(None),
        [height, width] => Ok(Some((side(*height)?, side(*width)?))),
        _ => Err(Failure::bad(
            "invalid ConsoleSize: it has two numbers, height and width",
        )),
    }
}

fn device(asked: &Device) -> Result<DeviceMapping, Failure> {
    Ok(DeviceMapping {
        host: text("Devices", asked.host.clone())?,
        container: text("Devices", asked.container.clone())?,
        permissions: asked.permissions.clone(),
    })
}

fn amount(field: &str, value: i64) -> Result<i64, Failure> {
    at_least(field, value, 0)
}

fn at_least(field: &str, value: i64, least: i64) -> Result<i64, Failure> {
    match value >= least {
        true => Ok(value),
        false => Err(Failure::bad(format!("invalid {field}: {value} is less than {least}"))),
    }
}

/// 0 is what nobody asked for.
fn oom_score(score: i64) -> Result<Option<i32>, Failure> {
    match i32::try_from(score) {
        Ok(0) => Ok(None),
        Ok(score @ -1000..=1000) => Ok(Some(score)),
        _ => Err(Failure::bad(format!(
            "Invalid value {score}, range for oom score adj is [-1000, 1000]"
        ))),
    }
}

fn ulimit(asked: &Ulimit) -> Result<Limit, Failure> {
    if asked.name.is_empty() {
        return Err(Failure::bad("invalid ulimit: its name is empty"));
    }
    Ok(Limit {
        name: text("Ulimits", asked.name.clone())?,
        soft: at_least("Ulimits", asked.soft, -1)?,
        hard: at_least("Ulimits", asked.hard, -1)?,
    })
}

fn dns(text: &str) -> Result<IpAddr, Failure> {
    text.parse()
        .map_err(|_| Failure::bad(format!("invalid IP address: {text}")))
}

fn bindings(asked: &Host) -> Result<Vec<PortBinding>, Failure> {
    let mut bindings = Vec::new();
    for (port, wishes) in &asked.port_bindings {
        for wish in wishes {
            bindings.push(binding(port, wish)?);
        }
    }
    Ok(bindings)
}

fn binding(port: &str, wish: &HostPort) -> Result<PortBinding, Failure> {
    let named = |error: Error| Failure::bad(format!("invalid port specification: \"{port}\": {}", error.message()));
    Ok(PortBinding {
        container: port.parse().map_err(named)?,
        host: optional("HostIp", &wish.ip)?,
        ports: match wish.port.as_str() {
            "" | "0" => None,
            text => Some(
                text.parse()
                    .map_err(|_| Failure::bad(format!("invalid port specification: \"{text}\"")))?,
            ),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Wire;
    use serde_json::{Value, json};

    fn read(value: Value) -> Result<HostConfig, Failure> {
        translate(&Host::read(value, "").expect("a host configuration")).map(|(host, _)| host)
    }

    #[test]
    fn what_is_asked_is_what_is_lent() {
        let host = read(json!({
            "Binds": ["/a:/b:ro,rslave", "/c:/d"], "Memory": 1 << 20, "MemorySwap": -1, "NetworkMode": "host",
            "PortBindings": { "80/tcp": [{ "HostIp": "127.0.0.1", "HostPort": "8080" }, { "HostPort": "" }] },
            "Ulimits": [{ "Name": "nofile", "Soft": 1, "Hard": 2 }], "PidsLimit": -1, "OomScoreAdj": -5,
            "Mounts": [{ "Type": "tmpfs", "Target": "/t", "TmpfsOptions": { "SizeBytes": 4096, "Mode": 511 } }],
            "Tmpfs": { "/u": "size=1m" }, "LogConfig": { "Type": "none" }, "CapAdd": ["NET_ADMIN"]
        }))
        .unwrap();
        assert_eq!((host.binds.len(), host.binds[0].read_only), (2, true));
        assert_eq!(host.binds[0].propagation, "rslave");
        assert_eq!((host.memory, host.memory_swap, host.pids_limit), (1 << 20, -1, 0));
        assert_eq!(host.port_bindings.len(), 2);
        assert_eq!((host.mounts[0].tmpfs.size, host.mounts[0].tmpfs.mode), (4096, 0o777));
        assert_eq!(host.tmpfs["/u"], "size=1m");
        assert_eq!((host.oom_score_adj, host.log.driver.as_str()), (Some(-5), "none"));
    }

    #[test]
    fn odd_values_are_refused() {
        for (field, value) in [
            ("Memory", json!(-1)),
            ("OomScoreAdj", json!(1001)),
            ("Dns", json!(["x"])),
            ("ShmSize", json!(-1)),
            ("PortBindings", json!({ "x/tcp": [{}] })),
            ("PortBindings", json!({ "80/tcp": [{ "HostPort": "x" }] })),
            ("Binds", json!(["a:b:c:d"])),
            ("Binds", json!(["/a:/b:odd"])),
            ("CgroupnsMode", json!("odd")),
            ("Ulimits", json!([{ "Name": "" }])),
            ("Mounts", json!([{ "Type": "odd", "Target": "/t" }])),
            (
                "Mounts",
                json!([{ "Type": "bind", "Target": "/t", "TmpfsOptions": {} }]),
            ),
            ("RestartPolicy", json!({ "Name": "odd" })),
        ] {
            let error = read(json!({ field: value })).unwrap_err();
            assert_eq!(
                error.status,
                http::StatusCode::BAD_REQUEST,
                "{field}: {}",
                error.message
            );
        }
    }
}
