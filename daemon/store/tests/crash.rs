//! Killed at any moment, the store has every write that was acknowledged.

#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

use gantry_core::content::{ContentStore, IngestRequest, read_all};
use gantry_core::{Labels, Namespace};
use gantry_store::{Batch, BlobStore, Record, Sharing, Store, StoreOptions};
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Set for the process that writes: the directory of its store.
const CHILD: &str = "GANTRY_TEST_STORE_CHILD";

#[derive(Serialize, Deserialize)]
struct Thing {
    text: String,
}

impl Record for Thing {
    type Key = String;
    const TABLE: &'static str = "volumes";
    const VERSION: u16 = 1;
}

fn open(dir: &Path) -> (Arc<Store>, BlobStore) {
    let store = Store::open(&dir.join("store"), &StoreOptions::default()).unwrap();
    let blobs = BlobStore::open(store.clone(), &dir.join("content"), Sharing::Shared).unwrap();
    (store, blobs)
}

/// Not a test of its own: the process that the test below kills. It writes for ever and says what was acknowledged.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let (store, blobs) = open(Path::new(&dir));
    blobs.reconcile().unwrap();
    let born = std::process::id();
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let (store, blobs) = (&store, &blobs);
            scope.spawn(move || {
                for number in 0.. {
                    let name = format!("{born}-{writer}-{number}");
                    let mut batch = Batch::new();
                    batch
                        .put(
                            &name,
                            &Thing {
                                text: "x".repeat(number % 3000),
                            },
                        )
                        .unwrap();
                    store.commit(batch).unwrap();
                    say(&format!("acknowledged record {name}"));
                    if number % 8 == 0 {
                        let request = IngestRequest {
                            reference: name.clone(),
                            ..IngestRequest::default()
                        };
                        let mut ingest = blobs.ingest(&Namespace::engine(), request).unwrap();
                        ingest.write(name.as_bytes()).unwrap();
                        let info = ingest.commit(None, None, Labels::new()).unwrap();
                        say(&format!("acknowledged blob {} {name}", info.digest));
                    }
                }
            });
        }
    });
}

/// Past the test harness, in one write.
fn say(line: &str) {
    let mut out = std::fs::OpenOptions::new().write(true).open("/proc/self/fd/1").unwrap();
    out.write_all(format!("\n{line}\n").as_bytes()).unwrap();
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..8 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture", "--test-threads=1"])
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let until = Instant::now() + Duration::from_secs(60);
        let mut count = 0;
        for line in lines {
            let line = line.unwrap();
            if let Some(what) = line.strip_prefix("acknowledged ") {
                acknowledged.push(what.to_owned());
                count += 1;
            }
            if count == 150 + round * 37 {
                child.kill().unwrap();
            }
            assert!(Instant::now() < until, "the child is too slow");
        }
        child.wait().unwrap();
        assert!(count >= 150, "the child wrote before it was killed");
        let (store, blobs) = open(dir.path());
        assert!(store.damage().len() <= 1 && store.quarantined().unwrap().is_empty());
        assert!(blobs.reconcile().unwrap().damaged.is_empty());
        for what in &acknowledged {
            check(&store, &blobs, what);
        }
    }
}

fn check(store: &Store, blobs: &BlobStore, what: &str) {
    let words: Vec<&str> = what.split(' ').collect();
    match words[..] {
        ["record", name] => {
            let number: usize = name.rsplit('-').next().unwrap().parse().unwrap();
            let thing: Thing = store.get(&name.to_owned()).unwrap().expect(name);
            assert_eq!(thing.text.len(), number % 3000);
        }
        ["blob", digest, name] => {
            let bytes = read_all(blobs, &Namespace::engine(), &digest.parse().unwrap(), 1000).unwrap();
            assert_eq!(bytes, name.as_bytes());
        }
        // The kill cut the last line short.
        _ => {}
    }
}
