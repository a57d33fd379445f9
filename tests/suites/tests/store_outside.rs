//! Backends that know content by themselves, and the words in which the store refuses.

#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

use gantry_core::content::{ContentStore, IngestRequest};
use gantry_core::snapshot::{CommitOptions, SnapshotKind, SnapshotOptions, SnapshotService, Usage};
use gantry_core::{Algorithm, Digest, ErrorKind, Labels, LeaseId, Mount, Namespace};
use gantry_snapshots_api::{
    Access, ApplyTarget, Capabilities, ChangeVisitor, Error, Id, Options, Prepared, Removed, Result, Snapshotter,
    TARGET,
};
use gantry_snapshots_native::Native;
use gantry_store::{BlobStore, Leases, Resource, Sharing, SnapshotReport, SnapshotStore, Store, StoreOptions};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const SN: &str = "outside";
const KNOWN: &str = "known";
const USAGE: Usage = Usage { size: 7, inodes: 2 };

/// Directories of a native snapshotter, behind a service that has [`KNOWN`] by itself and may be away.
struct Outside {
    inner: Native,
    away: AtomicBool,
    committed: Mutex<Vec<Labels>>,
}

impl Snapshotter for Outside {
    fn name(&self) -> &'static str {
        SN
    }
    fn root(&self) -> &Path {
        self.inner.root()
    }
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
    fn prepare(&self, id: Id, parents: &[Id], options: &Options) -> Result<()> {
        self.inner.prepare(id, parents, options)
    }
    fn prepare_or_find(&self, id: Id, parents: &[Id], options: &Options) -> Result<Prepared> {
        self.prepare(id, parents, options)?;
        match options.labels.get(TARGET) {
            Some(target) if target == KNOWN => Ok(Prepared::Committed(USAGE)),
            Some(_) | None => Ok(Prepared::Active),
        }
    }
    fn view(&self, id: Id, parents: &[Id], options: &Options) -> Result<()> {
        self.inner.view(id, parents, options)
    }
    fn mounts(&self, id: Id, parents: &[Id], access: Access, options: &Options) -> Result<Vec<Mount>> {
        self.inner.mounts(id, parents, access, options)
    }
    fn commit(&self, id: Id, parents: &[Id]) -> Result<Usage> {
        self.inner.commit(id, parents)
    }
    fn commit_with(&self, id: Id, parents: &[Id], options: &Options) -> Result<Usage> {
        self.committed.lock().unwrap().push(options.labels.clone());
        self.commit(id, parents)
    }
    fn refuse_mounted(&self, id: Id) -> Result<()> {
        self.inner.refuse_mounted(id)
    }
    fn remove(&self, id: Id) -> Result<Removed> {
        self.inner.remove(id)
    }
    fn usage(&self, id: Id) -> Result<Usage> {
        self.inner.usage(id)
    }
    fn exists(&self, id: Id) -> Result<bool> {
        self.inner.exists(id)
    }
    fn list(&self) -> Result<Vec<Id>> {
        match self.away.load(Ordering::SeqCst) {
            true => Err(Error::Service {
                snapshotter: SN,
                deed: "list snapshots",
                kind: ErrorKind::Unavailable,
                message: "nobody listens".to_owned(),
            }),
            false => self.inner.list(),
        }
    }
    fn apply_target(&self, id: Id, parents: &[Id]) -> Result<ApplyTarget> {
        self.inner.apply_target(id, parents)
    }
    fn changes(&self, id: Id, parents: &[Id], visit: &mut ChangeVisitor<'_>) -> Result<()> {
        self.inner.changes(id, parents, visit)
    }
    fn cleanup(&self) -> Result<usize> {
        self.inner.cleanup()
    }
}

struct World {
    store: Arc<Store>,
    outside: Arc<Outside>,
    snapshots: SnapshotStore,
    leases: Leases,
    dir: tempfile::TempDir,
}

fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store"), &StoreOptions::default()).unwrap();
    let outside = Arc::new(Outside {
        inner: Native::open(&dir.path().join("outside")).unwrap(),
        away: AtomicBool::new(false),
        committed: Mutex::default(),
    });
    World {
        snapshots: SnapshotStore::new(store.clone(), vec![outside.clone()], Sharing::Shared),
        leases: Leases::new(store.clone()),
        store,
        outside,
        dir,
    }
}

fn ns() -> Namespace {
    Namespace::new("one").unwrap()
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs
        .iter()
        .map(|(key, value)| ((*key).into(), (*value).into()))
        .collect()
}

fn aimed(target: &str) -> SnapshotOptions {
    SnapshotOptions {
        labels: labels(&[(TARGET, target), ("own", "x")]),
        lease: None,
    }
}

impl World {
    fn base(&self) {
        let snapshots = &self.snapshots;
        snapshots
            .prepare(&ns(), SN, "work", None, SnapshotOptions::default())
            .unwrap();
        snapshots
            .commit(&ns(), SN, "base", "work", CommitOptions::default())
            .unwrap();
    }
}

#[test]
fn what_the_backend_has_is_committed_under_its_target() {
    let world = world();
    world.base();
    let snapshots = &world.snapshots;
    let lease = LeaseId("held".into());
    world.leases.create(&ns(), Some(lease.clone()), Labels::new()).unwrap();
    let options = SnapshotOptions {
        lease: Some(lease.clone()),
        ..aimed(KNOWN)
    };
    let error = snapshots
        .prepare(&ns(), SN, "extract", Some("base"), options)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert_eq!(
        error.to_string(),
        "target snapshot \"known\" from snapshotter: already exists"
    );
    let info = snapshots.stat(&ns(), SN, KNOWN).unwrap();
    assert_eq!(
        (info.kind, info.parent.as_deref(), info.verified),
        (SnapshotKind::Committed, Some("base"), false)
    );
    assert_eq!(info.labels, aimed(KNOWN).labels);
    assert_eq!(snapshots.usage(&ns(), SN, KNOWN).unwrap(), USAGE);
    assert!(snapshots.stat(&ns(), SN, "extract").is_err(), "no active one is left");
    assert_eq!(
        world.leases.resources(&ns(), &lease).unwrap(),
        [Resource::Snapshot {
            snapshotter: SN.to_owned(),
            key: KNOWN.to_owned(),
        }]
    );
    // From now on it is there without the backend, and can be built on.
    let error = snapshots
        .prepare(&ns(), SN, "extract", Some("base"), aimed(KNOWN))
        .unwrap_err();
    assert_eq!(error.to_string(), "target snapshot \"known\": already exists");
    snapshots
        .prepare(&ns(), SN, "top", Some(KNOWN), SnapshotOptions::default())
        .unwrap();
    assert_eq!(world.outside.list().unwrap().len(), 3, "each directory has a record");
    assert_eq!(snapshots.reconcile().unwrap(), SnapshotReport::default());
    // What it does not know is prepared as ever.
    snapshots.prepare(&ns(), SN, "extract", None, aimed("other")).unwrap();
}

#[test]
fn the_backend_hears_the_labels_of_the_commit() {
    let world = world();
    let snapshots = &world.snapshots;
    snapshots.prepare(&ns(), SN, "work", None, aimed("other")).unwrap();
    let options = CommitOptions {
        labels: labels(&[("containerd.io/snapshot/remote", "y"), ("mine", "z")]),
        ..CommitOptions::default()
    };
    snapshots.commit(&ns(), SN, "other", "work", options).unwrap();
    let heard = world.outside.committed.lock().unwrap().clone();
    assert_eq!(
        heard,
        [labels(&[("containerd.io/snapshot/remote", "y"), (TARGET, "other")])]
    );
    assert_eq!(
        snapshots.stat(&ns(), SN, "other").unwrap().labels,
        labels(&[("containerd.io/snapshot/remote", "y"), (TARGET, "other"), ("mine", "z")]),
        "other labels are those of the commit"
    );
}

#[test]
fn a_backend_that_is_away_does_not_keep_the_store_from_starting() {
    let world = world();
    world.base();
    world.outside.away.store(true, Ordering::SeqCst);
    let report = world.snapshots.reconcile().unwrap();
    assert_eq!(report.left.len(), 1);
    assert!(report.left[0].contains("nobody listens"), "{report:?}");
    assert!(report.damaged.is_empty() && report.removed == 0);
    world.outside.away.store(false, Ordering::SeqCst);
    assert_eq!(world.snapshots.reconcile().unwrap(), SnapshotReport::default());
}

/// One who names himself as his parent is refused at once, and does not wait for his own claim.
#[test]
fn nothing_is_its_own_parent() {
    let world = world();
    let begun = Instant::now();
    let plain = SnapshotOptions::default;
    let error = world.snapshots.prepare(&ns(), SN, "a", Some("a"), plain()).unwrap_err();
    assert_eq!(error.to_string(), "parent snapshot a does not exist: not found");
    let error = world
        .snapshots
        .prepare(&ns(), SN, "a", Some("b"), aimed("b"))
        .unwrap_err();
    assert_eq!(error.to_string(), "parent snapshot b does not exist: not found");
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[test]
fn snapshots_are_refused_in_the_words_of_containerd() {
    let world = world();
    world.base();
    let snapshots = &world.snapshots;
    let plain = SnapshotOptions::default;
    snapshots.prepare(&ns(), SN, "active", Some("base"), plain()).unwrap();
    snapshots.view(&ns(), SN, "view", Some("base"), plain()).unwrap();
    let commit = |name: &str, key: &str| snapshots.commit(&ns(), SN, name, key, CommitOptions::default());
    let missing = "snapshot nobody does not exist: not found";
    let told = [
        (snapshots.stat(&ns(), SN, "nobody").map(drop), missing),
        (snapshots.mounts(&ns(), SN, "nobody").map(drop), missing),
        (snapshots.usage(&ns(), SN, "nobody").map(drop), missing),
        (snapshots.label(&ns(), SN, "nobody", &Labels::new()).map(drop), missing),
        (snapshots.remove(&ns(), SN, "nobody"), missing),
        (commit("name", "nobody"), missing),
        (
            snapshots.prepare(&ns(), SN, "x", Some("nobody"), plain()).map(drop),
            "parent snapshot nobody does not exist: not found",
        ),
        (
            snapshots.prepare(&ns(), SN, "x", Some("active"), plain()).map(drop),
            "parent \"active\" is not committed snapshot: invalid argument",
        ),
        (
            snapshots.prepare(&ns(), SN, "active", None, plain()).map(drop),
            "snapshot \"active\": already exists",
        ),
        (commit("base", "active"), "snapshot \"base\": already exists"),
        (
            commit("name", "view"),
            "snapshot \"view\" is not active: failed precondition",
        ),
        (
            snapshots.mounts(&ns(), SN, "base").map(drop),
            "failed to get active mount: requested snapshot base not active or view: failed precondition",
        ),
        (
            snapshots.remove(&ns(), SN, "base"),
            "cannot remove snapshot with child: failed precondition",
        ),
        (
            snapshots
                .prepare(
                    &ns(),
                    SN,
                    "x",
                    None,
                    SnapshotOptions {
                        lease: Some(LeaseId("nobody".into())),
                        ..plain()
                    },
                )
                .map(drop),
            "lease does not exist: not found",
        ),
    ];
    for (outcome, words) in told {
        assert_eq!(outcome.unwrap_err().to_string(), words);
    }
}

#[test]
fn content_and_leases_are_refused_in_the_words_of_containerd() {
    let world = world();
    let blobs = BlobStore::open(world.store.clone(), &world.dir.path().join("content"), Sharing::Shared).unwrap();
    let none = Digest::new(Algorithm::Sha256, "0".repeat(64)).unwrap();
    let request = |reference: &str| IngestRequest {
        reference: reference.to_owned(),
        ..IngestRequest::default()
    };
    let digest = blobs
        .ingest(&ns(), request("empty"))
        .unwrap()
        .commit(None, None, Labels::new())
        .unwrap()
        .digest;
    let open = blobs.ingest(&ns(), request("open")).unwrap();
    let busy = blobs.ingest(&ns(), request("open")).err().unwrap().to_string();
    drop(open);
    assert!(
        busy.starts_with("ref open locked") && busy.ends_with(": unavailable"),
        "{busy}"
    );
    let missing = format!("content digest {none}: not found");
    let commit = |size, expected: Option<&Digest>| {
        let ingest = blobs.ingest(&ns(), request("open")).unwrap();
        ingest.commit(size, expected, Labels::new()).map(drop)
    };
    let id = LeaseId("gone".into());
    let lease = "lease \"gone\": not found";
    let resource = Resource::Image("x".into());
    let leases = &world.leases;
    leases
        .create(&ns(), Some(LeaseId("there".into())), Labels::new())
        .unwrap();
    let core = gantry_core::Error::from;
    let exists = format!("content {digest}: already exists");
    let unexpected = format!("unexpected commit digest {digest}, expected {none}: failed precondition");
    let told = [
        (blobs.info(&ns(), &none).map(drop), missing.as_str()),
        (blobs.reader(&ns(), &none).map(drop), &missing),
        (blobs.label(&ns(), &none, &Labels::new()).map(drop), &missing),
        (blobs.delete(&ns(), &none), &missing),
        (blobs.abort(&ns(), "nobody"), "reference nobody: not found"),
        (
            blobs.ingest(&ns(), request("")).map(drop),
            "ref must not be empty: invalid argument",
        ),
        (
            commit(Some(3), None),
            "\"open\" failed size validation: 0 != 3: failed precondition",
        ),
        (commit(None, Some(&none)), &unexpected),
        (commit(None, None), &exists),
        (leases.delete(&ns(), &id).map_err(core), lease),
        (leases.add(&ns(), &id, &resource).map_err(core), lease),
        (leases.remove(&ns(), &id, &resource).map_err(core), lease),
        (leases.resources(&ns(), &id).map(drop).map_err(core), lease),
        (
            leases
                .create(&ns(), Some(LeaseId("there".into())), Labels::new())
                .map(drop)
                .map_err(core),
            "lease \"there\": already exists",
        ),
        (
            Resource::parse("volumes", "x").map(drop).map_err(core),
            "resource type volumes not supported yet: not implemented",
        ),
        (
            Resource::parse("snapshots", "x").map(drop).map_err(core),
            "invalid snapshot resource type snapshots: invalid argument",
        ),
        (
            Resource::parse("images/x", "x").map(drop).map_err(core),
            "invalid resource type images/x: invalid argument",
        ),
    ];
    for (outcome, words) in told {
        assert_eq!(outcome.unwrap_err().to_string(), words);
    }
}
