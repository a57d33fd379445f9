//! Blobs: read on where the connection broke.

use super::Repository;
use crate::descriptor::Descriptor;
use crate::error::{ImageError, Result};
use bytes::{Buf, Bytes};
use http::header::{CONTENT_RANGE, HeaderMap, HeaderValue, RANGE};
use http::{Method, StatusCode};
use std::time::Duration;
use tokio::sync::mpsc;

/// Longest pause between attempts.
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// What a download hands on.
pub(crate) enum Chunk {
    Bytes(Bytes),
    /// All of it was sent: without this, the receiver knows that the sender gave up.
    End,
}

/// What a download says of itself.
pub(crate) enum Step {
    At(u64),
    Retry(Duration),
}

impl Repository {
    /// Sends the blob's bytes from `offset` to `out`, whose bound is what holds the network back. The size is checked
    /// here, the digest by the receiver.
    pub(crate) async fn blob(
        &self,
        blob: &Descriptor,
        offset: u64,
        out: &mpsc::Sender<Chunk>,
        mut step: impl FnMut(Step) + Send,
    ) -> Result<()> {
        let mut at = offset;
        let mut fruitless = 0;
        while at < blob.size {
            let before = at;
            let error = match self.run(blob, &mut at, out, &mut step).await {
                Ok(()) => break,
                Err(error) => error,
            };
            fruitless = if at > before { 1 } else { fruitless + 1 };
            if !is_passing(&error) || fruitless >= self.config().attempts {
                return Err(error);
            }
            let pause = pause(fruitless);
            tracing::debug!(digest = %blob.digest, at, err = %error, "a download broke, going on");
            step(Step::Retry(pause));
            tokio::time::sleep(pause).await;
        }
        out.send(Chunk::End).await.map_err(|_| gone())
    }

    /// One attempt; `at` goes along.
    async fn run(
        &self,
        blob: &Descriptor,
        at: &mut u64,
        out: &mpsc::Sender<Chunk>,
        step: &mut (impl FnMut(Step) + Send),
    ) -> Result<()> {
        let what = format!("blob {}", blob.digest);
        let mut headers = HeaderMap::new();
        if *at > 0 {
            let range = format!("bytes={at}-");
            headers.insert(RANGE, HeaderValue::from_str(&range).expect("digits are sound"));
        }
        let asked = self
            .ask(Method::GET, &format!("blobs/{}", blob.digest), headers, &what)
            .await;
        let mut answer = match asked {
            Err(ImageError::Status { status: 416, .. }) => return Err(wrong_size(what, blob, *at)),
            other => other?,
        };
        let mut skip = match answer.response.status() {
            StatusCode::PARTIAL_CONTENT if starts_at(answer.response.headers(), *at) => 0,
            StatusCode::PARTIAL_CONTENT => {
                return Err(ImageError::BadAnswer {
                    host: answer.endpoint.host.clone(),
                    what,
                    detail: "it sent another range than was asked".to_owned(),
                });
            }
            // It sends the whole again.
            _ => *at,
        };
        let client = self.client(answer.endpoint);
        while let Some(mut bytes) = client.frame(&mut answer.response, &answer.endpoint.host, &what).await? {
            let skipped = skip.min(bytes.len() as u64);
            bytes.advance(usize::try_from(skipped).expect("no longer than the bytes"));
            skip -= skipped;
            if bytes.is_empty() {
                continue;
            }
            *at += bytes.len() as u64;
            if *at > blob.size {
                return Err(wrong_size(what, blob, *at));
            }
            out.send(Chunk::Bytes(bytes)).await.map_err(|_| gone())?;
            step(Step::At(*at));
        }
        match *at == blob.size {
            true => Ok(()),
            false => Err(ImageError::Truncated { what }),
        }
    }
}

/// Longer with every attempt that led to nothing.
pub(super) fn pause(fruitless: u32) -> Duration {
    Duration::from_millis(200 << fruitless.min(10)).min(MAX_PAUSE)
}

/// Whether trying again may help.
pub(super) fn is_passing(error: &ImageError) -> bool {
    match error {
        ImageError::Connect { .. } | ImageError::Stalled { .. } | ImageError::Truncated { .. } => true,
        ImageError::TooManyRequests { .. } => true,
        ImageError::Status { status, .. } => *status >= 500 || *status == 408,
        _ => false,
    }
}

fn starts_at(headers: &HeaderMap, at: u64) -> bool {
    let text = headers
        .get(CONTENT_RANGE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("");
    let first = text.strip_prefix("bytes ").and_then(|rest| rest.split('-').next());
    first.and_then(|first| first.parse().ok()) == Some(at)
}

fn wrong_size(what: String, blob: &Descriptor, got: u64) -> ImageError {
    ImageError::WrongSize {
        what,
        expected: blob.size,
        got,
    }
}

fn gone() -> ImageError {
    ImageError::Cancelled { doing: "download" }
}
