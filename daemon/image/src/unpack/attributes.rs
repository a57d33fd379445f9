//! Owner, mode, times and extended attributes.

use super::confined::failed;
use crate::error::Result;
use crate::tarball::Entry;
use rustix::fd::{AsRawFd, BorrowedFd};
use rustix::fs::{AtFlags, CWD, Gid, Mode, Stat, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

/// What the layer says of an open file or directory, the mtime included.
pub(super) fn set(fd: BorrowedFd<'_>, entry: &Entry, shown: &str) -> Result<()> {
    rustix::fs::fchown(fd, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))
        .map_err(failed(shown, "set owner"))?;
    // After the owner: a change of owner clears set-user-id and capabilities.
    rustix::fs::fchmod(fd, Mode::from_raw_mode(entry.mode)).map_err(failed(shown, "set mode"))?;
    for (name, value) in entry.xattrs.iter().filter(|(name, _)| is_carried(name)) {
        tolerate(rustix::fs::fsetxattr(fd, &name[..], value, XattrFlags::empty()), name)
            .map_err(failed(shown, "set extended attribute"))?;
    }
    rustix::fs::futimens(fd, &times(entry.mtime)).map_err(failed(shown, "set times"))
}

/// The same for what must not be opened: links, devices, pipes.
pub(super) fn set_at(dir: BorrowedFd<'_>, name: &[u8], entry: &Entry, is_link: bool, shown: &str) -> Result<()> {
    let owner = (Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)));
    rustix::fs::chownat(dir, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW).map_err(failed(shown, "set owner"))?;
    if !is_link {
        // The name was just made by us in a directory nobody else writes to, and is no link.
        rustix::fs::chmodat(dir, name, Mode::from_raw_mode(entry.mode), AtFlags::empty())
            .map_err(failed(shown, "set mode"))?;
    }
    let mut path = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    for (key, value) in entry.xattrs.iter().filter(|(key, _)| is_carried(key)) {
        tolerate(
            rustix::fs::lsetxattr(&path[..], &key[..], value, XattrFlags::empty()),
            key,
        )
        .map_err(failed(shown, "set extended attribute"))?;
    }
    rustix::fs::utimensat(dir, name, &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW).map_err(failed(shown, "set times"))
}

/// Owner, mode, times and attributes of one directory given to another.
pub(super) fn copy(from: BorrowedFd<'_>, stat: &Stat, to: BorrowedFd<'_>, shown: &str) -> Result<()> {
    rustix::fs::fchown(to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))
        .map_err(failed(shown, "set owner"))?;
    rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777)).map_err(failed(shown, "set mode"))?;
    for name in names(from).map_err(failed(shown, "list extended attributes"))? {
        if !is_carried(&name) {
            continue;
        }
        let mut value = vec![0; 64 << 10];
        let length = match rustix::fs::fgetxattr(from, &name[..], &mut value[..]) {
            Ok(length) => length,
            Err(Errno::NODATA | Errno::NOTSUP) => continue,
            Err(error) => return Err(failed(shown, "read extended attribute")(error)),
        };
        tolerate(
            rustix::fs::fsetxattr(to, &name[..], &value[..length], XattrFlags::empty()),
            &name,
        )
        .map_err(failed(shown, "set extended attribute"))?;
    }
    set_mtime(
        to,
        (stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or(0)),
        shown,
    )
}

pub(super) fn set_mtime(fd: BorrowedFd<'_>, mtime: (i64, u32), shown: &str) -> Result<()> {
    rustix::fs::futimens(fd, &times(mtime)).map_err(failed(shown, "set times"))
}

fn names(fd: BorrowedFd<'_>) -> Result<Vec<Vec<u8>>, Errno> {
    let mut buffer = vec![0; 64 << 10];
    match rustix::fs::flistxattr(fd, &mut buffer[..]) {
        Ok(length) => {
            let listed = buffer[..length].split(|b| *b == 0).filter(|name| !name.is_empty());
            Ok(listed.map(<[u8]>::to_vec).collect())
        }
        Err(Errno::NOTSUP) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// overlayfs's own attributes steer its lookups (redirects, opaque directories): a layer may not smuggle them in.
pub(crate) fn is_carried(name: &[u8]) -> bool {
    !name.starts_with(b"trusted.overlay.") && !name.starts_with(b"user.overlay.")
}

/// A filesystem without such attributes, or a kind of file that cannot have user attributes, is no reason to fail.
fn tolerate(outcome: Result<(), Errno>, name: &[u8]) -> Result<(), Errno> {
    match outcome {
        Err(Errno::NOTSUP) => Ok(()),
        Err(Errno::PERM) if name.starts_with(b"user.") => Ok(()),
        other => other,
    }
}

fn times((seconds, nanos): (i64, u32)) -> Timestamps {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: i64::from(nanos),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

/// Opens a layer's root without following a link in its last component.
pub(crate) fn open_root(path: &std::path::Path) -> Result<rustix::fd::OwnedFd, Errno> {
    use rustix::fs::OFlags;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty())
}
