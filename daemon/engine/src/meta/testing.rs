//! A real store with blobs and snapshots, in a directory of its own.

use super::Meta;
use crate::exchange::Exchange;
use crate::records;
use gantry_core::content::{ContentStore, IngestRequest};
use gantry_core::meta::{Any, Happening};
use gantry_core::{Digest, Labels, Namespace};
use gantry_image::Descriptor;
use gantry_snapshots_native::Native;
use gantry_store::{BlobStore, Collector, Sharing, SnapshotStore, Store, StoreOptions};
use std::sync::Arc;
use tempfile::TempDir;

pub struct Room {
    pub store: Arc<Store>,
    pub blobs: BlobStore,
    pub snapshots: SnapshotStore,
    pub meta: Meta,
    pub exchange: Exchange,
    pub dir: TempDir,
}

pub fn room() -> Room {
    open(tempfile::tempdir().unwrap())
}

pub fn open(dir: TempDir) -> Room {
    let store = Store::open(&dir.path().join("store"), &StoreOptions::default()).unwrap();
    let blobs = BlobStore::open(store.clone(), &dir.path().join("content"), Sharing::Shared).unwrap();
    let native = Native::open(&dir.path().join("native")).unwrap();
    let snapshots = SnapshotStore::new(store.clone(), vec![Arc::new(native)], Sharing::Shared);
    let collector = Collector::new(store.clone(), blobs.clone(), snapshots.clone());
    records::sources(&collector);
    Room {
        meta: Meta::new(store.clone(), Arc::new(collector)),
        exchange: Exchange::new(store.clone()),
        store,
        blobs,
        snapshots,
        dir,
    }
}

impl Room {
    /// The blob of this text.
    pub fn blob(&self, ns: &Namespace, text: &str) -> Descriptor {
        let request = IngestRequest {
            reference: text.to_owned(),
            ..IngestRequest::default()
        };
        let mut ingest = self.blobs.ingest(ns, request).unwrap();
        ingest.write(text.as_bytes()).unwrap();
        let info = ingest.commit(None, None, Labels::new()).unwrap();
        Descriptor::new("application/octet-stream", info.digest, info.size)
    }

    pub fn has_blob(&self, ns: &Namespace, digest: &Digest) -> bool {
        self.blobs.info(ns, digest).is_ok()
    }

    /// What was told of containers, images and namespaces so far: topic and event, in order.
    pub fn happened(&self, ns: &Namespace) -> Vec<(String, Happening)> {
        let all = self.store.events(&gantry_store::EventQuery::default()).unwrap();
        let own = all.into_iter().filter(|(_, event)| {
            let topics = ["/containers", "/images", "/namespaces"];
            event.ns == *ns && topics.iter().any(|topic| event.topic.starts_with(topic))
        });
        own.map(|(_, event)| (event.topic, serde_json::from_value(event.payload).unwrap()))
            .collect()
    }
}

pub fn ns(name: &str) -> Namespace {
    Namespace::new(name).unwrap()
}

pub fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

pub fn any(text: &str) -> Any {
    Any {
        type_url: "test".to_owned(),
        value: text.as_bytes().to_vec(),
    }
}
