//! From a container's files to a tar stream.

use super::{ATTRIBUTE, CAPABILITY, Place, kernel, open_place};
use bytes::Bytes;
use gantry_core::{Error, Result};
use gantry_image::paced;
use rustix::fs::{AtFlags, Dir, FileType, OFlags, Stat};
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use tar::{Builder, EntryType, Header};
use tokio::sync::mpsc;

/// Bytes gathered before they go into the channel.
const CHUNK: usize = 256 << 10;

/// A writer into a bounded channel; a receiver that went away is a broken pipe.
struct Sender(mpsc::Sender<Result<Bytes>>);

impl Write for Sender {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        paced::send(&self.0, Ok(Bytes::copy_from_slice(bytes))).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(super) fn archive(root: BorrowedFd<'_>, place: &Place, chunks: mpsc::Sender<Result<Bytes>>) -> Result<()> {
    let mut writer = Writer {
        tar: Builder::new(BufWriter::with_capacity(CHUNK, Sender(chunks))),
        seen: HashMap::new(),
        nodes: kernel::nodes(root),
    };
    let written = writer
        .place(place)
        .and_then(|()| writer.tar.finish())
        .and_then(|()| writer.tar.get_mut().flush());
    match written {
        // Nobody wants it any more.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(|error| Error::internal(format!("archive {}: {error}", place.base))),
    }
}

struct Writer {
    tar: Builder<BufWriter<Sender>>,
    /// First name of each file that has several.
    seen: HashMap<(u64, u64), Vec<u8>>,
    /// Device and inode of the container's own `/dev`.
    nodes: Option<(u64, u64)>,
}

impl Writer {
    fn place(&mut self, place: &Place) -> io::Result<()> {
        if place.name.is_empty() {
            let fd = open_place(place, OFlags::RDONLY | OFlags::DIRECTORY).map_err(io::Error::other)?;
            let stat = rustix::fs::fstat(&fd)?;
            return self.directory(fd.as_fd(), &stat, place.base.as_bytes());
        }
        self.entry(place.parent.as_fd(), &place.name, place.base.as_bytes())
    }

    fn entry(&mut self, parent: BorrowedFd<'_>, name: &OsStr, path: &[u8]) -> io::Result<()> {
        let stat = match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            // It went away while we walked.
            Err(rustix::io::Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let fd = rustix::fs::openat(parent, name, flags, rustix::fs::Mode::empty())?;
                self.directory(fd.as_fd(), &stat, path)
            }
            FileType::RegularFile => self.file(parent, name, &stat, path),
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(parent, name, Vec::new())?;
                let mut header = header(&stat, EntryType::Symlink, 0);
                self.append(&mut header, path, target.as_bytes(), io::empty())
            }
            FileType::CharacterDevice => self.node(&stat, EntryType::Char, path),
            FileType::BlockDevice => self.node(&stat, EntryType::Block, path),
            FileType::Fifo => self.node(&stat, EntryType::Fifo, path),
            // A socket means nothing outside its process.
            FileType::Socket | FileType::Unknown => Ok(()),
        }
    }

    fn directory(&mut self, fd: BorrowedFd<'_>, stat: &Stat, path: &[u8]) -> io::Result<()> {
        let mut slashed = path.to_vec();
        if !slashed.ends_with(b"/") {
            slashed.push(b'/');
        }
        let mut header = header(stat, EntryType::Directory, 0);
        self.append(&mut header, relative(&slashed), b"", io::empty())?;
        if kernel::holds(fd).is_some() || self.nodes == Some((stat.st_dev, stat.st_ino)) {
            return Ok(());
        }
        let mut names = Vec::new();
        for item in Dir::read_from(fd)? {
            let name = item?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(name);
            }
        }
        names.sort();
        for name in names {
            let inner = [slashed.as_slice(), &name].concat();
            self.entry(fd, OsStr::from_bytes(&name), relative(&inner))?;
        }
        Ok(())
    }

    fn file(&mut self, parent: BorrowedFd<'_>, name: &OsStr, stat: &Stat, path: &[u8]) -> io::Result<()> {
        if stat.st_nlink > 1 {
            if let Some(first) = self.seen.get(&(stat.st_dev, stat.st_ino)) {
                let first = first.clone();
                return self.append(&mut header(stat, EntryType::Link, 0), path, &first, io::empty());
            }
            self.seen.insert((stat.st_dev, stat.st_ino), path.to_vec());
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::openat(parent, name, flags, rustix::fs::Mode::empty())?);
        // The size that the header says is what goes in, whatever happens to the file meanwhile.
        let size = file.metadata()?.len();
        if let Some(value) = capability(&file)? {
            let key = format!("{ATTRIBUTE}{CAPABILITY}");
            self.tar.append_pax_extensions([(key.as_str(), value.as_slice())])?;
        }
        let mut header = header(stat, EntryType::Regular, size);
        let content = file.take(size).chain(io::repeat(0)).take(size);
        self.append(&mut header, path, b"", content)
    }

    fn node(&mut self, stat: &Stat, kind: EntryType, path: &[u8]) -> io::Result<()> {
        let mut header = header(stat, kind, 0);
        if kind != EntryType::Fifo {
            header.set_device_major(rustix::fs::major(stat.st_rdev))?;
            header.set_device_minor(rustix::fs::minor(stat.st_rdev))?;
        }
        self.append(&mut header, path, b"", io::empty())
    }

    /// An entry by names as they are: who asked for the contents of a directory (`dir/.`) gets `./` before each, by which clients
    /// know what to put another name before, and which the library would take away.
    fn append(&mut self, header: &mut Header, path: &[u8], link: &[u8], content: impl Read) -> io::Result<()> {
        self.long(b'L', path)?;
        self.long(b'K', link)?;
        if let Some(fields) = header.as_gnu_mut() {
            put(&mut fields.name, path);
            put(&mut fields.linkname, link);
        }
        header.set_cksum();
        self.tar.append(header, content)
    }

    /// A name that is too long for a header stands before it, as GNU's tar has it.
    fn long(&mut self, kind: u8, name: &[u8]) -> io::Result<()> {
        const ROOM: usize = 100;
        if name.len() <= ROOM {
            return Ok(());
        }
        let mut header = Header::new_gnu();
        if let Some(fields) = header.as_gnu_mut() {
            put(&mut fields.name, b"././@LongLink");
        }
        header.set_entry_type(EntryType::new(kind));
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(name.len() as u64 + 1);
        header.set_cksum();
        self.tar.append(&header, name.chain(&b"\0"[..]))
    }
}

/// As much of it as fits.
fn put(field: &mut [u8], text: &[u8]) {
    for (byte, from) in field.iter_mut().zip(text) {
        *byte = *from;
    }
}

/// What the file may do beyond its owner's rights.
fn capability(file: &File) -> io::Result<Option<Vec<u8>>> {
    // It is 20 or 24 bytes long.
    let mut value = [0; 64];
    match rustix::fs::fgetxattr(file, CAPABILITY, &mut value[..]) {
        Ok(length) => Ok(Some(value[..length].to_vec())),
        Err(Errno::NODATA | Errno::NOTSUP) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Archives hold relative names; the root itself is `./`.
fn relative(path: &[u8]) -> &[u8] {
    let start = path.iter().position(|byte| *byte != b'/').unwrap_or(path.len());
    if start == path.len() { b"./" } else { &path[start..] }
}

fn header(stat: &Stat, kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(stat.st_mode & 0o7777);
    header.set_uid(u64::from(stat.st_uid));
    header.set_gid(u64::from(stat.st_gid));
    header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or(0));
    header
}
