//! Stores for tests: content in memory, snapshots as plain directories. They keep to the traits' words, no more.

use crate::hash::Hasher;
use crate::service::{ImageService, ImageSettings};
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

#[derive(Default)]
struct State {
    blobs: BTreeMap<(Namespace, Digest), (Arc<Vec<u8>>, Labels)>,
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

/// A service over these, on a root of its own.
pub(crate) struct Bed {
    pub content: Arc<MemContent>,
    pub snapshots: Arc<DirSnapshots>,
    pub leases: Arc<CountLeases>,
    pub service: ImageService,
    pub ns: Namespace,
    pub root: tempfile::TempDir,
}

impl Bed {
    pub(crate) fn new(whiteouts: Whiteouts) -> Self {
        Self::with(whiteouts, ImageSettings::default())
    }

    pub(crate) fn with(whiteouts: Whiteouts, settings: ImageSettings) -> Self {
        let root = tempfile::tempdir().unwrap();
        let content = Arc::new(MemContent::default());
        let snapshots = Arc::new(DirSnapshots::new(&root.path().join("snapshots"), whiteouts));
        let leases = Arc::new(CountLeases::default());
        let service =
            ImageService::with_leases(content.clone(), snapshots.clone(), Some(leases.clone()), settings).unwrap();
        Self {
            content,
            snapshots,
            leases,
            service,
            ns: Namespace::engine(),
            root,
        }
    }

    /// No half made thing: no open ingest, no snapshot that is not committed, no directory without a name.
    pub(crate) fn assert_tidy(&self) {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        loop {
            let (names, dirs) = self.snapshots.names();
            let half: Vec<_> = names.iter().filter(|name| name.contains(' ')).collect();
            if half.is_empty() && dirs == names.len() {
                return;
            }
            assert!(
                std::time::Instant::now() < deadline,
                "left: {half:?}, {dirs} directories"
            );
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

/// One tar member.
pub(crate) struct Member {
    pub header: tar::Header,
    pub path: Vec<u8>,
    pub link: Vec<u8>,
    pub content: Vec<u8>,
    pub pax: Vec<(String, Vec<u8>)>,
}

pub(crate) fn member(kind: tar::EntryType, path: &str) -> Member {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(if kind == tar::EntryType::Directory {
        0o755
    } else {
        0o644
    });
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_000_000_000);
    Member {
        header,
        path: path.as_bytes().to_vec(),
        link: Vec::new(),
        content: Vec::new(),
        pax: Vec::new(),
    }
}

pub(crate) fn file(path: &str, content: &str) -> Member {
    Member {
        content: content.as_bytes().to_vec(),
        ..member(tar::EntryType::Regular, path)
    }
}

pub(crate) fn dir(path: &str) -> Member {
    member(tar::EntryType::Directory, path)
}

pub(crate) fn link(kind: tar::EntryType, path: &str, to: &str) -> Member {
    Member {
        link: to.as_bytes().to_vec(),
        ..member(kind, path)
    }
}

/// A tar of members exactly as given, however hostile.
pub(crate) fn tar_of(members: Vec<Member>) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for mut member in members {
        let pax = member.pax.iter().map(|(key, value)| (key.as_str(), value.as_slice()));
        builder.append_pax_extensions(pax).unwrap();
        let old = member.header.as_old_mut();
        old.name[..member.path.len()].copy_from_slice(&member.path);
        old.linkname[..member.link.len()].copy_from_slice(&member.link);
        member.header.set_size(member.content.len() as u64);
        member.header.set_cksum();
        builder.append(&member.header, &member.content[..]).unwrap();
    }
    builder.into_inner().unwrap()
}

/// A stream of bytes as a door hands it on.
pub(crate) fn feed(bytes: Vec<u8>) -> tokio::sync::mpsc::Receiver<Result<bytes::Bytes>> {
    let (sender, receiver) = tokio::sync::mpsc::channel(4);
    tokio::spawn(async move {
        for piece in bytes.chunks(50_000) {
            if sender.send(Ok(bytes::Bytes::copy_from_slice(piece))).await.is_err() {
                break;
            }
        }
    });
    receiver
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A layer of an image in the making: its tar, and how it is packed.
pub(crate) struct Layer {
    pub tar: Vec<u8>,
    pub packed: Vec<u8>,
    pub media_type: &'static str,
}

impl Layer {
    pub(crate) fn gzip(members: Vec<Member>) -> Self {
        let tar = tar_of(members);
        Self {
            packed: gzip(&tar),
            tar,
            media_type: crate::media::OCI_LAYER_GZIP,
        }
    }

    pub(crate) fn zstd(members: Vec<Member>) -> Self {
        let tar = tar_of(members);
        Self {
            packed: zstd::encode_all(&tar[..], 3).unwrap(),
            tar,
            media_type: crate::media::OCI_LAYER_ZSTD,
        }
    }

    pub(crate) fn plain(members: Vec<Member>) -> Self {
        let tar = tar_of(members);
        Self {
            packed: tar.clone(),
            tar,
            media_type: crate::media::OCI_LAYER,
        }
    }
}

/// The parts of an image: bytes by digest, and its manifest's descriptor.
pub(crate) struct Parts {
    pub target: crate::Descriptor,
    pub blobs: BTreeMap<Digest, Vec<u8>>,
    pub layers: Vec<crate::Descriptor>,
    pub config: Digest,
}

pub(crate) fn parts(layers: &[Layer]) -> Parts {
    let digest = |bytes: &[u8]| Hasher::of(Algorithm::Sha256, bytes);
    let mut blobs = BTreeMap::new();
    let mut descriptors = Vec::new();
    for layer in layers {
        let blob = crate::Descriptor::new(layer.media_type, digest(&layer.packed), layer.packed.len() as u64);
        blobs.insert(blob.digest.clone(), layer.packed.clone());
        descriptors.push(blob);
    }
    let config = crate::ImageConfig {
        architecture: crate::Platform::host().architecture,
        os: "linux".into(),
        rootfs: crate::config::RootFs {
            kind: "layers".into(),
            diff_ids: layers.iter().map(|layer| digest(&layer.tar)).collect(),
        },
        ..crate::ImageConfig::default()
    };
    let bytes = config.to_bytes();
    let manifest = crate::descriptor::Manifest {
        schema_version: 2,
        media_type: Some(crate::media::OCI_MANIFEST.into()),
        config: crate::Descriptor::new(crate::media::OCI_CONFIG, digest(&bytes), bytes.len() as u64),
        layers: descriptors.clone(),
        annotations: BTreeMap::new(),
    };
    blobs.insert(digest(&bytes), bytes.clone());
    let config = digest(&bytes);
    let bytes = serde_json::to_vec(&manifest).unwrap();
    let target = crate::Descriptor::new(crate::media::OCI_MANIFEST, digest(&bytes), bytes.len() as u64);
    blobs.insert(target.digest.clone(), bytes);
    Parts {
        target,
        blobs,
        layers: descriptors,
        config,
    }
}

impl Parts {
    pub(crate) fn put(&self, bed: &Bed) {
        for bytes in self.blobs.values() {
            bed.content.put(&bed.ns, bytes);
        }
    }
}

/// Runs a program of the host and returns what it says; it must succeed.
pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let out = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|e| panic!("{program}: {e}"));
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(
        out.status.success(),
        "{program} {arguments:?}: {said}{}",
        String::from_utf8_lossy(&out.stderr)
    );
    said
}

/// What a tree holds: kinds, modes, owners, links and contents; times in seconds.
pub(crate) fn listing(dir: &Path) -> String {
    let script = "cd \"$0\" && find . -printf '%P|%y|%m|%U|%G|%l|%Ts\\n' | sed 's/\\.[0-9]*$//' | LC_ALL=C sort && \
                  find . -type f -exec sha256sum {} + | LC_ALL=C sort -k2";
    run("sh", &["-c", script, dir.to_str().unwrap()])
}
