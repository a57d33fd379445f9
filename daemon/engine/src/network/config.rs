//! What the administrator decides about networks.

use gantry_core::{Error, Result};
use gantry_network::ipam::AddressPool;
use ipnet::IpNet;
use std::net::IpAddr;
use std::str::FromStr;

#[derive(Debug, Clone)]
pub struct NetworkConfig {
    /// Eight hex digits that tell this daemon's devices and tables from others'; `None` for the plain one.
    pub instance: Option<String>,
    /// `None` = no default bridge network (`--bridge=none`).
    pub bridge: Option<BridgeConfig>,
    /// Empty = Docker's.
    pub pools: Vec<AddressPool>,
    /// Switch forwarding on with the first network.
    pub ip_forward: bool,
    pub firewall: Firewall,
    pub dns: Vec<IpAddr>,
    pub dns_search: Vec<String>,
    pub dns_options: Vec<String>,
    /// What `host-gateway` stands for; empty = the default bridge's gateway.
    pub host_gateways: Vec<IpAddr>,
}

/// The default bridge network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BridgeConfig {
    /// An existing bridge to use; empty = our own.
    pub name: String,
    /// The bridge's address and with it the subnet.
    pub bip: Option<IpNet>,
    pub bip6: Option<IpNet>,
    /// What containers get addresses from.
    pub fixed_cidr: Option<IpNet>,
    pub fixed_cidr_v6: Option<IpNet>,
    pub default_gateway: Option<IpAddr>,
    pub default_gateway_v6: Option<IpAddr>,
    pub ipv6: bool,
    pub no_icc: bool,
    pub no_masquerade: bool,
    /// 0 = the kernel's choice.
    pub mtu: u32,
    /// Where ports are published that name no address.
    pub host_ip: Option<IpAddr>,
}

/// Who writes the rules.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Firewall {
    #[default]
    Nftables,
    Iptables,
    /// `--iptables=false`: nobody. Nothing is published and nothing masqueraded.
    Off,
}

impl FromStr for Firewall {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "" | "nftables" => Ok(Self::Nftables),
            "iptables" => Ok(Self::Iptables),
            other => Err(Error::invalid(format!(
                "unknown firewall backend \"{other}\"; known are nftables, iptables"
            ))),
        }
    }
}

impl Default for NetworkConfig {
    /// Without a default bridge: nothing is made that was not asked for.
    fn default() -> Self {
        Self {
            instance: None,
            bridge: None,
            pools: Vec::new(),
            ip_forward: true,
            firewall: Firewall::default(),
            dns: Vec::new(),
            dns_search: Vec::new(),
            dns_options: Vec::new(),
            host_gateways: Vec::new(),
        }
    }
}
