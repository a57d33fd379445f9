//! The conformance suite over overlayfs, with each way of mounting many layers.

#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

use gantry_core::Namespace;
use gantry_snapshots_mount::Way;
use gantry_snapshots_overlayfs::{NAME, Overlayfs};
use gantry_suites::snapshots::memory::Memory;
use gantry_suites::snapshots::{Subject, run};

fn subject(way: Way) -> Subject {
    let dir = tempfile::tempdir().unwrap();
    let backend = Overlayfs::open(&dir.path().join("root")).unwrap();
    Subject {
        service: Box::new(Memory::new(backend)),
        snapshotter: NAME.to_owned(),
        ns: Namespace::new("suite").unwrap(),
        at: dir.path().join("at"),
        way,
        holds: Box::new(dir),
    }
}

#[test]
fn as_the_kernel_allows() {
    run(&|| subject(Way::Auto));
}

#[test]
fn by_the_new_mount_api() {
    run(&|| subject(Way::NewApi));
}

#[test]
fn by_relative_paths() {
    run(&|| subject(Way::Relative));
}
