//! Keys: builders and parsers side by side, in an order worth scanning.
//!
//! A key is a row of parts. Text is written with every 0x00 as 0x00 0xff and ended by 0x00 0x01, so that a text sorts
//! before every longer text it begins, and a row of whole parts is a prefix of exactly the keys that begin with them.
//! Numbers are big-endian: they sort by value.

use gantry_core::{ContainerId, Digest, ExecId, LeaseId, Namespace};

/// A key or one part of it.
pub trait Key: Sized {
    fn write(&self, out: &mut Vec<u8>);

    /// Takes this part off the front; none if the bytes are not of this shape.
    fn read(bytes: &mut &[u8]) -> Option<Self>;

    fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        self.write(&mut out);
        out
    }

    /// The whole of `bytes` and nothing less.
    fn from_bytes(mut bytes: &[u8]) -> Option<Self> {
        let key = Self::read(&mut bytes)?;
        bytes.is_empty().then_some(key)
    }
}

fn write_text(text: &[u8], out: &mut Vec<u8>) {
    for byte in text {
        out.push(*byte);
        if *byte == 0 {
            out.push(0xff);
        }
    }
    out.extend([0, 1]);
}

fn read_text(bytes: &mut &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    loop {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        if byte != 0 {
            text.push(byte);
            continue;
        }
        let (&mark, rest) = bytes.split_first()?;
        *bytes = rest;
        match mark {
            0xff => text.push(0),
            1 => return Some(text),
            _ => return None,
        }
    }
}

impl Key for Vec<u8> {
    fn write(&self, out: &mut Vec<u8>) {
        write_text(self, out);
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        read_text(bytes)
    }
}

impl Key for String {
    fn write(&self, out: &mut Vec<u8>) {
        write_text(self.as_bytes(), out);
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        String::from_utf8(read_text(bytes)?).ok()
    }
}

impl Key for u64 {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.to_be_bytes());
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        let (number, rest) = bytes.split_first_chunk()?;
        *bytes = rest;
        Some(u64::from_be_bytes(*number))
    }
}

macro_rules! text_key {
    ($($name:ty: |$key:ident| $text:expr;)*) => { $(
        impl Key for $name {
            fn write(&self, out: &mut Vec<u8>) {
                let $key = self;
                write_text($text.as_bytes(), out);
            }

            fn read(bytes: &mut &[u8]) -> Option<Self> {
                String::read(bytes)?.parse().ok()
            }
        }
    )* };
}

text_key! {
    Namespace: |key| key.as_str();
    ContainerId: |key| key.as_str();
    ExecId: |key| key.as_str();
    Digest: |key| key.to_string();
}

impl Key for LeaseId {
    fn write(&self, out: &mut Vec<u8>) {
        write_text(self.0.as_bytes(), out);
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        String::read(bytes).map(Self)
    }
}

/// For what there is one of, and as the prefix of everything.
impl Key for () {
    fn write(&self, _out: &mut Vec<u8>) {}

    fn read(_bytes: &mut &[u8]) -> Option<Self> {
        Some(())
    }
}

macro_rules! row_key {
    ($(($($part:ident $at:tt),+);)*) => { $(
        impl<$($part: Key),+> Key for ($($part,)+) {
            fn write(&self, out: &mut Vec<u8>) {
                $(self.$at.write(out);)+
            }

            fn read(bytes: &mut &[u8]) -> Option<Self> {
                Some(($($part::read(bytes)?,)+))
            }
        }
    )* };
}

row_key! {
    (A 0);
    (A 0, B 1);
    (A 0, B 1, C 2);
    (A 0, B 1, C 2, D 3);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round<K: Key + PartialEq + std::fmt::Debug>(key: K) -> Vec<u8> {
        let bytes = key.to_bytes();
        assert_eq!(K::from_bytes(&bytes), Some(key));
        bytes
    }

    #[test]
    fn rows_read_back_and_sort_as_their_parts() {
        let texts = ["", "\0", "\0\0", "\0a", "a", "a\0", "a\0b", "aa", "b", "\u{ff}"];
        let mut rows: Vec<(String, u64)> = texts
            .iter()
            .flat_map(|text| [0, 1, 255, 256, u64::MAX].map(|number| ((*text).to_owned(), number)))
            .collect();
        rows.sort();
        let bytes: Vec<_> = rows.into_iter().map(round).collect();
        assert!(bytes.is_sorted());
    }

    #[test]
    fn a_part_is_a_prefix_of_its_own_rows_only() {
        let prefix = "ab".to_owned().to_bytes();
        assert!(("ab".to_owned(), "c".to_owned()).to_bytes().starts_with(&prefix));
        assert!(!("abc".to_owned(), "c".to_owned()).to_bytes().starts_with(&prefix));
    }

    #[test]
    fn other_shapes_are_refused() {
        for bytes in [&b"abc"[..], b"abc\0", b"abc\0\x02", b"abc\0\x01x", b"\xc3\0\x01"] {
            assert_eq!(String::from_bytes(bytes), None, "{bytes:?}");
        }
        assert_eq!(Namespace::from_bytes(b"a/b\0\x01"), None);
        assert_eq!(u64::from_bytes(&[0; 7]), None);
        let digest: Digest = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
        round((Namespace::engine(), digest));
    }
}
