//! What goes out: bodies, answers, and the one wrapper for failures.

use crate::go_json;
use crate::{NEWEST, call::Version};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use gantry_core::{Error, ErrorKind};
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::Frame;
use serde::Serialize;
use serde_json::json;
use std::io;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tracing::{debug, error};

pub type Body = UnsyncBoxBody<Bytes, io::Error>;
pub type Answer = Result<Response<Body>, Failure>;

pub const JSON: &str = "application/json";
/// Bytes of a long list that are sent together.
const CHUNK: usize = 32 << 10;

/// An error on its way out, with the status it is answered by.
#[derive(Debug)]
pub struct Failure {
    pub status: StatusCode,
    pub message: String,
    fault: bool,
}

impl Failure {
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            fault: false,
        }
    }

    pub fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// An option that is known and not obeyed yet.
    pub fn unbuilt(what: &str) -> Self {
        Self::new(
            StatusCode::NOT_IMPLEMENTED,
            format!("{what} is not built yet: leave it out"),
        )
    }

    /// Logged here and nowhere else.
    pub fn response(self) -> Response<Body> {
        if self.fault {
            error!(err = %self.message, "request failed");
        } else {
            debug!(err = %self.message, status = self.status.as_u16(), "request refused");
        }
        if self.status == StatusCode::NOT_MODIFIED {
            return bare(self.status);
        }
        json(self.status, &json!({ "message": self.message }))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        // What it was stands in the request.
        let message = match error.message() {
            text if text.starts_with("invalid reference format: \"") => "invalid reference format",
            text => text,
        };
        Self {
            status: status(error.kind()),
            message: in_go_words(message),
            fault: error.kind().is_fault(),
        }
    }
}

/// What the system said, as Go says it: clients tell by these words how a `docker run` has failed.
pub fn in_go_words(message: &str) -> String {
    const NUMBER: &str = " (os error ";
    let mut out = String::with_capacity(message.len());
    let mut rest = message;
    while let Some((before, after)) = rest.split_once(NUMBER) {
        let number = after.split_once(')').and_then(|(digits, _)| digits.parse::<i32>().ok());
        let said = number.map(|number| io::Error::from_raw_os_error(number).to_string());
        let whole = said.as_deref().and_then(|said| said.split_once(NUMBER));
        match whole.and_then(|(text, _)| Some((before.strip_suffix(text)?, text))) {
            Some((before, text)) => {
                out.push_str(before);
                let (first, others) = text.split_at(text.chars().next().map_or(0, char::len_utf8));
                out.push_str(&first.to_lowercase());
                out.push_str(others);
                rest = after.split_once(')').map_or("", |(_, rest)| rest);
            }
            None => {
                out.push_str(before);
                out.push_str(NUMBER);
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

fn status(kind: ErrorKind) -> StatusCode {
    StatusCode::from_u16(kind.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

pub fn bare(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(empty());
    *response.status_mut() = status;
    response
}

pub fn no_content() -> Answer {
    Ok(bare(StatusCode::NO_CONTENT))
}

/// 200 and nothing.
pub fn done() -> Answer {
    Ok(bare(StatusCode::OK))
}

pub fn with_type(status: StatusCode, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

pub fn text(status: StatusCode, text: &'static str) -> Response<Body> {
    with_type(status, "text/plain; charset=utf-8", full(text))
}

/// One value and a line end, as Go's encoder writes it.
pub fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    with_type(status, JSON, full(go_json::whole(value)))
}

/// A list, row by row. What fits in one chunk is sent whole; of a longer one the client reads the first rows while the others are
/// made, and it is never held whole.
pub fn list<T: Serialize + 'static>(rows: impl Iterator<Item = T> + Send + 'static) -> Response<Body> {
    let mut chunks = go_json::list(rows, CHUNK);
    let first = chunks.next().unwrap_or_default();
    let Some(second) = chunks.next() else {
        return with_type(StatusCode::OK, JSON, full(first));
    };
    let known = futures::stream::iter([first, second]);
    let rest = futures::stream::unfold(chunks, async |mut chunks| {
        // What was made goes out before more is.
        tokio::task::yield_now().await;
        chunks.next().map(|chunk| (chunk, chunks))
    });
    stream(JSON, known.chain(rest).map(|chunk| Ok(Bytes::from(chunk))))
}

pub fn ok(value: &impl Serialize) -> Answer {
    Ok(json(StatusCode::OK, value))
}

pub fn created(value: &impl Serialize) -> Answer {
    Ok(json(StatusCode::CREATED, value))
}

/// Chunks as they come; a failure breaks the connection off, for the status is said already.
pub fn stream(kind: &'static str, chunks: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Response<Body> {
    let body = StreamBody::new(chunks.map(|chunk| chunk.map(Frame::data)));
    with_type(StatusCode::OK, kind, BodyExt::boxed_unsync(body))
}

/// The bytes of a tar. The first chunk is waited for, so that a failure before it is still an answer.
pub async fn tar(mut chunks: mpsc::Receiver<gantry_core::Result<Bytes>>) -> Answer {
    let first = chunks.recv().await.transpose()?;
    let first = futures::stream::iter(first.map(Ok));
    let rest = ReceiverStream::new(chunks).map(|chunk| chunk.map_err(io::Error::other));
    Ok(stream("application/x-tar", first.chain(rest)))
}

/// Headers that every answer of a known route carries.
pub fn dress(response: &mut Response<Body>, server: &str) {
    let headers = response.headers_mut();
    let mut put = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    put("api-version", NEWEST);
    put("docker-experimental", "false");
    put("ostype", "linux");
    // Clients read the system from the brackets.
    put("server", &format!("Docker/{server} (linux)"));
}

pub fn not_found() -> Response<Body> {
    json(StatusCode::NOT_FOUND, &json!({ "message": "page not found" }))
}

/// A version that is not served.
pub fn refuse_version(version: Version, text: &str) -> Option<Failure> {
    if version > Version::newest() {
        return Some(Failure::bad(format!(
            "client version {text} is too new. Maximum supported API version is {NEWEST}"
        )));
    }
    let oldest = crate::OLDEST;
    (version < Version::oldest()).then(|| {
        Failure::bad(format!(
            "client version {text} is too old. Minimum supported API version is {oldest}, please upgrade your client to a newer version"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_an_answer() {
        for kind in ErrorKind::ALL {
            let failure = Failure::from(Error::new(kind, "why"));
            let status = failure.status;
            assert_eq!(status.as_u16(), kind.http_status());
            assert_eq!(failure.response().status(), status);
        }
    }

    #[tokio::test]
    async fn a_list_is_one_value_however_long() {
        for length in [0, 1, 20_000] {
            let rows: Vec<String> = (0..length).map(|number| format!("row <{number}>")).collect();
            let answer = list(rows.clone().into_iter());
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(serde_json::from_slice::<Vec<String>>(&body).unwrap(), rows);
            assert!(body.ends_with(b"]\n"));
        }
    }

    #[test]
    fn what_the_system_says_is_said_in_gos_words() {
        let missing = io::Error::from_raw_os_error(2);
        let said = in_go_words(&format!("open /a: {missing}: and {missing}"));
        assert_eq!(
            said,
            "open /a: no such file or directory: and no such file or directory"
        );
        let other = "this is no error of the system's (os error 2), nor (os error x), nor (os error 3";
        assert_eq!(in_go_words(other), other);
    }
}
