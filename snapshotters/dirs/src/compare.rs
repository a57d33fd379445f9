//! What comparisons of snapshots share: attributes, and telling a directory only when something in it is told.

use gantry_snapshots_api::{Change, ChangeVisitor};
use rustix::fs::{AtFlags, Stat, lgetxattr, llistxattr, statat};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};

/// Longest list of names and longest value that the kernel gives (`XATTR_LIST_MAX`, `XATTR_SIZE_MAX` in xattr(7)).
const XATTR_MAX: usize = 64 << 10;

/// Marks of overlayfs, which are no content.
const OVERLAY_MARKS: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];

pub type Xattrs = BTreeMap<CString, Vec<u8>>;

/// A path that names `name` in an opened directory, so that no directory above it can be exchanged meanwhile.
pub fn path_in(dir: BorrowedFd<'_>, name: &CStr) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    Path::new(&format!("/proc/self/fd/{}", dir.as_raw_fd())).join(std::ffi::OsStr::from_bytes(name.to_bytes()))
}

/// Looks at `name` in `dir`, a link itself and not its target; none if it is not there.
pub fn look(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<Option<Stat>> {
    match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// The extended attributes of `path` itself, those of overlayfs left out. A filesystem without any has none.
pub fn xattrs(path: &Path) -> io::Result<Xattrs> {
    let mut list = vec![0; XATTR_MAX];
    let length = match llistxattr(path, &mut list[..]) {
        Ok(length) => length,
        Err(Errno::NOTSUP | Errno::PERM) => return Ok(Xattrs::new()),
        Err(errno) => return Err(errno.into()),
    };
    let mut found = Xattrs::new();
    let mut value = Vec::new();
    for name in list[..length].split_inclusive(|&byte| byte == 0) {
        let name = CStr::from_bytes_with_nul(name).map_err(io::Error::other)?;
        if OVERLAY_MARKS.iter().any(|mark| name.to_bytes().starts_with(mark)) {
            continue;
        }
        value.resize(XATTR_MAX, 0);
        match lgetxattr(path, name, &mut value[..]) {
            Ok(length) => drop(found.insert(name.to_owned(), value[..length].to_vec())),
            Err(Errno::NODATA) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(found)
}

/// Same kind, mode, owner and time of modification.
pub fn same_attributes(one: &Stat, other: &Stat) -> bool {
    let of = |stat: &Stat| {
        (
            stat.st_mode,
            stat.st_uid,
            stat.st_gid,
            stat.st_mtime,
            stat.st_mtime_nsec,
        )
    };
    of(one) == of(other)
}

/// Passes changes on, and a directory that is itself unchanged only when something in it is not.
pub struct Teller<'a, 'v> {
    visit: &'a mut ChangeVisitor<'v>,
    /// Directories entered and not told yet, outermost first.
    held: Vec<Change>,
}

impl<'a, 'v> Teller<'a, 'v> {
    pub fn new(visit: &'a mut ChangeVisitor<'v>) -> Self {
        Self {
            visit,
            held: Vec::new(),
        }
    }

    /// Tells `change`, after the directories it is in.
    pub fn tell(&mut self, change: Change) -> io::Result<()> {
        for directory in self.held.drain(..) {
            (self.visit)(directory)?;
        }
        (self.visit)(change)
    }

    /// Remembers a directory that is told if something in it is. Matched by [`Teller::leave`].
    pub fn enter(&mut self, directory: Change) {
        self.held.push(directory);
    }

    /// Forgets the directory `path` if nothing in it was told.
    pub fn leave(&mut self, path: &Path) {
        if self.held.last().is_some_and(|last| last.path == path) {
            self.held.pop();
        }
    }
}
