//! The bundle of a client's task: what shims of others look for in it, beside what every bundle has.

use super::LaunchShim;
use crate::bundle::{Bundle, Leaving};
use crate::cgroup::{Cgroup, Hierarchies};
use crate::cleanup::unmount_below;
use crate::error::{Result, TaskError};
use crate::process::ProcessMark;
use gantry_shim_protocol::{Bootstrap, bundle as file};
use serde::Deserialize;
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Absolute path of the shim's program; only tasks of clients have it.
const PROGRAM: &str = "shim-binary-path";
/// Link to a directory that outlives reboots.
const WORK: &str = "work";
/// There if the shim was there before the task and stays after it.
const GUEST: &str = "guest";
/// The shim's process, told from any that bears its pid later.
const SHIM_MARK: &str = "shim.mark";
/// There once the event of the task's exit is told.
const TOLD: &str = "exit.told";

impl Bundle {
    /// Adds to a made bundle what containerd puts there.
    pub(super) fn lay(&self, launch: &LaunchShim) -> Result<()> {
        self.try_lay(launch).map_err(|source| TaskError::MakeBundle {
            path: self.path().to_owned(),
            source,
        })
    }

    fn try_lay(&self, launch: &LaunchShim) -> io::Result<()> {
        let program = launch.program.to_string_lossy();
        fs::write(self.path().join(PROGRAM), program.as_bytes())?;
        // What a former task of this name left there.
        match fs::remove_dir_all(&launch.work) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        DirBuilder::new().recursive(true).mode(0o711).create(&launch.work)?;
        symlink(&launch.work, self.path().join(WORK))?;
        // A container whose root is somebody else must get through to its root filesystem.
        match mapped_root(&launch.spec) {
            None | Some(0) => Ok(()),
            Some(group) => {
                chown(self.path(), None, Some(group))?;
                fs::set_permissions(self.path(), Permissions::from_mode(0o710))
            }
        }
    }

    /// Writes down where the shim is and who.
    pub(super) fn settle(&self, bootstrap: &Bootstrap, mark: Option<&ProcessMark>) -> Result<()> {
        let fail = |source| TaskError::MakeBundle {
            path: self.path().to_owned(),
            source,
        };
        let write = |name: &str, bytes: Vec<u8>| fs::write(self.path().join(name), bytes).map_err(fail);
        let text = |error: serde_json::Error| fail(error.into());
        write(file::BOOTSTRAP, serde_json::to_vec(bootstrap).map_err(text)?)?;
        match mark {
            Some(mark) => write(SHIM_MARK, serde_json::to_vec(mark).map_err(text)?),
            None => Ok(()),
        }
    }

    /// The program of the shim that runs from it; none if it is a container's of the engine's own.
    pub(super) fn program(&self) -> Option<PathBuf> {
        let text = fs::read_to_string(self.path().join(PROGRAM)).ok()?;
        Some(PathBuf::from(text.trim())).filter(|path| path.is_absolute())
    }

    /// Writes down that its shim is not its own.
    pub(super) fn mark_guest(&self, host: &str) -> Result<()> {
        let path = self.path().join(GUEST);
        fs::write(&path, host).map_err(|source| TaskError::MakeBundle { path, source })
    }

    /// Whether its shim is not its own.
    pub(crate) fn is_guest(&self) -> bool {
        self.path().join(GUEST).exists()
    }

    pub(super) fn shim_mark(&self) -> Option<ProcessMark> {
        serde_json::from_slice(&fs::read(self.path().join(SHIM_MARK)).ok()?).ok()
    }

    /// Puts it aside with what outlives reboots. A mount that a shim left in it is unmounted first.
    pub(super) fn discard(&self, limit: Duration) -> Result<Discarded> {
        unmount_below(self.path(), Instant::now() + limit)?;
        let work = self.work().map(|work| leave_work(&work)).transpose()?;
        Ok(Discarded {
            bundle: self.leave()?,
            work,
        })
    }

    /// What outlives reboots.
    pub(super) fn work(&self) -> Option<PathBuf> {
        fs::read_link(self.path().join(WORK)).ok()
    }

    /// `true` the first time.
    pub(super) fn told_exit(&self) -> Result<bool> {
        let path = self.path().join(TOLD);
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
            Err(source) => Err(TaskError::MakeBundle { path, source }),
        }
    }

    /// Where its spec puts its processes, if that is a place of its own.
    pub(super) fn cgroup_path(&self, id: &str) -> Option<String> {
        let spec = fs::read(self.path().join(file::CONFIG)).ok()?;
        let path = serde_json::from_slice::<Spec>(&spec).ok()?.linux.cgroups_path;
        let hierarchies = Hierarchies::detect().ok()?;
        Cgroup::at(&hierarchies, &path, id).is_ok().then_some(path)
    }
}

/// What is left of a deleted task on disk; its names are free.
#[derive(Debug)]
pub struct Discarded {
    bundle: Leaving,
    work: Option<PathBuf>,
}

impl Discarded {
    /// Removes it; may be called again after a failure. Blocks.
    pub fn remove(&self) -> Result<()> {
        self.bundle.remove()?;
        self.work.as_deref().map_or(Ok(()), remove_work)
    }
}

/// Renames it to a name that no task has. Removing even an empty one costs a disk more than that.
fn leave_work(path: &Path) -> Result<PathBuf> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let aside = path.with_file_name(format!(".leaving-{name}-{}-{number}", std::process::id()));
    match fs::rename(path, &aside) {
        Err(source) if source.kind() != ErrorKind::NotFound => Err(TaskError::RemoveBundle {
            path: path.to_owned(),
            source,
        }),
        Ok(()) | Err(_) => Ok(aside),
    }
}

/// Removes what a task kept that would outlive reboots. Blocks.
pub(super) fn remove_work(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(source) if source.kind() != ErrorKind::NotFound => Err(TaskError::RemoveBundle {
            path: path.to_owned(),
            source,
        }),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Spec {
    linux: Linux,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Linux {
    cgroups_path: String,
    gid_mappings: Vec<Mapping>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mapping {
    #[serde(rename = "containerID")]
    container: u32,
    #[serde(rename = "hostID")]
    host: u32,
}

/// The host's id of the container's root group, if its spec maps ids.
fn mapped_root(spec: &[u8]) -> Option<u32> {
    let spec: Spec = serde_json::from_slice(spec).ok()?;
    let root = spec.linux.gid_mappings.iter().find(|mapping| mapping.container == 0)?;
    Some(root.host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mapped_root_is_read() {
        let spec = br#"{"linux":{"gidMappings":[{"containerID":1,"hostID":7,"size":1},{"containerID":0,"hostID":9,"size":1}]}}"#;
        assert_eq!(mapped_root(spec), Some(9));
        assert_eq!(mapped_root(b"{}"), None);
    }
}
