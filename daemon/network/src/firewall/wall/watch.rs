//! Looks after the wall: at once when nftables tells of a change, and every second in any case.

use super::super::nfnetlink::Netfilter;
use super::Wall;
use crate::{Error, Result};
use netlink_sys::Socket;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

const EVERY: u16 = 1_000;
/// Whoever changes the ruleset is given this long to finish, so that a reload is looked at once and not ten times.
const SETTLE: Duration = Duration::from_millis(100);

/// A thread that watches; it ends when this is dropped.
pub struct Watch {
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl Wall {
    /// Starts to watch, in the network namespace of the caller.
    pub fn watch(self: &Arc<Self>) -> Result<Watch> {
        let failed = |source: io::Error| Error::Kernel {
            deed: "watch the firewall".to_owned(),
            source,
        };
        let events = Netfilter::listen()?;
        let (stop, stopped) = UnixStream::pair().map_err(failed)?;
        let wall = Arc::clone(self);
        let thread = thread::Builder::new()
            .name("firewall-watch".to_owned())
            .spawn(move || look(&wall, &events, &stopped))
            .map_err(failed)?;
        Ok(Watch {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // A panic there was reported when it happened.
            let _ = thread.join();
        }
    }
}

fn look(wall: &Wall, events: &Socket, stopped: &UnixStream) {
    let mut complaint = String::new();
    loop {
        let mut polled = [
            PollFd::new(stopped.as_fd(), PollFlags::POLLIN),
            PollFd::new(events.as_fd(), PollFlags::POLLIN),
        ];
        let woken = poll(&mut polled, PollTimeout::from(EVERY));
        let ready = |polled: &PollFd<'_>| polled.revents().is_some_and(|events| !events.is_empty());
        if ready(&polled[0]) {
            return;
        }
        if woken.is_ok() && ready(&polled[1]) {
            thread::sleep(SETTLE);
            drain(events);
        }
        match wall.check() {
            Ok(_) => complaint.clear(),
            Err(error) if error.to_string() != complaint => {
                complaint = error.to_string();
                tracing::error!(%error, "the firewall's rules cannot be looked after");
            }
            Err(_) => {}
        }
    }
}

/// What the events say does not matter: the generation is asked for.
fn drain(events: &Socket) {
    let mut buffer = Vec::with_capacity(1 << 16);
    loop {
        buffer.clear();
        match events.recv(&mut buffer, 0) {
            Ok(_) => {}
            // Too many to be kept: the rest follows.
            Err(error) if error.raw_os_error() == Some(nix::libc::ENOBUFS) => {}
            Err(_) => return,
        }
    }
}
