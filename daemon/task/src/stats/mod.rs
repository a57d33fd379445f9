//! What a container uses: one neutral form, sampled from its cgroup's files in one pass or decoded from what a shim answers.

mod read;
mod v1;
mod v2;
mod wire;

pub use read::{Sampler, online_cpus, system_cpu};

use std::collections::BTreeMap;
use std::time::SystemTime;

/// One sample. Times are nanoseconds, sizes bytes; what the kernel does not tell is `None` or zero.
#[derive(Clone, Debug, PartialEq)]
pub struct Stats {
    pub at: SystemTime,
    pub cpu: CpuStats,
    pub memory: MemoryStats,
    pub pids: PidsStats,
    pub blkio: Vec<BlkioEntry>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuStats {
    pub total: u64,
    pub user: u64,
    pub kernel: u64,
    /// Per processor; version 1 only.
    pub per_cpu: Vec<u64>,
    /// Of the whole host since boot, all states.
    pub system: u64,
    pub online_cpus: u32,
    pub periods: u64,
    pub throttled_periods: u64,
    pub throttled: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryStats {
    pub usage: u64,
    /// The host's memory when none is set.
    pub limit: u64,
    pub max_usage: Option<u64>,
    /// How often the limit was hit; version 1 only.
    pub failures: u64,
    /// File pages that could be dropped at once; `docker stats` does not count them.
    pub inactive_file: u64,
    /// Processes ended by the memory killer.
    pub oom_kills: u64,
    /// Every line of memory.stat.
    pub detail: BTreeMap<String, u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PidsStats {
    pub current: u64,
    /// `None` = no limit.
    pub limit: Option<u64>,
}

/// Bytes moved between a container and one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlkioEntry {
    pub major: u64,
    pub minor: u64,
    /// `read` or `write`.
    pub op: &'static str,
    pub value: u64,
}

impl MemoryStats {
    /// What is in use and cannot be dropped at once.
    pub fn working_set(&self) -> u64 {
        self.usage.saturating_sub(self.inactive_file)
    }
}

impl Stats {
    fn empty() -> Self {
        Self {
            at: SystemTime::now(),
            cpu: CpuStats::default(),
            memory: MemoryStats::default(),
            pids: PidsStats::default(),
            blkio: Vec::new(),
        }
    }

    /// Part of all processors used between two samples, 1.0 = one processor all the time.
    pub fn cpu_share_since(&self, former: &Self) -> f64 {
        let own = self.cpu.total.saturating_sub(former.cpu.total) as f64;
        let all = self.cpu.system.saturating_sub(former.cpu.system) as f64;
        if all > 0.0 {
            own / all * f64::from(self.cpu.online_cpus.max(1))
        } else {
            0.0
        }
    }

    fn push_blkio(&mut self, major: u64, minor: u64, op: &str, value: u64) {
        let op = match op.to_ascii_lowercase().as_str() {
            "read" => "read",
            "write" => "write",
            _ => return,
        };
        self.blkio.push(BlkioEntry {
            major,
            minor,
            op,
            value,
        });
    }
}

/// `key value` lines.
fn pairs(text: &str) -> impl Iterator<Item = (&str, u64)> {
    text.lines().filter_map(|line| {
        let (key, value) = line.split_once(' ')?;
        Some((key, value.trim().parse().ok()?))
    })
}

/// `8:16` as numbers.
fn device(text: &str) -> Option<(u64, u64)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_working_set() {
        let mut former = Stats::empty();
        (former.cpu.total, former.cpu.system, former.cpu.online_cpus) = (100, 1000, 2);
        let mut now = former.clone();
        (now.cpu.total, now.cpu.system) = (600, 2000);
        assert!((now.cpu_share_since(&former) - 1.0).abs() < 1e-9);
        assert_eq!(former.cpu_share_since(&former), 0.0);
        now.memory.usage = 10;
        now.memory.inactive_file = 11;
        assert_eq!(now.memory.working_set(), 0);
    }
}
