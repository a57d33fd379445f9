//! Fields that are known and not obeyed. One that asks for nothing is let pass, any other is refused by its name, with the reason.

use crate::answer::Failure;
use crate::model::asked::Host;

/// A field that is set, and why it is not obeyed.
type Refused = (bool, &'static str, &'static str);

const WINDOWS: &str = "only Windows has it";
const UPDATE: &str = "it cannot be changed once the container is made";

pub fn refuse(host: &Host) -> Result<(), Failure> {
    first(modes(host).into_iter().chain(limits(host)))
}

/// The same for an update, which changes limits and the restart policy.
pub fn refuse_update(host: &Host) -> Result<(), Failure> {
    let more = [
        (host.kernel_memory != 0, "HostConfig.KernelMemory", UPDATE),
        (!host.devices.is_empty(), "HostConfig.Devices", UPDATE),
        (
            !host.device_cgroup_rules.is_empty(),
            "HostConfig.DeviceCgroupRules",
            UPDATE,
        ),
        (!host.ulimits.is_empty(), "HostConfig.Ulimits", UPDATE),
        (!host.cgroup_parent.is_empty(), "HostConfig.CgroupParent", UPDATE),
        (host.oom_kill_disable == Some(true), "HostConfig.OomKillDisable", UPDATE),
        (
            host.memory_swappiness.is_some_and(|percent| percent >= 0),
            "HostConfig.MemorySwappiness",
            UPDATE,
        ),
        (
            !host.blkio_weight_device.is_empty(),
            "HostConfig.BlkioWeightDevice",
            UPDATE,
        ),
        (!host.blkio_read_bps.is_empty(), "HostConfig.BlkioDeviceReadBps", UPDATE),
        (
            !host.blkio_write_bps.is_empty(),
            "HostConfig.BlkioDeviceWriteBps",
            UPDATE,
        ),
        (
            !host.blkio_read_iops.is_empty(),
            "HostConfig.BlkioDeviceReadIOps",
            UPDATE,
        ),
        (
            !host.blkio_write_iops.is_empty(),
            "HostConfig.BlkioDeviceWriteIOps",
            UPDATE,
        ),
    ];
    first(limits(host).into_iter().chain(more))
}

fn first(named: impl IntoIterator<Item = Refused>) -> Result<(), Failure> {
    match named.into_iter().find(|(set, ..)| *set) {
        Some((_, name, why)) => Err(Failure::bad(format!("{name} is refused: {why}"))),
        None => Ok(()),
    }
}

fn modes(host: &Host) -> Vec<Refused> {
    vec![
        (
            !host.cgroup.is_empty(),
            "HostConfig.Cgroup",
            "no container joins another's cgroup; CgroupParent puts several below one",
        ),
        (
            !host.storage_opt.is_empty(),
            "HostConfig.StorageOpt",
            "no snapshotter here keeps quotas of a container's own layer",
        ),
        (
            !matches!(host.userns_mode.as_str(), "" | "host"),
            "HostConfig.UsernsMode",
            "users are not remapped here, so the host's are the container's: \"host\" or nothing",
        ),
        (
            !matches!(host.isolation.as_str(), "" | "default"),
            "HostConfig.Isolation",
            WINDOWS,
        ),
    ]
}

fn limits(host: &Host) -> Vec<Refused> {
    vec![
        (
            !host.device_requests.is_empty(),
            "HostConfig.DeviceRequests",
            "no driver of such devices is built; give the nodes as Devices",
        ),
        (
            host.kernel_memory_tcp != 0,
            "HostConfig.KernelMemoryTCP",
            "such limits are gone from newer kernels; Memory counts kernel memory too",
        ),
        (host.cpu_count != 0, "HostConfig.CpuCount", WINDOWS),
        (host.cpu_percent != 0, "HostConfig.CpuPercent", WINDOWS),
        (host.io_iops != 0, "HostConfig.IOMaximumIOps", WINDOWS),
        (host.io_bandwidth != 0, "HostConfig.IOMaximumBandwidth", WINDOWS),
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
        assert!(refuse(&read(nothing)).is_ok());
        for (field, value) in [
            ("StorageOpt", json!({ "size": "1g" })),
            ("Cgroup", json!("container:x")),
            ("UsernsMode", json!("private")),
            ("DeviceRequests", json!([{ "Count": -1 }])),
            ("CpuPercent", json!(5)),
        ] {
            let error = refuse(&read(json!({ field: value }))).unwrap_err();
            assert!(
                error.message.starts_with(&format!("HostConfig.{field} is refused: ")),
                "{}",
                error.message
            );
        }
        let update = refuse_update(&read(json!({ "CgroupParent": "/x" }))).unwrap_err();
        assert!(
            update.message.starts_with("HostConfig.CgroupParent"),
            "{}",
            update.message
        );
    }
}
