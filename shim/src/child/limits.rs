//! Limits as the files of cgroup v1 take them (OCI runtime-spec, config-linux: control groups).

use super::devices::ALWAYS;
use crate::failure::{Failure, Kind, Result};
use libcontainer::oci_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxDeviceCgroup, LinuxDeviceType, LinuxMemory, LinuxResources, LinuxThrottleDevice,
};
use std::{
    fmt::Display,
    fs, io,
    path::{Path, PathBuf},
};

/// Sets everything that `resources` speaks of. `find` knows a controller's directory.
pub fn apply(find: &dyn Fn(&str) -> Option<PathBuf>, resources: &LinuxResources) -> Result<()> {
    let dir = |controller: &str| {
        find(controller).ok_or_else(|| {
            let text = format!("a limit needs the {controller} cgroup controller, which this host has not mounted");
            Failure::new(Kind::Runtime, text)
        })
    };
    // Without the controller there is nothing to restrict by; root in a container is no weaker for it elsewhere either.
    if let Some(dir) = find("devices") {
        devices(&dir, resources.devices().as_deref().unwrap_or_default())?;
    }
    if let Some(limits) = resources.memory() {
        memory(&dir("memory")?, limits)?;
    }
    if let Some(limits) = resources.cpu() {
        if sets_cpu(limits) {
            cpu(&dir("cpu")?, limits)?;
        }
        if limits.cpus().is_some() || limits.mems().is_some() {
            let dir = dir("cpuset")?;
            set(&dir, "cpuset.cpus", limits.cpus().as_ref())?;
            set(&dir, "cpuset.mems", limits.mems().as_ref())?;
        }
    }
    if let Some(limits) = resources.pids() {
        let limit = limits.limit();
        let text = if limit > 0 { limit.to_string() } else { "max".to_owned() };
        set(&dir("pids")?, "pids.max", Some(text))?;
    }
    if let Some(limits) = resources.block_io() {
        block_io(&dir("blkio")?, limits)?;
    }
    for limit in resources.hugepage_limits().iter().flatten() {
        let file = format!("hugetlb.{}.limit_in_bytes", limit.page_size());
        set(&dir("hugetlb")?, &file, Some(limit.limit()))?;
    }
    if let Some(network) = resources.network() {
        if let Some(class) = network.class_id().filter(|class| *class != 0) {
            set(&dir("net_cls")?, "net_cls.classid", Some(class))?;
        }
        for priority in network.priorities().iter().flatten() {
            let line = format!("{} {}", priority.name(), priority.priority());
            set(&dir("net_prio")?, "net_prio.ifpriomap", Some(line))?;
        }
    }
    Ok(())
}

/// Writes one limit, if it is given.
pub(super) fn set(dir: &Path, file: &str, value: Option<impl Display>) -> Result<()> {
    let Some(value) = value else { return Ok(()) };
    let value = value.to_string();
    write(dir, file, &value).map_err(|err| {
        let controller = file.split('.').next().unwrap_or(file);
        let missing = match err.kind() {
            io::ErrorKind::NotFound => {
                format!(": the kernel lacks it, or the {controller} controller is not given to this cgroup")
            }
            _ => String::new(),
        };
        let text = format!("setting {file} to {value} in {}: {err}{missing}", dir.display());
        Failure::new(Kind::Runtime, text)
    })
}

/// These files cannot be created; one that is missing belongs to a kernel that lacks the limit.
fn write(dir: &Path, file: &str, value: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).open(dir.join(file))?;
    io::Write::write_all(&mut file, value.as_bytes())
}

fn devices(dir: &Path, rules: &[LinuxDeviceCgroup]) -> Result<()> {
    let number = |number: Option<i64>| {
        number
            .filter(|number| *number >= 0)
            .map_or("*".to_owned(), |n| n.to_string())
    };
    for rule in rules {
        let kind = match rule.typ() {
            Some(LinuxDeviceType::B) => "b",
            Some(LinuxDeviceType::C | LinuxDeviceType::U) => "c",
            _ => "a",
        };
        let access = rule
            .access()
            .as_deref()
            .filter(|access| !access.is_empty())
            .unwrap_or("rwm");
        let line = format!("{kind} {}:{} {access}", number(rule.major()), number(rule.minor()));
        let file = if rule.allow() { "devices.allow" } else { "devices.deny" };
        set(dir, file, Some(line))?;
    }
    ALWAYS.iter().try_for_each(|(kind, major, minor, access)| {
        let line = format!("{kind} {}:{} {access}", number(*major), number(*minor));
        set(dir, "devices.allow", Some(line))
    })
}

fn memory(dir: &Path, limits: &LinuxMemory) -> Result<()> {
    let limit = limits.limit().filter(|limit| *limit != 0);
    // No limit on memory is none on memory and swap together either.
    let swap = limits.swap().filter(|swap| *swap != 0);
    let swap = swap.or(limit.filter(|limit| *limit == -1));
    let set_swap = || match swap {
        // A kernel that does not count swap has no such file.
        Some(_) if !dir.join("memory.memsw.limit_in_bytes").exists() => Ok(()),
        swap => set(dir, "memory.memsw.limit_in_bytes", swap),
    };
    let set_limit = || {
        let done = set(dir, "memory.limit_in_bytes", limit);
        done.map_err(|failure| match usage(dir) {
            Some(usage) if limit.is_some_and(|limit| limit >= 0 && limit < usage) => {
                Failure::new(failure.kind, format!("{}: {usage} bytes are in use", failure.message))
            }
            _ => failure,
        })
    };
    // The sum may never be below its part, so the one that grows goes first.
    let now = fs::read_to_string(dir.join("memory.limit_in_bytes")).ok();
    let now = now.and_then(|text| text.trim().parse::<i64>().ok()).unwrap_or(i64::MAX);
    if swap.is_some_and(|swap| swap == -1 || now < swap) {
        set_swap()?;
        set_limit()?;
    } else {
        set_limit()?;
        set_swap()?;
    }
    set(
        dir,
        "memory.soft_limit_in_bytes",
        limits.reservation().filter(|bytes| *bytes != 0),
    )?;
    if let Some(disable) = limits.disable_oom_killer() {
        set(dir, "memory.oom_control", Some(i32::from(disable)))?;
    }
    match limits.swappiness() {
        Some(value) if value > 100 => {
            let text = format!("a swappiness of {value} is out of range: it goes from 0 to 100");
            Err(Failure::new(Kind::Spec, text))
        }
        value => set(dir, "memory.swappiness", value),
    }
    // `kernel` is ignored, as runc does: the limit was never stable, and newer kernels refuse it.
}

fn usage(dir: &Path) -> Option<i64> {
    let text = fs::read_to_string(dir.join("memory.usage_in_bytes")).ok()?;
    text.trim().parse().ok()
}

fn sets_cpu(limits: &LinuxCpu) -> bool {
    limits.shares().is_some()
        || limits.period().is_some()
        || limits.quota().is_some()
        || limits.burst().is_some()
        || limits.realtime_period().is_some()
        || limits.realtime_runtime().is_some()
        || limits.idle().is_some()
}

fn cpu(dir: &Path, limits: &LinuxCpu) -> Result<()> {
    set(dir, "cpu.shares", limits.shares().filter(|shares| *shares != 0))?;
    let period = limits.period().filter(|period| *period != 0);
    let quota = limits.quota().filter(|quota| *quota != 0);
    // Either order may pass through a ratio that the parent forbids; then the other one does not.
    if set(dir, "cpu.cfs_period_us", period).is_err() {
        set(dir, "cpu.cfs_quota_us", quota)?;
        set(dir, "cpu.cfs_period_us", period)?;
    }
    set(dir, "cpu.cfs_quota_us", quota)?;
    set(dir, "cpu.cfs_burst_us", limits.burst())?;
    set(
        dir,
        "cpu.rt_period_us",
        limits.realtime_period().filter(|period| *period != 0),
    )?;
    set(
        dir,
        "cpu.rt_runtime_us",
        limits.realtime_runtime().filter(|runtime| *runtime != 0),
    )?;
    set(dir, "cpu.idle", limits.idle())
}

fn block_io(dir: &Path, limits: &LinuxBlockIo) -> Result<()> {
    // BFQ's file where that scheduler counts, the older one elsewhere.
    let bfq = dir.join("blkio.bfq.weight").exists();
    let weight = if bfq { "blkio.bfq.weight" } else { "blkio.weight" };
    set(dir, weight, limits.weight().filter(|weight| *weight != 0))?;
    let leaf = limits.leaf_weight().filter(|weight| *weight != 0);
    set(dir, "blkio.leaf_weight", leaf)?;
    for device in limits.weight_device().iter().flatten() {
        let line = |weight: u16| format!("{}:{} {weight}", device.major(), device.minor());
        let file = if bfq {
            "blkio.bfq.weight_device"
        } else {
            "blkio.weight_device"
        };
        set(dir, file, device.weight().map(line))?;
        set(dir, "blkio.leaf_weight_device", device.leaf_weight().map(line))?;
    }
    let throttle = |file: &str, devices: &Option<Vec<LinuxThrottleDevice>>| {
        devices.iter().flatten().try_for_each(|device| {
            let line = format!("{}:{} {}", device.major(), device.minor(), device.rate());
            set(dir, file, Some(line))
        })
    };
    throttle("blkio.throttle.read_bps_device", limits.throttle_read_bps_device())?;
    throttle("blkio.throttle.write_bps_device", limits.throttle_write_bps_device())?;
    throttle("blkio.throttle.read_iops_device", limits.throttle_read_iops_device())?;
    throttle("blkio.throttle.write_iops_device", limits.throttle_write_iops_device())
}

#[cfg(test)]
mod tests {
    use super::*;
    use libcontainer::oci_spec::runtime::{
        LinuxCpuBuilder, LinuxMemoryBuilder, LinuxPidsBuilder, LinuxResourcesBuilder,
    };

    fn files(names: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in names {
            fs::write(dir.path().join(name), text).unwrap();
        }
        dir
    }

    #[test]
    fn what_is_said_is_written_and_nothing_else() {
        let dir = files(&[
            ("cpu.shares", ""),
            ("cpu.cfs_period_us", ""),
            ("cpu.cfs_quota_us", ""),
            ("pids.max", ""),
        ]);
        let cpu = LinuxCpuBuilder::default()
            .shares(512u64)
            .quota(50_000)
            .period(100_000u64)
            .build()
            .unwrap();
        let pids = LinuxPidsBuilder::default().limit(0).build().unwrap();
        let resources = LinuxResourcesBuilder::default().cpu(cpu).pids(pids).build().unwrap();
        let find = |controller: &str| (controller != "devices").then(|| dir.path().to_owned());
        apply(&find, &resources).unwrap();
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!(read("cpu.shares"), "512");
        assert_eq!(read("cpu.cfs_period_us"), "100000");
        assert_eq!(read("cpu.cfs_quota_us"), "50000");
        assert_eq!(read("pids.max"), "max");
    }

    #[test]
    fn a_missing_controller_and_a_missing_file_are_named() {
        let pids = LinuxPidsBuilder::default().limit(5).build().unwrap();
        let resources = LinuxResourcesBuilder::default().pids(pids).build().unwrap();
        let error = apply(&|_| None, &resources).unwrap_err();
        assert!(error.message.contains("pids"), "{}", error.message);
        let dir = files(&[]);
        let find = |controller: &str| (controller == "pids").then(|| dir.path().to_owned());
        let error = apply(&find, &resources).unwrap_err();
        assert!(error.message.contains("pids.max"), "{}", error.message);
    }

    #[test]
    fn swap_grows_before_memory_and_shrinks_after_it() {
        // With the sum's file missing nothing is said of it; with it, both are set.
        let dir = files(&[("memory.limit_in_bytes", "100")]);
        let limits = LinuxMemoryBuilder::default().limit(50).swap(60).build().unwrap();
        memory(dir.path(), &limits).unwrap();
        fs::write(dir.path().join("memory.memsw.limit_in_bytes"), "").unwrap();
        memory(dir.path(), &limits).unwrap();
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
        assert!(read("memory.limit_in_bytes").starts_with("50"));
        assert_eq!(read("memory.memsw.limit_in_bytes"), "60");
        let limits = LinuxMemoryBuilder::default().swappiness(101u64).build().unwrap();
        assert!(memory(dir.path(), &limits).is_err());
    }
}
