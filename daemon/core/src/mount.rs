//! A mount as data: what a snapshotter answers and a shim performs.

use serde::{Deserialize, Serialize};

/// One mount in containerd's shape (`containerd.types.Mount`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Filesystem type: `bind`, `overlay`, ...
    pub kind: String,
    /// Device or directory; ignored for some types.
    pub source: String,
    /// Path below the root of the mounted tree; empty for the root itself.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub target: String,
    /// fstab options.
    #[serde(default)]
    pub options: Vec<String>,
}
