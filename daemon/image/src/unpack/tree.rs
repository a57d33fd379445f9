//! The directory being filled: each entry put where the kernel, confined to the root, says its path leads.

use super::attributes::{self, open_root};
use super::confined::{failed, is_whiteout, list, look, mark_opaque, open_below, open_directory, remove_tree};
use super::{Limits, inherit};
use crate::error::{ImageError, Result};
use crate::tarball::{Entry, Kind, TarReader};
use gantry_core::snapshot::{ApplyTarget, Whiteouts};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::collections::{BTreeSet, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::sync::Arc;

const OPAQUE: &[u8] = b".wh..wh..opq";
const WHITEOUT: &[u8] = b".wh.";
/// Other marks of aufs, which mean nothing here.
const AUFS: &[u8] = b".wh..wh.";

pub(super) struct Tree<'a> {
    root: Rc<OwnedFd>,
    target: &'a ApplyTarget,
    limits: &'a Limits,
    /// Directory of the last entry: the next is usually beside it.
    last: Option<(Vec<u8>, Rc<OwnedFd>)>,
    /// Names this layer wrote (hashes of directory inode and name), where the directory holds other layers' names too.
    written: Option<(RandomState, HashSet<u64>)>,
    implied: BTreeSet<Vec<u8>>,
    /// Directory times are set last: filling a directory changes them.
    times: Vec<(Vec<u8>, (i64, u32))>,
}

impl<'a> Tree<'a> {
    pub(super) fn open(target: &'a ApplyTarget, limits: &'a Limits) -> Result<Self> {
        let root = open_root(&target.dir).map_err(failed("/", "open layer root"))?;
        let written = (target.whiteouts == Whiteouts::Plain).then(|| (RandomState::new(), HashSet::new()));
        Ok(Self {
            root: Rc::new(root),
            target,
            limits,
            last: None,
            written,
            implied: BTreeSet::from([Vec::new()]),
            times: Vec::new(),
        })
    }

    pub(super) fn put<R: Read>(&mut self, entry: &Entry, tar: &mut TarReader<R>) -> Result<()> {
        let path = clean(&entry.path, self.limits.max_depth)?;
        let Some((dir, name)) = split(&path) else {
            return match entry.kind {
                Kind::Directory => self.put_root(entry),
                _ => Err(bad(entry, "is the layer's root but no directory")),
            };
        };
        let dir_fd = self.directory(dir, &entry.shown())?;
        if name == OPAQUE {
            return self.make_opaque(&dir_fd, &entry.shown());
        }
        if name.starts_with(AUFS) {
            return Ok(());
        }
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            return match hidden {
                b"" | b"." | b".." => Err(bad(entry, "removes no name")),
                _ => self.hide(&dir_fd, hidden, &entry.shown()),
            };
        }
        let before = self.make_way(&dir_fd, name, entry)?;
        match entry.kind {
            Kind::Directory => self.put_directory(&dir_fd, name, &path, entry, before)?,
            Kind::File => self.put_file(&dir_fd, name, entry, tar)?,
            Kind::HardLink => self.put_hard_link(&dir_fd, name, entry)?,
            Kind::Symlink | Kind::Fifo | Kind::Char | Kind::Block => put_special(dir_fd.as_fd(), name, entry)?,
        }
        self.note(&dir_fd, name, &entry.shown())
    }

    /// Sets directory times; the implied directories remain to be given theirs.
    pub(super) fn finish(self) -> Result<Vec<Vec<u8>>> {
        for (path, mtime) in self.times.iter().rev() {
            let shown = String::from_utf8_lossy(path);
            match open_below(self.root.as_fd(), path) {
                Ok(fd) => attributes::set_mtime(fd.as_fd(), *mtime, &shown)?,
                // Replaced or removed by a later entry of the same layer.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(error) => return Err(failed(&shown, "open directory")(error)),
            }
        }
        Ok(self.implied.into_iter().collect())
    }

    fn put_root(&mut self, entry: &Entry) -> Result<()> {
        self.implied.remove(&Vec::new());
        attributes::set(self.root.as_fd(), entry, "/")?;
        self.times.push((Vec::new(), entry.mtime));
        Ok(())
    }

    fn put_directory(&mut self, dir: &OwnedFd, name: &[u8], path: &[u8], entry: &Entry, before: Before) -> Result<()> {
        let shown = entry.shown();
        if before != Before::Directory {
            rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(0o700)).map_err(failed(&shown, "make directory"))?;
        }
        let fd = open_directory(dir.as_fd(), name).map_err(failed(&shown, "open directory"))?;
        if before == Before::Whiteout {
            // Removed and made anew in one layer: what lies below must stay hidden.
            mark_opaque(fd.as_fd(), &shown)?;
        }
        attributes::set(fd.as_fd(), entry, &shown)?;
        self.implied.remove(path);
        self.times.push((path.to_vec(), entry.mtime));
        Ok(())
    }

    fn put_file<R: Read>(&mut self, dir: &OwnedFd, name: &[u8], entry: &Entry, tar: &mut TarReader<R>) -> Result<()> {
        let shown = entry.shown();
        // O_EXCL: only ever a file that did not exist.
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd =
            rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o600)).map_err(failed(&shown, "create file"))?;
        let file = std::fs::File::from(fd);
        let write_failed = |source| ImageError::Entry {
            path: shown.clone(),
            doing: "write file",
            source: Arc::new(source),
        };
        let mut end = 0;
        tar.content(entry, |offset, bytes| {
            end = offset + bytes.len() as u64;
            file.write_all_at(bytes, offset).map_err(write_failed)
        })?;
        if end < entry.size {
            file.set_len(entry.size).map_err(write_failed)?;
        }
        attributes::set(file.as_fd(), entry, &shown)
    }

    fn put_hard_link(&mut self, dir: &OwnedFd, name: &[u8], entry: &Entry) -> Result<()> {
        let shown = entry.shown();
        let target = clean(&entry.link, self.limits.max_depth)?;
        let Some((target_dir, target_name)) = split(&target) else {
            return Err(bad(entry, "is a hard link to the layer's root"));
        };
        let missing = || {
            let detail = format!("is a hard link to missing \"{}\"", String::from_utf8_lossy(&entry.link));
            bad(entry, &detail)
        };
        let from = match open_below(self.root.as_fd(), target_dir) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Err(missing()),
            Err(error) => return Err(failed(&shown, "open hard link target")(error)),
        };
        match rustix::fs::linkat(&from, target_name, dir, name, AtFlags::empty()) {
            Ok(()) => Ok(()),
            Err(Errno::NOENT) => Err(missing()),
            Err(error) => Err(failed(&shown, "make hard link")(error)),
        }
    }

    /// Makes the name free for `entry`, whatever holds it: an earlier entry, or a lower layer in a plain tree.
    fn make_way(&mut self, dir: &OwnedFd, name: &[u8], entry: &Entry) -> Result<Before> {
        let shown = entry.shown();
        let Some(stat) = look(dir.as_fd(), name).map_err(failed(&shown, "look up"))? else {
            return Ok(Before::Nothing);
        };
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if is_directory && entry.kind == Kind::Directory {
            return Ok(Before::Directory);
        }
        let whiteout = self.target.whiteouts == Whiteouts::Overlay && is_whiteout(&stat);
        self.remove(dir.as_fd(), name, is_directory)
            .map_err(failed(&shown, "replace"))?;
        Ok(if whiteout { Before::Whiteout } else { Before::Nothing })
    }

    fn remove(&mut self, dir: BorrowedFd<'_>, name: &[u8], is_directory: bool) -> Result<(), Errno> {
        if !is_directory {
            return rustix::fs::unlinkat(dir, name, AtFlags::empty());
        }
        self.last = None;
        remove_tree(dir, name)
    }

    /// `.wh.name`: what lower layers have under this name is gone; what this layer wrote stays.
    fn hide(&mut self, dir: &OwnedFd, name: &[u8], shown: &str) -> Result<()> {
        let found = look(dir.as_fd(), name).map_err(failed(shown, "look up"))?;
        let is_directory = |stat: &Stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        match (self.target.whiteouts, found) {
            (Whiteouts::Overlay, None) => {
                let mode = Mode::from_raw_mode(0);
                rustix::fs::mknodat(dir, name, FileType::CharacterDevice, mode, 0)
                    .map_err(failed(shown, "make whiteout"))
            }
            (Whiteouts::Overlay, Some(stat)) if is_directory(&stat) => {
                let fd = open_directory(dir.as_fd(), name).map_err(failed(shown, "open directory"))?;
                mark_opaque(fd.as_fd(), shown)
            }
            (Whiteouts::Overlay, Some(_)) | (Whiteouts::Plain, None) => Ok(()),
            (Whiteouts::Plain, Some(stat)) if !self.wrote(dir, name, shown)? => self
                .remove(dir.as_fd(), name, is_directory(&stat))
                .map_err(failed(shown, "remove")),
            (Whiteouts::Plain, Some(stat)) if is_directory(&stat) => {
                let fd = open_directory(dir.as_fd(), name).map_err(failed(shown, "open directory"))?;
                self.keep_only_written(&fd, shown)
            }
            (Whiteouts::Plain, Some(_)) => Ok(()),
        }
    }

    fn make_opaque(&mut self, dir: &OwnedFd, shown: &str) -> Result<()> {
        match self.target.whiteouts {
            Whiteouts::Overlay => mark_opaque(dir.as_fd(), shown),
            Whiteouts::Plain => self.keep_only_written(dir, shown),
        }
    }

    fn keep_only_written(&mut self, dir: &OwnedFd, shown: &str) -> Result<()> {
        for (name, kind) in list(dir.as_fd()).map_err(failed(shown, "list directory"))? {
            let is_directory = kind == FileType::Directory;
            if !self.wrote(dir, &name, shown)? {
                self.remove(dir.as_fd(), &name, is_directory)
                    .map_err(failed(shown, "remove"))?;
            } else if is_directory {
                let fd = open_directory(dir.as_fd(), &name).map_err(failed(shown, "open directory"))?;
                self.keep_only_written(&fd, shown)?;
            }
        }
        Ok(())
    }

    fn note(&mut self, dir: &OwnedFd, name: &[u8], shown: &str) -> Result<()> {
        if let Some((state, names)) = &mut self.written {
            let stat = rustix::fs::fstat(dir).map_err(failed(shown, "look up"))?;
            names.insert(state.hash_one((stat.st_ino, name)));
        }
        Ok(())
    }

    /// The directories on the way to an entry hold something of this layer.
    fn note_way(&mut self, path: &[u8], shown: &str) -> Result<()> {
        if self.written.is_none() {
            return Ok(());
        }
        let mut at = path;
        while let Some((above, name)) = split(at) {
            let fd = open_below(self.root.as_fd(), above).map_err(failed(shown, "open parent directory"))?;
            self.note(&fd, name, shown)?;
            at = above;
        }
        Ok(())
    }

    fn wrote(&self, dir: &OwnedFd, name: &[u8], shown: &str) -> Result<bool> {
        let Some((state, names)) = &self.written else {
            return Ok(true);
        };
        let stat = rustix::fs::fstat(dir).map_err(failed(shown, "look up"))?;
        Ok(names.contains(&state.hash_one((stat.st_ino, name))))
    }

    /// The directory an entry goes into, links resolved within the root, made where missing.
    fn directory(&mut self, path: &[u8], shown: &str) -> Result<Rc<OwnedFd>> {
        if path.is_empty() {
            return Ok(self.root.clone());
        }
        if let Some((last, fd)) = &self.last
            && last == path
        {
            return Ok(fd.clone());
        }
        let fd = match open_below(self.root.as_fd(), path) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => self.make_directories(path, shown)?,
            // A lower layer's directory removed by this very layer and needed again.
            Err(Errno::NOTDIR) if self.target.whiteouts == Whiteouts::Overlay => self.make_directories(path, shown)?,
            Err(error) => return Err(failed(shown, "open parent directory")(error)),
        };
        self.note_way(path, shown)?;
        let fd = Rc::new(fd);
        self.last = Some((path.to_vec(), fd.clone()));
        Ok(fd)
    }

    fn make_directories(&mut self, path: &[u8], shown: &str) -> Result<OwnedFd> {
        let ends = path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at);
        let mut fd = None;
        for end in ends.chain([path.len()]) {
            let prefix = &path[..end];
            fd = Some(match open_below(self.root.as_fd(), prefix) {
                Ok(found) => found,
                Err(Errno::NOENT | Errno::NOTDIR) => self.make_implied(prefix, shown)?,
                Err(error) => return Err(failed(shown, "open parent directory")(error)),
            });
        }
        Ok(fd.expect("the whole path is always tried"))
    }

    fn make_implied(&mut self, path: &[u8], shown: &str) -> Result<OwnedFd> {
        let (above, name) = split(path).expect("the root exists");
        let above = open_below(self.root.as_fd(), above).map_err(failed(shown, "open parent directory"))?;
        let hidden = match look(above.as_fd(), name).map_err(failed(shown, "look up"))? {
            Some(stat) if self.target.whiteouts == Whiteouts::Overlay && is_whiteout(&stat) => {
                rustix::fs::unlinkat(&above, name, AtFlags::empty()).map_err(failed(shown, "replace"))?;
                true
            }
            Some(_) => {
                return Err(ImageError::BadEntry {
                    path: shown.to_owned(),
                    detail: format!("needs \"{}\" to be a directory", String::from_utf8_lossy(path)),
                });
            }
            None => false,
        };
        rustix::fs::mkdirat(&above, name, Mode::from_raw_mode(0o755))
            .map_err(failed(shown, "make parent directory"))?;
        let fd = open_directory(above.as_fd(), name).map_err(failed(shown, "open parent directory"))?;
        rustix::fs::fchmod(&fd, Mode::from_raw_mode(0o755)).map_err(failed(shown, "set mode"))?;
        self.note(&above, name, shown)?;
        if hidden {
            mark_opaque(fd.as_fd(), shown)?;
        } else if !inherit::from_lower(&self.target.lower, path, fd.as_fd())? {
            self.implied.insert(path.to_vec());
        }
        Ok(fd)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    Nothing,
    Directory,
    Whiteout,
}

fn put_special(dir: BorrowedFd<'_>, name: &[u8], entry: &Entry) -> Result<()> {
    let shown = entry.shown();
    let kind = match entry.kind {
        Kind::Symlink if entry.link.is_empty() => return Err(bad(entry, "is a link to nothing")),
        Kind::Symlink => {
            rustix::fs::symlinkat(&entry.link[..], dir, name).map_err(failed(&shown, "make link"))?;
            return attributes::set_at(dir, name, entry, true, &shown);
        }
        Kind::Fifo => FileType::Fifo,
        Kind::Char => FileType::CharacterDevice,
        _ => FileType::BlockDevice,
    };
    let device = match kind {
        FileType::Fifo => 0,
        _ => rustix::fs::makedev(entry.device.0, entry.device.1),
    };
    rustix::fs::mknodat(dir, name, kind, Mode::from_raw_mode(0o600), device).map_err(failed(&shown, "make node"))?;
    attributes::set_at(dir, name, entry, false, &shown)
}

/// A path relative to the root, `.` and `..` resolved; one that climbs above the root is refused.
fn clean(path: &[u8], max_depth: usize) -> Result<Vec<u8>> {
    let shown = || String::from_utf8_lossy(path).into_owned();
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." if parts.pop().is_none() => return Err(ImageError::Escape { path: shown() }),
            b".." => {}
            _ => parts.push(part),
        }
    }
    if parts.len() > max_depth {
        return Err(super::over("max-depth", max_depth as u64));
    }
    if path.contains(&0) {
        return Err(ImageError::BadEntry {
            path: shown(),
            detail: "has a zero byte in its name".to_owned(),
        });
    }
    Ok(parts.join(&b'/'))
}

/// Directory and last name of a clean path; `None` for the root.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    match path.iter().rposition(|b| *b == b'/') {
        Some(at) => Some((&path[..at], &path[at + 1..])),
        None if path.is_empty() => None,
        None => Some((b"", path)),
    }
}

fn bad(entry: &Entry, detail: &str) -> ImageError {
    ImageError::BadEntry {
        path: entry.shown(),
        detail: detail.to_owned(),
    }
}
