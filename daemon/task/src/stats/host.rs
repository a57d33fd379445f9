//! What the host itself says, beside what a shim answers of a container.

use super::Stats;
use std::fs;
use std::sync::OnceLock;

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
fn system_cpu() -> u64 {
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
fn online_cpus() -> u32 {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_counters() {
        assert_eq!(parse_system_cpu("cpu  1 2 3 4 5 6 7 8 100 100\ncpu0 9"), 360_000_000);
        assert!(system_cpu() > 0 && online_cpus() >= 1);
    }
}
