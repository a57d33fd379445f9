//! The reading itself: entries from where to begin on, over the files as they come.

use super::LogQuery;
use super::entry::{Filter, LogEntry, PerStream};
use super::files::{FileId, Segment, live_id, newer_than};
use super::lines::Lines;
use super::start::{Begins, Start, of_since, of_tail};
use crate::error::{Result, TaskError};
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};

/// A batch is full with this many bytes or entries.
const FULL_BYTES: usize = 256 * 1024;
const FULL_ENTRIES: usize = 4096;

/// What one round gave.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub entries: Vec<LogEntry>,
    /// There is more to read at once.
    pub more: bool,
    /// Nothing later can be asked for.
    pub finished: bool,
    /// The live file has been put aside and its successor is not there yet.
    pub between: bool,
    bytes: usize,
}

pub(super) struct Reader {
    path: PathBuf,
    filter: Filter,
    following: bool,
    /// Files to be read after the current one, oldest first.
    queue: VecDeque<Segment>,
    current: Option<(Segment, Lines)>,
    /// The current file bears the live name no more; it has been read to its end since.
    put_aside: bool,
    /// Lines of output still to be passed over in the current file, and whether each stream is within such a line.
    skip: u64,
    passing: PerStream<bool>,
    begins: Begins,
}

impl Reader {
    pub fn open(query: LogQuery, following: bool) -> Result<Self> {
        let path = query.path.clone();
        Self::try_open(query, following).map_err(|source| TaskError::ReadLog { path, source })
    }

    fn try_open(query: LogQuery, following: bool) -> io::Result<Self> {
        let filter = Filter::of(&query);
        let mut queue: VecDeque<Segment> = newer_than(&query.path, None)?.into();
        let segments = queue.make_contiguous();
        let start = match (query.tail, query.since) {
            (Some(tail), _) => of_tail(segments, &filter, tail)?,
            (None, Some(since)) => of_since(segments, since)?,
            (None, None) => Start::default(),
        };
        queue.drain(..start.segment.min(queue.len()));
        let mut reader = Self {
            path: query.path,
            filter,
            following,
            queue,
            current: None,
            put_aside: false,
            skip: start.skip,
            passing: PerStream::default(),
            begins: Begins::default(),
        };
        reader.begin(start.offset)?;
        Ok(reader)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The live file, if that is what is being read.
    pub fn live(&self) -> Option<FileId> {
        self.current
            .as_ref()
            .filter(|_| self.queue.is_empty() && !self.put_aside)
            .map(|(segment, _)| segment.id)
    }

    /// Reads until a batch is full or nothing more is there.
    pub fn fill(&mut self) -> Result<Batch> {
        self.try_fill().map_err(|source| TaskError::ReadLog {
            path: self.path.clone(),
            source,
        })
    }

    fn try_fill(&mut self) -> io::Result<Batch> {
        let mut batch = Batch::default();
        while !batch.finished {
            if batch.bytes >= FULL_BYTES || batch.entries.len() >= FULL_ENTRIES {
                batch.more = true;
                break;
            }
            if !self.line(&mut batch)? && !self.next_file(&mut batch)? {
                break;
            }
        }
        Ok(batch)
    }

    /// One line of the current file; `false` at its end.
    fn line(&mut self, batch: &mut Batch) -> io::Result<bool> {
        let Some((_, lines)) = &mut self.current else {
            return Ok(false);
        };
        let Some(line) = lines.next()? else { return Ok(false) };
        let entry = LogEntry::parse(line);
        if let Some(entry) = entry {
            self.take(entry, batch);
        }
        Ok(true)
    }

    fn take(&mut self, mut entry: LogEntry, batch: &mut Batch) {
        if !self.filter.takes(&entry) {
            // Past the last moment asked for; while following, later files are later still.
            batch.finished |= self.filter.is_late(&entry);
            return;
        }
        let begins = self.begins.a_line(&entry);
        if begins {
            *self.passing.of(entry.stream) = self.skip > 0;
            self.skip = self.skip.saturating_sub(1);
        }
        if *self.passing.of(entry.stream) {
            return;
        }
        entry.continues = !begins;
        batch.bytes += entry.text.len() + 64;
        batch.entries.push(entry);
    }

    /// At the end of the current file: goes on to the next. `false` if there is none (yet).
    fn next_file(&mut self, batch: &mut Batch) -> io::Result<bool> {
        if self.queue.is_empty() && self.following {
            return self.follow(batch);
        }
        self.end_of_file(batch);
        self.skip = 0;
        self.begin(0)
    }

    /// The last line of a file that grows no more may lack its end and be whole for all that.
    fn end_of_file(&mut self, batch: &mut Batch) {
        if let Some((_, lines)) = self.current.take()
            && let Some(entry) = LogEntry::parse(lines.torn())
        {
            self.take(entry, batch);
        }
    }

    fn begin(&mut self, offset: u64) -> io::Result<bool> {
        self.put_aside = false;
        self.current = match self.queue.pop_front() {
            Some(segment) => {
                let lines = Lines::from(&segment, offset)?;
                Some((segment, lines))
            }
            None => None,
        };
        Ok(self.current.is_some())
    }

    /// At the end of the newest file known: is it still the live one?
    fn follow(&mut self, batch: &mut Batch) -> io::Result<bool> {
        let live = live_id(&self.path)?;
        if let Some((segment, lines)) = &mut self.current {
            if live == Some(segment.id) {
                self.put_aside = false;
                lines.rewind()?;
                return Ok(false);
            }
            if !self.put_aside {
                // Something may have been written between our reading its end and its being put aside.
                self.put_aside = true;
                lines.rewind()?;
                return Ok(true);
            }
        }
        let anchor = self.current.as_ref().map(|(segment, _)| segment);
        self.queue = newer_than(&self.path, anchor)?.into();
        if self.queue.is_empty() {
            batch.between = self.current.is_some();
            return Ok(false);
        }
        self.end_of_file(batch);
        self.skip = 0;
        self.begin(0)
    }
}
