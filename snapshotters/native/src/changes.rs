//! The differences of a copy from its original, found by walking both side by side.

use gantry_snapshots_api::{Change, ChangeKind, ChangeVisitor, PathError};
use gantry_snapshots_dirs::{MAX_DEPTH, Teller, look, names, open_child, open_root, path_in, same_attributes, xattrs};
use rustix::fs::{FileType, Mode, OFlags, Stat, openat, readlinkat};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Tells how `copy` differs from `original`; from nothing, if there is none.
pub fn compare(copy: &Path, original: Option<&Path>, visit: &mut ChangeVisitor<'_>) -> Result<(), PathError> {
    let new = open_root(copy)?;
    let old = original.map(open_root).transpose()?;
    let mut walk = Walk {
        copy,
        path: PathBuf::new(),
        depth: 0,
        tell: Teller::new(visit),
    };
    let done = walk.directory(Some(new.as_fd()), old.as_ref().map(AsFd::as_fd));
    done.map_err(PathError::of("compare", &copy.join(&walk.path)))
}

/// A name in an opened directory, and what it is.
#[derive(Clone, Copy)]
struct Place<'a> {
    dir: BorrowedFd<'a>,
    name: &'a CStr,
    stat: &'a Stat,
}

struct Walk<'a, 'v> {
    copy: &'a Path,
    path: PathBuf,
    depth: usize,
    tell: Teller<'a, 'v>,
}

impl Walk<'_, '_> {
    fn directory(&mut self, new: Option<BorrowedFd<'_>>, old: Option<BorrowedFd<'_>>) -> io::Result<()> {
        if self.depth > MAX_DEPTH {
            return Err(Errno::LOOP.into());
        }
        let mut all: BTreeSet<CString> = BTreeSet::new();
        for dir in [new, old].into_iter().flatten() {
            all.extend(names(dir)?);
        }
        for name in all {
            self.path.push(OsStr::from_bytes(name.to_bytes()));
            let of = |dir: Option<BorrowedFd<'_>>| dir.map_or(Ok(None), |dir| look(dir, &name));
            let (new_stat, old_stat) = (of(new)?, of(old)?);
            let new = place(new, &name, new_stat.as_ref());
            let old = place(old, &name, old_stat.as_ref());
            self.entry(new, old)?;
            self.path.pop();
        }
        Ok(())
    }

    fn entry(&mut self, new: Option<Place<'_>>, old: Option<Place<'_>>) -> io::Result<()> {
        match (new, old) {
            (None, None) => Ok(()),
            (None, Some(_)) => self.change(ChangeKind::Delete),
            (Some(new), None) => {
                self.change(ChangeKind::Add)?;
                self.descend(new, None)
            }
            (Some(new), Some(old)) if is_directory(new.stat) && is_directory(old.stat) => {
                if same_attributes(new.stat, old.stat) && same_xattrs(new, old)? {
                    let held = self.describe(ChangeKind::Modify);
                    self.tell.enter(held);
                } else {
                    self.change(ChangeKind::Modify)?;
                }
                self.descend(new, Some(old))?;
                self.tell.leave(&self.path);
                Ok(())
            }
            (Some(new), Some(old)) => {
                if !same_thing(new, old)? {
                    self.change(ChangeKind::Modify)?;
                    self.descend(new, None)?;
                }
                Ok(())
            }
        }
    }

    fn descend(&mut self, new: Place<'_>, old: Option<Place<'_>>) -> io::Result<()> {
        if !is_directory(new.stat) {
            return Ok(());
        }
        let child = match open_child(new.dir, new.name) {
            Ok(child) => child,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        };
        let below = old.map(|old| open_child(old.dir, old.name)).transpose()?;
        self.depth += 1;
        self.directory(Some(child.as_fd()), below.as_ref().map(AsFd::as_fd))?;
        self.depth -= 1;
        Ok(())
    }

    fn change(&mut self, kind: ChangeKind) -> io::Result<()> {
        let change = self.describe(kind);
        self.tell.tell(change)
    }

    fn describe(&self, kind: ChangeKind) -> Change {
        Change {
            path: self.path.clone(),
            kind,
            source: (kind != ChangeKind::Delete).then(|| self.copy.join(&self.path)),
        }
    }
}

fn place<'a>(dir: Option<BorrowedFd<'a>>, name: &'a CStr, stat: Option<&'a Stat>) -> Option<Place<'a>> {
    Some(Place {
        dir: dir?,
        name,
        stat: stat?,
    })
}

fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

fn same_xattrs(new: Place<'_>, old: Place<'_>) -> io::Result<bool> {
    Ok(xattrs(&path_in(new.dir, new.name))? == xattrs(&path_in(old.dir, old.name))?)
}

/// Whether two things that are not both directories are the same.
fn same_thing(new: Place<'_>, old: Place<'_>) -> io::Result<bool> {
    let same = same_attributes(new.stat, old.stat)
        && new.stat.st_size == old.stat.st_size
        && new.stat.st_rdev == old.stat.st_rdev
        && same_xattrs(new, old)?;
    if !same {
        return Ok(false);
    }
    match FileType::from_raw_mode(new.stat.st_mode) {
        FileType::Symlink => {
            Ok(readlinkat(new.dir, new.name, Vec::new())? == readlinkat(old.dir, old.name, Vec::new())?)
        }
        // Archives cut times to seconds: equal whole seconds do not say that nobody wrote.
        FileType::RegularFile if new.stat.st_mtime_nsec == 0 => same_bytes(new, old),
        FileType::RegularFile
        | FileType::Directory
        | FileType::Fifo
        | FileType::Socket
        | FileType::CharacterDevice
        | FileType::BlockDevice
        | FileType::Unknown => Ok(true),
    }
}

fn same_bytes(new: Place<'_>, old: Place<'_>) -> io::Result<bool> {
    let open = |place: Place<'_>| {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        openat(place.dir, place.name, flags, Mode::empty()).map(File::from)
    };
    let (mut new, mut old) = (open(new)?, open(old)?);
    let (mut one, mut other) = (Vec::new(), Vec::new());
    loop {
        one.clear();
        other.clear();
        (&mut new).take(128 << 10).read_to_end(&mut one)?;
        (&mut old).take(128 << 10).read_to_end(&mut other)?;
        if one != other {
            return Ok(false);
        }
        if one.is_empty() {
            return Ok(true);
        }
    }
}
