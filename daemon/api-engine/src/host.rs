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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_both() {
        assert!(!kernel().is_empty() && !name().is_empty());
    }
}
