//! Whatever may wait (create, exec, hooks, delete, compression) runs in a forked child: it may block, allocate and thread, keeps no
//! descriptor that is not its own, and answers over a pipe in one line of JSON. The shim goes on serving meanwhile.

pub mod builtin;
pub mod byname;
mod detail;
mod dev;
mod devices;
pub mod hooks;
pub mod idmap;
mod limits;
pub mod mounts;
pub mod payload;
mod place;
mod road;
mod seccomp;
mod spec;
pub mod undo;
mod unified;
mod workdir;

use crate::{
    failure::{Failure, Kind, Result},
    shim::Shim,
    sys,
};
use nix::{fcntl::OFlag, unistd::pipe2};
use serde::{Deserialize, Serialize};
use std::{
    io::{Read, Write},
    os::fd::{AsRawFd, OwnedFd, RawFd},
    sync::{Arc, Mutex},
};

/// The longest answer of a child, and the longest piece of its stderr that is kept.
const MAX_ANSWER: usize = 48 * 1024;
const MAX_STDERR: usize = 4 * 1024;

/// What a child made.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Made {
    /// Pid of the container's (or the exec's) process.
    pub pid: u32,
    /// The container's own cgroup path within each hierarchy.
    pub cgroup_path: String,
    /// Size the spec asks for its terminal: height, width.
    pub console_size: Option<(u16, u16)>,
    /// There are hooks to run after the start.
    pub poststart: bool,
    /// The same for hooks to run after the end.
    pub poststop: bool,
}

/// What a child writes to its stderr, as hooks and the runtime do. Read to the end as it comes, the first part kept.
#[derive(Clone, Default)]
pub struct Stderr(Arc<Mutex<Vec<u8>>>);

impl Stderr {
    /// The kept text, trimmed; the reason of a failure is often here.
    pub fn text(&self) -> String {
        let kept = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        String::from_utf8_lossy(&kept).trim().to_owned()
    }

    fn keep(&self, bytes: &[u8]) {
        let mut kept = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let room = MAX_STDERR.saturating_sub(kept.len());
        kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

/// A running child.
pub struct Child {
    pub pid: u32,
    pub stderr: Stderr,
    answer: OwnedFd,
    stderr_pipe: Arc<tokio::io::unix::AsyncFd<OwnedFd>>,
    exited: tokio::sync::oneshot::Receiver<i32>,
}

/// Forks a child that keeps only `keep`, runs `body` there and answers with what it returns.
pub fn spawn<T: Serialize>(shim: &Shim, keep: &[RawFd], body: impl FnOnce() -> Result<T>) -> Result<Child> {
    let failed = |err: std::io::Error| Failure::new(Kind::Runtime, format!("forking a helper process: {err}"));
    let pipe = || pipe2(OFlag::O_CLOEXEC).map_err(|errno| failed(errno.into()));
    let (answer, answer_end) = pipe()?;
    let (stderr, stderr_end) = pipe()?;
    match sys::fork().map_err(failed)? {
        sys::Forked::Child => {
            let end = answer_end.as_raw_fd();
            prepare(keep, end, stderr_end.as_raw_fd(), &shim.config.oom_score_adj);
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
            let result = result.unwrap_or_else(|_| Err(Failure::new(Kind::Runtime, "the helper process panicked")));
            let code = i32::from(result.is_err());
            let text = serde_json::to_vec(&result).unwrap_or_default();
            let _ = std::fs::File::from(sys::own(end)).write_all(&text);
            sys::exit_now(code)
        }
        sys::Forked::Parent { child } => {
            let (sender, exited) = tokio::sync::oneshot::channel();
            shim.expect_child(child as u32, sender);
            let kept = Stderr::default();
            let stderr_pipe = Arc::new(nonblocking(stderr).map_err(failed)?);
            tokio::spawn(read_stderr(stderr_pipe.clone(), kept.clone()));
            Ok(Child {
                pid: child as u32,
                stderr: kept,
                answer,
                stderr_pipe,
                exited,
            })
        }
    }
}

/// In the child: nothing of the shim but what was named.
fn prepare(keep: &[RawFd], answer: RawFd, stderr: RawFd, oom_score_adj: &str) {
    sys::reset_signals();
    // A hook that does not read its state must not end its caller.
    sys::ignore_broken_pipes();
    let _ = sys::dup_to(stderr, 2);
    if let Ok(null) = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null") {
        let _ = sys::dup_to(null.as_raw_fd(), 0);
        let _ = sys::dup_to(null.as_raw_fd(), 1);
    }
    let mut kept = keep.to_vec();
    kept.push(answer);
    sys::close_all_but(&kept);
    // The shim's protection from the memory killer is its own.
    let _ = std::fs::write("/proc/self/oom_score_adj", oom_score_adj);
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
}

impl Child {
    /// Waits for the answer. A child that dies without one was killed.
    pub async fn answer<T: for<'de> Deserialize<'de>>(self) -> Result<T> {
        let status = self.exited.await.unwrap_or(-1);
        read_now(&self.stderr_pipe, &self.stderr);
        let mut text = Vec::new();
        let nonblocking = nix::fcntl::FcntlArg::F_SETFL(OFlag::O_NONBLOCK);
        if nix::fcntl::fcntl(&self.answer, nonblocking).is_ok() {
            // The container's process holds a copy of the pipe until it execs, so there is no end of file to wait for.
            let mut file = std::fs::File::from(self.answer).take(MAX_ANSWER as u64);
            let _ = file.read_to_end(&mut text);
        }
        serde_json::from_slice::<Result<T>>(&text).unwrap_or_else(|_| {
            let how = if libc::WIFSIGNALED(status) {
                format!("killed by signal {}", libc::WTERMSIG(status))
            } else {
                "died".to_owned()
            };
            Err(Failure::new(Kind::Aborted, format!("the helper process was {how}")))
        })
    }
}

/// Makes a descriptor fit for the event loop.
pub fn nonblocking(fd: OwnedFd) -> std::io::Result<tokio::io::unix::AsyncFd<OwnedFd>> {
    let flags = OFlag::from_bits_truncate(nix::fcntl::fcntl(&fd, nix::fcntl::FcntlArg::F_GETFL)?);
    nix::fcntl::fcntl(&fd, nix::fcntl::FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    sys::watch(fd)
}

async fn read_stderr(pipe: Arc<tokio::io::unix::AsyncFd<OwnedFd>>, kept: Stderr) {
    while let Ok(mut guard) = pipe.readable().await {
        if read_now(&pipe, &kept) {
            return;
        }
        guard.clear_ready();
    }
}

/// Reads what is there; true at the end.
fn read_now(pipe: &tokio::io::unix::AsyncFd<OwnedFd>, kept: &Stderr) -> bool {
    let mut buffer = [0; 1024];
    loop {
        match nix::unistd::read(pipe.get_ref(), &mut buffer) {
            Ok(0) => return true,
            Ok(count) => kept.keep(&buffer[..count]),
            Err(nix::errno::Errno::EINTR) => {}
            Err(nix::errno::Errno::EAGAIN) => return false,
            Err(_) => return true,
        }
    }
}
