//! Reading a cgroup's files, and the host's own counters.

use super::{Stats, v1, v2};
use crate::cgroup::{CgroupMode, Hierarchies};
use crate::error::{Result, TaskError};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Samples the cgroups of one host. Cheap to clone. Sampling blocks for some tens of microseconds: files of the kernel's memory.
#[derive(Clone, Debug)]
pub struct Sampler {
    hierarchies: Hierarchies,
}

impl Sampler {
    pub fn new() -> Result<Self> {
        Ok(Self {
            hierarchies: Hierarchies::detect()?,
        })
    }

    pub fn mode(&self) -> CgroupMode {
        self.hierarchies.mode()
    }

    /// One sample of the cgroup at a path below the hierarchies' mounts, as the spec names it.
    pub fn sample(&self, cgroup_path: &str, id: &str) -> Result<Stats> {
        let mut stats = Stats::empty();
        let relative = cgroup_path.trim_start_matches('/');
        let read = match (self.hierarchies.mode(), self.hierarchies.unified()) {
            (CgroupMode::V2, Some(unified)) => v2::read(&unified.join(relative), &mut stats),
            _ => v1::read(&self.hierarchies, relative, &mut stats),
        };
        read.map_err(|source| match source.kind() {
            ErrorKind::NotFound => TaskError::ReadStats {
                id: id.to_owned(),
                source: io::Error::new(ErrorKind::NotFound, "its cgroup is gone: it does not run"),
            },
            _ => TaskError::ReadStats {
                id: id.to_owned(),
                source,
            },
        })?;
        finish(&mut stats);
        Ok(stats)
    }
}

/// Adds what is the host's.
pub(super) fn finish(stats: &mut Stats) {
    stats.cpu.system = system_cpu();
    stats.cpu.online_cpus = online_cpus();
    let host = host_memory();
    if stats.memory.limit == 0 || stats.memory.limit > host {
        stats.memory.limit = host;
    }
}

/// The processors' time since boot in all states, in nanoseconds: the first eight fields of the first line of /proc/stat (user, nice,
/// system, idle, iowait, irq, softirq, steal; guest time is in user already), in ticks of 10 ms.
pub fn system_cpu() -> u64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    parse_system_cpu(&text)
}

fn parse_system_cpu(text: &str) -> u64 {
    const TICK: u64 = 10_000_000;
    let fields = text
        .lines()
        .next()
        .unwrap_or_default()
        .split_ascii_whitespace()
        .skip(1)
        .take(8);
    fields.filter_map(|field| field.parse::<u64>().ok()).sum::<u64>() * TICK
}

/// Processors that are on.
pub fn online_cpus() -> u32 {
    let text = fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    let range = |range: &str| -> Option<u32> {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(last.parse::<u32>().ok()?.checked_sub(first.parse().ok()?)? + 1)
    };
    text.trim().split(',').filter_map(range).sum::<u32>().max(1)
}

fn host_memory() -> u64 {
    static BYTES: OnceLock<u64> = OnceLock::new();
    *BYTES.get_or_init(|| {
        let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
        line.and_then(|line| line.split_ascii_whitespace().next()?.parse::<u64>().ok())
            .map_or(u64::MAX, |kib| kib * 1024)
    })
}

/// A file's text, or nothing where this kernel does not have it.
pub(super) fn optional(dir: &Path, name: &str) -> String {
    fs::read_to_string(dir.join(name)).unwrap_or_default()
}

/// One number. `max`, absence and nonsense are `None`.
pub(super) fn number(dir: &Path, name: &str) -> Option<u64> {
    optional(dir, name).trim().parse().ok()
}

/// Where a controller's directory for the cgroup is; `None` if the host has no such controller.
pub(super) fn controller_dir(hierarchies: &Hierarchies, controller: &str, relative: &str) -> Option<PathBuf> {
    hierarchies.controller(controller).map(|mount| mount.join(relative))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_counters() {
        assert_eq!(parse_system_cpu("cpu  1 2 3 4 5 6 7 8 100 100\ncpu0 9"), 360_000_000);
        assert!(system_cpu() > 0 && online_cpus() >= 1);
    }

    #[test]
    fn a_real_cgroup_is_sampled_and_a_missing_one_is_said_to_be_gone() {
        let sampler = Sampler::new().unwrap();
        let name = format!("gantry-stats-{}", std::process::id());
        let dirs: Vec<PathBuf> = ["cpuacct", "cpu", "memory", "pids", "blkio"]
            .iter()
            .filter_map(|name| sampler.hierarchies.controller(name))
            .chain(sampler.hierarchies.unified())
            .map(|mount| mount.join(&name))
            .collect();
        dirs.iter().for_each(|dir| fs::create_dir_all(dir).unwrap());
        let mut child = std::process::Command::new("sh")
            .args(["-c", "while :; do :; done"])
            .spawn()
            .unwrap();
        dirs.iter()
            .for_each(|dir| fs::write(dir.join("cgroup.procs"), child.id().to_string()).unwrap());
        let first = sampler.sample(&format!("/{name}"), "c").unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        let busy = loop {
            let now = sampler.sample(&name, "c").unwrap();
            if now.cpu.total > first.cpu.total || std::time::Instant::now() > deadline {
                break now;
            }
        };
        child.kill().unwrap();
        child.wait().unwrap();
        for dir in &dirs {
            while fs::remove_dir(dir).is_err_and(|error| error.kind() == ErrorKind::ResourceBusy) {
                assert!(std::time::Instant::now() < deadline);
            }
        }
        assert!(busy.cpu.total > first.cpu.total);
        assert_eq!(busy.pids.current, 1);
        assert!(busy.memory.limit > 0 && busy.memory.limit <= host_memory());
        let gone = sampler.sample(&name, "c").unwrap_err();
        assert_eq!(gone.kind(), gantry_core::ErrorKind::NotFound);
    }
}
