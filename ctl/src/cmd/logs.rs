//! `logs`.

use chrono::Utc;
use futures::FutureExt;
use gantry_proto::gantry::v1 as pb;
use prost_types::Timestamp;
use tokio::time::{Instant, sleep};

use crate::cli::verb::Parsed;
use crate::client::{Daemon, PATIENCE, went_away};
use crate::error::{Error, Result};
use crate::format::time;
use crate::out;

pub(crate) async fn run(daemon: Daemon, parsed: Parsed) -> Result<i32> {
    let moment = |name: &str| -> Result<Option<Timestamp>> {
        let given = parsed.text(name).filter(|text| !text.is_empty());
        given
            .map(|text| time::parse(text, Utc::now()).map(time::to_wire).map_err(Error::refused))
            .transpose()
    };
    // As with docker, a tail that is no number means everything.
    let tail = parsed.text("tail").and_then(|text| text.parse::<u64>().ok());
    let request = pb::LogsRequest {
        container: parsed.arg(0).to_owned(),
        stdout: true,
        stderr: true,
        follow: parsed.on("follow"),
        since: moment("since")?,
        // Docker's "0" is no end at all.
        until: moment("until")?.filter(|_| parsed.text("until") != Some("0")),
        tail,
    };
    follow(&daemon, request, parsed.on("timestamps")).await.map(|()| 0)
}

/// Shows entries until the stream ends; while following, a daemon that restarts is waited for and the log goes on where it was.
async fn follow(daemon: &Daemon, mut request: pb::LogsRequest, stamps: bool) -> Result<()> {
    let mut place = Place::default();
    let mut deadline: Option<Instant> = None;
    loop {
        let status = match daemon.containers().logs(request.clone()).await {
            Err(status) => status,
            Ok(answer) => {
                deadline = None;
                let mut entries = answer.into_inner();
                let mut batch = Batch::default();
                loop {
                    // What is there already is shown at once, in one write.
                    let next = match entries.message().now_or_never() {
                        Some(next) => next,
                        None => {
                            batch.flush();
                            entries.message().await
                        }
                    };
                    match next {
                        Ok(Some(entry)) => {
                            if place.is_new(&entry) {
                                batch.add(&entry, stamps);
                            }
                        }
                        Ok(None) => {
                            batch.flush();
                            return Ok(());
                        }
                        Err(status) => {
                            batch.flush();
                            break status;
                        }
                    }
                }
            }
        };
        let patient = request.follow && place.last.is_some() && went_away(&status);
        if !patient || *deadline.get_or_insert_with(|| Instant::now() + PATIENCE) < Instant::now() {
            return Err(daemon.error(status));
        }
        request.since = place.last;
        request.tail = None;
        place.rewind();
        sleep(std::time::Duration::from_millis(100)).await;
    }
}

/// Where in the log we are: the time of the last entry shown, and how many of that time were.
#[derive(Default)]
struct Place {
    last: Option<Timestamp>,
    shown: u64,
    /// Entries of that time to come once more after a new start.
    again: u64,
}

impl Place {
    fn rewind(&mut self) {
        self.again = self.shown;
    }

    fn is_new(&mut self, entry: &pb::LogEntry) -> bool {
        if entry.time.is_some() && entry.time == self.last {
            if self.again > 0 {
                self.again -= 1;
                return false;
            }
            self.shown += 1;
        } else {
            (self.last, self.shown, self.again) = (entry.time, 1, 0);
        }
        true
    }
}

/// Bytes held back before they are written whatever comes next.
const BATCH: usize = 64 * 1024;

/// Entries of one stream on their way out.
#[derive(Default)]
struct Batch {
    stream: u32,
    bytes: Vec<u8>,
}

impl Batch {
    fn add(&mut self, entry: &pb::LogEntry, stamps: bool) {
        if entry.stream != self.stream || self.bytes.len() >= BATCH {
            self.flush();
            self.stream = entry.stream;
        }
        if stamps && let Some(time) = time::from_wire(entry.time.as_ref()) {
            self.bytes.extend_from_slice(time::rfc3339_fixed(time).as_bytes());
            self.bytes.push(b' ');
        }
        self.bytes.extend_from_slice(&entry.line);
    }

    fn flush(&mut self) {
        match std::mem::take(&mut self.bytes) {
            bytes if bytes.is_empty() => {}
            bytes if self.stream == 2 => out::put_err(bytes),
            bytes => out::put(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn going_on_shows_no_entry_twice() {
        let entry = |seconds| pb::LogEntry {
            time: Some(Timestamp { seconds, nanos: 0 }),
            ..pb::LogEntry::default()
        };
        let mut place = Place::default();
        assert!([1, 2, 2].iter().all(|at| place.is_new(&entry(*at))));
        place.rewind();
        let again: Vec<bool> = [2, 2, 2, 3].iter().map(|at| place.is_new(&entry(*at))).collect();
        assert_eq!(again, [false, false, true, true]);
    }
}
