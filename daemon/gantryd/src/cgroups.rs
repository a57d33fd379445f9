//! The daemon's own cgroup, and the parent of its containers', taken away when the daemon ends and nothing is in it.

use crate::error::{Error, Result};
use gantry_task::cgroup::Hierarchies;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

const MOUNTED: &str = "/sys/fs/cgroup";

/// Puts this process into a cgroup in every hierarchy that controls anything, and makes it where it is not there.
pub fn enter(path: &str) -> Result<()> {
    let found = Hierarchies::detect().map_err(gantry_core::Error::from)?;
    for mount in found.controlling() {
        let members = make(mount, path)?.join("cgroup.procs");
        let pid = std::process::id().to_string();
        fs::write(&members, pid).map_err(Error::path("enter the cgroup", &members))?;
    }
    Ok(())
}

fn make(mount: &Path, path: &str) -> Result<PathBuf> {
    let mut dir = mount.to_owned();
    for part in path.split('/').filter(|part| !part.is_empty()) {
        let above = dir.clone();
        dir.push(part);
        match fs::create_dir(&dir) {
            Err(source) if source.kind() != ErrorKind::AlreadyExists => {
                return Err(Error::path("make the cgroup", &dir)(source));
            }
            Ok(()) | Err(_) => {}
        }
        // Version 1 lets nobody into one that has no processors and no memory yet.
        for name in ["cpuset.cpus", "cpuset.mems"] {
            let (from, to) = (above.join(name), dir.join(name));
            if fs::read_to_string(&to).is_ok_and(|text| text.trim().is_empty())
                && let Ok(all) = fs::read_to_string(&from)
            {
                fs::write(&to, all.trim()).map_err(Error::path("set up the cgroup's", &to))?;
            }
        }
    }
    Ok(dir)
}

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
    fn a_cgroup_has_what_its_parent_has() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("a/b");
        fs::create_dir_all(&inner).unwrap();
        fs::write(dir.path().join("cpuset.cpus"), "0-3\n").unwrap();
        fs::write(dir.path().join("a/cpuset.cpus"), "\n").unwrap();
        fs::write(inner.join("cpuset.cpus"), "1").unwrap();
        assert_eq!(make(dir.path(), "/a/b/c").unwrap(), inner.join("c"));
        let read = |path: &str| fs::read_to_string(dir.path().join(path)).unwrap();
        assert_eq!(
            (read("a/cpuset.cpus").as_str(), read("a/b/cpuset.cpus").as_str()),
            ("0-3", "1")
        );
        assert!(inner.join("c").is_dir());
    }

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
