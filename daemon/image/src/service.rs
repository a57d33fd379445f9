//! The service: what the engine and the doors call.

mod apart;
mod below;
mod changes;
mod commit;
mod content;
mod fetch;
mod layers;
mod look;
mod pull;
mod push;
mod resolve;
mod select;
mod unpack;

pub use changes::DiffLayer;
pub use commit::{Commit, CommitOf};
pub use content::{FetchOptions, Fetched, UnpackAt};
pub use look::Looked;
pub use pull::{PullOptions, Pulled};
pub use push::PushOptions;
pub use resolve::Resolved;
pub use select::Wanted;
pub use unpack::UnpackOptions;

pub(crate) use apart::{Draft, on_blocking_thread};
pub(crate) use changes::{GzipLayer, RawLayer};
pub(crate) use resolve::enter;

use crate::blobs::Blobs;
use crate::error::{ImageError, Result};
use crate::hold::Hold;
use crate::locks::KeyLocks;
use crate::progress::ProgressSink;
use crate::registry::{Registries, RegistryConfig};
use crate::unpack::Limits;
use gantry_core::content::ContentStore;
use gantry_core::lease::LeaseKeeper;
use gantry_core::snapshot::SnapshotService;
use gantry_core::{Digest, LeaseId, Namespace};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// How images are handled.
#[derive(Debug, Clone)]
pub struct ImageSettings {
    pub registry: RegistryConfig,
    pub limits: Limits,
    /// Layers downloaded at once, over all pulls.
    pub max_downloads: usize,
    /// Blobs uploaded at once, over all pushes.
    pub max_uploads: usize,
    /// Layers unpacked at once from blobs that are there already.
    pub max_unpacks: usize,
    /// Where images are unpacked unless a caller says otherwise.
    pub snapshotter: String,
}

impl Default for ImageSettings {
    fn default() -> Self {
        Self {
            registry: RegistryConfig::default(),
            limits: Limits::default(),
            max_downloads: 3,
            max_uploads: 5,
            max_unpacks: 3,
            snapshotter: "overlayfs".to_owned(),
        }
    }
}

/// Cheap to clone; all clones share downloads, locks and limits.
#[derive(Clone)]
pub struct ImageService {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub content: Arc<dyn ContentStore>,
    pub snapshots: Arc<dyn SnapshotService>,
    pub registries: Arc<Registries>,
    pub limits: Limits,
    pub snapshotter: String,
    pub leases: Option<Arc<dyn LeaseKeeper>>,
    pub downloads: Semaphore,
    pub uploads: Semaphore,
    pub unpacks: Semaphore,
    /// Who downloads a blob.
    pub blobs: KeyLocks<Digest>,
    /// Who unpacks a chain, per namespace and snapshotter.
    pub chains: KeyLocks<(Namespace, String, Digest)>,
}

/// For whom and where something is unpacked.
#[derive(Clone)]
pub(crate) struct Job {
    pub blobs: Blobs,
    pub snapshotter: String,
    pub progress: ProgressSink,
}

impl ImageService {
    /// Fails only for settings that make no sense.
    pub fn new(
        content: Arc<dyn ContentStore>,
        snapshots: Arc<dyn SnapshotService>,
        settings: ImageSettings,
    ) -> gantry_core::Result<Self> {
        Self::with_leases(content, snapshots, None, settings)
    }

    /// Where the blobs of images are.
    pub fn content(&self) -> Arc<dyn ContentStore> {
        self.inner.content.clone()
    }

    /// With a keeper of leases, every operation that was given none opens its own, which its outcome holds.
    pub fn with_leases(
        content: Arc<dyn ContentStore>,
        snapshots: Arc<dyn SnapshotService>,
        leases: Option<Arc<dyn LeaseKeeper>>,
        settings: ImageSettings,
    ) -> gantry_core::Result<Self> {
        Ok(Self {
            inner: Arc::new(Inner {
                content,
                snapshots,
                registries: Arc::new(Registries::new(settings.registry)?),
                limits: settings.limits,
                snapshotter: settings.snapshotter,
                leases,
                downloads: Semaphore::new(settings.max_downloads.max(1)),
                uploads: Semaphore::new(settings.max_uploads.max(1)),
                unpacks: Semaphore::new(settings.max_unpacks.max(1)),
                blobs: KeyLocks::new(),
                chains: KeyLocks::new(),
            }),
        })
    }

    /// What an operation works with: its lease, its snapshotter.
    pub(crate) async fn job(
        &self,
        ns: &Namespace,
        lease: Option<LeaseId>,
        snapshotter: &str,
        progress: ProgressSink,
    ) -> Result<(Job, Hold)> {
        let (keeper, there) = (self.inner.leases.clone(), ns.clone());
        let (hold, lease) = blocking("open a lease", move || Ok(Hold::open(keeper, &there, lease)?)).await?;
        let job = Job {
            blobs: self.blobs(ns, lease),
            snapshotter: match snapshotter {
                "" => self.inner.snapshotter.clone(),
                name => name.to_owned(),
            },
            progress,
        };
        Ok((job, hold))
    }

    pub(crate) fn blobs(&self, ns: &Namespace, lease: Option<LeaseId>) -> Blobs {
        Blobs {
            content: self.inner.content.clone(),
            ns: ns.clone(),
            lease,
        }
    }
}

/// Runs what blocks where blocking is allowed.
pub(crate) async fn blocking<T, F>(doing: &'static str, work: F) -> Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => Err(ImageError::Panicked {
            doing,
            reason: error.to_string(),
        }),
    }
}

/// The same for what waits for a client ([`crate::paced`]).
pub(crate) async fn paced<T, F>(doing: &'static str, work: F) -> Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T> + Send + 'static,
{
    match crate::paced::run(work).await {
        Ok(outcome) => outcome,
        Err(error) => Err(error.context(doing).into()),
    }
}

#[cfg(test)]
mod tests;
