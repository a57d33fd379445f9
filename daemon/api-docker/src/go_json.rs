//! JSON as Go's encoder writes it: one line, with the two line ends of Unicode escaped, and in what is streamed `<`, `>` and `&` too.
//! Docker leaves those three as they are in whole answers, so that an inspected `a && b` reads so.

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::Formatter;
use std::io;

/// One value and a line end, as a whole answer.
pub fn whole(value: &impl Serialize) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    write(&mut out, value, Go { html: false });
    out.push(b'\n');
    out
}

/// One value and a line end, as a part of a stream.
pub fn line(value: &impl Serialize) -> Vec<u8> {
    let mut out = value_bytes(value);
    out.push(b'\n');
    out
}

pub fn value_bytes(value: &impl Serialize) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    write(&mut out, value, Go { html: true });
    out
}

/// A list and a line end, in pieces of at least `chunk` bytes but for the last. Each row is made when its turn comes.
pub fn list<T: Serialize>(mut rows: impl Iterator<Item = T>, chunk: usize) -> impl Iterator<Item = Vec<u8>> {
    let (mut begun, mut over) = (false, false);
    std::iter::from_fn(move || {
        if over {
            return None;
        }
        let mut out = Vec::new();
        while out.len() < chunk {
            let row = rows.next();
            match (begun, row.is_some()) {
                (false, _) => out.push(b'['),
                (true, true) => out.push(b','),
                (true, false) => {}
            }
            begun = true;
            let Some(row) = row else {
                out.extend_from_slice(b"]\n");
                over = true;
                break;
            };
            write(&mut out, &row, Go { html: false });
        }
        Some(out)
    })
}

fn write(out: &mut Vec<u8>, value: &impl Serialize, as_go: Go) {
    let mut serializer = Serializer::with_formatter(out, as_go);
    value.serialize(&mut serializer).expect("our own shapes become json");
}

#[derive(Clone, Copy)]
struct Go {
    html: bool,
}

impl Formatter for Go {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let (bytes, mut done) = (fragment.as_bytes(), 0);
        for (at, byte) in bytes.iter().enumerate() {
            let (escape, length): (&[u8], _) = match byte {
                b'<' if self.html => (b"\\u003c", 1),
                b'>' if self.html => (b"\\u003e", 1),
                b'&' if self.html => (b"\\u0026", 1),
                // The first of the three bytes of U+2028 and U+2029.
                0xe2 => match bytes.get(at + 1..at + 3) {
                    Some([0x80, 0xa8]) => (b"\\u2028", 3),
                    Some([0x80, 0xa9]) => (b"\\u2029", 3),
                    _ => continue,
                },
                _ => continue,
            };
            writer.write_all(&bytes[done..at])?;
            writer.write_all(escape)?;
            done = at + length;
        }
        writer.write_all(&bytes[done..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_go_escapes_is_escaped() {
        assert_eq!(line(&json!({ "a": "<&>" })), b"{\"a\":\"\\u003c\\u0026\\u003e\"}\n");
        assert_eq!(whole(&json!({ "a": "<&>\u{2028}" })), b"{\"a\":\"<&>\\u2028\"}\n");
        let text = "a\u{2028}b\u{2029}c\u{2027}\u{20ac}\"\n<end";
        let written = String::from_utf8(value_bytes(&text)).unwrap();
        assert_eq!(written, "\"a\\u2028b\\u2029c\u{2027}\u{20ac}\\\"\\n\\u003cend\"");
        assert_eq!(serde_json::from_str::<String>(&written).unwrap(), text);
    }

    #[test]
    fn a_list_in_pieces_is_the_list() {
        for length in [0, 1, 2, 9] {
            for chunk in [1, 7, 1000] {
                let whole: Vec<u8> = list(0..length, chunk).flatten().collect();
                assert_eq!(whole, line(&(0..length).collect::<Vec<_>>()));
            }
        }
    }
}
