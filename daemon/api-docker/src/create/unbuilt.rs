//! Fields that are known and not obeyed yet. One that asks for nothing is let pass, any other is refused by its name.

use crate::answer::Failure;
use crate::model::asked::{Create, Host};

pub fn refuse(asked: &Create, host: &Host) -> Result<(), Failure> {
    let named = config(asked).into_iter().chain(modes(host)).chain(limits(host));
    match named.into_iter().find(|(set, _)| *set) {
        Some((_, name)) => Err(Failure::unbuilt(name)),
        None => Ok(()),
    }
}

/// The same for an update, which changes limits and the restart policy.
pub fn refuse_update(host: &Host) -> Result<(), Failure> {
    let more = [
        (host.kernel_memory != 0, "KernelMemory"),
        (!host.devices.is_empty(), "Devices"),
        (host.oom_kill_disable == Some(true), "OomKillDisable"),
        (
            host.memory_swappiness.is_some_and(|percent| percent >= 0),
            "MemorySwappiness",
        ),
    ];
    match limits(host).into_iter().chain(more).find(|(set, _)| *set) {
        Some((_, name)) => Err(Failure::unbuilt(name)),
        None => Ok(()),
    }
}

fn config(asked: &Create) -> Vec<(bool, &'static str)> {
    let health = asked.healthcheck.clone().unwrap_or_default();
    vec![(health.exit_on_unhealthy, "Healthcheck.ExitOnUnhealthy")]
}

fn modes(host: &Host) -> Vec<(bool, &'static str)> {
    vec![
        (!host.cgroup.is_empty(), "HostConfig.Cgroup"),
        (!host.storage_opt.is_empty(), "HostConfig.StorageOpt"),
        // Without remapped users the host's are the container's.
        (
            !matches!(host.userns_mode.as_str(), "" | "host"),
            "HostConfig.UsernsMode",
        ),
        (
            !matches!(host.isolation.as_str(), "" | "default"),
            "HostConfig.Isolation",
        ),
        (host.masked_paths.is_some(), "HostConfig.MaskedPaths"),
        (host.readonly_paths.is_some(), "HostConfig.ReadonlyPaths"),
    ]
}

fn limits(host: &Host) -> Vec<(bool, &'static str)> {
    vec![
        (!host.cgroup_parent.is_empty(), "HostConfig.CgroupParent"),
        (host.blkio_weight != 0, "HostConfig.BlkioWeight"),
        (!host.blkio_weight_device.is_empty(), "HostConfig.BlkioWeightDevice"),
        (!host.blkio_read_bps.is_empty(), "HostConfig.BlkioDeviceReadBps"),
        (!host.blkio_write_bps.is_empty(), "HostConfig.BlkioDeviceWriteBps"),
        (!host.blkio_read_iops.is_empty(), "HostConfig.BlkioDeviceReadIOps"),
        (!host.blkio_write_iops.is_empty(), "HostConfig.BlkioDeviceWriteIOps"),
        (host.cpu_rt_period != 0, "HostConfig.CpuRealtimePeriod"),
        (host.cpu_rt_runtime != 0, "HostConfig.CpuRealtimeRuntime"),
        (!host.device_requests.is_empty(), "HostConfig.DeviceRequests"),
        (host.kernel_memory_tcp != 0, "HostConfig.KernelMemoryTCP"),
        (host.cpu_count != 0, "HostConfig.CpuCount"),
        (host.cpu_percent != 0, "HostConfig.CpuPercent"),
        (host.io_iops != 0, "HostConfig.IOMaximumIOps"),
        (host.io_bandwidth != 0, "HostConfig.IOMaximumBandwidth"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Wire;
    use serde_json::json;

    #[test]
    fn what_asks_for_nothing_passes_and_the_rest_is_named() {
        let read = |value| Host::read(value, "").expect("a host configuration");
        let nothing = json!({
            "RestartPolicy": { "Name": "no" }, "MemorySwappiness": -1, "OomKillDisable": false, "IpcMode": "",
            "BlkioWeightDevice": [], "DeviceRequests": null, "Isolation": "", "ConsoleSize": [0, 0]
        });
        assert!(refuse(&Create::default(), &read(nothing)).is_ok());
        for (field, value) in [
            ("CpuRealtimePeriod", json!(1)),
            ("StorageOpt", json!({ "size": "1g" })),
            ("BlkioWeight", json!(10)),
            ("CpuPercent", json!(5)),
        ] {
            let error = refuse(&Create::default(), &read(json!({ field: value }))).unwrap_err();
            assert_eq!(
                error.message,
                format!("HostConfig.{field} is not built yet: leave it out")
            );
        }
    }
}
