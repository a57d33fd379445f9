//! Bytes over a stream (containerd core/transfer/streaming): the reader opens windows, the writer stays within them.

use super::Stream;
use bytes::Bytes;
use gantry_core::{Error, ErrorKind, Result};
use gantry_proto_containerd::any::unpack;
use gantry_proto_containerd::types::transfer::{Data, WindowUpdate};
use std::time::Duration;
use tokio::sync::mpsc;

/// Most bytes of one message.
const PIECE: usize = 32 << 10;
/// What the other side may send before it hears from us again.
const WINDOW: i32 = 64 << 10;
/// Pieces that wait for the reader.
const PIECES: usize = 4;
/// How long a client may leave a writer without a window.
const PATIENCE: Duration = Duration::from_secs(600);

/// Reads what a client sends. Dropped, it reads no more, and the stream ends.
pub struct Reading(tokio::task::JoinHandle<()>);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The bytes that the client sends, to its end.
pub fn receive(stream: Stream) -> (mpsc::Receiver<Result<Bytes>>, Reading) {
    let (pieces, receiver) = mpsc::channel(PIECES);
    let reading = tokio::spawn(async move {
        if let Err(error) = forward(stream, &pieces).await {
            // A reader that is gone has its own error to tell.
            let _ = pieces.send(Err(error)).await;
        }
    });
    (receiver, Reading(reading))
}

async fn forward(mut stream: Stream, pieces: &mpsc::Sender<Result<Bytes>>) -> Result<()> {
    let mut window = 0;
    loop {
        if window < WINDOW {
            // A client that has sent all may hear nothing more; then what it sent is still to be read.
            let _ = stream.outgoing.send(&WindowUpdate { update: WINDOW }).await;
            window += WINDOW;
        }
        let message = match stream.incoming.message().await {
            Ok(Some(message)) => message,
            Ok(None) if stream.outgoing.is_gone() => {
                let text = "the client went before its stream's end";
                return Err(Error::new(ErrorKind::Cancelled, text));
            }
            Ok(None) => return Ok(()),
            Err(status) => {
                let text = format!("the client's stream broke: {}", status.message());
                return Err(Error::new(ErrorKind::Unavailable, text));
            }
        };
        let Ok(data) = unpack::<Data>(&message) else { continue };
        let size = i32::try_from(data.data.len()).unwrap_or(i32::MAX);
        window = window.saturating_sub(size);
        if pieces.send(Ok(data.data)).await.is_err() {
            return Ok(());
        }
    }
}

/// Sends the client what comes, within the windows it opens. An error that comes ends it.
pub async fn send(mut stream: Stream, mut source: mpsc::Receiver<Result<Bytes>>) -> Result<()> {
    let mut window: i64 = 0;
    while let Some(bytes) = source.recv().await {
        let mut bytes = bytes?;
        while !bytes.is_empty() {
            while window <= 0 {
                window += i64::from(next_window(&mut stream).await?);
            }
            let allowed = usize::try_from(window).unwrap_or(PIECE).min(PIECE).min(bytes.len());
            let piece = bytes.split_to(allowed);
            window -= i64::try_from(piece.len()).unwrap_or(i64::MAX);
            let data = Data { data: piece };
            stream.outgoing.send(&data).await?;
        }
    }
    Ok(())
}

async fn next_window(stream: &mut Stream) -> Result<i32> {
    let message = tokio::time::timeout(PATIENCE, stream.incoming.message())
        .await
        .map_err(|_| Error::new(ErrorKind::DeadlineExceeded, "the client reads no more of its stream"))?;
    let message = message.map_err(|status| Error::new(ErrorKind::Unavailable, status.message()))?;
    let message = message.ok_or_else(|| Error::new(ErrorKind::Cancelled, "the client's stream has ended"))?;
    let update: WindowUpdate =
        unpack(&message).map_err(|error| Error::invalid(format!("a stream of bytes: {error}")))?;
    Ok(update.update)
}
