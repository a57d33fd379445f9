//! The parent cgroup of this daemon's containers, taken away when the daemon ends and nothing is in it.

use std::fs;
use std::path::{Path, PathBuf};

const MOUNTED: &str = "/sys/fs/cgroup";

/// Removes the parent in every hierarchy. The kernel refuses where a container is left, which is as it should be.
pub fn remove_empty(parent: &str) {
    // A parent that the administrator chose is not ours to remove.
    if !parent.starts_with("/gantry") {
        return;
    }
    for hierarchy in hierarchies(Path::new(MOUNTED)) {
        // Not there, or in use: both are fine.
        let _ = fs::remove_dir(hierarchy.join(parent.trim_start_matches('/')));
    }
}

/// The one of version 2, and each of version 1 beside it.
fn hierarchies(mounted: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(mounted).into_iter().flatten().flatten();
    let below = entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path());
    std::iter::once(mounted.to_owned()).chain(below).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hierarchy_is_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["memory", "cpu"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        std::os::unix::fs::symlink("cpu", dir.path().join("cpuacct")).unwrap();
        assert_eq!(
            hierarchies(dir.path()).len(),
            3,
            "the root and two; a link is no hierarchy of its own"
        );
    }
}
