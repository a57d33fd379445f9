//! Snapshots as a trait: names, kinds, parents and labels over a backend that only knows directories.
//!
//! Semantics follow containerd's snapshots service; all methods block.

use crate::{Labels, LeaseId, Mount, Namespace, Result};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::SystemTime;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SnapshotKind {
    View,
    Active,
    Committed,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotInfo {
    pub kind: SnapshotKind,
    /// Key of an active snapshot or view, name of a committed one.
    pub name: String,
    pub parent: Option<String>,
    pub labels: Labels,
    pub created_at: SystemTime,
    pub updated_at: SystemTime,
    /// The daemon applied it itself and verified every diffID down to the base.
    pub verified: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Bytes on disk.
    pub size: u64,
    pub inodes: u64,
}

/// What goes with a new snapshot.
#[derive(Debug, Clone, Default)]
pub struct SnapshotOptions {
    pub labels: Labels,
    pub lease: Option<LeaseId>,
}

/// What goes with a commit.
#[derive(Debug, Clone, Default)]
pub struct CommitOptions {
    pub labels: Labels,
    pub lease: Option<LeaseId>,
    /// Attaches an unparented active snapshot to this committed one ("rebase"; containerd 2.1 `Commit.parent`).
    pub parent: Option<String>,
    /// The daemon applied the content itself and verified its diffID.
    pub verified: bool,
}

/// Where layer content may be written directly, without mounting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApplyTarget {
    pub dir: PathBuf,
    pub whiteouts: Whiteouts,
    /// Directories of the layers below, nearest first, for the attributes of parents a layer does not carry. Empty when
    /// `dir` already holds their content.
    pub lower: Vec<PathBuf>,
}

/// How a removal is written into an [`ApplyTarget`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whiteouts {
    /// overlayfs: a 0:0 character device, and `trusted.overlay.opaque=y` on directories.
    Overlay,
    /// The directory holds the parents' content: remove it there.
    Plain,
}

/// One snapshotter's snapshots, by name, in all namespaces. `snapshotter` names the backend ("overlayfs", "native").
pub trait SnapshotService: Send + Sync {
    fn prepare(
        &self,
        ns: &Namespace,
        snapshotter: &str,
        key: &str,
        parent: Option<&str>,
        options: SnapshotOptions,
    ) -> Result<Vec<Mount>>;
    fn view(
        &self,
        ns: &Namespace,
        snapshotter: &str,
        key: &str,
        parent: Option<&str>,
        options: SnapshotOptions,
    ) -> Result<Vec<Mount>>;
    fn mounts(&self, ns: &Namespace, snapshotter: &str, key: &str) -> Result<Vec<Mount>>;
    fn commit(&self, ns: &Namespace, snapshotter: &str, name: &str, key: &str, options: CommitOptions) -> Result<()>;
    fn remove(&self, ns: &Namespace, snapshotter: &str, key: &str) -> Result<()>;
    fn stat(&self, ns: &Namespace, snapshotter: &str, key: &str) -> Result<SnapshotInfo>;
    /// Sets labels (empty value deletes).
    fn label(&self, ns: &Namespace, snapshotter: &str, key: &str, labels: &Labels) -> Result<SnapshotInfo>;
    fn list(&self, ns: &Namespace, snapshotter: &str) -> Result<Vec<SnapshotInfo>>;
    fn usage(&self, ns: &Namespace, snapshotter: &str, key: &str) -> Result<Usage>;
    /// Where an active snapshot's content may be written without a mount.
    fn apply_target(&self, ns: &Namespace, snapshotter: &str, key: &str) -> Result<ApplyTarget>;
    /// Takes a committed snapshot that another namespace has under this chain id, if the daemon applied and verified it
    /// down to its base and the content policy shares; its parents come along. True if `name` is there afterwards.
    fn adopt(&self, _ns: &Namespace, _snapshotter: &str, _name: &str, _lease: Option<&LeaseId>) -> Result<bool> {
        Ok(false)
    }
    /// Layers of different parents may be prepared without their parent and attached at commit.
    fn can_rebase(&self, snapshotter: &str) -> Result<bool>;
}
