//! Reading what shims logged: rotated files, compressed ones, tail, and following a live one.
//!
//! [`read`] opens the files, finds where to begin without reading all of them, and hands entries over in batches through a bounded channel: a
//! slow taker makes the reading wait, nothing is dropped. While it follows it sleeps until the kernel says that the file has changed.

mod entry;
mod files;
mod lines;
mod reader;
mod start;
mod watch;

pub use entry::{LogEntry, LogStream};

use crate::error::Result;
use crate::shims::blocking;
use reader::Reader;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};
use tokio::sync::{mpsc, watch as channel};
use tokio::time::{Instant, sleep_until};

/// Batches that wait for a slow taker; a batch is some 256 KiB at most.
const WAITING: usize = 2;
/// Without the kernel's word the file is looked at this often, at first and at last; with it, at last only.
const LOOK_FIRST: Duration = Duration::from_millis(50);
const LOOK_LAST: Duration = Duration::from_secs(1);
/// Between the renaming of a log file and the making of the next one.
const LOOK_BETWEEN: Duration = Duration::from_millis(5);

/// What to read.
#[derive(Clone, Debug)]
pub struct LogQuery {
    /// The live file.
    pub path: PathBuf,
    /// Entries of this time and later.
    pub since: Option<SystemTime>,
    /// Entries of this time and earlier; ends the following, too.
    pub until: Option<SystemTime>,
    /// The last so many lines of output. A line in several pieces counts once.
    pub tail: Option<u64>,
    pub stdout: bool,
    pub stderr: bool,
    /// Goes on until this says true (nothing more will be written) and all is read.
    pub follow: Option<channel::Receiver<bool>>,
}

impl LogQuery {
    /// All there is, of both streams.
    pub fn all(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            since: None,
            until: None,
            tail: None,
            stdout: true,
            stderr: true,
            follow: None,
        }
    }
}

/// Entries in the order in which they were written.
#[derive(Debug)]
pub struct Entries {
    batches: mpsc::Receiver<Result<Vec<LogEntry>>>,
    ready: std::vec::IntoIter<LogEntry>,
}

impl Entries {
    /// The next entry; `None` at the end.
    pub async fn next(&mut self) -> Option<Result<LogEntry>> {
        loop {
            if let Some(entry) = self.ready.next() {
                return Some(Ok(entry));
            }
            match self.batches.recv().await? {
                Ok(batch) => self.ready = batch.into_iter(),
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// Whatever is there next, at least one entry; `None` at the end.
    pub async fn next_batch(&mut self) -> Option<Result<Vec<LogEntry>>> {
        if self.ready.len() > 0 {
            return Some(Ok(std::mem::take(&mut self.ready).collect()));
        }
        self.batches.recv().await
    }
}

/// Begins to read. Dropping the answer ends it.
pub fn read(query: LogQuery) -> Entries {
    let (sender, batches) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        if let Err(error) = pump(query, &sender).await {
            // Nobody listens any more: nobody wants the error either.
            let _ = sender.send(Err(error)).await;
        }
    });
    Entries {
        batches,
        ready: Vec::new().into_iter(),
    }
}

async fn pump(mut query: LogQuery, sender: &mpsc::Sender<Result<Vec<LogEntry>>>) -> Result<()> {
    let mut follow = query.follow.take();
    let following = follow.is_some();
    let stop_at = following.then(|| query.until.and_then(deadline)).flatten();
    let mut reader = blocking("open a log", move || Reader::open(query, following)).await?;
    let mut watch = None;
    let mut pause = LOOK_FIRST;
    loop {
        // Looked at before reading: what was written before it turned true is then read for certain.
        let over = follow.as_ref().is_none_or(|ended| *ended.borrow());
        let round = blocking("read a log", move || reader.fill().map(|batch| (reader, batch))).await?;
        reader = round.0;
        let batch = round.1;
        if !batch.entries.is_empty() {
            pause = LOOK_FIRST;
            if sender.send(Ok(batch.entries)).await.is_err() {
                return Ok(());
            }
        }
        if batch.more {
            continue;
        }
        let late = stop_at.is_some_and(|at| Instant::now() >= at);
        if batch.finished || over || late {
            return Ok(());
        }
        if reader.live() != watch.as_ref().and_then(watch::Watch::file) {
            // Once more after the watch is set: something may have come before it.
            watch = reader.live().and_then(|file| watch::Watch::set(reader.path(), file));
            if watch.is_some() {
                continue;
            }
        }
        let look = match (batch.between, &watch) {
            (true, _) => LOOK_BETWEEN.max(pause / 10),
            (false, Some(_)) => LOOK_LAST,
            (false, None) => pause,
        };
        pause = (pause * 2).min(LOOK_LAST);
        tokio::select! {
            () = sender.closed() => return Ok(()),
            () = watch::changed(watch.as_ref()) => {}
            () = turned(&mut follow) => {}
            () = sleep_until(stop_at.map_or(Instant::now() + look, |at| at.min(Instant::now() + look))) => {}
        }
    }
}

/// A moment of the calendar as one of the monotonic clock; `None` if it lies beyond reason.
fn deadline(until: SystemTime) -> Option<Instant> {
    Instant::now().checked_add(until.duration_since(SystemTime::now()).unwrap_or_default())
}

/// Until there is news of the end. Whoever held the other side and let it go has nothing more to say: that is the end, too.
async fn turned(follow: &mut Option<channel::Receiver<bool>>) {
    match follow {
        Some(ended) => {
            if ended.changed().await.is_err() {
                *follow = None;
            }
        }
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
