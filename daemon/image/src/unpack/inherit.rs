//! Attributes of directories that a layer needs but does not carry: they come from the nearest layer below that has them.

use super::attributes;
use super::confined::{failed, look, open_below, open_directory};
use crate::error::Result;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::FileType;
use rustix::io::Errno;
use std::path::{Path, PathBuf};

/// Gives the `implied` directories of a layer unpacked apart from its parents what `lower` (nearest first) says of them.
pub fn inherit(dir: &Path, implied: &[Vec<u8>], lower: &[PathBuf]) -> Result<()> {
    let root = attributes::open_root(dir).map_err(failed("/", "open layer root"))?;
    // Children first, so that a directory's own times are not touched again by what is below it.
    for path in implied.iter().rev() {
        let shown = String::from_utf8_lossy(path);
        match open_below(root.as_fd(), path) {
            Ok(fd) => {
                from_lower(lower, path, fd.as_fd())?;
            }
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
            Err(error) => return Err(failed(&shown, "open directory")(error)),
        }
    }
    Ok(())
}

/// Whether one of `lower` had it.
pub(super) fn from_lower(lower: &[PathBuf], path: &[u8], to: BorrowedFd<'_>) -> Result<bool> {
    let shown = String::from_utf8_lossy(path);
    for layer in lower {
        let root = attributes::open_root(layer).map_err(failed(&shown, "open lower layer"))?;
        let (above, name) = match path.iter().rposition(|b| *b == b'/') {
            Some(at) => (&path[..at], &path[at + 1..]),
            None => (&b""[..], path),
        };
        let above = match open_below(root.as_fd(), above) {
            Ok(above) => above,
            Err(Errno::NOENT) => continue,
            // Hidden from here down.
            Err(Errno::NOTDIR | Errno::LOOP) => return Ok(false),
            Err(error) => return Err(failed(&shown, "open lower directory")(error)),
        };
        let name = if name.is_empty() { b"." } else { name };
        let Some(stat) = look(above.as_fd(), name).map_err(failed(&shown, "look up below"))? else {
            continue;
        };
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Ok(false);
        }
        let from = open_directory(above.as_fd(), name).map_err(failed(&shown, "open lower directory"))?;
        attributes::copy(from.as_fd(), &stat, to, &shown)?;
        return Ok(true);
    }
    Ok(false)
}
