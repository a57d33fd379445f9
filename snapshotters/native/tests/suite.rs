//! The conformance suite over full copies.

#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

use gantry_core::Namespace;
use gantry_snapshots_mount::Way;
use gantry_snapshots_native::{NAME, Native};
use gantry_suites::snapshots::memory::Memory;
use gantry_suites::snapshots::{Subject, run};

#[test]
fn native() {
    run(&|| {
        let dir = tempfile::tempdir().unwrap();
        let backend = Native::open(&dir.path().join("root")).unwrap();
        Subject {
            service: Box::new(Memory::new(backend)),
            snapshotter: NAME.to_owned(),
            ns: Namespace::new("suite").unwrap(),
            at: dir.path().join("at"),
            way: Way::Auto,
            holds: Box::new(dir),
        }
    });
}
