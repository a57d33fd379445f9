//! Load: an archive becomes images.

use super::pipe::PipeReader;
use super::scan::Scan;
use super::{docker, oci};
use crate::descriptor::Descriptor;
use crate::error::{ImageError, Result};
use crate::failpoint::failpoint;
use crate::hold::Hold;
use crate::platform::Platform;
use crate::progress::ProgressSink;
use crate::service::{ImageService, Job, paced};
use bytes::Bytes;
use gantry_core::reference::Reference;
use gantry_core::{Digest, LeaseId, Namespace};
use tokio::sync::mpsc;

#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    pub platform: Option<Platform>,
    /// Empty = the default one.
    pub snapshotter: String,
    /// `None` = one of our own, held by the outcome.
    pub lease: Option<LeaseId>,
}

/// An image of the archive, in the store and unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedImage {
    /// Names the archive gives it; none for an image by id alone.
    pub references: Vec<Reference>,
    pub target: Descriptor,
    pub id: Digest,
    pub chain_id: Option<Digest>,
    pub hold: Hold,
}

impl ImageService {
    /// Reads an archive with the default options.
    pub async fn load(
        &self,
        ns: &Namespace,
        archive: mpsc::Receiver<gantry_core::Result<Bytes>>,
        progress: impl Into<ProgressSink>,
    ) -> gantry_core::Result<Vec<LoadedImage>> {
        self.load_with(ns, archive, LoadOptions::default(), progress).await
    }

    /// Reads an archive whole, then unpacks every image in it. One bad image fails the archive.
    pub async fn load_with(
        &self,
        ns: &Namespace,
        archive: mpsc::Receiver<gantry_core::Result<Bytes>>,
        options: LoadOptions,
        progress: impl Into<ProgressSink>,
    ) -> gantry_core::Result<Vec<LoadedImage>> {
        let (job, hold) = self
            .job(ns, options.lease, &options.snapshotter, progress.into())
            .await?;
        let platform = options.platform.unwrap_or_else(Platform::host).normalised();
        let (service, there) = (self.clone(), job.clone());
        let found = paced("read an archive", move || {
            let scan = Scan::of(
                PipeReader::new(archive),
                &there.blobs,
                &service.inner.limits,
                &there.progress,
            )?;
            failpoint!("image::load::scanned");
            images(&scan, &there)
        });
        let mut loaded = Vec::new();
        for (target, references) in found.await? {
            let pulled = self.unpack_job(&job, &target, &platform).await?;
            loaded.push(LoadedImage {
                references,
                target,
                id: pulled.id,
                chain_id: pulled.chain_id,
                hold: hold.clone(),
            });
        }
        Ok(loaded)
    }
}

pub(super) fn neither() -> ImageError {
    ImageError::NotAnArchive {
        detail: "it has neither index.json nor manifest.json".to_owned(),
    }
}

/// An archive that is both forms is read as an OCI layout, which knows more.
fn images(scan: &Scan, job: &Job) -> Result<Vec<(Descriptor, Vec<Reference>)>> {
    let document = |name: &str| scan.documents.get(name).map(Vec::as_slice);
    let found = match (document("index.json"), document("manifest.json")) {
        (Some(index), _) => oci::images(scan, index, &job.blobs)?,
        (None, Some(listing)) => docker::images(scan, listing, &job.blobs, None)?,
        (None, None) => return Err(neither()),
    };
    match found.is_empty() {
        true => Err(ImageError::NotAnArchive {
            detail: "it holds no image".to_owned(),
        }),
        false => Ok(found),
    }
}
