//! One entry of a log, and which entries are asked for.

use super::LogQuery;
use crate::words::instant;
use bytes::Bytes;
use gantry_shim_protocol::log::Line;
use std::collections::BTreeMap;
use std::time::SystemTime;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogStream {
    Stdout,
    Stderr,
}

/// One piece of output: a line, or a part of a line too long for one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    pub at: SystemTime,
    pub stream: LogStream,
    /// As written, with its newline. Joining the entries of a stream gives its output back.
    pub text: Bytes,
    /// It goes on with a line that the stream's last entry began: no timestamp belongs before it.
    pub continues: bool,
    pub attrs: BTreeMap<String, String>,
}

impl LogEntry {
    /// The line goes on in the stream's next entry.
    pub fn is_partial(&self) -> bool {
        !self.text.ends_with(b"\n")
    }

    /// Reads one line of the file. A torn line (a full disk, a crash) may have a whole one behind it: that one counts.
    pub(super) fn parse(line: &[u8]) -> Option<Self> {
        let line = std::str::from_utf8(line).ok()?;
        if let Ok(parsed) = serde_json::from_str::<Line<'_>>(line) {
            return Self::from_line(parsed);
        }
        let whole = line.rfind("{\"log\":\"").filter(|at| *at > 0)?;
        Self::from_line(serde_json::from_str(&line[whole..]).ok()?)
    }

    fn from_line(line: Line<'_>) -> Option<Self> {
        let stream = match line.stream.as_ref() {
            "stdout" => LogStream::Stdout,
            "stderr" => LogStream::Stderr,
            _ => return None,
        };
        Some(Self {
            at: instant(&line.time),
            stream,
            text: Bytes::from(line.log.into_owned()),
            continues: false,
            attrs: line.attrs.unwrap_or_default(),
        })
    }
}

/// What a query asks of one entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Filter {
    pub since: Option<SystemTime>,
    pub until: Option<SystemTime>,
    stdout: bool,
    stderr: bool,
}

impl Filter {
    pub fn of(query: &LogQuery) -> Self {
        Self {
            since: query.since,
            until: query.until,
            stdout: query.stdout,
            stderr: query.stderr,
        }
    }

    pub fn is_early(&self, entry: &LogEntry) -> bool {
        self.since.is_some_and(|since| entry.at < since)
    }

    pub fn is_late(&self, entry: &LogEntry) -> bool {
        self.until.is_some_and(|until| entry.at > until)
    }

    pub fn wants_stream(&self, stream: LogStream) -> bool {
        match stream {
            LogStream::Stdout => self.stdout,
            LogStream::Stderr => self.stderr,
        }
    }

    pub fn takes(&self, entry: &LogEntry) -> bool {
        self.wants_stream(entry.stream) && !self.is_early(entry) && !self.is_late(entry)
    }
}

/// For each stream, something of its own.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PerStream<T>([T; 2]);

impl<T> PerStream<T> {
    pub fn of(&mut self, stream: LogStream) -> &mut T {
        match stream {
            LogStream::Stdout => &mut self.0[0],
            LogStream::Stderr => &mut self.0[1],
        }
    }
}
