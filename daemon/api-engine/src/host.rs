//! Facts of the host that `version` and `info` print.

use std::fs;
use std::path::Path;

pub fn kernel() -> String {
    line("/proc/sys/kernel/osrelease")
}

pub fn name() -> String {
    line("/proc/sys/kernel/hostname")
}

/// The id that the daemon of a data root was given.
pub fn daemon_id(data_root: &Path) -> String {
    line(data_root.join(crate::ID_FILE))
}

fn line(path: impl AsRef<Path>) -> String {
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
