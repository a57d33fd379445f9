//! The image room over the real store and the real snapshotters: what their own tests show apart, together.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use gantry_core::content::ContentStore;
use gantry_core::snapshot::{SnapshotOptions, SnapshotService};
use gantry_core::{Namespace, Result};
use gantry_image::{ImageService, ImageSettings, ImportOptions, LoadedImage, ProgressSink, SaveItem};
use gantry_snapshots_api::Snapshotter;
use gantry_snapshots_native::Native;
use gantry_snapshots_overlayfs::Overlayfs;
use gantry_store::{BlobStore, Collector, Leases, Sharing, SnapshotStore, Store, StoreOptions};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

struct House {
    snapshotter: &'static str,
    content: BlobStore,
    snapshots: Arc<SnapshotStore>,
    leases: Leases,
    collector: Collector,
    images: ImageService,
    _root: tempfile::TempDir,
}

impl House {
    fn new(snapshotter: &'static str) -> Self {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        let store = Store::open(&at("store"), &StoreOptions::default()).unwrap();
        let content = BlobStore::open(store.clone(), &at("content"), Sharing::Shared).unwrap();
        std::fs::create_dir(at("layers")).unwrap();
        let backend: Arc<dyn Snapshotter> = match snapshotter {
            "overlayfs" => Arc::new(Overlayfs::open(&at("layers")).unwrap()),
            _ => Arc::new(Native::open(&at("layers")).unwrap()),
        };
        let snapshots = SnapshotStore::new(store.clone(), vec![backend], Sharing::Shared);
        let collector = Collector::new(store.clone(), content.clone(), snapshots.clone());
        let leases = Leases::new(store);
        let snapshots = Arc::new(snapshots);
        let settings = ImageSettings {
            snapshotter: snapshotter.to_owned(),
            ..ImageSettings::default()
        };
        let keeper = Arc::new(leases.clone());
        let images =
            ImageService::with_leases(Arc::new(content.clone()), snapshots.clone(), Some(keeper), settings).unwrap();
        Self {
            snapshotter,
            content,
            snapshots,
            leases,
            collector,
            images,
            _root: root,
        }
    }

    async fn load(&self, ns: &Namespace, archive: &[u8]) -> Result<Vec<LoadedImage>> {
        self.images.load(ns, feed(archive), ProgressSink::silent()).await
    }

    fn counts(&self, ns: &Namespace) -> (usize, usize) {
        let blobs = self.content.list(ns).unwrap().len();
        (blobs, self.snapshots.list(ns, self.snapshotter).unwrap().len())
    }

    /// Collects once no lease is left.
    fn collect_without_leases(&self, ns: &Namespace) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !self.leases.list(ns).unwrap().is_empty() {
            assert!(Instant::now() < deadline, "a lease is left");
            std::thread::sleep(Duration::from_millis(5));
        }
        self.collector.collect().unwrap();
    }
}

fn feed(bytes: &[u8]) -> mpsc::Receiver<Result<Bytes>> {
    let pieces: Vec<Bytes> = bytes.chunks(60_000).map(Bytes::copy_from_slice).collect();
    let (sender, receiver) = mpsc::channel(4);
    tokio::spawn(async move {
        for piece in pieces {
            if sender.send(Ok(piece)).await.is_err() {
                break;
            }
        }
    });
    receiver
}

fn tar_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        let kind = if path.ends_with('/') {
            tar::EntryType::Directory
        } else {
            tar::EntryType::Regular
        };
        header.set_entry_type(kind);
        header.set_mode(if path.ends_with('/') { 0o1777 } else { 0o644 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000_000);
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, path, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// An OCI layout of these layers, and the digest of its config.
fn archive(layers: &[Vec<u8>]) -> (Vec<u8>, String) {
    let mut blobs: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut put = |media_type: &str, bytes: Vec<u8>| {
        let descriptor = json!({"mediaType": media_type, "digest": digest(&bytes), "size": bytes.len()});
        blobs.insert(digest(&bytes), bytes);
        descriptor
    };
    let mut packed = Vec::new();
    for layer in layers {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(layer).unwrap();
        packed.push(put(
            "application/vnd.oci.image.layer.v1.tar+gzip",
            encoder.finish().unwrap(),
        ));
    }
    let diff_ids: Vec<String> = layers.iter().map(|layer| digest(layer)).collect();
    let config = json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}});
    let config = put(
        "application/vnd.oci.image.config.v1+json",
        config.to_string().into_bytes(),
    );
    let id = config["digest"].as_str().unwrap().to_owned();
    let manifest = json!({"schemaVersion": 2, "config": config, "layers": packed});
    let manifest = put(
        "application/vnd.oci.image.manifest.v1+json",
        manifest.to_string().into_bytes(),
    );
    let index = json!({"schemaVersion": 2, "manifests": [manifest]}).to_string();
    let mut files: Vec<(String, Vec<u8>)> = blobs
        .into_iter()
        .map(|(digest, bytes)| (format!("blobs/{}", digest.replace(':', "/")), bytes))
        .collect();
    files.push(("index.json".to_owned(), index.into_bytes()));
    let files: Vec<(&str, &[u8])> = files
        .iter()
        .map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
        .collect();
    (tar_of(&files), id)
}

fn three() -> Vec<Vec<u8>> {
    vec![
        tar_of(&[("tmp/", b""), ("tmp/base", b"base"), ("gone", b"gone")]),
        tar_of(&[("tmp/middle", b"middle"), (".wh.gone", b"")]),
        tar_of(&[("top", &[7; 300_000])]),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loaded_image_lives_as_long_as_something_holds_it() {
    for snapshotter in ["overlayfs", "native"] {
        let house = House::new(snapshotter);
        let (ns, other) = (Namespace::engine(), Namespace::new("other").unwrap());
        let (bytes, id) = archive(&three());
        let loaded = house.load(&ns, &bytes).await.unwrap();
        assert_eq!(loaded[0].id.to_string(), id);
        assert_eq!(house.counts(&ns), (5, 3), "{snapshotter}");
        house.collector.collect().unwrap();
        assert_eq!(house.counts(&ns), (5, 3), "{snapshotter}: the outcome holds it");
        // Another namespace shares bytes and layers, and has its own records.
        let shared = house.load(&other, &bytes).await.unwrap();
        assert_eq!(house.counts(&other), (5, 3));
        drop(loaded);
        house.collect_without_leases(&ns);
        assert_eq!(house.counts(&ns), (0, 0), "{snapshotter}");
        assert_eq!(house.counts(&other), (5, 3), "{snapshotter}");
        let chain = shared[0].chain_id.clone().unwrap().to_string();
        assert!(house.snapshots.stat(&other, snapshotter, &chain).unwrap().verified);
        drop(shared);
        house.collect_without_leases(&other);
        assert_eq!(house.counts(&other), (0, 0), "{snapshotter}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_archive_leaves_nothing_after_a_collection() {
    for snapshotter in ["overlayfs", "native"] {
        let house = House::new(snapshotter);
        let ns = Namespace::engine();
        let mut lying = three();
        let (good, _) = archive(&lying);
        lying[2] = tar_of(&[(".wh.", b"")]);
        let (bad, _) = archive(&lying);
        let error = house.load(&ns, &bad).await.unwrap_err();
        assert!(error.message().contains("removes no name"), "{error}");
        assert!(house.load(&ns, &good[..good.len() / 2]).await.is_err());
        house.collect_without_leases(&ns);
        assert_eq!(house.counts(&ns), (0, 0), "{snapshotter}");
        assert!(house.content.ingests(&ns).unwrap().is_empty());
        assert_eq!(house.load(&ns, &good).await.unwrap().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_containers_changes_are_told_and_made_a_layer() {
    for snapshotter in ["overlayfs", "native"] {
        let house = House::new(snapshotter);
        let ns = Namespace::engine();
        let tar = tar_of(&[("./", b""), ("etc/", b""), ("etc/passwd", b"root"), ("old", b"old")]);
        let image = house
            .images
            .import(&ns, ImportOptions::default(), feed(&tar))
            .await
            .unwrap();
        let chain = image.chain_id.clone().unwrap().to_string();
        house
            .snapshots
            .prepare(&ns, snapshotter, "box", Some(&chain), SnapshotOptions::default())
            .unwrap();
        let target = house.snapshots.apply_target(&ns, snapshotter, "box").unwrap();
        // What a mounted container would leave in its directory.
        let at = |name: &str| -> PathBuf { target.dir.join(name) };
        std::fs::write(at("new"), "new").unwrap();
        if snapshotter == "native" {
            std::fs::remove_file(at("old")).unwrap();
        }
        let changes = house.images.changes(&ns, snapshotter, "box", Some(&chain)).unwrap();
        let shown: Vec<String> = changes
            .iter()
            .map(|c| format!("{} {}", c.kind.letter(), c.path.display()))
            .collect();
        let want: &[&str] = if snapshotter == "native" {
            &["A /new", "D /old"]
        } else {
            &["A /new"]
        };
        assert_eq!(shown, want, "{snapshotter}");
        let layer = house
            .images
            .diff(&ns, snapshotter, "box", Some(&chain), &[], None)
            .unwrap();
        assert_eq!(
            house.content.info(&ns, &layer.blob.digest).unwrap().size,
            layer.blob.size
        );
        house.snapshots.remove(&ns, snapshotter, "box").unwrap();
        // Saved and loaded elsewhere it is the same image.
        let (sender, mut receiver) = mpsc::channel::<Result<Bytes>>(4);
        let item = SaveItem {
            target: image.target.clone(),
            reference: None,
        };
        let collect = async {
            let mut whole = Vec::new();
            while let Some(piece) = receiver.recv().await {
                whole.extend_from_slice(&piece.unwrap());
            }
            whole
        };
        let (saved, bytes) = tokio::join!(house.images.save(&ns, vec![item], sender), collect);
        saved.unwrap();
        let elsewhere = House::new(snapshotter);
        assert_eq!(elsewhere.load(&ns, &bytes).await.unwrap()[0].id, image.id);
    }
}
