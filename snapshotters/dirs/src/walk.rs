//! Walks that stay inside: no symbolic link is followed, no mount point crossed.

use crate::Result;
use gantry_snapshots_api::{PathError, Usage};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, openat, openat2, statat};
use rustix::io::Errno;
use std::collections::HashSet;
use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Deepest nesting of directories that is walked; each level holds one descriptor open.
pub const MAX_DEPTH: usize = 512;

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// One thing met on a walk.
pub struct Entry<'a> {
    /// Relative to where the walk began.
    pub path: &'a Path,
    pub name: &'a CStr,
    /// The directory it is in.
    pub dir: BorrowedFd<'a>,
    pub stat: &'a Stat,
}

impl Entry<'_> {
    pub fn file_type(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }
}

/// Opens a directory to begin at.
pub fn open_root(dir: &Path) -> Result<OwnedFd> {
    openat(CWD, dir, DIRECTORY, Mode::empty()).map_err(PathError::of("open", dir))
}

/// Opens a directory within a directory, unless something is mounted on it.
pub fn open_child(dir: impl AsFd, name: &CStr) -> rustix::io::Result<OwnedFd> {
    let stay = ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH;
    openat2(dir, name, DIRECTORY, Mode::empty(), stay)
}

/// The names in a directory, sorted.
pub fn names(dir: BorrowedFd<'_>) -> rustix::io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Visits everything below `root`, `root` itself not included; names in order, a directory before its content.
pub fn walk(root: &Path, visit: &mut dyn FnMut(&Entry<'_>) -> std::io::Result<()>) -> Result<()> {
    let dir = open_root(root)?;
    let mut walker = Walker {
        root,
        path: PathBuf::new(),
        depth: 0,
        visit,
    };
    walker.directory(dir.as_fd())
}

struct Walker<'a> {
    root: &'a Path,
    path: PathBuf,
    depth: usize,
    visit: &'a mut dyn FnMut(&Entry<'_>) -> std::io::Result<()>,
}

impl Walker<'_> {
    fn directory(&mut self, dir: BorrowedFd<'_>) -> Result<()> {
        if self.depth > MAX_DEPTH {
            return Err(self.failed("go deeper than 512 levels in", Errno::LOOP));
        }
        for name in names(dir).map_err(|errno| self.failed("read", errno))? {
            self.path.push(OsStr::from_bytes(name.to_bytes()));
            self.entry(dir, &name)?;
            self.path.pop();
        }
        Ok(())
    }

    fn entry(&mut self, dir: BorrowedFd<'_>, name: &CStr) -> Result<()> {
        let stat = match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            // An active snapshot changes while it is walked.
            Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(self.failed("look at", errno)),
        };
        let path = std::mem::take(&mut self.path);
        let seen = (self.visit)(&Entry {
            path: &path,
            name,
            dir,
            stat: &stat,
        });
        self.path = path;
        seen.map_err(|error| self.failed("visit", error))?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            let child = match open_child(dir, name) {
                Ok(child) => child,
                Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
                Err(errno) => return Err(self.failed("enter", errno)),
            };
            self.depth += 1;
            self.directory(child.as_fd())?;
            self.depth -= 1;
        }
        Ok(())
    }

    fn failed<E: Into<std::io::Error>>(&self, deed: &'static str, error: E) -> PathError {
        PathError::of(deed, &self.root.join(&self.path))(error)
    }
}

/// What `root` and everything below it take on disk. What is linked several times counts once.
pub fn measure(root: &Path) -> Result<Usage> {
    let own = rustix::fs::lstat(root).map_err(PathError::of("look at", root))?;
    let mut usage = Usage {
        size: blocks(&own),
        inodes: 1,
    };
    let mut linked = HashSet::new();
    walk(root, &mut |entry| {
        let stat = entry.stat;
        let once = entry.file_type() == FileType::Directory || stat.st_nlink < 2;
        if once || linked.insert((stat.st_dev, stat.st_ino)) {
            usage.size += blocks(stat);
            usage.inodes += 1;
        }
        Ok(())
    })?;
    Ok(usage)
}

/// `st_blocks` counts 512 bytes each, whatever the filesystem's block is (stat(3type)).
fn blocks(stat: &Stat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or_default() * 512
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn links_and_holes_are_not_counted() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("d")).unwrap();
        fs::write(at("d/a"), vec![1; 64 << 10]).unwrap();
        let bare = measure(dir.path()).unwrap();
        fs::hard_link(at("d/a"), at("b")).unwrap();
        std::os::unix::fs::symlink("/", at("l")).unwrap();
        fs::File::create(at("hole")).unwrap().set_len(1 << 30).unwrap();
        let whole = measure(dir.path()).unwrap();
        assert_eq!(bare.inodes, 3);
        assert!((64 << 10..100 << 10).contains(&bare.size), "{bare:?}");
        assert_eq!(
            whole,
            Usage {
                size: bare.size,
                inodes: 5
            }
        );
    }

    #[test]
    fn order_is_by_name_and_directories_come_first() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("b/y")).unwrap();
        fs::create_dir_all(dir.path().join("b/x/k")).unwrap();
        fs::write(dir.path().join("a"), "").unwrap();
        let mut seen = Vec::new();
        walk(dir.path(), &mut |entry| {
            seen.push(entry.path.to_str().unwrap().to_owned());
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, ["a", "b", "b/x", "b/x/k", "b/y"]);
    }
}
