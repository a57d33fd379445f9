//! Garbage collection over real blobs, snapshots and leases, still and under way.

#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

use gantry_core::content::{ContentStore, IngestRequest};
use gantry_core::gc::{Facts, Kind, LABEL_EXPIRE, LABEL_FLAT, LABEL_ROOT, Node};
use gantry_core::lease::LeaseKeeper;
use gantry_core::snapshot::{CommitOptions, SnapshotOptions, SnapshotService};
use gantry_core::{Digest, ErrorKind, Labels, LeaseId, Namespace};
use gantry_snapshots_api::Snapshotter;
use gantry_snapshots_native::Native;
use gantry_store::{
    Batch, BlobStore, Collected, Collector, Error, Leases, Record, Resource, Sharing, SnapshotStore, Store,
    StoreOptions,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const SN: &str = "native";

#[derive(Serialize, Deserialize)]
struct Image {
    target: Digest,
    labels: Labels,
}

impl Record for Image {
    type Key = (Namespace, String);
    const TABLE: &'static str = "images";
    const VERSION: u16 = 1;

    fn facts(&self, (ns, name): &Self::Key) -> Option<Facts> {
        Some(Facts {
            node: Node::image(ns, name),
            root: true,
            needs: vec![Node::content(ns, &self.target)],
            labels: self.labels.clone(),
        })
    }
}

struct World {
    store: Arc<Store>,
    blobs: BlobStore,
    snapshots: SnapshotStore,
    leases: Leases,
    collector: Arc<Collector>,
    dir: tempfile::TempDir,
}

fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store"), &StoreOptions::default()).unwrap();
    let blobs = BlobStore::open(store.clone(), &dir.path().join("content"), Sharing::Shared).unwrap();
    let native: Arc<dyn Snapshotter> = Arc::new(Native::open(&dir.path().join("native")).unwrap());
    let snapshots = SnapshotStore::new(store.clone(), vec![native], Sharing::Shared);
    let collector = Arc::new(Collector::new(store.clone(), blobs.clone(), snapshots.clone()));
    collector.read::<Image>();
    World {
        leases: Leases::new(store.clone()),
        store,
        blobs,
        snapshots,
        collector,
        dir,
    }
}

fn ns() -> Namespace {
    Namespace::engine()
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs
        .iter()
        .map(|(key, value)| ((*key).into(), (*value).into()))
        .collect()
}

impl World {
    fn blob(&self, content: &str, pairs: &[(&str, &str)], lease: Option<&LeaseId>) -> Digest {
        let request = IngestRequest {
            reference: content.to_owned(),
            lease: lease.cloned(),
            ..IngestRequest::default()
        };
        let mut ingest = self.blobs.ingest(&ns(), request).unwrap();
        ingest.write(content.as_bytes()).unwrap();
        ingest.commit(None, None, labels(pairs)).unwrap().digest
    }

    fn image(&self, name: &str, target: &Digest, pairs: &[(&str, &str)]) {
        let mut batch = Batch::new();
        let image = Image {
            target: target.clone(),
            labels: labels(pairs),
        };
        batch.put(&(ns(), name.to_owned()), &image).unwrap();
        self.store.commit(batch).unwrap();
    }

    fn snapshot(&self, name: &str, parent: Option<&str>, lease: Option<&LeaseId>) {
        let options = SnapshotOptions {
            lease: lease.cloned(),
            ..SnapshotOptions::default()
        };
        self.snapshots.prepare(&ns(), SN, "work", parent, options).unwrap();
        let options = CommitOptions {
            lease: lease.cloned(),
            ..CommitOptions::default()
        };
        self.snapshots.commit(&ns(), SN, name, "work", options).unwrap();
    }

    fn has(&self, digest: &Digest) -> bool {
        self.blobs.info(&ns(), digest).is_ok()
    }

    fn has_bytes(&self, digest: &Digest) -> bool {
        self.dir.path().join("content/blobs/sha256").join(digest.hex()).exists()
    }

    fn snapshots(&self) -> Vec<String> {
        let all = self.snapshots.list(&ns(), SN).unwrap();
        all.into_iter().map(|info| info.name).collect()
    }
}

#[test]
fn what_nothing_refers_to_goes() {
    let world = world();
    world.snapshot("base", None, None);
    world.snapshot("top", Some("base"), None);
    world.snapshot("alone", None, None);
    let layer = world.blob("layer", &[], None);
    let config = world.blob("config", &[("containerd.io/gc.ref.snapshot.native", "top")], None);
    let manifest = world.blob(
        "manifest",
        &[
            ("containerd.io/gc.ref.content.config", &config.to_string()),
            ("containerd.io/gc.ref.content.l.0", &layer.to_string()),
        ],
        None,
    );
    let kept = world.blob("kept", &[(LABEL_ROOT, "yes")], None);
    let stray = world.blob("stray", &[], None);
    world.image("busybox", &manifest, &[]);
    let collected = world.collector.collect().unwrap();
    assert_eq!(collected.removed.len(), 2, "{collected:?}");
    assert_eq!((collected.layers, collected.freed), (1, 5));
    for digest in [&layer, &config, &manifest, &kept] {
        assert!(world.has(digest) && world.has_bytes(digest));
    }
    assert!(!world.has(&stray) && !world.has_bytes(&stray));
    assert_eq!(world.snapshots(), ["base", "top"]);
    assert_eq!(world.collector.collect().unwrap(), Collected::default());
    // The image goes, and all of it with it.
    let mut batch = Batch::new();
    batch.delete::<Image>(&(ns(), "busybox".to_owned()));
    world.store.commit(batch).unwrap();
    let collected = world.collector.collect().unwrap();
    assert_eq!((collected.removed.len(), collected.layers), (5, 2));
    assert!(world.snapshots().is_empty() && world.has(&kept));
    // A deleted record leaves its bytes to the next collection.
    world.blobs.delete(&ns(), &kept).unwrap();
    assert!(world.has_bytes(&kept));
    assert_eq!(world.collector.collect().unwrap().freed, 4);
    assert!(!world.has_bytes(&kept));
}

#[test]
fn leases_hold_and_end() {
    let world = world();
    let lease = LeaseKeeper::open(&world.leases, &ns()).unwrap();
    let child = world.blob("child", &[], None);
    let label = [("containerd.io/gc.ref.content", &*child.to_string())];
    let parent = world.blob("parent", &label, Some(&lease));
    world.snapshot("held", None, Some(&lease));
    let request = IngestRequest {
        reference: "partial".into(),
        lease: Some(lease.clone()),
        ..IngestRequest::default()
    };
    drop(world.blobs.ingest(&ns(), request).unwrap());
    let held = world.leases.resources(&ns(), &lease).unwrap();
    assert_eq!(held.len(), 3, "ingest, blob and the committed snapshot alone: {held:?}");
    assert_eq!(world.collector.collect().unwrap(), Collected::default());
    // An existing blob is leased by the answer that it exists.
    let other = world
        .leases
        .create(&ns(), Some(LeaseId("other".into())), Labels::new())
        .unwrap()
        .0;
    let request = IngestRequest {
        reference: "again".into(),
        expected: Some(parent.clone()),
        lease: Some(other.clone()),
        ..IngestRequest::default()
    };
    let error = world.blobs.ingest(&ns(), request).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert_eq!(
        world.leases.resources(&ns(), &other).unwrap(),
        [Resource::Content(parent.clone())]
    );
    LeaseKeeper::close(&world.leases, &ns(), &lease).unwrap();
    LeaseKeeper::close(&world.leases, &ns(), &lease).unwrap();
    assert_eq!(
        world.collector.collect().unwrap().removed,
        [Node::snapshot(&ns(), SN, "held")]
    );
    assert!(world.has(&parent) && world.has(&child));
    world
        .leases
        .remove(&ns(), &other, &Resource::Content(parent.clone()))
        .unwrap();
    assert_eq!(world.collector.collect().unwrap().removed.len(), 2);
    let gone = IngestRequest {
        reference: "x".into(),
        lease: Some(lease),
        ..IngestRequest::default()
    };
    let error = world.blobs.ingest(&ns(), gone).err().unwrap();
    assert_eq!(
        (error.kind(), error.to_string().contains("does not exist")),
        (ErrorKind::NotFound, true)
    );
}

#[test]
fn flat_leases_and_expiry() {
    let world = world();
    let past = "2001-01-01T00:00:00Z";
    let flat = world
        .leases
        .create(&ns(), None, labels(&[(LABEL_FLAT, "1")]))
        .unwrap()
        .0;
    let over = world
        .leases
        .create(&ns(), None, labels(&[(LABEL_EXPIRE, past)]))
        .unwrap()
        .0;
    let named = world.blob("named", &[], None);
    let label = [("containerd.io/gc.ref.content", &*named.to_string())];
    let holder = world.blob("holder", &label, Some(&flat));
    let expired = world.blob("expired", &[], Some(&over));
    world.snapshot("base", None, None);
    world.snapshot("top", Some("base"), Some(&flat));
    let target = world.blob("target", &[], None);
    world.image("old", &target, &[(LABEL_EXPIRE, past)]);
    world.image("new", &holder, &[(LABEL_EXPIRE, "2999-01-01T00:00:00Z")]);
    let collected = world.collector.collect().unwrap();
    assert!(
        world.has(&holder) && world.has(&named),
        "the living image follows labels"
    );
    assert!(!world.has(&expired) && !world.has(&target));
    assert_eq!(collected.leases, [(ns(), over)]);
    assert!(collected.removed.contains(&Node::image(&ns(), "old")));
    assert_eq!(world.snapshots(), ["base", "top"]);
    let mut batch = Batch::new();
    batch.delete::<Image>(&(ns(), "new".to_owned()));
    world.store.commit(batch).unwrap();
    world.collector.collect().unwrap();
    assert!(world.has(&holder) && !world.has(&named), "a flat lease does not");
    assert_eq!(world.snapshots(), ["base", "top"], "but keeps parents");
}

/// Images, back references and conditions, each with a thing that lives by it and one that does not.
#[test]
fn every_label_keeps_what_it_names() {
    let world = world();
    let past = "2001-01-01T00:00:00Z";
    for name in ["fresh", "stale", "parent", "by-blob", "by-image"] {
        world.snapshot(name, None, None);
    }
    let child = |name: &str, pair: (&str, &str)| {
        let options = SnapshotOptions {
            labels: labels(&[pair]),
            lease: None,
        };
        world.snapshots.prepare(&ns(), SN, name, None, options).unwrap();
    };
    child("of-parent", ("containerd.io/gc.bref.snapshot.native", "parent"));
    child("of-nobody", ("containerd.io/gc.bref.snapshot.native", "nobody"));
    child("rooted", (LABEL_ROOT, "yes"));
    // What will be used was used less than an hour ago.
    for (name, used) in [("fresh", "2999-01-01T00:00:00Z"), ("stale", past)] {
        let used = labels(&[("containerd.io/gc.cond.value-usedat", used)]);
        world.snapshots.label(&ns(), SN, name, &used).unwrap();
    }
    let root = world.blob(
        "root",
        &[
            (LABEL_ROOT, "yes"),
            ("containerd.io/gc.ref.image.a", "referred"),
            ("containerd.io/gc.ref.snapshot.native/1", "parent"),
            ("containerd.io/gc.ref.snapshot.native/2", "by-blob"),
            ("containerd.io/gc.cond.snapshot.native/1", "usedat<1h|fresh"),
            ("containerd.io/gc.cond.snapshot.native/2", "usedat<1h|stale"),
        ],
        None,
    );
    let root_name = root.to_string();
    let signature = world.blob("signature", &[("containerd.io/gc.bref.content.x", &root_name)], None);
    let note = world.blob("note", &[("containerd.io/gc.bref.image", "kept")], None);
    let lost = world.blob("lost", &[("containerd.io/gc.bref.container", "nobody")], None);
    let target = world.blob("target", &[], None);
    world.image("kept", &root, &[("containerd.io/gc.ref.snapshot.native", "by-image")]);
    world.image("referred", &target, &[(LABEL_EXPIRE, past)]);
    world.image("over", &target, &[(LABEL_EXPIRE, past), (LABEL_ROOT, "yes")]);
    let collected = world.collector.collect().unwrap();
    assert_eq!(
        world.snapshots(),
        ["by-blob", "by-image", "fresh", "of-parent", "parent", "rooted"]
    );
    for digest in [&root, &signature, &note, &target] {
        assert!(world.has(digest));
    }
    assert!(!world.has(&lost));
    let images: Vec<_> = collected
        .removed
        .iter()
        .filter(|node| node.kind == Kind::Image)
        .collect();
    assert_eq!(images, [&Node::image(&ns(), "over")]);
}

/// An ingest lives as long as its lease, however old it is, and what it expects with it.
#[test]
fn a_leased_ingest_does_not_age() {
    let world = world();
    let flat = world
        .leases
        .create(&ns(), None, labels(&[(LABEL_FLAT, "1")]))
        .unwrap()
        .0;
    for (reference, lease) in [("held", Some(flat.clone())), ("alone", None)] {
        let request = IngestRequest {
            reference: reference.into(),
            lease,
            ..IngestRequest::default()
        };
        world.blobs.ingest(&ns(), request).unwrap().write(b"half").unwrap();
    }
    let old = std::time::SystemTime::now() - 2 * gantry_store::INGEST_LIFETIME;
    for dir in std::fs::read_dir(world.dir.path().join("content/ingest")).unwrap() {
        let data = std::fs::File::options()
            .write(true)
            .open(dir.unwrap().path().join("data"))
            .unwrap();
        data.set_modified(old).unwrap();
    }
    assert_eq!(world.collector.collect().unwrap().ingests, 1);
    let left = world.blobs.ingests(&ns()).unwrap();
    assert_eq!((left.len(), left[0].reference.as_str()), (1, "held"));
    world.leases.delete(&ns(), &flat).unwrap();
    assert_eq!(world.collector.collect().unwrap().ingests, 1);
}

/// One that nobody takes up again goes with its lease, and holds nothing after that; any other waits for who tries again.
#[test]
fn a_transient_ingest_goes_with_its_lease() {
    let world = world();
    let expected = sha256("whole");
    for (reference, transient) in [("passing", true), ("resumed", false)] {
        let lease = LeaseKeeper::open(&world.leases, &ns()).unwrap();
        let request = IngestRequest {
            reference: reference.into(),
            expected: Some(expected.clone()),
            lease: Some(lease.clone()),
            transient,
            ..IngestRequest::default()
        };
        // Both before anybody has made the blob.
        world.blobs.ingest(&ns(), request).unwrap().write(b"wh").unwrap();
        if transient {
            assert_eq!(world.collector.collect().unwrap(), Collected::default());
            // As the next daemon does after a kill.
            assert_eq!(world.leases.end_orphans().unwrap(), 1);
            assert_eq!(world.collector.collect().unwrap().ingests, 1);
        } else {
            assert_eq!(world.leases.end_orphans().unwrap(), 1);
            assert_eq!(world.collector.collect().unwrap().ingests, 0);
        }
    }
    let left = world.blobs.ingests(&ns()).unwrap();
    assert_eq!((left.len(), left[0].reference.as_str()), (1, "resumed"));
}

#[test]
fn lease_words() {
    let world = world();
    let lease = world
        .leases
        .create(&ns(), Some(LeaseId("a".into())), Labels::new())
        .unwrap()
        .0;
    let again = world
        .leases
        .create(&ns(), Some(lease.clone()), Labels::new())
        .unwrap_err();
    assert_eq!(again.kind(), ErrorKind::AlreadyExists);
    assert_eq!(world.leases.list(&ns()).unwrap().len(), 1);
    for (kind, id, wrong) in [
        ("volumes", "x", ErrorKind::Unimplemented),
        ("content", "sha256:short", ErrorKind::InvalidArgument),
        ("snapshots", "x", ErrorKind::InvalidArgument),
        ("snapshots/", "x", ErrorKind::InvalidArgument),
        ("content/x", "x", ErrorKind::InvalidArgument),
        ("images", "", ErrorKind::InvalidArgument),
    ] {
        assert_eq!(Resource::parse(kind, id).unwrap_err().kind(), wrong, "{kind} {id}");
    }
    for (kind, id) in [("ingests", "x"), ("images", "x"), ("snapshots/overlayfs", "x")] {
        let resource = Resource::parse(kind, id).unwrap();
        assert_eq!((resource.kind().as_str(), resource.id().as_str()), (kind, id));
    }
    world.leases.delete(&ns(), &lease).unwrap();
    assert_eq!(
        world.leases.delete(&ns(), &lease).unwrap_err().kind(),
        ErrorKind::NotFound
    );
}

#[test]
fn nothing_is_collected_blindly() {
    let world = world();
    let target = world.blob("target", &[], None);
    world.image("busybox", &target, &[]);
    let blind = Collector::new(world.store.clone(), world.blobs.clone(), world.snapshots.clone());
    assert!(matches!(blind.collect(), Err(Error::CollectBlind { table: "images" })));
    assert!(world.has(&target));
}

/// Writers that work as clients do, leased, while collections run without pause: nothing they rely on goes, and nothing
/// is left when they are done.
#[test]
fn collections_run_beside_writers() {
    let world = world();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let world = &world;
        let done = &done;
        let collecting = scope.spawn(move || {
            let mut rounds = 0;
            while !done.load(Ordering::SeqCst) {
                world.collector.collect().unwrap();
                rounds += 1;
            }
            rounds
        });
        let writers: Vec<_> = (0..4)
            .map(|writer| scope.spawn(move || (0..25).for_each(|round| world.pull(writer, round))))
            .collect();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        done.store(true, Ordering::SeqCst);
        assert!(collecting.join().unwrap() > 1);
    });
    world.collector.collect().unwrap();
    assert!(world.blobs.list(&ns()).unwrap().is_empty());
    assert!(world.blobs.ingests(&ns()).unwrap().is_empty());
    assert_eq!(
        std::fs::read_dir(world.dir.path().join("content/blobs/sha256"))
            .unwrap()
            .count(),
        0
    );
}

impl World {
    /// Four writers fight over the same layer, each with a manifest of its own.
    fn pull(&self, writer: usize, round: usize) {
        let lease = LeaseKeeper::open(&self.leases, &ns()).unwrap();
        let layer = self.ensure("layer", writer, &[], &lease);
        assert!(self.has_bytes(&layer), "a leased layer is there");
        let label = [("containerd.io/gc.ref.content.l.0", &*layer.to_string())];
        let manifest = self.ensure(&format!("manifest {writer} {round}"), writer, &label, &lease);
        let name = format!("image-{writer}");
        self.image(&name, &manifest, &[]);
        LeaseKeeper::close(&self.leases, &ns(), &lease).unwrap();
        for digest in [&layer, &manifest] {
            assert!(
                self.has(digest) && self.has_bytes(digest),
                "what an image refers to is there"
            );
        }
        let mut batch = Batch::new();
        batch.delete::<Image>(&(ns(), name));
        self.store.commit(batch).unwrap();
    }

    /// As a client does: open with the digest expected; exists is fine; another writer is waited for.
    fn ensure(&self, content: &str, writer: usize, pairs: &[(&str, &str)], lease: &LeaseId) -> Digest {
        let digest = sha256(content);
        let until = Instant::now() + Duration::from_secs(60);
        while Instant::now() < until {
            let request = IngestRequest {
                reference: format!("{writer} {content}"),
                expected: Some(digest.clone()),
                lease: Some(lease.clone()),
                ..IngestRequest::default()
            };
            let written = self.blobs.ingest(&ns(), request).and_then(|mut ingest| {
                ingest.truncate(0)?;
                ingest.write(content.as_bytes())?;
                ingest.commit(None, None, labels(pairs)).map(drop)
            });
            match written {
                Ok(()) => return digest,
                Err(error) if error.kind() == ErrorKind::AlreadyExists => return digest,
                Err(error) if error.kind() == ErrorKind::Unavailable => std::thread::yield_now(),
                Err(error) => panic!("{error}"),
            }
        }
        panic!("{content} is locked for ever");
    }
}

fn sha256(content: &str) -> Digest {
    use sha2::Digest as _;
    Digest::from_bytes(gantry_core::Algorithm::Sha256, &sha2::Sha256::digest(content)).unwrap()
}

#[test]
fn the_background_collects_on_request_and_spares_what_is_young() {
    let world = world();
    let made = Instant::now();
    let stray = world.blob("stray", &[], None);
    let background = world.collector.clone().background().unwrap();
    background.request();
    let until = Instant::now() + Duration::from_secs(30);
    while world.has_bytes(&stray) {
        assert!(Instant::now() < until, "nothing was collected");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(
        made.elapsed() > Duration::from_secs(4),
        "gone after {:?}",
        made.elapsed()
    );
    drop(background);
}
