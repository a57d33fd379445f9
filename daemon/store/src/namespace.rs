//! Namespaces: they appear with the first write of anything in them.

use crate::db::{Claim, Store};
use crate::error::Result;
use crate::record::{Batch, Record};
use gantry_core::{Labels, Namespace};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What a namespace says of itself. Key: namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceRecord {
    pub labels: Labels,
}

impl Record for NamespaceRecord {
    type Key = Namespace;
    const TABLE: &'static str = "namespaces";
    const VERSION: u16 = 1;
}

impl Store {
    /// Makes the namespace in this batch if it is not there. Nobody deletes it while the claim is held, which is to be
    /// until the batch is committed.
    pub fn appear(&self, batch: &mut Batch, ns: &Namespace) -> Result<Claim> {
        let claim = self.claims().claim_shared(claim_key(ns))?;
        if !self.contains::<NamespaceRecord>(ns)? {
            batch.put(ns, &NamespaceRecord::default())?;
        }
        Ok(claim)
    }

    /// Keeps writers out of the namespace: for whoever makes, changes or deletes it by name.
    pub fn claim_namespace(&self, ns: &Namespace, patience: Duration) -> Result<Claim> {
        self.claims().claim_within(claim_key(ns), patience)
    }
}

fn claim_key(ns: &Namespace) -> String {
    format!("namespace/{ns}")
}
