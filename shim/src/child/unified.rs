//! One cgroup of v2: made, entered, limited (kernel, admin-guide/cgroup-v2; OCI runtime-spec, config-linux: control groups; where the
//! two differ, as runc does). Limits come in v1's words and are turned into v2's here.

use super::limits::set;
use crate::failure::{Failure, Kind, Result};
use libcontainer::oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources, LinuxThrottleDevice};
use std::{
    collections::HashMap,
    fs,
    io::{self, ErrorKind},
    path::{Component, Path, PathBuf},
};

const CONTROL: &str = "cgroup.subtree_control";

/// Makes the cgroup at `path` below the hierarchy's mount, with every controller there is handed down to it. Others may be making the
/// same parents at the same time.
pub fn make(mount: &Path, path: &Path) -> io::Result<PathBuf> {
    let controllers = fs::read_to_string(mount.join("cgroup.controllers"))?;
    let mut dir = mount.to_owned();
    for part in path.components() {
        let Component::Normal(part) = part else { continue };
        hand_down(&dir, &controllers);
        dir.push(part);
        match fs::create_dir(&dir) {
            Err(err) if err.kind() != ErrorKind::AlreadyExists => return Err(err),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(dir)
}

/// One by one, and none is a must: the limit that needs it says so.
fn hand_down(dir: &Path, controllers: &str) {
    let file = dir.join(CONTROL);
    let given = fs::read_to_string(&file).unwrap_or_default();
    let given: Vec<&str> = given.split_whitespace().collect();
    for controller in controllers.split_whitespace().filter(|one| !given.contains(one)) {
        let _ = fs::write(&file, format!("+{controller}"));
    }
}

/// Whether a cgroup hands controllers down; then no process may be in it.
pub fn hands_down(dir: &Path) -> bool {
    fs::read_to_string(dir.join(CONTROL)).is_ok_and(|text| !text.trim().is_empty())
}

/// Moves this process there.
pub fn enter(dir: &Path) -> io::Result<()> {
    fs::write(dir.join("cgroup.procs"), "0")
}

/// Sets everything that `resources` speaks of, but rules for devices: those have no file.
pub fn limit(dir: &Path, resources: &LinuxResources) -> Result<()> {
    if let Some(limits) = resources.memory() {
        memory(dir, limits)?;
    }
    if let Some(limits) = resources.cpu() {
        cpu(dir, limits)?;
        set(dir, "cpuset.cpus", limits.cpus().as_ref())?;
        set(dir, "cpuset.mems", limits.mems().as_ref())?;
    }
    if let Some(limits) = resources.pids() {
        set(dir, "pids.max", Some(bound(limits.limit())))?;
    }
    if let Some(limits) = resources.block_io() {
        block_io(dir, limits)?;
    }
    for limit in resources.hugepage_limits().iter().flatten() {
        set(dir, &format!("hugetlb.{}.max", limit.page_size()), Some(limit.limit()))?;
        // What is reserved is counted since 5.7.
        let reserved = format!("hugetlb.{}.rsvd.max", limit.page_size());
        if dir.join(&reserved).exists() {
            set(dir, &reserved, Some(limit.limit()))?;
        }
    }
    match resources.unified() {
        Some(files) => verbatim(dir, files),
        None => Ok(()),
    }
}

/// A number, or no bound.
fn bound(limit: i64) -> String {
    if limit > 0 { limit.to_string() } else { "max".to_owned() }
}

fn invalid(text: String) -> Failure {
    Failure::new(Kind::Spec, text)
}

fn memory(dir: &Path, limits: &LinuxMemory) -> Result<()> {
    let limit = limits.limit().filter(|limit| *limit != 0);
    if let Some(swap) = swap(limit, limits.swap().filter(|swap| *swap != 0))?
        // A kernel that does not count swap has no such file.
        && dir.join("memory.swap.max").exists()
    {
        set(dir, "memory.swap.max", Some(swap))?;
    }
    if limits.check_before_update() == Some(true)
        && let (Some(limit), Some(usage)) = (limit.filter(|limit| *limit > 0), usage(dir))
        && limit < usage
    {
        return Err(invalid(format!(
            "a memory limit of {limit} bytes is refused: {usage} bytes are in use"
        )));
    }
    set(dir, "memory.max", limit.map(bound))?;
    let reservation = limits.reservation().filter(|bytes| *bytes != 0);
    set(dir, "memory.low", reservation.map(bound))
    // Swappiness, the memory killer's switch and the kernel's own memory have no files here.
}

fn usage(dir: &Path) -> Option<i64> {
    let text = fs::read_to_string(dir.join("memory.current")).ok()?;
    text.trim().parse().ok()
}

/// v1 limits memory and swap together, v2 swap alone: what it may be, or nothing if it stays as it is.
fn swap(limit: Option<i64>, together: Option<i64>) -> Result<Option<String>> {
    match (limit, together) {
        // No limit on memory is none on both.
        (Some(..0), None) => Ok(Some(bound(-1))),
        (_, None) => Ok(None),
        (_, Some(..0)) => Ok(Some(bound(-1))),
        (Some(..0), Some(together)) => Ok(Some(together.to_string())),
        (None, Some(_)) => Err(invalid(
            "a limit on memory and swap together needs one on memory".to_owned(),
        )),
        (Some(limit), Some(together)) if together < limit => Err(invalid(format!(
            "a limit of {together} bytes on memory and swap together is less than that of {limit} on memory"
        ))),
        // None at all where both are the same.
        (Some(limit), Some(together)) => Ok(Some((together - limit).to_string())),
    }
}

fn cpu(dir: &Path, limits: &LinuxCpu) -> Result<()> {
    let real_time = limits.realtime_runtime().is_some_and(|runtime| runtime != 0)
        || limits.realtime_period().is_some_and(|period| period != 0);
    if real_time {
        return Err(invalid(
            "cgroup v2 does not share out real-time processor time".to_owned(),
        ));
    }
    set(dir, "cpu.idle", limits.idle())?;
    let shares = limits.shares().filter(|shares| *shares != 0);
    set(dir, "cpu.weight", shares.map(weight_of_shares))?;
    // A burst may not be above the quota, so the one that grows goes last.
    let early = set(dir, "cpu.max.burst", limits.burst());
    let quota = limits.quota().filter(|quota| *quota != 0).map(bound);
    let period = limits.period().filter(|period| *period != 0);
    let quota = match (quota, period) {
        (None, None) => return early,
        (Some(quota), None) => quota,
        (Some(quota), Some(period)) => format!("{quota} {period}"),
        (None, Some(period)) => {
            let now = fs::read_to_string(dir.join("cpu.max")).unwrap_or_default();
            format!("{} {period}", now.split_whitespace().next().unwrap_or("max"))
        }
    };
    set(dir, "cpu.max", Some(quota))?;
    early.or_else(|_| set(dir, "cpu.max.burst", limits.burst()))
}

/// 2 to 262144 with 1024 in the usual place, as 1 to 10000 with 100 there: a curve through the three of them
/// (opencontainers/cgroups, ConvertCPUSharesToCgroupV2Value).
fn weight_of_shares(shares: u64) -> u64 {
    let log = (shares.clamp(2, 262_144) as f64).log2();
    let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
    (10f64.powf(exponent).ceil() as u64).clamp(1, 10_000)
}

/// 10 to 1000, as 1 to 10000.
fn weight_of_disk(weight: u16) -> u64 {
    1 + u64::from(weight).saturating_sub(10) * 9999 / 990
}

fn block_io(dir: &Path, limits: &LinuxBlockIo) -> Result<()> {
    // BFQ's file where that scheduler is, which takes v1's weights as they are.
    let bfq = dir.join("io.bfq.weight").exists();
    let file = if bfq { "io.bfq.weight" } else { "io.weight" };
    let weight = |weight: u16| match bfq {
        true => u64::from(weight),
        false => weight_of_disk(weight),
    };
    set(dir, file, limits.weight().filter(|one| *one != 0).map(weight))?;
    for device in limits.weight_device().iter().flatten() {
        let line = |one: u16| format!("{}:{} {}", device.major(), device.minor(), weight(one));
        set(dir, file, device.weight().filter(|one| *one != 0).map(line))?;
    }
    let throttle = |key: &str, devices: &Option<Vec<LinuxThrottleDevice>>| {
        devices.iter().flatten().try_for_each(|device| {
            let rate = match device.rate() {
                0 => "max".to_owned(),
                rate => rate.to_string(),
            };
            let line = format!("{}:{} {key}={rate}", device.major(), device.minor());
            set(dir, "io.max", Some(line))
        })
    };
    throttle("rbps", limits.throttle_read_bps_device())?;
    throttle("wbps", limits.throttle_write_bps_device())?;
    throttle("riops", limits.throttle_read_iops_device())?;
    throttle("wiops", limits.throttle_write_iops_device())
}

/// Files that the caller names himself.
fn verbatim(dir: &Path, files: &HashMap<String, String>) -> Result<()> {
    let mut files: Vec<_> = files.iter().collect();
    files.sort();
    files.into_iter().try_for_each(|(file, value)| {
        if file.contains('/') || !file.contains('.') {
            return Err(invalid(format!(
                "unified: \"{file}\" is not the name of a cgroup's file"
            )));
        }
        set(dir, file, Some(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory that looks like a cgroup.
    struct Looks(tempfile::TempDir);

    impl Looks {
        fn like(names: &[&str]) -> Self {
            let dir = tempfile::tempdir().unwrap();
            for name in names {
                fs::write(dir.path().join(name), "").unwrap();
            }
            Self(dir)
        }

        fn limit(&self, resources: &str) -> Result<()> {
            limit(self.0.path(), &serde_json::from_str(resources).unwrap())
        }

        /// What was written, and nothing of what stood there before.
        fn take(&self, name: &str) -> String {
            let path = self.0.path().join(name);
            let text = fs::read_to_string(&path).unwrap();
            fs::write(path, "").unwrap();
            text
        }
    }

    #[test]
    fn swap_is_what_is_more_than_memory() {
        let dir = Looks::like(&["memory.max", "memory.swap.max", "memory.low"]);
        for (limits, max, swap) in [
            (r#"{"limit": 100, "swap": 100}"#, "100", "0"),
            (r#"{"limit": 100, "swap": 250}"#, "100", "150"),
            (r#"{"limit": 100, "swap": -1}"#, "100", "max"),
            (r#"{"limit": 100}"#, "100", ""),
            (r#"{"limit": -1}"#, "max", "max"),
            (r#"{"limit": -1, "swap": 7}"#, "max", "7"),
            (r#"{"reservation": 9}"#, "", ""),
            (r#"{"limit": 0, "swap": 0}"#, "", ""),
        ] {
            dir.limit(&format!(r#"{{"memory": {limits}}}"#)).unwrap();
            assert_eq!(
                (dir.take("memory.max").as_str(), dir.take("memory.swap.max").as_str()),
                (max, swap),
                "{limits}"
            );
        }
        assert_eq!(dir.take("memory.low"), "9");
        assert!(dir.limit(r#"{"memory": {"swap": 9}}"#).is_err());
        assert!(dir.limit(r#"{"memory": {"limit": 10, "swap": 9}}"#).is_err());
    }

    #[test]
    fn a_kernel_without_swap_accounting_limits_memory_all_the_same() {
        let dir = Looks::like(&["memory.max"]);
        dir.limit(r#"{"memory": {"limit": 100, "swap": 100}}"#).unwrap();
        assert_eq!(dir.take("memory.max"), "100");
        assert!(!dir.0.path().join("memory.swap.max").exists());
    }

    #[test]
    fn less_than_is_in_use_is_refused_where_asked() {
        let dir = Looks::like(&["memory.max"]);
        fs::write(dir.0.path().join("memory.current"), "500\n").unwrap();
        let error = dir
            .limit(r#"{"memory": {"limit": 100, "checkBeforeUpdate": true}}"#)
            .unwrap_err();
        assert!(error.message.contains("500"), "{}", error.message);
        dir.limit(r#"{"memory": {"limit": 100}}"#).unwrap();
    }

    #[test]
    fn weights_are_turned() {
        assert_eq!(
            [10, 16, 17, 500, 1000, 0, u16::MAX].map(weight_of_disk)[..5],
            [1, 61, 71, 4950, 10_000]
        );
        assert_eq!(
            [0, 2, 1024, 262_144, u64::MAX].map(weight_of_shares),
            [1, 1, 100, 10_000, 10_000]
        );
        let dir = Looks::like(&["io.weight", "cpu.weight", "io.max"]);
        dir.limit(r#"{"blockIO": {"weight": 300}, "cpu": {"shares": 512}}"#)
            .unwrap();
        assert_eq!(
            (dir.take("io.weight").as_str(), dir.take("cpu.weight").as_str()),
            ("2930", "59")
        );
        let device = r#"{"blockIO": {"weightDevice": [{"major": 8, "minor": 0, "weight": 1000}]}}"#;
        dir.limit(device).unwrap();
        assert_eq!(dir.take("io.weight"), "8:0 10000");
        dir.limit(r#"{"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 0}]}}"#)
            .unwrap();
        assert_eq!(dir.take("io.max"), "8:0 rbps=max");
        let dir = Looks::like(&["io.weight", "io.bfq.weight"]);
        dir.limit(r#"{"blockIO": {"weight": 300}}"#).unwrap();
        assert_eq!(
            (dir.take("io.weight").as_str(), dir.take("io.bfq.weight").as_str()),
            ("", "300")
        );
    }

    #[test]
    fn processor_time_is_quota_and_period_in_one() {
        let dir = Looks::like(&["cpu.max", "cpu.max.burst"]);
        for (limits, max) in [
            (r#"{"quota": 50000, "period": 100000}"#, "50000 100000"),
            (r#"{"quota": -1, "period": 100000}"#, "max 100000"),
            (r#"{"quota": 7000}"#, "7000"),
            (r#"{"quota": 0, "period": 0}"#, ""),
        ] {
            dir.limit(&format!(r#"{{"cpu": {limits}}}"#)).unwrap();
            assert_eq!(dir.take("cpu.max"), max, "{limits}");
        }
        fs::write(dir.0.path().join("cpu.max"), "5000 100000\n").unwrap();
        dir.limit(r#"{"cpu": {"period": 20000, "burst": 9}}"#).unwrap();
        assert!(dir.take("cpu.max").starts_with("5000 20000"));
        assert_eq!(dir.take("cpu.max.burst"), "9");
        assert!(dir.limit(r#"{"cpu": {"realtimeRuntime": 9}}"#).is_err());
    }

    #[test]
    fn no_bound_is_said_and_what_is_missing_is_named() {
        let dir = Looks::like(&["pids.max"]);
        for (limit, written) in [("-1", "max"), ("0", "max"), ("12", "12")] {
            dir.limit(&format!(r#"{{"pids": {{"limit": {limit}}}}}"#)).unwrap();
            assert_eq!(dir.take("pids.max"), written);
        }
        let error = dir.limit(r#"{"cpu": {"cpus": "0"}}"#).unwrap_err();
        assert!(error.message.contains("cpuset.cpus"), "{}", error.message);
        for bad in ["../memory.max", "tasks"] {
            assert!(dir.limit(&format!(r#"{{"unified": {{"{bad}": "1"}}}}"#)).is_err());
        }
        dir.limit(r#"{"unified": {"pids.max": "3"}}"#).unwrap();
        assert_eq!(dir.take("pids.max"), "3");
    }

    #[test]
    fn parents_hand_down_what_there_is() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("cgroup.controllers"), "cpu memory\n").unwrap();
        fs::write(dir.path().join(CONTROL), "cpu\n").unwrap();
        let made = make(dir.path(), Path::new("/gantry/one")).unwrap();
        assert_eq!(made, dir.path().join("gantry/one"));
        assert_eq!(
            make(dir.path(), Path::new("/gantry/one")).unwrap(),
            made,
            "again is fine"
        );
        assert_eq!(fs::read_to_string(dir.path().join(CONTROL)).unwrap(), "+memory");
        assert!(hands_down(dir.path()) && !hands_down(&made));
    }

    #[test]
    fn many_make_the_same_parents_at_once() {
        let points = crate::cgroup::mount_points();
        let Some((_, mount)) = points.into_iter().find(|(controllers, _)| controllers.is_empty()) else {
            eprintln!("not tried: cgroup v2 is mounted nowhere");
            return;
        };
        let parent = format!("gantry-many-{}", std::process::id());
        std::thread::scope(|scope| {
            for one in 0..16 {
                let path = Path::new("/").join(&parent).join("inner").join(one.to_string());
                let mount = &mount;
                scope.spawn(move || make(mount, &path).unwrap());
            }
        });
        for one in 0..16 {
            fs::remove_dir(mount.join(&parent).join("inner").join(one.to_string())).unwrap();
        }
        fs::remove_dir(mount.join(&parent).join("inner")).unwrap();
        fs::remove_dir(mount.join(&parent)).unwrap();
    }
}
