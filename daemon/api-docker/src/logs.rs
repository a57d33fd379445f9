//! `GET /containers/{name}/logs`.

use crate::answer::{self, Answer, Failure};
use crate::call::Call;
use crate::framing::{self, FRAMED, RAW};
use crate::time;
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use gantry_engine::{LogLine, LogQuery};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::collections::BTreeMap;
use std::io;
use std::time::UNIX_EPOCH;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// What Go's `url.QueryEscape` leaves as it is.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

pub async fn logs(call: Call) -> Answer {
    let query = &call.query;
    let (stdout, stderr) = (query.flag("stdout"), query.flag("stderr"));
    if !stdout && !stderr {
        return Err(Failure::bad("Bad parameters: you must choose at least one stream"));
    }
    let (record, _) = call.engine().look(call.name())?;
    let (stamped, details) = (query.flag("timestamps"), query.flag("details"));
    let wanted = LogQuery {
        since: time::bound(query.text("since"))?,
        // Here 0 is no end.
        until: time::bound(query.text("until"))?.filter(|until| *until != UNIX_EPOCH),
        // What is no number is all, as Docker has it.
        tail: query.text("tail").parse().ok(),
        stdout,
        stderr,
        follow: query.flag("follow"),
    };
    let framed = !record.config.tty;
    let lines = call.engine().logs(record.id.as_str(), wanted).await?;
    let body = ReceiverStream::new(lines).map(move |line| match line {
        Ok(line) => Ok(written(&line, framed, stamped, details)),
        Err(error) => Err(io::Error::other(error)),
    });
    let kind = match (call.since(42), framed) {
        (true, true) => FRAMED,
        (true, false) => RAW,
        (false, _) => "application/octet-stream",
    };
    Ok(answer::stream(kind, body))
}

fn written(line: &LogLine, framed: bool, stamped: bool, details: bool) -> Bytes {
    let stream = u8::try_from(line.stream).unwrap_or(framing::STDOUT);
    let mut text = BytesMut::new();
    if stamped {
        text.extend_from_slice(time::padded(line.time).as_bytes());
        text.extend_from_slice(b" ");
    }
    if details {
        text.extend_from_slice(described(&line.attributes).as_bytes());
        text.extend_from_slice(b" ");
    }
    text.extend_from_slice(&line.line);
    framing::piece(framed, stream, text.freeze())
}

/// `key=value` by key, joined by commas, escaped as in a query.
fn described(attributes: &BTreeMap<String, String>) -> String {
    let plain = |text: &str| {
        let escaped = utf8_percent_encode(text, ESCAPED).to_string();
        escaped.replace("%20", "+")
    };
    let pairs = attributes
        .iter()
        .map(|(key, value)| format!("{}={}", plain(key), plain(value)));
    pairs.collect::<Vec<_>>().join(",")
}

/// Lines as they came; what cannot be read ends them.
pub fn pieces(
    lines: mpsc::Receiver<gantry_core::Result<LogLine>>,
    framed: bool,
) -> impl Stream<Item = Bytes> + Send + 'static {
    ReceiverStream::new(lines)
        .take_while(|line| futures::future::ready(line.is_ok()))
        .filter_map(move |line| futures::future::ready(line.ok().map(|line| written(&line, framed, false, false))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_as_they_travel() {
        let line = LogLine {
            time: UNIX_EPOCH,
            stream: 2,
            line: Bytes::from_static(b"x\n"),
            attributes: BTreeMap::from([("b".to_owned(), "1 2".to_owned()), ("a".to_owned(), "x=y,".to_owned())]),
        };
        assert_eq!(&written(&line, true, false, false)[..], b"\x02\0\0\0\0\0\0\x02x\n");
        assert_eq!(
            &written(&line, false, true, true)[..],
            b"1970-01-01T00:00:00.000000000Z a=x%3Dy%2C,b=1+2 x\n"
        );
    }
}
