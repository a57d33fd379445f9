//! Commit: what a container changed becomes one more layer on its image.

use super::{ImageService, Pulled, blocking};
use crate::archive::put_manifest;
use crate::config::{History, ImageConfig, RunConfig};
use crate::descriptor::{Descriptor, Manifest};
use crate::hash::Hasher;
use crate::instruction::apply_changes;
use crate::media;
use crate::platform::Platform;
use crate::progress::ProgressSink;
use chrono::{SecondsFormat, Utc};
use gantry_core::{Algorithm, Digest, Labels, Namespace};
use std::collections::BTreeMap;

/// Label of a config that was committed: the id of the image that it was made from.
const PARENT: &str = "gantry.image.parent";

/// Whose changes are committed.
#[derive(Debug, Clone)]
pub struct CommitOf {
    /// The image it was made from.
    pub base: Descriptor,
    pub snapshotter: String,
    pub snapshot: String,
    /// The top layer of its image; `None` for an image without layers.
    pub parent: Option<String>,
    /// Absolute paths that were made to be mounted on. Where one of them is new it is no change of the container's, nor is a directory
    /// that is there for them alone.
    pub mount_points: Vec<String>,
}

/// What goes with a commit.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    pub author: String,
    pub message: String,
    /// The command that made the changes.
    pub created_by: String,
    /// What containers of the new image are preset to.
    pub config: RunConfig,
    /// Dockerfile instructions over it.
    pub changes: Vec<String>,
}

impl ImageService {
    /// The id of the image that another was committed from here, if it was. Blocks.
    pub fn parent(&self, ns: &Namespace, id: &Digest) -> Option<Digest> {
        let info = self.inner.content.info(ns, id).ok()?;
        info.labels.get(PARENT)?.parse().ok()
    }

    /// Makes an image of another one and of what a snapshot changed over it. Its new layer is unpacked at once.
    pub async fn commit(&self, ns: &Namespace, of: CommitOf, commit: Commit) -> gantry_core::Result<Pulled> {
        let mut config = commit.config.clone();
        apply_changes(&mut config, &commit.changes)?;
        let (job, hold) = self.job(ns, None, &of.snapshotter, ProgressSink::silent()).await?;
        let (service, there, ns) = (self.clone(), job.clone(), ns.clone());
        let target = blocking("commit", move || {
            let base = there.blobs.resolve(&of.base, &Platform::host())?;
            let layer = service
                .diff(
                    &ns,
                    &of.snapshotter,
                    &of.snapshot,
                    of.parent.as_deref(),
                    &of.mount_points,
                    there.blobs.lease.clone(),
                )
                .map_err(crate::error::ImageError::from)?;
            let created = Some(Utc::now().to_rfc3339_opts(SecondsFormat::Nanos, true));
            let mut new = ImageConfig {
                created: created.clone(),
                author: commit.author.clone(),
                config,
                ..(*base.config).clone()
            };
            new.rootfs.diff_ids.push(layer.diff_id.clone());
            new.history.push(History {
                created,
                author: commit.author,
                created_by: commit.created_by,
                comment: commit.message,
                empty_layer: false,
            });
            let bytes = new.to_bytes();
            let blob = Descriptor::new(
                media::OCI_CONFIG,
                Hasher::of(Algorithm::Sha256, &bytes),
                bytes.len() as u64,
            );
            let labels = Labels::from([(PARENT.to_owned(), base.id.to_string())]);
            there.blobs.put(&blob, "config", &bytes, labels)?;
            let layers = base.layers.into_iter().chain([layer.blob]).collect();
            put_manifest(
                &there.blobs,
                Manifest {
                    schema_version: 2,
                    media_type: Some(media::OCI_MANIFEST.to_owned()),
                    config: blob,
                    layers,
                    annotations: BTreeMap::new(),
                },
            )
        });
        let target = target.await?;
        let pulled = self.unpack_job(&job, &target, &Platform::host()).await?;
        Ok(Pulled { hold, ..pulled })
    }
}
