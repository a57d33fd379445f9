//! The container network model in the kernel: sandboxes (network namespaces), endpoints (interfaces in them), networks
//! (what joins them); addresses, published ports, the firewall, names.
//!
//! It knows containers only as sandbox ids, keeps no records (the engine does, and brings them back at start), and runs no
//! program but `nft`, `iptables` and the CNI plugins it is told of.
//!
//! The one flow: the engine reserves addresses and ports ([`ipam`], [`ports`]), writes down what will be made, and then
//! has it made: [`netns`], a [`driver::Driver`] for each endpoint, one firewall transaction ([`firewall`]), names. Every deed may be done
//! again: making what is there is success, and so is removing what is gone. So whatever a kill left is finished or undone.

pub mod cni;
pub mod driver;
mod error;
mod failpoints;
pub mod files;
pub mod firewall;
mod instance;
pub mod ipam;
pub mod ipsec;
pub mod names;
pub mod netlink;
pub mod netns;
pub mod overlay;
pub mod ports;
pub mod sysctl;

pub use error::{Error, Result};
pub use failpoints::FAILPOINTS;
pub use instance::Instance;
