//! One open ingest: opened or resumed, written, committed.

use super::files::Hasher;
use super::{Blob, BlobOwner, IngestRecord, Inner, blob_claim, ingest_claim};
use crate::db::Claim;
use crate::db::repair::sync_dir;
use crate::error::{Error, Result};
use crate::key::Key;
use crate::lease::Resource;
use crate::record::Batch;
use gantry_core::content::{BlobInfo, Ingest, IngestRequest, IngestStatus};
use gantry_core::meta::Happening;
use gantry_core::{Algorithm, Digest, Labels, Namespace, label};
use sha2::{Digest as _, Sha256};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

pub struct OpenIngest {
    inner: Arc<Inner>,
    ns: Namespace,
    reference: String,
    record: IngestRecord,
    file: File,
    offset: u64,
    hasher: Hasher,
    updated_at: SystemTime,
    /// Whether the file does not say yet when that was.
    is_changed: bool,
    /// Keeps other writers of the reference away.
    _claim: Claim,
}

impl OpenIngest {
    pub fn open(inner: Arc<Inner>, ns: &Namespace, request: IngestRequest) -> Result<Self> {
        let reference = request.reference.clone();
        if reference.is_empty() {
            return Err(Error::NoReference);
        }
        let claim = inner.store.claims().try_claim(ingest_claim(ns, &reference));
        let claim = claim.ok_or_else(|| Error::IngestBusy {
            reference: reference.clone(),
        })?;
        inner.leases.require(ns, request.lease.as_ref())?;
        let old: Option<IngestRecord> = inner.store.get(&(ns.clone(), reference.clone()))?;
        if let Some(digest) = &request.expected
            && inner.keep_existing(ns, digest, request.lease.as_ref())?
        {
            if let Some(old) = old {
                inner.drop_ingest(ns, &reference, &old)?;
            }
            return Err(Error::BlobExists { digest: digest.clone() });
        }
        let resumed = old.is_some();
        let record = inner.begin(ns, &request, old)?;
        let data = inner.files.data(&record.dir);
        let algorithm = record.expected.as_ref().map_or(Algorithm::Sha256, Digest::algorithm);
        let (hasher, offset) = Hasher::of_file(algorithm, &data, u64::MAX).map_err(Error::path("read", &data))?;
        let file = OpenOptions::new().write(!record.shared).read(true).open(&data);
        let file = file.map_err(Error::path("open", &data))?;
        // What a former writer did last is what is new about it.
        let written = file.metadata().and_then(|meta| meta.modified()).ok();
        Ok(Self {
            file,
            inner,
            ns: ns.clone(),
            reference,
            record,
            offset,
            hasher,
            updated_at: written.filter(|_| resumed).unwrap_or_else(SystemTime::now),
            is_changed: false,
            _claim: claim,
        })
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.unshare()?;
        let path = self.inner.files.data(&self.record.dir);
        self.file
            .write_all_at(bytes, self.offset)
            .map_err(Error::path("write", &path))?;
        self.hasher.update(bytes);
        self.offset += bytes.len() as u64;
        (self.updated_at, self.is_changed) = (SystemTime::now(), true);
        Ok(())
    }

    fn cut(&mut self, size: u64) -> Result<()> {
        if size > self.offset {
            return Err(Error::BeyondEnd {
                what: format!("ingest {}", self.reference),
                offset: size,
                size: self.offset,
            });
        }
        self.unshare()?;
        let path = self.inner.files.data(&self.record.dir);
        self.file.set_len(size).map_err(Error::path("cut", &path))?;
        let (hasher, offset) =
            Hasher::of_file(self.hasher.algorithm(), &path, size).map_err(Error::path("read", &path))?;
        (self.hasher, self.offset) = (hasher, offset);
        (self.updated_at, self.is_changed) = (SystemTime::now(), true);
        Ok(())
    }

    /// Bytes linked from another namespace's blob become our own before they are changed.
    fn unshare(&mut self) -> Result<()> {
        if !self.record.shared {
            return Ok(());
        }
        let data = self.inner.files.data(&self.record.dir);
        let own = data.with_extension("own");
        fs::copy(&data, &own).map_err(Error::path("copy", &data))?;
        fs::set_permissions(&own, Permissions::from_mode(0o600)).map_err(Error::path("open", &own))?;
        fs::rename(&own, &data).map_err(Error::path("rename", &own))?;
        let file = OpenOptions::new().write(true).read(true).open(&data);
        self.file = file.map_err(Error::path("open", &data))?;
        self.record.shared = false;
        let mut batch = Batch::new();
        batch.put(&(self.ns.clone(), self.reference.clone()), &self.record)?;
        self.inner.store.commit(batch).map(drop)
    }

    /// Size and digest hold, or the ingest stays as it is under its reference.
    fn check(&mut self, size: Option<u64>, expected: Option<&Digest>) -> Result<Digest> {
        let total = (self.record.total > 0).then_some(self.record.total);
        if let Some(size) = size.or(total)
            && size != self.offset
        {
            return Err(Error::SizeMismatch {
                reference: self.reference.clone(),
                expected: size,
                found: self.offset,
            });
        }
        let expected = expected.or(self.record.expected.as_ref());
        let algorithm = expected.map_or(self.hasher.algorithm(), Digest::algorithm);
        if algorithm != self.hasher.algorithm() {
            let data = self.inner.files.data(&self.record.dir);
            let hashed = Hasher::of_file(algorithm, &data, self.offset).map_err(Error::path("read", &data))?;
            self.hasher = hashed.0;
        }
        let found = self.hasher.digest();
        match expected {
            Some(expected) if *expected != found => Err(Error::DigestMismatch {
                reference: self.reference.clone(),
                expected: expected.clone(),
                found,
            }),
            Some(_) | None => Ok(found),
        }
    }

    fn finish(mut self, size: Option<u64>, expected: Option<&Digest>, labels: Labels) -> Result<BlobInfo> {
        label::validate(&labels)?;
        let digest = self.check(size, expected)?;
        let inner = self.inner.clone();
        let lease = self.record.lease.clone();
        if inner.keep_existing(&self.ns, &digest, lease.as_ref())? {
            inner.drop_ingest(&self.ns, &self.reference, &self.record)?;
            return Err(Error::BlobExists { digest });
        }
        let data = inner.files.data(&self.record.dir);
        if !self.record.shared {
            self.file
                .set_len(self.offset)
                .and_then(|()| self.file.set_permissions(Permissions::from_mode(0o444)))
                .and_then(|()| self.file.sync_all())
                .map_err(Error::path("sync", &data))?;
        }
        self.is_changed = false;
        failpoint!("store::blob::commit::synced");
        let claim = inner.store.claims().claim(blob_claim(&digest))?;
        let exists = inner.is_whole(&self.ns, &digest)?;
        // Bytes that are there and whole are shared; a file that is cut short is replaced.
        if !exists && inner.files.size(&digest)? != Some(self.offset) {
            inner.files.publish(&self.record.dir, &digest)?;
        }
        failpoint!("store::blob::commit::renamed");
        let blob = self.record_blob(&digest, labels, exists)?;
        drop(claim);
        failpoint!("store::blob::commit::recorded");
        inner.files.remove_ingest(&self.record.dir)?;
        match exists {
            true => Err(Error::BlobExists { digest }),
            false => Ok(blob.info(&digest)),
        }
    }

    /// The outcome, in one batch: blob and owner, the ingest gone, the lease moved from one to the other.
    fn record_blob(&self, digest: &Digest, labels: Labels, exists: bool) -> Result<Blob> {
        let now = SystemTime::now();
        let blob = Blob {
            size: self.offset,
            created_at: now,
            updated_at: now,
            labels: labels.into_iter().filter(|(_, value)| !value.is_empty()).collect(),
        };
        let mut batch = Batch::new();
        let _kept = self.inner.store.appear(&mut batch, &self.ns)?;
        if !exists {
            batch.put(&(self.ns.clone(), digest.clone()), &blob)?;
            batch.put(&(digest.clone(), self.ns.clone()), &BlobOwner {})?;
            let happening = Happening::ContentCreate {
                digest: digest.to_string(),
                size: i64::try_from(blob.size).unwrap_or(i64::MAX),
            };
            batch.tell(&self.ns, &happening)?;
        }
        let leases = &self.inner.leases;
        self.inner
            .drop_ingest_in(&mut batch, &self.ns, &self.reference, &self.record);
        let resource = Resource::Content(digest.clone());
        leases.add_in(&mut batch, &self.ns, self.record.lease.as_ref(), &resource)?;
        self.inner.store.commit(batch)?;
        Ok(blob)
    }
}

impl Drop for OpenIngest {
    /// The kernel's own note is coarser than what the writer was told.
    fn drop(&mut self) {
        if self.is_changed {
            // For show: a note that is not made costs nothing.
            let _ = self.file.set_modified(self.updated_at);
        }
    }
}

impl Inner {
    /// Records what is to be ingested, then makes its directory, or takes up what an earlier writer left.
    fn begin(&self, ns: &Namespace, request: &IngestRequest, old: Option<IngestRecord>) -> Result<IngestRecord> {
        let key = (ns.clone(), request.reference.clone());
        let resumed = old.is_some();
        if let Some(old) = &old
            && old.total > 0
            && request.total > 0
            && old.total != request.total
        {
            return Err(Error::TotalChanged {
                reference: request.reference.clone(),
                said: request.total,
                known: old.total,
            });
        }
        let mut record = old.unwrap_or_else(|| IngestRecord {
            dir: hex::encode(&Sha256::digest(key.to_bytes())[..16]),
            total: 0,
            expected: None,
            started_at: SystemTime::now(),
            shared: false,
            lease: None,
            transient: request.transient,
        });
        if request.total > 0 {
            record.total = request.total;
        }
        record.expected = request.expected.clone().or(record.expected);
        record.lease = request.lease.clone().or(record.lease);
        // Held until the link is made: the bytes cannot go meanwhile.
        let mut claim = None;
        if let (Some(digest), false) = (&request.expected, resumed) {
            claim = Some(self.store.claims().claim_shared(blob_claim(digest))?);
            record.shared = self.may_share(digest)?;
        }
        let mut batch = Batch::new();
        let _kept = self.store.appear(&mut batch, ns)?;
        batch.put(&key, &record)?;
        let resource = Resource::Ingest(request.reference.clone());
        self.leases.add_in(&mut batch, ns, record.lease.as_ref(), &resource)?;
        self.store.commit(batch)?;
        failpoint!("store::blob::ingest::intent");
        self.make_data(&record)?;
        drop(claim);
        Ok(record)
    }

    fn make_data(&self, record: &IngestRecord) -> Result<()> {
        let (dir, data) = (self.files.ingest(&record.dir), self.files.data(&record.dir));
        fs::create_dir_all(&dir).map_err(Error::path("create", &dir))?;
        if data.exists() {
            return Ok(());
        }
        match &record.expected {
            Some(digest) if record.shared => link(&self.files.blob(digest), &data)?,
            Some(_) | None => {
                File::create(&data).map_err(Error::path("create", &data))?;
            }
        }
        sync_dir(&dir)?;
        sync_dir(&self.files.ingests())
    }
}

fn link(from: &Path, to: &Path) -> Result<()> {
    match fs::hard_link(from, to) {
        // Resumed after the other namespace's blob has gone: the bytes have to be sent after all.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            File::create(to).map(drop).map_err(Error::path("create", to))
        }
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(Error::path("link", from)(error)),
        _ => Ok(()),
    }
}

impl Ingest for OpenIngest {
    fn status(&self) -> IngestStatus {
        IngestStatus {
            reference: self.reference.clone(),
            offset: self.offset,
            total: self.record.total,
            expected: self.record.expected.clone(),
            started_at: self.record.started_at,
            updated_at: self.updated_at,
        }
    }

    fn write(&mut self, bytes: &[u8]) -> gantry_core::Result<()> {
        Ok(self.append(bytes)?)
    }

    fn truncate(&mut self, size: u64) -> gantry_core::Result<()> {
        Ok(self.cut(size)?)
    }

    fn digest(&self) -> Digest {
        self.hasher.digest()
    }

    fn commit(
        self: Box<Self>,
        size: Option<u64>,
        expected: Option<&Digest>,
        labels: Labels,
    ) -> gantry_core::Result<BlobInfo> {
        Ok(self.finish(size, expected, labels)?)
    }

    fn abort(mut self: Box<Self>) -> gantry_core::Result<()> {
        self.is_changed = false;
        Ok(self.inner.drop_ingest(&self.ns, &self.reference, &self.record)?)
    }
}
