//! The firewall as this daemon wants it: a plain description of all of it ([`Rules`]), and backends that make the kernel say
//! the same. A [`Wall`] holds the one and the other together, with what has to be said to other people's firewalls
//! ([`Foreign`]), and puts back what gets lost.

mod conntrack;
mod device;
mod foreign;
mod iptables;
mod localnet;
pub(crate) mod nfnetlink;
mod nft;
mod published;
pub(crate) mod run;
#[cfg(test)]
mod tests;
mod wall;
mod xtables;

pub use foreign::Foreign;
pub use iptables::Iptables;
pub use nft::Nftables;
pub use wall::{Wall, Watch};

use crate::Result;
use gantry_core::network::{GatewayMode, PublishedPort};
use ipnet::{Ipv4Net, Ipv6Net};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Everything the firewall has to say, by network id and by endpoint id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    pub networks: BTreeMap<String, NetworkRules>,
    pub endpoints: BTreeMap<String, EndpointRules>,
}

/// What holds for one bridge network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkRules {
    /// The bridge device.
    pub device: String,
    pub ipv4: Vec<Ipv4Net>,
    pub ipv6: Vec<Ipv6Net>,
    /// Nothing leaves it and nothing enters.
    pub internal: bool,
    /// Whether its containers may talk to each other.
    pub icc: bool,
    pub masquerade: bool,
    /// The source address of what leaves, instead of masquerading.
    pub source4: Option<Ipv4Addr>,
    pub mode4: GatewayMode,
    pub mode6: GatewayMode,
}

/// What holds for one endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointRules {
    /// Id of its network, which has rules of its own.
    pub network: String,
    /// Its interface on the host, which is a port of the bridge; empty if it has none.
    pub interface: String,
    pub ipv4: Option<Ipv4Addr>,
    pub ipv6: Option<Ipv6Addr>,
    pub ports: Vec<PublishedPort>,
    /// Legacy links: with `icc` off, which port of this endpoint that address may reach.
    pub links: Vec<(IpAddr, gantry_core::network::Port)>,
}

/// Makes the kernel's rules those that are wanted. Calls block. Each call is one transaction: all of it holds, or nothing changed.
pub trait Backend: Send + Sync {
    /// `nftables` or `iptables`.
    fn name(&self) -> &'static str;

    /// Makes everything of this instance be exactly `rules`; whatever was there before of this instance is replaced.
    fn restore(&self, rules: &Rules) -> Result<()>;

    /// The difference of two descriptions, as small as the backend can make it.
    fn change(&self, before: &Rules, after: &Rules) -> Result<()>;

    /// Whether all that `rules` say is still in the kernel, cheaply enough to be asked every second.
    fn intact(&self, rules: &Rules) -> Result<bool>;

    /// Whether its rules can go without nftables telling of it (the old tables of iptables).
    fn silent(&self) -> bool {
        false
    }

    /// Whether this backend has rules in the `FORWARD` chain of iptables itself: of the old tables, or of those on nftables.
    fn owns_forward(&self, _legacy: bool) -> bool {
        false
    }

    /// Removes everything of this instance.
    fn clear(&self) -> Result<()>;
}
