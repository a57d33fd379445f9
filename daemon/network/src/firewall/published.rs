//! What the description of endpoints comes to, port by port, for one address family: what backends and conntrack need.

use super::{EndpointRules, NetworkRules, Rules};
use gantry_core::network::{GatewayMode, Protocol};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    V4,
    V6,
}

impl Version {
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    pub fn of(address: &IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// A host port that leads to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Published {
    pub protocol: Protocol,
    /// `None` = every address of the host.
    pub host: Option<IpAddr>,
    pub port: u16,
    pub to: IpAddr,
    pub to_port: u16,
}

impl NetworkRules {
    pub(crate) fn mode(&self, version: Version) -> GatewayMode {
        match version {
            Version::V4 => self.mode4,
            Version::V6 => self.mode6,
        }
    }

    /// Whether nothing leaves or enters.
    pub(crate) fn closed(&self, version: Version) -> bool {
        self.internal || self.mode(version) == GatewayMode::Isolated
    }

    pub(crate) fn translated(&self, version: Version) -> bool {
        !self.closed(version) && matches!(self.mode(version), GatewayMode::Nat | GatewayMode::NatUnprotected)
    }

    pub(crate) fn subnets(&self, version: Version) -> Vec<IpNet> {
        match version {
            Version::V4 => self.ipv4.iter().copied().map(IpNet::from).collect(),
            Version::V6 => self.ipv6.iter().copied().map(IpNet::from).collect(),
        }
    }
}

impl EndpointRules {
    pub(crate) fn address(&self, version: Version) -> Option<IpAddr> {
        match version {
            Version::V4 => self.ipv4.map(IpAddr::from),
            Version::V6 => self.ipv6.map(IpAddr::from),
        }
    }
}

impl Rules {
    /// Host ports that lead to an endpoint of a network that translates addresses.
    pub(crate) fn translations(&self, endpoint: &EndpointRules, version: Version) -> Vec<Published> {
        let network = self.networks.get(&endpoint.network);
        let Some(to) = endpoint.address(version) else {
            return Vec::new();
        };
        if !network.is_some_and(|network| network.translated(version)) {
            return Vec::new();
        }
        endpoint
            .ports
            .iter()
            .filter(|port| Version::of(&port.host) == version)
            .map(|port| Published {
                protocol: port.container.protocol,
                host: Some(port.host).filter(|host| !host.is_unspecified()),
                port: port.host_port,
                to,
                to_port: port.container.number,
            })
            .collect()
    }

    /// All of them, of both families.
    pub(crate) fn all_translations(&self) -> Vec<Published> {
        let both = |endpoint| Version::BOTH.map(|version| self.translations(endpoint, version));
        self.endpoints.values().flat_map(both).flatten().collect()
    }

    /// Ports of an endpoint that are open at its own address, since its network is routed to.
    pub(crate) fn opened(&self, endpoint: &EndpointRules, version: Version) -> Vec<(IpAddr, Protocol, u16)> {
        let network = self.networks.get(&endpoint.network);
        let routed =
            network.is_some_and(|network| !network.closed(version) && network.mode(version) == GatewayMode::Routed);
        let Some(address) = endpoint.address(version).filter(|_| routed) else {
            return Vec::new();
        };
        let of = endpoint.ports.iter().filter(|port| Version::of(&port.host) == version);
        let mut open: Vec<_> = of
            .map(|port| (address, port.container.protocol, port.container.number))
            .collect();
        open.sort_unstable();
        open.dedup();
        open
    }

    /// Whether the endpoint may not talk to others of its network.
    pub(crate) fn keeps_apart(&self, endpoint: &EndpointRules) -> bool {
        self.networks.get(&endpoint.network).is_some_and(|network| !network.icc)
    }

    /// Who may reach which port of the endpoint in spite of `icc` being off.
    pub(crate) fn allowed(&self, endpoint: &EndpointRules, version: Version) -> Vec<(IpAddr, IpAddr, Protocol, u16)> {
        let strict = self.keeps_apart(endpoint);
        let Some(to) = endpoint.address(version).filter(|_| strict) else {
            return Vec::new();
        };
        let of = endpoint.links.iter().filter(|(from, _)| Version::of(from) == version);
        of.map(|(from, port)| (*from, to, port.protocol, port.number)).collect()
    }

    /// What differs between two descriptions, as two small ones: the networks and endpoints that are not the same, with the
    /// networks that those endpoints are in.
    pub(crate) fn difference(&self, after: &Self) -> (Self, Self) {
        let networks: BTreeSet<&String> = self.networks.keys().chain(after.networks.keys()).collect();
        let mut networks: BTreeSet<&String> = networks
            .into_iter()
            .filter(|id| self.networks.get(*id) != after.networks.get(*id))
            .collect();
        let endpoints: BTreeSet<&String> = self.endpoints.keys().chain(after.endpoints.keys()).collect();
        let endpoints: BTreeSet<&String> = endpoints
            .into_iter()
            .filter(|id| {
                let (was, is) = (self.endpoints.get(*id), after.endpoints.get(*id));
                was != is || [was, is].iter().flatten().any(|one| networks.contains(&one.network))
            })
            .collect();
        for rules in [self, after] {
            let of = endpoints.iter().filter_map(|id| rules.endpoints.get(*id));
            networks.extend(of.map(|endpoint| &endpoint.network));
        }
        let part = |whole: &Self| Self {
            networks: picked(&whole.networks, &networks),
            endpoints: picked(&whole.endpoints, &endpoints),
        };
        (part(self), part(after))
    }
}

fn picked<T: Clone>(of: &BTreeMap<String, T>, ids: &BTreeSet<&String>) -> BTreeMap<String, T> {
    let found = ids.iter().filter_map(|id| of.get_key_value(*id));
    found.map(|(id, value)| (id.clone(), value.clone())).collect()
}
