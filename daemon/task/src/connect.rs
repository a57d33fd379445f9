//! Connecting to a unix socket without ever blocking the runtime's thread.

use std::io;
use std::path::Path;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

/// Connects within `limit`. A full backlog (the other side is slow) is tried again until then.
pub(crate) async fn connect(path: &Path, limit: Duration) -> io::Result<UnixStream> {
    let attempts = async {
        let mut pause = Duration::from_millis(1);
        loop {
            match UnixStream::connect(path).await {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(pause).await,
                connected => return connected,
            }
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    };
    match timeout(limit, attempts).await {
        Ok(connected) => connected,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "nobody accepts the connection")),
    }
}
