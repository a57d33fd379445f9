//! The snapshot suite over the store with its backends, sharing between namespaces, and what a restart finds.

#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

use gantry_core::snapshot::{CommitOptions, SnapshotKind, SnapshotOptions, SnapshotService};
use gantry_core::{ErrorKind, Labels, Namespace};
use gantry_snapshots_api::Snapshotter;
use gantry_snapshots_mount::Way;
use gantry_snapshots_native::Native;
use gantry_snapshots_overlayfs::Overlayfs;
use gantry_store::{Sharing, SnapshotReport, SnapshotStore, Store, StoreOptions};
use gantry_suites::snapshots::{Subject, run};
use std::fs;
use std::path::Path;
use std::sync::Arc;

const SN: &str = "native";

fn open(dir: &Path, sharing: Sharing) -> SnapshotStore {
    let store = Store::open(&dir.join("store"), &StoreOptions::default()).unwrap();
    let overlayfs: Arc<dyn Snapshotter> = Arc::new(Overlayfs::open(&dir.join("overlayfs")).unwrap());
    let native: Arc<dyn Snapshotter> = Arc::new(Native::open(&dir.join("native")).unwrap());
    SnapshotStore::new(store, vec![overlayfs, native], sharing)
}

fn suite(snapshotter: &str) {
    run(&|| {
        let dir = tempfile::tempdir().unwrap();
        Subject {
            service: Box::new(open(dir.path(), Sharing::Shared)),
            snapshotter: snapshotter.to_owned(),
            ns: Namespace::new("suite").unwrap(),
            at: dir.path().join("at"),
            way: Way::Auto,
            holds: Box::new(dir),
        }
    });
}

#[test]
fn overlayfs() {
    suite("overlayfs");
}

#[test]
fn native() {
    suite(SN);
}

fn ns(name: &str) -> Namespace {
    Namespace::new(name).unwrap()
}

fn chain(digit: char) -> String {
    format!("sha256:{}", digit.to_string().repeat(64))
}

/// Commits a layer with one file under a name.
fn layer(snapshots: &SnapshotStore, space: &str, name: &str, parent: Option<&str>, verified: bool) {
    let space = ns(space);
    snapshots
        .prepare(&space, SN, "work", parent, SnapshotOptions::default())
        .unwrap();
    let target = snapshots.apply_target(&space, SN, "work").unwrap();
    fs::write(target.dir.join("file"), name).unwrap();
    let options = CommitOptions {
        verified,
        ..CommitOptions::default()
    };
    snapshots.commit(&space, SN, name, "work", options).unwrap();
}

fn directories(snapshots: &SnapshotStore) -> usize {
    let native = snapshots.backends().find(|backend| backend.name() == SN).unwrap();
    native.list().unwrap().len()
}

#[test]
fn verified_layers_are_shared_with_their_parents() {
    let dir = tempfile::tempdir().unwrap();
    let snapshots = open(dir.path(), Sharing::Shared);
    layer(&snapshots, "one", &chain('a'), None, true);
    layer(&snapshots, "one", &chain('b'), Some(&chain('a')), true);
    assert!(snapshots.adopt(&ns("two"), SN, &chain('b'), None).unwrap());
    assert_eq!(directories(&snapshots), 2, "nothing was copied");
    let adopted = snapshots.stat(&ns("two"), SN, &chain('b')).unwrap();
    assert_eq!(
        (adopted.kind, adopted.parent),
        (SnapshotKind::Committed, Some(chain('a')))
    );
    assert!(adopted.verified);
    let usage = snapshots.usage(&ns("two"), SN, &chain('b')).unwrap();
    assert_eq!(usage, snapshots.usage(&ns("one"), SN, &chain('b')).unwrap());
    // Each namespace removes for itself; the last one takes the directories along.
    for space in ["one", "two"] {
        assert_eq!(directories(&snapshots), 2);
        snapshots.remove(&ns(space), SN, &chain('b')).unwrap();
        snapshots.remove(&ns(space), SN, &chain('a')).unwrap();
    }
    assert_eq!(directories(&snapshots), 0);
    assert!(!snapshots.adopt(&ns("three"), SN, &chain('a'), None).unwrap());
}

#[test]
fn a_name_alone_shares_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let snapshots = open(dir.path(), Sharing::Shared);
    layer(&snapshots, "one", &chain('a'), None, false);
    layer(&snapshots, "one", &chain('b'), Some(&chain('a')), true);
    let info = snapshots.stat(&ns("one"), SN, &chain('b')).unwrap();
    assert!(!info.verified, "not verified down to the base");
    for name in ['a', 'b'] {
        assert!(!snapshots.adopt(&ns("two"), SN, &chain(name), None).unwrap());
        assert!(snapshots.stat(&ns("two"), SN, &chain(name)).is_err());
    }
    let other = tempfile::tempdir().unwrap();
    let isolated = open(other.path(), Sharing::Isolated);
    layer(&isolated, "one", &chain('a'), None, true);
    assert!(!isolated.adopt(&ns("two"), SN, &chain('a'), None).unwrap());
}

#[test]
fn a_prepare_that_names_its_target_finds_it() {
    let dir = tempfile::tempdir().unwrap();
    let snapshots = open(dir.path(), Sharing::Shared);
    layer(&snapshots, "one", &chain('a'), None, true);
    let aimed = |name: char| SnapshotOptions {
        labels: Labels::from([("containerd.io/snapshot.ref".to_owned(), chain(name))]),
        ..SnapshotOptions::default()
    };
    for space in ["one", "two"] {
        let error = snapshots.prepare(&ns(space), SN, "x", None, aimed('a')).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        snapshots.stat(&ns(space), SN, &chain('a')).unwrap();
    }
    snapshots.prepare(&ns("two"), SN, "x", None, aimed('b')).unwrap();
}

#[test]
fn a_restart_finishes_or_undoes() {
    let dir = tempfile::tempdir().unwrap();
    {
        let snapshots = open(dir.path(), Sharing::Shared);
        layer(&snapshots, "one", "base", None, false);
        snapshots
            .prepare(&ns("one"), SN, "active", Some("base"), SnapshotOptions::default())
            .unwrap();
        let native = snapshots.backends().find(|backend| backend.name() == SN).unwrap();
        native.prepare(4711, &[], &Default::default()).unwrap();
    }
    {
        let snapshots = open(dir.path(), Sharing::Shared);
        let report = snapshots.reconcile().unwrap();
        assert_eq!((report.strays, report.removed), (1, 0));
        assert_eq!(directories(&snapshots), 2);
        let native = snapshots.backends().find(|backend| backend.name() == SN).unwrap();
        // The newest of the two is the active one; numbers grow.
        let newest = *native.list().unwrap().last().unwrap();
        native.remove(newest).unwrap();
    }
    let snapshots = open(dir.path(), Sharing::Shared);
    let report = snapshots.reconcile().unwrap();
    assert_eq!(report.damaged, [(ns("one"), SN.to_owned(), "active".to_owned())]);
    snapshots.remove(&ns("one"), SN, "active").unwrap();
    snapshots
        .prepare(&ns("one"), SN, "active", Some("base"), SnapshotOptions::default())
        .unwrap();
    assert_eq!(snapshots.reconcile().unwrap(), SnapshotReport::default());
}

#[test]
fn eight_prepare_on_one_parent_while_it_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let snapshots = open(dir.path(), Sharing::Shared);
    for round in 0..20 {
        layer(&snapshots, "one", "base", None, false);
        let made = std::thread::scope(|scope| {
            let remover = scope.spawn(|| snapshots.remove(&ns("one"), SN, "base").is_ok());
            let makers: Vec<_> = (0..8)
                .map(|number| {
                    let snapshots = &snapshots;
                    scope.spawn(move || {
                        let key = format!("{round}-{number}");
                        let options = SnapshotOptions::default();
                        snapshots
                            .prepare(&ns("one"), SN, &key, Some("base"), options)
                            .is_ok()
                            .then_some(key)
                    })
                })
                .collect();
            let made: Vec<_> = makers.into_iter().filter_map(|maker| maker.join().unwrap()).collect();
            let removed = remover.join().unwrap();
            assert!(!removed || made.is_empty(), "a parent went under {made:?}");
            made
        });
        for key in made {
            snapshots.remove(&ns("one"), SN, &key).unwrap();
        }
        if snapshots.stat(&ns("one"), SN, "base").is_ok() {
            snapshots.remove(&ns("one"), SN, "base").unwrap();
        }
        assert_eq!(directories(&snapshots), 0);
    }
}
