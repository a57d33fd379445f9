//! A copy of a tree that is the original in all but inode numbers: modes, owners, times, extended attributes, hard links,
//! devices, pipes, sockets and holes.

use gantry_snapshots_api::PathError;
use gantry_snapshots_dirs::{MAX_DEPTH, look, names, open_child, open_root, path_in, remove_tree, xattrs};
use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, SeekFrom, Stat, Timespec, Timestamps, Uid, XattrFlags, chownat,
    copy_file_range, fstat, ftruncate, ioctl_ficlone, linkat, lsetxattr, mkdirat, mknodat, openat, readlinkat, seek,
    symlinkat, utimensat,
};
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::{CStr, OsStr};
use std::fs::Permissions;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Copies what is in `from`, and the attributes of `from` itself, into the empty directory `to`.
pub fn copy_tree(from: &Path, to: &Path, share: bool) -> Result<(), PathError> {
    let source = open_root(from)?;
    let target = open_root(to)?;
    let mut copier = Copier {
        root: target.as_fd(),
        path: PathBuf::new(),
        depth: 0,
        linked: HashMap::new(),
        share,
    };
    let all = copier
        .content(source.as_fd(), target.as_fd())
        .and_then(|()| Ok(fstat(&source)?))
        .and_then(|stat| dress(from, CWD, to, &stat));
    all.map_err(|error| PathError::of("copy", &from.join(&copier.path))(error))
}

/// Whether files below `dir` can share their bytes.
pub fn can_share(dir: &Path) -> Result<bool, PathError> {
    let (one, two) = (dir.join("probe-share"), dir.join("probe-share-copy"));
    let failed = || PathError::of("create", &one);
    std::fs::write(&one, [0; 4096]).map_err(failed())?;
    let shared = || -> io::Result<bool> {
        let source = std::fs::File::open(&one)?;
        let target = std::fs::File::create(&two)?;
        Ok(ioctl_ficlone(&target, &source).is_ok())
    };
    let shares = shared().map_err(PathError::of("create", &two));
    remove_tree(&one)?;
    remove_tree(&two)?;
    shares
}

struct Copier<'a> {
    root: BorrowedFd<'a>,
    /// Where we are, relative to the root.
    path: PathBuf,
    depth: usize,
    /// Files with several names, by device and inode: the path of their first copy.
    linked: HashMap<(u64, u64), PathBuf>,
    share: bool,
}

impl Copier<'_> {
    fn content(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
        if self.depth > MAX_DEPTH {
            return Err(Errno::LOOP.into());
        }
        for name in names(from)? {
            self.path.push(OsStr::from_bytes(name.to_bytes()));
            let stat = look(from, &name)?.ok_or(Errno::NOENT)?;
            if !self.link(to, &name, &stat)? {
                self.one(from, to, &name, &stat)?;
                dress(
                    &path_in(from, &name),
                    to,
                    Path::new(OsStr::from_bytes(name.to_bytes())),
                    &stat,
                )?;
            }
            self.path.pop();
        }
        Ok(())
    }

    /// Makes a further name of a file that was copied already.
    fn link(&mut self, to: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> io::Result<bool> {
        if stat.st_nlink < 2 || kind(stat) == FileType::Directory {
            return Ok(false);
        }
        if let Some(first) = self.linked.get(&(stat.st_dev, stat.st_ino)) {
            linkat(self.root, first, to, name, AtFlags::empty())?;
            return Ok(true);
        }
        self.linked.insert((stat.st_dev, stat.st_ino), self.path.clone());
        Ok(false)
    }

    fn one(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> io::Result<()> {
        match kind(stat) {
            FileType::Directory => {
                mkdirat(to, name, Mode::RWXU)?;
                let (source, target) = (open_child(from, name)?, open_child(to, name)?);
                self.depth += 1;
                self.content(source.as_fd(), target.as_fd())?;
                self.depth -= 1;
                Ok(())
            }
            FileType::RegularFile => self.file(from, to, name, stat),
            FileType::Symlink => Ok(symlinkat(readlinkat(from, name, Vec::new())?, to, name)?),
            special @ (FileType::Fifo | FileType::Socket | FileType::CharacterDevice | FileType::BlockDevice) => {
                Ok(mknodat(to, name, special, Mode::RUSR, stat.st_rdev)?)
            }
            FileType::Unknown => Err(io::Error::from(Errno::OPNOTSUPP)),
        }
    }

    fn file(&self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> io::Result<()> {
        let plain = OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let source = openat(from, name, OFlags::RDONLY | plain, Mode::empty())?;
        let new = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let target = openat(to, name, new | plain, Mode::RUSR | Mode::WUSR)?;
        if self.share && ioctl_ficlone(&target, &source).is_ok() {
            return Ok(());
        }
        let size = u64::try_from(stat.st_size).map_err(io::Error::other)?;
        ftruncate(&target, size)?;
        copy_data(&source, &target, size)
    }
}

/// Copies the parts of a file that are not holes.
fn copy_data(source: &OwnedFd, target: &OwnedFd, size: u64) -> io::Result<()> {
    let mut at = 0;
    while at < size {
        let begin = match seek(source, SeekFrom::Data(at)) {
            Ok(begin) => begin,
            // Only a hole is left.
            Err(Errno::NXIO) => return Ok(()),
            // This filesystem does not know of holes.
            Err(Errno::INVAL) => at,
            Err(errno) => return Err(errno.into()),
        };
        let end = seek(source, SeekFrom::Hole(begin)).unwrap_or(size).min(size);
        copy_part(source, target, begin, end)?;
        at = end;
    }
    Ok(())
}

fn copy_part(source: &OwnedFd, target: &OwnedFd, begin: u64, end: u64) -> io::Result<()> {
    let (mut from, mut to) = (begin, begin);
    while from < end {
        let wish = usize::try_from(end - from).unwrap_or(usize::MAX).min(1 << 30);
        match copy_file_range(source, Some(&mut from), target, Some(&mut to), wish) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::NOSYS | Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP) => {
                return copy_through(source, target, from, end);
            }
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Copies through our own memory, where the kernel will not do it.
fn copy_through(source: &OwnedFd, target: &OwnedFd, begin: u64, end: u64) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    let source = std::fs::File::from(source.try_clone()?);
    let target = std::fs::File::from(target.try_clone()?);
    let mut buffer = vec![0; 128 << 10];
    let mut at = begin;
    while at < end {
        let wish = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
        let got = source.read_at(&mut buffer[..wish], at)?;
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        target.write_all_at(&buffer[..got], at)?;
        at += got as u64;
    }
    Ok(())
}

/// Gives a copy its original's attributes. A change of owner takes away set-id bits and capabilities, a change of anything
/// takes away times: hence the order.
fn dress(from: &Path, dir: impl AsFd, name: &Path, stat: &Stat) -> io::Result<()> {
    let dir = dir.as_fd();
    let (user, group) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    chownat(dir, name, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)?;
    let to = if name.is_absolute() {
        name.to_path_buf()
    } else {
        path_of(dir, name)?
    };
    for (key, value) in xattrs(from)? {
        lsetxattr(&to, &key, &value, XattrFlags::empty())?;
    }
    if kind(stat) != FileType::Symlink {
        std::fs::set_permissions(&to, Permissions::from_mode(stat.st_mode & 0o7777))?;
    }
    let times = Timestamps {
        last_access: Timespec {
            tv_sec: stat.st_atime,
            tv_nsec: stat.st_atime_nsec.cast_signed(),
        },
        last_modification: Timespec {
            tv_sec: stat.st_mtime,
            tv_nsec: stat.st_mtime_nsec.cast_signed(),
        },
    };
    Ok(utimensat(dir, name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

fn path_of(dir: BorrowedFd<'_>, name: &Path) -> io::Result<PathBuf> {
    let name = std::ffi::CString::new(name.as_os_str().as_bytes())?;
    Ok(path_in(dir, &name))
}

fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    fn original(dir: &Path) {
        let at = |name: &str| dir.join(name);
        fs::create_dir_all(at("d/e")).unwrap();
        fs::write(at("d/file"), "content").unwrap();
        fs::hard_link(at("d/file"), at("d/e/linked")).unwrap();
        std::os::unix::fs::symlink("/nowhere", at("link")).unwrap();
        std::os::unix::fs::lchown(at("link"), Some(7), Some(8)).unwrap();
        let hole = fs::File::create(at("hole")).unwrap();
        hole.set_len(8 << 20).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&hole, b"mid", 4 << 20).unwrap();
        mknodat(
            CWD,
            at("null"),
            FileType::CharacterDevice,
            Mode::RUSR,
            rustix::fs::makedev(1, 3),
        )
        .unwrap();
        mknodat(CWD, at("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        mknodat(CWD, at("socket"), FileType::Socket, Mode::RUSR, 0).unwrap();
        lsetxattr(at("d/file"), c"user.colour", b"red", XattrFlags::empty()).unwrap();
        lsetxattr(at("d"), c"trusted.t", b"1", XattrFlags::empty()).unwrap();
        std::os::unix::fs::chown(at("d/file"), Some(1000), Some(1001)).unwrap();
        fs::set_permissions(at("d/file"), Permissions::from_mode(0o6751)).unwrap();
        fs::set_permissions(at("d"), Permissions::from_mode(0o1710)).unwrap();
        let old = Timespec {
            tv_sec: 1_000_000_000,
            tv_nsec: 5,
        };
        for name in ["link", "d/file", "d/e", "d"] {
            let times = Timestamps {
                last_access: old,
                last_modification: old,
            };
            utimensat(CWD, at(name), &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
        }
    }

    #[test]
    fn a_copy_is_the_original_in_everything() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        for one in [&from, &to] {
            fs::create_dir(one).unwrap();
        }
        original(&from);
        copy_tree(&from, &to, false).unwrap();
        let paths = [
            "",
            "d",
            "d/e",
            "d/file",
            "d/e/linked",
            "link",
            "hole",
            "null",
            "pipe",
            "socket",
        ];
        for path in paths {
            let of = |root: &Path| {
                let meta = fs::symlink_metadata(root.join(path)).unwrap();
                let time = (meta.mtime(), meta.mtime_nsec(), meta.nlink());
                (
                    meta.mode(),
                    meta.uid(),
                    meta.gid(),
                    meta.len(),
                    meta.rdev(),
                    time,
                    xattrs(&root.join(path)).unwrap(),
                )
            };
            assert_eq!(of(&from), of(&to), "{path:?}");
        }
        assert_eq!(fs::read(to.join("d/file")).unwrap(), b"content");
        assert_eq!(fs::read_link(to.join("link")).unwrap(), Path::new("/nowhere"));
        let inode = |path: &str| fs::symlink_metadata(to.join(path)).unwrap().ino();
        assert_eq!(inode("d/file"), inode("d/e/linked"));
        assert!(
            fs::metadata(to.join("hole")).unwrap().blocks() * 512 < 1 << 20,
            "holes stay holes"
        );
        assert_eq!(fs::read(from.join("hole")).unwrap(), fs::read(to.join("hole")).unwrap());
        copy_through_gives_the_same(&from.join("hole"), dir.path());
    }

    fn copy_through_gives_the_same(original: &Path, dir: &Path) {
        let copy = dir.join("through");
        let (source, target) = (fs::File::open(original).unwrap(), fs::File::create(&copy).unwrap());
        copy_through(&source.into(), &target.into(), 0, 8 << 20).unwrap();
        assert_eq!(fs::read(original).unwrap(), fs::read(copy).unwrap());
    }
}
