//! What clients ask for. Every field that Docker knows is here, so that none is swallowed.

use crate::json::{Words, wire};
use serde_json::Value;
use std::collections::BTreeMap;

wire! {
    /// The body of a create: the configuration, with what the host lends and the networks beside its fields.
    Create = "container.CreateRequest" {
        hostname: String = "Hostname",
        domainname: String = "Domainname",
        user: String = "User",
        attach_stdin: bool = "AttachStdin",
        attach_stdout: bool = "AttachStdout",
        attach_stderr: bool = "AttachStderr",
        exposed_ports: BTreeMap<String, Value> = "ExposedPorts",
        tty: bool = "Tty",
        open_stdin: bool = "OpenStdin",
        stdin_once: bool = "StdinOnce",
        env: Vec<String> = "Env",
        cmd: Words = "Cmd",
        healthcheck: Option<Health> = "Healthcheck",
        args_escaped: bool = "ArgsEscaped",
        image: String = "Image",
        volumes: BTreeMap<String, Value> = "Volumes",
        working_dir: String = "WorkingDir",
        entrypoint: Words = "Entrypoint",
        network_disabled: bool = "NetworkDisabled",
        mac_address: String = "MacAddress",
        on_build: Vec<String> = "OnBuild",
        labels: BTreeMap<String, String> = "Labels",
        stop_signal: String = "StopSignal",
        stop_timeout: Option<i32> = "StopTimeout",
        shell: Words = "Shell",
        host: Option<Host> = "HostConfig",
        networking: Networking = "NetworkingConfig",
    }
}

wire! {
    Health = "container.HealthConfig" {
        test: Vec<String> = "Test",
        interval: i64 = "Interval",
        timeout: i64 = "Timeout",
        start_period: i64 = "StartPeriod",
        start_interval: i64 = "StartInterval",
        retries: i64 = "Retries",
        exit_on_unhealthy: Option<bool> = "ExitOnUnhealthy",
    }
}

wire! {
    Host = "container.HostConfig" {
        binds: Vec<String> = "Binds",
        container_id_file: String = "ContainerIDFile",
        log: Log = "LogConfig",
        network_mode: String = "NetworkMode",
        port_bindings: BTreeMap<String, Vec<HostPort>> = "PortBindings",
        restart: Restart = "RestartPolicy",
        auto_remove: bool = "AutoRemove",
        volume_driver: String = "VolumeDriver",
        volumes_from: Vec<String> = "VolumesFrom",
        console_size: Vec<i64> = "ConsoleSize",
        annotations: BTreeMap<String, String> = "Annotations",
        cap_add: Words = "CapAdd",
        cap_drop: Words = "CapDrop",
        cgroupns_mode: String = "CgroupnsMode",
        dns: Vec<String> = "Dns",
        dns_options: Vec<String> = "DnsOptions",
        dns_search: Vec<String> = "DnsSearch",
        extra_hosts: Vec<String> = "ExtraHosts",
        group_add: Vec<String> = "GroupAdd",
        ipc_mode: String = "IpcMode",
        cgroup: String = "Cgroup",
        links: Vec<String> = "Links",
        oom_score_adj: i64 = "OomScoreAdj",
        pid_mode: String = "PidMode",
        privileged: bool = "Privileged",
        publish_all_ports: bool = "PublishAllPorts",
        readonly_rootfs: bool = "ReadonlyRootfs",
        security_opt: Vec<String> = "SecurityOpt",
        storage_opt: BTreeMap<String, String> = "StorageOpt",
        tmpfs: BTreeMap<String, String> = "Tmpfs",
        uts_mode: String = "UTSMode",
        userns_mode: String = "UsernsMode",
        shm_size: i64 = "ShmSize",
        sysctls: BTreeMap<String, String> = "Sysctls",
        runtime: String = "Runtime",
        isolation: String = "Isolation",
        cpu_shares: i64 = "CpuShares",
        memory: i64 = "Memory",
        nano_cpus: i64 = "NanoCpus",
        cgroup_parent: String = "CgroupParent",
        blkio_weight: u16 = "BlkioWeight",
        blkio_weight_device: Vec<WeightDevice> = "BlkioWeightDevice",
        blkio_read_bps: Vec<ThrottleDevice> = "BlkioDeviceReadBps",
        blkio_write_bps: Vec<ThrottleDevice> = "BlkioDeviceWriteBps",
        blkio_read_iops: Vec<ThrottleDevice> = "BlkioDeviceReadIOps",
        blkio_write_iops: Vec<ThrottleDevice> = "BlkioDeviceWriteIOps",
        cpu_period: i64 = "CpuPeriod",
        cpu_quota: i64 = "CpuQuota",
        cpu_rt_period: i64 = "CpuRealtimePeriod",
        cpu_rt_runtime: i64 = "CpuRealtimeRuntime",
        cpuset_cpus: String = "CpusetCpus",
        cpuset_mems: String = "CpusetMems",
        devices: Vec<Device> = "Devices",
        device_cgroup_rules: Vec<String> = "DeviceCgroupRules",
        device_requests: Vec<Value> = "DeviceRequests",
        kernel_memory: i64 = "KernelMemory",
        kernel_memory_tcp: i64 = "KernelMemoryTCP",
        memory_reservation: i64 = "MemoryReservation",
        memory_swap: i64 = "MemorySwap",
        memory_swappiness: Option<i64> = "MemorySwappiness",
        oom_kill_disable: Option<bool> = "OomKillDisable",
        pids_limit: Option<i64> = "PidsLimit",
        ulimits: Vec<Ulimit> = "Ulimits",
        cpu_count: i64 = "CpuCount",
        cpu_percent: i64 = "CpuPercent",
        io_iops: i64 = "IOMaximumIOps",
        io_bandwidth: i64 = "IOMaximumBandwidth",
        mounts: Vec<Mount> = "Mounts",
        masked_paths: Option<Vec<String>> = "MaskedPaths",
        readonly_paths: Option<Vec<String>> = "ReadonlyPaths",
        init: Option<bool> = "Init",
        hook_spec: String = "HookSpec",
    }
}

wire! {
    WeightDevice = "blkiodev.WeightDevice" {
        path: String = "Path",
        weight: u16 = "Weight",
    }
}

wire! {
    ThrottleDevice = "blkiodev.ThrottleDevice" {
        path: String = "Path",
        rate: u64 = "Rate",
    }
}

wire! {
    Log = "container.LogConfig" {
        driver: String = "Type",
        options: BTreeMap<String, String> = "Config",
    }
}

wire! {
    HostPort = "nat.PortBinding" {
        ip: String = "HostIp",
        port: String = "HostPort",
    }
}

wire! {
    Restart = "container.RestartPolicy" {
        name: String = "Name",
        tries: i32 = "MaximumRetryCount",
    }
}

wire! {
    Device = "container.DeviceMapping" {
        host: String = "PathOnHost",
        container: String = "PathInContainer",
        permissions: String = "CgroupPermissions",
    }
}

wire! {
    Ulimit = "units.Ulimit" {
        name: String = "Name",
        soft: i64 = "Soft",
        hard: i64 = "Hard",
    }
}

wire! {
    Mount = "mount.Mount" {
        kind: String = "Type",
        source: String = "Source",
        target: String = "Target",
        read_only: bool = "ReadOnly",
        consistency: String = "Consistency",
        bind: Option<BindOptions> = "BindOptions",
        volume: Option<VolumeOptions> = "VolumeOptions",
        image: Option<Value> = "ImageOptions",
        tmpfs: Option<TmpfsOptions> = "TmpfsOptions",
        cluster: Option<Value> = "ClusterOptions",
    }
}

wire! {
    BindOptions = "mount.BindOptions" {
        propagation: String = "Propagation",
        non_recursive: bool = "NonRecursive",
        create_mountpoint: bool = "CreateMountpoint",
        read_only_non_recursive: bool = "ReadOnlyNonRecursive",
        read_only_force_recursive: bool = "ReadOnlyForceRecursive",
    }
}

wire! {
    VolumeOptions = "mount.VolumeOptions" {
        no_copy: bool = "NoCopy",
        labels: BTreeMap<String, String> = "Labels",
        driver: Option<VolumeDriver> = "DriverConfig",
        subpath: String = "Subpath",
    }
}

wire! {
    VolumeDriver = "mount.Driver" {
        name: String = "Name",
        options: BTreeMap<String, String> = "Options",
    }
}

wire! {
    TmpfsOptions = "mount.TmpfsOptions" {
        size: i64 = "SizeBytes",
        mode: i64 = "Mode",
        options: Vec<Vec<String>> = "Options",
    }
}

wire! {
    Networking = "network.NetworkingConfig" {
        endpoints: BTreeMap<String, Option<Endpoint>> = "EndpointsConfig",
    }
}

wire! {
    Endpoint = "network.EndpointSettings" {
        ipam: Option<EndpointIpam> = "IPAMConfig",
        links: Vec<String> = "Links",
        aliases: Vec<String> = "Aliases",
        mac_address: String = "MacAddress",
        driver_opts: BTreeMap<String, String> = "DriverOpts",
        gateway_priority: i32 = "GwPriority",
        // What it was given is said by the engine; clients may send it back, and it is not read.
        network_id: String = "NetworkID",
        endpoint_id: String = "EndpointID",
        gateway: String = "Gateway",
        ip_address: String = "IPAddress",
        ip_prefix: i32 = "IPPrefixLen",
        ipv6_gateway: String = "IPv6Gateway",
        ipv6_address: String = "GlobalIPv6Address",
        ipv6_prefix: i32 = "GlobalIPv6PrefixLen",
        dns_names: Vec<String> = "DNSNames",
    }
}

wire! {
    EndpointIpam = "network.EndpointIPAMConfig" {
        ipv4: String = "IPv4Address",
        ipv6: String = "IPv6Address",
        link_local: Vec<String> = "LinkLocalIPs",
    }
}

wire! {
    Exec = "container.ExecOptions" {
        user: String = "User",
        privileged: bool = "Privileged",
        tty: bool = "Tty",
        console_size: Vec<i64> = "ConsoleSize",
        stdin: bool = "AttachStdin",
        stderr: bool = "AttachStderr",
        stdout: bool = "AttachStdout",
        detach_keys: String = "DetachKeys",
        env: Vec<String> = "Env",
        working_dir: String = "WorkingDir",
        cmd: Words = "Cmd",
    }
}

wire! {
    ExecStart = "container.ExecStartOptions" {
        detach: bool = "Detach",
        tty: bool = "Tty",
        console_size: Vec<i64> = "ConsoleSize",
    }
}

wire! {
    NewNetwork = "network.CreateRequest" {
        name: String = "Name",
        check_duplicate: bool = "CheckDuplicate",
        driver: String = "Driver",
        scope: String = "Scope",
        ipv4: Option<bool> = "EnableIPv4",
        ipv6: Option<bool> = "EnableIPv6",
        ipam: Option<Ipam> = "IPAM",
        internal: bool = "Internal",
        attachable: bool = "Attachable",
        ingress: bool = "Ingress",
        config_only: bool = "ConfigOnly",
        config_from: Option<ConfigFrom> = "ConfigFrom",
        options: BTreeMap<String, String> = "Options",
        labels: BTreeMap<String, String> = "Labels",
    }
}

wire! {
    ConfigFrom = "network.ConfigReference" {
        network: String = "Network",
    }
}

wire! {
    Ipam = "network.IPAM" {
        driver: String = "Driver",
        options: Option<BTreeMap<String, String>> = "Options",
        config: Vec<IpamPool> = "Config",
    }
}

wire! {
    IpamPool = "network.IPAMConfig" {
        subnet: String = "Subnet",
        range: String = "IPRange",
        gateway: String = "Gateway",
        auxiliary: BTreeMap<String, String> = "AuxiliaryAddresses",
    }
}

wire! {
    Connect = "network.ConnectOptions" {
        container: String = "Container",
        settings: Option<Endpoint> = "EndpointConfig",
    }
}

wire! {
    Disconnect = "network.DisconnectOptions" {
        container: String = "Container",
        force: bool = "Force",
    }
}
