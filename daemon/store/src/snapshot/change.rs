//! What changes snapshots: create, commit, remove.

use super::records::{Layer, LayerState, SharedLayer, Snapshot};
use super::{At, Inner, Parent, TARGET, failed, wrong_kind};
use crate::error::{Error, Result};
use crate::record::Batch;
use gantry_core::snapshot::{CommitOptions, SnapshotKind, SnapshotOptions, Usage};
use gantry_core::{Digest, Mount, label};
use std::time::SystemTime;

impl Inner {
    /// An active snapshot or a view.
    pub(super) fn create(
        &self,
        at: At<'_>,
        kind: SnapshotKind,
        parent: Option<&str>,
        options: SnapshotOptions,
    ) -> Result<Vec<Mount>> {
        self.backend(at.sn)?;
        if at.name.is_empty() {
            return Err(Error::NoSnapshotKey);
        }
        label::validate(&options.labels)?;
        self.leases.require(at.ns, options.lease.as_ref())?;
        let parent = parent.filter(|parent| !parent.is_empty());
        self.refuse_existing_target(at, &options)?;
        let _claim = self.store.claims().claim(at.claim())?;
        if self.find(at)?.is_some() {
            self.keep(at, options.lease.as_ref())?;
            return Err(exists(at));
        }
        let below = parent.map(|parent| self.parent(at.named(parent))).transpose()?;
        let now = SystemTime::now();
        let snapshot = Snapshot {
            id: self.numbers.give(&self.store)?,
            kind,
            parent: parent.map(str::to_owned),
            labels: options.labels,
            created_at: now,
            updated_at: now,
            verified: false,
            usage: Usage::default(),
        };
        let parents = below.as_ref().map_or(Vec::new(), |parent| parent.chain.clone());
        let layer = self.make_layer(at, &snapshot, parents)?;
        let mut batch = Batch::new();
        batch.put(&(at.sn.to_owned(), snapshot.id), &layer)?;
        self.record_in(&mut batch, at, &snapshot)?;
        self.leases
            .add_in(&mut batch, at.ns, options.lease.as_ref(), &at.resource())?;
        self.store.commit(batch)?;
        failpoint!("store::snapshot::prepare::recorded");
        self.mounts(at, &snapshot)
    }

    /// Intent and effect: the layer is recorded, then made by the backend.
    fn make_layer(&self, at: At<'_>, snapshot: &Snapshot, parents: Vec<u64>) -> Result<Layer> {
        let backend = self.backend(at.sn)?;
        let wanted = snapshot.options().map_err(failed("prepare", at.name))?;
        let layer = self.intend(at.sn, snapshot.id, parents)?;
        failpoint!("store::snapshot::prepare::intent");
        let made = match snapshot.kind {
            SnapshotKind::View => backend.view(snapshot.id, &layer.parents, &wanted),
            SnapshotKind::Active | SnapshotKind::Committed => backend.prepare(snapshot.id, &layer.parents, &wanted),
        };
        if let Err(error) = made {
            self.undo_intended(backend.as_ref(), at.sn, snapshot.id);
            return Err(failed("prepare", at.name)(error));
        }
        failpoint!("store::snapshot::prepare::made");
        Ok(Layer {
            state: LayerState::Ready,
            ..layer
        })
    }

    /// The snapshot that the client means to end up with is there, or another namespace has it to share.
    fn refuse_existing_target(&self, at: At<'_>, options: &SnapshotOptions) -> Result<()> {
        let Some(target) = options.labels.get(TARGET) else {
            return Ok(());
        };
        let target = at.named(target);
        let lease = options.lease.as_ref();
        let there = {
            let _claim = self.store.claims().claim_shared(target.claim())?;
            let there = self.find(target)?.is_some();
            if there {
                self.keep(target, lease)?;
            }
            there
        };
        if there || self.adopt(target, lease)? {
            return Err(exists(target));
        }
        Ok(())
    }

    fn intend(&self, sn: &str, id: u64, parents: Vec<u64>) -> Result<Layer> {
        let layer = Layer {
            state: LayerState::Intended,
            parents,
            chain: None,
            usage: Usage::default(),
        };
        let mut batch = Batch::new();
        batch.put(&(sn.to_owned(), id), &layer)?;
        self.store.commit(batch)?;
        Ok(layer)
    }

    /// After a failure of the backend: what cannot be undone now is undone at the next start.
    fn undo_intended(&self, backend: &dyn gantry_snapshots_api::Snapshotter, sn: &str, id: u64) {
        let undone = backend
            .remove(id)
            .map_err(failed("undo", &id.to_string()))
            .and_then(|_| {
                let mut batch = Batch::new();
                batch.delete::<Layer>(&(sn.to_owned(), id));
                self.store.commit(batch)
            });
        if let Err(error) = undone {
            tracing::warn!(err = %error, snapshot = id, "a half made layer stays until the next start");
        }
    }

    /// Turns an active snapshot into a committed one of another name.
    pub(super) fn commit(&self, at: At<'_>, name: &str, options: CommitOptions) -> Result<()> {
        let backend = self.backend(at.sn)?;
        if name.is_empty() || at.name.is_empty() {
            return Err(Error::NoSnapshotKey);
        }
        let to = at.named(name);
        let lease = options.lease.as_ref();
        self.leases.require(at.ns, lease)?;
        let _claims = self.store.claims().claim_all([at.claim(), to.claim()])?;
        let mut snapshot = self.snapshot(at)?;
        if snapshot.kind != SnapshotKind::Active {
            return Err(wrong_kind(at, &snapshot, "an active snapshot"));
        }
        if self.find(to)?.is_some() {
            self.keep(to, lease)?;
            return Err(exists(to));
        }
        let mut layer = self.ready(at, &snapshot)?;
        let before = snapshot.clone();
        let wanted = options.parent.as_deref().filter(|parent| !parent.is_empty());
        let below = self.attach(at, &mut snapshot, &mut layer, wanted)?;
        failpoint!("store::snapshot::commit::intent");
        let usage = backend
            .commit(snapshot.id, &layer.parents)
            .map_err(failed("commit", at.name))?;
        failpoint!("store::snapshot::commit::synced");
        let now = SystemTime::now();
        snapshot.kind = SnapshotKind::Committed;
        snapshot.verified = options.verified && below.as_ref().is_none_or(|parent| parent.verified);
        (snapshot.usage, snapshot.created_at, snapshot.updated_at) = (usage, now, now);
        label::merge(&mut snapshot.labels, &options.labels);
        label::validate(&snapshot.labels)?;
        layer.usage = usage;
        let mut batch = Batch::new();
        if snapshot.verified && name.parse::<Digest>().is_ok() {
            layer.chain = Some(name.to_owned());
            let shared = SharedLayer { id: snapshot.id };
            batch.put(&(at.sn.to_owned(), name.to_owned()), &shared)?;
        }
        self.forget_in(&mut batch, at, &before);
        self.record_in(&mut batch, to, &snapshot)?;
        batch.put(&(at.sn.to_owned(), snapshot.id), &layer)?;
        self.leases.remove_in(&mut batch, at.ns, lease, &at.resource());
        self.leases.add_in(&mut batch, at.ns, lease, &to.resource())?;
        self.store.commit(batch)?;
        failpoint!("store::snapshot::commit::recorded");
        Ok(())
    }

    /// The parent that a snapshot is committed on: its own, or one that it gets only now ("rebase").
    fn attach(
        &self,
        at: At<'_>,
        snapshot: &mut Snapshot,
        layer: &mut Layer,
        wanted: Option<&str>,
    ) -> Result<Option<Parent>> {
        match (&snapshot.parent, wanted) {
            (Some(parent), Some(wanted)) if parent != wanted => Err(Error::Reparent {
                key: at.name.to_owned(),
                parent: parent.clone(),
                wanted: wanted.to_owned(),
            }),
            (None, Some(wanted)) => {
                if !self.backend(at.sn)?.capabilities().rebase {
                    return Err(Error::NoRebase { name: at.sn.to_owned() });
                }
                let parent = self.parent(at.named(wanted))?;
                snapshot.parent = Some(wanted.to_owned());
                layer.parents = parent.chain.clone();
                Ok(Some(parent))
            }
            (Some(parent), _) => self.parent(at.named(parent)).map(Some),
            (None, None) => Ok(None),
        }
    }

    /// Removes a snapshot and, if nobody else has it, its layer. If the layer's directory cannot be removed the record
    /// stays and a further removal goes on.
    pub(super) fn remove(&self, at: At<'_>) -> Result<()> {
        let backend = self.backend(at.sn)?;
        let _claim = self.store.claims().claim(at.claim())?;
        let snapshot = self.snapshot(at)?;
        if let Some(child) = self.first_child(at)? {
            return Err(Error::SnapshotHasChildren {
                key: at.name.to_owned(),
                child,
            });
        }
        let _layer_claim = self.store.claims().claim(layer_claim(at.sn, snapshot.id))?;
        let mut last = Batch::new();
        self.forget_in(&mut last, at, &snapshot);
        if self.owners(at.sn, snapshot.id)? > 1 {
            return self.store.commit(last).map(drop);
        }
        let Some(layer) = self.layer(at.sn, snapshot.id)? else {
            return self.store.commit(last).map(drop);
        };
        self.doom(at.sn, snapshot.id, &layer)?;
        failpoint!("store::snapshot::remove::intent");
        backend.remove(snapshot.id).map_err(failed("remove", at.name))?;
        failpoint!("store::snapshot::remove::gone");
        last.delete::<Layer>(&(at.sn.to_owned(), snapshot.id));
        self.store.commit(last)?;
        failpoint!("store::snapshot::remove::recorded");
        Ok(())
    }

    /// Records that a layer is about to go. Nobody may share it from now on.
    pub(super) fn doom(&self, sn: &str, id: u64, layer: &Layer) -> Result<()> {
        let mut batch = Batch::new();
        if let Some(chain) = &layer.chain {
            let key = (sn.to_owned(), chain.clone());
            if self
                .store
                .get::<SharedLayer>(&key)?
                .is_some_and(|shared| shared.id == id)
            {
                batch.delete::<SharedLayer>(&key);
            }
        }
        let doomed = Layer {
            state: LayerState::Doomed,
            chain: None,
            ..layer.clone()
        };
        batch.put(&(sn.to_owned(), id), &doomed)?;
        self.store.commit(batch).map(drop)
    }
}

pub(super) fn layer_claim(sn: &str, id: u64) -> String {
    format!("layer/{sn}/{id}")
}

fn exists(at: At<'_>) -> Error {
    Error::SnapshotExists {
        key: at.name.to_owned(),
    }
}
