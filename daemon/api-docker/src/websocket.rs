//! `GET /containers/{name}/attach/ws`: an attach whose bytes travel in messages of a websocket (RFC 6455).
//!
//! The streams are not told apart. Since 1.28 messages are binary, before they were text. A websocket has no half that
//! closes: one that is closed is a client that is gone.

use crate::answer::{self, Answer, Failure};
use crate::attach;
use crate::call::Call;
use crate::hijack::{Hijack, Wanted};
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http::header::{CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{Response, StatusCode};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocketConfig};
use tracing::debug;

/// Bytes of a message that goes out, and the most of one that comes in.
const PIECE: usize = 32 * 1024;
const LARGEST: usize = 1 << 20;

pub async fn attach(call: Call) -> Answer {
    call.engine().look(call.name())?;
    let key = key(&call)?;
    let query = &call.query;
    // Until 1.42 a websocket had all of them.
    let wants = |stream: &str| call.before(42) || query.flag(stream);
    let wanted = Wanted {
        stdin: wants("stdin"),
        stdout: wants("stdout"),
        stderr: wants("stderr"),
        ..Wanted::default()
    };
    let text = call.before(28);
    attach::attach_as(call, wanted, |call, _| {
        Hijack::socket(call, derive_accept_key(&key), text)
    })
    .await
}

/// The client's key, if it asks for a websocket as it should.
fn key(call: &Call) -> Result<Vec<u8>, Failure> {
    let says = |name: http::HeaderName, word: &str| {
        let text = call.header(name.as_str()).to_ascii_lowercase();
        text.split(',').any(|one| one.trim() == word)
    };
    let asked = says(UPGRADE, "websocket") && says(CONNECTION, "upgrade") && says(SEC_WEBSOCKET_VERSION, "13");
    match call.headers.get(SEC_WEBSOCKET_KEY) {
        Some(key) if asked => Ok(key.as_bytes().to_vec()),
        _ => Err(Failure::bad(
            "not a websocket: Upgrade, Connection, Sec-WebSocket-Version 13 and Sec-WebSocket-Key are needed",
        )),
    }
}

/// 101, with the proof that the key was read.
pub fn switched(accept: &str) -> Response<answer::Body> {
    let mut response = answer::bare(StatusCode::SWITCHING_PROTOCOLS);
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::from_str(accept) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    response
}

/// Moves bytes between the messages and `near` until either side is over.
pub async fn carry(upgraded: Upgraded, near: DuplexStream, text: bool) {
    let limits = WebSocketConfig::default()
        .max_message_size(Some(LARGEST))
        .max_frame_size(Some(LARGEST));
    let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(limits)).await;
    let (mut sink, mut messages) = socket.split();
    let (mut output, mut input) = tokio::io::split(near);
    let out = async {
        let mut buffer = vec![0; PIECE];
        while let Ok(count @ 1..) = output.read(&mut buffer).await {
            let message = match text {
                true => Message::text(String::from_utf8_lossy(&buffer[..count]).into_owned()),
                false => Message::binary(Bytes::copy_from_slice(&buffer[..count])),
            };
            if sink.send(message).await.is_err() {
                return;
            }
        }
        // It may be gone already.
        let _ = sink.close().await;
    };
    let into = async {
        while let Some(message) = messages.next().await {
            let bytes = match message {
                Ok(Message::Binary(bytes)) => bytes,
                Ok(Message::Text(text)) => text.into(),
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => continue,
                Ok(Message::Close(_)) => return,
                Err(error) => {
                    debug!(err = %error, "a websocket broke");
                    return;
                }
            };
            // A process that takes no more has its end on the other half.
            let _ = input.write_all(&bytes).await;
        }
    };
    tokio::select! {
        () = out => {}
        () = into => {}
    }
}
