//! The content suite over the store, shared and isolated, and what a restart finds.

#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

use gantry_core::content::{BlobInfo, ContentStore, IngestRequest, read_all};
use gantry_core::{Digest, ErrorKind, Labels, Namespace};
use gantry_store::{BlobReport, BlobStore, Sharing, Store, StoreOptions};
use gantry_suites::content::{Subject, run};
use std::fs;
use std::path::{Path, PathBuf};

fn blobs(dir: &Path, sharing: Sharing) -> BlobStore {
    let store = Store::open(&dir.join("store"), &StoreOptions::default()).unwrap();
    BlobStore::open(store, &dir.join("content"), sharing).unwrap()
}

fn suite(sharing: Sharing) {
    let mut dirs = Vec::new();
    run(|| {
        let dir = tempfile::tempdir().unwrap();
        let store = Box::new(blobs(dir.path(), sharing));
        dirs.push(dir);
        Subject {
            store,
            shared: sharing == Sharing::Shared,
            cuts: true,
        }
    });
}

#[test]
fn shared() {
    suite(Sharing::Shared);
}

#[test]
fn isolated() {
    suite(Sharing::Isolated);
}

fn ns() -> Namespace {
    Namespace::engine()
}

fn put(blobs: &BlobStore, content: &[u8]) -> BlobInfo {
    let request = IngestRequest {
        reference: "r".into(),
        ..IngestRequest::default()
    };
    let mut ingest = blobs.ingest(&ns(), request).unwrap();
    ingest.write(content).unwrap();
    ingest.commit(None, None, Labels::new()).unwrap()
}

fn file(dir: &Path, digest: &Digest) -> PathBuf {
    dir.join("content/blobs")
        .join(digest.algorithm().name())
        .join(digest.hex())
}

#[test]
fn a_restart_resumes_ingests_and_removes_strays() {
    let dir = tempfile::tempdir().unwrap();
    {
        let blobs = blobs(dir.path(), Sharing::Shared);
        let request = IngestRequest {
            reference: "half".into(),
            ..IngestRequest::default()
        };
        let mut ingest = blobs.ingest(&ns(), request).unwrap();
        ingest.write(b"first half").unwrap();
        put(&blobs, b"whole");
    }
    let stray = dir.path().join("content/blobs/sha256").join("0".repeat(64));
    fs::write(&stray, b"renamed, never recorded").unwrap();
    fs::create_dir(dir.path().join("content/ingest/unknown")).unwrap();
    let blobs = blobs(dir.path(), Sharing::Shared);
    let report = blobs.reconcile().unwrap();
    assert_eq!((report.ingests, report.freed), (1, 23));
    assert!(!stray.exists() && report.damaged.is_empty());
    assert_eq!(blobs.list(&ns()).unwrap().len(), 1);
    assert_eq!(blobs.ingests(&ns()).unwrap()[0].offset, 10);
    assert_eq!(blobs.reconcile().unwrap(), BlobReport::default());
    // An ingest whose directory is gone is no ingest.
    fs::remove_dir_all(dir.path().join("content/ingest")).unwrap();
    fs::create_dir(dir.path().join("content/ingest")).unwrap();
    assert_eq!(blobs.reconcile().unwrap().ingests, 1);
    assert!(blobs.ingests(&ns()).unwrap().is_empty());
}

#[test]
fn a_blob_cut_short_is_noticed_and_healed_by_its_next_ingest() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = blobs(dir.path(), Sharing::Shared);
    let info = put(&blobs, b"all of it");
    let path = file(dir.path(), &info.digest);
    fs::write(&path, b"all").unwrap();
    assert_eq!(blobs.reconcile().unwrap().damaged, [(ns(), info.digest.clone())]);
    let error = blobs.reader(&ns(), &info.digest).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::DataLoss);
    for lost in [false, true] {
        if lost {
            fs::remove_file(&path).unwrap();
        }
        put(&blobs, b"all of it");
        assert_eq!(read_all(&blobs, &ns(), &info.digest, 100).unwrap(), b"all of it");
    }
}
