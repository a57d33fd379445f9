//! One daemon per store: a lock on a file beside the database, gone with its holder however that ends.

use crate::error::{Error, Result};
use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub struct DirLock {
    _file: Flock<File>,
}

impl DirLock {
    /// Tries for `patience`: the daemon that is going away gets time to go.
    pub fn take(dir: &Path, patience: Duration) -> Result<Self> {
        let path = dir.join("lock");
        let begun = Instant::now();
        loop {
            let file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&path)
                .map_err(Error::path("open", &path))?;
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(mut file) => {
                    sign(&mut file).map_err(Error::path("write", &path))?;
                    return Ok(Self { _file: file });
                }
                Err((_, nix::errno::Errno::EWOULDBLOCK)) if begun.elapsed() < patience => std::thread::sleep(POLL),
                Err((_, nix::errno::Errno::EWOULDBLOCK)) => {
                    return Err(Error::Locked {
                        dir: dir.to_path_buf(),
                        holder: holder(&path),
                        waited: patience,
                    });
                }
                Err((_, errno)) => return Err(Error::path("lock", &path)(errno.into())),
            }
        }
    }
}

fn sign(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    write!(file, "{}", std::process::id())
}

/// The holder as far as its own signature tells.
fn holder(path: &Path) -> String {
    let pid = fs::read_to_string(path).unwrap_or_default();
    match fs::read_to_string(format!("/proc/{}/comm", pid.trim())) {
        Ok(name) if !pid.trim().is_empty() => format!("process {} ({})", pid.trim(), name.trim()),
        _ => "another process".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_one_waits_and_is_told_who() {
        let dir = tempfile::tempdir().unwrap();
        let first = DirLock::take(dir.path(), Duration::ZERO).unwrap();
        let refused = DirLock::take(dir.path(), Duration::from_millis(120))
            .unwrap_err()
            .to_string();
        assert!(
            refused.contains(&format!("process {}", std::process::id())),
            "{refused}"
        );
        let path = dir.path().to_path_buf();
        let waiting = std::thread::spawn(move || DirLock::take(&path, Duration::from_secs(20)));
        drop(first);
        waiting.join().unwrap().unwrap();
    }
}
