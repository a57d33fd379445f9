//! The content store as a trait: blobs by digest, visible per namespace, bytes shared.
//!
//! Semantics follow containerd's content service (see its `content.v1` API); all methods block and are entered through
//! the caller's blocking gate.

use crate::{Digest, Labels, LeaseId, Namespace, Result};
use std::io::Read;
use std::time::SystemTime;

/// A blob as one namespace sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobInfo {
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    pub created_at: SystemTime,
    pub updated_at: SystemTime,
    pub labels: Labels,
}

/// An ingest in progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngestStatus {
    /// The writer's name for it; unique in the namespace.
    pub reference: String,
    /// Bytes written so far.
    pub offset: u64,
    /// Bytes expected, 0 if unknown.
    pub total: u64,
    pub expected: Option<Digest>,
    pub started_at: SystemTime,
    pub updated_at: SystemTime,
}

/// What a writer opens.
#[derive(Debug, Clone, Default)]
pub struct IngestRequest {
    pub reference: String,
    /// Bytes, 0 if unknown.
    pub total: u64,
    pub expected: Option<Digest>,
    /// What holds the ingest and then the blob until something refers to it.
    pub lease: Option<LeaseId>,
    /// Nobody takes it up again: broken off, it goes with its lease.
    pub transient: bool,
}

/// Random access to one blob. Reading past the end gives 0 bytes.
pub trait BlobReader: Send + Sync {
    fn size(&self) -> u64;
    /// Fills `buffer` from `offset` as far as the blob goes; bytes read.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize>;
}

/// One open ingest. Dropping it keeps what was written, for resumption under the same reference.
pub trait Ingest: Send {
    fn status(&self) -> IngestStatus;
    /// Appends; the running hash goes along.
    fn write(&mut self, bytes: &[u8]) -> Result<()>;
    /// Forgets everything after `size` (0 to start again).
    fn truncate(&mut self, size: u64) -> Result<()>;
    /// Digest of what is written so far, in the expected digest's algorithm (else sha256).
    fn digest(&self) -> Digest;
    /// Makes it a blob, durably: bytes synced, renamed, directory synced, then the record. `size` and `expected` are
    /// checked when given (FailedPrecondition). `AlreadyExists` if the namespace has the digest: the ingest is released
    /// and the blob leased all the same.
    fn commit(self: Box<Self>, size: Option<u64>, expected: Option<&Digest>, labels: Labels) -> Result<BlobInfo>;
    /// Drops the ingest and its bytes.
    fn abort(self: Box<Self>) -> Result<()>;
}

/// The store of blobs.
pub trait ContentStore: Send + Sync {
    fn info(&self, ns: &Namespace, digest: &Digest) -> Result<BlobInfo>;
    /// Opens a blob for reading (NotFound if the namespace does not see it).
    fn reader(&self, ns: &Namespace, digest: &Digest) -> Result<Box<dyn BlobReader>>;
    /// Opens an ingest. `AlreadyExists` if `expected` is there already (it is added to the lease); `Unavailable` if the
    /// reference is being written by another.
    fn ingest(&self, ns: &Namespace, request: IngestRequest) -> Result<Box<dyn Ingest>>;
    /// Sets labels (empty value deletes).
    fn label(&self, ns: &Namespace, digest: &Digest, labels: &Labels) -> Result<BlobInfo>;
    fn list(&self, ns: &Namespace) -> Result<Vec<BlobInfo>>;
    fn ingests(&self, ns: &Namespace) -> Result<Vec<IngestStatus>>;
    fn delete(&self, ns: &Namespace, digest: &Digest) -> Result<()>;
    fn abort(&self, ns: &Namespace, reference: &str) -> Result<()>;
}

/// A blob as a stream of bytes.
pub struct BlobStream {
    reader: Box<dyn BlobReader>,
    offset: u64,
}

impl BlobStream {
    pub fn new(reader: Box<dyn BlobReader>) -> Self {
        Self { reader, offset: 0 }
    }
}

impl Read for BlobStream {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self
            .reader
            .read_at(buffer, self.offset)
            .map_err(std::io::Error::other)?;
        self.offset += read as u64;
        Ok(read)
    }
}

/// A whole small blob in memory; `limit` bytes at most (ResourceExhausted beyond).
pub fn read_all(store: &dyn ContentStore, ns: &Namespace, digest: &Digest, limit: u64) -> Result<Vec<u8>> {
    let reader = store.reader(ns, digest)?;
    if reader.size() > limit {
        return Err(crate::Error::new(
            crate::ErrorKind::ResourceExhausted,
            format!(
                "blob {digest} is {} bytes, more than the {limit} allowed here",
                reader.size()
            ),
        ));
    }
    let mut bytes = vec![0; usize::try_from(reader.size()).expect("limited above")];
    let mut filled = 0;
    while filled < bytes.len() {
        match reader.read_at(&mut bytes[filled..], filled as u64)? {
            0 => break,
            n => filled += n,
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}
