//! Reads one stream of a process and hands it to its hub.

use super::hub::Hub;
use crate::sys;
use nix::errno::Errno;
use std::{os::fd::OwnedFd, sync::Arc, time::Duration};
use tokio::{
    io::unix::AsyncFd,
    time::{Instant, timeout},
};

/// Bytes read at once. The buffer lives only while there is something to read.
const BUFFER: usize = 64 * 1024;
/// Reads before others get their turn.
const TURN: usize = 8;
/// The most that is read from a stream after its process ended: what a pipe can hold, and more.
const LEFTOVER: usize = 2 * 1024 * 1024;
/// A stream that others write for the process is at its end when nothing came for so long after the process ended, and in any case
/// after the second time.
const QUIET: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(5);

/// Who writes a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    /// The process itself: what is there when it has ended is all.
    Process,
    /// Another shim on its behalf, which may still be at it when the process has ended, and closes the stream when it is done.
    Shim,
}

/// Why reading stopped.
enum Stop {
    Empty,
    Full,
    Turn,
    End,
}

/// Starts reading. `stream` is 1 or 2; a terminal is 1.
pub fn start(source: Arc<AsyncFd<OwnedFd>>, stream: u8, hub: Arc<Hub>, writer: Writer) {
    hub.stream_opened();
    tokio::spawn(async move {
        if pump(&source, stream, &hub).await == Outcome::ProcessEnded {
            match writer {
                Writer::Process => drain(&source, stream, &hub),
                Writer::Shim => linger(&source, stream, &hub).await,
            }
        }
        hub.stream_closed(stream);
    });
}

#[derive(PartialEq, Eq)]
enum Outcome {
    StreamEnded,
    ProcessEnded,
}

async fn pump(source: &AsyncFd<OwnedFd>, stream: u8, hub: &Hub) -> Outcome {
    let mut ended = hub.ended.subscribe();
    loop {
        hub.room().await;
        if *ended.borrow_and_update() {
            return Outcome::ProcessEnded;
        }
        let mut guard = tokio::select! {
            guard = source.readable() => match guard {
                Ok(guard) => guard,
                Err(_) => return Outcome::StreamEnded,
            },
            _ = ended.changed() => continue,
        };
        match read_some(source, stream, hub) {
            Stop::Empty => guard.clear_ready(),
            Stop::Full => {}
            Stop::Turn => tokio::task::yield_now().await,
            Stop::End => return Outcome::StreamEnded,
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

/// Reads on until the writer has closed the stream, or has nothing more to say.
async fn linger(source: &AsyncFd<OwnedFd>, stream: u8, hub: &Hub) {
    let end = Instant::now() + LONGEST;
    while Instant::now() < end {
        let Ok(Ok(mut guard)) = timeout(QUIET, source.readable()).await else {
            return;
        };
        match read_some(source, stream, hub) {
            Stop::Empty => guard.clear_ready(),
            Stop::Full | Stop::Turn => tokio::task::yield_now().await,
            Stop::End => return,
        }
    }
}
