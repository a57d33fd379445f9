//! What is recorded of blobs and ingests.

use crate::record::Record;
use gantry_core::content::BlobInfo;
use gantry_core::gc::{Facts, Kind, Node};
use gantry_core::{Digest, Labels, LeaseId, Namespace};
use serde::{Deserialize, Serialize};
use std::time::SystemTime;

/// A blob as its namespace sees it. Key: namespace, digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blob {
    pub size: u64,
    pub created_at: SystemTime,
    pub updated_at: SystemTime,
    pub labels: Labels,
}

impl Record for Blob {
    type Key = (Namespace, Digest);
    const TABLE: &'static str = "blobs";
    const VERSION: u16 = 1;

    fn facts(&self, (ns, digest): &Self::Key) -> Option<Facts> {
        Some(Facts {
            node: Node::content(ns, digest),
            root: false,
            needs: Vec::new(),
            labels: self.labels.clone(),
        })
    }
}

impl Blob {
    pub fn info(self, digest: &Digest) -> BlobInfo {
        BlobInfo {
            digest: digest.clone(),
            size: self.size,
            created_at: self.created_at,
            updated_at: self.updated_at,
            labels: self.labels,
        }
    }
}

/// Who has the bytes: the blobs table the other way round. Key: digest, namespace.
#[derive(Debug, Serialize, Deserialize)]
pub struct BlobOwner {}

impl Record for BlobOwner {
    type Key = (Digest, Namespace);
    const TABLE: &'static str = "blob_owners";
    const VERSION: u16 = 1;
}

/// An ingest, open or left for resumption. Key: namespace, reference.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct IngestRecord {
    /// Name of its directory.
    pub dir: String,
    pub total: u64,
    pub expected: Option<Digest>,
    pub started_at: SystemTime,
    /// Its data is another namespace's blob, linked: to be copied before it is changed.
    pub shared: bool,
    pub lease: Option<LeaseId>,
    /// Broken off, it goes with its lease.
    #[serde(default)]
    pub transient: bool,
}

impl Record for IngestRecord {
    type Key = (Namespace, String);
    const TABLE: &'static str = "ingests";
    const VERSION: u16 = 1;

    fn facts(&self, (ns, reference): &Self::Key) -> Option<Facts> {
        Some(Facts {
            node: Node::new(ns, Kind::Ingest, reference),
            root: false,
            needs: self.expected.iter().map(|digest| Node::content(ns, digest)).collect(),
            labels: Labels::new(),
        })
    }
}
