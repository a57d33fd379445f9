//! What a registry has under a name, without taking it.

use super::ImageService;
use super::fetch::download_small;
use crate::config::ImageConfig;
use crate::descriptor::{Descriptor, Document, MAX_CONFIG, Manifest};
use crate::error::{ImageError, Result};
use crate::hash::Hasher;
use crate::platform::Platform;
use crate::registry::{Access, Repository};
use gantry_core::reference::{DEFAULT_TAG, Reference};

/// What a name points at in its registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked {
    pub target: Descriptor,
    /// One for each image that says what it is for.
    pub platforms: Vec<Platform>,
}

impl ImageService {
    /// Asks the registry; nothing is kept.
    pub async fn look(&self, reference: Reference, access: Access) -> gantry_core::Result<Looked> {
        let reference = reference.or_latest();
        let repository = self.inner.registries.repository(&reference, access)?;
        let at = match reference.digest() {
            Some(digest) => digest.to_string(),
            None => reference.tag().unwrap_or(DEFAULT_TAG).to_owned(),
        };
        let (target, bytes) = repository.manifest(&at, None).await?;
        let platforms = match Document::parse(&target.media_type, &bytes, &format!("manifest {}", target.digest))? {
            Document::Index(index) => index.manifests.into_iter().filter_map(|one| one.platform).collect(),
            Document::Manifest(manifest) => platform(&repository, &manifest).await?.into_iter().collect(),
        };
        Ok(Looked { target, platforms })
    }
}

/// What the one image is for, as its config has it. What is no image says nothing.
async fn platform(repository: &Repository, manifest: &Manifest) -> Result<Option<Platform>> {
    let config = &manifest.config;
    let what = format!("image config {}", config.digest);
    if config.size > MAX_CONFIG {
        return Err(ImageError::TooLarge {
            what,
            got: config.size,
            limit: MAX_CONFIG,
        });
    }
    let bytes = download_small(repository, config).await?;
    let got = Hasher::of(config.digest.algorithm(), &bytes);
    if got != config.digest {
        return Err(ImageError::WrongDigest {
            what,
            expected: config.digest.clone(),
            got,
        });
    }
    let Ok(parsed) = ImageConfig::parse(&bytes, &what) else {
        return Ok(None);
    };
    Ok(Some(Platform {
        architecture: parsed.architecture,
        os: parsed.os,
        variant: parsed.variant,
        os_version: parsed.os_version,
        os_features: Vec::new(),
    }))
}
