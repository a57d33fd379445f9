//! What changes snapshots: create, commit, remove.

use super::records::{Layer, LayerState, SharedLayer, Snapshot};
use super::{At, Inner, Made, Parent, failed, not_active};
use crate::error::{Error, Result};
use crate::record::Batch;
use gantry_core::meta::Happening;
use gantry_core::snapshot::{CommitOptions, SnapshotKind, SnapshotOptions, Usage};
use gantry_core::{Digest, Mount, label};
use gantry_snapshots_api::{Prepared, TARGET};
use std::sync::Arc;
use std::time::SystemTime;

impl Inner {
    /// An active snapshot or a view.
    pub(super) fn create(
        self: &Arc<Self>,
        at: At<'_>,
        kind: SnapshotKind,
        parent: Option<&str>,
        options: SnapshotOptions,
    ) -> Result<Vec<Mount>> {
        let mut made = self.make(at, kind, parent, options)?;
        let mut batch = Batch::new();
        made.record_in(&mut batch)?;
        self.store.commit(batch)?;
        failpoint!("store::snapshot::prepare::recorded");
        made.keep();
        self.mounts(at, &self.snapshot(at)?)
    }

    /// The effect of a prepare: the layer is there, for whoever records it.
    pub(super) fn make(
        self: &Arc<Self>,
        at: At<'_>,
        kind: SnapshotKind,
        parent: Option<&str>,
        options: SnapshotOptions,
    ) -> Result<Made> {
        let backend = self.backend(at.sn)?;
        if at.name.is_empty() {
            return Err(Error::NoSnapshotKey);
        }
        label::validate(&options.labels)?;
        self.leases.require(at.ns, options.lease.as_ref())?;
        let parent = parent.filter(|parent| !parent.is_empty());
        self.refuse_existing_target(at, &options)?;
        let claim = self.store.claims().claim(at.claim())?;
        if self.find(at)?.is_some() {
            self.keep(at, options.lease.as_ref())?;
            return Err(exists(at));
        }
        let below = parent.map(|parent| self.parent_beside(at, &[at], parent)).transpose()?;
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
        let wanted = snapshot.options().map_err(failed("prepare", at.name))?;
        // From here on what is on disk under that number goes with `made`, unless it is recorded.
        let made = Made::new(self, at, snapshot, (claim, below), options.lease);
        let prepared = match kind {
            SnapshotKind::View => backend
                .view(made.id(), made.parents(), &wanted)
                .map(|()| Prepared::Active),
            SnapshotKind::Active | SnapshotKind::Committed => {
                backend.prepare_or_find(made.id(), made.parents(), &wanted)
            }
        }
        .map_err(failed("prepare", at.name))?;
        failpoint!("store::snapshot::prepare::made");
        match (prepared, wanted.labels.get(TARGET)) {
            (Prepared::Committed(usage), Some(target)) => {
                made.keep_as(target, usage)?;
                Err(Error::TargetFound { target: target.clone() })
            }
            (Prepared::Active | Prepared::Committed(_), _) => Ok(made),
        }
    }

    /// The parent of something under whose name, or instead of which, the caller holds claims: none of these can be it.
    fn parent_beside(&self, at: At<'_>, held: &[At<'_>], parent: &str) -> Result<Parent> {
        // They are claimed and not committed snapshots, so waiting for one of them would be waiting for oneself.
        match held.iter().any(|held| held.name == parent) {
            true => Err(Error::ParentMissing { key: parent.to_owned() }),
            false => self.parent(at.named(parent)),
        }
    }

    /// The snapshot that the client means to end up with is there, or another namespace has it to share.
    fn refuse_existing_target(&self, at: At<'_>, options: &SnapshotOptions) -> Result<()> {
        let Some(target) = options.labels.get(TARGET).filter(|target| !target.is_empty()) else {
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
            let target = target.name.to_owned();
            return Err(Error::TargetExists { target });
        }
        Ok(())
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
        // The name first, as containerd looks: a commit that is asked for again is told that it is done.
        if self.find(to)?.is_some() {
            self.keep(to, lease)?;
            return Err(exists(to));
        }
        let mut snapshot = self.snapshot(at)?;
        if snapshot.kind != SnapshotKind::Active {
            return Err(not_active(at));
        }
        let mut layer = self.ready(at, &snapshot)?;
        let before = snapshot.clone();
        let wanted = options.parent.as_deref().filter(|parent| !parent.is_empty());
        let below = self.attach([at, to], &mut snapshot, &mut layer, wanted)?;
        snapshot.relabel_committed(&options.labels)?;
        let said = snapshot.options().map_err(failed("commit", at.name))?;
        failpoint!("store::snapshot::commit::intent");
        let usage = backend
            .commit_with(snapshot.id, &layer.parents, &said)
            .map_err(failed("commit", at.name))?;
        failpoint!("store::snapshot::commit::synced");
        let now = SystemTime::now();
        snapshot.kind = SnapshotKind::Committed;
        snapshot.verified = options.verified && below.as_ref().is_none_or(|parent| parent.verified);
        (snapshot.usage, snapshot.created_at, snapshot.updated_at) = (usage, now, now);
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
        let happening = Happening::SnapshotCommit {
            key: at.name.to_owned(),
            name: name.to_owned(),
            snapshotter: at.sn.to_owned(),
        };
        batch.tell(at.ns, &happening)?;
        self.store.commit(batch)?;
        failpoint!("store::snapshot::commit::recorded");
        Ok(())
    }

    /// The parent that a snapshot is committed on: its own, or one that it gets only now ("rebase").
    fn attach(
        &self,
        [at, to]: [At<'_>; 2],
        snapshot: &mut Snapshot,
        layer: &mut Layer,
        wanted: Option<&str>,
    ) -> Result<Option<Parent>> {
        match (&snapshot.parent, wanted) {
            (Some(parent), Some(wanted)) if parent != wanted => Err(Error::Reparent {
                key: at.name.to_owned(),
            }),
            (None, Some(wanted)) => {
                if !self.backend(at.sn)?.capabilities().rebase {
                    return Err(Error::NoRebase { name: at.sn.to_owned() });
                }
                let parent = self.parent_beside(at, &[at, to], wanted)?;
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
        self.backend(at.sn)?;
        let _claim = self.store.claims().claim(at.claim())?;
        let snapshot = self.childless(at)?;
        let _layer_claim = self.store.claims().claim(layer_claim(at.sn, snapshot.id))?;
        let mut last = Batch::new();
        self.forget_in(&mut last, at, &snapshot);
        last.tell(at.ns, &at.removed())?;
        if self.owners(at.sn, snapshot.id)? > 1 {
            return self.store.commit(last).map(drop);
        }
        let Some(layer) = self.layer(at.sn, snapshot.id)? else {
            return self.store.commit(last).map(drop);
        };
        self.doom(at.sn, snapshot.id, &layer)?;
        self.take_away(at.sn, snapshot.id, last)
    }

    /// The snapshot, if nothing is built on it.
    pub(super) fn childless(&self, at: At<'_>) -> Result<Snapshot> {
        let snapshot = self.snapshot(at)?;
        match self.first_child(at)? {
            Some(child) => Err(Error::SnapshotHasChildren {
                key: at.name.to_owned(),
                child,
            }),
            None => Ok(snapshot),
        }
    }

    /// Removes the directory of a doomed layer, then its record and what else is in the batch. That batch need not be
    /// synced: the next start does the same with a doomed layer.
    pub(super) fn take_away(&self, sn: &str, id: u64, mut last: Batch) -> Result<()> {
        failpoint!("store::snapshot::remove::intent");
        let backend = self.backend(sn)?;
        backend.remove(id).map_err(failed("remove", &id.to_string()))?;
        failpoint!("store::snapshot::remove::gone");
        last.delete::<Layer>(&(sn.to_owned(), id));
        self.store.commit_unsynced(last)?;
        failpoint!("store::snapshot::remove::recorded");
        Ok(())
    }

    /// Records that a layer is about to go.
    pub(super) fn doom(&self, sn: &str, id: u64, layer: &Layer) -> Result<()> {
        let mut batch = Batch::new();
        self.doom_in(&mut batch, sn, id, layer)?;
        self.store.commit(batch).map(drop)
    }

    /// A layer that is about to go: nobody may share it from now on.
    pub(super) fn doom_in(&self, batch: &mut Batch, sn: &str, id: u64, layer: &Layer) -> Result<()> {
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
        batch.put(&(sn.to_owned(), id), &doomed)
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
