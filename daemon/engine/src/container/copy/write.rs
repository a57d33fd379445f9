//! From a tar stream to a container's files. Every path is resolved inside the container's root by the kernel, so neither
//! `..` nor a link can lead out.

use super::{ATTRIBUTE, CAPABILITY, CopyTo};
use crate::container::rootfs;
use bytes::{Buf, Bytes};
use gantry_core::error::io_kind;
use gantry_core::{Error, Result};
use gantry_image::paced;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use tar::{Archive, Entry, EntryType, Header};
use tokio::sync::mpsc;

/// Directories in each other that one entry may take the place of: one descriptor each.
const MAX_DEPTH: usize = 512;

/// A reader from a bounded channel.
struct Receiver {
    tar: mpsc::Receiver<Bytes>,
    rest: Bytes,
}

impl Read for Receiver {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match paced::receive(&mut self.tar)? {
                Some(bytes) => self.rest = bytes,
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.rest.len());
        self.rest.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

/// The place that is extracted into: its path, for it is opened anew for each entry.
pub(super) fn open_dir(root: BorrowedFd<'_>, dir: &str) -> Result<String> {
    let target = rootfs::open(root, dir, OFlags::PATH)?;
    let stat = rustix::fs::fstat(&target).map_err(|errno| Error::internal(format!("stat {dir}: {errno}")))?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Ok(dir.trim_matches('/').to_owned()),
        _ => Err(Error::invalid(format!("{dir}: extraction point is not a directory"))),
    }
}

pub(super) fn extract(
    root: BorrowedFd<'_>,
    dir: &str,
    options: CopyTo,
    owner: Option<(u32, u32)>,
    tar: mpsc::Receiver<Bytes>,
) -> Result<u64> {
    let mut writer = Writer {
        root,
        dir: dir.to_owned(),
        options,
        owner,
        bytes: 0,
        directories: Vec::new(),
    };
    let packed = Receiver {
        tar,
        rest: Bytes::new(),
    };
    // Whether it is compressed is told by its beginning, as in Docker.
    let (_, plain) = gantry_image::compress::decoder(packed).map_err(|error| bad(&error, "the tar stream"))?;
    let mut archive = Archive::new(plain);
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

/// A number of a header. Some writers leave those blank that they have nothing to say with: nought, as for other readers.
fn number<T: Default>(field: &[u8], read: io::Result<T>) -> io::Result<T> {
    match field.iter().all(|byte| matches!(byte, 0 | b' ')) {
        true => Ok(T::default()),
        false => read,
    }
}

fn mode(header: &Header) -> io::Result<u32> {
    number(&header.as_old().mode, header.mode())
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
        if kind == EntryType::XGlobalHeader {
            return Ok(());
        }
        let is_dir = kind == EntryType::Directory;
        self.make_room(parent.as_fd(), &file_name, is_dir)?;
        let mode = Mode::from_raw_mode(mode(entry.header())? & 0o7777);
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
            return remove_tree(parent, name);
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
        entry: &mut Entry<'_, R>,
        parent: &OwnedFd,
        name: &std::ffi::OsStr,
        kind: EntryType,
        mode: Mode,
    ) -> io::Result<()> {
        let carried = carried(entry)?;
        let header = entry.header();
        let (uid, gid) = match self.owner {
            Some(owner) => owner,
            None => (
                u32::try_from(number(&header.as_old().uid, header.uid())?).unwrap_or(0),
                u32::try_from(number(&header.as_old().gid, header.gid())?).unwrap_or(0),
            ),
        };
        let mtime = number(&header.as_old().mtime, header.mtime())?;
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
        for (name, value) in &carried {
            match rustix::fs::setxattr(magic(&fd), name.as_str(), value, XattrFlags::empty()) {
                // As in Docker: there are filesystems and namespaces that do not have them.
                Ok(()) | Err(rustix::io::Errno::NOTSUP | rustix::io::Errno::PERM) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
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

/// Takes away a directory with all that is in it, never by way of a link.
fn remove_tree(parent: BorrowedFd<'_>, name: &std::ffi::OsStr) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = |within: BorrowedFd<'_>, name: &std::ffi::OsStr| rustix::fs::openat(within, name, flags, Mode::empty());
    let mut way = vec![(open(parent, name)?, name.to_owned())];
    while let Some((dir, own)) = way.last() {
        match clear(dir.as_fd())? {
            Some(deeper) => {
                if way.len() >= MAX_DEPTH {
                    return Err(io::Error::other(format!(
                        "{}: it is too deep to be replaced",
                        name.display()
                    )));
                }
                way.push((open(dir.as_fd(), &deeper)?, deeper));
            }
            None => {
                let above = way.len().checked_sub(2).map_or(parent, |at| way[at].0.as_fd());
                rustix::fs::unlinkat(above, own, AtFlags::REMOVEDIR)?;
                way.pop();
            }
        }
    }
    Ok(())
}

/// Removes what is in a directory and is none; answers a directory in it.
fn clear(dir: BorrowedFd<'_>) -> io::Result<Option<std::ffi::OsString>> {
    for item in Dir::read_from(dir)? {
        let item = item?;
        let name = std::ffi::OsStr::from_bytes(item.file_name().to_bytes());
        if name == "." || name == ".." {
            continue;
        }
        match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(rustix::io::Errno::ISDIR) => return Ok(Some(name.to_owned())),
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(None)
}

/// The attributes of an entry that may be set: those that the kernel makes nothing of, and what a file may do.
fn carried<R: Read>(entry: &mut Entry<'_, R>) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut found = Vec::new();
    if let Some(extensions) = entry.pax_extensions()? {
        for extension in extensions {
            // The reader takes lines, so that a value with a line end in it is none to it: such a one is left out.
            let Ok(extension) = extension else { continue };
            let name = extension.key().ok().and_then(|key| key.strip_prefix(ATTRIBUTE));
            if let Some(name) = name.filter(|name| is_carried(name)) {
                found.push((name.to_owned(), extension.value_bytes().to_vec()));
            }
        }
    }
    Ok(found)
}

/// Those of overlay filesystems are the kernel's affair.
fn is_carried(name: &str) -> bool {
    name == CAPABILITY || name.starts_with("user.") && !name.starts_with("user.overlay.")
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
    use super::*;

    #[test]
    fn a_directory_with_content_goes_and_what_its_links_lead_to_stays() {
        let dir = tempfile::tempdir().unwrap();
        let gone = dir.path().join("gone");
        std::fs::create_dir_all(gone.join("a/b/c")).unwrap();
        std::fs::create_dir(gone.join("d")).unwrap();
        std::fs::write(gone.join("a/b/file"), "x").unwrap();
        std::fs::write(dir.path().join("kept"), "x").unwrap();
        std::os::unix::fs::symlink("../../kept", gone.join("a/link")).unwrap();
        let parent = rustix::fs::open(dir.path(), OFlags::PATH, Mode::empty()).unwrap();
        remove_tree(parent.as_fd(), "gone".as_ref()).unwrap();
        assert!(!gone.exists() && dir.path().join("kept").exists());
    }

    #[test]
    fn what_is_left_blank_is_nought() {
        let mut header = Header::new_gnu();
        header.set_gid(7);
        let (uid, gid) = (header.uid(), header.gid());
        assert!(uid.is_err(), "the reader alone refuses it");
        let old = header.as_old();
        assert_eq!(
            (number(&old.uid, uid).ok(), number(&old.gid, gid).ok()),
            (Some(0), Some(7))
        );
        let refused = number(b"7x", Err::<u64, _>(std::io::Error::other("no number")));
        assert!(refused.is_err());
    }

    #[test]
    fn names_stay_below() {
        assert_eq!(clean(Path::new("./a/../../b")), Some(PathBuf::from("b")));
        assert_eq!(clean(Path::new("/etc/passwd")), Some(PathBuf::from("etc/passwd")));
        assert_eq!(clean(Path::new("./")), None);
    }
}
