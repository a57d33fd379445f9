//! Stores for tests: content in memory, snapshots as plain directories. They keep to the traits' words, no more.

use crate::hash::Hasher;
use gantry_core::content::{BlobInfo, BlobReader, ContentStore, Ingest, IngestRequest, IngestStatus};
use gantry_core::lease::LeaseKeeper;
use gantry_core::snapshot::{
    ApplyTarget, CommitOptions, SnapshotInfo, SnapshotKind, SnapshotOptions, SnapshotService, Usage, Whiteouts,
};
use gantry_core::{Algorithm, Digest, Error, ErrorKind, Labels, LeaseId, Mount, Namespace, Result, label};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::SystemTime;

#[derive(Default)]
pub(crate) struct MemContent {
    state: Arc<Mutex<State>>,
}

type Blob = (Arc<Vec<u8>>, Labels);

#[derive(Default)]
struct State {
    blobs: BTreeMap<(Namespace, Digest), Blob>,
    ingests: BTreeMap<String, Vec<u8>>,
    open: BTreeSet<String>,
}

impl MemContent {
    pub(crate) fn partial(&self, reference: &str) -> Option<usize> {
        self.state.lock().ingests.get(reference).map(Vec::len)
    }

    pub(crate) fn ingest_count(&self) -> usize {
        self.state.lock().ingests.len()
    }

    pub(crate) fn put(&self, ns: &Namespace, bytes: &[u8]) -> Digest {
        let digest = Hasher::of(Algorithm::Sha256, bytes);
        let value = (Arc::new(bytes.to_vec()), Labels::new());
        self.state.lock().blobs.insert((ns.clone(), digest.clone()), value);
        digest
    }
}

fn info(digest: &Digest, bytes: &[u8], labels: &Labels) -> BlobInfo {
    BlobInfo {
        digest: digest.clone(),
        size: bytes.len() as u64,
        created_at: SystemTime::UNIX_EPOCH,
        updated_at: SystemTime::UNIX_EPOCH,
        labels: labels.clone(),
    }
}

struct MemReader(Arc<Vec<u8>>);

impl BlobReader for MemReader {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        let from = usize::try_from(offset).unwrap().min(self.0.len());
        let length = buffer.len().min(self.0.len() - from);
        buffer[..length].copy_from_slice(&self.0[from..from + length]);
        Ok(length)
    }
}

struct MemIngest {
    state: Arc<Mutex<State>>,
    ns: Namespace,
    request: IngestRequest,
    bytes: Vec<u8>,
    keep: bool,
}

impl Ingest for MemIngest {
    fn status(&self) -> IngestStatus {
        IngestStatus {
            reference: self.request.reference.clone(),
            offset: self.bytes.len() as u64,
            total: self.request.total,
            expected: self.request.expected.clone(),
            started_at: SystemTime::UNIX_EPOCH,
            updated_at: SystemTime::UNIX_EPOCH,
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn truncate(&mut self, size: u64) -> Result<()> {
        self.bytes.truncate(usize::try_from(size).unwrap());
        Ok(())
    }

    fn digest(&self) -> Digest {
        let algorithm = self
            .request
            .expected
            .as_ref()
            .map_or(Algorithm::Sha256, Digest::algorithm);
        Hasher::of(algorithm, &self.bytes)
    }

    fn commit(mut self: Box<Self>, size: Option<u64>, expected: Option<&Digest>, labels: Labels) -> Result<BlobInfo> {
        let digest = self.digest();
        self.keep = false;
        if size.is_some_and(|size| size != self.bytes.len() as u64) || expected.is_some_and(|e| *e != digest) {
            return Err(Error::precondition("unexpected commit"));
        }
        let key = (self.ns.clone(), digest.clone());
        let mut state = self.state.lock();
        if state.blobs.contains_key(&key) {
            return Err(Error::exists("blob"));
        }
        let found = info(&digest, &self.bytes, &labels);
        state
            .blobs
            .insert(key, (Arc::new(std::mem::take(&mut self.bytes)), labels));
        drop(state);
        Ok(found)
    }

    fn abort(mut self: Box<Self>) -> Result<()> {
        self.keep = false;
        Ok(())
    }
}

impl Drop for MemIngest {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        state.open.remove(&self.request.reference);
        match self.keep {
            true => state
                .ingests
                .insert(self.request.reference.clone(), std::mem::take(&mut self.bytes)),
            false => state.ingests.remove(&self.request.reference),
        };
    }
}

impl ContentStore for MemContent {
    fn info(&self, ns: &Namespace, digest: &Digest) -> Result<BlobInfo> {
        let state = self.state.lock();
        let found = state.blobs.get(&(ns.clone(), digest.clone()));
        found
            .map(|(bytes, labels)| info(digest, bytes, labels))
            .ok_or_else(|| Error::not_found(format!("blob {digest}")))
    }

    fn reader(&self, ns: &Namespace, digest: &Digest) -> Result<Box<dyn BlobReader>> {
        let state = self.state.lock();
        let found = state.blobs.get(&(ns.clone(), digest.clone()));
        let (bytes, _) = found.ok_or_else(|| Error::not_found(format!("blob {digest}")))?;
        Ok(Box::new(MemReader(bytes.clone())))
    }

    fn ingest(&self, ns: &Namespace, request: IngestRequest) -> Result<Box<dyn Ingest>> {
        let mut state = self.state.lock();
        if let Some(expected) = &request.expected
            && state.blobs.contains_key(&(ns.clone(), expected.clone()))
        {
            return Err(Error::exists("blob"));
        }
        if !state.open.insert(request.reference.clone()) {
            return Err(Error::new(ErrorKind::Unavailable, "being written"));
        }
        let bytes = state.ingests.get(&request.reference).cloned().unwrap_or_default();
        Ok(Box::new(MemIngest {
            state: self.state.clone(),
            ns: ns.clone(),
            request,
            bytes,
            keep: true,
        }))
    }

    fn label(&self, ns: &Namespace, digest: &Digest, labels: &Labels) -> Result<BlobInfo> {
        let mut state = self.state.lock();
        let found = state.blobs.get_mut(&(ns.clone(), digest.clone()));
        let (bytes, known) = found.ok_or_else(|| Error::not_found(format!("blob {digest}")))?;
        label::merge(known, labels);
        Ok(info(digest, bytes, known))
    }

    fn list(&self, ns: &Namespace) -> Result<Vec<BlobInfo>> {
        let state = self.state.lock();
        let mine = state.blobs.iter().filter(|((of, _), _)| of == ns);
        Ok(mine
            .map(|((_, digest), (bytes, labels))| info(digest, bytes, labels))
            .collect())
    }

    fn ingests(&self, _ns: &Namespace) -> Result<Vec<IngestStatus>> {
        Ok(Vec::new())
    }

    fn delete(&self, ns: &Namespace, digest: &Digest) -> Result<()> {
        self.state.lock().blobs.remove(&(ns.clone(), digest.clone()));
        Ok(())
    }

    fn abort(&self, _ns: &Namespace, reference: &str) -> Result<()> {
        self.state.lock().ingests.remove(reference);
        Ok(())
    }
}

#[derive(Clone)]
struct Snap {
    kind: SnapshotKind,
    parent: Option<String>,
    dir: PathBuf,
    verified: bool,
}

pub(crate) struct DirSnapshots {
    root: PathBuf,
    whiteouts: Whiteouts,
    snaps: Mutex<BTreeMap<String, Snap>>,
}

impl DirSnapshots {
    pub(crate) fn new(root: &Path, whiteouts: Whiteouts) -> Self {
        std::fs::create_dir_all(root).unwrap();
        Self {
            root: root.to_owned(),
            whiteouts,
            snaps: Mutex::default(),
        }
    }

    /// Names, sorted, and how many directories there are.
    pub(crate) fn names(&self) -> (Vec<String>, usize) {
        let names = self.snaps.lock().keys().cloned().collect();
        (names, std::fs::read_dir(&self.root).unwrap().count())
    }

    /// Directories of a chain, nearest first.
    pub(crate) fn dirs(&self, name: &str) -> Vec<PathBuf> {
        let snaps = self.snaps.lock();
        let mut dirs = Vec::new();
        let mut at = Some(name.to_owned());
        while let Some(snap) = at.and_then(|name| snaps.get(&name).cloned()) {
            dirs.push(snap.dir);
            // A plain tree holds all of its parents.
            at = snap.parent.filter(|_| self.whiteouts == Whiteouts::Overlay);
        }
        dirs
    }

    pub(crate) fn verified(&self, name: &str) -> bool {
        self.snaps.lock()[name].verified
    }

    fn get(&self, key: &str) -> Result<Snap> {
        let found = self.snaps.lock().get(key).cloned();
        found.ok_or_else(|| Error::not_found(format!("snapshot {key}")))
    }

    fn make(
        &self,
        key: &str,
        parent: Option<&str>,
        kind: SnapshotKind,
        options: &SnapshotOptions,
    ) -> Result<Vec<Mount>> {
        if let Some(target) = options.labels.get("containerd.io/snapshot.ref")
            && self.snaps.lock().contains_key(target)
        {
            return Err(Error::exists("target snapshot"));
        }
        let unique: u64 = rand::random();
        let dir = self.root.join(format!("{unique:016x}"));
        std::fs::create_dir(&dir).unwrap();
        if let (Some(parent), Whiteouts::Plain) = (parent, self.whiteouts) {
            let from = self.get(parent)?.dir;
            assert!(
                Command::new("cp")
                    .arg("-aT")
                    .arg(from)
                    .arg(&dir)
                    .status()
                    .unwrap()
                    .success()
            );
        }
        let snap = Snap {
            kind,
            parent: parent.map(str::to_owned),
            dir: dir.clone(),
            verified: false,
        };
        if self.snaps.lock().insert(key.to_owned(), snap).is_some() {
            return Err(Error::exists(format!("snapshot {key}")));
        }
        Ok(vec![Mount {
            kind: "bind".into(),
            source: dir.to_string_lossy().into_owned(),
            target: String::new(),
            options: vec!["rbind".into()],
        }])
    }
}

impl SnapshotService for DirSnapshots {
    fn prepare(
        &self,
        _ns: &Namespace,
        _sn: &str,
        key: &str,
        parent: Option<&str>,
        options: SnapshotOptions,
    ) -> Result<Vec<Mount>> {
        self.make(key, parent, SnapshotKind::Active, &options)
    }

    fn view(
        &self,
        _ns: &Namespace,
        _sn: &str,
        key: &str,
        parent: Option<&str>,
        options: SnapshotOptions,
    ) -> Result<Vec<Mount>> {
        self.make(key, parent, SnapshotKind::View, &options)
    }

    fn mounts(&self, _ns: &Namespace, _sn: &str, _key: &str) -> Result<Vec<Mount>> {
        Ok(Vec::new())
    }

    fn commit(&self, _ns: &Namespace, _sn: &str, name: &str, key: &str, options: CommitOptions) -> Result<()> {
        let mut snaps = self.snaps.lock();
        if snaps.contains_key(name) {
            return Err(Error::exists(format!("snapshot {name}")));
        }
        if let Some(parent) = &options.parent
            && !snaps.contains_key(parent)
        {
            return Err(Error::not_found(format!("parent {parent}")));
        }
        let mut snap = snaps
            .remove(key)
            .ok_or_else(|| Error::not_found(format!("snapshot {key}")))?;
        snap.kind = SnapshotKind::Committed;
        snap.parent = options.parent.or(snap.parent);
        snap.verified = options.verified;
        snaps.insert(name.to_owned(), snap);
        Ok(())
    }

    fn remove(&self, _ns: &Namespace, _sn: &str, key: &str) -> Result<()> {
        let snap = self.get(key)?;
        self.snaps.lock().remove(key);
        std::fs::remove_dir_all(snap.dir).unwrap();
        Ok(())
    }

    fn stat(&self, _ns: &Namespace, _sn: &str, key: &str) -> Result<SnapshotInfo> {
        let snap = self.get(key)?;
        Ok(SnapshotInfo {
            kind: snap.kind,
            name: key.to_owned(),
            parent: snap.parent,
            labels: Labels::new(),
            created_at: SystemTime::UNIX_EPOCH,
            updated_at: SystemTime::UNIX_EPOCH,
            verified: snap.verified,
        })
    }

    fn label(&self, ns: &Namespace, sn: &str, key: &str, _labels: &Labels) -> Result<SnapshotInfo> {
        self.stat(ns, sn, key)
    }

    fn list(&self, _ns: &Namespace, _sn: &str) -> Result<Vec<SnapshotInfo>> {
        Ok(Vec::new())
    }

    fn usage(&self, _ns: &Namespace, _sn: &str, _key: &str) -> Result<Usage> {
        Ok(Usage::default())
    }

    fn apply_target(&self, _ns: &Namespace, _sn: &str, key: &str) -> Result<ApplyTarget> {
        let snap = self.get(key)?;
        let lower = match (self.whiteouts, &snap.parent) {
            (Whiteouts::Overlay, Some(parent)) => self.dirs(parent),
            _ => Vec::new(),
        };
        Ok(ApplyTarget {
            dir: snap.dir,
            whiteouts: self.whiteouts,
            lower,
        })
    }

    fn can_rebase(&self, _sn: &str) -> Result<bool> {
        Ok(self.whiteouts == Whiteouts::Overlay)
    }
}

/// Counts open leases.
#[derive(Default)]
pub(crate) struct CountLeases(pub Mutex<BTreeSet<String>>);

impl LeaseKeeper for CountLeases {
    fn open(&self, _ns: &Namespace) -> Result<LeaseId> {
        let id = format!("{:016x}", rand::random::<u64>());
        self.0.lock().insert(id.clone());
        Ok(LeaseId(id))
    }

    fn close(&self, _ns: &Namespace, lease: &LeaseId) -> Result<()> {
        self.0.lock().remove(&lease.0);
        Ok(())
    }
}
