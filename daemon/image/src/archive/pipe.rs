//! Byte streams between async callers and blocking work, over bounded channels.

use crate::error::ImageError;
use crate::paced;
use bytes::{Buf, Bytes};
use std::io::{self, Read, Write};
use tokio::sync::mpsc;

/// Bytes per message of an outgoing stream.
const PIECE: usize = 128 << 10;

/// Reads what a client sends; its end is the sender's end.
pub(super) struct PipeReader {
    pieces: mpsc::Receiver<gantry_core::Result<Bytes>>,
    current: Bytes,
}

impl PipeReader {
    pub(super) fn new(pieces: mpsc::Receiver<gantry_core::Result<Bytes>>) -> Self {
        Self {
            pieces,
            current: Bytes::new(),
        }
    }
}

impl Read for PipeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match paced::receive(&mut self.pieces)? {
                Some(Ok(bytes)) => self.current = bytes,
                Some(Err(error)) => return Err(ImageError::from(error).into_io()),
                None => return Ok(0),
            }
        }
        let length = self.current.len().min(buffer.len());
        self.current.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

/// Writes what a client reads, which holds the writer back; a client that went is an error.
pub(super) struct PipeWriter {
    pieces: mpsc::Sender<gantry_core::Result<Bytes>>,
    current: Vec<u8>,
}

impl PipeWriter {
    pub(super) fn new(pieces: mpsc::Sender<gantry_core::Result<Bytes>>) -> Self {
        Self {
            pieces,
            current: Vec::with_capacity(PIECE),
        }
    }
}

impl Write for PipeWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = bytes.len().min(PIECE - self.current.len());
        self.current.extend_from_slice(&bytes[..length]);
        if self.current.len() == PIECE {
            self.flush()?;
        }
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.current.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.current, Vec::with_capacity(PIECE));
        paced::send(&self.pieces, Ok(Bytes::from(piece))).map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => ImageError::Cancelled { doing: "save" }.into_io(),
            _ => error,
        })
    }
}
