//! Removal of a whole tree, however deep, that stops at mount points instead of emptying what is mounted.

use crate::Result;
use crate::walk::{open_child, open_root};
use gantry_snapshots_api::PathError;
use rustix::fs::{AtFlags, CWD, Dir, renameat, statat, unlinkat};
use rustix::fs::{FileType, RawDir};
use rustix::io::Errno;
use std::ffi::{CStr, OsStr};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// How deep one pass goes; what is deeper is first moved up to the top. Each level holds one descriptor open.
const PASS_DEPTH: usize = 64;

/// Removes `path`, whatever it is. If it is not there, that is success.
pub fn remove_tree(path: &Path) -> Result<()> {
    match unlinkat(CWD, path, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR) => {}
        Err(errno) => return Err(PathError::of("remove", path)(errno)),
    }
    let top = open_root(path)?;
    let mut remover = Remover {
        top: top.as_fd(),
        path: path.to_path_buf(),
        moved: 0,
    };
    remover.empty(top.as_fd(), 0)?;
    unlinkat(CWD, path, AtFlags::REMOVEDIR).map_err(PathError::of("remove", path))
}

struct Remover<'a> {
    top: BorrowedFd<'a>,
    path: PathBuf,
    /// Directories moved to the top so far.
    moved: u64,
}

impl Remover<'_> {
    fn empty(&mut self, dir: BorrowedFd<'_>, depth: usize) -> Result<()> {
        let mut buffer = vec![MaybeUninit::uninit(); 8 << 10];
        loop {
            let mut entries = RawDir::new(dir, &mut buffer);
            let mut removed = 0;
            while let Some(entry) = entries.next() {
                let entry = entry.map_err(|errno| self.failed("read", errno))?;
                let name = entry.file_name();
                if matches!(name.to_bytes(), b"." | b"..") {
                    continue;
                }
                self.path.push(OsStr::from_bytes(name.to_bytes()));
                self.entry(dir, name, entry.file_type(), depth)?;
                self.path.pop();
                removed += 1;
            }
            if removed == 0 {
                return Ok(());
            }
            // A directory that shrinks while it is read may hide entries: read it from its start until it is empty.
            rustix::fs::seek(dir, rustix::fs::SeekFrom::Start(0)).map_err(|errno| self.failed("read", errno))?;
        }
    }

    fn entry(&mut self, dir: BorrowedFd<'_>, name: &CStr, mut kind: FileType, depth: usize) -> Result<()> {
        if kind == FileType::Unknown {
            let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|errno| self.failed("look at", errno))?;
            kind = FileType::from_raw_mode(stat.st_mode);
        }
        if kind != FileType::Directory {
            return self.unlink(dir, name, AtFlags::empty());
        }
        let child = open_child(dir, name).map_err(|errno| self.failed("enter", errno))?;
        if depth == PASS_DEPTH && Dir::read_from(&child).is_ok_and(|all| all.count() > 2) {
            return self.move_up(dir, name);
        }
        self.empty(child.as_fd(), depth + 1)?;
        self.unlink(dir, name, AtFlags::REMOVEDIR)
    }

    /// A removal that was cut short left some of these names; an empty one of them is replaced.
    fn move_up(&mut self, dir: BorrowedFd<'_>, name: &CStr) -> Result<()> {
        loop {
            self.moved += 1;
            match renameat(dir, name, self.top, format!("gantry-deep-{}", self.moved)) {
                Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => {}
                moved => return moved.map_err(|errno| self.failed("move up", errno)),
            }
        }
    }

    fn unlink(&self, dir: BorrowedFd<'_>, name: &CStr, flags: AtFlags) -> Result<()> {
        match unlinkat(dir, name, flags) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(self.failed("remove", errno)),
        }
    }

    fn failed(&self, deed: &'static str, errno: Errno) -> PathError {
        PathError::of(deed, &self.path)(errno)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn wide_deep_and_linked_trees_go() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        let outside = dir.path().join("outside");
        fs::create_dir_all(tree.join("wide")).unwrap();
        fs::write(&outside, "kept").unwrap();
        std::os::unix::fs::symlink(dir.path(), tree.join("link")).unwrap();
        for number in 0..3000 {
            fs::write(tree.join(format!("wide/{number}")), "").unwrap();
        }
        // Deeper than a path can say: 5000 levels of two letters.
        let mut at = open_root(&tree).unwrap();
        for _ in 0..5000 {
            rustix::fs::mkdirat(&at, "dd", rustix::fs::Mode::RWXU).unwrap();
            at = open_child(&at, c"dd").unwrap();
        }
        drop(at);
        // What a removal that was cut short left.
        fs::create_dir_all(tree.join("gantry-deep-1/kept/busy")).unwrap();
        fs::write(tree.join("gantry-deep-2"), "").unwrap();
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
        assert_eq!(fs::read(&outside).unwrap(), b"kept");
        remove_tree(&tree).unwrap();
    }
}
