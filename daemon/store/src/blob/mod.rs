//! The blob store: bytes by digest, shared; visible per namespace; semantics of containerd's content service.
//!
//! Bytes come in through an ingest, are synced, renamed to their digest, their directory is synced, and only then is the
//! record written. A blob's file without a record is nobody's and goes; a record without its bytes is damage, said to
//! whoever reads it and healed by the next ingest of the same digest.

mod files;
mod ingest;
mod records;

pub use records::Blob;
pub(crate) use records::{BlobOwner, IngestRecord};

use crate::db::Store;
use crate::error::{Error, Result};
use crate::key::Key;
use crate::lease::{Lease, Leases, Resource};
use crate::namespace::NamespaceRecord;
use crate::record::Batch;
use files::Files;
use gantry_core::content::{BlobInfo, BlobReader, ContentStore, Ingest, IngestRequest, IngestStatus};
use gantry_core::meta::Happening;
use gantry_core::{Digest, Labels, LeaseId, Namespace, label};
use std::collections::HashSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// How long an ingest that no lease holds is kept for resumption.
pub const INGEST_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
const SHAREABLE: &str = "containerd.io/namespace.shareable";

/// Whether a namespace profits from the bytes that others have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Sharing {
    /// A writer that names the digest of bytes that are there need not send them.
    #[default]
    Shared,
    /// It must send them all the same, unless a namespace labelled shareable has them.
    Isolated,
}

#[derive(Clone)]
pub struct BlobStore {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<Store>,
    leases: Leases,
    files: Files,
    sharing: Sharing,
}

/// What a look over all blobs at the start found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct BlobReport {
    /// Ingests removed because half of them was missing.
    pub ingests: usize,
    /// Bytes of blobs that nobody has.
    pub freed: u64,
    /// Blobs whose bytes are missing or cut short.
    pub damaged: Vec<(Namespace, Digest)>,
}

impl BlobStore {
    /// Opens the store of blobs below `root`.
    pub fn open(store: Arc<Store>, root: &Path, sharing: Sharing) -> Result<Self> {
        let inner = Inner {
            leases: Leases::new(store.clone()),
            store,
            files: Files::open(root)?,
            sharing,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Compares records and files; to be called once at start, before anybody writes.
    pub fn reconcile(&self) -> Result<BlobReport> {
        let inner = &self.inner;
        let mut report = BlobReport::default();
        let ingests = inner.store.list::<IngestRecord>()?;
        let known: HashSet<&str> = ingests.iter().map(|(_, record)| record.dir.as_str()).collect();
        if !inner.store.holds_back()? {
            for dir in inner
                .files
                .ingest_dirs()?
                .iter()
                .filter(|dir| !known.contains(dir.as_str()))
            {
                inner.files.remove_ingest(dir)?;
                report.ingests += 1;
            }
        }
        for ((ns, reference), record) in ingests
            .iter()
            .filter(|(_, record)| !inner.files.data(&record.dir).exists())
        {
            inner.drop_ingest(ns, reference, record)?;
            report.ingests += 1;
        }
        for ((ns, digest), blob) in inner.store.list::<Blob>()? {
            if inner.files.size(&digest)? != Some(blob.size) {
                tracing::warn!(%ns, %digest, "a blob has lost its bytes; it is healed when it is pulled or loaded again");
                report.damaged.push((ns, digest));
            }
        }
        report.freed = self.sweep_files()?;
        Ok(report)
    }

    /// Unlinks the bytes that no namespace has; how many they were. Writers go on.
    pub(crate) fn sweep_files(&self) -> Result<u64> {
        let inner = &self.inner;
        if inner.store.holds_back()? {
            return Ok(0);
        }
        let mut freed = 0;
        for digest in inner.files.blobs()? {
            if inner.has_owner(&digest)? {
                continue;
            }
            let Some(_claim) = inner.store.claims().try_claim(blob_claim(&digest)) else {
                continue;
            };
            if !inner.has_owner(&digest)? {
                failpoint!("store::blob::unlink");
                freed += inner.files.unlink(&digest)?;
            }
        }
        Ok(freed)
    }

    /// Removes ingests that nobody holds and nobody has written for a day. Those being written are left alone.
    pub(crate) fn expire_ingests(&self, kept: impl Fn(&Namespace, &str) -> bool) -> Result<usize> {
        let inner = &self.inner;
        let mut expired = 0;
        for ((ns, reference), record) in inner.store.list::<IngestRecord>()? {
            if kept(&ns, &reference) || inner.keeps_ingest(&ns, &record)? {
                continue;
            }
            let Some(_claim) = inner.store.claims().try_claim(ingest_claim(&ns, &reference)) else {
                continue;
            };
            // Meanwhile it may have been finished, or begun anew in another directory.
            let now = inner.store.get::<IngestRecord>(&(ns.clone(), reference.clone()))?;
            if let Some(record) = now.filter(|now| now.dir == record.dir)
                && !inner.keeps_ingest(&ns, &record)?
            {
                inner.drop_ingest(&ns, &reference, &record)?;
                expired += 1;
            }
        }
        Ok(expired)
    }

    /// Adds the removal of a blob to a sweep's batch, if it is there; the sweep holds its claim.
    pub(crate) fn sweep_in(&self, batch: &mut Batch, ns: &Namespace, digest: &Digest) -> Result<bool> {
        if !self.inner.store.contains::<Blob>(&(ns.clone(), digest.clone()))? {
            return Ok(false);
        }
        Inner::delete_in(batch, ns, digest)?;
        Ok(true)
    }

    /// Whether an ingest is to be kept though nothing refers to it.
    pub(crate) fn keeps_ingest(&self, ns: &Namespace, record: &IngestRecord) -> Result<bool> {
        self.inner.keeps_ingest(ns, record)
    }

    /// Whether the namespace has the blob, with all its bytes; then the lease holds it.
    pub fn keep(&self, ns: &Namespace, digest: &Digest, lease: Option<&LeaseId>) -> Result<bool> {
        self.inner.keep_existing(ns, digest, lease)
    }

    /// Replaces all labels.
    pub fn replace_labels(&self, ns: &Namespace, digest: &Digest, labels: &Labels) -> Result<BlobInfo> {
        self.inner.relabel(ns, digest, |blob| blob.labels = labels.clone())
    }

    /// What a namespace says of itself; nothing if it never did.
    pub fn namespace(&self, ns: &Namespace) -> Result<NamespaceRecord> {
        Ok(self.inner.store.get(ns)?.unwrap_or_default())
    }
}

pub(crate) fn blob_claim(digest: &Digest) -> String {
    format!("blob/{digest}")
}

fn ingest_claim(ns: &Namespace, reference: &str) -> String {
    hex::encode(("ingest".to_owned(), ns.clone(), reference.to_owned()).to_bytes())
}

impl Inner {
    fn has_owner(&self, digest: &Digest) -> Result<bool> {
        let mut found = false;
        self.store.visit::<BlobOwner>(digest, |_, _| {
            found = true;
            std::ops::ControlFlow::Break(())
        })?;
        Ok(found)
    }

    /// Whether the namespace may take the bytes that are there instead of sending them.
    fn may_share(&self, digest: &Digest) -> Result<bool> {
        let owners = self.store.scan::<BlobOwner>(digest)?;
        if self.files.size(digest)?.is_none() {
            return Ok(false);
        }
        match self.sharing {
            Sharing::Shared => Ok(!owners.is_empty()),
            Sharing::Isolated => {
                for ((_, ns), _) in owners {
                    let record = self.store.get::<NamespaceRecord>(&ns)?.unwrap_or_default();
                    if record.labels.get(SHAREABLE).is_some_and(|value| value == "true") {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
        }
    }

    fn blob(&self, ns: &Namespace, digest: &Digest) -> Result<Blob> {
        self.store
            .get(&(ns.clone(), digest.clone()))?
            .ok_or_else(|| Error::BlobMissing { digest: digest.clone() })
    }

    /// The namespace has the blob and all its bytes.
    fn is_whole(&self, ns: &Namespace, digest: &Digest) -> Result<bool> {
        match self.store.get::<Blob>(&(ns.clone(), digest.clone()))? {
            Some(blob) => Ok(self.files.size(digest)? == Some(blob.size)),
            None => Ok(false),
        }
    }

    /// If the blob is there it is leased and kept by a collection that runs; the answer holds from then on.
    fn keep_existing(&self, ns: &Namespace, digest: &Digest, lease: Option<&LeaseId>) -> Result<bool> {
        let _claim = self.store.claims().claim_shared(blob_claim(digest))?;
        let resource = Resource::Content(digest.clone());
        let _step = self.store.step(&[resource.node(ns)]);
        if !self.is_whole(ns, digest)? {
            return Ok(false);
        }
        if lease.is_some() {
            let mut batch = Batch::new();
            self.leases.add_in(&mut batch, ns, lease, &resource)?;
            self.store.commit(batch)?;
        }
        Ok(true)
    }

    fn relabel(&self, ns: &Namespace, digest: &Digest, change: impl FnOnce(&mut Blob)) -> Result<BlobInfo> {
        let _claim = self.store.claims().claim(blob_claim(digest))?;
        let mut blob = self.blob(ns, digest)?;
        change(&mut blob);
        label::validate(&blob.labels)?;
        blob.updated_at = SystemTime::now();
        let mut batch = Batch::new();
        batch.put(&(ns.clone(), digest.clone()), &blob)?;
        self.store.commit(batch)?;
        Ok(blob.info(digest))
    }

    /// Adds the removal of a namespace's blob to a batch. The caller holds the digest's claim.
    fn delete_in(batch: &mut Batch, ns: &Namespace, digest: &Digest) -> Result<()> {
        batch.delete::<Blob>(&(ns.clone(), digest.clone()));
        batch.delete::<BlobOwner>(&(digest.clone(), ns.clone()));
        let digest = digest.to_string();
        batch.tell(ns, &Happening::ContentDelete { digest })
    }

    /// Removes an ingest, record first. The caller holds its claim or is alone.
    fn drop_ingest(&self, ns: &Namespace, reference: &str, record: &IngestRecord) -> Result<()> {
        let mut batch = Batch::new();
        self.drop_ingest_in(&mut batch, ns, reference, record);
        self.store.commit(batch)?;
        self.files.remove_ingest(&record.dir)
    }

    fn drop_ingest_in(&self, batch: &mut Batch, ns: &Namespace, reference: &str, record: &IngestRecord) {
        batch.delete::<IngestRecord>(&(ns.clone(), reference.to_owned()));
        let resource = Resource::Ingest(reference.to_owned());
        self.leases.remove_in(batch, ns, record.lease.as_ref(), &resource);
    }

    fn status(&self, reference: &str, record: &IngestRecord) -> IngestStatus {
        let meta = fs::metadata(self.files.data(&record.dir));
        IngestStatus {
            reference: reference.to_owned(),
            offset: meta.as_ref().map_or(0, fs::Metadata::len),
            total: record.total,
            expected: record.expected.clone(),
            started_at: record.started_at,
            updated_at: meta.and_then(|meta| meta.modified()).unwrap_or(record.started_at),
        }
    }

    /// While its lease lasts, one that nobody takes up again; any other for as long as somebody may.
    fn keeps_ingest(&self, ns: &Namespace, record: &IngestRecord) -> Result<bool> {
        match &record.lease {
            Some(lease) if record.transient => self.store.contains::<Lease>(&(ns.clone(), lease.clone())),
            Some(_) | None => Ok(self.is_fresh(record)),
        }
    }

    fn is_fresh(&self, record: &IngestRecord) -> bool {
        let age = SystemTime::now().duration_since(self.status("", record).updated_at);
        // Written in the future of a clock that was set back: as good as new.
        age.map_or(true, |age| age < INGEST_LIFETIME)
    }
}

struct FileReader {
    file: File,
    size: u64,
}

impl BlobReader for FileReader {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> gantry_core::Result<usize> {
        let left = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let length = buffer.len().min(left);
        if length == 0 {
            return Ok(0);
        }
        self.file.read_at(&mut buffer[..length], offset).map_err(|error| {
            gantry_core::Error::wrap(gantry_core::error::io_kind(&error), error).context("read a blob")
        })
    }
}

impl ContentStore for BlobStore {
    fn info(&self, ns: &Namespace, digest: &Digest) -> gantry_core::Result<BlobInfo> {
        Ok(self.inner.blob(ns, digest)?.info(digest))
    }

    fn reader(&self, ns: &Namespace, digest: &Digest) -> gantry_core::Result<Box<dyn BlobReader>> {
        let blob = self.inner.blob(ns, digest)?;
        let found = self.inner.files.size(digest)?;
        if found != Some(blob.size) {
            return Err(Error::BlobDamaged {
                digest: digest.clone(),
                expected: blob.size,
                found: found.unwrap_or(0),
            }
            .into());
        }
        let path = self.inner.files.blob(digest);
        let file = File::open(&path).map_err(Error::path("open", &path))?;
        Ok(Box::new(FileReader { file, size: blob.size }))
    }

    fn ingest(&self, ns: &Namespace, request: IngestRequest) -> gantry_core::Result<Box<dyn Ingest>> {
        Ok(Box::new(ingest::OpenIngest::open(self.inner.clone(), ns, request)?))
    }

    fn label(&self, ns: &Namespace, digest: &Digest, labels: &Labels) -> gantry_core::Result<BlobInfo> {
        Ok(self
            .inner
            .relabel(ns, digest, |blob| label::merge(&mut blob.labels, labels))?)
    }

    fn list(&self, ns: &Namespace) -> gantry_core::Result<Vec<BlobInfo>> {
        let blobs = self.inner.store.scan::<Blob>(ns)?;
        Ok(blobs
            .into_iter()
            .map(|((_, digest), blob)| blob.info(&digest))
            .collect())
    }

    fn ingests(&self, ns: &Namespace) -> gantry_core::Result<Vec<IngestStatus>> {
        let records = self.inner.store.scan::<IngestRecord>(ns)?;
        Ok(records
            .iter()
            .map(|((_, reference), record)| self.inner.status(reference, record))
            .collect())
    }

    fn delete(&self, ns: &Namespace, digest: &Digest) -> gantry_core::Result<()> {
        let _claim = self.inner.store.claims().claim(blob_claim(digest))?;
        self.inner.blob(ns, digest)?;
        let mut batch = Batch::new();
        Inner::delete_in(&mut batch, ns, digest)?;
        Ok(self.inner.store.commit(batch).map(drop)?)
    }

    fn abort(&self, ns: &Namespace, reference: &str) -> gantry_core::Result<()> {
        let claim = self.inner.store.claims().try_claim(ingest_claim(ns, reference));
        let Some(_claim) = claim else {
            return Err(Error::IngestBusy {
                reference: reference.to_owned(),
            }
            .into());
        };
        let record = self.inner.store.get(&(ns.clone(), reference.to_owned()))?;
        let record = record.ok_or_else(|| Error::IngestMissing {
            reference: reference.to_owned(),
        })?;
        Ok(self.inner.drop_ingest(ns, reference, &record)?)
    }
}
