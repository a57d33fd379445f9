//! What makes networks and endpoints in the kernel.

use crate::Result;
use gantry_core::network::{Endpoint, NetworkRecord, Scope};
use std::os::fd::BorrowedFd;

/// A kind of network. Calls block (netlink, files) and are made from the blocking gate; each may be made again after a kill.
pub trait Driver: Send + Sync {
    /// As `--driver` names it.
    fn name(&self) -> &str;

    fn scope(&self) -> Scope {
        Scope::Local
    }

    /// Whether containers get addresses from pools of the network's.
    fn addresses(&self) -> bool {
        true
    }

    /// Looks at the options and at what the kernel can do before anything is written down, and fills in what the driver
    /// chooses itself (`device`). A network of another's that uses the same device or parent is a conflict.
    fn check(&self, network: &mut NetworkRecord, others: &[NetworkRecord]) -> Result<()>;

    /// Makes what the network has on the host, or mends it.
    fn create(&self, network: &NetworkRecord) -> Result<()>;

    /// Removes it.
    fn remove(&self, network: &NetworkRecord) -> Result<()>;

    /// Makes the endpoint's interface in the namespace with its addresses, brings it up, and adds routes to its own subnets.
    /// Default routes are set by [`crate::netns`], since only one endpoint has them.
    fn join(&self, network: &NetworkRecord, endpoint: &Endpoint, netns: BorrowedFd<'_>) -> Result<()>;

    /// Removes what the endpoint has on the host and, if the namespace is still there, its interface.
    fn leave(&self, network: &NetworkRecord, endpoint: &Endpoint, netns: Option<BorrowedFd<'_>>) -> Result<()>;
}
