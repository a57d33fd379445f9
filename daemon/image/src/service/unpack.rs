//! Unpack: an image that is in the store becomes snapshots.

use super::pull::plans;
use super::{ImageService, Job, Pulled, blocking};
use crate::descriptor::Descriptor;
use crate::error::Result;
use crate::hold::Hold;
use crate::platform::Platform;
use crate::progress::ProgressSink;
use gantry_core::{LeaseId, Namespace};

#[derive(Debug, Clone, Default)]
pub struct UnpackOptions {
    pub platform: Option<Platform>,
    /// Empty = the default one.
    pub snapshotter: String,
    pub lease: Option<LeaseId>,
}

impl ImageService {
    /// Unpacks what is not unpacked yet of `target`, whose blobs must be in the store, with the default options.
    pub async fn unpack(&self, ns: &Namespace, target: &Descriptor) -> gantry_core::Result<Pulled> {
        self.unpack_with(ns, target, UnpackOptions::default(), ProgressSink::silent())
            .await
    }

    pub async fn unpack_with(
        &self,
        ns: &Namespace,
        target: &Descriptor,
        options: UnpackOptions,
        progress: impl Into<ProgressSink>,
    ) -> gantry_core::Result<Pulled> {
        let platform = options.platform.unwrap_or_else(Platform::host).normalised();
        let (job, hold) = self
            .job(ns, options.lease, &options.snapshotter, progress.into())
            .await?;
        let pulled = self.unpack_job(&job, target, &platform).await?;
        Ok(Pulled { hold, ..pulled })
    }

    pub(crate) async fn unpack_job(&self, job: &Job, target: &Descriptor, platform: &Platform) -> Result<Pulled> {
        let (blobs, target, platform) = (job.blobs.clone(), target.clone(), platform.clone());
        let resolved = blocking("read an image", move || blobs.resolve(&target, &platform)).await?;
        self.materialise(job, plans(&resolved), None).await?;
        self.finish(job, resolved, Hold::default()).await
    }
}
