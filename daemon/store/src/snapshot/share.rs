//! One unpacked layer for all namespaces, if the daemon vouches for it.

use super::change::layer_claim;
use super::records::{Layer, LayerState, SharedLayer, Snapshot};
use super::{At, Inner};
use crate::blob::Sharing;
use crate::error::Result;
use crate::record::Batch;
use gantry_core::snapshot::SnapshotKind;
use gantry_core::{Labels, LeaseId};
use std::time::SystemTime;

impl Inner {
    /// Takes the verified layer of this chain id into the namespace, its parents first. True if the name is there
    /// afterwards.
    pub(super) fn adopt(&self, at: At<'_>, lease: Option<&LeaseId>) -> Result<bool> {
        self.backend(at.sn)?;
        self.leases.require(at.ns, lease)?;
        if self.sharing == Sharing::Isolated {
            return Ok(false);
        }
        let mut line = Vec::new();
        let mut chain = at.name.to_owned();
        // From the top down to what the namespace has, or to the base.
        let mut below = None;
        loop {
            let here = at.named(&chain);
            if let Some(known) = self.find(here)? {
                below = Some((chain, known.id));
                break;
            }
            let Some((id, layer)) = self.shared(at.sn, &chain)? else {
                return Ok(false);
            };
            let parent = match layer.parents.first() {
                None => None,
                Some(parent) => match self.layer(at.sn, *parent)?.and_then(|layer| layer.chain) {
                    Some(name) => Some(name),
                    None => return Ok(false),
                },
            };
            line.push((chain, id, parent.clone()));
            match parent {
                Some(parent) => chain = parent,
                None => break,
            }
        }
        for (name, id, parent) in line.into_iter().rev() {
            // The namespace's own parent must be the very layer that this one was applied on.
            let fits = match (&parent, &below) {
                (Some(parent), Some((name, _))) => parent == name,
                (None, None) => true,
                (Some(_), None) | (None, Some(_)) => false,
            };
            if !fits
                || !self.adopt_one(
                    at.named(&name),
                    id,
                    parent.as_deref(),
                    below.as_ref().map(|b| b.1),
                    lease,
                )?
            {
                return Ok(false);
            }
            below = Some((name, id));
        }
        let _claim = self.store.claims().claim_shared(at.claim())?;
        if self.find(at)?.is_none() {
            return Ok(false);
        }
        self.keep(at, lease)?;
        Ok(true)
    }

    fn shared(&self, sn: &str, chain: &str) -> Result<Option<(u64, Layer)>> {
        let key = (sn.to_owned(), chain.to_owned());
        let Some(shared) = self.store.get::<SharedLayer>(&key)? else {
            return Ok(None);
        };
        let layer = self.layer(sn, shared.id)?;
        Ok(layer
            .filter(|layer| layer.state == LayerState::Ready && layer.chain.as_deref() == Some(chain))
            .map(|layer| (shared.id, layer)))
    }

    fn adopt_one(
        &self,
        at: At<'_>,
        id: u64,
        parent: Option<&str>,
        parent_id: Option<u64>,
        lease: Option<&LeaseId>,
    ) -> Result<bool> {
        let _claim = self.store.claims().claim(at.claim())?;
        if self.find(at)?.is_some() {
            return Ok(true);
        }
        let below = parent.map(|parent| self.parent(at.named(parent))).transpose()?;
        let _layer_claim = self.store.claims().claim(layer_claim(at.sn, id))?;
        let Some((found, layer)) = self.shared(at.sn, at.name)? else {
            return Ok(false);
        };
        let chain = below.as_ref().map_or(&[][..], |below| &below.chain);
        if found != id || layer.parents != chain || layer.parents.first().copied() != parent_id {
            return Ok(false);
        }
        let now = SystemTime::now();
        let snapshot = Snapshot {
            id,
            kind: SnapshotKind::Committed,
            parent: parent.map(str::to_owned),
            labels: Labels::new(),
            created_at: now,
            updated_at: now,
            verified: true,
            usage: layer.usage,
        };
        let mut batch = Batch::new();
        let _kept = self.store.appear(&mut batch, at.ns)?;
        self.record_in(&mut batch, at, &snapshot)?;
        self.leases.add_in(&mut batch, at.ns, lease, &at.resource())?;
        self.store.commit(batch)?;
        Ok(true)
    }
}
