//! Snapshots that are recorded, or forgotten, in one batch with what uses them.
//!
//! Making: [`SnapshotStore::make`], [`Made::record_in`] a batch, commit it, [`Made::keep`]. Removing:
//! [`SnapshotStore::forget_in`] a batch, commit it, [`Forgotten::remains`]; the directory may then go when there is time for
//! it, and if a kill comes first, the next start or collection does it.

use super::change::layer_claim;
use super::records::{Layer, LayerState, Snapshot};
use super::{At, Inner, Parent, SnapshotStore, failed};
use crate::db::Claim;
use crate::error::Result;
use crate::record::Batch;
use gantry_core::meta::Happening;
use gantry_core::snapshot::{SnapshotKind, SnapshotOptions, Usage};
use gantry_core::{LeaseId, Mount, Namespace};
use gantry_snapshots_api::Access;
use std::sync::Arc;

impl SnapshotStore {
    /// `prepare` without its record: the directory is there, and goes again if it is not recorded and kept.
    pub fn make(
        &self,
        ns: &Namespace,
        snapshotter: &str,
        key: &str,
        parent: Option<&str>,
        options: SnapshotOptions,
    ) -> Result<Made> {
        let at = At::new(ns, snapshotter, key);
        self.inner.make(at, SnapshotKind::Active, parent, options)
    }

    /// `remove` in a batch of the caller's. Refused while something is built on the snapshot, or mounted in its directory.
    pub fn forget_in(&self, batch: &mut Batch, ns: &Namespace, snapshotter: &str, key: &str) -> Result<Forgotten> {
        let (inner, at) = (&self.inner, At::new(ns, snapshotter, key));
        let backend = inner.backend(snapshotter)?;
        let claim = inner.store.claims().claim(at.claim())?;
        let snapshot = inner.childless(at)?;
        let id = snapshot.id;
        let layer_claim = inner.store.claims().claim(layer_claim(snapshotter, id))?;
        let mut forgotten = Forgotten {
            remains: None,
            _claims: [claim, layer_claim],
        };
        let layer = match inner.owners(snapshotter, id)? {
            1 => inner.layer(snapshotter, id)?,
            _ => None,
        };
        if let Some(layer) = layer {
            backend.refuse_mounted(id).map_err(failed("remove", key))?;
            inner.doom_in(batch, snapshotter, id, &layer)?;
            forgotten.remains = Some(Remains {
                inner: inner.clone(),
                snapshotter: snapshotter.to_owned(),
                id,
            });
        }
        inner.forget_in(batch, at, &snapshot);
        batch.tell(ns, &at.removed())?;
        Ok(forgotten)
    }
}

/// A snapshot whose directory is there and that is about to be recorded. Nobody else makes one of its name, or removes
/// its parent, while this is held. Dropped without [`Made::keep`] it takes the directory along.
#[must_use = "it is taken back unless it is recorded and kept"]
pub struct Made {
    inner: Arc<Inner>,
    ns: Namespace,
    snapshotter: String,
    key: String,
    snapshot: Snapshot,
    layer: Layer,
    lease: Option<LeaseId>,
    kept: bool,
    /// Nobody deletes the namespace once this is recorded in a batch.
    _namespace: Option<Claim>,
    /// Of its name; let go when it gets another.
    _claim: Option<Claim>,
    _below: Option<Parent>,
}

impl Made {
    pub(super) fn new(
        inner: &Arc<Inner>,
        at: At<'_>,
        snapshot: Snapshot,
        (claim, below): (Claim, Option<Parent>),
        lease: Option<LeaseId>,
    ) -> Self {
        let parents = below.as_ref().map_or(Vec::new(), |parent| parent.chain.clone());
        Self {
            inner: inner.clone(),
            ns: at.ns.clone(),
            snapshotter: at.sn.to_owned(),
            key: at.name.to_owned(),
            snapshot,
            layer: Layer {
                state: LayerState::Ready,
                parents,
                chain: None,
                usage: Usage::default(),
            },
            lease,
            kept: false,
            _namespace: None,
            _claim: Some(claim),
            _below: below,
        }
    }

    pub(super) fn id(&self) -> u64 {
        self.snapshot.id
    }

    pub(super) fn parents(&self) -> &[u64] {
        &self.layer.parents
    }

    /// Mounts that show it, before it is recorded.
    pub fn mounts(&self) -> Result<Vec<Mount>> {
        let options = self.snapshot.options().map_err(failed("mount", &self.key))?;
        self.inner
            .backend(&self.snapshotter)?
            .mounts(self.snapshot.id, &self.layer.parents, Access::ReadWrite, &options)
            .map_err(failed("mount", &self.key))
    }

    /// Puts the rows of the snapshot into a batch.
    pub fn record_in(&mut self, batch: &mut Batch) -> Result<()> {
        let at = At::new(&self.ns, &self.snapshotter, &self.key);
        self._namespace = Some(self.inner.store.appear(batch, at.ns)?);
        batch.put(&(self.snapshotter.clone(), self.snapshot.id), &self.layer)?;
        self.inner.record_in(batch, at, &self.snapshot)?;
        if self.snapshot.kind == SnapshotKind::Active {
            let happening = Happening::SnapshotPrepare {
                key: self.key.clone(),
                parent: self.snapshot.parent.clone().unwrap_or_default(),
                snapshotter: self.snapshotter.clone(),
            };
            batch.tell(at.ns, &happening)?;
        }
        self.inner
            .leases
            .add_in(batch, at.ns, self.lease.as_ref(), &at.resource())
    }

    /// The backend had the content of a committed snapshot by itself: it is recorded under that name, if that is still free.
    pub(super) fn keep_as(mut self, target: &str, usage: Usage) -> Result<()> {
        // Nobody waits for the one name while he has the other.
        self._claim = None;
        let inner = self.inner.clone();
        let (ns, sn) = (self.ns.clone(), self.snapshotter.clone());
        let at = At::new(&ns, &sn, target);
        let _claim = inner.store.claims().claim(at.claim())?;
        if inner.find(at)?.is_some() {
            return inner.keep(at, self.lease.as_ref());
        }
        self.key = target.to_owned();
        self.snapshot.kind = SnapshotKind::Committed;
        (self.snapshot.usage, self.layer.usage) = (usage, usage);
        let mut batch = Batch::new();
        self.record_in(&mut batch)?;
        inner.store.commit(batch)?;
        self.keep();
        Ok(())
    }

    /// To be called when the batch is committed.
    pub fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        let id = self.snapshot.id;
        let removed = self
            .inner
            .backend(&self.snapshotter)
            .and_then(|backend| backend.remove(id).map_err(failed("undo", &self.key)));
        if let Err(error) = removed {
            tracing::warn!(err = %error, snapshot = id, "a layer that was not recorded stays until the next start");
        }
    }
}

/// A snapshot that a batch takes away; to be held until the batch is committed.
#[must_use = "what remains of it is to be removed after the commit"]
pub struct Forgotten {
    remains: Option<Remains>,
    _claims: [Claim; 2],
}

impl Forgotten {
    /// After the commit: the directory that nobody has any more, if it was the last snapshot of it.
    pub fn remains(self) -> Option<Remains> {
        self.remains
    }
}

/// The directory of a layer that is recorded as doomed.
pub struct Remains {
    inner: Arc<Inner>,
    snapshotter: String,
    id: u64,
}

impl Remains {
    /// Removes it. May be called again after a failure; if somebody else was faster, that is as good.
    pub fn remove(&self) -> Result<()> {
        let (inner, sn) = (&self.inner, self.snapshotter.as_str());
        let _claim = inner.store.claims().claim(layer_claim(sn, self.id))?;
        match inner.layer(sn, self.id)? {
            Some(_) => inner.take_away(sn, self.id, Batch::new()),
            None => Ok(()),
        }
    }
}
