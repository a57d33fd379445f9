//! One daemon per data root, exec root and pidfile: locks that the kernel lets go of when their holder dies, however it dies.

use crate::error::{Error, Result};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a daemon that is just dying may take to let go.
const PATIENCE: Duration = Duration::from_secs(3);
const AGAIN: Duration = Duration::from_millis(20);

/// A file that this process holds locked, with its pid in it.
pub struct Held {
    file: Flock<File>,
    path: PathBuf,
}

impl Held {
    /// Locks `path`, made if it is not there. `what` is what the lock stands for, in messages: the thing at `stands_for`.
    pub fn take(path: &Path, what: &'static str, stands_for: &Path) -> Result<Self> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o644)
                .open(path)
                .map_err(Error::path("open the lock file", path))?;
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(file) if is_at(&file, path) => return Self::sign(file, path),
                // Removed by its former holder between our two calls: lock the one that is there now.
                Ok(_) => {}
                Err((_, Errno::EWOULDBLOCK | Errno::EINTR)) if Instant::now() < deadline => std::thread::sleep(AGAIN),
                Err((still, Errno::EWOULDBLOCK)) => {
                    file = still;
                    let mut text = String::new();
                    let pid = file
                        .read_to_string(&mut text)
                        .ok()
                        .and_then(|_| text.trim().parse().ok());
                    return Err(Error::Taken {
                        what,
                        path: stands_for.to_owned(),
                        pid,
                    });
                }
                Err((_, errno)) => return Err(Error::path("lock", path)(errno.into())),
            }
        }
    }

    fn sign(mut file: Flock<File>, path: &Path) -> Result<Self> {
        let written = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        written.map_err(Error::path("write the pid into", path))?;
        Ok(Self {
            file,
            path: path.to_owned(),
        })
    }

    /// Takes the file away while the lock is still held, so that nobody else's file can be hit.
    pub fn remove(self) {
        if is_at(&self.file, &self.path) {
            // A file that stays does no harm: it is stale, and the next start takes it over.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Whether the open file is the one that the path names.
fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(held), Ok(named)) => (held.dev(), held.ino()) == (named.dev(), named.ino()),
        (Ok(_) | Err(_), Ok(_) | Err(_)) => false,
    }
}

/// Makes a directory with all its parents; the last one gets `mode` whether it was there or not.
pub fn directory(path: &Path, mode: u32) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let made = fs::DirBuilder::new().recursive(true).mode(mode).create(path);
    made.and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)))
        .map_err(Error::path("make the directory", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_told_the_first_and_a_stale_file_does_not_matter() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        fs::write(&path, "4194305\n").unwrap();
        let held = Held::take(&path, "data root", dir.path()).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
        match Held::take(&path, "data root", dir.path()) {
            Err(Error::Taken { pid, .. }) => assert_eq!(pid, Some(std::process::id())),
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("taken twice"),
        }
        held.remove();
        assert!(!path.exists());
        Held::take(&path, "data root", dir.path()).unwrap();
    }
}
