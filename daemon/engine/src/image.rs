//! Use cases on images, a verb a file. The bytes are `daemon/image`'s affair; the names are kept here.

mod archive;
pub(crate) mod find;
mod history;
mod list;
mod look;
mod prune;
mod pull;
mod remove;
pub(crate) mod tag;

pub use archive::{ImportImage, LoadEvent, LoadStream};
pub use history::HistoryEntry;
pub use list::{ImageSummary, ListImages};
pub use pull::{PullEvent, PullImage, PullStream, Pulled};
pub use remove::RemovedImage;

use gantry_core::container::HealthCheck;
use gantry_core::{Digest, Error, Labels, Result};
use gantry_image::{Descriptor, ImageConfig};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::SystemTime;

/// A name and what it points at, as the store keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// Normalised reference with tag or digest; `gantry-dangling@<digest>` for an image without a name.
    pub name: String,
    pub target: Descriptor,
    pub created_at: SystemTime,
    pub updated_at: SystemTime,
    #[serde(default)]
    pub labels: Labels,
}

/// Prefix of the names of images that have none.
const DANGLING: &str = "gantry-dangling@";

impl ImageRecord {
    pub fn new(name: String, target: Descriptor) -> Self {
        let now = SystemTime::now();
        Self {
            name,
            target,
            created_at: now,
            updated_at: now,
            labels: Labels::new(),
        }
    }

    pub fn dangling(target: Descriptor) -> Self {
        Self::new(format!("{DANGLING}{}", target.digest), target)
    }

    pub fn is_dangling(&self) -> bool {
        Self::is_dangling_name(&self.name)
    }

    pub(crate) fn is_dangling_name(name: &str) -> bool {
        name.starts_with(DANGLING)
    }
}

/// An image: everything its names have in common.
#[derive(Debug, Clone)]
pub struct Image {
    /// Digest of the config: the image's id.
    pub id: Digest,
    pub target: Descriptor,
    pub config: Arc<ImageConfig>,
    /// Every record that leads here, by name.
    pub records: Vec<ImageRecord>,
    /// Bytes unpacked.
    pub size: u64,
    /// The image that it was committed from here.
    pub parent: Option<Digest>,
}

impl Image {
    /// `busybox:latest`, as people write it.
    pub fn repo_tags(&self) -> Vec<String> {
        self.names(|reference| reference.tag().is_some())
            .map(|reference| reference.familiar())
            .collect()
    }

    /// `busybox@sha256:...`: a digest per repository that named it.
    pub fn repo_digests(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .names(|_| true)
            .map(|reference| format!("{}@{}", reference.familiar_name(), self.target.digest))
            .collect();
        names.sort();
        names.dedup();
        names
    }

    fn names(
        &self,
        wanted: impl Fn(&gantry_core::reference::Reference) -> bool,
    ) -> impl Iterator<Item = gantry_core::reference::Reference> {
        self.records
            .iter()
            .filter(|record| !record.is_dangling())
            .filter_map(|record| gantry_core::reference::Reference::parse(&record.name).ok())
            .filter(move |reference| wanted(reference))
    }

    /// What its config presets for containers.
    pub fn preset(&self) -> Result<Option<oci_spec::image::Config>> {
        let bad = |error: serde_json::Error| {
            Error::invalid(format!(
                "the config of image {} makes no sense: {error}",
                self.id.short()
            ))
        };
        let value = serde_json::to_value(&self.config.config).map_err(bad)?;
        serde_json::from_value(value).map(Some).map_err(bad)
    }

    /// How its config asks whether a container of it is well.
    pub(crate) fn healthcheck(&self) -> Option<HealthCheck> {
        let check = self.config.config.healthcheck.as_ref()?;
        Some(HealthCheck {
            test: check.test.clone(),
            interval: check.interval,
            timeout: check.timeout,
            start_period: check.start_period,
            start_interval: check.start_interval,
            retries: check.retries,
            exit_on_unhealthy: check.exit_on_unhealthy.then_some(true),
        })
    }

    /// Chain id of its topmost layer; empty for an image without layers.
    pub fn chain_id(&self) -> String {
        self.config
            .chain_ids()
            .last()
            .map(ToString::to_string)
            .unwrap_or_default()
    }

    pub fn last_tagged_at(&self) -> Option<SystemTime> {
        self.records.iter().map(|record| record.updated_at).max()
    }
}
