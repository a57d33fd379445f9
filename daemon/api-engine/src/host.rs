//! Facts of the host that `version` and `info` print.

use std::fs;

pub fn kernel() -> String {
    line("/proc/sys/kernel/osrelease")
}

pub fn name() -> String {
    line("/proc/sys/kernel/hostname")
}

fn line(path: &str) -> String {
    fs::read_to_string(path)
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}

/// As `/etc/os-release` calls it.
pub fn operating_system() -> String {
    let read = |path| fs::read_to_string(path).ok();
    let text = read("/etc/os-release")
        .or_else(|| read("/usr/lib/os-release"))
        .unwrap_or_default();
    pretty_name(&text).unwrap_or_else(|| "Linux".to_owned())
}

fn pretty_name(text: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(value.trim_matches(['"', '\'']).to_owned())
}

/// Bytes.
pub fn memory() -> i64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    mem_total(&text).unwrap_or(0)
}

fn mem_total(text: &str) -> Option<i64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.split_whitespace().next()?.parse::<i64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_as_they_are_written() {
        assert_eq!(
            pretty_name("ID=x\nPRETTY_NAME=\"Some Linux 12\"\n").as_deref(),
            Some("Some Linux 12")
        );
        assert_eq!(mem_total("MemTotal:       2048 kB\nMemFree: 1 kB\n"), Some(2048 * 1024));
        assert!(memory() > 0 && !kernel().is_empty());
    }
}
