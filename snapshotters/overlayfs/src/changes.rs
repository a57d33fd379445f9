//! What an upper directory changes in the layers below it.
//!
//! Only the upper directory is walked. Beside each directory of it goes the list of lower directories that are merged
//! there; an opaque directory hides them, a whiteout takes one name from them (overlayfs.rst, "whiteouts and opaque
//! directories"). The upper one may belong to a running container and is walked by descriptors; layers do not change.

use gantry_snapshots_api::{Change, ChangeKind, ChangeVisitor, PathError};
use gantry_snapshots_dirs::{MAX_DEPTH, Teller, look, names, open_child, open_root, path_in, same_attributes, xattrs};
use rustix::fs::{FileType, Stat, lgetxattr};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

const OPAQUE: [&str; 2] = ["trusted.overlay.opaque", "user.overlay.opaque"];

/// Tells what `upper` changes in `layers`, nearest first.
pub fn compare(upper: &Path, layers: Vec<PathBuf>, visit: &mut ChangeVisitor<'_>) -> Result<(), PathError> {
    let root = open_root(upper)?;
    let mut walk = Walk {
        upper,
        path: PathBuf::new(),
        depth: 0,
        tell: Teller::new(visit),
    };
    let done = walk.directory(root.as_fd(), &layers, false);
    done.map_err(PathError::of("compare", &upper.join(&walk.path)))
}

/// What the layers show at one name.
enum Below {
    Nothing,
    File,
    /// The directories merged there, nearest first, and what the nearest looks like.
    Directories(Vec<PathBuf>, Box<Stat>),
}

struct Walk<'a, 'v> {
    upper: &'a Path,
    path: PathBuf,
    depth: usize,
    tell: Teller<'a, 'v>,
}

impl Walk<'_, '_> {
    fn directory(&mut self, dir: BorrowedFd<'_>, layers: &[PathBuf], opaque: bool) -> io::Result<()> {
        if self.depth > MAX_DEPTH {
            return Err(Errno::LOOP.into());
        }
        let mut all: BTreeSet<CString> = names(dir)?.into_iter().collect();
        if opaque {
            all.extend(merged_names(layers)?);
        }
        for name in all {
            self.path.push(OsStr::from_bytes(name.to_bytes()));
            self.entry(dir, &name, layers, opaque)?;
            self.path.pop();
        }
        Ok(())
    }

    fn entry(&mut self, dir: BorrowedFd<'_>, name: &CStr, layers: &[PathBuf], opaque: bool) -> io::Result<()> {
        let below = below(layers, name)?;
        let gone = !matches!(below, Below::Nothing);
        match look(dir, name)? {
            // Hidden by an opaque directory, or removed since the names were read.
            None if opaque && gone => self.change(ChangeKind::Delete),
            None => Ok(()),
            Some(stat) if is_whiteout(&stat) && gone => self.change(ChangeKind::Delete),
            Some(stat) if is_whiteout(&stat) => Ok(()),
            Some(stat) if is_directory(&stat) => self.subdirectory(dir, name, &stat, below, opaque),
            Some(_) if gone => self.change(ChangeKind::Modify),
            Some(_) => self.change(ChangeKind::Add),
        }
    }

    fn subdirectory(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &CStr,
        stat: &Stat,
        below: Below,
        opaque: bool,
    ) -> io::Result<()> {
        let path = path_in(dir, name);
        let layers = match below {
            Below::Nothing => {
                self.change(ChangeKind::Add)?;
                Vec::new()
            }
            Below::File => {
                self.change(ChangeKind::Modify)?;
                Vec::new()
            }
            Below::Directories(layers, like) => {
                if same_attributes(stat, &like) && xattrs(&path)? == xattrs(&layers[0])? {
                    let held = self.describe(ChangeKind::Modify);
                    self.tell.enter(held);
                } else {
                    self.change(ChangeKind::Modify)?;
                }
                layers
            }
        };
        let opaque = opaque || is_opaque(&path)?;
        let child = match open_child(dir, name) {
            Ok(child) => child,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        };
        self.depth += 1;
        self.directory(child.as_fd(), &layers, opaque)?;
        self.depth -= 1;
        self.tell.leave(&self.path);
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
            source: (kind != ChangeKind::Delete).then(|| self.upper.join(&self.path)),
        }
    }
}

/// What `layers` show at `name`: the nearest that has it decides, and directories go on until something hides the rest.
fn below(layers: &[PathBuf], name: &CStr) -> io::Result<Below> {
    let mut found: Option<(Vec<PathBuf>, Box<Stat>)> = None;
    for layer in layers {
        let path = layer.join(OsStr::from_bytes(name.to_bytes()));
        let stat = match rustix::fs::lstat(&path) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => continue,
            Err(errno) => return Err(errno.into()),
        };
        if !is_directory(&stat) {
            if found.is_none() && !is_whiteout(&stat) {
                return Ok(Below::File);
            }
            break;
        }
        let opaque = is_opaque(&path)?;
        found.get_or_insert_with(|| (Vec::new(), Box::new(stat))).0.push(path);
        if opaque {
            break;
        }
    }
    Ok(found.map_or(Below::Nothing, |(layers, stat)| Below::Directories(layers, stat)))
}

/// Every name in any of `layers`; some may be hidden by a whiteout.
fn merged_names(layers: &[PathBuf]) -> io::Result<BTreeSet<CString>> {
    let mut all = BTreeSet::new();
    for layer in layers {
        let dir = open_root(layer).map_err(|error| error.source)?;
        all.extend(names(dir.as_fd())?);
    }
    Ok(all)
}

fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

fn is_opaque(path: &Path) -> io::Result<bool> {
    for name in OPAQUE {
        let mut value = [0; 2];
        match lgetxattr(path, name, &mut value) {
            Ok(1) if value[0] == b'y' => return Ok(true),
            Ok(_) | Err(Errno::NODATA | Errno::NOTSUP | Errno::RANGE) => {}
            // Gone since it was looked at.
            Err(Errno::NOENT) => return Ok(false),
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(false)
}
