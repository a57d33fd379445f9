//! Pax records: `<length> <key>=<value>\n`, where the value may hold any byte (POSIX.1-2001, pax interchange format).

use super::bad;
use super::sparse::PaxForm;
use crate::error::Result;

/// What extension headers say about the member that follows.
#[derive(Default)]
pub(super) struct Extensions {
    pub path: Option<Vec<u8>>,
    pub link: Option<Vec<u8>>,
    pub long_name: Option<Vec<u8>>,
    pub long_link: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub uid: Option<u64>,
    pub gid: Option<u64>,
    pub mtime: Option<(i64, u32)>,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub sparse: Option<PaxForm>,
}

impl Extensions {
    pub(super) fn add_records(&mut self, mut bytes: &[u8]) -> Result<()> {
        // Some writers pad with zeros.
        while !bytes.is_empty() && bytes[0] != 0 {
            let (key, value, rest) = record(bytes).ok_or_else(|| bad("malformed pax record".to_owned()))?;
            self.add(key, value)?;
            bytes = rest;
        }
        Ok(())
    }

    fn add(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            self.xattrs.push((name.to_vec(), value.to_vec()));
            return Ok(());
        }
        if let Some(name) = key.strip_prefix(b"GNU.sparse.") {
            return self.sparse.get_or_insert_default().add(name, value);
        }
        match key {
            b"path" => self.path = Some(value.to_vec()),
            b"linkpath" => self.link = Some(value.to_vec()),
            b"size" => self.size = Some(number(key, value)?),
            b"uid" => self.uid = Some(number(key, value)?),
            b"gid" => self.gid = Some(number(key, value)?),
            b"mtime" => self.mtime = Some(time(value).ok_or_else(|| unreadable(key, value))?),
            _ => {}
        }
        Ok(())
    }
}

fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().position(|b| *b == b' ')?;
    let length: usize = std::str::from_utf8(&bytes[..space]).ok()?.parse().ok()?;
    let body = bytes.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = body.iter().position(|b| *b == b'=')?;
    Some((&body[..equals], &body[equals + 1..], &bytes[length..]))
}

pub(super) fn number(key: &[u8], value: &[u8]) -> Result<u64> {
    let text = std::str::from_utf8(value).ok();
    text.and_then(|text| text.parse().ok())
        .ok_or_else(|| unreadable(key, value))
}

fn unreadable(key: &[u8], value: &[u8]) -> crate::error::ImageError {
    let shown = String::from_utf8_lossy(&value[..value.len().min(64)]).into_owned();
    bad(format!(
        "pax {}: \"{shown}\" is not a number",
        String::from_utf8_lossy(key)
    ))
}

/// Decimal seconds with an optional fraction, perhaps negative.
fn time(value: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(value).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanos: u32 = digits.parse().ok()?;
    match whole.starts_with('-') && nanos > 0 {
        true => Some((seconds.checked_sub(1)?, 1_000_000_000 - nanos)),
        false => Some((seconds, nanos)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_may_be_negative_and_fine() {
        for (text, want) in [
            ("12", Some((12, 0))),
            ("12.5", Some((12, 500_000_000))),
            ("-1.25", Some((-2, 750_000_000))),
            ("1.1234567899", Some((1, 123_456_789))),
            ("x", None),
            ("1.x", None),
            ("", None),
        ] {
            assert_eq!(time(text.as_bytes()), want, "{text}");
        }
    }

    #[test]
    fn values_may_hold_newlines() {
        let mut extensions = Extensions::default();
        extensions.add_records(b"22 SCHILY.xattr.a=\n\n1\n9 path=x\n").unwrap();
        assert_eq!(extensions.xattrs, vec![(b"a".to_vec(), b"\n\n1".to_vec())]);
        assert_eq!(extensions.path.unwrap(), b"x");
        for broken in [
            &b"5 a=b"[..],
            b"99 a=b\n",
            b"x a=b\n",
            b"6 a b\n",
            b"0 a=b\n",
            b"1 a=b\n",
            b"18446744073709551616 a=b\n",
        ] {
            assert!(Extensions::default().add_records(broken).is_err(), "{broken:?}");
        }
    }
}
