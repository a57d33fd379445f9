//! Compression, told by content: media types and file names lie.

use crate::error::ImageError;
use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    Zstd,
    Bzip2,
    Xz,
}

/// Memory a decoder may take for its window; what images are made with needs far less.
const MAX_WINDOW_LOG: u32 = 27;
const MAX_XZ_KIB: u32 = 128 << 10;
const BUFFER: usize = 64 << 10;

impl Compression {
    /// By the first bytes (6 suffice).
    pub fn sniff(prefix: &[u8]) -> Self {
        match prefix {
            [0x1f, 0x8b, 0x08, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            // A skippable zstd frame may come first.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [b'B', b'Z', b'h', ..] => Self::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0x00, ..] => Self::Xz,
            _ => Self::None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
        }
    }
}

/// Looks at the beginning of a stream without losing it.
pub(crate) fn peek<R: Read>(reader: R) -> io::Result<(Compression, impl BufRead)> {
    let mut reader = reader;
    let mut head = Vec::with_capacity(6);
    reader.by_ref().take(6).read_to_end(&mut head)?;
    let found = Compression::sniff(&head);
    Ok((
        found,
        BufReader::with_capacity(BUFFER, io::Cursor::new(head).chain(reader)),
    ))
}

/// The plain bytes of a stream that may be compressed.
pub fn decoder<'a, R: Read + 'a>(reader: R) -> io::Result<(Compression, Box<dyn Read + 'a>)> {
    let (compression, reader) = peek(reader)?;
    let inner: Box<dyn Read + 'a> = match compression {
        Compression::None => return Ok((compression, Box::new(reader))),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(reader)),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(reader)?;
            decoder.window_log_max(MAX_WINDOW_LOG)?;
            Box::new(decoder)
        }
        Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(reader)),
        Compression::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(reader, true, MAX_XZ_KIB)),
    };
    let format = compression.name();
    Ok((compression, Box::new(Decoder { inner, format })))
}

/// Names the format in errors.
struct Decoder<'a> {
    inner: Box<dyn Read + 'a>,
    format: &'static str,
}

impl Read for Decoder<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let format = self.format;
        self.inner.read(buffer).map_err(|error| {
            if error.kind() == io::ErrorKind::Interrupted {
                return error;
            }
            ImageError::from_io(error, |error| match error.kind() {
                io::ErrorKind::UnexpectedEof => ImageError::Truncated {
                    what: format!("{format} stream"),
                },
                _ => ImageError::Decompress {
                    format,
                    source: Arc::new(error),
                },
            })
            .into_io()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn plain(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        decoder(bytes)?.1.read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn every_format_is_known_by_its_beginning() {
        let text = b"hello hello hello hello".repeat(1000);
        let bzip2 = {
            let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
            encoder.write_all(&text).unwrap();
            encoder.finish().unwrap()
        };
        let twice = [gzip(&text), gzip(&text)].concat();
        let zstd = zstd::encode_all(&text[..], 1).unwrap();
        for (packed, format) in [
            (text.clone(), Compression::None),
            (gzip(&text), Compression::Gzip),
            (zstd.clone(), Compression::Zstd),
            (bzip2, Compression::Bzip2),
        ] {
            assert_eq!(decoder(&packed[..]).unwrap().0, format);
            assert_eq!(plain(&packed).unwrap(), text, "{format:?}");
        }
        assert_eq!(plain(&twice).unwrap().len(), 2 * text.len());
        assert_eq!(plain(b"").unwrap(), b"");
    }

    #[test]
    fn cut_short_or_garbled_is_an_error() {
        let text = vec![7; 100_000];
        for packed in [gzip(&text), zstd::encode_all(&text[..], 1).unwrap()] {
            let error = plain(&packed[..packed.len() - 5]).unwrap_err();
            assert!(error.to_string().starts_with("truncated"), "{error}");
        }
        let mut bad = gzip(&text);
        let middle = bad.len() / 2;
        bad[middle] ^= 0xff;
        assert!(plain(&bad).is_err());
    }
}
