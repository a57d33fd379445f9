//! Snapshots by name over backends that only know numbers; semantics of containerd's snapshots service.
//!
//! A snapshot is a record of one namespace; the directory behind it is a layer, which several namespaces may name if the
//! daemon itself applied and verified it. The one flow of `prepare`: the name is claimed, the backend makes a layer under
//! a number that was never given before, then name and layer are recorded together; a layer that no record names is
//! nobody's, and goes at the next start. Removal runs the other way: the layer is recorded as doomed, the directory goes,
//! the name goes last, so that a removal that fails can be tried again.
//!
//! Who records something of their own along with a snapshot does both in one batch ([`Made`], [`Forgotten`]).

mod change;
mod layers;
mod records;
mod share;
mod together;

pub use layers::SnapshotReport;
pub(crate) use records::Snapshot;
use records::{Layer, LayerState, SnapshotChild, SnapshotOwner};
pub use together::{Forgotten, Made, Remains};

use crate::blob::Sharing;
use crate::db::{Claim, Store};
use crate::error::{Error, Result};
use crate::key::Key;
use crate::lease::{Leases, Resource};
use crate::record::Batch;
use gantry_core::meta::Happening;
use gantry_core::snapshot::{
    ApplyTarget, CommitOptions, SnapshotInfo, SnapshotKind, SnapshotOptions, SnapshotService, Usage,
};
use gantry_core::{Labels, LeaseId, Mount, Namespace, label};
use gantry_snapshots_api::{Access, ChangeVisitor, Snapshotter};
use layers::Numbers;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

/// Snapshots of all namespaces over all backends.
#[derive(Clone)]
pub struct SnapshotStore {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<Store>,
    leases: Leases,
    backends: BTreeMap<&'static str, Arc<dyn Snapshotter>>,
    sharing: Sharing,
    numbers: Numbers,
}

/// One snapshot of one namespace.
#[derive(Clone, Copy)]
struct At<'a> {
    ns: &'a Namespace,
    sn: &'a str,
    name: &'a str,
}

impl<'a> At<'a> {
    fn new(ns: &'a Namespace, sn: &'a str, name: &'a str) -> Self {
        Self { ns, sn, name }
    }

    fn named(self, name: &'a str) -> Self {
        Self { name, ..self }
    }

    fn key(self) -> (Namespace, String, String) {
        (self.ns.clone(), self.sn.to_owned(), self.name.to_owned())
    }

    fn owner(self, id: u64) -> (String, u64, Namespace, String) {
        (self.sn.to_owned(), id, self.ns.clone(), self.name.to_owned())
    }

    fn child_of(self, parent: &str) -> (Namespace, String, String, String) {
        (
            self.ns.clone(),
            self.sn.to_owned(),
            parent.to_owned(),
            self.name.to_owned(),
        )
    }

    fn claim(self) -> String {
        hex::encode(("snapshot".to_owned(), self.key()).to_bytes())
    }

    fn removed(self) -> Happening {
        Happening::SnapshotRemove {
            key: self.name.to_owned(),
            snapshotter: self.sn.to_owned(),
        }
    }

    fn resource(self) -> Resource {
        Resource::Snapshot {
            snapshotter: self.sn.to_owned(),
            key: self.name.to_owned(),
        }
    }
}

/// A committed snapshot that something is built on; it cannot go while this is held.
struct Parent {
    /// Nearest first, itself among them.
    chain: Vec<u64>,
    verified: bool,
    _claim: Claim,
}

impl SnapshotStore {
    pub fn new(store: Arc<Store>, backends: Vec<Arc<dyn Snapshotter>>, sharing: Sharing) -> Self {
        let inner = Inner {
            leases: Leases::new(store.clone()),
            backends: backends.into_iter().map(|backend| (backend.name(), backend)).collect(),
            store,
            sharing,
            numbers: Numbers::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The backends by name, for their roots and capabilities.
    pub fn backends(&self) -> impl Iterator<Item = &Arc<dyn Snapshotter>> {
        self.inner.backends.values()
    }

    /// Tells every difference of a snapshot from its parent.
    pub fn changes(&self, ns: &Namespace, snapshotter: &str, key: &str, visit: &mut ChangeVisitor<'_>) -> Result<()> {
        let at = At::new(ns, snapshotter, key);
        let backend = self.inner.backend(snapshotter)?;
        let snapshot = self.inner.snapshot(at)?;
        let layer = self.inner.ready(at, &snapshot)?;
        backend
            .changes(snapshot.id, &layer.parents, visit)
            .map_err(failed("compare", key))
    }
}

/// For `map_err` on a backend's answer.
fn failed(what: &'static str, key: &str) -> impl FnOnce(gantry_snapshots_api::Error) -> Error {
    move |source| Error::Backend {
        what,
        key: key.to_owned(),
        source,
    }
}

fn not_active(at: At<'_>) -> Error {
    Error::SnapshotNotActive {
        key: at.name.to_owned(),
    }
}

impl Inner {
    fn backend(&self, name: &str) -> Result<&Arc<dyn Snapshotter>> {
        self.backends
            .get(name)
            .ok_or_else(|| Error::NoSnapshotter { name: name.to_owned() })
    }

    fn find(&self, at: At<'_>) -> Result<Option<Snapshot>> {
        self.store.get(&at.key())
    }

    fn snapshot(&self, at: At<'_>) -> Result<Snapshot> {
        self.find(at)?.ok_or_else(|| Error::SnapshotMissing {
            key: at.name.to_owned(),
        })
    }

    fn layer(&self, sn: &str, id: u64) -> Result<Option<Layer>> {
        self.store.get(&(sn.to_owned(), id))
    }

    /// The layer behind a snapshot, if nobody is removing it.
    fn ready(&self, at: At<'_>, snapshot: &Snapshot) -> Result<Layer> {
        match self.layer(at.sn, snapshot.id)? {
            Some(layer) if layer.state == LayerState::Ready => Ok(layer),
            Some(_) | None => Err(Error::SnapshotDoomed {
                key: at.name.to_owned(),
            }),
        }
    }

    fn parent(&self, at: At<'_>) -> Result<Parent> {
        let claim = self.store.claims().claim_shared(at.claim())?;
        let key = || at.name.to_owned();
        let snapshot = self.find(at)?.ok_or_else(|| Error::ParentMissing { key: key() })?;
        if snapshot.kind != SnapshotKind::Committed {
            return Err(Error::ParentNotCommitted { key: key() });
        }
        let layer = self.ready(at, &snapshot)?;
        Ok(Parent {
            chain: [snapshot.id].into_iter().chain(layer.parents).collect(),
            verified: snapshot.verified,
            _claim: claim,
        })
    }

    /// Leases what is there and makes a collection that runs keep it. The caller holds its claim.
    fn keep(&self, at: At<'_>, lease: Option<&LeaseId>) -> Result<()> {
        let resource = at.resource();
        let _step = self.store.step(&[resource.node(at.ns)]);
        if lease.is_none() {
            return Ok(());
        }
        let mut batch = Batch::new();
        self.leases.add_in(&mut batch, at.ns, lease, &resource)?;
        self.store.commit(batch).map(drop)
    }

    fn first_child(&self, at: At<'_>) -> Result<Option<String>> {
        let mut child = None;
        let prefix = at.key();
        self.store.visit::<SnapshotChild>(&prefix, |(_, _, _, name), _| {
            child = Some(name);
            std::ops::ControlFlow::Break(())
        })?;
        Ok(child)
    }

    fn mounts(&self, at: At<'_>, snapshot: &Snapshot) -> Result<Vec<Mount>> {
        let access = match snapshot.kind {
            SnapshotKind::Active => Access::ReadWrite,
            SnapshotKind::View => Access::ReadOnly,
            SnapshotKind::Committed => {
                let key = at.name.to_owned();
                return Err(Error::SnapshotNotMountable { key });
            }
        };
        let layer = self.ready(at, snapshot)?;
        let options = snapshot.options().map_err(failed("mount", at.name))?;
        self.backend(at.sn)?
            .mounts(snapshot.id, &layer.parents, access, &options)
            .map_err(failed("mount", at.name))
    }

    fn relabel(&self, at: At<'_>, change: impl FnOnce(&mut Labels)) -> Result<SnapshotInfo> {
        self.backend(at.sn)?;
        let _claim = self.store.claims().claim(at.claim())?;
        let mut snapshot = self.snapshot(at)?;
        change(&mut snapshot.labels);
        label::validate(&snapshot.labels)?;
        snapshot.updated_at = SystemTime::now();
        let mut batch = Batch::new();
        batch.put(&at.key(), &snapshot)?;
        self.store.commit(batch)?;
        Ok(snapshot.info(at.name))
    }

    /// The rows of a snapshot, all but its layer, out of a batch.
    fn forget_in(&self, batch: &mut Batch, at: At<'_>, snapshot: &Snapshot) {
        batch.delete::<Snapshot>(&at.key());
        batch.delete::<SnapshotOwner>(&at.owner(snapshot.id));
        if let Some(parent) = &snapshot.parent {
            batch.delete::<SnapshotChild>(&at.child_of(parent));
        }
    }

    /// The rows of a snapshot, all but its layer, into a batch.
    fn record_in(&self, batch: &mut Batch, at: At<'_>, snapshot: &Snapshot) -> Result<()> {
        batch.put(&at.key(), snapshot)?;
        batch.put(&at.owner(snapshot.id), &SnapshotOwner {})?;
        match &snapshot.parent {
            Some(parent) => batch.put(&at.child_of(parent), &SnapshotChild {}),
            None => Ok(()),
        }
    }
}

impl SnapshotService for SnapshotStore {
    fn prepare(
        &self,
        ns: &Namespace,
        snapshotter: &str,
        key: &str,
        parent: Option<&str>,
        options: SnapshotOptions,
    ) -> gantry_core::Result<Vec<Mount>> {
        let at = At::new(ns, snapshotter, key);
        Ok(self.inner.create(at, SnapshotKind::Active, parent, options)?)
    }

    fn view(
        &self,
        ns: &Namespace,
        snapshotter: &str,
        key: &str,
        parent: Option<&str>,
        options: SnapshotOptions,
    ) -> gantry_core::Result<Vec<Mount>> {
        let at = At::new(ns, snapshotter, key);
        Ok(self.inner.create(at, SnapshotKind::View, parent, options)?)
    }

    fn mounts(&self, ns: &Namespace, snapshotter: &str, key: &str) -> gantry_core::Result<Vec<Mount>> {
        let at = At::new(ns, snapshotter, key);
        self.inner.backend(snapshotter)?;
        let snapshot = self.inner.snapshot(at)?;
        Ok(self.inner.mounts(at, &snapshot)?)
    }

    fn commit(
        &self,
        ns: &Namespace,
        snapshotter: &str,
        name: &str,
        key: &str,
        options: CommitOptions,
    ) -> gantry_core::Result<()> {
        Ok(self.inner.commit(At::new(ns, snapshotter, key), name, options)?)
    }

    fn remove(&self, ns: &Namespace, snapshotter: &str, key: &str) -> gantry_core::Result<()> {
        Ok(self.inner.remove(At::new(ns, snapshotter, key))?)
    }

    fn stat(&self, ns: &Namespace, snapshotter: &str, key: &str) -> gantry_core::Result<SnapshotInfo> {
        self.inner.backend(snapshotter)?;
        Ok(self.inner.snapshot(At::new(ns, snapshotter, key))?.info(key))
    }

    fn label(
        &self,
        ns: &Namespace,
        snapshotter: &str,
        key: &str,
        labels: &Labels,
    ) -> gantry_core::Result<SnapshotInfo> {
        let at = At::new(ns, snapshotter, key);
        Ok(self.inner.relabel(at, |known| label::merge(known, labels))?)
    }

    fn list(&self, ns: &Namespace, snapshotter: &str) -> gantry_core::Result<Vec<SnapshotInfo>> {
        self.inner.backend(snapshotter)?;
        let rows = self
            .inner
            .store
            .scan::<Snapshot>(&(ns.clone(), snapshotter.to_owned()))?;
        Ok(rows.into_iter().map(|((_, _, name), row)| row.info(&name)).collect())
    }

    fn usage(&self, ns: &Namespace, snapshotter: &str, key: &str) -> gantry_core::Result<Usage> {
        let at = At::new(ns, snapshotter, key);
        let backend = self.inner.backend(snapshotter)?;
        let snapshot = self.inner.snapshot(at)?;
        match snapshot.kind {
            SnapshotKind::Active => Ok(backend.usage(snapshot.id).map_err(failed("measure", key))?),
            SnapshotKind::Committed => Ok(snapshot.usage),
            SnapshotKind::View => Ok(Usage::default()),
        }
    }

    fn apply_target(&self, ns: &Namespace, snapshotter: &str, key: &str) -> gantry_core::Result<ApplyTarget> {
        let at = At::new(ns, snapshotter, key);
        let backend = self.inner.backend(snapshotter)?;
        let snapshot = self.inner.snapshot(at)?;
        if snapshot.kind != SnapshotKind::Active {
            return Err(not_active(at).into());
        }
        let layer = self.inner.ready(at, &snapshot)?;
        Ok(backend
            .apply_target(snapshot.id, &layer.parents)
            .map_err(failed("open", key))?)
    }

    fn adopt(
        &self,
        ns: &Namespace,
        snapshotter: &str,
        name: &str,
        lease: Option<&LeaseId>,
    ) -> gantry_core::Result<bool> {
        Ok(self.inner.adopt(At::new(ns, snapshotter, name), lease)?)
    }

    fn can_rebase(&self, snapshotter: &str) -> gantry_core::Result<bool> {
        Ok(self.inner.backend(snapshotter)?.capabilities().rebase)
    }
}
