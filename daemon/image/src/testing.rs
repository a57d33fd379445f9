//! What tests are made of: a service over stores of their own, tars, and images in the making.

mod stores;

pub(crate) use stores::{CountLeases, DirSnapshots, MemContent};

use crate::hash::Hasher;
use crate::service::{ImageService, ImageSettings};
use gantry_core::snapshot::Whiteouts;
use gantry_core::{Algorithm, Digest, Namespace, Result};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

/// A service over these, on a root of its own.
pub(crate) struct Bed {
    pub content: Arc<MemContent>,
    pub snapshots: Arc<DirSnapshots>,
    pub leases: Arc<CountLeases>,
    pub service: ImageService,
    pub ns: Namespace,
    pub root: tempfile::TempDir,
}

impl Bed {
    pub(crate) fn new(whiteouts: Whiteouts) -> Self {
        Self::with(whiteouts, ImageSettings::default())
    }

    pub(crate) fn with(whiteouts: Whiteouts, settings: ImageSettings) -> Self {
        let root = tempfile::tempdir().unwrap();
        let content = Arc::new(MemContent::default());
        let snapshots = Arc::new(DirSnapshots::new(&root.path().join("snapshots"), whiteouts));
        let leases = Arc::new(CountLeases::default());
        let service =
            ImageService::with_leases(content.clone(), snapshots.clone(), Some(leases.clone()), settings).unwrap();
        Self {
            content,
            snapshots,
            leases,
            service,
            ns: Namespace::engine(),
            root,
        }
    }

    /// No half made thing: no open ingest, no snapshot that is not committed, no directory without a name.
    pub(crate) fn assert_tidy(&self) {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        loop {
            let (names, dirs) = self.snapshots.names();
            let half: Vec<_> = names.iter().filter(|name| name.contains(' ')).collect();
            if half.is_empty() && dirs == names.len() {
                return;
            }
            assert!(
                std::time::Instant::now() < deadline,
                "left: {half:?}, {dirs} directories"
            );
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

/// One tar member.
pub(crate) struct Member {
    pub header: tar::Header,
    pub path: Vec<u8>,
    pub link: Vec<u8>,
    pub content: Vec<u8>,
    pub pax: Vec<(String, Vec<u8>)>,
}

pub(crate) fn member(kind: tar::EntryType, path: &str) -> Member {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(if kind == tar::EntryType::Directory {
        0o755
    } else {
        0o644
    });
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_000_000_000);
    Member {
        header,
        path: path.as_bytes().to_vec(),
        link: Vec::new(),
        content: Vec::new(),
        pax: Vec::new(),
    }
}

pub(crate) fn file(path: &str, content: &str) -> Member {
    Member {
        content: content.as_bytes().to_vec(),
        ..member(tar::EntryType::Regular, path)
    }
}

pub(crate) fn dir(path: &str) -> Member {
    member(tar::EntryType::Directory, path)
}

pub(crate) fn link(kind: tar::EntryType, path: &str, to: &str) -> Member {
    Member {
        link: to.as_bytes().to_vec(),
        ..member(kind, path)
    }
}

/// A tar of members exactly as given, however hostile.
pub(crate) fn tar_of(members: Vec<Member>) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for mut member in members {
        let pax = member.pax.iter().map(|(key, value)| (key.as_str(), value.as_slice()));
        builder.append_pax_extensions(pax).unwrap();
        let old = member.header.as_old_mut();
        old.name[..member.path.len()].copy_from_slice(&member.path);
        old.linkname[..member.link.len()].copy_from_slice(&member.link);
        member.header.set_size(member.content.len() as u64);
        member.header.set_cksum();
        builder.append(&member.header, &member.content[..]).unwrap();
    }
    builder.into_inner().unwrap()
}

/// A stream of bytes as a door hands it on.
pub(crate) fn feed(bytes: Vec<u8>) -> tokio::sync::mpsc::Receiver<Result<bytes::Bytes>> {
    let (sender, receiver) = tokio::sync::mpsc::channel(4);
    tokio::spawn(async move {
        for piece in bytes.chunks(50_000) {
            if sender.send(Ok(bytes::Bytes::copy_from_slice(piece))).await.is_err() {
                break;
            }
        }
    });
    receiver
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A layer of an image in the making: its tar, and how it is packed.
pub(crate) struct Layer {
    pub tar: Vec<u8>,
    pub packed: Vec<u8>,
    pub media_type: &'static str,
}

impl Layer {
    pub(crate) fn gzip(members: Vec<Member>) -> Self {
        let tar = tar_of(members);
        Self {
            packed: gzip(&tar),
            tar,
            media_type: crate::media::OCI_LAYER_GZIP,
        }
    }

    pub(crate) fn zstd(members: Vec<Member>) -> Self {
        let tar = tar_of(members);
        Self {
            packed: zstd::encode_all(&tar[..], 3).unwrap(),
            tar,
            media_type: crate::media::OCI_LAYER_ZSTD,
        }
    }

    pub(crate) fn plain(members: Vec<Member>) -> Self {
        let tar = tar_of(members);
        Self {
            packed: tar.clone(),
            tar,
            media_type: crate::media::OCI_LAYER,
        }
    }
}

/// The parts of an image: bytes by digest, and its manifest's descriptor.
pub(crate) struct Parts {
    pub target: crate::Descriptor,
    pub blobs: BTreeMap<Digest, Vec<u8>>,
    pub layers: Vec<crate::Descriptor>,
    pub config: Digest,
}

pub(crate) fn parts(layers: &[Layer]) -> Parts {
    let digest = |bytes: &[u8]| Hasher::of(Algorithm::Sha256, bytes);
    let mut blobs = BTreeMap::new();
    let mut descriptors = Vec::new();
    for layer in layers {
        let blob = crate::Descriptor::new(layer.media_type, digest(&layer.packed), layer.packed.len() as u64);
        blobs.insert(blob.digest.clone(), layer.packed.clone());
        descriptors.push(blob);
    }
    let config = crate::ImageConfig {
        architecture: crate::Platform::host().architecture,
        os: "linux".into(),
        rootfs: crate::config::RootFs {
            kind: "layers".into(),
            diff_ids: layers.iter().map(|layer| digest(&layer.tar)).collect(),
        },
        ..crate::ImageConfig::default()
    };
    let bytes = config.to_bytes();
    let manifest = crate::descriptor::Manifest {
        schema_version: 2,
        media_type: Some(crate::media::OCI_MANIFEST.into()),
        config: crate::Descriptor::new(crate::media::OCI_CONFIG, digest(&bytes), bytes.len() as u64),
        layers: descriptors.clone(),
        annotations: BTreeMap::new(),
    };
    blobs.insert(digest(&bytes), bytes.clone());
    let config = digest(&bytes);
    let bytes = serde_json::to_vec(&manifest).unwrap();
    let target = crate::Descriptor::new(crate::media::OCI_MANIFEST, digest(&bytes), bytes.len() as u64);
    blobs.insert(target.digest.clone(), bytes);
    Parts {
        target,
        blobs,
        layers: descriptors,
        config,
    }
}

impl Parts {
    pub(crate) fn put(&self, bed: &Bed) {
        for bytes in self.blobs.values() {
            bed.content.put(&bed.ns, bytes);
        }
    }
}

/// Runs a program of the host and returns what it says; it must succeed.
pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let out = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|e| panic!("{program}: {e}"));
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(
        out.status.success(),
        "{program} {arguments:?}: {said}{}",
        String::from_utf8_lossy(&out.stderr)
    );
    said
}

/// What a tree holds: kinds, modes, owners, links and contents; times in seconds.
pub(crate) fn listing(dir: &Path) -> String {
    let script = "cd \"$0\" && find . -printf '%P|%y|%m|%U|%G|%l|%Ts\\n' | sed 's/\\.[0-9]*$//' | LC_ALL=C sort && \
                  find . -type f -exec sha256sum {} + | LC_ALL=C sort -k2";
    run("sh", &["-c", script, dir.to_str().unwrap()])
}
