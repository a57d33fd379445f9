//! Reading `/proc` and `/sys`.

use gantry_core::spec::{CapSet, Cgroup, HostFacts, Limits};
use oci_spec::runtime::{LinuxDevice, LinuxDeviceBuilder, LinuxDeviceType};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// Everything the spec builder wants to know. What cannot be read counts as not there.
pub fn gather() -> HostFacts {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let status = read("/proc/self/status");
    let cgroup = cgroup_mode();
    let files = cgroup_files(match cgroup {
        Cgroup::V1 | Cgroup::Hybrid => Path::new("/sys/fs/cgroup/blkio"),
        Cgroup::V2 => Path::new("/sys/fs/cgroup"),
    });
    HostFacts {
        bounding: CapSet::from_status(&status, "CapBnd").unwrap_or(CapSet::KNOWN),
        cgroup,
        kernel: kernel(&read("/proc/sys/kernel/osrelease")),
        arch: go_arch(std::env::consts::ARCH).to_owned(),
        seccomp: status.lines().any(|line| line.starts_with("Seccomp:")),
        devices: devices(Path::new("/dev")),
        rlimits: rlimits(&read("/proc/self/limits")),
        oom_score_adj: read("/proc/self/oom_score_adj").trim().parse().unwrap_or(0),
        nr_open: read("/proc/sys/fs/nr_open").trim().parse().unwrap_or(1 << 20),
        cpus: std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(1)),
        cpuset_cpus: read("/sys/devices/system/cpu/online").trim().to_owned(),
        cpuset_mems: read("/sys/devices/system/node/online").trim().to_owned(),
        swap_limit: swap_limit(cgroup, &files),
        block_files: files
            .iter()
            .filter(|name| BLOCK.contains(&name.as_str()))
            .cloned()
            .collect(),
        real_time: cgroup != Cgroup::V2 && Path::new(REAL_TIME).exists(),
        apparmor_profile: None,
        masked: thermal(),
    }
}

/// What the host cannot do, in Docker's words.
pub fn warnings(facts: &HostFacts) -> Vec<String> {
    let mut warnings = Vec::new();
    if !facts.swap_limit {
        warnings.push("WARNING: No swap limit support".to_owned());
    }
    if !facts.seccomp {
        warnings.push("WARNING: No seccomp support: containers run without a filter".to_owned());
    }
    if facts.apparmor_profile.is_none() && has_apparmor(Path::new("/sys")) {
        warnings.push("WARNING: AppArmor is on, and not built yet: containers run without its profile".to_owned());
    }
    if let Ok(text) = fs::read_to_string("/proc/sys/net/ipv4/ip_forward")
        && text.trim() == "0"
    {
        warnings.push("WARNING: IPv4 forwarding is disabled".to_owned());
    }
    warnings
}

/// Whether the kernel enforces AppArmor's profiles.
fn has_apparmor(sys: &Path) -> bool {
    let enabled = fs::read_to_string(sys.join("module/apparmor/parameters/enabled"));
    enabled.is_ok_and(|text| text.trim() == "Y") && sys.join("kernel/security/apparmor").exists()
}

fn cgroup_mode() -> Cgroup {
    const CGROUP2_MAGIC: nix::libc::c_long = 0x6367_7270;
    let root = nix::sys::statfs::statfs("/sys/fs/cgroup").map(|stat| stat.filesystem_type().0);
    if root.is_ok_and(|magic| magic as nix::libc::c_long == CGROUP2_MAGIC) {
        return Cgroup::V2;
    }
    if Path::new("/sys/fs/cgroup/unified").exists() {
        Cgroup::Hybrid
    } else {
        Cgroup::V1
    }
}

/// There where the kernel schedules real-time processes by group.
const REAL_TIME: &str = "/sys/fs/cgroup/cpu/cpu.rt_runtime_us";

/// Files of the cgroups in the root, which has not all of them itself: of those that are there, or of one that is made for the look.
fn cgroup_files(root: &Path) -> BTreeSet<String> {
    let names = |dir: &Path| -> BTreeSet<String> {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect()
    };
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    let below = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let below: Vec<String> = below
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| !is_left_look(root, name))
        .collect();
    if !below.is_empty() {
        return below.iter().flat_map(|name| names(&root.join(name))).collect();
    }
    let own = root.join(format!("{LOOK}{}", std::process::id()));
    let found = match fs::create_dir(&own) {
        Ok(()) => names(&own),
        Err(_) => names(root),
    };
    // Nothing is in it.
    let _ = fs::remove_dir(&own);
    found
}

/// What is made for a look, with its maker's pid.
const LOOK: &str = "gantry-look-";

/// Removes one whose maker was killed over it; whether it was one.
fn is_left_look(root: &Path, name: &str) -> bool {
    let Some(maker) = name.strip_prefix(LOOK) else {
        return false;
    };
    if !Path::new("/proc").join(maker).exists() {
        let _ = fs::remove_dir(root.join(name));
    }
    true
}

/// Files by which block devices are shared out.
const BLOCK: [&str; 11] = [
    "blkio.bfq.weight",
    "blkio.bfq.weight_device",
    "blkio.weight",
    "blkio.weight_device",
    "blkio.throttle.read_bps_device",
    "blkio.throttle.write_bps_device",
    "blkio.throttle.read_iops_device",
    "blkio.throttle.write_iops_device",
    "io.bfq.weight",
    "io.weight",
    "io.max",
];

fn swap_limit(cgroup: Cgroup, files: &BTreeSet<String>) -> bool {
    match cgroup {
        Cgroup::V1 | Cgroup::Hybrid => Path::new("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").exists(),
        Cgroup::V2 => files.contains("memory.swap.max"),
    }
}

fn kernel(release: &str) -> (u32, u32) {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn go_arch(arch: &str) -> &str {
    match arch {
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

/// Every device node below `/dev`, as `--privileged` gives them; not terminals and not what a container has of its own.
pub(super) fn devices(dir: &Path) -> Vec<LinuxDevice> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(dir) else { return found };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name();
        let Ok(meta) = fs::symlink_metadata(&path) else {
            continue;
        };
        if meta.is_dir() {
            let own = ["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"];
            if !own.iter().any(|known| name == *known) {
                found.extend(devices(&path));
            }
            continue;
        }
        let kind = match meta.file_type() {
            kind if kind.is_block_device() => LinuxDeviceType::B,
            kind if kind.is_char_device() => LinuxDeviceType::C,
            _ => continue,
        };
        if name != "console" {
            found.extend(device(&path, kind, &meta));
        }
    }
    found.sort_by(|a, b| a.path().cmp(b.path()));
    found
}

pub(super) fn device(path: &Path, kind: LinuxDeviceType, meta: &fs::Metadata) -> Option<LinuxDevice> {
    let (major, minor) = (nix::sys::stat::major(meta.rdev()), nix::sys::stat::minor(meta.rdev()));
    LinuxDeviceBuilder::default()
        .path(path)
        .typ(kind)
        .major(i64::try_from(major).ok()?)
        .minor(i64::try_from(minor).ok()?)
        .file_mode(meta.mode() & 0o777)
        .uid(meta.uid())
        .gid(meta.gid())
        .build()
        .ok()
}

/// `/proc/self/limits` by ulimit name.
fn rlimits(text: &str) -> BTreeMap<String, Limits> {
    const NAMES: [(&str, &str); 16] = [
        ("Max cpu time", "cpu"),
        ("Max file size", "fsize"),
        ("Max data size", "data"),
        ("Max stack size", "stack"),
        ("Max core file size", "core"),
        ("Max resident set", "rss"),
        ("Max processes", "nproc"),
        ("Max open files", "nofile"),
        ("Max locked memory", "memlock"),
        ("Max address space", "as"),
        ("Max file locks", "locks"),
        ("Max pending signals", "sigpending"),
        ("Max msgqueue size", "msgqueue"),
        ("Max nice priority", "nice"),
        ("Max realtime priority", "rtprio"),
        ("Max realtime timeout", "rttime"),
    ];
    let number = |word: &str| {
        if word == "unlimited" {
            Some(u64::MAX)
        } else {
            word.parse().ok()
        }
    };
    let mut limits = BTreeMap::new();
    for line in text.lines() {
        let Some((title, name)) = NAMES.iter().find(|(title, _)| line.starts_with(title)) else {
            continue;
        };
        let mut words = line[title.len()..].split_whitespace();
        if let (Some(soft), Some(hard)) = (words.next().and_then(number), words.next().and_then(number)) {
            limits.insert((*name).to_owned(), Limits { soft, hard });
        }
    }
    limits
}

/// Where the processor tells its heat: masked, since it can be read for other processes' work.
fn thermal() -> Vec<String> {
    let Ok(entries) = fs::read_dir("/sys/devices/system/cpu") else {
        return Vec::new();
    };
    let paths = entries.flatten().map(|entry| entry.path().join("thermal_throttle"));
    let mut found: Vec<String> = paths
        .filter(|path| path.is_dir())
        .map(|path| path.to_string_lossy().into_owned())
        .collect();
    found.sort();
    found
}

/// Name of the filesystem that holds `path`, as `info` shows it.
pub fn filesystem_name(path: &Path) -> Option<String> {
    let device = fs::metadata(path).ok()?.dev();
    let wanted = format!("{}:{}", nix::sys::stat::major(device), nix::sys::stat::minor(device));
    let table = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let line = table
        .lines()
        .find(|line| line.split(' ').nth(2) == Some(wanted.as_str()))?;
    line.split(" - ").nth(1)?.split(' ').next().map(str::to_owned)
}

/// `PRETTY_NAME` of os-release(5).
pub fn os_name() -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or_else(|| "Linux".to_owned(), |name| name.trim_matches('"').to_owned())
}

/// Bytes of memory of the machine.
pub fn total_memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = text.lines().find_map(|line| {
        line.strip_prefix("MemTotal:")?
            .trim()
            .strip_suffix(" kB")?
            .trim()
            .parse::<u64>()
            .ok()
    });
    kib.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \nMax open files            1024                 20000                files     \nMax core file size        0                    unlimited            bytes     \n";
        let limits = rlimits(text);
        assert_eq!((limits["nofile"].soft, limits["nofile"].hard), (1024, 20000));
        assert_eq!((limits["core"].soft, limits["core"].hard), (0, u64::MAX));
    }

    #[test]
    fn kernel_release() {
        assert_eq!(kernel("6.18.5+\n"), (6, 18));
        assert_eq!(kernel("5.10.0-8-amd64"), (5, 10));
    }

    #[test]
    fn a_look_at_cgroups_leaves_nothing_and_takes_away_what_was_left() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("io.stat"), "").unwrap();
        // The pid of nobody.
        let left = root.path().join(format!("{LOOK}4194999"));
        fs::create_dir(&left).unwrap();
        assert!(
            cgroup_files(root.path()).is_empty(),
            "one made for the look is empty here"
        );
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
        for (dir, file) in [("gantry", "io.max"), ("init.scope", "memory.swap.max")] {
            fs::create_dir(root.path().join(dir)).unwrap();
            fs::write(root.path().join(dir).join(file), "").unwrap();
        }
        let files = cgroup_files(root.path());
        assert!(files.contains("io.max") && swap_limit(Cgroup::V2, &files));
        assert!(!swap_limit(Cgroup::V2, &BTreeSet::new()));
    }

    #[test]
    fn apparmor_is_on_when_it_says_so() {
        let sys = tempfile::tempdir().unwrap();
        assert!(!has_apparmor(sys.path()));
        fs::create_dir_all(sys.path().join("module/apparmor/parameters")).unwrap();
        fs::create_dir_all(sys.path().join("kernel/security/apparmor")).unwrap();
        for (text, on) in [("Y\n", true), ("N\n", false)] {
            fs::write(sys.path().join("module/apparmor/parameters/enabled"), text).unwrap();
            assert_eq!(has_apparmor(sys.path()), on);
        }
    }

    #[test]
    fn this_host_is_read() {
        let facts = gather();
        assert!(facts.cpus > 0);
        assert!(facts.rlimits.contains_key("nofile"));
        assert!(
            facts
                .devices
                .iter()
                .any(|device| device.path() == Path::new("/dev/null"))
        );
    }
}
