//! Our shim's program, made ready once: a container's process shows it for an instant as its `/proc/self/exe`, so it must not be
//! writable by that way. A shim sees to that itself by running a second time from a read-only mount; where the daemon has
//! such a mount already, once is enough.

use crate::readonly_unsafe;
use std::fs::{self, Metadata};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

/// Tells a shim that it runs from a read-only mount already.
const SAFE_ENV: &str = "GANTRY_SHIM_READ_ONLY";

/// The file a mount was made of: the program may be replaced while the daemon runs.
type Stamp = (u64, u64, i64, i64);

#[derive(Debug)]
struct Ready {
    stamp: Stamp,
    file: OwnedFd,
}

/// The program, and its mount once it is made.
#[derive(Debug)]
pub(crate) struct Exe {
    path: PathBuf,
    ready: Mutex<Option<Arc<Ready>>>,
}

/// A program to be run, with what must be open until it is.
pub(crate) struct Program {
    pub command: Command,
    _held: Option<Arc<Ready>>,
}

impl Exe {
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            ready: Mutex::default(),
        }
    }

    /// How `program` is run: from the mount if it is our shim, and the kernel has the means.
    pub(crate) fn command(&self, program: &Path) -> Program {
        let ready = (program == self.path).then(|| self.ready()).flatten();
        let mut command = match &ready {
            Some(ready) => {
                let mut command = Command::new(format!("/proc/self/fd/{}", ready.file.as_raw_fd()));
                command.arg0(program).env(SAFE_ENV, "1");
                command
            }
            None => Command::new(program),
        };
        if ready.is_none() {
            command.env_remove(SAFE_ENV);
        }
        Program { command, _held: ready }
    }

    fn ready(&self) -> Option<Arc<Ready>> {
        let stamp = stamp(&fs::metadata(&self.path).ok()?);
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if ready.as_ref().is_none_or(|ready| ready.stamp != stamp) {
            // Without one the shim finds its own way.
            let file = readonly_unsafe::open(&self.path).ok();
            *ready = file.map(|file| Arc::new(Ready { stamp, file }));
        }
        ready.clone()
    }
}

fn stamp(meta: &Metadata) -> Stamp {
    (meta.dev(), meta.ino(), meta.mtime(), meta.mtime_nsec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(path: &Path, text: &str) {
        let new = path.with_extension("new");
        // By a child: a file that this process has written may be open yet in another test's child, and is not run then.
        // What follows a program's end is of no matter to it.
        let made = Command::new("sh")
            .args(["-ec", "cp /bin/sh \"$0\"; chmod 755 \"$0\"; printf %s \"$1\" >> \"$0\""])
            .arg(&new)
            .arg(text)
            .status();
        assert!(made.unwrap().success());
        fs::rename(new, path).unwrap();
    }

    const SCRIPT: &str =
        "echo $GANTRY_SHIM_READ_ONLY; readlink /proc/$$/exe; tail -c 3 /proc/$$/exe; : >> /proc/$$/exe";

    fn run(exe: &Exe, path: &Path) -> (String, bool) {
        let mut program = exe.command(path);
        let output = program.command.args(["-c", SCRIPT]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).replace('\n', " ");
        (text, output.status.success())
    }

    #[test]
    fn what_runs_cannot_be_written_and_is_the_newest() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap().join("shim");
        program(&path, "one");
        let exe = Exe::new(&path);
        for text in ["one", "two"] {
            program(&path, text);
            let (said, written) = run(&exe, &path);
            assert!(said.starts_with("1 ") && said.ends_with(text) && !written, "{said}");
        }
    }

    #[test]
    fn others_are_run_as_they_are() {
        let exe = Exe::new(Path::new("/no/such/shim"));
        let (said, _) = run(&exe, Path::new("/bin/sh"));
        assert!(said.starts_with(' '), "{said}");
        assert!(exe.command(Path::new("/no/such/shim")).command.spawn().is_err());
    }
}
