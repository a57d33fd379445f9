//! The container network model in words: networks, endpoints, sandboxes, ports. No kernel here.
//!
//! Shapes and option names are those of the Docker Engine API 1.51 (`POST /networks/create`, `NetworkingConfig`, `PortMap`).

mod options;
mod port;

use crate::{ContainerId, Error, Labels, Result};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::time::SystemTime;

pub use options::{BridgeOptions, GatewayMode, IpvlanMode, LinkOptions, MacvlanMode, OverlayOptions, option};
pub use port::{Port, PortBinding, PortRange, Protocol, PublishedPort};

/// The names of the networks that are always there.
pub const PREDEFINED: [&str; 3] = ["bridge", "host", "none"];

/// A network's id: 64 hex digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NetworkId(String);

impl NetworkId {
    pub fn from_random(bytes: [u8; 32]) -> Self {
        Self(hex::encode(bytes))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first twelve digits, as tables show them.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl TryFrom<String> for NetworkId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != 64 || !text.bytes().all(hex) {
            return Err(Error::invalid(format!("invalid network id \"{text}\"")));
        }
        Ok(Self(text))
    }
}

impl From<NetworkId> for String {
    fn from(id: NetworkId) -> Self {
        id.0
    }
}

impl fmt::Display for NetworkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for NetworkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// How far a network reaches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    #[default]
    Local,
    /// Known to every host that shares the cluster store.
    Global,
}

impl Scope {
    pub fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Global => "global",
        }
    }
}

/// One address family's share of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// With its host part zero.
    pub subnet: IpNet,
    /// What containers get addresses from, within the subnet; `None` = all of it.
    #[serde(default)]
    pub range: Option<IpNet>,
    /// `None` where the network has none (internal macvlan, `--gateway` never said on an L3 network).
    #[serde(default)]
    pub gateway: Option<IpAddr>,
    /// Addresses that belong to something else, by name.
    #[serde(default)]
    pub auxiliary: BTreeMap<String, IpAddr>,
}

/// What a network is. It does not change after it is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkRecord {
    pub id: NetworkId,
    pub name: String,
    pub created_at: SystemTime,
    /// `bridge`, `host`, `null`, `macvlan`, `ipvlan`, `overlay`, or a CNI configuration's name.
    pub driver: String,
    #[serde(default)]
    pub scope: Scope,
    /// At most one per subnet that was asked for; IPv4 before IPv6, in the order given.
    pub pools: Vec<Pool>,
    /// What was asked of address management, as it was asked; shown in inspect.
    #[serde(default)]
    pub ipam: IpamSettings,
    #[serde(default = "yes")]
    pub ipv4: bool,
    #[serde(default)]
    pub ipv6: bool,
    /// Nothing leaves it.
    #[serde(default)]
    pub internal: bool,
    #[serde(default)]
    pub attachable: bool,
    /// As given, unknown to us ones included.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    #[serde(default)]
    pub labels: Labels,
    /// The device on the host, for drivers that have one for the network.
    #[serde(default)]
    pub device: String,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IpamSettings {
    /// `default` or `null`; empty = default.
    pub driver: String,
    /// `None`: none were given, not even an empty table, which Docker tells apart when it shows them.
    pub options: Option<BTreeMap<String, String>>,
    /// The user gave the subnets, and so may give addresses.
    pub configured: bool,
}

/// A pool as asked for: whatever is left out is chosen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PoolRequest {
    pub subnet: Option<IpNet>,
    pub range: Option<IpNet>,
    pub gateway: Option<IpAddr>,
    pub auxiliary: BTreeMap<String, IpAddr>,
}

/// A network as asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewNetwork {
    pub name: String,
    /// Empty = bridge.
    pub driver: String,
    pub pools: Vec<PoolRequest>,
    pub ipam: IpamSettings,
    /// `None` = yes.
    pub ipv4: Option<bool>,
    /// `None` = as the daemon's default says.
    pub ipv6: Option<bool>,
    pub internal: bool,
    pub attachable: bool,
    pub options: BTreeMap<String, String>,
    pub labels: Labels,
}

/// What a container asks of one network (`EndpointSettings` of the API).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointSettings {
    pub ipv4: Option<Ipv4Addr>,
    pub ipv6: Option<Ipv6Addr>,
    pub link_local: Vec<IpAddr>,
    pub mac: Option<MacAddress>,
    pub aliases: Vec<String>,
    /// `container:alias`, or the container alone.
    pub links: Vec<String>,
    pub driver_options: BTreeMap<String, String>,
    /// The endpoint of the highest number has the default route; equal ones go by network name.
    pub gateway_priority: i32,
}

/// One container's place in one network while it is started. Written before anything of it is made in the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// 64 hex digits.
    pub id: String,
    pub network: NetworkId,
    pub sandbox: ContainerId,
    /// In the container: `eth0`, ...
    pub interface: String,
    /// On the host, if the driver has one: `veth` and seven digits of the endpoint's id.
    #[serde(default)]
    pub host_interface: String,
    pub mac: MacAddress,
    /// With the length of its pool's subnet.
    pub ipv4: Option<IpNet>,
    pub ipv6: Option<IpNet>,
    pub gateway4: Option<Ipv4Addr>,
    pub gateway6: Option<Ipv6Addr>,
    pub settings: EndpointSettings,
    /// Names it answers to in its network.
    #[serde(default)]
    pub names: Vec<String>,
    /// Set by the default route's owner.
    #[serde(default)]
    pub ports: Vec<PublishedPort>,
    /// What the network's driver says.
    #[serde(default)]
    pub dns: NameServers,
}

impl Endpoint {
    /// `veth` and the first seven digits of an endpoint's id: interface names have at most 15 characters.
    pub fn veth_name(id: &str) -> String {
        format!("veth{}", id.get(..7).unwrap_or(id))
    }

    /// Takes over what the driver decided.
    pub fn learn(&mut self, learned: Learned) {
        self.mac = learned.mac.unwrap_or(self.mac);
        (self.ipv4, self.ipv6) = (learned.ipv4, learned.ipv6);
        (self.gateway4, self.gateway6) = (learned.gateway4, learned.gateway6);
        self.dns = learned.dns;
    }

    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.ipv4.iter().chain(&self.ipv6).map(IpNet::addr)
    }
}

/// What a driver that manages addresses by itself decided of an endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Learned {
    pub mac: Option<MacAddress>,
    pub ipv4: Option<IpNet>,
    pub ipv6: Option<IpNet>,
    pub gateway4: Option<Ipv4Addr>,
    pub gateway6: Option<Ipv6Addr>,
    pub dns: NameServers,
}

/// Whom a network has its containers ask, where nobody says otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NameServers {
    pub servers: Vec<IpAddr>,
    pub search: Vec<String>,
    pub options: Vec<String>,
}

/// The network side of one started container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sandbox {
    /// The file that the network namespace is bound to.
    pub key: String,
    pub endpoints: Vec<Endpoint>,
    /// What its legacy links open to it where containers may not talk to each other.
    pub opens: Vec<Opening>,
    /// Ports of the host that are kept for it while none of its networks publishes.
    pub idle: Vec<PublishedPort>,
    /// Its endpoints were written down, and routes, rules, names and files are to follow: after a kill they may not have.
    pub unsettled: bool,
}

/// Ports of another container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    pub to: ContainerId,
    pub ports: Vec<Port>,
}

/// A hardware address (EUI-48).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// A locally administered unicast address from random bytes.
    pub fn from_random(mut bytes: [u8; 6]) -> Self {
        bytes[0] = (bytes[0] | 0b10) & !1;
        Self(bytes)
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for MacAddress {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || Error::invalid(format!("invalid MAC address: {text}"));
        let mut bytes = [0; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(bad)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| bad())?;
        }
        match parts.next() {
            None => Ok(Self(bytes)),
            Some(_) => Err(bad()),
        }
    }
}

impl TryFrom<String> for MacAddress {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<MacAddress> for String {
    fn from(mac: MacAddress) -> Self {
        mac.to_string()
    }
}

/// Letters, digits, `_`, `.`, `-` and, within the name, spaces, which Docker takes too.
pub fn check_name(name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Error::invalid("network name cannot be empty"));
    }
    let inside = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-' | b' ');
    let first = name.as_bytes()[0].is_ascii_alphanumeric();
    if !first || name.ends_with(' ') || !name.as_bytes().iter().all(inside) {
        return Err(Error::invalid(format!(
            "invalid network name \"{name}\": only [a-zA-Z0-9][a-zA-Z0-9_.-] and spaces within are allowed"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_reads_as_it_is_shown() {
        let mac: MacAddress = "02:42:AC-11-00-02".parse().unwrap();
        assert_eq!(mac.to_string(), "02:42:ac:11:00:02");
        for bad in [
            "",
            "02:42",
            "02:42:ac:11:00:zz",
            "02:42:ac:11:00:02:03",
            "2:42:ac:11:00:02",
        ] {
            assert!(bad.parse::<MacAddress>().is_err(), "{bad}");
        }
        assert_eq!(MacAddress::from_random([0xff; 6]).0[0], 0xfe);
    }

    #[test]
    fn names_of_networks() {
        for good in ["a", "my-net", "n.1_x", "my net"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", " a", "a ", "a\tb", "a/b", "nå"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ids_are_whole() {
        assert!(NetworkId::try_from("ab".repeat(32)).is_ok());
        assert!(NetworkId::try_from("AB".repeat(32)).is_err());
        assert!(NetworkId::try_from("ab".to_owned()).is_err());
    }
}
