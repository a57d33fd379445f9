//! The files of one log, told apart while they are being renamed and compressed.

use flate2::read::MultiGzDecoder;
use gantry_shim_protocol::log::rotated_name;
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Numbers that may be missing in a row: one file is between two names while it is renamed.
const GAP: u32 = 3;
/// No log has more files than this.
const MOST: u32 = 10_000;

/// Device and inode.
pub(super) type FileId = (u64, u64);

/// One file of the log, held open: whatever name it gets, its bytes stay.
#[derive(Debug)]
pub(super) struct Segment {
    pub file: File,
    pub compressed: bool,
    pub id: FileId,
}

impl Segment {
    fn open(path: &Path, compressed: bool) -> io::Result<Option<Self>> {
        let file = match File::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(io::Error::new(ErrorKind::InvalidInput, "it is no regular file"));
        }
        Ok(Some(Self {
            file,
            compressed,
            id: (meta.dev(), meta.ino()),
        }))
    }

    /// Whether both hold the same output. A file that was compressed meanwhile lives on only where it is held open; its other self has the
    /// same first line and the same length.
    fn is(&self, other: &Self) -> io::Result<bool> {
        if self.id == other.id {
            return Ok(true);
        }
        let (plain, packed) = match (self.compressed, other.compressed) {
            (false, true) => (self, other),
            (true, false) => (other, self),
            _ => return Ok(false),
        };
        let meta = plain.file.metadata()?;
        Ok(meta.nlink() == 0
            && Some(meta.len() as u32) == packed.length()?
            && plain.first_line()? == packed.first_line()?)
    }

    /// Length before compression, modulo 2^32 (RFC 1952: the last four bytes).
    fn length(&self) -> io::Result<Option<u32>> {
        let mut last = [0; 4];
        let Some(at) = self.file.metadata()?.len().checked_sub(4) else {
            return Ok(None);
        };
        self.file.read_exact_at(&mut last, at)?;
        Ok(Some(u32::from_le_bytes(last)))
    }

    fn first_line(&self) -> io::Result<Vec<u8>> {
        const LONGEST: u64 = 1024 * 1024;
        let mut line = Vec::new();
        let mut text = BufReader::new(self.text()?).take(LONGEST);
        text.read_until(b'\n', &mut line)?;
        Ok(line)
    }

    /// The output's text from its beginning, on a descriptor of its own position.
    pub fn text(&self) -> io::Result<Box<dyn Read + Send>> {
        // Opened anew by descriptor: a duplicate would share the position.
        let mut file = self.reopen()?;
        file.seek(SeekFrom::Start(0))?;
        if self.compressed {
            Ok(Box::new(MultiGzDecoder::new(BufReader::new(file))))
        } else {
            Ok(Box::new(file))
        }
    }

    fn reopen(&self) -> io::Result<File> {
        use std::os::fd::AsRawFd;
        File::open(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }
}

/// The log's files that are newer than `anchor` (all without one), oldest first. Opened from the newest on: while they are renamed
/// meanwhile, each one moves to where it is looked for later, so that none is missed and one found twice is known by its inode.
pub(super) fn newer_than(path: &Path, anchor: Option<&Segment>) -> io::Result<Vec<Segment>> {
    let mut found: Vec<Segment> = Vec::new();
    let mut missing = 0;
    for number in 0..MOST {
        let Some(segment) = open_number(path, number)? else {
            missing += 1;
            if missing >= GAP { break } else { continue }
        };
        missing = 0;
        if let Some(anchor) = anchor
            && segment.is(anchor)?
        {
            break;
        }
        let mut again = false;
        for known in &found {
            again |= segment.is(known)?;
        }
        if !again {
            found.push(segment);
        }
    }
    found.reverse();
    Ok(found)
}

/// 0 is the live file. While a file is put in the place of its plain self both are there: one of them is enough.
fn open_number(path: &Path, number: u32) -> io::Result<Option<Segment>> {
    if number == 0 {
        return Segment::open(path, false);
    }
    let name = |compressed| PathBuf::from(rotated_name(&path.to_string_lossy(), number, compressed));
    for compressed in [false, true] {
        if let Some(segment) = Segment::open(&name(compressed), compressed)? {
            return Ok(Some(segment));
        }
    }
    Ok(None)
}

/// What bears the live file's name now.
pub(super) fn live_id(path: &Path) -> io::Result<Option<FileId>> {
    match path.metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        meta => meta.map(|meta| Some((meta.dev(), meta.ino()))),
    }
}
