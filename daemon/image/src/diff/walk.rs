//! The walk over both sides.

use super::Sides;
use crate::error::Result;
use crate::unpack::confined::{failed, is_whiteout, list, look, open_directory};
use gantry_core::snapshot::Whiteouts;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
pub(super) use rustix::fs::Stat;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader};

pub(super) struct Node<'a> {
    /// Relative to the root; empty for the root itself.
    pub path: &'a [u8],
    /// The upper directory that holds it, and its name there.
    pub dir: BorrowedFd<'a>,
    pub name: &'a [u8],
    pub what: What,
}

#[derive(Clone, Copy)]
pub(super) enum What {
    /// A directory that is as below; what is in it follows.
    Same(Stat),
    Changed(Stat),
    Added(Stat),
    Gone,
    /// Everything below of the directory of this path is gone; follows the directory itself.
    Opaque,
}

type Visit<'v> = dyn FnMut(Node<'_>) -> Result<()> + 'v;

pub(super) struct Walk {
    upper: OwnedFd,
    lower: Vec<OwnedFd>,
    whiteouts: Whiteouts,
    mount_points: BTreeSet<Vec<u8>>,
    above: BTreeSet<Vec<u8>>,
}

impl Walk {
    pub(super) fn new(sides: &Sides) -> Result<Self> {
        let open = |path: &std::path::PathBuf| {
            crate::unpack::open_root(path).map_err(failed(&path.to_string_lossy(), "open snapshot"))
        };
        Ok(Self {
            upper: open(&sides.upper)?,
            lower: sides.lower.iter().map(open).collect::<Result<_>>()?,
            whiteouts: sides.whiteouts,
            mount_points: sides.mount_points.clone(),
            above: sides.above.clone(),
        })
    }

    pub(super) fn run(&self, visit: &mut Visit<'_>) -> Result<()> {
        let lower: Vec<BorrowedFd<'_>> = self.lower.iter().map(|fd| fd.as_fd()).collect();
        let stat = rustix::fs::fstat(&self.upper).map_err(failed("/", "look up"))?;
        let below = match lower.first() {
            Some(fd) => Some(rustix::fs::fstat(fd).map_err(failed("/", "look up"))?),
            None => None,
        };
        let what = match below {
            // Its time says only that names came or went in it, which is told by themselves.
            Some(below) if same_owner(&stat, &below) => What::Same(stat),
            _ => What::Changed(stat),
        };
        visit(Node {
            path: b"",
            dir: self.upper.as_fd(),
            name: b".",
            what,
        })?;
        self.directory(b"", self.upper.as_fd(), &lower, visit)
    }

    fn directory(
        &self,
        path: &[u8],
        dir: BorrowedFd<'_>,
        lower: &[BorrowedFd<'_>],
        visit: &mut Visit<'_>,
    ) -> Result<()> {
        let shown = String::from_utf8_lossy(path).into_owned();
        let read = |fd: BorrowedFd<'_>| list(fd).map_err(failed(&shown, "list directory"));
        let mut names: BTreeSet<Vec<u8>> = read(dir)?.into_iter().map(|(name, _)| name).collect();
        if self.whiteouts == Whiteouts::Plain {
            for fd in lower {
                names.extend(read(*fd)?.into_iter().map(|(name, _)| name));
            }
        }
        for name in names {
            let child = match path {
                b"" => name.clone(),
                _ => [path, b"/", &name].concat(),
            };
            self.entry(&child, dir, &name, lower, visit)?;
        }
        Ok(())
    }

    fn entry(
        &self,
        path: &[u8],
        dir: BorrowedFd<'_>,
        name: &[u8],
        lower: &[BorrowedFd<'_>],
        visit: &mut Visit<'_>,
    ) -> Result<()> {
        let shown = String::from_utf8_lossy(path).into_owned();
        let below = self.below(lower, name).map_err(failed(&shown, "look up below"))?;
        let mut tell = |what| visit(Node { path, dir, name, what });
        let found = look(dir, name).map_err(failed(&shown, "look up"))?;
        let stat = match found {
            Some(stat) if !(self.whiteouts == Whiteouts::Overlay && is_whiteout(&stat)) => stat,
            _ if below.is_some() => return tell(What::Gone),
            _ => return Ok(()),
        };
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if below.is_none() && self.mount_points.contains(path) && (is_directory || stat.st_size == 0) {
            return Ok(());
        }
        if !is_directory {
            return match below {
                Some(below) if self.same_file(&stat, &below, dir, lower, name) => Ok(()),
                Some(_) => tell(What::Changed(stat)),
                None => tell(What::Added(stat)),
            };
        }
        let fd = match open_directory(dir, name) {
            Ok(fd) => fd,
            // It went while we looked.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
            Err(error) => return Err(failed(&shown, "open directory")(error)),
        };
        let opaque = self.whiteouts == Whiteouts::Overlay && is_opaque(fd.as_fd());
        tell(match below {
            Some(below) if !opaque && same_directory(&stat, &below) => What::Same(stat),
            // As with the root: its time says no more than that something was made in it to be mounted on.
            Some(below) if !opaque && self.above.contains(path) && same_owner(&stat, &below) => What::Same(stat),
            Some(_) => What::Changed(stat),
            // Told by what is in it, if anything is.
            None if self.above.contains(path) => What::Same(stat),
            None => What::Added(stat),
        })?;
        if opaque && below.is_some() {
            tell(What::Opaque)?;
        }
        let merged = match opaque {
            true => Vec::new(),
            false => self
                .merged(lower, name)
                .map_err(failed(&shown, "open directory below"))?,
        };
        let merged: Vec<BorrowedFd<'_>> = merged.iter().map(|fd| fd.as_fd()).collect();
        self.directory(path, fd.as_fd(), &merged, visit)
    }

    /// What the layers below show under this name.
    fn below(&self, lower: &[BorrowedFd<'_>], name: &[u8]) -> Result<Option<Stat>, Errno> {
        for fd in lower {
            match look(*fd, name)? {
                Some(stat) if self.whiteouts == Whiteouts::Overlay && is_whiteout(&stat) => return Ok(None),
                Some(stat) => return Ok(Some(stat)),
                None => {}
            }
        }
        Ok(None)
    }

    /// The directories of this name that overlayfs merges, nearest first.
    fn merged(&self, lower: &[BorrowedFd<'_>], name: &[u8]) -> Result<Vec<OwnedFd>, Errno> {
        let mut merged = Vec::new();
        for fd in lower {
            match look(*fd, name)? {
                None => continue,
                Some(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::Directory => break,
                Some(_) => {}
            }
            let child = open_directory(*fd, name)?;
            let opaque = self.whiteouts == Whiteouts::Overlay && is_opaque(child.as_fd());
            merged.push(child);
            if opaque {
                break;
            }
        }
        Ok(merged)
    }

    fn same_file(&self, a: &Stat, b: &Stat, dir: BorrowedFd<'_>, lower: &[BorrowedFd<'_>], name: &[u8]) -> bool {
        // What overlayfs holds in the upper directory was written or changed there.
        if self.whiteouts == Whiteouts::Overlay {
            return false;
        }
        let equal = (a.st_mode, a.st_uid, a.st_gid, a.st_size, a.st_rdev)
            == (b.st_mode, b.st_uid, b.st_gid, b.st_size, b.st_rdev)
            && (a.st_mtime, a.st_mtime_nsec) == (b.st_mtime, b.st_mtime_nsec);
        let kind = FileType::from_raw_mode(a.st_mode);
        if !equal || (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino) {
            return equal;
        }
        let Some(below) = lower.first() else { return false };
        match kind {
            FileType::Symlink => {
                let target = |fd: BorrowedFd<'_>| rustix::fs::readlinkat(fd, name, Vec::new()).ok();
                target(dir) == target(*below)
            }
            // A time of whole seconds came out of a layer and not from a clock: it says little.
            FileType::RegularFile if a.st_mtime_nsec == 0 => same_bytes(dir, *below, name).unwrap_or(false),
            _ => true,
        }
    }
}

fn same_bytes(dir: BorrowedFd<'_>, below: BorrowedFd<'_>, name: &[u8]) -> std::io::Result<bool> {
    const BUFFER: usize = 64 << 10;
    let open = |dir| {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(dir, name, flags, Mode::empty())?;
        Ok::<_, Errno>(BufReader::with_capacity(BUFFER, File::from(fd)))
    };
    let (mut one, mut other) = (open(dir)?, open(below)?);
    loop {
        let (a, b) = (one.fill_buf()?, other.fill_buf()?);
        let length = a.len().min(b.len());
        if a[..length] != b[..length] || (length == 0 && a.len() != b.len()) {
            return Ok(false);
        }
        if length == 0 {
            return Ok(true);
        }
        one.consume(length);
        other.consume(length);
    }
}

fn same_owner(a: &Stat, b: &Stat) -> bool {
    (a.st_mode, a.st_uid, a.st_gid) == (b.st_mode, b.st_uid, b.st_gid)
}

fn same_directory(a: &Stat, b: &Stat) -> bool {
    same_owner(a, b) && (a.st_mtime, a.st_mtime_nsec) == (b.st_mtime, b.st_mtime_nsec)
}

fn is_opaque(dir: BorrowedFd<'_>) -> bool {
    let mut value = [0; 4];
    matches!(rustix::fs::fgetxattr(dir, "trusted.overlay.opaque", &mut value[..]), Ok(1) if value[0] == b'y')
}
