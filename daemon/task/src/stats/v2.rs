//! The files of cgroup version 2 (kernel documentation, admin-guide/cgroup-v2).

use super::read::{number, optional};
use super::{Stats, device, pairs};
use std::fs;
use std::io;
use std::path::Path;

const MICROSECOND: u64 = 1000;

pub(super) fn read(dir: &Path, stats: &mut Stats) -> io::Result<()> {
    // Every cgroup has cpu.stat, whatever controllers are on.
    cpu(&fs::read_to_string(dir.join("cpu.stat"))?, stats);
    memory(dir, stats);
    stats.pids.current = number(dir, "pids.current").unwrap_or(0);
    stats.pids.limit = number(dir, "pids.max");
    io(&optional(dir, "io.stat"), stats);
    Ok(())
}

fn cpu(text: &str, stats: &mut Stats) {
    for (key, value) in pairs(text) {
        match key {
            "usage_usec" => stats.cpu.total = value * MICROSECOND,
            "user_usec" => stats.cpu.user = value * MICROSECOND,
            "system_usec" => stats.cpu.kernel = value * MICROSECOND,
            "nr_periods" => stats.cpu.periods = value,
            "nr_throttled" => stats.cpu.throttled_periods = value,
            "throttled_usec" => stats.cpu.throttled = value * MICROSECOND,
            _ => {}
        }
    }
}

fn memory(dir: &Path, stats: &mut Stats) {
    let memory = &mut stats.memory;
    memory.detail = pairs(&optional(dir, "memory.stat"))
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
    memory.inactive_file = memory.detail.get("inactive_file").copied().unwrap_or(0);
    memory.usage = number(dir, "memory.current").unwrap_or(0);
    memory.max_usage = number(dir, "memory.peak");
    memory.limit = number(dir, "memory.max").unwrap_or(0);
    for (key, value) in pairs(&optional(dir, "memory.events")) {
        match key {
            "oom_kill" => memory.oom_kills = value,
            "max" => memory.failures = value,
            _ => {}
        }
    }
}

/// Lines of `8:16 rbytes=1 wbytes=2 rios=3 ...`.
fn io(text: &str, stats: &mut Stats) {
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let Some((major, minor)) = words.next().and_then(device) else {
            continue;
        };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let op = match key {
                "rbytes" => "read",
                "wbytes" => "write",
                _ => continue,
            };
            stats.push_blkio(major, minor, op, value.parse().unwrap_or(0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_as_a_kernel_writes_them() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        put(
            "cpu.stat",
            "usage_usec 30\nuser_usec 20\nsystem_usec 10\nnr_periods 1\nnr_throttled 1\nthrottled_usec 5\n",
        );
        put("memory.current", "8192\n");
        put("memory.max", "max\n");
        put("memory.stat", "anon 1\ninactive_file 96\n");
        put("memory.events", "low 0\nmax 4\noom 1\noom_kill 2\n");
        put("pids.current", "3\n");
        put("pids.max", "max\n");
        put(
            "io.stat",
            "8:16 rbytes=512 wbytes=1024 rios=1 wios=2 dbytes=0 dios=0\n253:0 \n",
        );
        let mut stats = Stats::empty();
        read(dir.path(), &mut stats).unwrap();
        assert_eq!(
            (stats.cpu.total, stats.cpu.user, stats.cpu.kernel, stats.cpu.throttled),
            (30_000, 20_000, 10_000, 5000)
        );
        assert_eq!(
            (stats.memory.usage, stats.memory.inactive_file, stats.memory.oom_kills),
            (8192, 96, 2)
        );
        assert_eq!((stats.pids.current, stats.pids.limit), (3, None));
        assert_eq!(stats.blkio.len(), 2);
        assert!(read(&dir.path().join("gone"), &mut stats).is_err());
    }
}
