//! Progress: what a pull, push, load or save is doing, layer by layer.
//!
//! The channel is bounded by what there is to say, not by a number: per id the newest event of each kind waits, counters
//! are overtaken by newer counts, and nothing that ends a step is lost. A sender never waits, so a slow watcher slows
//! nobody.

use crate::descriptor::Descriptor;
use gantry_core::Digest;
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::mem::discriminant;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Notify;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Short layer id, the tag for a line about the whole, or nothing.
    pub id: String,
    pub status: Status,
    /// Bytes done, and to do (0 where there is nothing to count).
    pub current: u64,
    pub total: u64,
    /// The blob it is about, where that was said.
    pub about: Option<Arc<About>>,
}

/// A blob, and what names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    pub blob: Descriptor,
    /// Manifests and indexes; none for the target itself.
    pub parents: Vec<Descriptor>,
}

/// What is being done; its text is Docker's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    PullingFrom(String),
    PullingFsLayer,
    Waiting,
    Downloading,
    /// The connection broke; seconds until the next attempt.
    Retrying(u64),
    VerifyingChecksum,
    DownloadComplete,
    Extracting,
    PullComplete,
    AlreadyExists,
    LoadingLayer,
    LoadComplete,
    Saving,
    /// The repository that is pushed to.
    PushingTo(String),
    Preparing,
    Pushing,
    Pushed,
    LayerExists,
    /// The repository a blob was taken over from.
    MountedFrom(String),
    Digest(Digest),
    /// A sentence about the whole.
    Note(String),
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PullingFrom(repository) => write!(f, "Pulling from {repository}"),
            Self::PullingFsLayer => f.write_str("Pulling fs layer"),
            Self::Waiting => f.write_str("Waiting"),
            Self::Downloading => f.write_str("Downloading"),
            Self::Retrying(seconds) => write!(f, "Retrying in {seconds} seconds"),
            Self::VerifyingChecksum => f.write_str("Verifying Checksum"),
            Self::DownloadComplete => f.write_str("Download complete"),
            Self::Extracting => f.write_str("Extracting"),
            Self::PullComplete => f.write_str("Pull complete"),
            Self::AlreadyExists => f.write_str("Already exists"),
            Self::LoadingLayer => f.write_str("Loading layer"),
            Self::LoadComplete => f.write_str("Load complete"),
            Self::Saving => f.write_str("Saving"),
            Self::PushingTo(repository) => write!(f, "The push refers to repository [{repository}]"),
            Self::Preparing => f.write_str("Preparing"),
            Self::Pushing => f.write_str("Pushing"),
            Self::Pushed => f.write_str("Pushed"),
            Self::LayerExists => f.write_str("Layer already exists"),
            Self::MountedFrom(repository) => write!(f, "Mounted from {repository}"),
            Self::Digest(digest) => write!(f, "Digest: {digest}"),
            Self::Note(text) => f.write_str(text),
        }
    }
}

/// Makes the two ends.
pub fn progress() -> (ProgressSink, ProgressStream) {
    let shared = Arc::new(Shared {
        waiting: Mutex::new(VecDeque::new()),
        abouts: Mutex::new(HashMap::new()),
        changed: Notify::new(),
        sinks: AtomicUsize::new(1),
    });
    (ProgressSink(Some(shared.clone())), ProgressStream(shared))
}

struct Shared {
    waiting: Mutex<VecDeque<Progress>>,
    /// By id.
    abouts: Mutex<HashMap<String, Arc<About>>>,
    changed: Notify,
    sinks: AtomicUsize,
}

/// Where events are told.
pub struct ProgressSink(Option<Arc<Shared>>);

impl ProgressSink {
    /// Nobody listens.
    pub fn silent() -> Self {
        Self(None)
    }

    /// Whatever is told of this blob's short digest from here on is told with it.
    pub(crate) fn about(&self, blob: &Descriptor, parents: Vec<Descriptor>) {
        let Some(shared) = &self.0 else { return };
        let about = About {
            blob: blob.clone(),
            parents,
        };
        let id = blob.digest.short().to_owned();
        shared.abouts.lock().entry(id).or_insert_with(|| Arc::new(about));
    }

    pub fn tell(&self, id: &str, status: Status) {
        self.count(id, status, 0, 0);
    }

    pub fn count(&self, id: &str, status: Status, current: u64, total: u64) {
        let Some(shared) = &self.0 else { return };
        let event = Progress {
            id: id.to_owned(),
            status,
            current,
            total,
            about: shared.abouts.lock().get(id).cloned(),
        };
        let mut waiting = shared.waiting.lock();
        let same =
            |known: &&mut Progress| known.id == event.id && discriminant(&known.status) == discriminant(&event.status);
        match waiting.iter_mut().find(same) {
            Some(known) if !matches!(known.status, Status::Note(_)) => *known = event,
            _ => waiting.push_back(event),
        }
        drop(waiting);
        shared.changed.notify_one();
    }
}

/// Events go on to a bounded channel as fast as it takes them; what waits is overtaken here.
impl From<tokio::sync::mpsc::Sender<Progress>> for ProgressSink {
    fn from(out: tokio::sync::mpsc::Sender<Progress>) -> Self {
        let (sink, mut stream) = progress();
        tokio::spawn(async move {
            while let Some(event) = stream.recv().await {
                if out.send(event).await.is_err() {
                    break;
                }
            }
        });
        sink
    }
}

impl Clone for ProgressSink {
    fn clone(&self) -> Self {
        if let Some(shared) = &self.0 {
            shared.sinks.fetch_add(1, Ordering::Relaxed);
        }
        Self(self.0.clone())
    }
}

impl Drop for ProgressSink {
    fn drop(&mut self) {
        if let Some(shared) = &self.0
            && shared.sinks.fetch_sub(1, Ordering::AcqRel) == 1
        {
            shared.changed.notify_one();
        }
    }
}

/// Where events are heard.
pub struct ProgressStream(Arc<Shared>);

impl ProgressStream {
    /// The next event; `None` once every sink is gone and all was heard.
    pub async fn recv(&mut self) -> Option<Progress> {
        loop {
            let over = self.0.sinks.load(Ordering::Acquire) == 0;
            if let Some(event) = self.0.waiting.lock().pop_front() {
                return Some(event);
            }
            if over {
                return None;
            }
            self.0.changed.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn counters_are_overtaken_and_ends_are_kept() {
        let (sink, mut stream) = progress();
        let other = sink.clone();
        for n in 0..1000 {
            sink.count("a", Status::Downloading, n, 1000);
            other.count("b", Status::Downloading, n, 1000);
        }
        sink.tell("a", Status::PullComplete);
        drop(sink);
        drop(other);
        let mut heard = Vec::new();
        while let Some(event) = stream.recv().await {
            heard.push((event.id, event.status.to_string(), event.current));
        }
        let want = [
            ("a", "Downloading", 999),
            ("b", "Downloading", 999),
            ("a", "Pull complete", 0),
        ];
        assert_eq!(heard, want.map(|(id, status, n)| (id.to_owned(), status.to_owned(), n)));
    }

    #[tokio::test]
    async fn a_listener_wakes_for_news_and_for_the_end() {
        let (sink, mut stream) = progress();
        let listener = tokio::spawn(async move { (stream.recv().await.map(|e| e.id), stream.recv().await) });
        tokio::task::yield_now().await;
        sink.tell("x", Status::Waiting);
        drop(sink);
        assert_eq!(listener.await.unwrap(), (Some("x".to_owned()), None));
    }
}
