//! A container's mounts at its start and after its end.

use super::{Volumes, event, failed, make_dir};
use crate::context::Context;
use crate::events::Event;
use crate::failpoint;
use gantry_core::container::{BindMount, ContainerRecord};
use gantry_core::volume::{MountKind, MountPoint, VolumeRecord};
use gantry_core::{ContainerId, Error, ErrorKind, Labels, Mount, Result};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::mount::{MoveMountFlags, OpenTreeFlags};
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use tracing::warn;

impl Volumes {
    /// Sees to it that everything a container mounts is there, and answers it as host paths.
    pub(crate) fn enter(&self, context: &Context, record: &ContainerRecord) -> Result<Vec<BindMount>> {
        let mut binds = Vec::new();
        for (number, point) in record.mounts.iter().enumerate() {
            let source = match point.kind {
                MountKind::Tmpfs => continue,
                MountKind::Bind => {
                    if point.create_source {
                        make_source(context, Path::new(&point.source))?;
                    }
                    point.source.clone()
                }
                MountKind::Volume => self.enter_volume(record, point, number)?,
            };
            binds.push(BindMount {
                source,
                ..as_bind(point)
            });
        }
        Ok(binds)
    }

    /// The same for who only looks: what is not mounted is not there.
    pub(crate) fn shown(&self, record: &ContainerRecord) -> Vec<BindMount> {
        let points = record.mounts.iter().filter(|point| point.kind != MountKind::Tmpfs);
        let bind = |point: &MountPoint| {
            let mut source = self.source(point);
            if !point.subpath.is_empty() {
                source = Path::new(&source).join(&point.subpath).to_string_lossy().into_owned();
            }
            BindMount {
                source,
                ..as_bind(point)
            }
        };
        points.map(bind).collect()
    }

    /// What a container has mounted, volumes with their directories on the host.
    pub(crate) fn points(&self, record: &ContainerRecord) -> Vec<MountPoint> {
        let points = record.mounts.iter().cloned();
        points
            .map(|point| MountPoint {
                source: self.source(&point),
                ..point
            })
            .collect()
    }

    fn enter_volume(&self, record: &ContainerRecord, point: &MountPoint, number: usize) -> Result<String> {
        let _claim = self.claim(&point.name)?;
        let volume = self.find(&point.name)?;
        let data = self.path(&volume.name);
        if !data.is_dir() {
            make_dir(&data, 0o755)?;
        }
        if let Some(mount) = device_mount(&volume) {
            // The claim keeps everybody else out. The kernel is asked and not the book: after a reboot who is in the book has
            // nothing mounted.
            if !is_mount_point(&data)? {
                failpoint!("engine::volume::mount");
                gantry_snapshots_mount::perform(&[mount], &data).map_err(|error| {
                    Error::from(error).context(format!(
                        "error while mounting volume '{}': failed to mount local volume",
                        data.display()
                    ))
                })?;
            }
            let mut active = self.active.lock();
            active.entry(volume.name.clone()).or_default().insert(record.id.clone());
        }
        if point.subpath.is_empty() {
            return Ok(data.to_string_lossy().into_owned());
        }
        let place = self.place(&record.id, &number.to_string());
        bind_below(&data, &point.subpath, &place)?;
        Ok(place.to_string_lossy().into_owned())
    }

    /// Where something is mounted for a container.
    fn place(&self, id: &ContainerId, name: &str) -> PathBuf {
        self.places.join(id.as_str()).join(name)
    }

    /// Memory that a container shares with others: a directory that outlives its processes but not its run.
    pub(crate) fn shared_memory(&self, id: &ContainerId, size: i64) -> Result<PathBuf> {
        let place = self.place(id, "shm");
        make_dir(&place, 0o755)?;
        let options = ["nosuid", "noexec", "nodev", "mode=1777", &format!("size={size}")].map(str::to_owned);
        let mount = Mount {
            kind: "tmpfs".to_owned(),
            source: "shm".to_owned(),
            target: String::new(),
            options: options.into(),
        };
        gantry_snapshots_mount::perform(&[mount], &place)?;
        Ok(place)
    }

    /// The memory that a container shares, if it does.
    pub(crate) fn memory_of(&self, id: &ContainerId) -> Option<PathBuf> {
        Some(self.place(id, "shm")).filter(|place| place.is_dir())
    }

    /// Takes down what was mounted for a container whose run is over.
    pub(crate) fn leave(&self, id: &ContainerId, record: Option<&ContainerRecord>) {
        let place = self.places.join(id.as_str());
        if place.is_dir() {
            self.take_down(&place);
        }
        for name in record.into_iter().flat_map(ContainerRecord::volumes) {
            if !self.active.lock().get(name).is_some_and(|users| users.contains(id)) {
                continue;
            }
            match self.claim(name) {
                Ok(claim) => {
                    if self.is_last(name, id) {
                        self.unmount(name);
                    }
                    drop(claim);
                }
                Err(error) => warn!(volume = name, err = %error, "the volume stays mounted until the next start"),
            }
        }
    }

    /// Forgets that a container uses a volume; whether nobody does now.
    fn is_last(&self, name: &str, id: &ContainerId) -> bool {
        let mut active = self.active.lock();
        let Some(users) = active.get_mut(name) else {
            return false;
        };
        let last = users.remove(id) && users.is_empty();
        if last {
            active.remove(name);
        }
        last
    }

    pub(super) fn is_active(&self, name: &str) -> bool {
        self.active.lock().get(name).is_some_and(|users| !users.is_empty())
    }

    pub(super) fn unmount(&self, name: &str) {
        let data = self.path(name);
        if let Err(error) = gantry_snapshots_mount::unmount(&data) {
            warn!(volume = name, err = %error, "the volume stays mounted");
        }
    }

    /// Takes down every mount in a container's place, and the place.
    pub(super) fn take_down(&self, place: &Path) {
        let gone = fs::read_dir(place).map_err(failed("read", place)).and_then(|entries| {
            for entry in entries.flatten() {
                gantry_snapshots_mount::unmount(&entry.path())?;
            }
            crate::container::teardown::remove_tree(place)
        });
        if let Err(error) = gone {
            warn!(place = %place.display(), err = %error, "what was mounted for a container stays until the next start");
        }
    }

    /// What a start or an end of a run means to its volumes.
    pub(crate) fn told(&self, record: &ContainerRecord, action: &str) -> Vec<Event> {
        let one = |point: &MountPoint| {
            let volume = self.get(point.volume()?)?;
            let mut extra = Labels::from([("container".to_owned(), record.id.to_string())]);
            if action == "mount" {
                extra.insert("destination".to_owned(), point.target.clone());
                extra.insert("propagation".to_owned(), point.propagation.clone());
                extra.insert("read/write".to_owned(), (!point.read_only).to_string());
            }
            Some(event(&volume, action, extra))
        };
        record.mounts.iter().filter_map(one).collect()
    }
}

/// Whether something is mounted right there. A server that does not answer is not asked.
fn is_mount_point(dir: &Path) -> Result<bool> {
    use rustix::fs::{AtFlags, StatxAttributes, StatxFlags};
    let flags = AtFlags::NO_AUTOMOUNT | AtFlags::STATX_DONT_SYNC;
    let stat = rustix::fs::statx(CWD, dir, flags, StatxFlags::empty())
        .map_err(|errno| failed("look at", dir)(errno.into()))?;
    Ok(stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

fn as_bind(point: &MountPoint) -> BindMount {
    BindMount {
        source: point.source.clone(),
        target: point.target.clone(),
        read_only: point.read_only,
        propagation: point.propagation.clone(),
        mode: point.mode.clone(),
        non_recursive: point.non_recursive,
        shallow_read_only: point.shallow_read_only,
    }
}

/// What is mounted on a volume's directory while it is used.
pub(super) fn device_mount(volume: &VolumeRecord) -> Option<Mount> {
    let device = volume.options.get("device").filter(|device| !device.is_empty())?;
    let options: Vec<String> = volume
        .options
        .get("o")
        .map(String::as_str)
        .unwrap_or_default()
        .split(',')
        .filter(|option| !option.is_empty())
        .map(str::to_owned)
        .collect();
    let bind = options.iter().any(|option| option == "bind" || option == "rbind");
    let kind = volume.options.get("type").map(String::as_str).unwrap_or_default();
    Some(Mount {
        kind: if bind { "bind" } else { kind }.to_owned(),
        source: device.clone(),
        target: String::new(),
        options,
    })
}

/// The source of a bind that is made where it is missing; never where a daemon of ours is to be stopped from there.
fn make_source(context: &Context, source: &Path) -> Result<()> {
    if source.symlink_metadata().is_ok() || source.starts_with(&context.config.exec_root) {
        return Ok(());
    }
    make_dir(source, 0o755)
        .map_err(|error| error.context(format!("error while creating mount source path '{}'", source.display())))
}

/// Binds a directory (or file) of a volume to a place of the daemon's, found in a way that nothing in the volume can lead out of, and
/// mounted by what was found and not by its name again.
fn bind_below(data: &Path, subpath: &str, place: &Path) -> Result<()> {
    let denied = |error: &dyn std::fmt::Display| {
        Error::new(
            ErrorKind::InvalidArgument,
            format!("cannot access path {}: {error}", data.join(subpath).display()),
        )
    };
    let root = rustix::fs::openat(
        CWD,
        data,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|errno| denied(&errno))?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let found: OwnedFd = rustix::fs::openat2(&root, subpath, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)
        .map_err(|errno| denied(&errno))?;
    let is_dir = rustix::fs::fstat(&found)
        .map(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir())
        .map_err(|errno| denied(&errno))?;
    let parent = place.parent().unwrap_or(place);
    make_dir(parent, 0o700)?;
    match is_dir {
        true => make_dir(place, 0o755)?,
        false => drop(fs::File::create(place).map_err(failed("make", place))?),
    }
    failpoint!("engine::volume::subpath");
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = rustix::mount::open_tree(found.as_fd(), "", flags).map_err(|errno| denied(&errno))?;
    rustix::mount::move_mount(tree.as_fd(), "", CWD, place, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(|errno| denied(&errno))?;
    Ok(())
}

/// Takes down whatever is mounted on a path, for tests.
#[cfg(test)]
fn detach(path: &Path) {
    let _ = rustix::mount::unmount(path, rustix::mount::UnmountFlags::DETACH);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn nothing_leads_out_of_a_volume() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        fs::create_dir_all(data.join("in/side")).unwrap();
        fs::write(dir.path().join("secret"), "x").unwrap();
        symlink("../secret", data.join("escape")).unwrap();
        symlink("in", data.join("alias")).unwrap();
        let place = dir.path().join("places/c/0");
        assert!(bind_below(&data, "escape", &place).is_err());
        assert!(bind_below(&data, "none", &place).is_err());
        bind_below(&data, "alias", &place).unwrap();
        assert!(place.join("side").is_dir());
        detach(&place);
    }
}
