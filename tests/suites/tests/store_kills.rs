//! Killed at every failpoint, the store finishes or undoes on its next start, and the same work then succeeds.

#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

use gantry_core::content::{ContentStore, IngestRequest, read_all};
use gantry_core::snapshot::{CommitOptions, SnapshotOptions, SnapshotService};
use gantry_core::{ErrorKind, Labels, Namespace};
use gantry_snapshots_api::Snapshotter;
use gantry_snapshots_native::Native;
use gantry_store::{BlobStore, Collector, FAILPOINTS, Sharing, SnapshotStore, Store, StoreOptions};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

/// Set for the process to be killed: where, and at which point.
const DIR: &str = "GANTRY_TEST_KILL_DIR";
const POINT: &str = "GANTRY_TEST_KILL_POINT";
const SN: &str = "native";

struct World {
    blobs: BlobStore,
    snapshots: SnapshotStore,
    native: Arc<Native>,
    collector: Collector,
}

fn ns() -> Namespace {
    Namespace::engine()
}

impl World {
    fn open(dir: &Path) -> Self {
        let store = Store::open(&dir.join("store"), &StoreOptions::default()).unwrap();
        assert!(store.quarantined().unwrap().is_empty());
        let blobs = BlobStore::open(store.clone(), &dir.join("content"), Sharing::Shared).unwrap();
        let native = Arc::new(Native::open(&dir.join("native")).unwrap());
        let backend: Arc<dyn Snapshotter> = native.clone();
        let snapshots = SnapshotStore::new(store.clone(), vec![backend], Sharing::Shared);
        assert!(blobs.reconcile().unwrap().damaged.is_empty());
        let report = snapshots.reconcile().unwrap();
        assert!(report.damaged.is_empty() && report.left.is_empty(), "{report:?}");
        let collector = Collector::new(store, blobs.clone(), snapshots.clone());
        Self {
            blobs,
            snapshots,
            native,
            collector,
        }
    }

    /// Every deed once. What an earlier life has done already is fine.
    fn work(&self) {
        let done = |result: gantry_core::Result<()>| match result {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::NotFound) => {}
            Err(error) => panic!("{error}"),
        };
        let (ns, none) = (ns(), SnapshotOptions::default);
        let snapshots = &self.snapshots;
        done(snapshots.prepare(&ns, SN, "work", None, none()).map(drop));
        done(snapshots.commit(&ns, SN, "base", "work", CommitOptions::default()));
        done(snapshots.prepare(&ns, SN, "top", Some("base"), none()).map(drop));
        done(snapshots.remove(&ns, SN, "top"));
        done(self.ingest().map(drop));
        assert_eq!(read_all(&self.blobs, &ns, &self.digest(), 100).unwrap(), b"content");
        self.collector.collect().unwrap();
    }

    fn digest(&self) -> gantry_core::Digest {
        self.blobs.list(&ns()).unwrap()[0].digest.clone()
    }

    fn ingest(&self) -> gantry_core::Result<gantry_core::content::BlobInfo> {
        let request = IngestRequest {
            reference: "r".into(),
            ..IngestRequest::default()
        };
        let mut ingest = self.blobs.ingest(&ns(), request)?;
        ingest.truncate(0)?;
        ingest.write(b"content")?;
        ingest.commit(None, None, Labels::new())
    }

    /// Records and files agree.
    fn check(&self, dir: &Path) {
        let known = self.snapshots.list(&ns(), SN).unwrap();
        assert_eq!(self.native.list().unwrap().len(), known.len(), "{known:?}");
        let entries = |path: &str| fs::read_dir(dir.join(path)).unwrap().count();
        assert_eq!(entries("content/blobs/sha256"), self.blobs.list(&ns()).unwrap().len());
        assert_eq!(entries("content/ingest"), self.blobs.ingests(&ns()).unwrap().len());
    }
}

/// Not a test of its own: the process that ends at its point.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let point = std::env::var(POINT).unwrap();
    fail::cfg_callback(point, || {
        nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGKILL).unwrap();
    })
    .unwrap();
    World::open(Path::new(&dir)).work();
}

#[test]
fn at_every_failpoint() {
    let mut hit = 0;
    for point in FAILPOINTS {
        let dir = tempfile::tempdir().unwrap();
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child"])
            .env(DIR, dir.path())
            .env(POINT, point)
            .status()
            .unwrap();
        assert_eq!(status.signal(), Some(9), "{point} was not reached: {status}");
        hit += 1;
        let world = World::open(dir.path());
        world.check(dir.path());
        world.work();
        world.check(dir.path());
        world.collector.collect().unwrap();
        assert!(world.native.list().unwrap().is_empty(), "{point}");
        assert!(world.blobs.list(&ns()).unwrap().is_empty(), "{point}");
    }
    println!("failpoints of the store hit: {hit} of {}", FAILPOINTS.len());
}
