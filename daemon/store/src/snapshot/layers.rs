//! Layers on disk against their records: numbers given once, what a kill left half done, what nobody has any more.

use super::change::layer_claim;
use super::records::{Layer, LayerState, NextNumber, SnapshotOwner};
use super::{At, Inner, SnapshotStore, failed};
use crate::db::Store;
use crate::error::Result;
use crate::record::Batch;
use gantry_core::{ErrorKind, Namespace};
use gantry_snapshots_api::Snapshotter;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

/// Numbers written down at a time.
const STRIDE: u64 = 64;

/// Gives numbers that were never given before, whatever was killed when.
#[derive(Debug, Default)]
pub struct Numbers(Mutex<Range<u64>>);

impl Numbers {
    pub fn give(&self, store: &Store) -> Result<u64> {
        let mut range = self.0.lock();
        if range.is_empty() {
            let key = "layer".to_owned();
            let start = store.get::<NextNumber>(&key)?.map_or(1, |number| number.next);
            let mut batch = Batch::new();
            batch.put(&key, &NextNumber { next: start + STRIDE })?;
            store.commit(batch)?;
            *range = start..start + STRIDE;
        }
        let number = range.start;
        range.start += 1;
        Ok(number)
    }
}

/// What a look over all layers at the start found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SnapshotReport {
    /// Layers removed: half removed, or nobody's.
    pub removed: usize,
    /// Directories of the backends that no record names, removed.
    pub strays: usize,
    /// Snapshots whose directory is missing, as (namespace, snapshotter, name).
    pub damaged: Vec<(Namespace, String, String)>,
    /// Layers that could not be removed now, with the reason.
    pub left: Vec<String>,
}

impl SnapshotStore {
    /// Finishes or undoes what a kill left half done; to be called once at start, before anybody else.
    pub fn reconcile(&self) -> Result<SnapshotReport> {
        let inner = &self.inner;
        let mut report = SnapshotReport::default();
        let holds_back = inner.store.holds_back()?;
        for backend in inner.backends.values() {
            let sn = backend.name();
            let cleaned = backend.cleanup().map_err(failed("clean up", sn));
            let found = cleaned.and_then(|_| backend.list().map_err(failed("list", sn)));
            let mut on_disk: BTreeSet<u64> = match found {
                // A service outside that is not there now is no reason not to start; it is looked at next time.
                Err(error) if error.kind() == ErrorKind::Unavailable => {
                    tracing::warn!(err = %error, snapshotter = sn, "the snapshots of a service outside are not looked over");
                    report.left.push(gantry_core::Error::from(error).to_string());
                    continue;
                }
                found => found?.into_iter().collect(),
            };
            for ((_, id), layer) in inner.store.scan::<Layer>(&sn.to_owned())? {
                let there = on_disk.remove(&id);
                inner.settle(backend, id, &layer, there, holds_back, &mut report)?;
            }
            for id in on_disk {
                if holds_back {
                    report.left.push(format!("{sn} {id}: something is in quarantine"));
                    continue;
                }
                match backend.remove(id) {
                    Ok(_) => report.strays += 1,
                    Err(error) if error.kind() == ErrorKind::Unavailable => report.left.push(error.to_string()),
                    Err(error) => return Err(failed("remove", &id.to_string())(error)),
                }
            }
        }
        Ok(report)
    }

    /// Removes layers that nobody has any more. Writers go on.
    pub(crate) fn sweep_layers(&self) -> Result<usize> {
        let inner = &self.inner;
        if inner.store.holds_back()? {
            return Ok(0);
        }
        let mut removed = 0;
        for backend in inner.backends.values() {
            let sn = backend.name();
            for ((_, id), _) in inner.store.scan::<Layer>(&sn.to_owned())? {
                let Some(_claim) = inner.store.claims().try_claim(layer_claim(sn, id)) else {
                    continue;
                };
                let Some(layer) = inner.layer(sn, id)? else { continue };
                if inner.owners(sn, id)? == 0 {
                    match inner.remove_layer(backend, id, &layer) {
                        Ok(()) => removed += 1,
                        Err(error) => tracing::warn!(err = %error, "a layer that nobody has stays for the next sweep"),
                    }
                }
            }
        }
        Ok(removed)
    }

    /// Takes a snapshot's rows into a sweep's batch. The sweep holds its claim and has seen that nothing is built on it.
    pub(crate) fn sweep_in(&self, batch: &mut Batch, ns: &Namespace, sn: &str, name: &str) -> Result<bool> {
        let at = At::new(ns, sn, name);
        let Some(snapshot) = self.inner.find(at)? else {
            return Ok(false);
        };
        self.inner.forget_in(batch, at, &snapshot);
        batch.tell(ns, &at.removed())?;
        Ok(true)
    }

    pub(crate) fn claim_key(ns: &Namespace, sn: &str, name: &str) -> String {
        At::new(ns, sn, name).claim()
    }
}

impl Inner {
    /// How many snapshots name the layer.
    pub(super) fn owners(&self, sn: &str, id: u64) -> Result<usize> {
        Ok(self.store.scan::<SnapshotOwner>(&(sn.to_owned(), id))?.len())
    }

    fn settle(
        &self,
        backend: &Arc<dyn Snapshotter>,
        id: u64,
        layer: &Layer,
        there: bool,
        holds_back: bool,
        report: &mut SnapshotReport,
    ) -> Result<()> {
        let sn = backend.name();
        let owners = self.store.scan::<SnapshotOwner>(&(sn.to_owned(), id))?;
        match layer.state {
            LayerState::Ready if !owners.is_empty() => {
                if !there {
                    tracing::warn!(
                        snapshotter = sn,
                        snapshot = id,
                        "the directory of a snapshot is missing"
                    );
                    let names = owners
                        .into_iter()
                        .map(|((_, _, ns, name), _)| (ns, sn.to_owned(), name));
                    report.damaged.extend(names);
                }
                return Ok(());
            }
            LayerState::Ready if holds_back => {
                report.left.push(format!("{sn} {id}: something is in quarantine"));
                return Ok(());
            }
            LayerState::Ready | LayerState::Doomed => {}
        }
        if let Err(error) = self.remove_layer(backend, id, layer) {
            tracing::warn!(err = %error, "a layer stays for the next start");
            report.left.push(error.to_string());
            return Ok(());
        }
        report.removed += 1;
        // The names of a doomed layer were to go with it.
        let mut batch = Batch::new();
        for ((_, _, ns, name), _) in owners {
            let at = At::new(&ns, sn, &name);
            if let Some(snapshot) = self.find(at)? {
                self.forget_in(&mut batch, at, &snapshot);
                batch.tell(&ns, &at.removed())?;
            }
        }
        self.store.commit(batch).map(drop)
    }

    fn remove_layer(&self, backend: &Arc<dyn Snapshotter>, id: u64, layer: &Layer) -> Result<()> {
        let sn = backend.name();
        if layer.state == LayerState::Ready {
            self.doom(sn, id, layer)?;
        }
        failpoint!("store::snapshot::sweep::intent");
        backend.remove(id).map_err(failed("remove", &id.to_string()))?;
        let mut batch = Batch::new();
        batch.delete::<Layer>(&(sn.to_owned(), id));
        self.store.commit(batch).map(drop)
    }
}
