//! Reads one stream of a process and hands it to its hub.

use super::hub::Hub;
use crate::sys;
use nix::errno::Errno;
use std::{os::fd::OwnedFd, sync::Arc};
use tokio::io::unix::AsyncFd;

/// Bytes read at once. The buffer lives only while there is something to read.
const BUFFER: usize = 64 * 1024;
/// Reads before others get their turn.
const TURN: usize = 8;
/// The most that is read from a stream after its process ended: what a pipe can hold, and more.
const LEFTOVER: usize = 2 * 1024 * 1024;

/// Why reading stopped.
enum Stop {
    Empty,
    Full,
    Turn,
    End,
}

/// Starts reading. `stream` is 1 or 2; a terminal is 1.
pub fn start(source: Arc<AsyncFd<OwnedFd>>, stream: u8, hub: Arc<Hub>) {
    hub.stream_opened();
    tokio::spawn(async move {
        pump(&source, stream, &hub).await;
        hub.stream_closed(stream);
    });
}

async fn pump(source: &AsyncFd<OwnedFd>, stream: u8, hub: &Hub) {
    let mut ended = hub.ended.subscribe();
    loop {
        hub.room().await;
        if *ended.borrow_and_update() {
            return drain(source, stream, hub);
        }
        let mut guard = tokio::select! {
            guard = source.readable() => match guard {
                Ok(guard) => guard,
                Err(_) => return,
            },
            _ = ended.changed() => continue,
        };
        match read_some(source, stream, hub) {
            Stop::Empty => guard.clear_ready(),
            Stop::Full => {}
            Stop::Turn => tokio::task::yield_now().await,
            Stop::End => return,
        }
    }
}

fn read_some(source: &AsyncFd<OwnedFd>, stream: u8, hub: &Hub) -> Stop {
    let mut buffer = vec![0; BUFFER];
    for _ in 0..TURN {
        match nix::unistd::read(source.get_ref(), &mut buffer) {
            Ok(0) => return Stop::End,
            Ok(count) => hub.deliver(stream, &buffer[..count]),
            Err(Errno::EAGAIN) => return Stop::Empty,
            Err(Errno::EINTR) => {}
            // A terminal whose last user left answers EIO.
            Err(_) => return Stop::End,
        }
        if !hub.has_room() {
            return Stop::Full;
        }
    }
    Stop::Turn
}

/// What is in the stream now is the process's; what others write into it later is nobody's. Readers that are
/// behind do not matter any more: the rest is small and goes to their spools.
fn drain(source: &AsyncFd<OwnedFd>, stream: u8, hub: &Hub) {
    let terminal = nix::unistd::isatty(source.get_ref()).unwrap_or(false);
    let mut left = if terminal {
        LEFTOVER
    } else {
        sys::readable_bytes(source.get_ref()).min(LEFTOVER)
    };
    let mut buffer = vec![0; BUFFER];
    while left > 0 {
        let want = left.min(BUFFER);
        match nix::unistd::read(source.get_ref(), &mut buffer[..want]) {
            Ok(0) => return,
            Ok(count) => {
                hub.deliver(stream, &buffer[..count]);
                left -= count;
            }
            Err(Errno::EINTR) => {}
            Err(_) => return,
        }
    }
}
