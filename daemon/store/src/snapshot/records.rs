//! What is recorded of snapshots, and of the layers on disk that they name.

use crate::record::Record;
use gantry_core::gc::{Facts, Node};
use gantry_core::snapshot::{SnapshotInfo, SnapshotKind, Usage};
use gantry_core::{Labels, Namespace, label};
use gantry_snapshots_api::{INHERITED, IdMap, Options, TARGET};
use serde::{Deserialize, Serialize};
use std::time::SystemTime;

const UID_MAP: &str = "containerd.io/snapshot/uidmapping";
const GID_MAP: &str = "containerd.io/snapshot/gidmapping";

/// Key: namespace, snapshotter, key or name.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Snapshot {
    /// The layer on disk.
    pub id: u64,
    pub kind: SnapshotKind,
    pub parent: Option<String>,
    pub labels: Labels,
    pub created_at: SystemTime,
    pub updated_at: SystemTime,
    pub verified: bool,
    /// Of a committed one.
    pub usage: Usage,
}

impl Record for Snapshot {
    type Key = (Namespace, String, String);
    const TABLE: &'static str = "snapshots";
    const VERSION: u16 = 1;

    fn facts(&self, (ns, snapshotter, name): &Self::Key) -> Option<Facts> {
        let parent = self.parent.iter();
        Some(Facts {
            node: Node::snapshot(ns, snapshotter, name),
            root: false,
            needs: parent.map(|parent| Node::snapshot(ns, snapshotter, parent)).collect(),
            labels: self.labels.clone(),
        })
    }
}

/// Whether a label is said to the backend too.
fn is_for_backend(label: &str) -> bool {
    label == TARGET || label.starts_with(INHERITED)
}

impl Snapshot {
    /// The labels it is committed with: those of the commit, and what was said to the backend when it was prepared.
    pub fn relabel_committed(&mut self, labels: &Labels) -> gantry_core::Result<()> {
        self.labels.retain(|label, _| is_for_backend(label));
        label::merge(&mut self.labels, labels);
        label::validate(&self.labels)
    }

    pub fn info(self, name: &str) -> SnapshotInfo {
        SnapshotInfo {
            kind: self.kind,
            name: name.to_owned(),
            parent: self.parent,
            labels: self.labels,
            created_at: self.created_at,
            updated_at: self.updated_at,
            verified: self.verified,
        }
    }

    fn labels_for_backend(&self) -> Labels {
        let labels = self.labels.iter().filter(|(label, _)| is_for_backend(label));
        labels.map(|(label, value)| (label.clone(), value.clone())).collect()
    }

    /// What the labels ask of the backend.
    pub fn options(&self) -> Result<Options, gantry_snapshots_api::Error> {
        let map = |label| {
            self.labels
                .get(label)
                .map_or(Ok(Vec::new()), |text| IdMap::parse_list(text))
        };
        Ok(Options {
            uid_map: map(UID_MAP)?,
            gid_map: map(GID_MAP)?,
            labels: self.labels_for_backend(),
        })
    }
}

/// Where a layer is in its life. `Ready` > `Doomed` > gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LayerState {
    Ready,
    /// Its directory is about to be removed.
    Doomed,
}

/// A directory of a backend. Key: snapshotter, id.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Layer {
    pub state: LayerState,
    /// Layers below, nearest first.
    pub parents: Vec<u64>,
    /// Set if the daemon applied it and verified it down to the base: it may be shared under this name.
    pub chain: Option<String>,
    pub usage: Usage,
}

impl Record for Layer {
    type Key = (String, u64);
    const TABLE: &'static str = "layers";
    const VERSION: u16 = 1;
}

/// Whose a layer is. Key: snapshotter, id, namespace, name.
#[derive(Debug, Serialize, Deserialize)]
pub struct SnapshotOwner {}

impl Record for SnapshotOwner {
    type Key = (String, u64, Namespace, String);
    const TABLE: &'static str = "snapshot_owners";
    const VERSION: u16 = 1;
}

/// What is built on a snapshot. Key: namespace, snapshotter, parent, child.
#[derive(Debug, Serialize, Deserialize)]
pub struct SnapshotChild {}

impl Record for SnapshotChild {
    type Key = (Namespace, String, String, String);
    const TABLE: &'static str = "snapshot_children";
    const VERSION: u16 = 1;
}

/// The layer that every namespace may have under a chain id. Key: snapshotter, chain id.
#[derive(Debug, Serialize, Deserialize)]
pub struct SharedLayer {
    pub id: u64,
}

impl Record for SharedLayer {
    type Key = (String, String);
    const TABLE: &'static str = "shared_layers";
    const VERSION: u16 = 1;
}

/// The next layer number that was never given. Key: the word `layer`.
#[derive(Debug, Serialize, Deserialize)]
pub struct NextNumber {
    pub next: u64,
}

impl Record for NextNumber {
    type Key = String;
    const TABLE: &'static str = "meta";
    const VERSION: u16 = 1;
}
