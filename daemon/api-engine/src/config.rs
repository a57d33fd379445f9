//! Container configurations, in and out.

use crate::networks::optional;
use crate::{check, mounts, networks};
use gantry_core::container::{
    BindMount, BlockIo, ContainerConfig, DeviceMapping, DeviceRate, HealthCheck, HostConfig, LogConfig, RestartPolicy,
    Ulimit,
};
use gantry_core::network::{EndpointSettings, PortBinding, PortRange};
use gantry_core::{Error, Result};
use gantry_engine::Filters;
use gantry_proto::gantry::v1 as wire;
use std::collections::{BTreeMap, HashMap};

pub const PROPAGATION: &[&str] = &["rprivate", "private", "rshared", "shared", "rslave", "slave"];

pub fn container_in(config: wire::ContainerConfig) -> Result<ContainerConfig> {
    Ok(ContainerConfig {
        hostname: check::text("config.hostname", config.hostname)?,
        domainname: check::text("config.domainname", config.domainname)?,
        user: check::text("config.user", config.user)?,
        attach_stdin: config.attach_stdin,
        attach_stdout: config.attach_stdout,
        attach_stderr: config.attach_stderr,
        tty: config.tty,
        open_stdin: config.open_stdin,
        stdin_once: config.stdin_once,
        env: check::env("config.env", config.env)?,
        cmd: check::texts("config.cmd", config.cmd)?,
        entrypoint: config
            .entrypoint
            .map(|list| check::texts("config.entrypoint", list.items))
            .transpose()?,
        image: check::filled("config.image", config.image)?,
        labels: config.labels.into_iter().collect(),
        working_dir: check::text("config.working_dir", config.working_dir)?,
        stop_signal: config.stop_signal,
        stop_timeout: config.stop_timeout,
        exposed_ports: config.exposed_ports,
        volumes: check::texts("config.volumes", config.volumes)?,
        healthcheck: config.healthcheck.map(health_in).transpose()?,
        ..ContainerConfig::default()
    })
}

pub fn container_out(config: &ContainerConfig) -> wire::ContainerConfig {
    let config = config.clone();
    wire::ContainerConfig {
        hostname: config.hostname,
        domainname: config.domainname,
        user: config.user,
        attach_stdin: config.attach_stdin,
        attach_stdout: config.attach_stdout,
        attach_stderr: config.attach_stderr,
        tty: config.tty,
        open_stdin: config.open_stdin,
        stdin_once: config.stdin_once,
        env: config.env,
        cmd: config.cmd,
        entrypoint: config.entrypoint.map(|items| wire::StringList { items }),
        image: config.image,
        labels: config.labels.into_iter().collect(),
        working_dir: config.working_dir,
        stop_signal: config.stop_signal,
        stop_timeout: config.stop_timeout,
        exposed_ports: config.exposed_ports,
        volumes: config.volumes,
        healthcheck: config.healthcheck.map(health_out),
    }
}

fn health_in(check: wire::HealthCheck) -> Result<HealthCheck> {
    Ok(HealthCheck {
        test: check::texts("config.healthcheck.test", check.test)?,
        interval: check::amount("config.healthcheck.interval", check.interval)?,
        timeout: check::amount("config.healthcheck.timeout", check.timeout)?,
        start_period: check::amount("config.healthcheck.start_period", check.start_period)?,
        start_interval: check::amount("config.healthcheck.start_interval", check.start_interval)?,
        retries: check::amount("config.healthcheck.retries", check.retries)?,
        exit_on_unhealthy: check.exit_on_unhealthy,
    })
}

pub fn health_out(check: HealthCheck) -> wire::HealthCheck {
    wire::HealthCheck {
        test: check.test,
        interval: check.interval,
        timeout: check.timeout,
        start_period: check.start_period,
        start_interval: check.start_interval,
        retries: check.retries,
        exit_on_unhealthy: check.exit_on_unhealthy,
    }
}

pub fn host_in(host: wire::HostConfig) -> Result<HostConfig> {
    Ok(HostConfig {
        network_mode: check::text("host.network_mode", host.network_mode)?.parse()?,
        binds: host.binds.into_iter().map(bind_in).collect::<Result<_>>()?,
        tmpfs: host
            .tmpfs
            .into_iter()
            .map(|(path, options)| Ok((check::filled("host.tmpfs", path)?, options)))
            .collect::<Result<_>>()?,
        memory: check::amount("host.memory", host.memory)?,
        memory_swap: check::at_least("host.memory_swap", host.memory_swap, -1)?,
        memory_reservation: check::amount("host.memory_reservation", host.memory_reservation)?,
        kernel_memory: check::amount("host.kernel_memory", host.kernel_memory)?,
        nano_cpus: check::amount("host.nano_cpus", host.nano_cpus)?,
        cpu_shares: check::amount("host.cpu_shares", host.cpu_shares)?,
        cpuset_cpus: host.cpuset_cpus,
        cpuset_mems: host.cpuset_mems,
        pids_limit: host.pids_limit,
        ulimits: host.ulimits.into_iter().map(ulimit_in).collect::<Result<_>>()?,
        cap_add: host.cap_add,
        cap_drop: host.cap_drop,
        privileged: host.privileged,
        security_opt: host.security_opt,
        readonly_rootfs: host.readonly_rootfs,
        log: host
            .log
            .map(|log| LogConfig {
                driver: log.driver,
                options: log.options.into_iter().collect(),
            })
            .unwrap_or_default(),
        hook_spec: check::text("host.hook_spec", host.hook_spec)?,
        auto_remove: host.auto_remove,
        oom_score_adj: host.oom_score_adj.map(oom_score).transpose()?,
        runtime: check::text("host.runtime", host.runtime)?,
        shm_size: check::amount("host.shm_size", host.shm_size)?,
        annotations: host.annotations.into_iter().collect(),
        cgroupns_mode: check::word("host.cgroupns_mode", host.cgroupns_mode, &["private", "host"])?,
        port_bindings: host.port_bindings.into_iter().map(binding_in).collect::<Result<_>>()?,
        publish_all_ports: host.publish_all_ports,
        dns: host
            .dns
            .iter()
            .map(|text| {
                text.parse()
                    .map_err(|_| Error::invalid(format!("host.dns: invalid address \"{text}\"")))
            })
            .collect::<Result<_>>()?,
        dns_search: check::texts("host.dns_search", host.dns_search)?,
        dns_options: check::texts("host.dns_options", host.dns_options)?,
        extra_hosts: check::texts("host.extra_hosts", host.extra_hosts)?,
        links: check::texts("host.links", host.links)?,
        mac_address: optional("host.mac_address", &host.mac_address)?,
        mounts: host.mounts.into_iter().map(mounts::request_in).collect::<Result<_>>()?,
        volumes_from: check::texts("host.volumes_from", host.volumes_from)?,
        volume_driver: host.volume_driver,
        restart: restart_in(host.restart.unwrap_or_default())?,
        init: host.init,
        pid_mode: check::text("host.pid_mode", host.pid_mode)?,
        ipc_mode: check::text("host.ipc_mode", host.ipc_mode)?,
        uts_mode: check::text("host.uts_mode", host.uts_mode)?,
        sysctls: host.sysctls.into_iter().collect(),
        devices: host.devices.into_iter().map(device_in).collect::<Result<_>>()?,
        device_cgroup_rules: host.device_cgroup_rules,
        group_add: check::texts("host.group_add", host.group_add)?,
        oom_kill_disable: host.oom_kill_disable,
        memory_swappiness: host.memory_swappiness,
        cpu_period: check::amount("host.cpu_period", host.cpu_period)?,
        cpu_quota: check::at_least("host.cpu_quota", host.cpu_quota, -1)?,
        cpu_rt_period: check::amount("host.cpu_rt_period", host.cpu_rt_period)?,
        cpu_rt_runtime: check::amount("host.cpu_rt_runtime", host.cpu_rt_runtime)?,
        blkio: block_in(host.blkio.unwrap_or_default())?,
        cgroup_parent: check::text("host.cgroup_parent", host.cgroup_parent)?,
        masked_paths: paths_in("host.masked_paths", host.masked_paths)?,
        readonly_paths: paths_in("host.readonly_paths", host.readonly_paths)?,
        userns_mode: check::word("host.userns_mode", host.userns_mode, &["host"])?,
        isolation: check::word("host.isolation", host.isolation, &["default"])?,
        // A client of this door says it when it attaches, and keeps its own files.
        console_size: None,
        container_id_file: String::new(),
    })
}

fn paths_in(field: &str, paths: Option<wire::StringList>) -> Result<Option<Vec<String>>> {
    paths.map(|list| check::texts(field, list.items)).transpose()
}

pub fn weight(field: &str, weight: u32) -> Result<u16> {
    u16::try_from(weight).map_err(|_| Error::invalid(format!("{field}: {weight} is not between 10 and 1000")))
}

fn block_in(block: wire::BlockIo) -> Result<BlockIo> {
    let rates = |field: &str, rates: Vec<wire::DeviceRate>| -> Result<Vec<DeviceRate>> {
        let one = |rate: wire::DeviceRate| {
            Ok(DeviceRate {
                path: check::filled(&format!("host.blkio.{field}.path"), rate.path)?,
                rate: rate.rate,
            })
        };
        rates.into_iter().map(one).collect()
    };
    Ok(BlockIo {
        weight: weight("host.blkio.weight", block.weight)?,
        weight_devices: rates("weight_devices", block.weight_devices)?,
        read_bps: rates("read_bps", block.read_bps)?,
        write_bps: rates("write_bps", block.write_bps)?,
        read_iops: rates("read_iops", block.read_iops)?,
        write_iops: rates("write_iops", block.write_iops)?,
    })
}

fn block_out(block: BlockIo) -> wire::BlockIo {
    let rates = |rates: Vec<DeviceRate>| {
        let one = |DeviceRate { path, rate }| wire::DeviceRate { path, rate };
        rates.into_iter().map(one).collect()
    };
    wire::BlockIo {
        weight: block.weight.into(),
        weight_devices: rates(block.weight_devices),
        read_bps: rates(block.read_bps),
        write_bps: rates(block.write_bps),
        read_iops: rates(block.read_iops),
        write_iops: rates(block.write_iops),
    }
}

pub fn restart_in(policy: wire::RestartPolicy) -> Result<RestartPolicy> {
    RestartPolicy::read(&policy.name, policy.maximum_retries)
}

fn device_in(device: wire::DeviceMapping) -> Result<DeviceMapping> {
    Ok(DeviceMapping {
        host: check::filled("host.devices.host", device.host)?,
        container: check::text("host.devices.container", device.container)?,
        permissions: device.permissions,
    })
}

fn device_out(device: DeviceMapping) -> wire::DeviceMapping {
    wire::DeviceMapping {
        host: device.host,
        container: device.container,
        permissions: device.permissions,
    }
}

pub fn host_out(host: &HostConfig) -> wire::HostConfig {
    let host = host.clone();
    wire::HostConfig {
        network_mode: host.network_mode.to_string(),
        binds: host.binds.into_iter().map(bind_out).collect(),
        memory: host.memory,
        memory_swap: host.memory_swap,
        nano_cpus: host.nano_cpus,
        cpu_shares: host.cpu_shares,
        cpuset_cpus: host.cpuset_cpus,
        cpuset_mems: host.cpuset_mems,
        pids_limit: host.pids_limit,
        ulimits: host
            .ulimits
            .into_iter()
            .map(|Ulimit { name, soft, hard }| wire::Ulimit { name, soft, hard })
            .collect(),
        cap_add: host.cap_add,
        cap_drop: host.cap_drop,
        privileged: host.privileged,
        security_opt: host.security_opt,
        readonly_rootfs: host.readonly_rootfs,
        log: Some(wire::LogConfig {
            driver: host.log.driver,
            options: host.log.options.into_iter().collect(),
        }),
        hook_spec: host.hook_spec,
        auto_remove: host.auto_remove,
        oom_score_adj: host.oom_score_adj,
        runtime: host.runtime,
        shm_size: host.shm_size,
        annotations: host.annotations.into_iter().collect(),
        cgroupns_mode: host.cgroupns_mode,
        memory_reservation: host.memory_reservation,
        kernel_memory: host.kernel_memory,
        tmpfs: host.tmpfs.into_iter().collect(),
        port_bindings: host.port_bindings.into_iter().map(binding_out).collect(),
        publish_all_ports: host.publish_all_ports,
        dns: host.dns.iter().map(ToString::to_string).collect(),
        dns_search: host.dns_search,
        dns_options: host.dns_options,
        extra_hosts: host.extra_hosts,
        links: host.links,
        mac_address: host.mac_address.map(|mac| mac.to_string()).unwrap_or_default(),
        mounts: host.mounts.into_iter().map(mounts::request_out).collect(),
        volumes_from: host.volumes_from,
        volume_driver: host.volume_driver,
        restart: (host.restart != RestartPolicy::default()).then(|| wire::RestartPolicy {
            name: host.restart.name.name().to_owned(),
            maximum_retries: host.restart.maximum_retries.into(),
        }),
        init: host.init,
        pid_mode: host.pid_mode,
        ipc_mode: host.ipc_mode,
        uts_mode: host.uts_mode,
        sysctls: host.sysctls.into_iter().collect(),
        devices: host.devices.into_iter().map(device_out).collect(),
        device_cgroup_rules: host.device_cgroup_rules,
        group_add: host.group_add,
        oom_kill_disable: host.oom_kill_disable,
        memory_swappiness: host.memory_swappiness,
        cpu_period: host.cpu_period,
        cpu_quota: host.cpu_quota,
        cpu_rt_period: host.cpu_rt_period,
        cpu_rt_runtime: host.cpu_rt_runtime,
        blkio: (host.blkio != BlockIo::default()).then(|| block_out(host.blkio)),
        cgroup_parent: host.cgroup_parent,
        masked_paths: host.masked_paths.map(|items| wire::StringList { items }),
        readonly_paths: host.readonly_paths.map(|items| wire::StringList { items }),
        userns_mode: host.userns_mode,
        isolation: host.isolation,
    }
}

fn binding_in(binding: wire::PortBinding) -> Result<PortBinding> {
    let field = "host.port_bindings";
    let named = |error: Error| error.context(field);
    Ok(PortBinding {
        container: binding.container.parse().map_err(named)?,
        host: optional(&format!("{field}.host_ip"), &binding.host_ip)?,
        ports: match binding.host_port.as_str() {
            "" | "0" => None,
            text => Some(text.parse().map_err(named)?),
        },
    })
}

fn binding_out(binding: PortBinding) -> wire::PortBinding {
    let range = |range: PortRange| match range.first == range.last {
        true => range.first.to_string(),
        false => format!("{}-{}", range.first, range.last),
    };
    wire::PortBinding {
        container: binding.container.to_string(),
        host_ip: binding.host.map(|address| address.to_string()).unwrap_or_default(),
        host_port: binding.ports.map(range).unwrap_or_default(),
    }
}

pub fn networks_in(networks: HashMap<String, wire::EndpointSettings>) -> Result<BTreeMap<String, EndpointSettings>> {
    let one = |(name, settings)| {
        let name = check::filled("networks", name)?;
        let settings = networks::settings_in(&format!("networks.{name}"), settings)?;
        Ok((name, settings))
    };
    networks.into_iter().map(one).collect()
}

fn bind_in(bind: wire::BindMount) -> Result<BindMount> {
    Ok(BindMount {
        source: check::text("host.binds.source", bind.source)?,
        target: check::filled("host.binds.target", bind.target)?,
        read_only: bind.read_only,
        propagation: check::word("host.binds.propagation", bind.propagation, PROPAGATION)?,
        mode: check::text("host.binds.mode", bind.mode)?,
        ..BindMount::default()
    })
}

fn bind_out(bind: BindMount) -> wire::BindMount {
    let BindMount {
        source,
        target,
        read_only,
        propagation,
        mode,
        ..
    } = bind;
    wire::BindMount {
        source,
        target,
        read_only,
        propagation,
        mode,
    }
}

fn ulimit_in(limit: wire::Ulimit) -> Result<Ulimit> {
    Ok(Ulimit {
        name: check::filled("host.ulimits.name", limit.name)?,
        soft: check::at_least("host.ulimits.soft", limit.soft, -1)?,
        hard: check::at_least("host.ulimits.hard", limit.hard, -1)?,
    })
}

fn oom_score(score: i32) -> Result<i32> {
    match score {
        -1000..=1000 => Ok(score),
        other => Err(Error::invalid(format!(
            "host.oom_score_adj: {other} is not between -1000 and 1000"
        ))),
    }
}

pub fn filters(filters: Option<wire::Filters>) -> Filters {
    let by_key = filters.map(|filters| filters.by_key).unwrap_or_default();
    Filters(by_key.into_iter().map(|(key, list)| (key, list.items)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field, and what spoils it.
    type Case<M> = (&'static str, fn(&mut M));

    fn config() -> wire::ContainerConfig {
        wire::ContainerConfig {
            image: "busybox".into(),
            cmd: vec!["true".into()],
            env: vec!["A=1".into()],
            entrypoint: Some(wire::StringList { items: vec![] }),
            stop_timeout: Some(-1),
            labels: [("a".to_owned(), "b".to_owned())].into(),
            tty: true,
            ..Default::default()
        }
    }

    fn host() -> wire::HostConfig {
        wire::HostConfig {
            network_mode: "host".into(),
            binds: vec![wire::BindMount {
                source: "/a".into(),
                target: "/b".into(),
                read_only: true,
                propagation: "rslave".into(),
                mode: "ro,rslave".into(),
            }],
            mounts: vec![wire::MountRequest {
                r#type: "volume".into(),
                target: "/v".into(),
                subpath: "a".into(),
                ..Default::default()
            }],
            restart: Some(wire::RestartPolicy {
                name: "on-failure".into(),
                maximum_retries: 3,
            }),
            init: Some(true),
            devices: vec![wire::DeviceMapping {
                host: "/dev/null".into(),
                ..Default::default()
            }],
            memory: 1 << 20,
            memory_swap: -1,
            kernel_memory: 5,
            ulimits: vec![wire::Ulimit {
                name: "core".into(),
                soft: 0,
                hard: -1,
            }],
            oom_score_adj: Some(-5),
            log: Some(wire::LogConfig {
                driver: "none".into(),
                options: [("k".to_owned(), "v".to_owned())].into(),
            }),
            tmpfs: [("/t".to_owned(), "size=1m".to_owned())].into(),
            ..Default::default()
        }
    }

    #[test]
    fn there_and_back() {
        assert_eq!(container_out(&container_in(config()).unwrap()), config());
        assert_eq!(host_out(&host_in(host()).unwrap()), host());
        assert_eq!(
            container_in(config()).unwrap().entrypoint,
            Some(vec![]),
            "set and empty is not unset"
        );
    }

    #[test]
    fn odd_values_are_refused_by_the_fields_name() {
        let host_cases: [Case<wire::HostConfig>; 13] = [
            ("host.mounts.type", |host| host.mounts[0].r#type = "odd".into()),
            ("host.devices.host", |host| host.devices[0].host.clear()),
            ("host.cpu_period", |host| host.cpu_period = -1),
            ("host.memory", |host| host.memory = -1),
            ("host.memory_swap", |host| host.memory_swap = -2),
            ("host.kernel_memory", |host| host.kernel_memory = -1),
            ("host.nano_cpus", |host| host.nano_cpus = -1),
            ("host.shm_size", |host| host.shm_size = -1),
            ("host.oom_score_adj", |host| host.oom_score_adj = Some(1001)),
            ("host.ulimits.soft", |host| host.ulimits[0].soft = -2),
            ("host.binds.propagation", |host| {
                host.binds[0].propagation = "odd".into()
            }),
            ("host.binds.target", |host| host.binds[0].target.clear()),
            ("host.mac_address", |host| host.mac_address = "bridge".into()),
        ];
        for (field, spoil) in host_cases {
            let mut message = host();
            spoil(&mut message);
            let error = host_in(message).unwrap_err();
            assert!(error.message().starts_with(&format!("{field}: ")), "{field}: {error}");
        }
        let config_cases: [Case<wire::ContainerConfig>; 3] = [
            ("config.image", |config| config.image.clear()),
            ("config.env", |config| config.env.push(String::new())),
            ("config.cmd", |config| config.cmd.push("a\0".into())),
        ];
        for (field, spoil) in config_cases {
            let mut message = config();
            spoil(&mut message);
            assert!(container_in(message).unwrap_err().message().starts_with(field));
        }
    }
}
