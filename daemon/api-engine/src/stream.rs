//! Streams between the engine's bounded channels and the wire. When a channel is full, its sender waits: the slowest of
//! disk, engine and client sets the pace, and nothing piles up in between.

use crate::status::refuse;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use gantry_core::{Error, ErrorKind, Result};
use std::pin::Pin;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status, Streaming};

pub type Outgoing<T> = Pin<Box<dyn Stream<Item = std::result::Result<T, Status>> + Send>>;

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
    channel: mpsc::Receiver<Result<T>>,
    translate: impl Fn(T) -> W + Send + 'static,
) -> Response<Outgoing<W>>
where
    T: Send + 'static,
    W: Send + 'static,
{
    let stream = ReceiverStream::new(channel).map(move |item| item.map(&translate).map_err(refuse));
    Response::new(Box::pin(stream))
}

/// The bytes of a client's messages. A client that breaks off is a failure in the channel, never a clean end.
/// `bytes_of` answers `None` for a message that must not come here.
pub fn incoming<M>(mut messages: Streaming<M>, bytes_of: fn(M) -> Option<Vec<u8>>) -> mpsc::Receiver<Result<Bytes>>
where
    M: Send + 'static,
{
    let (sender, chunks) = mpsc::channel(CHUNKS);
    tokio::spawn(async move {
        loop {
            let item = match messages.message().await {
                Ok(Some(message)) => {
                    let bytes = bytes_of(message).map(Bytes::from);
                    bytes.ok_or_else(|| Error::invalid("header: it came where bytes were expected"))
                }
                Ok(None) => return,
                Err(status) => Err(Error::new(
                    ErrorKind::Aborted,
                    format!("the client broke off: {}", status.message()),
                )),
            };
            let last = item.is_err();
            if sender.send(item).await.is_err() || last {
                return;
            }
        }
    });
    chunks
}
