//! The files of cgroup version 1 (kernel documentation, admin-guide/cgroup-v1). A hybrid host has its controllers here, too.

use super::read::{controller_dir, number, optional};
use super::{Stats, device, pairs};
use crate::cgroup::Hierarchies;
use std::io;
use std::path::Path;

/// Above this the kernel means "no limit": it rounds the largest number down to whole pages.
const NO_LIMIT: u64 = 1 << 62;

pub(super) fn read(hierarchies: &Hierarchies, relative: &str, stats: &mut Stats) -> io::Result<()> {
    let dir = |controller| controller_dir(hierarchies, controller, relative);
    let known: Vec<_> = ["cpuacct", "memory", "pids"].into_iter().filter_map(dir).collect();
    if !known.iter().any(|dir| dir.is_dir()) {
        return Err(io::ErrorKind::NotFound.into());
    }
    if let Some(dir) = dir("cpuacct") {
        cpuacct(&dir, stats);
    }
    if let Some(dir) = dir("cpu") {
        throttling(&dir, stats);
    }
    if let Some(dir) = dir("memory") {
        memory(&dir, stats);
    }
    if let Some(dir) = dir("pids") {
        stats.pids.current = number(&dir, "pids.current").unwrap_or(0);
        stats.pids.limit = number(&dir, "pids.max");
    }
    if let Some(dir) = dir("blkio") {
        blkio(&dir, stats);
    }
    Ok(())
}

fn cpuacct(dir: &Path, stats: &mut Stats) {
    stats.cpu.total = number(dir, "cpuacct.usage").unwrap_or(0);
    let per_cpu = optional(dir, "cpuacct.usage_percpu");
    stats.cpu.per_cpu = per_cpu
        .split_ascii_whitespace()
        .filter_map(|value| value.parse().ok())
        .collect();
    stats.cpu.user = number(dir, "cpuacct.usage_user").unwrap_or(0);
    stats.cpu.kernel = number(dir, "cpuacct.usage_sys").unwrap_or(0);
}

fn throttling(dir: &Path, stats: &mut Stats) {
    for (key, value) in pairs(&optional(dir, "cpu.stat")) {
        match key {
            "nr_periods" => stats.cpu.periods = value,
            "nr_throttled" => stats.cpu.throttled_periods = value,
            "throttled_time" => stats.cpu.throttled = value,
            _ => {}
        }
    }
}

fn memory(dir: &Path, stats: &mut Stats) {
    let memory = &mut stats.memory;
    memory.detail = pairs(&optional(dir, "memory.stat"))
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
    memory.inactive_file = memory.detail.get("total_inactive_file").copied().unwrap_or(0);
    memory.usage = number(dir, "memory.usage_in_bytes").unwrap_or(0);
    memory.max_usage = number(dir, "memory.max_usage_in_bytes");
    memory.failures = number(dir, "memory.failcnt").unwrap_or(0);
    memory.limit = number(dir, "memory.limit_in_bytes")
        .filter(|limit| *limit < NO_LIMIT)
        .unwrap_or(0);
    memory.oom_kills = pairs(&optional(dir, "memory.oom_control"))
        .find(|(key, _)| *key == "oom_kill")
        .map_or(0, |(_, value)| value);
}

/// Lines of `8:0 Read 4096`. Without the scheduler's own file the throttle's counters tell the same.
fn blkio(dir: &Path, stats: &mut Stats) {
    for name in [
        "blkio.io_service_bytes_recursive",
        "blkio.bfq.io_service_bytes_recursive",
        "blkio.throttle.io_service_bytes_recursive",
        "blkio.throttle.io_service_bytes",
    ] {
        for line in optional(dir, name).lines() {
            let mut words = line.split_ascii_whitespace();
            let entry = (
                words.next().and_then(device),
                words.next(),
                words.next().and_then(|value| value.parse().ok()),
            );
            if let (Some((major, minor)), Some(op), Some(value)) = entry {
                stats.push_blkio(major, minor, op, value);
            }
        }
        if !stats.blkio.is_empty() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn files_as_a_kernel_writes_them() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        put("memory.stat", "cache 100\ntotal_inactive_file 4096\n");
        put("memory.usage_in_bytes", "8192\n");
        put("memory.limit_in_bytes", "9223372036854771712\n");
        put("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n");
        put("cpu.stat", "nr_periods 10\nnr_throttled 2\nthrottled_time 300\n");
        put(
            "blkio.throttle.io_service_bytes",
            "8:0 Read 512\n8:0 Write 1024\n8:0 Sync 7\n8:0 Total 1536\nTotal 1536\n",
        );
        let mut stats = Stats::empty();
        memory(dir.path(), &mut stats);
        throttling(dir.path(), &mut stats);
        blkio(dir.path(), &mut stats);
        assert_eq!(
            (stats.memory.usage, stats.memory.limit, stats.memory.working_set()),
            (8192, 0, 4096)
        );
        assert_eq!(stats.memory.oom_kills, 3);
        assert_eq!(
            (stats.cpu.periods, stats.cpu.throttled_periods, stats.cpu.throttled),
            (10, 2, 300)
        );
        let ops: Vec<_> = stats
            .blkio
            .iter()
            .map(|entry| (entry.major, entry.op, entry.value))
            .collect();
        assert_eq!(ops, [(8, "read", 512), (8, "write", 1024)]);
    }
}
