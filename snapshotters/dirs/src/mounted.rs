//! What is mounted below a directory: it cannot be removed while it is there.

use crate::Result;
use gantry_snapshots_api::PathError;
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The mounts that this thread sees, proc(5).
const TABLE: &str = "/proc/thread-self/mountinfo";

/// Refuses with "busy" if something is mounted on `dir` or below it. What is not there is free.
pub fn refuse_mounted(dir: &Path) -> Result<()> {
    // The table knows no symbolic links.
    let dir = match fs::canonicalize(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        real => real.map_err(PathError::of("find", dir))?,
    };
    let table = fs::read(TABLE).map_err(PathError::of("read", Path::new(TABLE)))?;
    match mounted_below(&table, &dir) {
        Some(point) => {
            let point = Path::new(OsStr::from_bytes(&point)).to_owned();
            Err(PathError::of("remove", &point)(Errno::BUSY))
        }
        None => Ok(()),
    }
}

/// The first mount point in the table that is `dir` or below it.
fn mounted_below(table: &[u8], dir: &Path) -> Option<Vec<u8>> {
    table
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(4))
        .map(unescape)
        .find(|point| Path::new(OsStr::from_bytes(point)).starts_with(dir))
}

/// Space, tab, newline and backslash stand as a backslash and three octal digits.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, after @ ..] = rest {
        rest = after;
        match (first, after) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..]) => {
                plain.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = tail;
            }
            _ => plain.push(*first),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_on_or_below_counts() {
        let table = b"1 2 0:3 / /a\\040b/c rw - tmpfs none rw\n1 2 0:3 / /abc rw - tmpfs none rw\n";
        let found = |dir: &str| mounted_below(table, Path::new(dir)).is_some();
        assert!(found("/a b") && found("/a b/c") && found("/abc") && found("/"));
        assert!(!found("/ab") && !found("/a b/c/d") && !found("/a"));
    }

    #[test]
    fn a_mount_is_named_and_busy() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().canonicalize().unwrap();
        let (point, link) = (real.join("real/held here"), real.join("link"));
        fs::create_dir_all(&point).unwrap();
        std::os::unix::fs::symlink("real", &link).unwrap();
        refuse_mounted(&link).unwrap();
        refuse_mounted(&real.join("nothing")).unwrap();
        rustix::mount::mount("none", &point, "tmpfs", rustix::mount::MountFlags::empty(), None).unwrap();
        let refused = refuse_mounted(&link);
        rustix::mount::unmount(&point, rustix::mount::UnmountFlags::empty()).unwrap();
        let error = refused.unwrap_err();
        assert_eq!(error.path, point);
        assert_eq!(error.source.kind(), io::ErrorKind::ResourceBusy);
    }
}
