//! A part of a stored blob as a request's body, read as fast as it is sent.

use super::http::{Body, Flow, whole};
use super::upload::UploadStep;
use bytes::Bytes;
use futures::stream;
use gantry_core::content::BlobReader;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;

/// Bytes read at once, and pieces read ahead.
const PIECE: usize = 128 << 10;
const AHEAD: usize = 4;

/// A part of a blob.
#[derive(Clone)]
pub(super) struct Part {
    pub source: Arc<dyn BlobReader>,
    pub from: u64,
    pub to: u64,
}

/// Tells how far a body has gone while it goes.
pub(super) async fn told<T>(
    send: impl Future<Output = T>,
    passed: &AtomicU64,
    from: u64,
    step: &mut (impl FnMut(UploadStep) + Send),
) -> T {
    let mut send = std::pin::pin!(send);
    loop {
        let done = tokio::time::timeout(Duration::from_millis(100), &mut send).await;
        step(UploadStep::At(from + passed.load(Ordering::Relaxed)));
        if let Ok(done) = done {
            return done;
        }
    }
}

impl Part {
    /// Its bytes, read on a thread for it as fast as they are taken.
    pub(super) fn flow(&self) -> (Flow, Arc<AtomicU64>) {
        let passed = Arc::new(AtomicU64::new(0));
        if self.from == self.to {
            let body = whole(Bytes::new());
            return (
                Flow {
                    body,
                    passed: passed.clone(),
                },
                passed,
            );
        }
        let (sender, receiver) = mpsc::channel(AHEAD);
        let part = self.clone();
        tokio::task::spawn_blocking(move || {
            let mut at = part.from;
            while at < part.to {
                let piece = part.read(at);
                at += piece.as_ref().map_or(0, |piece| piece.len() as u64);
                let failed = piece.is_err();
                if sender.blocking_send(piece).is_err() || failed {
                    break;
                }
            }
        });
        let counted = passed.clone();
        let pieces = stream::unfold((receiver, counted), |(mut receiver, counted)| async move {
            let piece: io::Result<Bytes> = receiver.recv().await?;
            if let Ok(piece) = &piece {
                counted.fetch_add(piece.len() as u64, Ordering::Relaxed);
            }
            Some((piece.map(Frame::data), (receiver, counted)))
        });
        let body: Body = StreamBody::new(pieces).boxed_unsync();
        (
            Flow {
                body,
                passed: passed.clone(),
            },
            passed,
        )
    }

    fn read(&self, at: u64) -> io::Result<Bytes> {
        let length = usize::try_from(self.to - at).unwrap_or(PIECE).min(PIECE);
        let mut piece = vec![0; length];
        let read = self.source.read_at(&mut piece, at).map_err(io::Error::other)?;
        if read == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "a stored blob is too short",
            ));
        }
        piece.truncate(read);
        Ok(Bytes::from(piece))
    }
}
