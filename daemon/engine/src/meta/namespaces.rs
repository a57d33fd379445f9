//! Namespaces: made by the first write of anything in them, or by name; deleted when nothing is left.

use super::{CLAIM, Meta, change_labels, new_labels};
use crate::exchange;
use gantry_core::meta::{Change, Happening};
use gantry_core::{Error, Labels, Namespace, Result};
use gantry_store::{Batch, Claim, NamespaceRecord, Store};
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::time::SystemTime;

/// Tables whose rows keep a namespace, with containerd's words for them.
const HOLDINGS: [(&str, &str); 5] = [
    ("images", "images"),
    ("blobs", "blobs"),
    ("containers", "containers"),
    ("client_containers", "containers"),
    ("sandboxes", "sandboxes"),
];

/// Makes the namespace in this batch if it is not there. While the claim is held nobody deletes it.
pub fn appear(store: &Store, batch: &mut Batch, ns: &Namespace) -> Result<Claim> {
    let claim = store.claims().claim_shared(claim_key(ns))?;
    if !store.contains::<NamespaceRecord>(ns)? {
        batch.put(ns, &NamespaceRecord::default())?;
    }
    Ok(claim)
}

fn claim_key(ns: &Namespace) -> String {
    format!("namespace/{ns}")
}

impl Meta {
    /// All of them with their labels, by name.
    pub async fn namespaces(&self) -> Result<Vec<(Namespace, Labels)>> {
        self.run(|meta| {
            let all = meta.store.list::<NamespaceRecord>()?;
            Ok(all.into_iter().map(|(ns, record)| (ns, record.labels)).collect())
        })
        .await
    }

    /// Its labels; one that is not there has none.
    pub async fn namespace(&self, ns: &Namespace) -> Result<Labels> {
        let ns = ns.clone();
        self.run(move |meta| Ok(meta.store.get::<NamespaceRecord>(&ns)?.unwrap_or_default().labels))
            .await
    }

    pub async fn create_namespace(&self, ns: &Namespace, labels: Labels) -> Result<()> {
        let ns = ns.clone();
        self.run(move |meta| {
            let labels = new_labels(labels)?;
            let _claim = meta.store.claim(claim_key(&ns), CLAIM)?;
            if meta.store.contains::<NamespaceRecord>(&ns)? {
                return Err(Error::exists(format!("namespace \"{ns}\": already exists")));
            }
            let happening = Happening::NamespaceCreate {
                name: ns.to_string(),
                labels: labels.clone(),
            };
            meta.write_namespace(&ns, labels, &happening)
        })
        .await
    }

    /// Changes the labels, answers them all. Makes the namespace if it is not there.
    pub async fn update_namespace(&self, ns: &Namespace, change: Change<Labels>) -> Result<Labels> {
        let ns = ns.clone();
        self.run(move |meta| {
            let _claim = meta.store.claim(claim_key(&ns), CLAIM)?;
            let mut labels = meta.store.get::<NamespaceRecord>(&ns)?.unwrap_or_default().labels;
            change_labels(&mut labels, Some(change))?;
            let happening = Happening::NamespaceUpdate {
                name: ns.to_string(),
                labels: labels.clone(),
            };
            meta.write_namespace(&ns, labels.clone(), &happening)?;
            Ok(labels)
        })
        .await
    }

    fn write_namespace(&self, ns: &Namespace, labels: Labels, happening: &Happening) -> Result<()> {
        let mut batch = Batch::new();
        batch.put(ns, &NamespaceRecord { labels })?;
        batch.event(exchange::told(ns, SystemTime::now(), happening)?);
        self.store.commit(batch)?;
        Ok(())
    }

    /// Deletes an empty namespace, its leases too. One that is not empty is refused, with what is left in it.
    pub async fn delete_namespace(&self, ns: &Namespace) -> Result<()> {
        let ns = ns.clone();
        self.run(move |meta| {
            let _claim = meta.store.claim(claim_key(&ns), CLAIM)?;
            let left = meta.left_in(&ns)?;
            if !left.is_empty() {
                return Err(Error::precondition(format!(
                    "namespace \"{ns}\" must be empty, but it still has {}: failed precondition",
                    left.join(", ")
                )));
            }
            if !meta.store.contains::<NamespaceRecord>(&ns)? {
                return Err(Error::not_found(format!("namespace \"{ns}\": not found")));
            }
            let mut batch = Batch::new();
            batch.delete::<NamespaceRecord>(&ns);
            for (lease, _) in meta.leases.list(&ns)? {
                meta.leases.delete_in(&mut batch, &ns, &lease)?;
            }
            let happening = Happening::NamespaceDelete { name: ns.to_string() };
            batch.event(exchange::told(&ns, SystemTime::now(), &happening)?);
            meta.store.commit(batch)?;
            Ok(())
        })
        .await
    }

    /// What keeps a namespace from being deleted.
    fn left_in(&self, ns: &Namespace) -> Result<Vec<String>> {
        let mut left: Vec<String> = Vec::new();
        for (table, word) in HOLDINGS {
            let mut any = false;
            self.store.visit_keys::<(Namespace, String)>(table, ns, |_| {
                any = true;
                ControlFlow::Break(())
            })?;
            if any && !left.iter().any(|known| known == word) {
                left.push(word.to_owned());
            }
        }
        let mut snapshotters = BTreeSet::new();
        self.store
            .visit_keys::<(Namespace, String, String)>("snapshots", ns, |(_, snapshotter, _)| {
                snapshotters.insert(snapshotter);
                ControlFlow::Continue(())
            })?;
        left.extend(snapshotters.into_iter().map(|name| format!("snapshot-{name}")));
        Ok(left)
    }
}
