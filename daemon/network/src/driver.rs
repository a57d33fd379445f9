//! What makes networks and endpoints in the kernel.

mod bridge;
mod cni;
mod endpoint;
mod ipvlan;
mod macvlan;
mod overlay;
mod pair;
mod parent;
mod plain;
pub mod vxlan;

use crate::{Instance, Result};
use gantry_core::network::{Endpoint, Learned, NetworkRecord, Scope};
use std::os::fd::BorrowedFd;

pub use bridge::Bridge;
pub use cni::{Cni, is_publishing};
pub use ipvlan::Ipvlan;
pub use macvlan::Macvlan;
pub use overlay::Overlay;
pub use plain::{Host, Null};

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

    /// What the driver itself decided of an endpoint that was joined, where it and nobody else manages addresses.
    fn learned(&self, _network: &NetworkRecord, _endpoint: &Endpoint) -> Result<Option<Learned>> {
        Ok(None)
    }

    /// Removes what the endpoint has on the host and, if the namespace is still there, its interface.
    fn leave(&self, network: &NetworkRecord, endpoint: &Endpoint, netns: Option<BorrowedFd<'_>>) -> Result<()>;
}

/// What a device on the host is marked with (its alias) when a network of ours made it: only such devices are deleted.
/// The mark is set in the same message that makes the device, so a kill leaves none unmarked.
fn mark(instance: &Instance, network: &NetworkRecord) -> String {
    format!("{} {}", instance.table(), network.id)
}

/// Whether a device was made by this daemon, for whatever network.
fn is_ours(instance: &Instance, alias: &str) -> bool {
    alias
        .strip_prefix(&instance.table())
        .is_some_and(|rest| rest.starts_with(' '))
}
