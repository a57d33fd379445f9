//! Activations as they are written down, and as they are shown.

use gantry_core::gc::{Facts, Kind, Node};
use gantry_core::{Labels, LeaseId, Mount, Namespace};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::SystemTime;

/// Mounts that are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activation {
    pub name: String,
    /// What is mounted, in its order.
    pub active: Vec<ActiveMount>,
    /// What is left for the caller to mount.
    pub system: Vec<Mount>,
    pub labels: Labels,
}

/// One that is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActiveMount {
    /// As it was performed: nothing in it is left to be filled in.
    pub mount: Mount,
    pub mounted_at: SystemTime,
    /// A directory; for a `loop` a link to the device.
    pub mount_point: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    /// Something may be mounted.
    Making,
    Active,
}

/// Key: namespace, name.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Record {
    /// Name of its directory, never given twice.
    pub id: String,
    /// In which boot it is made: no mount outlives one.
    pub boot: String,
    pub state: State,
    pub created_at: SystemTime,
    pub updated_at: SystemTime,
    #[serde(default)]
    pub lease: Option<LeaseId>,
    #[serde(default)]
    pub active: Vec<ActiveMount>,
    #[serde(default)]
    pub system: Vec<Mount>,
    #[serde(default)]
    pub labels: Labels,
}

impl Record {
    pub fn shown(self, name: &str) -> Activation {
        Activation {
            name: name.to_owned(),
            active: self.active,
            system: self.system,
            labels: self.labels,
        }
    }
}

impl gantry_store::Record for Record {
    type Key = (Namespace, String);
    const TABLE: &'static str = "activations";
    const VERSION: u16 = 1;

    fn changed_at(&self) -> Option<SystemTime> {
        Some(self.updated_at)
    }

    /// It lives by its lease, and by what its labels name.
    fn facts(&self, (ns, name): &Self::Key) -> Option<Facts> {
        Some(Facts {
            node: Node::new(ns, Kind::Mount, name),
            root: self.state == State::Making,
            needs: Vec::new(),
            labels: self.labels.clone(),
        })
    }
}

/// One that is over, and perhaps still mounted. Key: its id.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Ending {}

impl gantry_store::Record for Ending {
    type Key = String;
    const TABLE: &'static str = "deactivations";
    const VERSION: u16 = 1;
}
