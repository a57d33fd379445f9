//! Where to begin, found without reading everything.

use super::entry::{Filter, LogEntry, PerStream};
use super::files::Segment;
use super::lines::{Backward, Lines};
use std::io;
use std::time::SystemTime;

/// The first segment to read and where in it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Start {
    pub segment: usize,
    /// For a plain file.
    pub offset: u64,
    /// For a compressed one: lines of output to pass over among those asked for.
    pub skip: u64,
}

/// The last `tail` lines of output among those asked for.
pub(super) fn of_tail(segments: &[Segment], filter: &Filter, tail: u64) -> io::Result<Start> {
    let mut counter = Counter {
        left: tail,
        later: PerStream::default(),
    };
    // Nothing of what is there now.
    let mut start = Start {
        segment: segments.len().saturating_sub(1),
        offset: 0,
        skip: 0,
    };
    if let Some(last) = segments.last() {
        (start.offset, start.skip) = if last.compressed {
            (0, u64::MAX)
        } else {
            (whole_length(last)?, 0)
        };
    }
    for (number, segment) in segments.iter().enumerate().rev() {
        let enough = if segment.compressed {
            packed(segment, filter, &mut counter, number, &mut start)?
        } else {
            plain(segment, filter, &mut counter, number, &mut start)?
        };
        if enough {
            break;
        }
    }
    Ok(start)
}

/// Length up to the last line's end.
fn whole_length(segment: &Segment) -> io::Result<u64> {
    let length = segment.file.metadata()?.len();
    let torn = Backward::new(&segment.file)?.next()?;
    Ok(match torn {
        Some((at, line)) if at + line.len() as u64 == length => at,
        _ => length,
    })
}

/// Counts lines of output from the last to the first.
struct Counter {
    left: u64,
    /// A later piece of the stream has been seen: one without a newline belongs to it.
    later: PerStream<bool>,
}

impl Counter {
    /// Whether the entry is within the tail.
    fn takes(&mut self, entry: &LogEntry) -> bool {
        let later = self.later.of(entry.stream);
        let begins_a_count = !entry.is_partial() || !*later;
        if begins_a_count {
            if self.left == 0 {
                return false;
            }
            self.left -= 1;
        }
        *later = true;
        true
    }
}

/// True when the tail is full, or all before is too early.
fn plain(
    segment: &Segment,
    filter: &Filter,
    counter: &mut Counter,
    number: usize,
    start: &mut Start,
) -> io::Result<bool> {
    let mut lines = Backward::new(&segment.file)?;
    while let Some((offset, line)) = lines.next()? {
        let Some(entry) = LogEntry::parse(&line) else { continue };
        if filter.is_early(&entry) {
            return Ok(true);
        }
        if !filter.takes(&entry) {
            continue;
        }
        if !counter.takes(&entry) {
            return Ok(true);
        }
        *start = Start {
            segment: number,
            offset,
            skip: 0,
        };
    }
    Ok(false)
}

/// A compressed file is read forward only: counted once, then passed over up to where the tail begins.
fn packed(
    segment: &Segment,
    filter: &Filter,
    counter: &mut Counter,
    number: usize,
    start: &mut Start,
) -> io::Result<bool> {
    if counter.left == 0 {
        return Ok(true);
    }
    let mut begins = Begins::default();
    let (mut count, mut early) = (0, false);
    let mut lines = Lines::from(segment, 0)?;
    while let Some(line) = lines.next()? {
        let Some(entry) = LogEntry::parse(line) else { continue };
        early |= filter.is_early(&entry);
        if filter.takes(&entry) && begins.a_line(&entry) {
            count += 1;
        }
    }
    let taken = count.min(counter.left);
    counter.left -= taken;
    if taken > 0 {
        *start = Start {
            segment: number,
            offset: 0,
            skip: count - taken,
        };
    }
    Ok(early || counter.left == 0)
}

/// Tells, going forward, which entries begin a line of output.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Begins {
    within: PerStream<bool>,
}

impl Begins {
    pub fn a_line(&mut self, entry: &LogEntry) -> bool {
        !std::mem::replace(self.within.of(entry.stream), entry.is_partial())
    }
}

/// The first entry of a time or later: by whole files first, then by halving.
pub(super) fn of_since(segments: &[Segment], since: SystemTime) -> io::Result<Start> {
    let mut first = 0;
    for (number, segment) in segments.iter().enumerate().rev() {
        if first_time(&mut Lines::from(segment, 0)?)?.is_some_and(|at| at < since) {
            first = number;
            break;
        }
    }
    let offset = match segments.get(first) {
        Some(segment) if !segment.compressed => halve(segment, since)?,
        _ => 0,
    };
    Ok(Start {
        segment: first,
        offset,
        skip: 0,
    })
}

fn first_time(lines: &mut Lines) -> io::Result<Option<SystemTime>> {
    while let Some(line) = lines.next()? {
        if let Some(entry) = LogEntry::parse(line) {
            return Ok(Some(entry.at));
        }
    }
    Ok(None)
}

/// A line's beginning before which everything is too early. Times in a file never go back by much: the clock may have been set, so
/// the last stretch is read, not halved.
fn halve(segment: &Segment, since: SystemTime) -> io::Result<u64> {
    const CLOSE: u64 = 256 * 1024;
    let (mut low, mut high) = (0, segment.file.metadata()?.len());
    while low + CLOSE < high {
        let middle = low + (high - low) / 2;
        let mut lines = Lines::from(segment, middle)?;
        // The rest of the line that the middle cuts.
        let Some(rest) = lines.next()?.map(|rest| rest.len() as u64 + 1) else {
            break;
        };
        match first_time(&mut lines)? {
            Some(at) if at < since => low = middle + rest,
            _ => high = middle,
        }
    }
    Ok(low)
}
