//! The frame round every value: `[format u8][version u16][crc32c u32][payload]`, numbers big-endian.
//!
//! The checksum covers the table's name, the key, format, version and payload: a value that turns up under another key
//! is as damaged as one with a flipped bit. The payload is the record as JSON.

/// The only format so far.
const FORMAT: u8 = 1;
const HEAD: usize = 7;

/// Why a value cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("the value is {0} bytes, shorter than its frame")]
    Short(usize),
    #[error("the value has format {0}")]
    Format(u8),
    #[error("the checksum is {found:08x} where {said:08x} is written")]
    Checksum { said: u32, found: u32 },
}

pub fn seal(table: &str, key: &[u8], version: u16, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD + payload.len());
    out.push(FORMAT);
    out.extend(version.to_be_bytes());
    out.extend(checksum(table, key, version, payload).to_be_bytes());
    out.extend(payload);
    out
}

/// The record's version and payload.
pub fn open<'v>(table: &str, key: &[u8], value: &'v [u8]) -> Result<(u16, &'v [u8]), FrameError> {
    let (head, payload) = value
        .split_first_chunk::<HEAD>()
        .ok_or(FrameError::Short(value.len()))?;
    let [format, v0, v1, c0, c1, c2, c3] = *head;
    if format != FORMAT {
        return Err(FrameError::Format(format));
    }
    let version = u16::from_be_bytes([v0, v1]);
    let said = u32::from_be_bytes([c0, c1, c2, c3]);
    let found = checksum(table, key, version, payload);
    if said != found {
        return Err(FrameError::Checksum { said, found });
    }
    Ok((version, payload))
}

fn checksum(table: &str, key: &[u8], version: u16, payload: &[u8]) -> u32 {
    let length = u32::try_from(key.len()).unwrap_or(u32::MAX).to_be_bytes();
    [
        table.as_bytes(),
        &[0],
        &length,
        key,
        &[FORMAT],
        &version.to_be_bytes(),
        payload,
    ]
    .into_iter()
    .fold(0, crc32c::crc32c_append)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_flipped_bit_shows() {
        let value = seal("names", b"key", 3, b"{\"a\":1}");
        assert_eq!(open("names", b"key", &value), Ok((3, &b"{\"a\":1}"[..])));
        for at in 0..value.len() * 8 {
            let mut bad = value.clone();
            bad[at / 8] ^= 1 << (at % 8);
            assert!(open("names", b"key", &bad).is_err(), "bit {at}");
        }
        assert!(open("names", b"other", &value).is_err());
        assert!(open("images", b"key", &value).is_err());
        for length in 0..value.len() {
            assert!(open("names", b"key", &value[..length]).is_err());
        }
    }
}
