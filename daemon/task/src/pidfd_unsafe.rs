//! Waiting for the end of a process that is not our child.

use crate::process::ProcessMark;
use std::os::fd::OwnedFd;
use tokio::io::unix::AsyncFd;

impl ProcessMark {
    /// Returns when the process has ended, reaped or not; at once if it is gone, never if the kernel does not tell.
    pub async fn ended(&self) {
        let Some(fd) = self.open() else { return };
        match watch(fd) {
            // It fails only when the runtime ends.
            Some(process) => drop(process.readable().await),
            None => std::future::pending().await,
        }
    }
}

fn watch(fd: OwnedFd) -> Option<AsyncFd<OwnedFd>> {
    // SAFETY: an owned descriptor is moved in and never replaced, so it stays this open file until the watch ends.
    unsafe { AsyncFd::register(fd) }.ok()
}
