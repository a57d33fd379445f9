//! A layer as a tar stream: ustar headers, pax records only where ustar cannot say it.

use super::Sides;
use super::walk::{Node, Stat, What};
use crate::error::{ImageError, Result};
use crate::unpack::confined::{failed, open_below};
use crate::unpack::{is_carried, open_root};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use std::collections::HashMap;
use std::io::{Read, Write};
use tar::{EntryType, Header};

/// Largest id a ustar field holds.
const MAX_ID: u32 = 0o7_777_777;

pub(super) struct LayerWriter<W: Write> {
    out: tar::Builder<W>,
    /// First name of each file that has more than one.
    links: HashMap<(u64, u64), Vec<u8>>,
    /// No later time is written; seconds since 1970.
    latest: Option<i64>,
}

impl<W: Write> LayerWriter<W> {
    pub(super) fn new(out: W, latest: Option<i64>) -> Self {
        Self {
            out: tar::Builder::new(out),
            links: HashMap::new(),
            latest,
        }
    }

    pub(super) fn finish(mut self) -> Result<()> {
        self.out.finish().map_err(ImageError::io("write layer"))
    }

    pub(super) fn node(&mut self, node: &Node<'_>) -> Result<()> {
        match node.what {
            What::Gone => self.mark(node.path, b".wh."),
            What::Opaque => self.empty_file(&[node.path, b"/.wh..wh..opq"].concat()),
            What::Same(stat) | What::Changed(stat) | What::Added(stat) => self.put(node, &stat),
        }
    }

    /// A directory by path alone, found again below the upper root.
    pub(super) fn directory(&mut self, path: &[u8], stat: &Stat, sides: &Sides) -> Result<()> {
        let shown = String::from_utf8_lossy(path);
        let root = open_root(&sides.upper).map_err(failed(&shown, "open snapshot"))?;
        let fd = open_below(root.as_fd(), path).map_err(failed(&shown, "open directory"))?;
        let xattrs = xattrs(fd.as_fd(), b".");
        self.header(&[path, b"/"].concat(), b"", EntryType::Directory, stat, 0, &xattrs)
    }

    fn put(&mut self, node: &Node<'_>, stat: &Stat) -> Result<()> {
        if node.path.is_empty() {
            let xattrs = xattrs(node.dir, b".");
            return self.header(b"./", b"", EntryType::Directory, stat, 0, &xattrs);
        }
        let kind = FileType::from_raw_mode(stat.st_mode);
        let xattrs = xattrs(node.dir, node.name);
        if kind == FileType::Directory {
            return self.header(&[node.path, b"/"].concat(), b"", EntryType::Directory, stat, 0, &xattrs);
        }
        if stat.st_nlink > 1 {
            let first = self
                .links
                .entry((stat.st_dev, stat.st_ino))
                .or_insert_with(|| node.path.to_vec());
            if *first != node.path {
                let first = first.clone();
                return self.header(node.path, &first, EntryType::Link, stat, 0, &[]);
            }
        }
        match kind {
            FileType::RegularFile => self.file(node, stat, &xattrs),
            FileType::Symlink => {
                let shown = String::from_utf8_lossy(node.path);
                let target =
                    rustix::fs::readlinkat(node.dir, node.name, Vec::new()).map_err(failed(&shown, "read link"))?;
                self.header(node.path, target.as_bytes(), EntryType::Symlink, stat, 0, &xattrs)
            }
            FileType::CharacterDevice => self.header(node.path, b"", EntryType::Char, stat, 0, &xattrs),
            FileType::BlockDevice => self.header(node.path, b"", EntryType::Block, stat, 0, &xattrs),
            FileType::Fifo => self.header(node.path, b"", EntryType::Fifo, stat, 0, &xattrs),
            // Sockets have no place in a layer.
            _ => Ok(()),
        }
    }

    fn file(&mut self, node: &Node<'_>, stat: &Stat, xattrs: &[(String, Vec<u8>)]) -> Result<()> {
        let shown = String::from_utf8_lossy(node.path).into_owned();
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(node.dir, node.name, flags, Mode::empty()).map_err(failed(&shown, "open file"))?;
        let now = rustix::fs::fstat(&fd).map_err(failed(&shown, "look up"))?;
        if FileType::from_raw_mode(now.st_mode) != FileType::RegularFile || now.st_ino != stat.st_ino {
            return Err(changed(shown));
        }
        let size = u64::try_from(now.st_size).unwrap_or(0);
        self.header(node.path, b"", EntryType::Regular, &now, size, xattrs)?;
        let copied = std::io::copy(&mut std::fs::File::from(fd).take(size), self.out.get_mut())
            .map_err(ImageError::io(format!("copy \"{shown}\" into the layer")))?;
        if copied < size {
            return Err(changed(shown));
        }
        let padding = usize::try_from((512 - size % 512) % 512).expect("below 512");
        self.out
            .get_mut()
            .write_all(&[0; 512][..padding])
            .map_err(ImageError::io("write layer"))
    }

    fn mark(&mut self, path: &[u8], prefix: &[u8]) -> Result<()> {
        let at = path.iter().rposition(|b| *b == b'/').map_or(0, |at| at + 1);
        self.empty_file(&[&path[..at], prefix, &path[at..]].concat())
    }

    fn empty_file(&mut self, path: &[u8]) -> Result<()> {
        let mut header = Header::new_ustar();
        header.set_mode(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        self.finish_header(header, path, b"", EntryType::Regular, 0, Vec::new())
    }

    fn header(
        &mut self,
        path: &[u8],
        link: &[u8],
        kind: EntryType,
        stat: &Stat,
        size: u64,
        xattrs: &[(String, Vec<u8>)],
    ) -> Result<()> {
        let mut header = Header::new_ustar();
        let mut records = Vec::new();
        header.set_mode(stat.st_mode & 0o7777);
        for (name, id) in [("uid", stat.st_uid), ("gid", stat.st_gid)] {
            if id > MAX_ID {
                records.push((name.to_owned(), id.to_string().into_bytes()));
            }
        }
        header.set_uid(u64::from(if stat.st_uid > MAX_ID { 0 } else { stat.st_uid }));
        header.set_gid(u64::from(if stat.st_gid > MAX_ID { 0 } else { stat.st_gid }));
        let mtime = self.latest.map_or(stat.st_mtime, |latest| stat.st_mtime.min(latest));
        header.set_mtime(u64::try_from(mtime).unwrap_or(0));
        if matches!(kind, EntryType::Char | EntryType::Block) {
            let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
            let set = header
                .set_device_major(major)
                .and_then(|()| header.set_device_minor(minor));
            set.map_err(ImageError::io("write device number"))?;
        }
        for (name, value) in xattrs {
            records.push((format!("SCHILY.xattr.{name}"), value.clone()));
        }
        self.finish_header(header, path, link, kind, size, records)
    }

    fn finish_header(
        &mut self,
        mut header: Header,
        path: &[u8],
        link: &[u8],
        kind: EntryType,
        size: u64,
        mut records: Vec<(String, Vec<u8>)>,
    ) -> Result<()> {
        for (key, value) in [("path", path), ("linkpath", link)] {
            if value.len() > 100 || !value.is_ascii() {
                records.push((key.to_owned(), value.to_vec()));
            }
        }
        if size > 0o77_777_777_777 {
            records.push(("size".to_owned(), size.to_string().into_bytes()));
        }
        let pairs = records.iter().map(|(key, value)| (key.as_str(), value.as_slice()));
        self.out
            .append_pax_extensions(pairs)
            .map_err(ImageError::io("write layer"))?;
        header.set_entry_type(kind);
        header.set_size(size);
        let old = header.as_old_mut();
        let copy = |to: &mut [u8; 100], from: &[u8]| {
            let length = from.len().min(100);
            to[..length].copy_from_slice(&from[..length]);
        };
        copy(&mut old.name, path);
        copy(&mut old.linkname, link);
        header.set_cksum();
        self.out
            .get_mut()
            .write_all(header.as_bytes())
            .map_err(ImageError::io("write layer"))
    }
}

fn changed(path: String) -> ImageError {
    ImageError::BadEntry {
        path,
        detail: "changed while it was read: pause its container first".to_owned(),
    }
}

/// Attributes worth carrying, by name. What cannot be read, or has a name that is no text, is left out.
fn xattrs(dir: BorrowedFd<'_>, name: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut path = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    let mut buffer = vec![0; 64 << 10];
    let Ok(length) = rustix::fs::llistxattr(&path[..], &mut buffer[..]) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for key in buffer[..length]
        .split(|b| *b == 0)
        .filter(|key| !key.is_empty() && is_carried(key))
    {
        let mut value = vec![0; 64 << 10];
        let read: Result<usize, Errno> = rustix::fs::lgetxattr(&path[..], key, &mut value[..]);
        if let (Ok(length), Ok(key)) = (read, std::str::from_utf8(key)) {
            // The host's security module labels its own files; that is not the container's doing.
            if key != "security.selinux" {
                found.push((key.to_owned(), value[..length].to_vec()));
            }
        }
    }
    found.sort();
    found
}
