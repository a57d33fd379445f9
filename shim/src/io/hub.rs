//! Where the output of one process meets its readers: the log, attached clients, named pipes, files.

use super::{lock, log::Log, spool::Spool};
use crate::shim::{Busy, Shim};
use gantry_proto_attach::{Exit, Kind, MAX_OUTPUT, Refusal, encode_json, header};
use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::{Notify, watch};

/// Output of one process.
pub struct Hub {
    shim: Arc<Shim>,
    spool_dir: PathBuf,
    log: Option<Arc<Mutex<Log>>>,
    inner: Mutex<Inner>,
    /// Room may have come up in a spool.
    space: Notify,
    /// The process has ended: drain and close.
    pub ended: watch::Sender<bool>,
    /// Streams still open.
    open: watch::Sender<u32>,
    /// Named pipes that are still being written to.
    sending: watch::Sender<u32>,
}

#[derive(Default)]
struct Inner {
    clients: Vec<Arc<Client>>,
    files: Vec<(u8, File)>,
    last: Option<Last>,
    next: u64,
}

/// The last frame of every conversation.
#[derive(Clone)]
pub enum Last {
    Exit(Exit),
    Refused(Refusal),
}

/// One reader of the output.
pub struct Client {
    pub number: u64,
    stdout: bool,
    stderr: bool,
    /// Frames of the attach protocol, or raw bytes (named pipes).
    framed: bool,
    queue: Mutex<Queue>,
    /// The queue has something new.
    pub wake: Notify,
    pub sent: AtomicU64,
    _busy: Busy,
}

struct Queue {
    spool: Spool,
    finished: bool,
    gone: bool,
}

/// What a client's task is to do next.
pub enum Next {
    Send(Vec<u8>),
    Wait,
    Finished,
}

impl Hub {
    pub fn new(shim: Arc<Shim>, spool_dir: &Path, log: Option<Arc<Mutex<Log>>>) -> Arc<Self> {
        Arc::new(Self {
            shim,
            spool_dir: spool_dir.to_owned(),
            log,
            inner: Mutex::default(),
            space: Notify::new(),
            ended: watch::Sender::new(false),
            open: watch::Sender::new(0),
            sending: watch::Sender::new(0),
        })
    }

    /// Adds a reader. From here on it misses nothing; if all is over it gets the last frame at once.
    pub fn join(&self, stdout: bool, stderr: bool, framed: bool) -> Arc<Client> {
        let mut inner = lock(&self.inner);
        inner.next += 1;
        let queue = Queue {
            spool: Spool::new(&self.spool_dir),
            finished: false,
            gone: false,
        };
        let client = Arc::new(Client {
            number: inner.next,
            stdout,
            stderr,
            framed,
            queue: Mutex::new(queue),
            wake: Notify::new(),
            sent: AtomicU64::new(0),
            _busy: self.shim.busy(),
        });
        match &inner.last {
            Some(last) => client.finish(last),
            None => inner.clients.push(client.clone()),
        }
        client
    }

    /// Adds a file that gets every byte of a stream as it comes.
    pub fn add_file(&self, stream: u8, file: File) {
        lock(&self.inner).files.push((stream, file));
    }

    /// Takes a reader out and lets go of what waited for it.
    pub fn leave(&self, client: &Client) {
        lock(&self.inner).clients.retain(|one| one.number != client.number);
        let mut queue = lock(&client.queue);
        queue.gone = true;
        queue.spool = Spool::new(&self.spool_dir);
        drop(queue);
        self.space.notify_waiters();
        self.shim.tidy_memory();
    }

    /// Hands out bytes of a stream.
    pub fn deliver(&self, stream: u8, bytes: &[u8]) {
        if let Some(log) = &self.log
            && lock(log).write(stream, bytes)
        {
            super::log::compress_soon(&self.shim, log);
        }
        let mut inner = lock(&self.inner);
        for (_, file) in inner.files.iter_mut().filter(|(of, _)| *of == stream) {
            // A file that takes no more loses bytes; the process goes on.
            let _ = file.write_all(bytes);
        }
        for client in &inner.clients {
            client.push(stream, bytes);
        }
    }

    /// Whether every reader can take more.
    pub fn has_room(&self) -> bool {
        lock(&self.inner)
            .clients
            .iter()
            .all(|client| !lock(&client.queue).spool.is_full())
    }

    /// Waits until every reader can take more, or the process has ended.
    pub async fn room(&self) {
        let mut ended = self.ended.subscribe();
        loop {
            let space = self.space.notified();
            if self.has_room() || *ended.borrow_and_update() {
                return;
            }
            tokio::select! {
                () = space => {}
                _ = ended.changed() => {}
            }
        }
    }

    /// The next piece for a client.
    pub fn next(&self, client: &Client) -> std::io::Result<Next> {
        let mut queue = lock(&client.queue);
        if queue.gone {
            return Ok(Next::Finished);
        }
        let was_full = queue.spool.is_full();
        let piece = queue.spool.take()?;
        if was_full && !queue.spool.is_full() {
            self.space.notify_waiters();
        }
        Ok(match piece {
            Some(piece) => Next::Send(piece),
            None if queue.finished => Next::Finished,
            None => Next::Wait,
        })
    }

    /// One stream more is being pumped.
    pub fn stream_opened(&self) {
        self.open.send_modify(|open| *open += 1);
    }

    /// A stream is at its end.
    pub fn stream_closed(&self, stream: u8) {
        if let Some(log) = &self.log {
            lock(log).end(stream);
        }
        self.open.send_modify(|open| *open -= 1);
        self.shim.tidy_memory();
    }

    /// The process has ended: everything in its pipes is delivered, then the streams close. Returns when that is done.
    pub async fn end(&self) {
        self.ended.send_replace(true);
        let mut open = self.open.subscribe();
        let _ = open.wait_for(|open| *open == 0).await;
    }

    /// One named pipe more is being written to.
    pub fn sending_begun(&self) {
        self.sending.send_modify(|sending| *sending += 1);
    }

    pub fn sending_ended(&self) {
        self.sending.send_modify(|sending| *sending -= 1);
    }

    /// Waits until the readers of named pipes have all there was; one that does not read is not waited for longer than this.
    pub async fn sent(&self, limit: Duration) {
        let mut sending = self.sending.subscribe();
        // Late or not, whoever waits goes on.
        let _ = tokio::time::timeout(limit, sending.wait_for(|sending| *sending == 0)).await;
    }

    /// Sends everyone the last frame, and everyone who comes later.
    pub fn finish(&self, last: Last) {
        self.ended.send_replace(true);
        let mut inner = lock(&self.inner);
        inner.files.clear();
        for client in inner.clients.drain(..) {
            client.finish(&last);
        }
        inner.last.get_or_insert(last);
    }

    /// (number, waiting, on disk, sent, full) of every reader.
    pub fn clients(&self) -> Vec<(u64, u64, u64, u64, bool)> {
        let inner = lock(&self.inner);
        let row = |client: &Arc<Client>| {
            let queue = lock(&client.queue);
            let sent = client.sent.load(Ordering::Relaxed);
            (
                client.number,
                queue.spool.waiting(),
                queue.spool.on_disk(),
                sent,
                queue.spool.is_full(),
            )
        };
        inner.clients.iter().map(row).collect()
    }
}

impl Client {
    fn push(&self, stream: u8, bytes: &[u8]) {
        if !(if stream == 2 { self.stderr } else { self.stdout }) {
            return;
        }
        let mut queue = lock(&self.queue);
        for piece in bytes.chunks(MAX_OUTPUT) {
            if self.framed {
                queue.spool.push([&header(Kind::Output, stream, piece.len()), piece]);
            } else {
                queue.spool.push([piece, &[]]);
            }
        }
        drop(queue);
        self.wake.notify_one();
    }

    fn finish(&self, last: &Last) {
        let mut queue = lock(&self.queue);
        if self.framed {
            let frame = match last {
                Last::Exit(exit) => encode_json(Kind::Exit, exit),
                Last::Refused(refusal) => encode_json(Kind::Error, refusal),
            };
            queue.spool.push([&frame, &[]]);
        }
        queue.finished = true;
        drop(queue);
        self.wake.notify_one();
    }

    /// Whether nothing more will come than what waits.
    pub fn is_finished(&self) -> bool {
        lock(&self.queue).finished
    }
}
