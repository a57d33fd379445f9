//! Mounts that are kept for as long as some work of the daemon's own needs them.

use super::plan::plan;
use super::{Activations, NewActivation};
use gantry_core::lease::LeaseKeeper;
use gantry_core::{Mount, Namespace, Result};

impl Activations {
    /// Runs `work` with mounts that can be performed as they are.
    pub(crate) fn with<T>(
        &self,
        ns: &Namespace,
        what: &str,
        mounts: &[Mount],
        work: impl FnOnce(&[Mount]) -> Result<T>,
    ) -> Result<T> {
        if plan(mounts, false, &[]).is_none() {
            return work(mounts);
        }
        let lease = self.leases.open(ns)?;
        let new = NewActivation {
            name: format!("{what}-{:016x}", rand::random::<u64>()),
            mounts: mounts.to_vec(),
            lease: Some(lease.clone()),
            ..NewActivation::default()
        };
        let name = new.name.clone();
        let outcome = self.activate(ns, new).and_then(|activation| {
            let outcome = work(&activation.system);
            if let Err(error) = self.deactivate(ns, &name) {
                tracing::warn!(%ns, mount = name, err = %error, "what was mounted for a while is taken down later");
            }
            outcome
        });
        self.leases.close(ns, &lease)?;
        outcome
    }
}
