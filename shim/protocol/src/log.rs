//! The json-file log: Docker's line format and file names.
//!
//! One line of JSON per line of output: `{"log":"text\n","stream":"stdout","attrs":{...},"time":"2006-01-02T15:04:05.000000000Z"}`.
//! A line of output longer than [`PARTIAL`] bytes is cut into pieces; all but the last lack the `\n`, so that joining the `log`
//! fields in order gives the output back (but for bytes that are no UTF-8, which become U+FFFD).
//!
//! Files: the live one `<id>-json.log`; rotated ones `<id>-json.log.1` (newest) and on, with `.gz` once compressed. A reader
//! that holds the live file open when it is rotated finds the rest of its bytes there: files are renamed, never copied or cut.

use serde::{Deserialize, Serialize};
use std::{borrow::Cow, collections::BTreeMap};

/// The longest piece of one log line, in bytes of output.
pub const PARTIAL: usize = 16 * 1024;
/// Rotation by default.
pub const DEFAULT_MAX_SIZE: u64 = 20 * 1024 * 1024;
/// Files kept by default, the live one counted.
pub const DEFAULT_MAX_FILE: u32 = 5;
/// The `log` text of the line that marks lost output begins with this; the number of bytes follows.
pub const LOST_MARK: &str = "[gantry] bytes of output lost, no room for the log: ";

/// Name of the live file.
pub fn file_name(container: &str) -> String {
    format!("{container}-json.log")
}

/// Name of a rotated file; 1 is the newest.
pub fn rotated_name(live: &str, number: u32, compressed: bool) -> String {
    format!("{live}.{number}{}", if compressed { ".gz" } else { "" })
}

/// One line, as it is read back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Line<'a> {
    #[serde(borrow)]
    pub log: Cow<'a, str>,
    #[serde(borrow)]
    pub stream: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attrs: Option<BTreeMap<String, String>>,
    #[serde(borrow)]
    pub time: Cow<'a, str>,
}

/// Appends one line to `out`. `attrs` is a JSON object's text or empty; `time` is [`crate::rfc3339`]'s.
pub fn encode_line(out: &mut Vec<u8>, text: &[u8], stream: &str, attrs: &str, time: &str) {
    out.extend_from_slice(b"{\"log\":\"");
    escape(out, text);
    out.extend_from_slice(b"\",\"stream\":\"");
    out.extend_from_slice(stream.as_bytes());
    if !attrs.is_empty() {
        out.extend_from_slice(b"\",\"attrs\":");
        out.extend_from_slice(attrs.as_bytes());
        out.extend_from_slice(b",\"time\":\"");
    } else {
        out.extend_from_slice(b"\",\"time\":\"");
    }
    out.extend_from_slice(time.as_bytes());
    out.extend_from_slice(b"\"}\n");
}

fn escape(out: &mut Vec<u8>, text: &[u8]) {
    for chunk in text.utf8_chunks() {
        escape_valid(out, chunk.valid());
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

fn escape_valid(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let mut done = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        let short: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0..=0x1f | 0x7f => b"",
            _ => continue,
        };
        out.extend_from_slice(&bytes[done..at]);
        done = at + 1;
        if short.is_empty() {
            out.extend_from_slice(b"\\u00");
            out.extend([byte >> 4, byte & 15].map(|digit| b"0123456789abcdef"[digit as usize]));
        } else {
            out.extend_from_slice(short);
        }
    }
    out.extend_from_slice(&bytes[done..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &[u8], attrs: &str) -> String {
        let mut out = Vec::new();
        encode_line(&mut out, text, "stdout", attrs, "2026-01-02T03:04:05.000000006Z");
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_line_is_dockers() {
        assert_eq!(
            line(b"hi\n", ""),
            "{\"log\":\"hi\\n\",\"stream\":\"stdout\",\"time\":\"2026-01-02T03:04:05.000000006Z\"}\n"
        );
        assert!(line(b"hi\n", r#"{"a":"b"}"#).contains(r#""stream":"stdout","attrs":{"a":"b"},"time":"#));
    }

    #[test]
    fn every_byte_comes_back() {
        let all: Vec<u8> = (0u8..=0x7f).collect();
        let text = line(&all, "");
        let back: Line = serde_json::from_str(&text).unwrap();
        assert_eq!(back.log.as_bytes(), all);
        let back = line("grün \u{1f980}".as_bytes(), "");
        assert_eq!(serde_json::from_str::<Line>(&back).unwrap().log, "grün \u{1f980}");
        let back = line(b"a\xffb", "");
        assert_eq!(serde_json::from_str::<Line>(&back).unwrap().log, "a\u{fffd}b");
    }

    #[test]
    fn names() {
        let live = file_name("abc");
        assert_eq!(live, "abc-json.log");
        assert_eq!(rotated_name(&live, 1, false), "abc-json.log.1");
        assert_eq!(rotated_name(&live, 2, true), "abc-json.log.2.gz");
    }
}
