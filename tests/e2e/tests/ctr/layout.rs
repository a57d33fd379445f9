//! The image of both sides.

use crate::side::IMAGE;
use gantry_e2e::{busybox_tar, digest};
use std::path::{Path, PathBuf};

/// An OCI image layout of one layer.
pub struct Image {
    pub archive: PathBuf,
    pub manifest: String,
    pub config: String,
    pub diff_id: String,
}

impl Image {
    pub fn make(root: &Path) -> Self {
        let layer = busybox_tar().to_vec();
        let diff_id = digest(&layer);
        let config = serde_json::json!({
            "architecture": "amd64", "os": "linux",
            "config": {"Cmd": ["sh"], "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
            "history": [{"created": "2024-01-01T00:00:00Z", "created_by": "test"}],
        });
        let config = serde_json::to_vec(&config).expect("json");
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(&config), "size": config.len()},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": diff_id, "size": layer.len()}],
        });
        let manifest = serde_json::to_vec(&manifest).expect("json");
        let index = serde_json::json!({
            "schemaVersion": 2,
            "manifests": [{
                "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest(&manifest), "size": manifest.len(),
                "annotations": {"org.opencontainers.image.ref.name": "latest", "io.containerd.image.name": IMAGE},
            }],
        });
        let archive = root.join("image.tar");
        let mut tar = tar::Builder::new(std::fs::File::create(&archive).expect("a file"));
        let mut put = |name: &str, bytes: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, bytes).expect("the archive takes it");
        };
        put("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
        for blob in [&layer, &config, &manifest] {
            put(&format!("blobs/{}", digest(blob).replace(':', "/")), blob);
        }
        put("index.json", &serde_json::to_vec(&index).expect("json"));
        tar.finish().expect("the archive is whole");
        Self {
            archive,
            manifest: digest(&manifest),
            config: digest(&config),
            diff_id,
        }
    }
}
