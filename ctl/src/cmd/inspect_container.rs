//! A container as `docker inspect` shows it: names, order and case of the Engine API's ContainerInspectResponse.

use std::collections::BTreeMap;

use gantry_proto::gantry::v1 as pb;

use super::inspect_endpoints;
use super::ps::state_word;
use crate::format::time;
use crate::template::{Struct, Value};

pub(super) fn value(it: &pb::Container) -> Value {
    let config = it.config.clone().unwrap_or_default();
    let host = it.host.clone().unwrap_or_default();
    let mut out = Struct::new("*container.InspectResponse")
        .json_as("ID", Some("Id"), it.id.as_str())
        .with("Created", time::rfc3339_nano(time::from_wire(it.created_at.as_ref())))
        .with("Path", &it.path)
        .with("Args", it.args.as_slice())
        .with("State", state(&it.state.clone().unwrap_or_default()))
        .with("Image", &it.image_id)
        .with("ResolvConfPath", &it.resolv_conf_path)
        .with("HostnamePath", &it.hostname_path)
        .with("HostsPath", &it.hosts_path)
        .with("LogPath", &it.log_path)
        .with("Name", format!("/{}", it.name))
        .with("RestartCount", it.restart_count)
        .with("Driver", &it.snapshotter)
        .with("Platform", if it.platform.is_empty() { "linux" } else { &it.platform })
        .with("MountLabel", "")
        .with("ProcessLabel", "")
        .with("AppArmorProfile", "")
        .with("ExecIDs", list_or_null(&it.exec_ids))
        .with("HostConfig", host_config(&host, &it.name))
        .with("GraphDriver", graph_driver(it));
    if let Some(bytes) = it.size_rw {
        out = out.with("SizeRw", bytes);
    }
    if let Some(bytes) = it.size_root_fs {
        out = out.with("SizeRootFs", bytes);
    }
    out.with("Mounts", it.mounts.iter().map(mount).collect::<Vec<Value>>())
        .with("Config", container_config(&config))
        .with("NetworkSettings", inspect_endpoints::settings(it))
        .omit_empty("Attached", it.attached.iter().map(client).collect::<Vec<Value>>())
        .into()
}

pub(super) fn list_or_null(items: &[String]) -> Value {
    if items.is_empty() {
        Value::Null
    } else {
        Value::from(items)
    }
}

fn state(it: &pb::ContainerState) -> Struct {
    use pb::ContainerStatus::{Dead, Paused, Restarting, Running};
    let status = it.status();
    let out = Struct::new("*container.State")
        .with("Status", state_word(status))
        .with("Running", matches!(status, Running | Paused | Restarting))
        .with("Paused", status == Paused)
        .with("Restarting", status == Restarting)
        .with("OOMKilled", it.oom_killed)
        .with("Dead", status == Dead)
        .with("Pid", it.pid)
        .with("ExitCode", it.exit_code)
        .with("Error", &it.error)
        .with("StartedAt", time::rfc3339_nano(time::from_wire(it.started_at.as_ref())))
        .with(
            "FinishedAt",
            time::rfc3339_nano(time::from_wire(it.finished_at.as_ref())),
        );
    match &it.health {
        Some(health) => out.with("Health", self::health(health)),
        // Templates may ask for it all the same.
        None => out.json_as("Health", None, Value::Null),
    }
}

fn health(it: &pb::Health) -> Struct {
    let probe = |it: &pb::Probe| -> Value {
        Struct::new("*container.HealthcheckResult")
            .with("Start", time::rfc3339_nano(time::from_wire(it.start.as_ref())))
            .with("End", time::rfc3339_nano(time::from_wire(it.end.as_ref())))
            .with("ExitCode", it.exit_code)
            .with("Output", &it.output)
            .into()
    };
    Struct::new("*container.Health")
        .with("Status", &it.status)
        .with("FailingStreak", i64::from(it.failing_streak))
        .with("Log", it.log.iter().map(probe).collect::<Vec<Value>>())
}

fn health_check(it: &pb::HealthCheck) -> Value {
    let mut out = Struct::new("*container.HealthConfig").omit_empty("Test", it.test.as_slice());
    for (name, value) in [
        ("Interval", it.interval),
        ("Timeout", it.timeout),
        ("StartPeriod", it.start_period),
        ("StartInterval", it.start_interval),
        ("Retries", it.retries),
    ] {
        if value != 0 {
            out = out.with(name, value);
        }
    }
    if it.exit_on_unhealthy() {
        out = out.with("ExitOnUnhealthy", true);
    }
    out.into()
}

fn request(it: &pb::MountRequest) -> Value {
    let mut out = Struct::new("mount.Mount")
        .with("Type", &it.r#type)
        .omit_empty("Source", &it.source)
        .with("Target", &it.target);
    if it.read_only {
        out = out.with("ReadOnly", true);
    }
    out = out.omit_empty("Consistency", &it.consistency);
    if !it.propagation.is_empty() {
        out = out.with(
            "BindOptions",
            Struct::new("mount.BindOptions").with("Propagation", &it.propagation),
        );
    }
    if it.no_copy || !it.subpath.is_empty() || !it.labels.is_empty() {
        let volume = Struct::new("mount.VolumeOptions")
            .with("NoCopy", it.no_copy)
            .omit_empty("Labels", it.labels.iter().collect::<Value>())
            .omit_empty("Subpath", &it.subpath);
        out = out.with("VolumeOptions", volume);
    }
    if it.tmpfs_size != 0 || it.tmpfs_mode != 0 {
        let tmpfs = Struct::new("mount.TmpfsOptions")
            .with("SizeBytes", it.tmpfs_size)
            .with("Mode", i64::from(it.tmpfs_mode));
        out = out.with("TmpfsOptions", tmpfs);
    }
    out.into()
}

fn device(it: &pb::DeviceMapping) -> Value {
    let or = |text: &str, other: &str| {
        if text.is_empty() {
            other.to_owned()
        } else {
            text.to_owned()
        }
    };
    Struct::new("container.DeviceMapping")
        .with("PathOnHost", &it.host)
        .with("PathInContainer", or(&it.container, &it.host))
        .with("CgroupPermissions", or(&it.permissions, "rwm"))
        .into()
}

fn host_config(it: &pb::HostConfig, name: &str) -> Struct {
    let log = it.log.clone().unwrap_or_default();
    let log = Struct::new("container.LogConfig")
        .with("Type", &log.driver)
        .with("Config", log.options.iter().collect::<Value>());
    let policy = it.restart.clone().unwrap_or_default();
    let policy_name = if policy.name.is_empty() { "no" } else { &policy.name };
    let restart = Struct::new("container.RestartPolicy")
        .with("Name", policy_name)
        .with("MaximumRetryCount", policy.maximum_retries);
    let ipc = if it.ipc_mode.is_empty() {
        "private"
    } else {
        &it.ipc_mode
    };
    let binds: Vec<String> = it.binds.iter().map(bind).collect();
    let mut out = Struct::new("*container.HostConfig")
        .with("Binds", list_or_null(&binds))
        .with("ContainerIDFile", "")
        .with("LogConfig", log)
        .with("NetworkMode", &it.network_mode)
        .with("PortBindings", inspect_endpoints::bindings(&it.port_bindings))
        .with("RestartPolicy", restart)
        .with("AutoRemove", it.auto_remove)
        .with("VolumeDriver", &it.volume_driver)
        .with("VolumesFrom", list_or_null(&it.volumes_from))
        .with("ConsoleSize", vec![Value::from(0), Value::from(0)])
        .omit_empty("Annotations", it.annotations.iter().collect::<Value>())
        .with("CapAdd", list_or_null(&it.cap_add))
        .with("CapDrop", list_or_null(&it.cap_drop))
        .with("CgroupnsMode", &it.cgroupns_mode)
        .with("Dns", it.dns.as_slice())
        .with("DnsOptions", it.dns_options.as_slice())
        .with("DnsSearch", it.dns_search.as_slice())
        .with("ExtraHosts", list_or_null(&it.extra_hosts))
        .with("GroupAdd", list_or_null(&it.group_add))
        .with("IpcMode", ipc)
        .with("Cgroup", "")
        .with("Links", inspect_endpoints::links(&it.links, name))
        .with("OomScoreAdj", it.oom_score_adj.unwrap_or(0))
        .with("PidMode", &it.pid_mode)
        .with("Privileged", it.privileged)
        .with("PublishAllPorts", it.publish_all_ports)
        .with("ReadonlyRootfs", it.readonly_rootfs)
        .with("SecurityOpt", list_or_null(&it.security_opt))
        .omit_empty("Tmpfs", it.tmpfs.iter().collect::<Value>())
        .with("UTSMode", &it.uts_mode)
        .with("UsernsMode", &it.userns_mode)
        .with("ShmSize", if it.shm_size == 0 { 64 << 20 } else { it.shm_size })
        .with("Runtime", &it.runtime)
        .with("Isolation", &it.isolation)
        .omit_empty("Sysctls", it.sysctls.iter().collect::<Value>());
    out = resources(out, it);
    out = out.omit_empty("Mounts", it.mounts.iter().map(request).collect::<Vec<Value>>());
    if let Some(init) = it.init {
        out = out.with("Init", init);
    }
    out.with("HookSpec", &it.hook_spec)
}

/// Devices and how much of each; null = none.
fn rates(name: &'static str, devices: &[pb::DeviceRate]) -> Value {
    let one = |it: &pb::DeviceRate| -> Value {
        let rate = i64::try_from(it.rate).unwrap_or(i64::MAX);
        Struct::new("*blkiodev.Device")
            .with("Path", &it.path)
            .with(name, rate)
            .into()
    };
    match devices {
        [] => Value::Null,
        devices => Value::List(devices.iter().map(one).collect()),
    }
}

fn resources(out: Struct, it: &pb::HostConfig) -> Struct {
    let ulimit = |it: &pb::Ulimit| -> Value {
        Struct::new("*units.Ulimit")
            .with("Name", &it.name)
            .with("Hard", it.hard)
            .with("Soft", it.soft)
            .into()
    };
    let ulimits: Vec<Value> = it.ulimits.iter().map(ulimit).collect();
    let pids = if it.pids_limit > 0 {
        Value::from(it.pids_limit)
    } else {
        Value::Null
    };
    let none = || Value::Null;
    let block = it.blkio.clone().unwrap_or_default();
    let devices = match it.devices.as_slice() {
        [] => none(),
        devices => Value::List(devices.iter().map(device).collect()),
    };
    out.with("CpuShares", it.cpu_shares)
        .with("Memory", it.memory)
        .json_as("NanoCPUs", Some("NanoCpus"), it.nano_cpus)
        .with("CgroupParent", &it.cgroup_parent)
        .with("BlkioWeight", i64::from(block.weight))
        .with("BlkioWeightDevice", rates("Weight", &block.weight_devices))
        .with("BlkioDeviceReadBps", rates("Rate", &block.read_bps))
        .with("BlkioDeviceWriteBps", rates("Rate", &block.write_bps))
        .with("BlkioDeviceReadIOps", rates("Rate", &block.read_iops))
        .with("BlkioDeviceWriteIOps", rates("Rate", &block.write_iops))
        .json_as("CPUPeriod", Some("CpuPeriod"), it.cpu_period)
        .json_as("CPUQuota", Some("CpuQuota"), it.cpu_quota)
        .json_as("CPURealtimePeriod", Some("CpuRealtimePeriod"), it.cpu_rt_period)
        .json_as("CPURealtimeRuntime", Some("CpuRealtimeRuntime"), it.cpu_rt_runtime)
        .with("CpusetCpus", &it.cpuset_cpus)
        .with("CpusetMems", &it.cpuset_mems)
        .with("Devices", devices)
        .with("DeviceCgroupRules", list_or_null(&it.device_cgroup_rules))
        .with("DeviceRequests", none())
        .json_as(
            "KernelMemory",
            (it.kernel_memory != 0).then_some("KernelMemory"),
            it.kernel_memory,
        )
        .with("MemoryReservation", it.memory_reservation)
        .with("MemorySwap", it.memory_swap)
        .with(
            "MemorySwappiness",
            it.memory_swappiness.map_or(Value::Null, Value::from),
        )
        .with(
            "OomKillDisable",
            if it.oom_kill_disable { Value::from(true) } else { none() },
        )
        .with("PidsLimit", pids)
        .with(
            "Ulimits",
            if ulimits.is_empty() {
                none()
            } else {
                Value::List(ulimits)
            },
        )
}

fn bind(it: &pb::BindMount) -> String {
    let mut modes = vec![it.mode.as_str()];
    if it.read_only && !it.mode.split(',').any(|word| word == "ro") {
        modes.push("ro");
    }
    if !it.mode.contains(&it.propagation) {
        modes.push(&it.propagation);
    }
    modes.retain(|mode| !mode.is_empty());
    match modes.is_empty() {
        true => format!("{}:{}", it.source, it.target),
        false => format!("{}:{}:{}", it.source, it.target, modes.join(",")),
    }
}

fn graph_driver(it: &pb::Container) -> Struct {
    let data: Value = it.snapshotter_data.iter().collect();
    Struct::new("storage.DriverData")
        .with("Data", data)
        .with("Name", &it.snapshotter)
}

fn mount(it: &pb::MountPoint) -> Value {
    Struct::new("container.MountPoint")
        .with("Type", &it.r#type)
        .omit_empty("Name", &it.name)
        .with("Source", &it.source)
        .with("Destination", &it.destination)
        .omit_empty("Driver", &it.driver)
        .with("Mode", &it.mode)
        .with("RW", it.rw)
        .with("Propagation", &it.propagation)
        .into()
}

/// Also an image's, which has the same shape.
pub(super) fn container_config(it: &pb::ContainerConfig) -> Struct {
    let set = |names: &[String]| {
        names
            .iter()
            .map(|name| (name, Value::Map(BTreeMap::new())))
            .collect::<Value>()
    };
    let volumes = if it.volumes.is_empty() {
        Value::Null
    } else {
        set(&it.volumes)
    };
    let entrypoint = it
        .entrypoint
        .as_ref()
        .map_or(Value::Null, |list| list_or_null(&list.items));
    let mut out = Struct::new("*container.Config")
        .with("Hostname", &it.hostname)
        .with("Domainname", &it.domainname)
        .with("User", &it.user)
        .with("AttachStdin", it.attach_stdin)
        .with("AttachStdout", it.attach_stdout)
        .with("AttachStderr", it.attach_stderr)
        .omit_empty("ExposedPorts", set(&it.exposed_ports))
        .with("Tty", it.tty)
        .with("OpenStdin", it.open_stdin)
        .with("StdinOnce", it.stdin_once)
        .with("Env", list_or_null(&it.env))
        .with("Cmd", list_or_null(&it.cmd))
        .with("Image", &it.image)
        .with("Volumes", volumes)
        .with("WorkingDir", &it.working_dir)
        .with("Entrypoint", entrypoint)
        .with("OnBuild", Value::Null)
        .with("Labels", it.labels.iter().collect::<Value>())
        .omit_empty("StopSignal", &it.stop_signal);
    if let Some(seconds) = it.stop_timeout {
        out = out.with("StopTimeout", seconds);
    }
    if let Some(check) = &it.healthcheck {
        out = out.with("Healthcheck", health_check(check));
    }
    out
}

/// Ours: who is attached, and whether somebody's slowness holds the container's output back.
fn client(it: &pb::AttachedClient) -> Value {
    Struct::new("AttachedClient")
        .with("ID", &it.id)
        .with("Spooled", it.spooled)
        .with("HoldingBack", it.holding_back)
        .into()
}
