//! Streams between the engine's bounded channels and the wire. When a channel is full, its sender waits: the slowest of
//! disk, engine and client sets the pace, and nothing piles up in between.

use crate::status::refuse;
use bytes::{Buf, Bytes};
use futures::{Stream, StreamExt};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status, Streaming};

pub type Outgoing<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Chunks from a client that wait for the engine.
const CHUNKS: usize = 8;

/// Everything that comes out of a channel, translated.
pub fn outgoing<T, W>(channel: mpsc::Receiver<T>, translate: impl Fn(T) -> W + Send + 'static) -> Response<Outgoing<W>>
where
    T: Send + 'static,
    W: Send + 'static,
{
    Response::new(Box::pin(
        ReceiverStream::new(channel).map(move |item| Ok(translate(item))),
    ))
}

/// The same for a channel that may carry a failure.
pub fn fallible<T, W>(
    channel: mpsc::Receiver<gantry_core::Result<T>>,
    translate: impl Fn(T) -> W + Send + 'static,
) -> Response<Outgoing<W>>
where
    T: Send + 'static,
    W: Send + 'static,
{
    let stream = ReceiverStream::new(channel).map(move |item| item.map(&translate).map_err(refuse));
    Response::new(Box::pin(stream))
}

/// The bytes of a client's messages as a reader. A client that breaks off is a read error, never a clean end.
pub struct Incoming {
    chunks: mpsc::Receiver<std::io::Result<Bytes>>,
    rest: Bytes,
}

impl Incoming {
    /// `bytes_of` answers `None` for a message that must not come here.
    pub fn new<M>(mut messages: Streaming<M>, first: Bytes, bytes_of: fn(M) -> Option<Vec<u8>>) -> Self
    where
        M: Send + 'static,
    {
        let (sender, chunks) = mpsc::channel(CHUNKS);
        tokio::spawn(async move {
            loop {
                let item = match messages.message().await {
                    Ok(Some(message)) => match bytes_of(message) {
                        Some(bytes) => Ok(Bytes::from(bytes)),
                        None => Err(std::io::Error::other("a header came where bytes were expected")),
                    },
                    Ok(None) => return,
                    Err(status) => Err(std::io::Error::other(format!(
                        "the client broke off: {}",
                        status.message()
                    ))),
                };
                let last = item.is_err();
                if sender.send(item).await.is_err() || last {
                    return;
                }
            }
        });
        Self { chunks, rest: first }
    }

    /// The chunks one by one.
    pub async fn next(&mut self) -> Option<std::io::Result<Bytes>> {
        if !self.rest.is_empty() {
            return Some(Ok(std::mem::take(&mut self.rest)));
        }
        self.chunks.recv().await
    }
}

impl AsyncRead for Incoming {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        while self.rest.is_empty() {
            match self.chunks.poll_recv(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Ready(Some(Ok(chunk))) => self.rest = chunk,
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
            }
        }
        let count = self.rest.len().min(buffer.remaining());
        buffer.put_slice(&self.rest[..count]);
        self.rest.advance(count);
        Poll::Ready(Ok(()))
    }
}
