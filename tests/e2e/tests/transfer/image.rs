//! An image for two platforms, as the archive that a client sends.

use gantry_e2e::digest;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const FOREIGN: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar";

/// One image of the two.
#[derive(Clone)]
pub struct One {
    pub manifest: String,
    pub config: String,
    pub layer: String,
}

/// `amd64` and `arm64`, under one index.
pub struct Image {
    pub index: String,
    pub amd64: One,
    pub arm64: One,
    /// A docker-archive of the first, its layer plain.
    docker: Vec<u8>,
    blobs: BTreeMap<String, Vec<u8>>,
    size: usize,
}

impl Image {
    /// Of layers that hold `text`, the first of a kind that may not be handed on if that is said.
    pub fn new(text: &str, foreign: bool) -> Self {
        let mut blobs = BTreeMap::new();
        let (amd64, mut first) = one(&mut blobs, "amd64", text, if foreign { FOREIGN } else { LAYER });
        let (arm64, second) = one(&mut blobs, "arm64", &text.repeat(2), LAYER);
        let docker = docker(&blobs, &amd64);
        first["platform"] = json!({ "os": "linux", "architecture": "amd64" });
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [first, second] });
        let bytes = serde_json::to_vec(&index).unwrap();
        let size = bytes.len();
        Self {
            index: put(&mut blobs, bytes),
            amd64,
            arm64,
            docker,
            blobs,
            size,
        }
    }

    /// An OCI layout under these names; a name with a slash is a whole one.
    pub fn layout(&self, names: &[&str]) -> Vec<u8> {
        let entry = |name: &&str| {
            let key = match name.contains('/') {
                true => "io.containerd.image.name",
                false => "org.opencontainers.image.ref.name",
            };
            json!({ "mediaType": INDEX, "digest": self.index, "size": self.size, "annotations": { key: name } })
        };
        let entries: Vec<Value> = names.iter().map(entry).collect();
        let index = json!({ "schemaVersion": 2, "manifests": entries });
        let mut tar = tar::Builder::new(Vec::new());
        add(&mut tar, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
        add(&mut tar, "index.json", &serde_json::to_vec(&index).unwrap());
        for (digest, bytes) in &self.blobs {
            add(&mut tar, &format!("blobs/{}", digest.replace(':', "/")), bytes);
        }
        tar.into_inner().unwrap()
    }

    pub fn docker(&self) -> Vec<u8> {
        self.docker.clone()
    }
}

fn one(blobs: &mut BTreeMap<String, Vec<u8>>, architecture: &str, text: &str, kind: &str) -> (One, Value) {
    let mut tar = tar::Builder::new(Vec::new());
    add(&mut tar, &format!("for-{architecture}"), text.as_bytes());
    let layer = tar.into_inner().unwrap();
    let layer_size = layer.len();
    let layer = put(blobs, layer);
    let config = json!({
        "os": "linux", "architecture": architecture,
        "rootfs": { "type": "layers", "diff_ids": [layer] },
    });
    let config = serde_json::to_vec(&config).unwrap();
    let config_size = config.len();
    let config = put(blobs, config);
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": { "mediaType": CONFIG, "digest": config, "size": config_size },
        "layers": [{ "mediaType": kind, "digest": layer, "size": layer_size }],
    });
    let bytes = serde_json::to_vec(&manifest).unwrap();
    let size = bytes.len();
    let manifest = put(blobs, bytes);
    let entry = json!({
        "mediaType": MANIFEST, "digest": manifest, "size": size,
        "platform": { "os": "linux", "architecture": architecture },
    });
    let one = One {
        manifest,
        config,
        layer,
    };
    (one, entry)
}

fn docker(blobs: &BTreeMap<String, Vec<u8>>, one: &One) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let listing = json!([{ "Config": "config.json", "RepoTags": ["example.org/docker:1"], "Layers": ["layer.tar"] }]);
    add(&mut tar, "manifest.json", &serde_json::to_vec(&listing).unwrap());
    add(&mut tar, "config.json", &blobs[&one.config]);
    add(&mut tar, "layer.tar", &blobs[&one.layer]);
    tar.into_inner().unwrap()
}

fn put(blobs: &mut BTreeMap<String, Vec<u8>>, bytes: Vec<u8>) -> String {
    let digest = digest(&bytes);
    blobs.insert(digest.clone(), bytes);
    digest
}

fn add(tar: &mut tar::Builder<Vec<u8>>, name: &str, bytes: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    header.set_mtime(1_700_000_000);
    tar.append_data(&mut header, name, bytes).unwrap();
}
