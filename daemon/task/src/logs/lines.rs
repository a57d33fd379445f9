//! Whole lines of a file, forward and backward.

use super::files::Segment;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

const BLOCK: usize = 64 * 1024;
/// A longer line is no log line.
const LONGEST: usize = 16 * 1024 * 1024;

enum Source {
    /// Read at an offset, so that a half-written line can be read again once it is whole.
    Plain {
        file: File,
        offset: u64,
    },
    Packed(Box<dyn Read + Send>),
}

/// Forward. Holds one line and the block it is in.
pub(super) struct Lines {
    source: Source,
    buffer: Vec<u8>,
    /// What of the buffer has been given out.
    given: usize,
    /// How far the buffer was searched for the next line's end.
    searched: usize,
}

impl Lines {
    /// From an offset, which must be a line's beginning; that of a compressed file can only be 0.
    pub fn from(segment: &Segment, offset: u64) -> io::Result<Self> {
        let source = if segment.compressed {
            Source::Packed(segment.text()?)
        } else {
            Source::Plain {
                file: segment.file.try_clone()?,
                offset,
            }
        };
        Ok(Self {
            source,
            buffer: Vec::new(),
            given: 0,
            searched: 0,
        })
    }

    /// The next whole line without its end; `None` when there is none yet, or no more.
    pub fn next(&mut self) -> io::Result<Option<&[u8]>> {
        loop {
            let from = self.given.max(self.searched);
            if let Some(at) = self.buffer[from..].iter().position(|byte| *byte == b'\n') {
                let line = self.given..from + at;
                self.given = line.end + 1;
                return Ok(Some(&self.buffer[line]));
            }
            self.searched = self.buffer.len();
            if self.read_more()? == 0 {
                return Ok(None);
            }
        }
    }

    /// What stands at the end without a line's end.
    pub fn torn(&self) -> &[u8] {
        &self.buffer[self.given..]
    }

    /// At the end of a file that still grows: forgets what was torn, to read it again. A file cut to nothing by others begins anew.
    pub fn rewind(&mut self) -> io::Result<()> {
        if let Source::Plain { file, offset } = &mut self.source {
            *offset -= (self.buffer.len() - self.given) as u64;
            if file.metadata()?.len() < *offset {
                *offset = 0;
            }
            self.buffer = Vec::new();
            (self.given, self.searched) = (0, 0);
        }
        Ok(())
    }

    fn read_more(&mut self) -> io::Result<usize> {
        self.buffer.drain(..self.given);
        self.searched -= self.given;
        self.given = 0;
        let held = self.buffer.len();
        if held > LONGEST {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a line in it is longer than 16 MiB",
            ));
        }
        self.buffer.resize(held + BLOCK, 0);
        let room = &mut self.buffer[held..];
        let read = match &mut self.source {
            Source::Plain { file, offset } => {
                let read = file.read_at(room, *offset);
                *offset += *read.as_ref().unwrap_or(&0) as u64;
                read
            }
            Source::Packed(text) => text.read(room),
        };
        self.buffer.truncate(held + *read.as_ref().unwrap_or(&0));
        read
    }
}

/// Backward through a plain file, from where it ends now.
pub(super) struct Backward<'a> {
    file: &'a File,
    /// Where in the file the buffer begins.
    at: u64,
    buffer: Vec<u8>,
}

impl<'a> Backward<'a> {
    pub fn new(file: &'a File) -> io::Result<Self> {
        Ok(Self {
            at: file.metadata()?.len(),
            file,
            buffer: Vec::new(),
        })
    }

    /// The line before, and the offset of its beginning. The first one given may lack its end.
    pub fn next(&mut self) -> io::Result<Option<(u64, Vec<u8>)>> {
        loop {
            let body = self.buffer.strip_suffix(b"\n").unwrap_or(&self.buffer);
            let start = match body.iter().rposition(|byte| *byte == b'\n') {
                Some(at) => at + 1,
                None if self.at > 0 => {
                    self.read_before()?;
                    continue;
                }
                None if self.buffer.is_empty() => return Ok(None),
                None => 0,
            };
            let line = body[start..].to_vec();
            self.buffer.truncate(start);
            return Ok(Some((self.at + start as u64, line)));
        }
    }

    fn read_before(&mut self) -> io::Result<()> {
        if self.buffer.len() > LONGEST {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a line in it is longer than 16 MiB",
            ));
        }
        let size = self.at.min(BLOCK as u64) as usize;
        let mut block = vec![0; size];
        self.file.read_exact_at(&mut block, self.at - size as u64)?;
        self.at -= size as u64;
        block.append(&mut self.buffer);
        self.buffer = block;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn backward_is_forward_reversed() {
        for (text, count) in [("", 0), ("a\n", 1), ("a\n\nbb\n", 3), ("a\ntorn", 2)] {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            let mut back = Backward::new(&file).unwrap();
            let mut seen = Vec::new();
            while let Some((at, line)) = back.next().unwrap() {
                assert!(text.as_bytes()[at as usize..].starts_with(&line));
                seen.push(line);
            }
            seen.reverse();
            assert_eq!(seen.len(), count, "{text:?}");
            assert_eq!(
                seen,
                text.split_terminator('\n')
                    .map(|line| line.as_bytes().to_vec())
                    .collect::<Vec<_>>()
            );
        }
        let mut file = tempfile::tempfile().unwrap();
        let long: Vec<String> = (0..500).map(|n| format!("{n}{}", "x".repeat(n * 7))).collect();
        file.write_all((long.join("\n") + "\n").as_bytes()).unwrap();
        let mut back = Backward::new(&file).unwrap();
        for expected in long.iter().rev() {
            assert_eq!(back.next().unwrap().unwrap().1, expected.as_bytes());
        }
        assert!(back.next().unwrap().is_none());
    }
}
