//! How much memory processes hold, by `/proc/<pid>/smaps_rollup`: a page shared by n processes counts a n-th for each.

use std::fs;
use std::path::Path;

/// KiB.
pub struct Memory {
    pub shim: u64,
    pub daemon: u64,
}

/// Per shim on average, and of the daemon with its helpers, of the engine whose files lie below `root`.
pub fn of(root: &Path) -> Memory {
    let (mut shims, mut count, mut daemon) = (0, 0, 0);
    let text = root.display().to_string();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let dir = entry.path();
        let command = fs::read(dir.join("cmdline")).unwrap_or_default();
        let first = String::from_utf8_lossy(command.split(|b| *b == 0).next().unwrap_or_default()).into_owned();
        let here = fs::read_link(dir.join("cwd")).is_ok_and(|cwd| cwd.starts_with(root));
        if !here && !String::from_utf8_lossy(&command).contains(&text) {
            continue;
        }
        match first.rsplit('/').next().unwrap_or_default() {
            name if name.starts_with("containerd-shim") => {
                shims += pss(&dir);
                count += 1;
            }
            "gantryd" | "dockerd" | "containerd" => daemon += pss(&dir),
            _ => {}
        }
    }
    Memory {
        shim: shims / std::cmp::max(count, 1),
        daemon,
    }
}

fn pss(dir: &Path) -> u64 {
    let text = fs::read_to_string(dir.join("smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}
