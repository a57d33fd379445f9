//! The conformance suites of the content store and of the snapshotters, through the doors: an adapter implements their traits over
//! containerd's API against a running daemon. Beside them, what only a client can see ([`beyond`]) and what
//! namespaces share ([`sharing`]).

#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

mod beyond;
mod blobs;
mod layers;
mod remote;
mod sharing;

use blobs::RemoteBlobs;
use gantry_core::Namespace;
use gantry_snapshots_mount::Way;
use gantry_suites::{content, snapshots};
use layers::RemoteLayers;
use remote::Place;
use std::cell::Cell;

#[test]
fn content_suite_through_the_service() {
    let place = Place::new();
    let count = Cell::new(0);
    content::run(|| {
        count.set(count.get() + 1);
        content::Subject {
            store: Box::new(RemoteBlobs::new(&place, &format!("c{}-", count.get()))),
            shared: true,
            cuts: false,
        }
    });
    println!("content: {} scenarios", count.get());
    assert_eq!(count.get(), content::CHECKS.len());
}

#[test]
fn overlayfs_suite_through_the_service() {
    snapshotter("overlayfs");
}

#[test]
fn native_suite_through_the_service() {
    snapshotter("native");
}

fn snapshotter(name: &str) {
    let place = Place::new();
    let count = Cell::new(0);
    snapshots::run(&|| {
        count.set(count.get() + 1);
        let at = tempfile::tempdir().unwrap();
        snapshots::Subject {
            service: Box::new(RemoteLayers::new(&place)),
            snapshotter: name.to_owned(),
            ns: Namespace::new(format!("suite-{}", count.get())).unwrap(),
            at: at.path().join("at"),
            way: Way::Auto,
            holds: Box::new(at),
        }
    });
    println!("{name}: {} scenarios", count.get());
    assert_eq!(count.get(), snapshots::CHECKS.len());
}
