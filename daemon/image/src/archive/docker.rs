//! docker-archive: `manifest.json` names configs, layers and tags (Docker image spec 1.2, "Combined Image JSON + Filesystem
//! Changeset Format").

use super::scan::{Scan, bad};
use crate::blobs::{Blobs, reference_labels};
use crate::compress::Compression;
use crate::config::ImageConfig;
use crate::descriptor::{Descriptor, Document, MAX_CONFIG, Manifest, nullable};
use crate::error::{ImageError, Result};
use crate::hash::Hasher;
use crate::media;
use crate::service::{GzipLayer, ImageService};
use gantry_core::content::BlobStream;
use gantry_core::reference::Reference;
use gantry_core::{Algorithm, Digest};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One image of `manifest.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Listed {
    pub config: String,
    #[serde(default, deserialize_with = "nullable")]
    pub repo_tags: Vec<String>,
    #[serde(default, deserialize_with = "nullable")]
    pub layers: Vec<String>,
}

/// Each listed image given the manifest it lacks. With a packer, layers that came plain are compressed.
pub(super) fn images(
    scan: &Scan,
    listing: &[u8],
    blobs: &Blobs,
    packer: Option<&ImageService>,
) -> Result<Vec<(Descriptor, Vec<Reference>)>> {
    let listed: Vec<Listed> =
        serde_json::from_slice(listing).map_err(|e| ImageError::parse("archive member \"manifest.json\"", e))?;
    listed
        .iter()
        .map(|image| self::image(scan, image, blobs, packer))
        .collect()
}

fn image(
    scan: &Scan,
    listed: &Listed,
    blobs: &Blobs,
    packer: Option<&ImageService>,
) -> Result<(Descriptor, Vec<Reference>)> {
    let tags = listed.repo_tags.iter().map(|tag| {
        let tag = Reference::parse(tag).map_err(|error| bad(format!("tag \"{tag}\": {error}")))?;
        Ok(tag.or_latest())
    });
    let tags = tags.collect::<Result<Vec<_>>>()?;
    let member = scan.member(&listed.config)?;
    if member.size > MAX_CONFIG {
        return Err(ImageError::TooLarge {
            what: format!("archive member \"{}\"", listed.config),
            got: member.size,
            limit: MAX_CONFIG,
        });
    }
    let config_blob = Descriptor::new(media::OCI_CONFIG, member.digest.clone(), member.size);
    let config = ImageConfig::parse(
        &blobs.config_bytes(&config_blob)?,
        &format!("image config \"{}\"", listed.config),
    )?;
    let diff_ids = &config.rootfs.diff_ids;
    if listed.layers.len() != diff_ids.len() {
        return Err(bad(format!(
            "image config \"{}\" names {} layers, manifest.json {}",
            listed.config,
            diff_ids.len(),
            listed.layers.len()
        )));
    }
    let layers = listed
        .layers
        .iter()
        .zip(diff_ids)
        .map(|(name, diff_id)| layer(scan, name, diff_id, blobs, packer));
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(media::OCI_MANIFEST.to_owned()),
        config: config_blob,
        layers: layers.collect::<Result<_>>()?,
        annotations: BTreeMap::new(),
    };
    let target = put_manifest(blobs, manifest)?;
    Ok((target, tags))
}

/// Stores a manifest of our making.
pub(crate) fn put_manifest(blobs: &Blobs, manifest: Manifest) -> Result<Descriptor> {
    let bytes = serde_json::to_vec(&manifest).expect("maps have text keys, so it serialises");
    let digest = Hasher::of(Algorithm::Sha256, &bytes);
    let target = Descriptor::new(media::OCI_MANIFEST, digest, bytes.len() as u64);
    blobs.put(
        &target,
        "manifest",
        &bytes,
        reference_labels(&Document::Manifest(Box::new(manifest))),
    )?;
    Ok(target)
}

fn layer(
    scan: &Scan,
    name: &str,
    diff_id: &Digest,
    blobs: &Blobs,
    packer: Option<&ImageService>,
) -> Result<Descriptor> {
    let member = scan.member(name)?;
    let mut head = [0; 6];
    let read = blobs.content.reader(&blobs.ns, &member.digest)?.read_at(&mut head, 0)?;
    let media_type = match Compression::sniff(&head[..read]) {
        Compression::None => media::OCI_LAYER,
        Compression::Gzip => media::OCI_LAYER_GZIP,
        Compression::Zstd => media::OCI_LAYER_ZSTD,
        other => return Err(bad(format!("layer \"{name}\" is compressed with {}", other.name()))),
    };
    if media_type == media::OCI_LAYER && diff_id.algorithm() == Algorithm::Sha256 && member.digest != *diff_id {
        return Err(ImageError::WrongDiffId {
            layer: member.digest.clone(),
            expected: diff_id.clone(),
            got: member.digest.clone(),
        });
    }
    if let (media::OCI_LAYER, Some(service)) = (media_type, packer) {
        return pack(service, blobs, &member.digest);
    }
    Ok(Descriptor::new(media_type, member.digest.clone(), member.size))
}

fn pack(service: &ImageService, blobs: &Blobs, plain: &Digest) -> Result<Descriptor> {
    let mut source = BlobStream::new(blobs.content.reader(&blobs.ns, plain)?);
    let mut layer = GzipLayer::open(service, &blobs.ns, blobs.lease.clone())?;
    match std::io::copy(&mut source, &mut layer) {
        Ok(_) => Ok(layer.finish()?.blob),
        Err(error) => {
            layer.abort();
            Err(ImageError::io("compress a layer")(error))
        }
    }
}
