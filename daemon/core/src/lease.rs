//! Leases as a trait: what holds the things of an operation under way until a record refers to them.

use crate::{LeaseId, Namespace, Result};

/// Opens and closes leases.
pub trait LeaseKeeper: Send + Sync {
    /// A fresh lease. It ends by itself a day later at the latest, so that a killed daemon leaves none for ever.
    fn open(&self, ns: &Namespace) -> Result<LeaseId>;
    /// Ends it. Already gone is fine.
    fn close(&self, ns: &Namespace, lease: &LeaseId) -> Result<()>;
}
