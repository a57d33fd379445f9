//! What a container uses: one neutral form, decoded from what a shim answers.

mod host;
mod wire;

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
    /// How often the limit was hit.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_working_set_is_never_below_nothing() {
        let mut now = Stats::empty();
        now.memory.usage = 10;
        now.memory.inactive_file = 11;
        assert_eq!(now.memory.working_set(), 0);
    }
}
