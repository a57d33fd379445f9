//! What clients of the containerd API keep in the daemon: containers and sandboxes as records, and the words of its events.
//!
//! A container here is a description (containerd.services.containers.v1); what runs is a task.

use crate::{ContainerId, Labels, Namespace};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::SystemTime;

/// A message of a type that only its sender and its reader need to know. Kept byte for byte.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Any {
    /// As it was sent; containerd writes the bare full name of the message.
    pub type_url: String,
    #[serde(with = "base64_text")]
    pub value: Vec<u8>,
}

/// Bytes in a record: as text, which is a third longer; as numbers they would be four times as long.
mod base64_text {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        STANDARD.decode(text).map_err(de::Error::custom)
    }
}

impl Any {
    /// The message's name: the type URL without what stands before it.
    pub fn type_name(&self) -> &str {
        // JSON types are paths of a host; only the resolver's prefix of protobuf is one part.
        self.type_url
            .strip_prefix("type.googleapis.com/")
            .unwrap_or(&self.type_url)
    }
}

/// Which shim runs a container, and what it is told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeChoice {
    /// `io.containerd.runc.v2` and the like, or the absolute path of a shim.
    pub name: String,
    pub options: Option<Any>,
}

/// A container as a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    pub id: ContainerId,
    pub labels: Labels,
    pub image: String,
    pub runtime: RuntimeChoice,
    /// Usually an OCI runtime spec as JSON.
    pub spec: Option<Any>,
    /// Empty if `snapshot_key` is.
    pub snapshotter: String,
    pub snapshot_key: String,
    pub created_at: SystemTime,
    pub updated_at: SystemTime,
    pub extensions: BTreeMap<String, Any>,
    /// The sandbox it belongs to; empty = none.
    pub sandbox: String,
}

/// A sandbox as a record (containerd.services.sandbox.v1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    pub id: ContainerId,
    pub labels: Labels,
    pub runtime: RuntimeChoice,
    pub spec: Option<Any>,
    pub created_at: SystemTime,
    pub updated_at: SystemTime,
    pub extensions: BTreeMap<String, Any>,
    /// Name of the controller that runs it.
    pub sandboxer: String,
}

/// One event of the containerd API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Grows with every event of the daemon; 0 until it is stored.
    pub number: u64,
    pub at: SystemTime,
    pub namespace: Namespace,
    /// Starts with `/`.
    pub topic: String,
    pub event: Happening,
}

/// What happened: in the daemon itself, or elsewhere in words that only its reader knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Happening {
    /// From a shim or a client, as it came.
    Opaque(Any),
    NamespaceCreate {
        name: String,
        labels: Labels,
    },
    NamespaceUpdate {
        name: String,
        labels: Labels,
    },
    NamespaceDelete {
        name: String,
    },
    ContainerCreate {
        id: String,
        image: String,
        runtime: RuntimeChoice,
    },
    ContainerUpdate {
        id: String,
        image: String,
        labels: Labels,
        snapshot_key: String,
    },
    ContainerDelete {
        id: String,
    },
    /// `size` in bytes.
    ContentCreate {
        digest: String,
        size: i64,
    },
    ContentDelete {
        digest: String,
    },
    ImageCreate {
        name: String,
        labels: Labels,
    },
    ImageUpdate {
        name: String,
        labels: Labels,
    },
    ImageDelete {
        name: String,
    },
    SnapshotPrepare {
        key: String,
        parent: String,
        snapshotter: String,
    },
    SnapshotCommit {
        key: String,
        name: String,
        snapshotter: String,
    },
    SnapshotRemove {
        key: String,
        snapshotter: String,
    },
    /// Of a task whose shim died without telling.
    TaskExit {
        container: String,
        id: String,
        pid: u32,
        status: u32,
        at: SystemTime,
    },
    TaskDelete {
        container: String,
        id: String,
        pid: u32,
        status: u32,
        at: SystemTime,
    },
    SandboxCreate {
        id: String,
    },
    SandboxStart {
        id: String,
    },
    SandboxExit {
        id: String,
        status: u32,
        at: SystemTime,
    },
}

impl Happening {
    /// The topic under which containerd publishes it; none for what came with its own.
    pub fn topic(&self) -> Option<&'static str> {
        Some(match self {
            Self::Opaque(_) => return None,
            Self::NamespaceCreate { .. } => "/namespaces/create",
            Self::NamespaceUpdate { .. } => "/namespaces/update",
            Self::NamespaceDelete { .. } => "/namespaces/delete",
            Self::ContainerCreate { .. } => "/containers/create",
            Self::ContainerUpdate { .. } => "/containers/update",
            Self::ContainerDelete { .. } => "/containers/delete",
            Self::ContentCreate { .. } => "/content/create",
            Self::ContentDelete { .. } => "/content/delete",
            Self::ImageCreate { .. } => "/images/create",
            Self::ImageUpdate { .. } => "/images/update",
            Self::ImageDelete { .. } => "/images/delete",
            Self::SnapshotPrepare { .. } => "/snapshot/prepare",
            Self::SnapshotCommit { .. } => "/snapshot/commit",
            Self::SnapshotRemove { .. } => "/snapshot/remove",
            Self::TaskExit { .. } => "/tasks/exit",
            Self::TaskDelete { .. } => "/tasks/delete",
            Self::SandboxCreate { .. } => "/sandboxes/create",
            Self::SandboxStart { .. } => "/sandboxes/start",
            Self::SandboxExit { .. } => "/sandboxes/exit",
        })
    }
}

/// How labels or extensions change: all of them, or those named (an empty value takes one away).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change<T> {
    Replace(T),
    Merge(T),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_tolerated_and_paths_kept() {
        let name = |url: &str| {
            let any = Any {
                type_url: url.to_owned(),
                value: Vec::new(),
            };
            any.type_name().to_owned()
        };
        assert_eq!(
            name("type.googleapis.com/containerd.events.TaskExit"),
            "containerd.events.TaskExit"
        );
        assert_eq!(name("containerd.events.TaskExit"), "containerd.events.TaskExit");
        let spec = "types.containerd.io/opencontainers/runtime-spec/1/Spec";
        assert_eq!(name(spec), spec);
    }

    #[test]
    fn happenings_survive_the_store() {
        let happening = Happening::ContentDelete {
            digest: "sha256:00".to_owned(),
        };
        let text = serde_json::to_string(&happening).unwrap();
        assert_eq!(serde_json::from_str::<Happening>(&text).unwrap(), happening);
        assert_eq!(happening.topic(), Some("/content/delete"));
        let opaque = Happening::Opaque(Any {
            type_url: "x".to_owned(),
            value: vec![0, 255, 7],
        });
        let text = serde_json::to_string(&opaque).unwrap();
        assert!(text.contains("AP8H"), "{text}");
        assert_eq!(serde_json::from_str::<Happening>(&text).unwrap(), opaque);
    }
}
