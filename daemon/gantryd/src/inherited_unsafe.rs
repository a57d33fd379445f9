//! Sockets that whoever started us has bound (`sd_listen_fds(3)`): descriptors from 3 on, as many as `LISTEN_FDS` says.

use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

const FIRST: i32 = 3;

/// They are given once.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The descriptors that are meant for this process.
pub fn take() -> Vec<OwnedFd> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<i32>().ok();
    let ours = number("LISTEN_PID").is_some_and(|pid| u32::try_from(pid) == Ok(std::process::id()));
    if !ours || TAKEN.swap(true, Ordering::SeqCst) {
        return Vec::new();
    }
    let count = number("LISTEN_FDS").unwrap_or(0).clamp(0, 1024);
    let open = (FIRST..FIRST + count).filter(|fd| std::fs::symlink_metadata(format!("/proc/self/fd/{fd}")).is_ok());
    let owned = open.map(|fd| {
        // SAFETY: whoever started us opened it for this process, by the protocol of the two variables; nobody else in here knows
        // it, and it is taken once.
        unsafe { OwnedFd::from_raw_fd(fd) }
    });
    let sockets: Vec<OwnedFd> = owned.collect();
    for socket in &sockets {
        // A child must not hold it open; one that stays inheritable is no reason not to serve it.
        let _ = nix::fcntl::fcntl(
            socket.as_fd(),
            nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC),
        );
    }
    sockets
}
