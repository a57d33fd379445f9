//! Push: what a target names goes to a registry, blobs first, each document after what it names.

use super::resolve::enter;
use super::{ImageService, Wanted, blocking};
use crate::blobs::Blobs;
use crate::descriptor::{Descriptor, Document, MAX_MANIFEST};
use crate::error::{ImageError, Result};
use crate::media;
use crate::progress::{ProgressSink, Status};
use crate::registry::{Access, Repository, Sent, UploadStep};
use bytes::Bytes;
use futures::stream::{FuturesUnordered, TryStreamExt};
use gantry_core::content::read_all;
use gantry_core::reference::Reference;
use gantry_core::{Digest, Namespace};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Repositories that one push may take blobs over from: each is in the token that it asks for.
const MAX_OTHERS: usize = 8;

#[derive(Debug, Clone, Default)]
pub struct PushOptions {
    pub access: Access,
    /// What of an index is pushed. It names the rest all the same, which the registry has or has not.
    pub wanted: Wanted,
}

/// What is to be sent.
#[derive(Default)]
struct Load {
    /// Each after what it names; the target last.
    documents: Vec<Descriptor>,
    blobs: Vec<Blob>,
    seen: BTreeSet<Digest>,
}

struct Blob {
    blob: Descriptor,
    /// Repositories of the same registry that it came from.
    others: Vec<String>,
}

impl ImageService {
    /// Pushes `target` as what `reference` names; by its digest if the reference has one. A target whose parts are not all here is
    /// refused before anything is sent. Dropping the future ends it; what was uploaded stays for the next.
    pub async fn push(
        &self,
        ns: &Namespace,
        target: &Descriptor,
        reference: Reference,
        options: PushOptions,
        progress: impl Into<ProgressSink>,
    ) -> gantry_core::Result<()> {
        let reference = reference.or_latest();
        let progress = progress.into();
        let target = target.clone();
        if let Some(digest) = reference.digest().filter(|digest| **digest != target.digest) {
            return Err(ImageError::WrongDigest {
                what: format!("the image to push as {reference}"),
                expected: digest.clone(),
                got: target.digest,
            }
            .into());
        }
        progress.tell("", Status::PushingTo(reference.familiar_name()));
        let (blobs, domain) = (self.blobs(ns, None), reference.domain().to_owned());
        let (sink, wanted, there) = (progress.clone(), options.wanted, blobs.clone());
        let gathered = blocking("look up an image", move || {
            let mut load = Load::default();
            load.gather(&there, &target, &domain, &wanted, &mut Vec::new(), &sink)?;
            Ok(load)
        });
        let load = gathered.await?;
        let mut others: Vec<String> = load.blobs.iter().flat_map(|blob| blob.others.clone()).collect();
        others.sort();
        others.dedup();
        others.truncate(MAX_OTHERS);
        let repository = self.inner.registries.repository(&reference, options.access)?;
        let mut repository = repository.for_push(&others);
        repository.settle().await?;
        let uploads = load.blobs.iter();
        let uploads = uploads.map(|blob| self.push_blob(&repository, &blobs, blob, &others, &progress));
        // Unordered: the first failure ends the rest.
        let uploads: FuturesUnordered<_> = uploads.collect();
        uploads.try_collect::<Vec<()>>().await?;
        let tag = reference.tag().filter(|_| reference.digest().is_none());
        let (last, children) = load.documents.split_last().expect("the target is one");
        for document in children {
            push_document(&repository, &blobs, document, None, &progress).await?;
        }
        push_document(&repository, &blobs, last, tag, &progress).await?;
        progress.tell("", Status::Digest(last.digest.clone()));
        Ok(())
    }

    async fn push_blob(
        &self,
        repository: &Repository,
        blobs: &Blobs,
        one: &Blob,
        others: &[String],
        progress: &ProgressSink,
    ) -> Result<()> {
        let _permit = self.inner.uploads.acquire().await.expect("never closed");
        let (shown, size) = (one.blob.digest.short(), one.blob.size);
        let (there, digest) = (blobs.clone(), one.blob.digest.clone());
        let source = blocking("open a blob", move || Ok(there.content.reader(&there.ns, &digest)?)).await?;
        let allowed: Vec<String> = one.others.iter().filter(|one| others.contains(one)).cloned().collect();
        let told = |step| match step {
            UploadStep::At(at) => progress.count(shown, Status::Pushing, at, size),
            UploadStep::Retry(pause) => progress.tell(shown, Status::Retrying(pause.as_secs().max(1))),
        };
        let done = match repository.upload(&one.blob, &allowed, Arc::from(source), told).await? {
            Sent::There => Status::LayerExists,
            Sent::Mounted(other) => Status::MountedFrom(other),
            Sent::Uploaded => Status::Pushed,
        };
        progress.count(shown, done, size, size);
        Ok(())
    }
}

async fn push_document(
    repository: &Repository,
    blobs: &Blobs,
    document: &Descriptor,
    tag: Option<&str>,
    progress: &ProgressSink,
) -> Result<()> {
    let (shown, size) = (document.digest.short(), document.size);
    if repository.has_manifest(document, tag).await {
        progress.count(shown, Status::LayerExists, size, size);
        return Ok(());
    }
    let (there, digest) = (blobs.clone(), document.digest.clone());
    let bytes = blocking("read a manifest", move || {
        Ok(read_all(&*there.content, &there.ns, &digest, MAX_MANIFEST)?)
    });
    repository
        .put_manifest(document, tag, Bytes::from(bytes.await?))
        .await?;
    progress.count(shown, Status::Pushed, size, size);
    Ok(())
}

impl Load {
    /// Notes all that `at` names, and misses nothing.
    fn gather(
        &mut self,
        blobs: &Blobs,
        at: &Descriptor,
        domain: &str,
        wanted: &Wanted,
        above: &mut Vec<Descriptor>,
        progress: &ProgressSink,
    ) -> Result<()> {
        let mut digests = above.iter().map(|one| one.digest.clone()).collect();
        enter(&at.digest, &mut digests)?;
        let document = blobs.document(at)?;
        announce(progress, at, above);
        above.push(at.clone());
        match document {
            Document::Index(index) => {
                for entry in wanted.entries(&at.digest, &index)? {
                    if self.seen.insert(entry.digest.clone()) {
                        self.gather(blobs, &entry, domain, wanted, above, progress)?;
                    }
                }
            }
            Document::Manifest(manifest) => {
                let layers = manifest.layers.iter().filter(|_| wanted.matches(at));
                for blob in layers.chain([&manifest.config]) {
                    if self.seen.insert(blob.digest.clone()) {
                        self.note(blobs, blob, domain, above, progress)?;
                    }
                }
            }
        }
        above.pop();
        let media_type = match at.media_type.is_empty() {
            true => blobs.document(at)?.media_type().to_owned(),
            false => at.media_type.clone(),
        };
        self.documents.push(Descriptor {
            media_type,
            ..at.clone()
        });
        Ok(())
    }

    fn note(
        &mut self,
        blobs: &Blobs,
        blob: &Descriptor,
        domain: &str,
        above: &[Descriptor],
        progress: &ProgressSink,
    ) -> Result<()> {
        let Some(info) = blobs.find(&blob.digest)? else {
            // What may not be distributed is elsewhere, where its manifest says.
            if media::is_foreign(&blob.media_type) && !blob.urls.is_empty() {
                return Ok(());
            }
            let image = above.last().map(|one| one.digest.to_string()).unwrap_or_default();
            return Err(ImageError::MissingBlob {
                what: format!("part of image {image}, which can therefore not be pushed,"),
                digest: blob.digest.clone(),
            });
        };
        if info.size != blob.size {
            return Err(ImageError::WrongSize {
                what: format!("blob {}", blob.digest),
                expected: blob.size,
                got: info.size,
            });
        }
        let source = info.labels.get(&format!("containerd.io/distribution.source.{domain}"));
        let others = source.map(|names| names.split(',').map(str::to_owned).collect());
        announce(progress, blob, above);
        self.blobs.push(Blob {
            blob: blob.clone(),
            others: others.unwrap_or_default(),
        });
        Ok(())
    }
}

fn announce(progress: &ProgressSink, blob: &Descriptor, above: &[Descriptor]) {
    progress.about(blob, above.last().cloned().into_iter().collect());
    progress.count(blob.digest.short(), Status::Preparing, 0, blob.size);
}

#[cfg(test)]
mod tests;
