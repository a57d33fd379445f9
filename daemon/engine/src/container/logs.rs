//! Logs: read from the files that the shim writes.

use super::stop;
use crate::Engine;
use bytes::Bytes;
use gantry_core::lifecycle::{State, Status};
use gantry_core::{Error, ErrorKind, Result};
use gantry_task::logs::{self, LogStream};
use std::collections::BTreeMap;
use std::time::SystemTime;
use tokio::sync::{mpsc, watch};

/// Entries under way; a slow reader holds the reading back.
const STREAM: usize = 256;

/// What to read of a log.
#[derive(Debug, Clone, Default)]
pub struct LogQuery {
    pub since: Option<SystemTime>,
    pub until: Option<SystemTime>,
    /// Lines from the end; `None` = all.
    pub tail: Option<u64>,
    pub stdout: bool,
    pub stderr: bool,
    /// Go on until the container has ended and all is read.
    pub follow: bool,
}

/// One entry: at most a line, with its line end if it had one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    pub time: SystemTime,
    /// 1 stdout, 2 stderr.
    pub stream: u32,
    pub line: Bytes,
    /// What the log's options add to each line.
    pub attributes: BTreeMap<String, String>,
}

impl Engine {
    pub async fn logs(&self, name: &str, query: LogQuery) -> Result<mpsc::Receiver<Result<LogLine>>> {
        let keeper = self.find(name)?;
        let record = keeper.record();
        if matches!(keeper.state().status(), Status::Removing | Status::Dead) {
            return Err(Error::conflict(
                "can not get logs from container which is dead or marked for removal",
            ));
        }
        let Some(path) = super::logging::path(&self.context, &record) else {
            return Err(Error::new(
                ErrorKind::Unimplemented,
                "configured logging driver does not support reading",
            ));
        };
        if !query.stdout && !query.stderr {
            return Err(Error::invalid("Bad parameters: you must choose at least one stream"));
        }
        let (finished, over) = watch::channel(false);
        let follow = query.follow && keeper.state() != State::Created;
        if follow {
            tokio::spawn(async move {
                tokio::select! {
                    _ = keeper.until(None, stop::over) => {}
                    () = finished.closed() => {}
                }
                let _ = finished.send(true);
            });
        }
        let mut entries = logs::read(logs::LogQuery {
            path,
            since: query.since,
            until: query.until,
            tail: query.tail,
            stdout: query.stdout,
            stderr: query.stderr,
            follow: follow.then_some(over),
        });
        let (sender, receiver) = mpsc::channel(STREAM);
        tokio::spawn(async move {
            while let Some(entry) = entries.next().await {
                let line = entry.map(line).map_err(Error::from);
                if sender.send(line).await.is_err() {
                    return;
                }
            }
        });
        Ok(receiver)
    }
}

fn line(entry: logs::LogEntry) -> LogLine {
    let stream = match entry.stream {
        LogStream::Stdout => 1,
        LogStream::Stderr => 2,
    };
    LogLine {
        time: entry.at,
        stream,
        line: entry.text,
        attributes: entry.attrs,
    }
}
