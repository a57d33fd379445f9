//! From a tar stream to a container's files. Every path is resolved inside the container's root by the kernel, so neither
//! `..` nor a link can lead out.

use super::CopyTo;
use crate::container::rootfs;
use bytes::{Buf, Bytes};
use gantry_core::error::io_kind;
use gantry_core::{Error, Result};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use tar::{Archive, Entry, EntryType};
use tokio::sync::mpsc;

/// A reader from a bounded channel.
struct Receiver {
    tar: mpsc::Receiver<Bytes>,
    rest: Bytes,
}

impl Read for Receiver {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.tar.blocking_recv() {
                Some(bytes) => self.rest = bytes,
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.rest.len());
        self.rest.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

pub(super) fn extract(
    root: BorrowedFd<'_>,
    dir: &str,
    options: CopyTo,
    owner: Option<(u32, u32)>,
    tar: mpsc::Receiver<Bytes>,
) -> Result<u64> {
    let target = rootfs::open(root, dir, OFlags::PATH)?;
    let stat = rustix::fs::fstat(&target).map_err(|errno| Error::internal(format!("stat {dir}: {errno}")))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Err(Error::invalid(format!("{dir}: extraction point is not a directory")));
    }
    let mut writer = Writer {
        root,
        dir: dir.trim_matches('/').to_owned(),
        options,
        owner,
        bytes: 0,
        directories: Vec::new(),
    };
    let mut archive = Archive::new(Receiver {
        tar,
        rest: Bytes::new(),
    });
    let entries = archive.entries().map_err(|error| bad(&error, "the tar stream"))?;
    for entry in entries {
        let mut entry = entry.map_err(|error| bad(&error, "the tar stream"))?;
        let name = entry
            .path()
            .map_err(|error| bad(&error, "the tar stream"))?
            .into_owned();
        writer.entry(&name, &mut entry).map_err(|error| at(&error, &name))?;
    }
    writer.finish();
    Ok(writer.bytes)
}

fn bad(error: &io::Error, what: &str) -> Error {
    Error::invalid(format!("read {what}: {error}"))
}

fn at(error: &io::Error, name: &Path) -> Error {
    Error::new(io_kind(error), format!("extract {}: {error}", name.display()))
}

struct Writer<'a> {
    root: BorrowedFd<'a>,
    dir: String,
    options: CopyTo,
    /// Uid and gid; `None` = those of the archive.
    owner: Option<(u32, u32)>,
    bytes: u64,
    /// Times of directories, set when all is in them.
    directories: Vec<(OwnedFd, u64)>,
}

impl Writer<'_> {
    fn entry<R: Read>(&mut self, name: &Path, entry: &mut Entry<'_, R>) -> io::Result<()> {
        let Some(inner) = clean(name) else { return Ok(()) };
        let file_name = inner.file_name().map(ToOwned::to_owned).unwrap_or_default();
        let parent = self.parent(inner.parent().unwrap_or(Path::new("")))?;
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader | EntryType::GNUSparse) && kind == EntryType::XGlobalHeader {
            return Ok(());
        }
        let is_dir = kind == EntryType::Directory;
        self.make_room(parent.as_fd(), &file_name, is_dir)?;
        let mode = Mode::from_raw_mode(entry.header().mode()? & 0o7777);
        match kind {
            EntryType::Directory => match rustix::fs::mkdirat(&parent, &file_name, mode) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
            },
            EntryType::Symlink => {
                let link = entry.link_name()?.ok_or(io::ErrorKind::InvalidData)?;
                rustix::fs::symlinkat(link.as_ref(), &parent, &file_name)?;
            }
            EntryType::Link => return self.hard_link(entry, &parent, &file_name),
            EntryType::Fifo | EntryType::Char | EntryType::Block => node(entry, &parent, &file_name, kind, mode)?,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.file(entry, &parent, &file_name, mode)?
            }
            other => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("entry type {other:?} is not known"),
                ));
            }
        }
        self.attributes(entry, &parent, &file_name, kind, mode)
    }

    /// Opens (and makes, if missing) the directory an entry goes into.
    fn parent(&self, inner: &Path) -> io::Result<OwnedFd> {
        let open = |path: &Path| {
            let whole = format!("{}/{}", self.dir, path.display());
            rootfs::open(self.root, &whole, OFlags::PATH | OFlags::DIRECTORY).map_err(io::Error::other)
        };
        if let Ok(fd) = open(inner) {
            return Ok(fd);
        }
        let mut at = open(Path::new(""))?;
        let mut sofar = PathBuf::new();
        for part in inner.components() {
            sofar.push(part);
            match rustix::fs::mkdirat(&at, part.as_os_str(), Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
            at = open(&sofar)?;
        }
        Ok(at)
    }

    /// What is there already gives way, except a directory to a directory.
    fn make_room(&self, parent: BorrowedFd<'_>, name: &std::ffi::OsStr, is_dir: bool) -> io::Result<()> {
        let Ok(stat) = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) else {
            return Ok(());
        };
        let was_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if was_dir && is_dir {
            return Ok(());
        }
        if self.options.no_overwrite_dir_non_dir && was_dir != is_dir {
            let (new, old) = if is_dir {
                ("directory", "non-directory")
            } else {
                ("non-directory", "directory")
            };
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("cannot overwrite {old} with {new}"),
            ));
        }
        if was_dir {
            return rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR).map_err(Into::into);
        }
        rustix::fs::unlinkat(parent, name, AtFlags::empty()).map_err(Into::into)
    }

    fn file<R: Read>(
        &mut self,
        entry: &mut Entry<'_, R>,
        parent: &OwnedFd,
        name: &std::ffi::OsStr,
        mode: Mode,
    ) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(parent, name, flags, mode)?);
        self.bytes += io::copy(entry, &mut file)?;
        Ok(())
    }

    fn hard_link<R: Read>(&self, entry: &Entry<'_, R>, parent: &OwnedFd, name: &std::ffi::OsStr) -> io::Result<()> {
        let link = entry.link_name()?.ok_or(io::ErrorKind::InvalidData)?;
        let inner = clean(&link).ok_or(io::ErrorKind::InvalidData)?;
        let from = self.parent(inner.parent().unwrap_or(Path::new("")))?;
        let old = inner.file_name().ok_or(io::ErrorKind::InvalidData)?;
        rustix::fs::linkat(&from, old, parent, name, AtFlags::empty()).map_err(Into::into)
    }

    fn attributes<R: Read>(
        &mut self,
        entry: &Entry<'_, R>,
        parent: &OwnedFd,
        name: &std::ffi::OsStr,
        kind: EntryType,
        mode: Mode,
    ) -> io::Result<()> {
        let header = entry.header();
        let (uid, gid) = match self.owner {
            Some(owner) => owner,
            None => (
                u32::try_from(header.uid()?).unwrap_or(0),
                u32::try_from(header.gid()?).unwrap_or(0),
            ),
        };
        let mtime = header.mtime()?;
        // By descriptor from here on: in a running container the name may be changed into a link at any moment.
        let fd = rustix::fs::openat(
            parent,
            name,
            OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        rustix::fs::chownat(
            &fd,
            "",
            Some(Uid::from_raw(uid)),
            Some(Gid::from_raw(gid)),
            AtFlags::EMPTY_PATH,
        )?;
        if FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode) == FileType::Symlink {
            return rustix::fs::utimensat(parent, name, &times(mtime), AtFlags::SYMLINK_NOFOLLOW).map_err(Into::into);
        }
        // After the owner, whose change clears setuid.
        rustix::fs::chmodat(CWD, magic(&fd), mode, AtFlags::empty())?;
        if kind == EntryType::Directory {
            self.directories.push((fd, mtime));
            return Ok(());
        }
        rustix::fs::utimensat(CWD, magic(&fd), &times(mtime), AtFlags::empty()).map_err(Into::into)
    }

    fn finish(&mut self) {
        for (fd, mtime) in self.directories.drain(..).rev() {
            // A directory that went away meanwhile needs no time.
            let _ = rustix::fs::utimensat(CWD, magic(&fd), &times(mtime), AtFlags::empty());
        }
    }
}

fn node<R: Read>(
    entry: &Entry<'_, R>,
    parent: &OwnedFd,
    name: &std::ffi::OsStr,
    kind: EntryType,
    mode: Mode,
) -> io::Result<()> {
    let header = entry.header();
    let number = |value: io::Result<Option<u32>>| value.map(|number| number.unwrap_or(0));
    let (file_type, device) = match kind {
        EntryType::Fifo => (FileType::Fifo, 0),
        EntryType::Char => (
            FileType::CharacterDevice,
            rustix::fs::makedev(number(header.device_major())?, number(header.device_minor())?),
        ),
        _ => (
            FileType::BlockDevice,
            rustix::fs::makedev(number(header.device_major())?, number(header.device_minor())?),
        ),
    };
    rustix::fs::mknodat(parent, name, file_type, mode, device).map_err(Into::into)
}

/// The path by which the kernel leads to exactly what a descriptor holds.
fn magic(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

fn times(mtime: u64) -> Timestamps {
    let at = Timespec {
        tv_sec: i64::try_from(mtime).unwrap_or(0),
        tv_nsec: 0,
    };
    Timestamps {
        last_access: at,
        last_modification: at,
    }
}

/// A relative path without `.` and `..`; `None` for the directory itself.
fn clean(name: &Path) -> Option<PathBuf> {
    let mut inner = PathBuf::new();
    for part in name.components() {
        match part {
            Component::Normal(part) => inner.push(part),
            Component::ParentDir => {
                inner.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    (!inner.as_os_str().is_empty()).then_some(inner)
}

#[cfg(test)]
mod tests {
    use super::clean;
    use std::path::{Path, PathBuf};

    #[test]
    fn names_stay_below() {
        assert_eq!(clean(Path::new("./a/../../b")), Some(PathBuf::from("b")));
        assert_eq!(clean(Path::new("/etc/passwd")), Some(PathBuf::from("etc/passwd")));
        assert_eq!(clean(Path::new("./")), None);
    }
}
