//! Leases: what a client is at work on lives as long as its lease.

use crate::db::Store;
use crate::error::{Error, Result};
use crate::key::Key;
use crate::record::{Batch, Record};
use gantry_core::gc::{Kind, Node};
use gantry_core::lease::LeaseKeeper;
use gantry_core::{Digest, Labels, LeaseId, Namespace, label};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::SystemTime;

/// Key: namespace, lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    pub created_at: SystemTime,
    pub labels: Labels,
}

impl Record for Lease {
    type Key = (Namespace, LeaseId);
    const TABLE: &'static str = "leases";
    const VERSION: u16 = 1;
}

/// Key: namespace, lease, type, id. Order: a lease's resources together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Leased {}

impl Record for Leased {
    type Key = (Namespace, LeaseId, String, String);
    const TABLE: &'static str = "lease_resources";
    const VERSION: u16 = 1;
}

/// What a lease can hold, in containerd's words for its types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    /// `content`
    Content(Digest),
    /// `ingests`
    Ingest(String),
    /// `images`
    Image(String),
    /// `snapshots/<snapshotter>`
    Snapshot { snapshotter: String, key: String },
    /// `mounts`: by whoever makes them under the lease, and not through the wire.
    Mount(String),
}

const MOUNTS: &str = "mounts";

impl Resource {
    /// From the type and id of the wire.
    pub fn parse(kind: &str, id: &str) -> Result<Self> {
        let malformed = |what, text: String| Error::ResourceMalformed { what, text };
        let empty = || malformed("resource id of type", kind.to_owned());
        let id = Some(id.to_owned()).filter(|id| !id.is_empty());
        match kind.split('/').collect::<Vec<_>>().as_slice() {
            ["content"] => {
                let id = id.ok_or_else(empty)?;
                let digest = id.parse();
                let digest = digest.map_err(|error| malformed("content resource id", format!("{id}: {error}")))?;
                Ok(Self::Content(digest))
            }
            ["ingests"] => Ok(Self::Ingest(id.ok_or_else(empty)?)),
            ["images"] => Ok(Self::Image(id.ok_or_else(empty)?)),
            ["snapshots", name] if !name.is_empty() => Ok(Self::Snapshot {
                snapshotter: (*name).to_owned(),
                key: id.ok_or_else(empty)?,
            }),
            ["snapshots", ..] => Err(malformed("snapshot resource type", kind.to_owned())),
            ["content" | "ingests" | "images", ..] => Err(malformed("resource type", kind.to_owned())),
            _ => Err(Error::ResourceUnknown { kind: kind.to_owned() }),
        }
    }

    /// From the row of a lease.
    pub(crate) fn held(kind: &str, id: &str) -> Result<Self> {
        match kind {
            MOUNTS => Ok(Self::Mount(id.to_owned())),
            kind => Self::parse(kind, id),
        }
    }

    /// The type of the wire.
    pub fn kind(&self) -> String {
        match self {
            Self::Content(_) => "content".to_owned(),
            Self::Ingest(_) => "ingests".to_owned(),
            Self::Image(_) => "images".to_owned(),
            Self::Snapshot { snapshotter, .. } => format!("snapshots/{snapshotter}"),
            Self::Mount(_) => MOUNTS.to_owned(),
        }
    }

    pub fn id(&self) -> String {
        match self {
            Self::Content(digest) => digest.to_string(),
            Self::Ingest(id) | Self::Image(id) | Self::Snapshot { key: id, .. } | Self::Mount(id) => id.clone(),
        }
    }

    pub fn node(&self, ns: &Namespace) -> Node {
        match self {
            Self::Content(digest) => Node::content(ns, digest),
            Self::Ingest(reference) => Node::new(ns, Kind::Ingest, reference),
            Self::Image(name) => Node::image(ns, name),
            Self::Snapshot { snapshotter, key } => Node::snapshot(ns, snapshotter, key),
            Self::Mount(name) => Node::new(ns, Kind::Mount, name),
        }
    }

    fn key(&self, ns: &Namespace, id: &LeaseId) -> <Leased as Record>::Key {
        (ns.clone(), id.clone(), self.kind(), self.id())
    }
}

/// The leases of all namespaces.
#[derive(Clone)]
pub struct Leases {
    store: Arc<Store>,
}

impl Leases {
    pub fn new(store: Arc<Store>) -> Self {
        Self { store }
    }

    /// Makes a lease; without an id it gets one of its own.
    pub fn create(&self, ns: &Namespace, id: Option<LeaseId>, labels: Labels) -> Result<(LeaseId, Lease)> {
        label::validate(&labels)?;
        let id = id.unwrap_or_else(fresh_id);
        let _claim = self.store.claims().claim(claim_key(ns, &id))?;
        if self.store.contains::<Lease>(&(ns.clone(), id.clone()))? {
            return Err(Error::LeaseExists { id });
        }
        let lease = Lease {
            created_at: SystemTime::now(),
            labels,
        };
        let mut batch = Batch::new();
        let _kept = self.store.appear(&mut batch, ns)?;
        batch.put(&(ns.clone(), id.clone()), &lease)?;
        self.store.commit(batch)?;
        Ok((id, lease))
    }

    /// Ends the leases of operations that a former daemon had under way: they died with it. To be called before the first
    /// operation of this one.
    pub fn end_orphans(&self) -> Result<usize> {
        let all = self.store.list::<Lease>()?;
        let orphans: Vec<_> = all
            .into_iter()
            .filter(|(_, lease)| lease.labels.contains_key(LABEL_OPERATION))
            .collect();
        for ((ns, id), _) in &orphans {
            self.delete(ns, id)?;
        }
        Ok(orphans.len())
    }

    pub fn get(&self, ns: &Namespace, id: &LeaseId) -> Result<Lease> {
        self.store
            .get(&(ns.clone(), id.clone()))?
            .ok_or_else(|| Error::LeaseMissing { id: id.clone() })
    }

    pub fn list(&self, ns: &Namespace) -> Result<Vec<(LeaseId, Lease)>> {
        let leases = self.store.scan::<Lease>(ns)?;
        Ok(leases.into_iter().map(|((_, id), lease)| (id, lease)).collect())
    }

    /// Ends a lease; what only it held goes with the next collection.
    pub fn delete(&self, ns: &Namespace, id: &LeaseId) -> Result<()> {
        let _claim = self.store.claims().claim(claim_key(ns, id))?;
        self.get(ns, id)?;
        let mut batch = Batch::new();
        self.delete_in(&mut batch, ns, id)?;
        self.store.commit(batch).map(drop)
    }

    /// Ends a lease in a batch of something else.
    pub fn delete_in(&self, batch: &mut Batch, ns: &Namespace, id: &LeaseId) -> Result<()> {
        batch.delete::<Lease>(&(ns.clone(), id.clone()));
        for (key, _) in self.store.scan::<Leased>(&(ns.clone(), id.clone()))? {
            batch.delete::<Leased>(&key);
        }
        Ok(())
    }

    pub fn add(&self, ns: &Namespace, id: &LeaseId, resource: &Resource) -> Result<()> {
        self.get(ns, id)?;
        let mut batch = Batch::new();
        self.add_in(&mut batch, ns, Some(id), resource)?;
        self.store.commit(batch).map(drop)
    }

    /// Adds to the lease in a batch of something else; nothing without a lease.
    pub fn add_in(&self, batch: &mut Batch, ns: &Namespace, id: Option<&LeaseId>, resource: &Resource) -> Result<()> {
        batch.touch(resource.node(ns));
        let Some(id) = id else { return Ok(()) };
        self.require(ns, Some(id))?;
        batch.put(&resource.key(ns, id), &Leased {})
    }

    /// Takes it from the lease in a batch of something else.
    pub fn remove_in(&self, batch: &mut Batch, ns: &Namespace, id: Option<&LeaseId>, resource: &Resource) {
        if let Some(id) = id {
            batch.delete::<Leased>(&resource.key(ns, id));
        }
    }

    /// What comes with a lease that is not there is refused.
    pub(crate) fn require(&self, ns: &Namespace, id: Option<&LeaseId>) -> Result<()> {
        match id {
            Some(id) if !self.store.contains::<Lease>(&(ns.clone(), id.clone()))? => {
                Err(Error::LeaseUnknown { id: id.clone() })
            }
            Some(_) | None => Ok(()),
        }
    }

    pub fn remove(&self, ns: &Namespace, id: &LeaseId, resource: &Resource) -> Result<()> {
        self.get(ns, id)?;
        let mut batch = Batch::new();
        self.remove_in(&mut batch, ns, Some(id), resource);
        self.store.commit(batch).map(drop)
    }

    /// What the wire has a type for.
    pub fn resources(&self, ns: &Namespace, id: &LeaseId) -> Result<Vec<Resource>> {
        self.get(ns, id)?;
        let rows = self.store.scan::<Leased>(&(ns.clone(), id.clone()))?;
        rows.iter()
            .filter(|((_, _, kind, _), _)| kind != MOUNTS)
            .map(|((_, _, kind, id), _)| Resource::parse(kind, id))
            .collect()
    }
}

/// On leases of the daemon's own operations: the pid of the daemon that has it under way. They end with the operation or at the next
/// start ([`Leases::end_orphans`]), and by no clock: one that is set forward would take the content of a pull that runs.
const LABEL_OPERATION: &str = "io.gantry.operation";

impl LeaseKeeper for Leases {
    fn open(&self, ns: &Namespace) -> gantry_core::Result<LeaseId> {
        let labels = Labels::from([(LABEL_OPERATION.to_owned(), std::process::id().to_string())]);
        Ok(self.create(ns, None, labels)?.0)
    }

    fn close(&self, ns: &Namespace, lease: &LeaseId) -> gantry_core::Result<()> {
        match self.delete(ns, lease) {
            Err(Error::LeaseMissing { .. }) => Ok(()),
            other => Ok(other?),
        }
    }
}

pub(crate) fn claim_key(ns: &Namespace, id: &LeaseId) -> String {
    hex::encode(("lease".to_owned(), ns.clone(), id.clone()).to_bytes())
}

/// The shape of containerd's client: nanoseconds and four random characters.
fn fresh_id() -> LeaseId {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    LeaseId(format!("{}-{}", now.as_nanos(), hex::encode(rand::random::<[u8; 4]>())))
}
