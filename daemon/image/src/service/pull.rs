//! Pull: the flow.

use super::layers::Plan;
use super::{ImageService, Job, Resolved, blocking};
use crate::blobs::snapshot_label;
use crate::descriptor::Descriptor;
use crate::error::Result;
use crate::failpoint::failpoint;
use crate::hold::Hold;
use crate::platform::Platform;
use crate::progress::{ProgressSink, Status};
use crate::registry::{Access, Credentials};
use gantry_core::reference::Reference;
use gantry_core::{Digest, LeaseId, Namespace};

#[derive(Debug, Clone, Default)]
pub struct PullOptions {
    /// Default the host's.
    pub platform: Option<Platform>,
    pub credentials: Option<Credentials>,
    /// Empty = the default one.
    pub snapshotter: String,
    /// What holds blobs and snapshots until the image's record refers to them; `None` = one of our own, held by the outcome.
    pub lease: Option<LeaseId>,
}

impl PullOptions {
    /// From the words of a request; empty ones say nothing.
    pub fn new(platform: &str, username: &str, password: &str, identity_token: &str) -> gantry_core::Result<Self> {
        Ok(Self {
            platform: match platform {
                "" => None,
                text => Some(Platform::parse(text)?),
            },
            credentials: Credentials::new(username, password, identity_token),
            ..Self::default()
        })
    }
}

/// An image that is in the store and unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// What the reference points at (an index, if it is one): the image record's target.
    pub target: Descriptor,
    /// The image's id: digest of its config.
    pub id: Digest,
    /// Its topmost layer; `None` for an image without layers.
    pub chain_id: Option<Digest>,
    /// Stored bytes of its manifest and layers.
    pub size: u64,
    pub hold: Hold,
}

impl ImageService {
    /// Fetches and unpacks what `reference` points at. Dropping the future ends the pull: finished blobs stay, partial ones
    /// are gone on with by the next, half unpacked layers go.
    pub async fn pull(
        &self,
        ns: &Namespace,
        reference: Reference,
        options: PullOptions,
        progress: impl Into<ProgressSink>,
    ) -> gantry_core::Result<Pulled> {
        let reference = reference.or_latest();
        let platform = options.platform.unwrap_or_else(Platform::host).normalised();
        let (job, hold) = self
            .job(ns, options.lease, &options.snapshotter, progress.into())
            .await?;
        let repository = self
            .inner
            .registries
            .repository(&reference, Access::with_login(options.credentials))?;
        // As Docker says it: the tag, or the whole of a reference by digest; the repository without its host.
        let shown = match (reference.digest(), reference.tag()) {
            (None, Some(tag)) => tag.to_owned(),
            _ => reference.to_string(),
        };
        job.progress
            .tell(&shown, Status::PullingFrom(reference.path().to_owned()));
        let resolved = self.fetch(&job, &repository, &platform).await?;
        self.materialise(&job, plans(&resolved), Some(&repository)).await?;
        let pulled = self.finish(&job, resolved, hold).await?;
        job.progress.tell("", Status::Digest(pulled.target.digest.clone()));
        Ok(pulled)
    }

    /// Every tag of a repository.
    pub async fn tags(&self, reference: &Reference, options: &PullOptions) -> gantry_core::Result<Vec<String>> {
        let repository = self
            .inner
            .registries
            .repository(reference, Access::with_login(options.credentials.clone()))?;
        Ok(repository.tags().await?)
    }

    /// Ties config and snapshots together for the collector.
    pub(crate) async fn finish(&self, job: &Job, resolved: Resolved, hold: Hold) -> Result<Pulled> {
        let chain_id = resolved.chain_id();
        let (blobs, id, chain) = (job.blobs.clone(), resolved.id.clone(), chain_id.clone());
        let snapshotter = job.snapshotter.clone();
        blocking("label a config", move || match chain {
            Some(chain) => {
                blobs.label(&id, &snapshot_label(&snapshotter, &chain))?;
                failpoint!("image::config::labelled");
                Ok(())
            }
            None => Ok(()),
        })
        .await?;
        Ok(Pulled {
            size: resolved.size(),
            target: resolved.target,
            id: resolved.id,
            chain_id,
            hold,
        })
    }
}

pub(crate) fn plans(resolved: &Resolved) -> Vec<Plan> {
    Plan::all(
        &resolved.layers,
        &resolved.config.rootfs.diff_ids,
        &resolved.config.chain_ids(),
    )
}
