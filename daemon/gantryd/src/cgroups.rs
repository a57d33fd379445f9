//! The daemon's own cgroup, and the parent of its containers', taken away when the daemon ends and nothing is in it.

use crate::error::{Error, Result};
use gantry_task::cgroup::{CgroupMode, Hierarchies};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use tracing::warn;

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

/// Under version 2, makes the parent of the containers and hands every controller down to it: a look at what it has says what the host
/// can limit, and the first containers, which may come all at once, find it. What does not work out here is told by the container whose
/// limit needs it.
pub fn prepare(parent: &str) {
    let Ok(found) = Hierarchies::detect() else { return };
    if let (CgroupMode::V2, Some(mount)) = (found.mode(), found.unified())
        && let Err(error) = prepare_in(mount, parent)
    {
        warn!(err = %error, "the parent of the containers' cgroups is not ready");
    }
}

fn prepare_in(mount: &Path, parent: &str) -> Result<()> {
    let file = mount.join("cgroup.controllers");
    let controllers = fs::read_to_string(&file).map_err(Error::path("read", &file))?;
    let hand_down = |dir: &Path| {
        for controller in controllers.split_whitespace() {
            // Each by itself: one that is refused is no reason to do without the others.
            let _ = fs::write(dir.join("cgroup.subtree_control"), format!("+{controller}"));
        }
    };
    hand_down(mount);
    let parts: Vec<&str> = parent.split('/').filter(|part| !part.is_empty()).collect();
    for depth in 1..=parts.len() {
        hand_down(&make(mount, &parts[..depth].join("/"))?);
    }
    Ok(())
}

/// Removes the parent in every hierarchy. The kernel refuses where a container is left, which is as it should be.
pub fn remove_empty(parent: &str) {
    // A parent that the administrator chose is not ours to remove.
    if !parent.starts_with("/gantry") {
        return;
    }
    let Ok(found) = Hierarchies::detect() else { return };
    for mount in found.mounts() {
        // Not there, or in use: both are fine.
        let _ = fs::remove_dir(mount.join(parent.trim_start_matches('/')));
    }
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
    fn controllers_are_handed_down_to_the_parent_of_containers() {
        let mount = tempfile::tempdir().unwrap();
        fs::write(mount.path().join("cgroup.controllers"), "cpu memory\n").unwrap();
        prepare_in(mount.path(), "/gantry/own").unwrap();
        prepare_in(mount.path(), "/gantry/own").unwrap();
        for dir in ["", "gantry", "gantry/own"] {
            let given = fs::read_to_string(mount.path().join(dir).join("cgroup.subtree_control")).unwrap();
            assert_eq!(given, "+memory", "{dir}: the last that was written");
        }
    }
}
