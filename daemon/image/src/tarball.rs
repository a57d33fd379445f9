//! Reading tar streams that nobody vouches for.
//!
//! Header fields are parsed by the `tar` crate; the loop over entries is ours, because that crate cuts pax records at
//! newlines (binary attributes such as `security.capability` hold them) and reads extension headers of any size into
//! memory. Formats: POSIX pax (with `path`, `linkpath`, `size`, `uid`, `gid`, `mtime`, `SCHILY.xattr.*`), GNU long names,
//! sparse files of GNU's old form and of its pax forms 0.1 and 1.0.

mod pax;
mod sparse;

use crate::error::{ImageError, Result};
use sparse::Chunk;
use std::io::{self, Read};
use std::ops::Range;
use tar::{EntryType, Header};

const BLOCK: usize = 512;
/// Most bytes of one member's extension headers (pax records, long names) together: far above PATH_MAX and the kernel's 64 KiB per
/// attribute.
const MAX_EXTENSION: u64 = 1 << 20;
/// Most of them: writers use one, or two with a name of each form.
const MAX_EXTENSIONS: u64 = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
    Symlink,
    HardLink,
    Fifo,
    Char,
    Block,
}

/// One member, its extension headers applied.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub path: Vec<u8>,
    pub link: Vec<u8>,
    pub kind: Kind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Seconds and nanoseconds since the epoch.
    pub mtime: (i64, u32),
    /// Logical size of a file's content.
    pub size: u64,
    /// Major and minor number.
    pub device: (u32, u32),
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    sparse: Option<Vec<Chunk>>,
}

impl Entry {
    pub(crate) fn shown(&self) -> String {
        String::from_utf8_lossy(&self.path).into_owned()
    }
}

pub(crate) struct TarReader<R> {
    inner: R,
    /// Bytes of the current member's stored data not read yet.
    stored: u64,
    padding: u64,
}

impl<R: Read> TarReader<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self {
            inner,
            stored: 0,
            padding: 0,
        }
    }

    /// The next member, or `None` at the end mark (or at the end of the stream between members).
    pub(crate) fn next(&mut self) -> Result<Option<Entry>> {
        let mut extensions = pax::Extensions::default();
        let mut described = false;
        let mut room = Room {
            bytes: MAX_EXTENSION,
            headers: MAX_EXTENSIONS,
        };
        loop {
            self.skip_rest()?;
            let Some(header) = self.header()? else {
                return match described {
                    true => Err(truncated("tar: a header describes a member that does not follow")),
                    false => Ok(None),
                };
            };
            let kind = header.entry_type();
            let size = number(&header, SIZE, "size", Header::entry_size)?;
            match kind {
                EntryType::XHeader => extensions.add_records(&self.extension(room.take(size)?)?)?,
                EntryType::GNULongName => {
                    extensions.long_name = Some(until_nul(self.extension(room.take(size)?)?));
                }
                EntryType::GNULongLink => {
                    extensions.long_link = Some(until_nul(self.extension(room.take(size)?)?));
                }
                EntryType::XGlobalHeader => {
                    self.extension(room.take(size)?)?;
                    continue;
                }
                _ => return self.member(&header, size, extensions).map(Some),
            }
            described = true;
        }
    }

    /// Feeds the current member's content to `sink` as (offset, bytes); holes are left out.
    pub(crate) fn content(&mut self, entry: &Entry, mut sink: impl FnMut(u64, &[u8]) -> Result<()>) -> Result<()> {
        let whole = [Chunk {
            offset: 0,
            length: entry.size,
        }];
        let mut buffer = vec![0; 128 << 10];
        for chunk in entry.sparse.as_deref().unwrap_or(&whole) {
            let mut done = 0;
            while done < chunk.length {
                let want = usize::try_from(chunk.length - done)
                    .unwrap_or(usize::MAX)
                    .min(buffer.len());
                let read = self.stored_bytes(&mut buffer[..want])?;
                if read == 0 {
                    return Err(truncated(&format!("tar: content of \"{}\"", entry.shown())));
                }
                sink(chunk.offset + done, &buffer[..read])?;
                done += read as u64;
            }
        }
        Ok(())
    }

    /// The current member's content as a reader (not for sparse files).
    pub(crate) fn reader(&mut self) -> impl Read + '_ {
        Content(self)
    }

    pub(crate) fn into_inner(self) -> R {
        self.inner
    }

    fn member(&mut self, header: &Header, size: u64, extensions: pax::Extensions) -> Result<Entry> {
        let stored = extensions.size.unwrap_or(size);
        let kind = kind_of(header)?;
        let has_content = matches!(kind, Some(Kind::File) | None);
        self.begin(if has_content { stored } else { 0 });
        let mut sparse = None;
        let mut logical = stored;
        if header.entry_type() == EntryType::GNUSparse {
            let (chunks, real) = sparse::old_gnu(header, stored, || read_block(&mut self.inner))?;
            (sparse, logical) = (Some(chunks), real);
        } else if let Some(form) = &extensions.sparse {
            let (chunks, real) = sparse::pax(form, stored, |buffer| self.stored_exactly(buffer))?;
            (sparse, logical) = (Some(chunks), real);
        }
        let link = extensions.long_link.or(extensions.link);
        let id = |given: Option<u64>, field: Result<u64>, name: &str| -> Result<u32> {
            let value = given.map_or(field, Ok)?;
            u32::try_from(value).map_err(|_| bad(format!("{name} {value} is out of range")))
        };
        let mut entry = Entry {
            path: extensions
                .sparse
                .and_then(|form| form.name)
                .or(extensions.long_name)
                .or(extensions.path)
                .unwrap_or_else(|| header.path_bytes().into_owned()),
            link: link.unwrap_or_else(|| header.link_name_bytes().map(|l| l.into_owned()).unwrap_or_default()),
            kind: kind.unwrap_or(Kind::File),
            mode: number(header, MODE, "mode", Header::mode)? & 0o7777,
            uid: id(extensions.uid, number(header, UID, "uid", Header::uid), "uid")?,
            gid: id(extensions.gid, number(header, GID, "gid", Header::gid), "gid")?,
            mtime: match extensions.mtime {
                Some(time) => time,
                // Base-256 fields may be negative; what does not fit is the epoch.
                None => (
                    i64::try_from(number(header, MTIME, "mtime", Header::mtime)?).unwrap_or(0),
                    0,
                ),
            },
            size: if has_content { logical } else { 0 },
            device: (
                header.device_major().ok().flatten().unwrap_or(0),
                header.device_minor().ok().flatten().unwrap_or(0),
            ),
            xattrs: extensions.xattrs,
            sparse,
        };
        if kind.is_none() {
            return Err(ImageError::BadEntry {
                path: entry.shown(),
                detail: format!("has unknown type {:?}", char::from(header.entry_type().as_byte())),
            });
        }
        if entry.kind == Kind::File && entry.path.ends_with(b"/") {
            // How tar said "directory" before it had a type for it.
            entry.kind = Kind::Directory;
        }
        Ok(entry)
    }

    fn header(&mut self) -> Result<Option<Header>> {
        let Some(block) = read_block(&mut self.inner)? else {
            return Ok(None);
        };
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let header = Header::from_byte_slice(&block).clone();
        let sum: u32 = block[..148]
            .iter()
            .chain(&block[156..])
            .map(|b| u32::from(*b))
            .sum::<u32>()
            + 8 * 32;
        match header.cksum() {
            Ok(said) if said == sum => Ok(Some(header)),
            _ => Err(bad("header checksum does not match".to_owned())),
        }
    }

    fn extension(&mut self, size: u64) -> Result<Vec<u8>> {
        self.begin(size);
        let mut bytes = vec![0; usize::try_from(size).expect("limited above")];
        self.stored_exactly(&mut bytes)?;
        Ok(bytes)
    }

    fn begin(&mut self, size: u64) {
        self.stored = size;
        self.padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
    }

    fn skip_rest(&mut self) -> Result<()> {
        let rest = self.stored;
        let skipped = io::copy(&mut (&mut self.inner).take(rest), &mut io::sink()).map_err(read_failed)?;
        if skipped < rest {
            return Err(truncated("tar: content of a member"));
        }
        let padding = std::mem::take(&mut self.padding);
        // The last member's padding may be missing, as other readers allow.
        io::copy(&mut (&mut self.inner).take(padding), &mut io::sink()).map_err(read_failed)?;
        self.stored = 0;
        Ok(())
    }

    fn stored_bytes(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let read = (&mut self.inner).take(self.stored).read(buffer).map_err(read_failed)?;
        self.stored -= read as u64;
        Ok(read)
    }

    fn stored_exactly(&mut self, buffer: &mut [u8]) -> Result<()> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.stored_bytes(&mut buffer[filled..])? {
                0 => return Err(truncated("tar: header extension")),
                read => filled += read,
            }
        }
        Ok(())
    }
}

/// What one member's extension headers may still take: all of them are kept until it comes.
struct Room {
    bytes: u64,
    headers: u64,
}

impl Room {
    fn take(&mut self, size: u64) -> Result<u64> {
        let (Some(bytes), Some(headers)) = (self.bytes.checked_sub(size), self.headers.checked_sub(1)) else {
            let (limit, allowed) = match self.headers {
                0 => ("headers", MAX_EXTENSIONS),
                _ => ("header-bytes", MAX_EXTENSION),
            };
            return Err(ImageError::Limit { limit, allowed });
        };
        (self.bytes, self.headers) = (bytes, headers);
        Ok(size)
    }
}

struct Content<'a, R>(&'a mut TarReader<R>);

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.0.stored;
        match self.0.stored_bytes(buffer).map_err(ImageError::into_io)? {
            0 if left > 0 && !buffer.is_empty() => Err(truncated("tar: content of a member").into_io()),
            read => Ok(read),
        }
    }
}

const MODE: Range<usize> = 100..108;
const UID: Range<usize> = 108..116;
const GID: Range<usize> = 116..124;
const SIZE: Range<usize> = 124..136;
const MTIME: Range<usize> = 136..148;

/// A numeric field; a blank one is zero, as other readers have it.
fn number<T: From<u8>>(
    header: &Header,
    field: Range<usize>,
    name: &str,
    parse: impl FnOnce(&Header) -> io::Result<T>,
) -> Result<T> {
    if header.as_bytes()[field].iter().all(|byte| matches!(byte, 0 | b' ')) {
        return Ok(T::from(0));
    }
    parse(header).map_err(|error| bad(format!("{name} field: {error}")))
}

fn kind_of(header: &Header) -> Result<Option<Kind>> {
    Ok(match header.entry_type() {
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Some(Kind::File),
        EntryType::Directory => Some(Kind::Directory),
        EntryType::Symlink => Some(Kind::Symlink),
        EntryType::Link => Some(Kind::HardLink),
        EntryType::Fifo => Some(Kind::Fifo),
        EntryType::Char => Some(Kind::Char),
        EntryType::Block => Some(Kind::Block),
        _ => None,
    })
}

/// One block, or `None` at a clean end of stream.
fn read_block(reader: &mut impl Read) -> Result<Option<[u8; BLOCK]>> {
    let mut block = [0; BLOCK];
    let mut filled = 0;
    while filled < BLOCK {
        match reader.read(&mut block[filled..]) {
            Ok(0) if filled == 0 => return Ok(None),
            Ok(0) => return Err(truncated("tar: header")),
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(read_failed(error)),
        }
    }
    Ok(Some(block))
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().position(|b| *b == 0) {
        bytes.truncate(end);
    }
    bytes
}

fn read_failed(error: io::Error) -> ImageError {
    ImageError::io("read tar")(error)
}

fn truncated(what: &str) -> ImageError {
    ImageError::Truncated { what: what.to_owned() }
}

fn bad(detail: String) -> ImageError {
    ImageError::BadTar { detail }
}

#[cfg(test)]
mod tests;
