//! What the administrator decides about networks.

use gantry_core::{Error, Result};
use gantry_network::Instance;
use gantry_network::firewall::Iptables;
use gantry_network::ipam::AddressPool;
use gantry_network::overlay::{Tls, User};
use ipnet::IpNet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

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
    /// The iptables backend makes a drop the policy of `FORWARD`, so that this host does not begin to route for everybody.
    pub drop_forward: bool,
    pub firewall: Firewall,
    pub dns: Vec<IpAddr>,
    pub dns_search: Vec<String>,
    pub dns_options: Vec<String>,
    /// What `host-gateway` stands for; empty = the default bridge's gateway.
    pub host_gateways: Vec<IpAddr>,
    /// `None` = no networks over several hosts.
    pub cluster: Option<ClusterConfig>,
    pub cni: CniConfig,
}

/// Where networks by CNI plugins are said, and where the plugins are.
#[derive(Debug, Clone)]
pub struct CniConfig {
    pub configurations: PathBuf,
    pub plugins: Vec<PathBuf>,
}

impl Default for CniConfig {
    /// The directories of the CNI's own conventions, and Debian's.
    fn default() -> Self {
        Self {
            configurations: PathBuf::from("/etc/cni/net.d"),
            plugins: vec![PathBuf::from("/opt/cni/bin"), PathBuf::from("/usr/lib/cni")],
        }
    }
}

/// Where hosts that share overlay networks tell each other of them.
#[derive(Debug, Clone)]
pub struct ClusterConfig {
    /// Addresses of etcd: `http://10.0.0.1:2379`, `https://...`.
    pub endpoints: Vec<String>,
    pub user: Option<User>,
    pub tls: Option<Tls>,
    /// Where other hosts reach this one: an address of it, or the name of an interface that has one.
    pub advertise: String,
    /// How long this host counts as a member without a word of its own.
    pub lease: Duration,
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

impl Firewall {
    /// Whether it judges frames that cross a bridge, too.
    pub(super) fn judges_bridged(self, instance: &Instance) -> bool {
        match self {
            Self::Nftables => true,
            Self::Iptables => Iptables::judges_bridged(instance),
            Self::Off => false,
        }
    }
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
            drop_forward: true,
            firewall: Firewall::default(),
            dns: Vec::new(),
            dns_search: Vec::new(),
            dns_options: Vec::new(),
            host_gateways: Vec::new(),
            cluster: None,
            cni: CniConfig::default(),
        }
    }
}
