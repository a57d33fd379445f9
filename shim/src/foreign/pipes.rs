//! The named pipes between the two shims: `<home>/io/<process>.<0, 1 or 2>`, and the one for what the other says of itself.

use super::Foreign;
use crate::{
    child::nonblocking,
    io::pump::{self, Writer},
    shim::{Process, Shim, make_private_dir},
    sys,
};
use nix::{errno::Errno, sys::stat::Mode, unistd::mkfifo};
use std::{
    fs::{self, File},
    io::{self, Write},
    os::{fd::OwnedFd, unix::fs::OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::io::unix::AsyncFd;

/// The most that is kept of a foreign shim's complaints.
const COMPLAINTS: u64 = 64 * 1024;

/// Our end of a stdin.
pub type Input = Arc<AsyncFd<OwnedFd>>;

/// What one process's stdio is called on the task API, and our end of its stdin.
#[derive(Default)]
pub(super) struct Pipes {
    pub stdin: String,
    pub stdout: String,
    pub stderr: String,
    pub input: Option<Input>,
}

/// Makes a process's pipes. Output is read from here on; its end comes when the other shim, which opens the pipe later, closes it.
pub(super) fn lay(foreign: &Foreign, process: &Arc<Process>) -> io::Result<Pipes> {
    make_private_dir(&dir(foreign))?;
    let mut pipes = Pipes::default();
    if process.stdin.is_held() {
        let path = fresh(foreign, process.exec.as_deref(), 0)?;
        // Open both ways: no reader that comes or goes breaks it, and the first bytes may come before the first reader.
        let end = File::options()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&path)?;
        pipes.input = Some(Arc::new(sys::watch(end.into())?));
        pipes.stdin = text(&path);
    } else {
        process.stdin.discard();
    }
    pipes.stdout = receive(foreign, process, 1)?;
    if !process.terminal {
        pipes.stderr = receive(foreign, process, 2)?;
    }
    Ok(pipes)
}

fn receive(foreign: &Foreign, process: &Arc<Process>, stream: u8) -> io::Result<String> {
    let path = fresh(foreign, process.exec.as_deref(), stream)?;
    let end = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(&path)?;
    pump::start(
        Arc::new(nonblocking(end.into())?),
        stream,
        process.hub.clone(),
        Writer::Shim,
    );
    Ok(text(&path))
}

/// Ends the output of a process that will not come, where nobody else has opened the pipe: opened and closed by a writer, it is at its end.
pub(super) fn shut(foreign: &Foreign, exec: Option<&str>) {
    for stream in 1..3 {
        let _ = File::options()
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(path(foreign, exec, stream));
    }
}

/// Takes a process's pipes away.
pub(super) fn remove(foreign: &Foreign, exec: Option<&str>) {
    for stream in 0..3 {
        // Some were never made.
        let _ = fs::remove_file(path(foreign, exec, stream));
    }
}

fn fresh(foreign: &Foreign, exec: Option<&str>, stream: u8) -> io::Result<PathBuf> {
    let path = path(foreign, exec, stream);
    mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR)?;
    Ok(path)
}

fn path(foreign: &Foreign, exec: Option<&str>, stream: u8) -> PathBuf {
    let process = exec.map_or_else(|| "init".to_owned(), |exec| format!("exec-{exec}"));
    dir(foreign).join(format!("{process}.{stream}"))
}

fn dir(foreign: &Foreign) -> PathBuf {
    foreign.home.join("io")
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Shims open the pipe `log` in their bundle and wait for a reader: here it is. The first of what comes goes into our own log.
pub(super) fn hear_log(shim: &Shim, foreign: &Foreign) -> io::Result<()> {
    let path = foreign.bundle().join("log");
    mkfifo(&path, Mode::S_IRWXU)?;
    // Open both ways, so that it has no end while shims come and go.
    let end = File::options()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(&path)?;
    let pipe = sys::watch(end.into())?;
    let log = shim.config.bundle.join(gantry_shim_protocol::bundle::SHIM_LOG);
    let mut dead = foreign.dead.subscribe();
    tokio::spawn(async move {
        let mut room = COMPLAINTS;
        loop {
            let guard = tokio::select! {
                guard = pipe.readable() => guard,
                _ = dead.wait_for(|dead| *dead) => return,
            };
            let Ok(mut guard) = guard else { return };
            let mut buffer = [0; 1024];
            match nix::unistd::read(pipe.get_ref(), &mut buffer) {
                Ok(count) if count as u64 <= room => {
                    room -= count as u64;
                    if let Ok(mut file) = File::options().append(true).create(true).open(&log) {
                        let _ = file.write_all(&buffer[..count]);
                    }
                }
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => guard.clear_ready(),
                Err(_) => return,
            }
        }
    });
    Ok(())
}
