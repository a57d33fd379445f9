//! Named pipes, the way callers without an attach socket (containerd) take output and give input.

use super::{
    hub::{Client, Hub, Next},
    stdin::Stdin,
};
use crate::{child::nonblocking, sys::readable_bytes};
use nix::errno::Errno;
use std::{
    fs::File,
    io,
    os::{fd::OwnedFd, unix::fs::OpenOptionsExt},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{io::unix::AsyncFd, task::JoinHandle};

/// How long a named pipe's reader may stand still once the process has ended.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long what stands in a pipe may stand still before nobody is believed to read it.
const STILL: Duration = Duration::from_millis(500);
const LOOK: Duration = Duration::from_millis(1);

/// Sends a stream into a named pipe. Both ends are opened here, so that a reader that comes and goes breaks nothing.
pub fn send(hub: &Arc<Hub>, stream: u8, path: &str) -> io::Result<()> {
    let file = File::options()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    send_to(hub, stream, crate::sys::watch(OwnedFd::from(file))?);
    Ok(())
}

/// The same into a pipe that is open.
pub fn send_to(hub: &Arc<Hub>, stream: u8, pipe: AsyncFd<OwnedFd>) -> JoinHandle<()> {
    let client = hub.join(stream == 1, stream == 2, false);
    let hub = hub.clone();
    hub.sending_begun();
    tokio::spawn(async move {
        let _ = forward(&hub, &client, &pipe).await;
        hub.leave(&client);
        emptied(&pipe).await;
        drop(pipe);
        hub.sending_ended();
    })
}

async fn forward(hub: &Hub, client: &Client, pipe: &AsyncFd<OwnedFd>) -> io::Result<()> {
    loop {
        match hub.next(client)? {
            Next::Finished => return Ok(()),
            Next::Wait => client.wake.notified().await,
            Next::Send(piece) => write_all(pipe, &piece, client).await?,
        }
    }
}

async fn write_all(pipe: &AsyncFd<OwnedFd>, mut left: &[u8], client: &Client) -> io::Result<()> {
    while !left.is_empty() {
        let mut guard = match tokio::time::timeout(PATIENCE, pipe.writable()).await {
            Ok(guard) => guard?,
            Err(_) if client.is_finished() => return Err(io::ErrorKind::TimedOut.into()),
            Err(_) => continue,
        };
        match nix::unistd::write(pipe.get_ref(), left) {
            Ok(count) => left = &left[count..],
            Err(Errno::EAGAIN) => guard.clear_ready(),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Waits for the reader to take what the pipe itself holds, as long as it does.
async fn emptied(pipe: &AsyncFd<OwnedFd>) {
    let mut left = readable_bytes(pipe.get_ref());
    let mut since = Instant::now();
    while left > 0 && since.elapsed() < STILL {
        tokio::time::sleep(LOOK).await;
        let now = readable_bytes(pipe.get_ref());
        if now < left {
            since = Instant::now();
        }
        left = now;
    }
}

/// Feeds stdin from a named pipe until its writer closes it.
pub fn receive(stdin: Arc<Stdin>, hub: Arc<Hub>, path: &str) -> io::Result<()> {
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let pipe = nonblocking(file.into())?;
    tokio::spawn(async move {
        feed(&stdin, &hub, &pipe).await;
        stdin.close();
    });
    Ok(())
}

async fn feed(stdin: &Stdin, hub: &Hub, pipe: &AsyncFd<OwnedFd>) {
    let mut over = hub.ended.subscribe();
    loop {
        let guard = tokio::select! {
            guard = pipe.readable() => guard,
            _ = over.wait_for(|over| *over) => return,
        };
        let Ok(mut guard) = guard else { return };
        let mut buffer = vec![0; 16 * 1024];
        match nix::unistd::read(pipe.get_ref(), &mut buffer) {
            Ok(0) => return,
            Ok(count) => stdin.write(&buffer[..count], &hub.ended).await,
            Err(Errno::EAGAIN) => guard.clear_ready(),
            Err(Errno::EINTR) => {}
            Err(_) => return,
        }
    }
}
