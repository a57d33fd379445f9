//! The daemon's own log, on stderr. Writing it never ends the daemon and never holds it up: lines go to a thread of their own
//! through a bounded queue, and when the reader of stderr is gone or stuck, lines are dropped and counted.

use crate::config::{LogFormat, Settings};
use crate::error::{Error, Result};
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Lines that wait for stderr; more are dropped.
const QUEUE: usize = 1024;
/// How long the last lines may take at the end.
const FLUSH: Duration = Duration::from_millis(500);

enum Item {
    Line(Vec<u8>),
    /// Answered when everything before it is written.
    Flush(SyncSender<()>),
}

/// Where tracing writes lines to.
#[derive(Clone)]
pub struct Lines {
    queue: SyncSender<Item>,
    dropped: Arc<AtomicU64>,
}

/// One line in the making; it goes to the queue when it is whole.
pub struct Line {
    lines: Lines,
    bytes: Vec<u8>,
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let line = std::mem::take(&mut self.bytes);
        if !line.is_empty() && self.lines.queue.try_send(Item::Line(line)).is_err() {
            self.lines.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line {
            lines: self.clone(),
            bytes: Vec::new(),
        }
    }
}

impl Lines {
    fn to(sink: impl Write + Send + 'static) -> io::Result<Self> {
        let (queue, items) = sync_channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let counter = dropped.clone();
        let thread = std::thread::Builder::new().name("log".to_owned()).stack_size(64 << 10);
        thread.spawn(move || write(&items, &counter, sink))?;
        Ok(Self { queue, dropped })
    }

    /// Waits a moment for the lines under way.
    pub fn flush(&self) {
        let (done, wait) = sync_channel(1);
        let deadline = Instant::now() + FLUSH;
        let mut item = Item::Flush(done);
        while let Err(std::sync::mpsc::TrySendError::Full(back)) = self.queue.try_send(item) {
            if Instant::now() >= deadline {
                return;
            }
            item = back;
            std::thread::sleep(Duration::from_millis(5));
        }
        match wait.recv_timeout(FLUSH) {
            Ok(()) | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
    }
}

fn write(items: &Receiver<Item>, dropped: &AtomicU64, mut sink: impl Write) {
    while let Ok(item) = items.recv() {
        match item {
            Item::Line(line) => {
                let missing = dropped.swap(0, Ordering::Relaxed);
                // A closed pipe is no reason to end: the next line is tried again.
                if missing > 0 {
                    let _ = writeln!(sink, "{missing} lines of the log were dropped: nobody read it");
                }
                let _ = sink.write_all(&line);
            }
            Item::Flush(done) => {
                let _ = sink.flush();
                let _ = done.send(());
            }
        }
    }
}

/// Starts logging as the settings say.
pub fn start(settings: &Settings) -> Result<Lines> {
    let lines = Lines::to(io::stderr()).map_err(|source| Error::System {
        deed: "start the thread that writes the log",
        source,
    })?;
    let others = settings.log_level.min(LevelFilter::WARN);
    let targets = Targets::new()
        .with_default(others)
        .with_target("gantry", settings.log_level);
    let plain = settings.raw_logs || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(lines.clone())
        .log_internal_errors(false);
    let registry = tracing_subscriber::registry().with(targets);
    let outcome = match settings.log_format {
        LogFormat::Text => registry
            .with(layer.with_ansi(!plain && io::stderr().is_terminal()))
            .try_init(),
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).try_init(),
    };
    outcome.map_err(|error| Error::System {
        deed: "start logging",
        source: io::Error::other(error),
    })?;
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_reader_that_goes_or_sticks_does_not_matter() {
        let (sink, reader) = UnixStream::pair().unwrap();
        let lines = Lines::to(sink).unwrap();
        let line = |lines: &Lines| writeln!(lines.make_writer(), "{}", "x".repeat(1000)).unwrap();
        let began = Instant::now();
        for _ in 0..(QUEUE * 4) {
            line(&lines);
        }
        assert!(
            lines.dropped.load(Ordering::Relaxed) > 0,
            "nobody reads, so lines must be dropped"
        );
        drop(reader);
        lines.flush();
        line(&lines);
        assert!(began.elapsed() < Duration::from_secs(10));
    }
}
