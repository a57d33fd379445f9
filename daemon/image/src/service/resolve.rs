//! From a target descriptor to the image for a platform, by what the store holds.

use super::ImageService;
use crate::blobs::Blobs;
use crate::config::ImageConfig;
use crate::descriptor::{Descriptor, Document, Manifest};
use crate::error::{ImageError, Result};
use crate::platform::Platform;
use gantry_core::{Digest, Namespace};
use std::sync::Arc;

/// Deepest nesting of indexes followed.
pub(crate) const MAX_NESTING: usize = 8;

/// One image of a target.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The image's id: digest of its config.
    pub id: Digest,
    pub target: Descriptor,
    /// The manifest chosen; the target itself unless that is an index.
    pub manifest: Descriptor,
    pub config: Arc<ImageConfig>,
    /// Layers as stored, base first.
    pub layers: Vec<Descriptor>,
}

impl Resolved {
    /// Stored (compressed) bytes of config and layers.
    pub fn size(&self) -> u64 {
        self.layers.iter().map(|layer| layer.size).sum::<u64>() + self.manifest.size
    }

    pub fn chain_id(&self) -> Option<Digest> {
        self.config.chain_ids().pop()
    }
}

impl ImageService {
    /// The image that `target` holds for this host. Blocks.
    pub fn config(&self, ns: &Namespace, target: &Descriptor) -> gantry_core::Result<Resolved> {
        self.config_for(ns, target, &Platform::host())
    }

    pub fn config_for(
        &self,
        ns: &Namespace,
        target: &Descriptor,
        platform: &Platform,
    ) -> gantry_core::Result<Resolved> {
        Ok(self.blobs(ns, None).resolve(target, platform)?)
    }
}

impl Blobs {
    pub(crate) fn resolve(&self, target: &Descriptor, platform: &Platform) -> Result<Resolved> {
        let (descriptor, manifest) = self.pick(target, platform, &mut Vec::new())?;
        let bytes = self.config_bytes(&manifest.config)?;
        let config = ImageConfig::parse(&bytes, &format!("image config {}", manifest.config.digest))?;
        check_layers(&descriptor.digest, &manifest, &config)?;
        Ok(Resolved {
            id: manifest.config.digest.clone(),
            target: target.clone(),
            manifest: descriptor,
            config: Arc::new(config),
            layers: manifest.layers,
        })
    }

    /// Follows indexes to a manifest. Only what is here counts: an archive or a pull may hold one platform of many.
    fn pick(&self, at: &Descriptor, platform: &Platform, above: &mut Vec<Digest>) -> Result<(Descriptor, Manifest)> {
        enter(&at.digest, above)?;
        let index = match self.document(at)? {
            Document::Manifest(manifest) => return Ok((at.clone(), *manifest)),
            Document::Index(index) => index,
        };
        let mut here = Vec::new();
        for entry in &index.manifests {
            if self.find(&entry.digest)?.is_some() {
                here.push(entry.clone());
            }
        }
        let attests = |entry: &Descriptor| entry.annotations.contains_key("vnd.docker.reference.type");
        let picked = platform
            .pick(&here)
            .or_else(|| here.iter().find(|entry| !attests(entry)));
        match (picked, platform.pick(&index.manifests)) {
            (Some(entry), _) => self.pick(entry, platform, above),
            (None, Some(missing)) => Err(ImageError::MissingBlob {
                what: format!("manifest for {platform} of index {}", at.digest),
                digest: missing.digest.clone(),
            }),
            (None, None) => Err(no_platform(&at.digest, platform, &index.manifests)),
        }
    }
}

/// Notes that a document was entered; an index within itself is an error.
pub(crate) fn enter(digest: &Digest, above: &mut Vec<Digest>) -> Result<()> {
    if above.contains(digest) {
        return Err(ImageError::CyclicIndex { digest: digest.clone() });
    }
    if above.len() >= MAX_NESTING {
        return Err(ImageError::NestedIndex {
            digest: digest.clone(),
            limit: MAX_NESTING,
        });
    }
    above.push(digest.clone());
    Ok(())
}

pub(crate) fn no_platform(index: &Digest, wanted: &Platform, entries: &[Descriptor]) -> ImageError {
    let have: Vec<String> = entries
        .iter()
        .filter_map(|e| e.platform.as_ref())
        .map(ToString::to_string)
        .collect();
    ImageError::NoPlatform {
        what: format!("index {index}"),
        wanted: wanted.to_string(),
        have: if have.is_empty() {
            "none".to_owned()
        } else {
            have.join(", ")
        },
    }
}

pub(crate) fn check_layers(digest: &Digest, manifest: &Manifest, config: &ImageConfig) -> Result<()> {
    match manifest.layers.len() == config.rootfs.diff_ids.len() {
        true => Ok(()),
        false => Err(ImageError::LayerCount {
            config: manifest.config.digest.clone(),
            diff_ids: config.rootfs.diff_ids.len(),
            manifest: digest.clone(),
            layers: manifest.layers.len(),
        }),
    }
}
