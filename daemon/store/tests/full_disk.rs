//! On a full disk a write is an error, nothing that was acknowledged is lost, and it works again when there is room.

#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

use gantry_core::content::{ContentStore, IngestRequest};
use gantry_core::{ErrorKind, Labels, Namespace};
use gantry_store::{Batch, BlobStore, Record, Sharing, Store, StoreOptions};
use nix::mount::{MsFlags, mount};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Set for the process with a small disk of its own: where to mount it.
const CHILD: &str = "GANTRY_TEST_SMALL_DISK";

#[derive(Serialize, Deserialize)]
struct Thing {
    text: String,
}

impl Record for Thing {
    type Key = u64;
    const TABLE: &'static str = "volumes";
    const VERSION: u16 = 1;
}

#[test]
fn a_full_disk() {
    let dir = tempfile::tempdir().unwrap();
    let status = Command::new("unshare")
        .args(["--mount", "--propagation", "private"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(CHILD, dir.path())
        .status()
        .unwrap();
    assert!(status.success());
}

fn put(store: &Store, number: u64) -> gantry_store::Result<()> {
    let mut batch = Batch::new();
    batch.put(&number, &Thing { text: "x".repeat(2000) })?;
    store.commit(batch).map(drop)
}

/// Not a test of its own: what runs in the namespace of mounts made above.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let dir = Path::new(&dir);
    mount(Some("none"), dir, Some("tmpfs"), MsFlags::empty(), Some("size=12m")).unwrap();
    let store = Store::open(&dir.join("store"), &StoreOptions::default()).unwrap();
    let blobs = BlobStore::open(store.clone(), &dir.join("content"), Sharing::Shared).unwrap();
    (0..50).for_each(|number| put(&store, number).unwrap());

    // A blob that does not fit: the error says so, aborting gives the room back.
    let request = || IngestRequest {
        reference: "big".into(),
        ..IngestRequest::default()
    };
    let mut ingest = blobs.ingest(&Namespace::engine(), request()).unwrap();
    let error = (0..200)
        .find_map(|_| ingest.write(&[7; 100_000]).err())
        .expect("the disk is full");
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error}");

    // Records on the same full disk.
    let mut acknowledged = 50;
    let refused = (50..4000).find_map(|number| match put(&store, number) {
        Ok(()) => {
            acknowledged = number + 1;
            None
        }
        Err(error) => Some(error),
    });
    let error = refused.expect("the disk is full");
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error}");
    for number in 0..acknowledged {
        assert!(store.contains::<Thing>(&number).unwrap(), "{number} was acknowledged");
    }

    // With the partial bytes gone it goes on by itself.
    let data = fs::read_dir(dir.join("content/ingest"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    fs::remove_file(data.join("data")).unwrap();
    drop(ingest);
    let until = Instant::now() + Duration::from_secs(30);
    while let Err(error) = put(&store, 10_000) {
        assert!(Instant::now() < until, "still refused: {error}");
        std::thread::sleep(Duration::from_millis(50));
    }
    blobs.abort(&Namespace::engine(), "big").unwrap();
    let mut ingest = blobs.ingest(&Namespace::engine(), request()).unwrap();
    ingest.write(b"small").unwrap();
    ingest.commit(None, None, Labels::new()).unwrap();
    drop((blobs, store));
    let store = Store::open(&dir.join("store"), &StoreOptions::default()).unwrap();
    assert!(store.damage().is_empty(), "{:?}", store.damage());
    for number in (0..acknowledged).chain([10_000]) {
        assert!(store.contains::<Thing>(&number).unwrap(), "{number} was acknowledged");
    }
}
