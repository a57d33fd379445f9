//! What namespaces share: bytes by digest, layers that the daemon itself has verified, and nothing where the policy is `isolated`.

use crate::blobs::RemoteBlobs;
use crate::layers::RemoteLayers;
use crate::remote::Place;
use gantry_core::content::{ContentStore, IngestRequest, read_all};
use gantry_core::snapshot::{CommitOptions, SnapshotOptions, SnapshotService};
use gantry_core::{Digest, ErrorKind, Labels, Namespace};
use gantry_e2e::{HouseOptions, busybox_tar, digest};
use gantry_proto_containerd::services::namespaces::v1 as namespaces;
use gantry_snapshots_mount::with_mounted;
use gantry_suites::content;
use std::cell::Cell;
use std::fs;
use tempfile::TempDir;

const SN: &str = "overlayfs";
const SHAREABLE: &str = "containerd.io/namespace.shareable";
const POLICY: &str =
    "version = 2\n[plugins.\"io.containerd.metadata.v1.bolt\"]\ncontent_sharing_policy = \"isolated\"\n";

fn ns(name: &str) -> Namespace {
    Namespace::new(name).unwrap()
}

/// A daemon whose namespaces share nothing, by containerd's setting.
fn isolated() -> (Place, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.toml");
    fs::write(&file, POLICY).unwrap();
    let flags = vec!["--config".to_owned(), file.display().to_string()];
    let place = Place::with(HouseOptions {
        flags,
        ..HouseOptions::default()
    });
    (place, dir)
}

fn aimed(chain: &str) -> SnapshotOptions {
    SnapshotOptions {
        labels: Labels::from([("containerd.io/snapshot.ref".to_owned(), chain.to_owned())]),
        ..SnapshotOptions::default()
    }
}

/// The names in the root of what a namespace has under this name.
fn shown(layers: &RemoteLayers, space: &Namespace, name: &str) -> Vec<String> {
    let at = tempfile::tempdir().unwrap();
    let key = format!("look-{name}");
    let mounts = layers
        .view(space, SN, &key, Some(name), SnapshotOptions::default())
        .unwrap();
    let names = with_mounted(at.path(), &mounts, |root| {
        let entries = fs::read_dir(root).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().display().to_string())
            .collect();
        names.sort();
        names
    });
    layers.remove(space, SN, &key).unwrap();
    names.unwrap()
}

/// The daemon imports the image of busybox, whose one layer bears its digest as its chain id.
fn import(place: &Place) {
    let mut child = place
        .house
        .gantry()
        .command(["import", "-", "busybox:latest"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), busybox_tar()).unwrap();
    assert!(gantry_e2e::ended(&mut child).success());
}

#[test]
fn a_name_that_a_client_gives_its_layer_is_worth_nothing_elsewhere() {
    let place = Place::new();
    let layers = RemoteLayers::new(&place);
    let (bad, other, own) = (ns("bad"), ns("other"), ns("gantry"));
    let chain = digest(busybox_tar());
    let mounts = layers
        .prepare(&bad, SN, "work", None, SnapshotOptions::default())
        .unwrap();
    fs::write(format!("{}/planted", mounts[0].source), "by a client").unwrap();
    layers
        .commit(&bad, SN, &chain, "work", CommitOptions::default())
        .unwrap();
    assert_eq!(shown(&layers, &bad, &chain), ["planted"]);
    // Nobody else has it, and who asks for it by its chain id has to make it.
    assert_eq!(layers.stat(&other, SN, &chain).unwrap_err().kind(), ErrorKind::NotFound);
    layers.prepare(&other, SN, "extract", None, aimed(&chain)).unwrap();
    layers.remove(&other, SN, "extract").unwrap();
    // The daemon makes its own, which is the one that others get.
    import(&place);
    assert!(shown(&layers, &own, &chain).contains(&"bin".to_owned()));
    let there = layers.prepare(&other, SN, "extract", None, aimed(&chain)).unwrap_err();
    assert_eq!(there.kind(), ErrorKind::AlreadyExists, "{there}");
    let names = shown(&layers, &other, &chain);
    assert!(
        names.contains(&"bin".to_owned()) && !names.contains(&"planted".to_owned()),
        "{names:?}"
    );
    assert_eq!(shown(&layers, &bad, &chain), ["planted"], "each keeps what is its own");
}

/// Bytes that a namespace has, for an ingest that names them in another one: how many of them are there at once.
fn at_once(blobs: &RemoteBlobs, space: &Namespace, digest: &Digest) -> u64 {
    let request = IngestRequest {
        reference: "taken".to_owned(),
        expected: Some(digest.clone()),
        ..IngestRequest::default()
    };
    let ingest = blobs.ingest(space, request).unwrap();
    let offset = ingest.status().offset;
    ingest.abort().unwrap();
    offset
}

fn put(blobs: &RemoteBlobs, space: &Namespace, bytes: &[u8]) -> Digest {
    let request = IngestRequest {
        reference: "given".to_owned(),
        ..IngestRequest::default()
    };
    let mut ingest = blobs.ingest(space, request).unwrap();
    ingest.write(bytes).unwrap();
    ingest.commit(None, None, Labels::new()).unwrap().digest
}

#[test]
fn bytes_are_shared_by_digest() {
    let place = Place::new();
    let blobs = RemoteBlobs::new(&place, "");
    let given = put(&blobs, &ns("giver"), b"twelve bytes");
    assert_eq!(
        blobs.info(&ns("taker"), &given).unwrap_err().kind(),
        ErrorKind::NotFound,
        "records are not"
    );
    assert_eq!(at_once(&blobs, &ns("taker"), &given), 12);
}

#[test]
fn the_isolated_policy_shares_nothing() {
    let (place, _dir) = isolated();
    let blobs = RemoteBlobs::new(&place, "");
    let bytes = b"twelve bytes";
    let given = put(&blobs, &ns("giver"), bytes);
    assert_eq!(at_once(&blobs, &ns("taker"), &given), 0, "all bytes must be sent");
    assert_eq!(put(&blobs, &ns("taker"), bytes), given, "and then it has them");
    assert_eq!(read_all(&blobs, &ns("taker"), &given, 100).unwrap(), bytes);
    // A layer that the daemon has verified is not given away, either.
    import(&place);
    let (layers, chain) = (RemoteLayers::new(&place), digest(busybox_tar()));
    layers.stat(&ns("gantry"), SN, &chain).unwrap();
    layers
        .prepare(&ns("other"), SN, "extract", None, aimed(&chain))
        .unwrap();
    assert_eq!(
        layers.stat(&ns("other"), SN, &chain).unwrap_err().kind(),
        ErrorKind::NotFound
    );
}

#[test]
fn a_shareable_namespace_gives_under_the_isolated_policy() {
    let (place, _dir) = isolated();
    let blobs = RemoteBlobs::new(&place, "");
    let given = put(&blobs, &ns("giver"), b"twelve bytes");
    let label = |value: &str| {
        let request = namespaces::UpdateNamespaceRequest {
            namespace: Some(namespaces::Namespace {
                name: "giver".to_owned(),
                labels: Labels::from([(SHAREABLE.to_owned(), value.to_owned())]),
            }),
            update_mask: None,
        };
        place.run(async { place.connection.anybody().namespaces().update(request).await.unwrap() });
    };
    for (value, there) in [("false", 0), ("true", 12), ("", 0)] {
        label(value);
        assert_eq!(at_once(&blobs, &ns("taker"), &given), there, "{value:?}");
    }
}

#[test]
fn content_suite_under_the_isolated_policy() {
    let (place, _dir) = isolated();
    let count = Cell::new(0);
    content::run(|| {
        count.set(count.get() + 1);
        content::Subject {
            store: Box::new(RemoteBlobs::new(&place, &format!("c{}-", count.get()))),
            shared: false,
            cuts: false,
        }
    });
    println!("content, isolated: {} scenarios", count.get());
}
