//! Fetching the small things: manifests, indexes and the config, into the store.

use super::resolve::{Resolved, check_layers, enter, no_platform};
use super::{ImageService, Job, blocking};
use crate::blobs::{reference_labels, source_label};
use crate::config::ImageConfig;
use crate::descriptor::{Descriptor, Document, MAX_CONFIG, Manifest};
use crate::error::{ImageError, Result};
use crate::platform::Platform;
use crate::registry::{Chunk, Repository};
use gantry_core::Labels;
use std::sync::Arc;
use tokio::sync::mpsc;

impl ImageService {
    /// Fetches what `repository`'s reference points at, down to the config of the image for `platform`.
    pub(super) async fn fetch(&self, job: &Job, repository: &Repository, platform: &Platform) -> Result<Resolved> {
        let target = self.target(job, repository).await?;
        self.fetch_from(job, repository, target, platform).await
    }

    /// The same for a target that is known.
    pub(super) async fn fetch_from(
        &self,
        job: &Job,
        repository: &Repository,
        target: Descriptor,
        platform: &Platform,
    ) -> Result<Resolved> {
        let mut above = Vec::new();
        let mut at = target.clone();
        let manifest = loop {
            enter(&at.digest, &mut above)?;
            match self.document(job, repository, &at).await? {
                Document::Manifest(manifest) => break *manifest,
                Document::Index(index) => {
                    let picked = platform.pick(&index.manifests);
                    at = picked
                        .cloned()
                        .ok_or_else(|| no_platform(&at.digest, platform, &index.manifests))?;
                }
            }
        };
        let config = self.fetch_config(job, repository, &manifest).await?;
        check_layers(&at.digest, &manifest, &config)?;
        Ok(Resolved {
            id: manifest.config.digest.clone(),
            target,
            manifest: at,
            config: Arc::new(config),
            layers: manifest.layers,
        })
    }

    /// What the reference points at now, stored. A digest that is here already costs no manifest from the registry.
    pub(super) async fn target(&self, job: &Job, repository: &Repository) -> Result<Descriptor> {
        let reference = repository.reference();
        let tag = reference.tag().unwrap_or(gantry_core::reference::DEFAULT_TAG);
        let digest = match reference.digest() {
            Some(digest) => Some(digest.clone()),
            None => repository.head(tag).await,
        };
        if let Some(digest) = digest.clone() {
            let blobs = job.blobs.clone();
            let here = blocking("look up a manifest", move || {
                let Some(info) = blobs.find(&digest)? else {
                    return Ok(None);
                };
                let unnamed = Descriptor::new("", digest, info.size);
                let document = blobs.document(&unnamed)?;
                let descriptor = Descriptor::new(document.media_type(), unnamed.digest, info.size);
                // Known to this lease from here on.
                blobs.open(&descriptor, "manifest")?;
                blobs.label(&descriptor.digest, &reference_labels(&document))?;
                Ok(Some(descriptor))
            });
            if let Some(descriptor) = here.await? {
                return Ok(descriptor);
            }
        }
        let at = match (reference.digest(), &digest) {
            (Some(digest), _) => digest.to_string(),
            _ => tag.to_owned(),
        };
        let (descriptor, bytes) = repository.manifest(&at, None).await?;
        self.store_document(job, repository, descriptor.clone(), bytes).await?;
        Ok(descriptor)
    }

    pub(super) async fn document(&self, job: &Job, repository: &Repository, at: &Descriptor) -> Result<Document> {
        let (blobs, wanted) = (job.blobs.clone(), at.clone());
        let here = blocking("look up a manifest", move || {
            if blobs.find(&wanted.digest)?.is_none() {
                return Ok(None);
            }
            let document = blobs.document(&wanted)?;
            blobs.open(&wanted, "manifest")?;
            Ok(Some(document))
        });
        if let Some(document) = here.await? {
            return Ok(document);
        }
        let (_, bytes) = repository.manifest(&at.digest.to_string(), Some(at)).await?;
        self.store_document(job, repository, at.clone(), bytes).await
    }

    async fn store_document(
        &self,
        job: &Job,
        repository: &Repository,
        at: Descriptor,
        bytes: Vec<u8>,
    ) -> Result<Document> {
        let blobs = job.blobs.clone();
        let source = source_label(repository.reference());
        blocking("store a manifest", move || {
            let document = Document::parse(&at.media_type, &bytes, &format!("manifest {}", at.digest))?;
            let mut labels = reference_labels(&document);
            labels.extend([source]);
            blobs.put(&at, "manifest", &bytes, labels)?;
            Ok(document)
        })
        .await
    }

    async fn fetch_config(&self, job: &Job, repository: &Repository, manifest: &Manifest) -> Result<ImageConfig> {
        let descriptor = &manifest.config;
        let what = format!("image config {}", descriptor.digest);
        if descriptor.size > MAX_CONFIG {
            return Err(ImageError::TooLarge {
                what,
                got: descriptor.size,
                limit: MAX_CONFIG,
            });
        }
        let (blobs, wanted) = (job.blobs.clone(), descriptor.clone());
        let here = blocking("look up a config", move || match blobs.find(&wanted.digest)? {
            Some(_) => {
                blobs.open(&wanted, "config")?;
                blobs.config_bytes(&wanted).map(Some)
            }
            None => Ok(None),
        });
        let bytes = match here.await? {
            Some(bytes) => bytes,
            None => {
                let bytes = download_small(repository, descriptor).await?;
                let (blobs, wanted, kept) = (job.blobs.clone(), descriptor.clone(), bytes.clone());
                let labels = Labels::from([source_label(repository.reference())]);
                blocking("store a config", move || blobs.put(&wanted, "config", &kept, labels)).await?;
                bytes
            }
        };
        ImageConfig::parse(&bytes, &what)
    }
}

pub(super) async fn download_small(repository: &Repository, blob: &Descriptor) -> Result<Vec<u8>> {
    let (sender, mut receiver) = mpsc::channel(4);
    let mut whole = Vec::new();
    let collect = async {
        while let Some(chunk) = receiver.recv().await {
            match chunk {
                Chunk::Bytes(bytes) => whole.extend_from_slice(&bytes),
                Chunk::End => break,
            }
        }
    };
    let (sent, ()) = futures::join!(
        async {
            let sender = sender;
            repository.blob(blob, 0, &sender, |_| {}).await
        },
        collect
    );
    sent?;
    Ok(whole)
}
