//! How two streams share a connection: before each piece eight bytes, the stream's number and the length (API
//! `ContainerAttach`, "Stream format").

use bytes::{BufMut, Bytes, BytesMut};

/// The types of a stream as it is and of a framed one.
pub const RAW: &str = "application/vnd.docker.raw-stream";
pub const FRAMED: &str = "application/vnd.docker.multiplexed-stream";

pub const STDOUT: u8 = 1;
pub const STDERR: u8 = 2;

const HEADER: usize = 8;

/// The header of a piece.
fn header(stream: u8, len: usize) -> [u8; HEADER] {
    let [a, b, c, d] = u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes();
    [stream, 0, 0, 0, a, b, c, d]
}

/// A piece as it travels: framed, or as it is where there is one stream only.
pub fn piece(framed: bool, stream: u8, bytes: Bytes) -> Bytes {
    if !framed {
        return bytes;
    }
    let mut out = BytesMut::with_capacity(HEADER + bytes.len());
    out.put_slice(&header(stream, bytes.len()));
    out.put_slice(&bytes);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces() {
        let framed = piece(true, STDERR, Bytes::from_static(b"abc"));
        assert_eq!(&framed[..], b"\x02\0\0\0\0\0\0\x03abc");
        assert_eq!(&piece(false, STDOUT, Bytes::from_static(b"abc"))[..], b"abc");
    }
}
