//! Keys and values: everything lies below [`ROOT`], values are JSON.
//!
//! | key | value |
//! |---|---|
//! | `networks/<id>` | [`ClusterNetwork`] |
//! | `hosts/<host>` | [`Host`], leased |
//! | `addresses/<network>/<address>` | [`AddressClaim`] |
//! | `endpoints/<network>/<endpoint>` | [`ClusterEndpoint`] |
//! | `keys/ring` | [`crate::ipsec::Ring`] |

use crate::{Error, Result};
use gantry_core::network::{MacAddress, NetworkId, NetworkRecord};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

pub const ROOT: &str = "/gantry/network/v1/";

/// A network that every host knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterNetwork {
    pub record: NetworkRecord,
    /// Of its VXLAN segment.
    pub vni: u32,
}

/// A host that is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    pub id: String,
    pub vtep: IpAddr,
}

/// Whose an address is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressClaim {
    pub host: String,
    pub endpoint: String,
}

/// A container's place in a network, for those on other hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterEndpoint {
    pub id: String,
    pub network: NetworkId,
    pub host: String,
    /// Of its host.
    pub vtep: IpAddr,
    /// Of its host: another when the host was booted anew.
    #[serde(default)]
    pub word: String,
    pub mac: MacAddress,
    pub addresses: Vec<IpAddr>,
    /// Names it answers to, its own first.
    pub names: Vec<String>,
}

/// What a key is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    Network(NetworkId),
    Host(String),
    Address(NetworkId, IpAddr),
    Endpoint(NetworkId, String),
    /// The keys of encrypted networks.
    Ring,
}

impl Key {
    pub fn bytes(&self) -> Vec<u8> {
        let rest = match self {
            Self::Network(id) => format!("networks/{id}"),
            Self::Host(host) => format!("hosts/{host}"),
            Self::Address(network, address) => format!("addresses/{network}/{address}"),
            Self::Endpoint(network, endpoint) => format!("endpoints/{network}/{endpoint}"),
            Self::Ring => "keys/ring".to_owned(),
        };
        format!("{ROOT}{rest}").into_bytes()
    }

    /// `None` = a key of a later version, or not ours.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let rest = std::str::from_utf8(bytes).ok()?.strip_prefix(ROOT)?;
        let (kind, rest) = rest.split_once('/')?;
        let within = || {
            let (network, rest) = rest.split_once('/')?;
            Some((NetworkId::try_from(network.to_owned()).ok()?, rest))
        };
        match kind {
            "networks" => Some(Self::Network(NetworkId::try_from(rest.to_owned()).ok()?)),
            "hosts" => Some(Self::Host(rest.to_owned())),
            "keys" if rest == "ring" => Some(Self::Ring),
            "addresses" => within().and_then(|(network, rest)| Some(Self::Address(network, rest.parse().ok()?))),
            "endpoints" => within().map(|(network, rest)| Self::Endpoint(network, rest.to_owned())),
            _ => None,
        }
    }
}

/// The first key of a folder and the first after it.
pub fn folder(name: &str) -> (Vec<u8>, Vec<u8>) {
    let first = format!("{ROOT}{name}").into_bytes();
    let mut end = first.clone();
    // Folders end with a slash, which has a successor.
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    (first, end)
}

pub fn encode(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| Error::ClusterRecord(error.to_string()))
}

pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| Error::ClusterRecord(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_back() {
        let network = NetworkId::from_random([3; 32]);
        for key in [
            Key::Network(network.clone()),
            Key::Host("a".to_owned()),
            Key::Address(network.clone(), "10.0.0.2".parse().unwrap()),
            Key::Address(network.clone(), "fd00::2".parse().unwrap()),
            Key::Endpoint(network, "e".to_owned()),
            Key::Ring,
        ] {
            assert_eq!(Key::parse(&key.bytes()), Some(key));
        }
        for other in [
            "/gantry/network/v1/",
            "/gantry/network/v1/networks/x",
            "/gantry/network/v1/later/x",
            "/x",
        ] {
            assert_eq!(Key::parse(other.as_bytes()), None, "{other}");
        }
        assert_eq!(
            folder("a/"),
            (b"/gantry/network/v1/a/".to_vec(), b"/gantry/network/v1/a0".to_vec())
        );
    }
}
