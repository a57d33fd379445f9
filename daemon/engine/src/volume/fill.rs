//! Filling: what an image has where a volume is to be mounted is copied into the volume, with owners, modes, times and extended
//! attributes.

use super::define::rename;
use super::{FILL, Volumes, enter, failed};
use crate::container::rootfs;
use crate::failpoint;
use gantry_core::volume::VolumeRecord;
use gantry_core::{Error, ErrorKind, Mount, Result};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use rustix::fs::OFlags;
use std::collections::HashMap;
use std::fs::{self, FileTimes, Metadata};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Where a volume is filled from: a path in a tree that is mounted for the while.
pub(super) struct Source {
    pub mounts: Vec<Mount>,
    pub at: PathBuf,
    pub path: String,
}

impl Volumes {
    /// Copies into a volume that is empty. One that somebody may have in use gets all of it at once, or nothing.
    pub(super) fn fill(&self, volume: &VolumeRecord, source: Source, fresh: bool) -> Result<()> {
        let data = self.data_of(&volume.name);
        let aside = self
            .dir
            .join(&volume.name)
            .join(format!("{FILL}{:016x}", rand::random::<u64>()));
        let direct = fresh || volume.is_mounted() || self.is_active(&volume.name);
        let into = if direct { data.clone() } else { aside.clone() };
        let device = enter::device_mount(volume);
        let (path, there, is_device) = (source.path, into.clone(), device.is_some());
        let copied = rootfs::with(&source.at, &source.mounts, move |root| {
            let from = match rootfs::open(root, &path, OFlags::PATH | OFlags::DIRECTORY) {
                Ok(from) => from,
                // Nothing there, or no directory: nothing to copy.
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidArgument) => {
                    return Ok(false);
                }
                Err(error) => return Err(error),
            };
            if let Some(mount) = device {
                gantry_snapshots_mount::perform(&[mount], &there)?;
            }
            if is_device && !is_empty(&there)? {
                return Ok(false);
            }
            failpoint!("engine::volume::fill");
            let from = PathBuf::from(format!("/proc/self/fd/{}/.", from.as_raw_fd()));
            copy_tree(&from, &there)?;
            Ok(true)
        });
        let done = copied.and_then(|copied| {
            if copied && !is_device {
                gantry_snapshots_dirs::sync_tree(&into).map_err(|error| Error::internal(error.to_string()))?;
            }
            match copied && !direct {
                true => rename(&aside, &data),
                false => Ok(()),
            }
        });
        if done.is_err() && !direct {
            // Whatever stays of it goes at the next start.
            let _ = crate::container::teardown::remove_tree(&aside);
        }
        done.map_err(|error| error.context(format!("fill volume {}", volume.name)))
    }
}

fn is_empty(dir: &Path) -> Result<bool> {
    let mut entries = fs::read_dir(dir).map_err(failed("read", dir))?;
    Ok(entries.next().is_none())
}

/// Copies a directory with all in it; `to` may be there. The source is an image's: nobody changes it meanwhile.
pub(super) fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    let mut copier = Copier::default();
    copier.directory(from, to)
}

/// Files of several names are copied once.
#[derive(Default)]
struct Copier {
    seen: HashMap<(u64, u64), PathBuf>,
}

impl Copier {
    fn directory(&mut self, from: &Path, to: &Path) -> Result<()> {
        let meta = fs::metadata(from).map_err(failed("stat", from))?;
        match fs::create_dir(to) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(failed("make", to)(error)),
            _ => {}
        }
        for entry in fs::read_dir(from).map_err(failed("read", from))? {
            let name = entry.map_err(failed("read", from))?.file_name();
            self.entry(&from.join(&name), &to.join(&name))?;
        }
        attributes(from, to, &meta)
    }

    fn entry(&mut self, from: &Path, to: &Path) -> Result<()> {
        let meta = fs::symlink_metadata(from).map_err(failed("stat", from))?;
        let kind = meta.file_type();
        if kind.is_dir() {
            return self.directory(from, to);
        }
        let key = (meta.dev(), meta.ino());
        if meta.nlink() > 1
            && let Some(first) = self.seen.get(&key)
        {
            return fs::hard_link(first, to).map_err(failed("link", to));
        }
        if kind.is_file() {
            fs::copy(from, to).map_err(failed("copy", from))?;
        } else if kind.is_symlink() {
            let target = fs::read_link(from).map_err(failed("read", from))?;
            std::os::unix::fs::symlink(target, to).map_err(failed("make", to))?;
        } else {
            let node = if kind.is_fifo() {
                SFlag::S_IFIFO
            } else if kind.is_socket() {
                SFlag::S_IFSOCK
            } else if kind.is_block_device() {
                SFlag::S_IFBLK
            } else {
                SFlag::S_IFCHR
            };
            // Of a layer that stands alone: the removal of what is below it.
            if node == SFlag::S_IFCHR && meta.rdev() == 0 {
                return Ok(());
            }
            let device = makedev(nix::sys::stat::major(meta.rdev()), nix::sys::stat::minor(meta.rdev()));
            mknod(to, node, Mode::from_bits_truncate(meta.mode()), device)
                .map_err(|errno| failed("make", to)(errno.into()))?;
        }
        if meta.nlink() > 1 {
            self.seen.insert(key, to.to_owned());
        }
        attributes(from, to, &meta)
    }
}

/// Owner first, for a change of it takes the set-id bits and capabilities away.
fn attributes(from: &Path, to: &Path, meta: &Metadata) -> Result<()> {
    std::os::unix::fs::lchown(to, Some(meta.uid()), Some(meta.gid())).map_err(failed("change the owner of", to))?;
    let link = meta.file_type().is_symlink();
    if !link {
        let mode = fs::Permissions::from_mode(meta.mode() & 0o7777);
        fs::set_permissions(to, mode).map_err(failed("change the mode of", to))?;
    }
    if meta.is_dir() || meta.is_file() {
        for name in xattr::list(from).map_err(failed("read the attributes of", from))? {
            if name.to_string_lossy().starts_with("trusted.overlay.") {
                continue;
            }
            if let Some(value) = xattr::get(from, &name).map_err(failed("read the attributes of", from))? {
                xattr::set(to, &name, &value).map_err(failed("set the attributes of", to))?;
            }
        }
        let times = FileTimes::new()
            .set_accessed(meta.accessed().map_err(failed("stat", from))?)
            .set_modified(meta.modified().map_err(failed("stat", from))?);
        let file = fs::File::open(to).map_err(failed("open", to))?;
        file.set_times(times).map_err(failed("set the times of", to))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_copy_is_like_what_it_is_of() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir_all(from.join("sub")).unwrap();
        fs::write(from.join("sub/file"), "text").unwrap();
        fs::set_permissions(from.join("sub/file"), fs::Permissions::from_mode(0o4751)).unwrap();
        std::os::unix::fs::chown(from.join("sub/file"), Some(1000), Some(2000)).unwrap();
        fs::set_permissions(from.join("sub/file"), fs::Permissions::from_mode(0o4751)).unwrap();
        fs::hard_link(from.join("sub/file"), from.join("twin")).unwrap();
        symlink("/nowhere", from.join("link")).unwrap();
        mknod(&from.join("pipe"), SFlag::S_IFIFO, Mode::from_bits_truncate(0o600), 0).unwrap();
        xattr::set(from.join("sub"), "user.colour", b"red").unwrap();
        fs::set_permissions(&from, fs::Permissions::from_mode(0o1777)).unwrap();
        copy_tree(&from, &to).unwrap();
        let meta = fs::metadata(to.join("sub/file")).unwrap();
        assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o7777), (1000, 2000, 0o4751));
        assert_eq!(meta.ino(), fs::metadata(to.join("twin")).unwrap().ino());
        assert_eq!(fs::read_link(to.join("link")).unwrap(), Path::new("/nowhere"));
        assert!(fs::symlink_metadata(to.join("pipe")).unwrap().file_type().is_fifo());
        assert_eq!(xattr::get(to.join("sub"), "user.colour").unwrap().unwrap(), b"red");
        assert_eq!(fs::metadata(&to).unwrap().mode() & 0o7777, 0o1777);
        let time = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
        assert_eq!(time(&from.join("sub")), time(&to.join("sub")));
    }
}
