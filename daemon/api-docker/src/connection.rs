//! One connection: HTTP/1.1, with a limit on how long a request's head may take.

use crate::answer::Body;
use crate::{Door, route};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tracing::debug;

/// How long a client may take for the head of a request, and a connection may idle between two.
const HEAD: Duration = Duration::from_secs(300);
/// Bytes of a request's head, and of what is read ahead.
const BUFFER: usize = 128 * 1024;

/// A byte stream from a client.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for T {}

/// Serves a connection until the client goes or `end` comes; then the request under way is the last.
pub async fn serve(door: Door, stream: impl Stream, end: impl Future<Output = ()>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let door = door.clone();
        async move { Ok::<Response<Body>, Infallible>(route::answer(door, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .title_case_headers(true)
        .header_read_timeout(HEAD)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = end => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = outcome {
        debug!(err = %error, "a connection ended early");
    }
}
