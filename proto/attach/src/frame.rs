//! Frames: header, kinds, and a decoder that is fed whatever the socket gave.

use serde::Serialize;

/// Bytes of a frame's header.
pub const HEADER_LEN: usize = 8;
/// The longest payload either side accepts; a longer one ends the conversation.
pub const MAX_PAYLOAD: usize = 256 * 1024;
/// The longest payload of one OUTPUT frame.
pub const MAX_OUTPUT: usize = 64 * 1024;

/// What a frame is. The numbers are the wire's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    Hello = 0x01,
    Stdin = 0x02,
    StdinEof = 0x03,
    Resize = 0x04,
    Signal = 0x05,
    Detach = 0x06,
    Put = 0x11,
    Take = 0x12,
    Ready = 0x81,
    Output = 0x82,
    Exit = 0x83,
    Error = 0x84,
    Kept = 0x91,
}

impl Kind {
    fn from_wire(byte: u8) -> Option<Self> {
        const ALL: [Kind; 13] = [
            Kind::Hello,
            Kind::Stdin,
            Kind::StdinEof,
            Kind::Resize,
            Kind::Signal,
            Kind::Detach,
            Kind::Put,
            Kind::Take,
            Kind::Ready,
            Kind::Output,
            Kind::Exit,
            Kind::Error,
            Kind::Kept,
        ];
        ALL.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// One whole frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: Kind,
    /// 1 or 2 for OUTPUT, else 0.
    pub stream: u8,
    pub payload: Vec<u8>,
}

impl Frame {
    /// Reads the payload as JSON.
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, FrameError> {
        serde_json::from_slice(&self.payload).map_err(|err| FrameError::Json(err.to_string()))
    }
}

/// What makes a conversation end because its bytes make no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// The kind is not one of ours.
    Kind(u8),
    /// The payload is longer than [`MAX_PAYLOAD`].
    TooLong(usize),
    /// The payload is not the JSON it should be.
    Json(String),
}

impl std::fmt::Display for FrameError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Kind(byte) => write!(f, "unknown attach frame kind {byte:#04x}"),
            Self::TooLong(len) => write!(f, "attach frame of {len} bytes is longer than {MAX_PAYLOAD}"),
            Self::Json(err) => write!(f, "attach frame is not the expected json: {err}"),
        }
    }
}

impl std::error::Error for FrameError {}

/// The header of a frame of `len` payload bytes.
pub fn header(kind: Kind, stream: u8, len: usize) -> [u8; HEADER_LEN] {
    let [a, b, c, d] = (len as u32).to_be_bytes();
    [kind as u8, stream, 0, 0, a, b, c, d]
}

/// One frame as bytes.
pub fn encode(kind: Kind, stream: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_LEN + payload.len());
    bytes.extend_from_slice(&header(kind, stream, payload.len()));
    bytes.extend_from_slice(payload);
    bytes
}

/// One frame with a JSON payload.
pub fn encode_json<T: Serialize>(kind: Kind, value: &T) -> Vec<u8> {
    let payload = serde_json::to_vec(value).expect("our own words always become json");
    encode(kind, 0, &payload)
}

/// Kind, stream and payload length of a header.
pub fn decode_header(bytes: &[u8; HEADER_LEN]) -> Result<(Kind, u8, usize), FrameError> {
    let kind = Kind::from_wire(bytes[0]).ok_or(FrameError::Kind(bytes[0]))?;
    let len = u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]) as usize;
    if len > MAX_PAYLOAD {
        return Err(FrameError::TooLong(len));
    }
    Ok((kind, bytes[1], len))
}

/// Makes frames out of a byte stream cut anywhere. Holds at most what one `push` gave beyond the frames taken, so take
/// frames until there is none before pushing again.
#[derive(Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    taken: usize,
}

impl Decoder {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds bytes as they came from the socket.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.taken > 0 {
            self.buffer.drain(..self.taken);
            self.taken = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, if there is one.
    #[expect(
        clippy::should_implement_trait,
        reason = "a frame may come later: this is no iterator"
    )]
    pub fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        let rest = &self.buffer[self.taken..];
        let Some(head) = rest.first_chunk::<HEADER_LEN>() else {
            return Ok(None);
        };
        let (kind, stream, len) = decode_header(head)?;
        let Some(payload) = rest.get(HEADER_LEN..HEADER_LEN + len) else {
            return Ok(None);
        };
        let frame = Frame {
            kind,
            stream,
            payload: payload.to_vec(),
        };
        self.taken += HEADER_LEN + len;
        if self.taken == self.buffer.len() {
            self.buffer = Vec::new();
            self.taken = 0;
        }
        Ok(Some(frame))
    }

    /// Bytes held that are not yet a whole frame.
    pub fn pending(&self) -> usize {
        self.buffer.len() - self.taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_cut_anywhere_gives_the_same_frames() {
        let mut wire = encode(Kind::Stdin, 0, b"hello");
        wire.extend(encode(Kind::StdinEof, 0, b""));
        wire.extend(encode(Kind::Output, 2, &[7; 1000]));
        for step in 1..wire.len() {
            let mut decoder = Decoder::new();
            let mut kinds = Vec::new();
            for piece in wire.chunks(step) {
                decoder.push(piece);
                while let Some(frame) = decoder.next().unwrap() {
                    kinds.push((frame.kind, frame.stream, frame.payload.len()));
                }
            }
            assert_eq!(
                kinds,
                [(Kind::Stdin, 0, 5), (Kind::StdinEof, 0, 0), (Kind::Output, 2, 1000)]
            );
            assert_eq!(decoder.pending(), 0);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        let mut decoder = Decoder::new();
        decoder.push(&[0x7f, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(decoder.next(), Err(FrameError::Kind(0x7f)));
        let mut decoder = Decoder::new();
        decoder.push(&header(Kind::Stdin, 0, MAX_PAYLOAD + 1));
        assert_eq!(decoder.next(), Err(FrameError::TooLong(MAX_PAYLOAD + 1)));
    }

    #[test]
    fn the_header_is_as_documented() {
        assert_eq!(header(Kind::Output, 1, 0x01020304), [0x82, 1, 0, 0, 1, 2, 3, 4]);
    }
}
