//! What the store tells of blobs and snapshots, and the namespaces that appear with them.

#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

use gantry_core::content::{ContentStore, IngestRequest};
use gantry_core::gc::{Facts, LABEL_EXPIRE, Node};
use gantry_core::meta::Happening;
use gantry_core::snapshot::{CommitOptions, SnapshotOptions, SnapshotService};
use gantry_core::{Algorithm, Digest, Labels, Namespace};
use gantry_snapshots_native::Native;
use gantry_store::{
    Batch, BlobStore, Collector, Event, EventQuery, Leases, NamespaceRecord, Record, Sharing, SnapshotStore, Store,
    StoreOptions,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

const SN: &str = "native";

struct World {
    store: Arc<Store>,
    blobs: BlobStore,
    snapshots: SnapshotStore,
    collector: Collector,
    _dir: tempfile::TempDir,
}

fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store"), &StoreOptions::default()).unwrap();
    let blobs = BlobStore::open(store.clone(), &dir.path().join("content"), Sharing::Shared).unwrap();
    let native = Native::open(&dir.path().join("native")).unwrap();
    let snapshots = SnapshotStore::new(store.clone(), vec![Arc::new(native)], Sharing::Shared);
    let collector = Collector::new(store.clone(), blobs.clone(), snapshots.clone());
    collector.read::<Image>();
    World {
        store,
        blobs,
        snapshots,
        collector,
        _dir: dir,
    }
}

#[derive(Serialize, Deserialize)]
struct Image {
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
            needs: Vec::new(),
            labels: self.labels.clone(),
        })
    }
}

fn ns(name: &str) -> Namespace {
    Namespace::new(name).unwrap()
}

impl World {
    fn blob(&self, ns: &Namespace, text: &str) -> Digest {
        let request = IngestRequest {
            reference: text.to_owned(),
            ..IngestRequest::default()
        };
        let mut ingest = self.blobs.ingest(ns, request).unwrap();
        ingest.write(text.as_bytes()).unwrap();
        ingest.commit(None, None, Labels::new()).unwrap().digest
    }

    fn told(&self, space: &Namespace) -> Vec<Happening> {
        let all = self.store.events(&EventQuery::default()).unwrap();
        all.into_iter()
            .filter(|(_, event)| event.ns == *space)
            .map(|(_, event)| {
                let happening: Happening = serde_json::from_value(event.payload).unwrap();
                assert_eq!(happening.topic(), Some(event.topic.as_str()));
                happening
            })
            .collect()
    }

    fn namespaces(&self) -> Vec<String> {
        let all = self.store.list::<NamespaceRecord>().unwrap();
        all.into_iter().map(|(ns, _)| ns.to_string()).collect()
    }
}

#[test]
fn content_is_told_when_it_comes_and_goes() {
    let world = world();
    let (one, two) = (ns("one"), ns("two"));
    let kept = world.blob(&one, "kept");
    let again = IngestRequest {
        reference: "again".to_owned(),
        ..IngestRequest::default()
    };
    let mut ingest = world.blobs.ingest(&one, again).unwrap();
    ingest.write(b"kept").unwrap();
    ingest.commit(None, None, Labels::new()).unwrap_err();
    let stray = world.blob(&two, "stray");
    world.blobs.delete(&one, &kept).unwrap();
    world.blobs.delete(&one, &kept).unwrap_err();
    world.collector.collect().unwrap();
    let create = |digest: &Digest, size| Happening::ContentCreate {
        digest: digest.to_string(),
        size,
    };
    let delete = |digest: &Digest| Happening::ContentDelete {
        digest: digest.to_string(),
    };
    assert_eq!(world.told(&one), [create(&kept, 4), delete(&kept)]);
    assert_eq!(world.told(&two), [create(&stray, 5), delete(&stray)]);
}

#[test]
fn snapshots_are_told_but_views_are_not() {
    let world = world();
    let one = ns("one");
    let plain = SnapshotOptions::default;
    let snapshots = &world.snapshots;
    snapshots.prepare(&one, SN, "work", None, plain()).unwrap();
    snapshots
        .commit(&one, SN, "base", "work", CommitOptions::default())
        .unwrap();
    snapshots.view(&one, SN, "look", Some("base"), plain()).unwrap();
    snapshots.prepare(&one, SN, "top", Some("base"), plain()).unwrap();
    snapshots.prepare(&one, SN, "top", Some("base"), plain()).unwrap_err();
    snapshots.remove(&one, SN, "base").unwrap_err();
    snapshots.remove(&one, SN, "top").unwrap();
    snapshots.remove(&one, SN, "look").unwrap();
    world.collector.collect().unwrap();
    let prepare = |key: &str, parent: &str| Happening::SnapshotPrepare {
        key: key.to_owned(),
        parent: parent.to_owned(),
        snapshotter: SN.to_owned(),
    };
    let remove = |key: &str| Happening::SnapshotRemove {
        key: key.to_owned(),
        snapshotter: SN.to_owned(),
    };
    assert_eq!(
        world.told(&one),
        [
            prepare("work", ""),
            Happening::SnapshotCommit {
                key: "work".to_owned(),
                name: "base".to_owned(),
                snapshotter: SN.to_owned(),
            },
            prepare("top", "base"),
            remove("top"),
            remove("look"),
            // By the collector.
            remove("base"),
        ]
    );
}

#[test]
fn what_goes_along_with_another_batch_is_told_after_it() {
    let world = world();
    let one = ns("one");
    let own = |topic: &str| Event {
        ns: one.clone(),
        topic: topic.to_owned(),
        at: SystemTime::now(),
        payload: serde_json::Value::Null,
    };
    let mut made = world
        .snapshots
        .make(&one, SN, "root", None, SnapshotOptions::default())
        .unwrap();
    let mut batch = Batch::new();
    made.record_in(&mut batch).unwrap();
    batch.event(own("/mine"));
    let numbers = world.store.commit(batch).unwrap();
    made.keep();
    let mut batch = Batch::new();
    let forgotten = world.snapshots.forget_in(&mut batch, &one, SN, "root").unwrap();
    batch.event(own("/mine/too"));
    world.store.commit(batch).unwrap();
    forgotten.remains().unwrap().remove().unwrap();
    let topics: Vec<_> = world.store.events(&EventQuery::default()).unwrap();
    assert_eq!(topics[0].0, numbers[0], "the first number is the caller's own event");
    let topics: Vec<_> = topics.into_iter().map(|(_, event)| event.topic).collect();
    assert_eq!(topics, ["/mine", "/snapshot/prepare", "/mine/too", "/snapshot/remove"]);
}

#[test]
fn an_expired_image_is_told_once() {
    let world = world();
    let one = ns("one");
    let image = |expire: &str| Image {
        labels: Labels::from([(LABEL_EXPIRE.to_owned(), expire.to_owned())]),
    };
    let mut batch = Batch::new();
    for (name, expire) in [("old", "2001-01-01T00:00:00Z"), ("new", "2999-01-01T00:00:00Z")] {
        batch.put(&(one.clone(), name.to_owned()), &image(expire)).unwrap();
    }
    world.store.commit(batch).unwrap();
    world.collector.collect().unwrap();
    world.collector.collect().unwrap();
    let name = "old".to_owned();
    assert_eq!(world.told(&one), [Happening::ImageDelete { name }]);
}

#[test]
fn namespaces_appear_with_what_is_written() {
    let world = world();
    assert!(world.namespaces().is_empty());
    let request = IngestRequest {
        reference: "open".to_owned(),
        ..IngestRequest::default()
    };
    drop(world.blobs.ingest(&ns("ingest"), request).unwrap());
    let leases = Leases::new(world.store.clone());
    leases.create(&ns("lease"), None, Labels::new()).unwrap();
    let options = SnapshotOptions::default;
    world
        .snapshots
        .prepare(&ns("prepare"), SN, "a", None, options())
        .unwrap();
    world.snapshots.view(&ns("view"), SN, "a", None, options()).unwrap();
    world
        .snapshots
        .prepare(&ns("refused"), SN, "a", Some("missing"), options())
        .unwrap_err();
    assert!(
        world
            .blobs
            .info(&ns("read"), &Digest::new(Algorithm::Sha256, "0".repeat(64)).unwrap())
            .is_err()
    );
    assert_eq!(world.namespaces(), ["ingest", "lease", "prepare", "view"]);
    assert!(
        world.told(&ns("ingest")).is_empty(),
        "nobody is told of a namespace that appears"
    );

    // What it says of itself stays.
    let one = ns("one");
    let labels = Labels::from([("a".to_owned(), "b".to_owned())]);
    let mut batch = Batch::new();
    let record = NamespaceRecord { labels };
    batch.put(&one, &record).unwrap();
    world.store.commit(batch).unwrap();
    world.blob(&one, "bytes");
    assert_eq!(world.store.get::<NamespaceRecord>(&one).unwrap(), Some(record));
}

#[test]
fn nobody_deletes_a_namespace_while_it_is_written_into() {
    let world = world();
    let one = ns("one");
    let mut made = world
        .snapshots
        .make(&one, SN, "root", None, SnapshotOptions::default())
        .unwrap();
    let mut batch = Batch::new();
    made.record_in(&mut batch).unwrap();
    assert!(world.store.claim_namespace(&one, Duration::ZERO).is_err());
    world.store.commit(batch).unwrap();
    made.keep();
    drop(world.store.claim_namespace(&one, Duration::ZERO).unwrap());
}
