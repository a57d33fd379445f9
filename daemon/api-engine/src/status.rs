//! The one error wrapper of this door.

use gantry_core::Error;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Response, Status};
use tracing::{Instrument, debug, error};

/// Tells kinds apart that share a gRPC code.
pub const KIND_KEY: &str = "gantry-error-kind";

/// Most bytes of a message as it travels: it goes percent-encoded in a header, and headers have a limit.
const HEAD: usize = 3600;
const TAIL: usize = 1200;

pub type Answer<T> = Result<Response<T>, Status>;

/// An error as a caller sees it. Logged here and nowhere else.
pub fn refuse(failure: Error) -> Status {
    let kind = failure.kind();
    if kind.is_fault() {
        error!(err = %failure, "request failed");
    } else {
        debug!(err = %failure, kind = kind.word(), "request refused");
    }
    let mut metadata = MetadataMap::new();
    metadata.insert(KIND_KEY, MetadataValue::from_static(kind.word()));
    Status::with_metadata(Code::from_i32(kind.grpc_code()), cut(failure.message()), metadata)
}

pub fn answer<T>(result: gantry_core::Result<T>) -> Answer<T> {
    result.map(Response::new).map_err(refuse)
}

/// Runs what changes state to its end, whether or not the client stays for the answer.
pub async fn finish<T, F>(work: F) -> Answer<T>
where
    T: Send + 'static,
    F: Future<Output = gantry_core::Result<T>> + Send + 'static,
{
    match tokio::spawn(work.in_current_span()).await {
        Ok(result) => answer(result),
        Err(join) => answer(Err(Error::internal(format!("the operation ended early: {join}")))),
    }
}

/// A message short enough to travel: the beginning says what was tried, the end why it failed, so both are kept.
fn cut(text: &str) -> String {
    if text.chars().map(weight).sum::<usize>() <= HEAD + TAIL {
        return text.to_owned();
    }
    let head = taken(text.chars(), HEAD);
    let tail = taken(text.chars().rev(), TAIL);
    let end = text.len() - tail;
    format!("{} ... {}", &text[..head], &text[end..])
}

/// How many bytes of text fit into `room` once encoded.
fn taken(chars: impl Iterator<Item = char>, room: usize) -> usize {
    let mut used = 0;
    chars
        .take_while(|c| {
            used += weight(*c);
            used <= room
        })
        .map(char::len_utf8)
        .sum()
}

/// Bytes of a character in percent encoding.
fn weight(c: char) -> usize {
    if c.is_ascii_alphanumeric() { 1 } else { 3 * c.len_utf8() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_core::ErrorKind;

    #[test]
    fn every_kind_maps() {
        for kind in ErrorKind::ALL {
            let status = refuse(Error::new(kind, "it failed"));
            assert_eq!(i32::from(status.code()), kind.grpc_code(), "{kind:?}");
            assert_eq!(status.message(), "it failed");
            let word = status.metadata().get(KIND_KEY).and_then(|value| value.to_str().ok());
            assert_eq!(word.and_then(ErrorKind::from_word), Some(kind));
        }
    }

    #[test]
    fn long_messages_are_cut_between_characters() {
        for text in [
            "ä".repeat(5000),
            "x".repeat(9000),
            "/".repeat(3000),
            format!("{}: the cause", "\u{1F600}\n".repeat(2000)),
        ] {
            let short = cut(&text);
            assert!(
                short.chars().map(weight).sum::<usize>() <= HEAD + TAIL + 20,
                "{}",
                short.len()
            );
            assert!(short.contains(" ... ") && text.starts_with(short.split(" ... ").next().unwrap()));
            assert_eq!(text.ends_with("the cause"), short.ends_with("the cause"));
        }
        assert_eq!(cut("short"), "short");
    }

    #[tokio::test]
    async fn a_panic_is_an_answer() {
        let answer = finish(async { if true { panic!("oops") } else { Ok(()) } }).await;
        assert_eq!(answer.unwrap_err().code(), Code::Internal);
    }
}
