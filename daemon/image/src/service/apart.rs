//! A snapshot being filled, removed again unless it is committed; and the bytes that fill it.

use super::{Inner, Job};
use crate::blobs::{Blobs, Opened};
use crate::descriptor::Descriptor;
use crate::error::{ImageError, Result};
use crate::failpoint::failpoint;
use crate::registry::Chunk;
use crate::unpack::{Applied, Limits, apply};
use bytes::{Buf, Bytes};
use gantry_core::content::{BlobStream, Ingest};
use gantry_core::snapshot::{ApplyTarget, CommitOptions, SnapshotOptions, SnapshotService};
use gantry_core::{Digest, ErrorKind, Labels, LeaseId, Namespace};
use std::io::{self, Read};
use std::sync::{Arc, Weak};
use tokio::sync::mpsc;

/// An active snapshot of ours.
pub(crate) struct Draft {
    snapshots: Arc<dyn SnapshotService>,
    ns: Namespace,
    snapshotter: String,
    lease: Option<LeaseId>,
    key: String,
    armed: bool,
    pub target: ApplyTarget,
}

impl Draft {
    /// Prepares it; `None` if the chain is unpacked already. `chain` may be unknown yet (an import).
    pub(crate) fn prepare(
        inner: &Inner,
        job: &Job,
        chain: Option<&Digest>,
        parent: Option<&Digest>,
    ) -> Result<Option<Self>> {
        let unique: u64 = rand::random();
        let name = chain.map(ToString::to_string).unwrap_or_default();
        let key = format!("extract-{unique:016x} {name}");
        let labels = match chain {
            Some(chain) => Labels::from([("containerd.io/snapshot.ref".to_owned(), chain.to_string())]),
            None => Labels::new(),
        };
        let options = SnapshotOptions {
            labels,
            lease: job.blobs.lease.clone(),
        };
        let parent = parent.map(ToString::to_string);
        let (ns, snapshotter) = (&job.blobs.ns, &job.snapshotter);
        match inner
            .snapshots
            .prepare(ns, snapshotter, &key, parent.as_deref(), options)
        {
            Ok(_mounts) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists && chain.is_some() => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let mut draft = Self {
            snapshots: inner.snapshots.clone(),
            ns: ns.clone(),
            snapshotter: snapshotter.clone(),
            lease: job.blobs.lease.clone(),
            key,
            armed: true,
            target: ApplyTarget {
                dir: Default::default(),
                whiteouts: gantry_core::snapshot::Whiteouts::Plain,
                lower: Vec::new(),
            },
        };
        failpoint!("image::unpack::prepared");
        draft.target = inner.snapshots.apply_target(ns, snapshotter, &draft.key)?;
        Ok(Some(draft))
    }

    /// Makes it the unpacked chain. Blocks.
    pub(crate) fn commit(mut self, chain: &Digest, rebase_on: Option<&Digest>) -> Result<()> {
        failpoint!("image::unpack::filled");
        let options = CommitOptions {
            labels: Labels::new(),
            lease: self.lease.clone(),
            parent: rebase_on.map(ToString::to_string),
            verified: true,
        };
        match self
            .snapshots
            .commit(&self.ns, &self.snapshotter, &chain.to_string(), &self.key, options)
        {
            Ok(()) => {
                self.armed = false;
                failpoint!("image::unpack::committed");
                Ok(())
            }
            // Somebody else's unpacking came first: theirs stays, ours goes.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        let (snapshots, ns, snapshotter) = (self.snapshots.clone(), self.ns.clone(), self.snapshotter.clone());
        let key = std::mem::take(&mut self.key);
        let remove = move || match snapshots.remove(&ns, &snapshotter, &key) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(snapshot = %key, err = %error, "a half unpacked layer could not be removed"),
        };
        // In an async task the work must go elsewhere; in a blocking one it is done here, before the error is told.
        match tokio::task::try_id().is_some() && tokio::runtime::Handle::try_current().is_ok() && !is_blocking_thread()
        {
            true => drop(tokio::task::spawn_blocking(remove)),
            false => remove(),
        }
    }
}

thread_local! {
    static BLOCKING: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Runs `work` knowing that this thread may block.
pub(crate) fn on_blocking_thread<T>(work: impl FnOnce() -> T) -> T {
    BLOCKING.with(|flag| flag.set(true));
    let outcome = work();
    BLOCKING.with(|flag| flag.set(false));
    outcome
}

fn is_blocking_thread() -> bool {
    BLOCKING.with(std::cell::Cell::get)
}

/// Unpacks a blob of the store. Stops when `alive` is gone.
pub(crate) fn unpack_blob(
    blobs: &Blobs,
    blob: &Descriptor,
    draft: &Draft,
    limits: &Limits,
    diff_id: &Digest,
    alive: Weak<()>,
    passed: impl FnMut(u64),
) -> Result<Applied> {
    let reader = blobs.content.reader(&blobs.ns, &blob.digest)?;
    let source = WhileAlive {
        inner: BlobStream::new(reader),
        alive,
    };
    let applied = apply(source, &draft.target, limits, diff_id.algorithm(), passed)?;
    check_diff_id(blob, diff_id, applied)
}

pub(crate) fn check_diff_id(blob: &Descriptor, diff_id: &Digest, applied: Applied) -> Result<Applied> {
    match applied.diff_id == *diff_id {
        true => Ok(applied),
        false => Err(ImageError::WrongDiffId {
            layer: blob.digest.clone(),
            expected: diff_id.clone(),
            got: applied.diff_id,
        }),
    }
}

struct WhileAlive<R> {
    inner: R,
    alive: Weak<()>,
}

impl<R: Read> Read for WhileAlive<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.alive.strong_count() {
            0 => Err(ImageError::Cancelled { doing: "unpack" }.into_io()),
            _ => self.inner.read(buffer),
        }
    }
}

/// A download on its way: what is read from it has been written to its ingest.
pub(crate) struct Incoming {
    chunks: mpsc::Receiver<Chunk>,
    current: Bytes,
    ended: bool,
    ingest: Box<dyn Ingest>,
}

impl Incoming {
    pub(crate) fn new(chunks: mpsc::Receiver<Chunk>, ingest: Box<dyn Ingest>) -> Self {
        Self {
            chunks,
            current: Bytes::new(),
            ended: false,
            ingest,
        }
    }

    pub(crate) fn into_ingest(self) -> Box<dyn Ingest> {
        self.ingest
    }
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() && !self.ended {
            match self.chunks.blocking_recv() {
                Some(Chunk::Bytes(bytes)) => {
                    self.ingest.write(&bytes).map_err(|e| ImageError::from(e).into_io())?;
                    self.current = bytes;
                }
                Some(Chunk::End) => self.ended = true,
                None => return Err(ImageError::Cancelled { doing: "download" }.into_io()),
            }
        }
        let length = self.current.len().min(buffer.len());
        self.current.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

/// Opens a layer's ingest with what is there of it; an impossible rest is thrown away.
pub(crate) fn open_layer(blobs: &Blobs, layer: &Descriptor) -> Result<Option<(Box<dyn Ingest>, u64)>> {
    let mut ingest = match blobs.open(layer, "layer")? {
        Opened::There => return Ok(None),
        Opened::Writing(ingest) => ingest,
    };
    let mut offset = ingest.status().offset;
    if offset > layer.size {
        ingest.truncate(0)?;
        offset = 0;
    }
    Ok(Some((ingest, offset)))
}
