//! What keeps an operation's blobs and snapshots from being collected until its outcome has a record.

use gantry_core::lease::LeaseKeeper;
use gantry_core::{LeaseId, Namespace, Result};
use std::fmt;
use std::sync::Arc;

/// Held with an outcome (`Pulled`, `LoadedImage`): drop it once a record refers to the image.
#[derive(Clone, Default)]
pub struct Hold(Option<Arc<Held>>);

struct Held {
    keeper: Arc<dyn LeaseKeeper>,
    ns: Namespace,
    lease: LeaseId,
}

impl Hold {
    /// Opens a lease with `keeper`, unless the caller brought one or there is no keeper. Blocks.
    pub(crate) fn open(
        keeper: Option<Arc<dyn LeaseKeeper>>,
        ns: &Namespace,
        given: Option<LeaseId>,
    ) -> Result<(Self, Option<LeaseId>)> {
        match (given, keeper) {
            (None, Some(keeper)) => {
                let lease = keeper.open(ns)?;
                let held = Held {
                    keeper,
                    ns: ns.clone(),
                    lease: lease.clone(),
                };
                Ok((Self(Some(Arc::new(held))), Some(lease)))
            }
            (given, _) => Ok((Self(None), given)),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let (keeper, ns, lease) = (self.keeper.clone(), self.ns.clone(), self.lease.clone());
        let close = move || {
            if let Err(error) = keeper.close(&ns, &lease) {
                tracing::warn!(err = %error, lease = %lease.0, "a lease could not be closed; it expires by itself");
            }
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(close)),
            Err(_) => close(),
        }
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hold")
            .field(&self.0.as_ref().map(|held| &held.lease))
            .finish()
    }
}

/// Outcomes are compared by what they are, not by who holds them.
impl PartialEq for Hold {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Eq for Hold {}
