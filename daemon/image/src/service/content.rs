//! Fetch: the blobs of a target, of as many platforms as are wanted, unpacked only where that is said.

use super::layers::Plan;
use super::pull::plans;
use super::resolve::enter;
use super::{ImageService, Job, Wanted};
use crate::descriptor::{Descriptor, Document};
use crate::error::Result;
use crate::hold::Hold;
use crate::platform::Platform;
use crate::progress::{ProgressSink, Status};
use crate::registry::{Access, Repository};
use futures::stream::{FuturesUnordered, TryStreamExt};
use gantry_core::reference::Reference;
use gantry_core::{Digest, LeaseId, Namespace};
use std::collections::BTreeSet;

#[derive(Debug, Clone, Default)]
pub struct FetchOptions {
    pub access: Access,
    pub wanted: Wanted,
    /// Where, and what of it, is unpacked as it comes.
    pub unpacks: Vec<UnpackAt>,
    pub lease: Option<LeaseId>,
}

/// One unpacking.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnpackAt {
    /// The first that is wanted, else the host's.
    pub platform: Option<Platform>,
    /// Empty = the default one.
    pub snapshotter: String,
}

/// A target that is in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    pub target: Descriptor,
    pub hold: Hold,
}

impl ImageService {
    /// Fetches what `reference` points at. What is to be unpacked is unpacked while it is downloaded. Dropping the future ends it,
    /// as it ends a pull.
    pub async fn fetch_content(
        &self,
        ns: &Namespace,
        reference: Reference,
        options: FetchOptions,
        progress: impl Into<ProgressSink>,
    ) -> gantry_core::Result<Fetched> {
        let reference = reference.or_latest();
        let (job, hold) = self.job(ns, options.lease, "", progress.into()).await?;
        let repository = self.inner.registries.repository(&reference, options.access)?;
        let target = self.target(&job, &repository).await?;
        let blobs = self.walk(&job, &repository, &target, &options.wanted).await?;
        for unpack in &options.unpacks {
            self.fetch_unpacked(&job, &repository, &target, unpack, &options.wanted)
                .await?;
        }
        let rest = blobs.iter().map(|blob| self.fetch_blob(&job, &repository, blob));
        let rest: FuturesUnordered<_> = rest.collect();
        rest.try_collect::<Vec<()>>().await?;
        Ok(Fetched { target, hold })
    }

    /// Fetches the documents, and answers what else they name that is wanted.
    async fn walk(
        &self,
        job: &Job,
        repository: &Repository,
        target: &Descriptor,
        wanted: &Wanted,
    ) -> Result<Vec<Descriptor>> {
        let mut seen = BTreeSet::new();
        let mut blobs = Vec::new();
        let mut to_do: Vec<(Descriptor, Vec<Digest>)> = vec![(target.clone(), Vec::new())];
        expect(job, target, Vec::new());
        while let Some((at, mut above)) = to_do.pop() {
            enter(&at.digest, &mut above)?;
            let document = self.document(job, repository, &at).await?;
            job.progress
                .count(at.digest.short(), Status::DownloadComplete, at.size, at.size);
            let mut note = |blob: &Descriptor| {
                let new = seen.insert(blob.digest.clone());
                if new {
                    expect(job, blob, vec![at.clone()]);
                }
                new
            };
            match document {
                Document::Index(index) => {
                    for entry in wanted.entries(&at.digest, &index)?.into_iter().rev() {
                        if note(&entry) {
                            to_do.push((entry, above.clone()));
                        }
                    }
                }
                Document::Manifest(manifest) => {
                    let layers = manifest.layers.iter().filter(|_| wanted.matches(&at));
                    for blob in [&manifest.config].into_iter().chain(layers) {
                        if note(blob) {
                            blobs.push(blob.clone());
                        }
                    }
                }
            }
        }
        Ok(blobs)
    }

    async fn fetch_unpacked(
        &self,
        job: &Job,
        repository: &Repository,
        target: &Descriptor,
        unpack: &UnpackAt,
        wanted: &Wanted,
    ) -> Result<()> {
        let platform = unpack.platform.clone().or_else(|| wanted.platforms.first().cloned());
        let platform = platform.unwrap_or_else(Platform::host).normalised();
        let mut job = job.clone();
        if !unpack.snapshotter.is_empty() {
            job.snapshotter.clone_from(&unpack.snapshotter);
        }
        let resolved = self.fetch_from(&job, repository, target.clone(), &platform).await?;
        self.materialise(&job, plans(&resolved), Some(repository)).await?;
        self.finish(&job, resolved, Hold::default()).await?;
        Ok(())
    }

    async fn fetch_blob(&self, job: &Job, repository: &Repository, blob: &Descriptor) -> Result<()> {
        if !self.ensure_blob(job, &Plan::blob_only(blob), Some(repository)).await? {
            job.progress
                .count(blob.digest.short(), Status::AlreadyExists, blob.size, blob.size);
        }
        Ok(())
    }
}

fn expect(job: &Job, blob: &Descriptor, parents: Vec<Descriptor>) {
    job.progress.about(blob, parents);
    job.progress.count(blob.digest.short(), Status::Waiting, 0, blob.size);
}
