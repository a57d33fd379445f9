//! The cluster as last known, and its changes.

use super::follow::Shared;
use super::records::{AddressClaim, ClusterEndpoint, ClusterNetwork, Host, Key, decode};
use super::wire::KeyValue;
use crate::ipsec::Ring;
use gantry_core::network::NetworkId;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::broadcast;
use tracing::warn;

/// What etcd says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    pub networks: BTreeMap<NetworkId, ClusterNetwork>,
    /// Those that gave a sign of life lately.
    pub hosts: BTreeMap<String, Host>,
    pub addresses: BTreeMap<(NetworkId, IpAddr), AddressClaim>,
    pub endpoints: BTreeMap<(NetworkId, String), ClusterEndpoint>,
    /// The keys of encrypted networks.
    pub ring: Option<Ring>,
}

/// One thing that changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Made, or its record changed.
    Network(Box<ClusterNetwork>),
    NetworkGone(NetworkId),
    Host(Host),
    /// It gave no sign of life for the time of its lease. Its endpoints may well be there.
    HostGone(String),
    Endpoint(ClusterEndpoint),
    EndpointGone(ClusterEndpoint),
    /// There are other keys than before.
    Ring,
}

/// What a watcher hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// All there is: at first, when the watcher was too slow, and when etcd forgot what happened meanwhile.
    Everything(Arc<State>),
    Change(Change),
}

/// Changes in order, beginning with everything.
#[derive(Debug)]
pub struct Changes {
    pub(super) first: Option<Arc<State>>,
    pub(super) rest: broadcast::Receiver<News>,
    pub(super) cluster: Arc<Shared>,
}

impl Changes {
    /// What has come already; nothing is waited for.
    pub fn waiting(&mut self) -> Option<News> {
        if let Some(state) = self.first.take() {
            return Some(News::Everything(state));
        }
        match self.rest.try_recv() {
            Ok(news) => Some(news),
            Err(broadcast::error::TryRecvError::Lagged(_)) => self.again(),
            Err(broadcast::error::TryRecvError::Empty | broadcast::error::TryRecvError::Closed) => None,
        }
    }

    /// Everything, after some of it was missed.
    fn again(&mut self) -> Option<News> {
        let (state, rest) = self.cluster.begin();
        self.rest = rest;
        state.map(News::Everything)
    }

    /// Waits for what comes next; `None` when the cluster is closed. Before etcd was first heard there is nothing.
    pub async fn next(&mut self) -> Option<News> {
        if let Some(state) = self.first.take() {
            return Some(News::Everything(state));
        }
        loop {
            match self.rest.recv().await {
                Ok(news) => return Some(news),
                Err(broadcast::error::RecvError::Closed) => return None,
                Err(broadcast::error::RecvError::Lagged(_)) => {
                    if let Some(everything) = self.again() {
                        return Some(everything);
                    }
                }
            }
        }
    }
}

impl State {
    /// What a stored value changes. A value that cannot be read (a later version's, somebody's hand) is passed over.
    pub(super) fn put(&mut self, pair: &KeyValue) -> Option<Change> {
        let key = Key::parse(&pair.key)?;
        let read = self.read(key, &pair.value);
        read.unwrap_or_else(|error| {
            warn!(key = %String::from_utf8_lossy(&pair.key), %error, "a value in etcd is passed over");
            None
        })
    }

    fn read(&mut self, key: Key, value: &[u8]) -> crate::Result<Option<Change>> {
        Ok(match key {
            Key::Network(id) => {
                let network: ClusterNetwork = decode(value)?;
                let before = self.networks.insert(id, network.clone());
                (before.as_ref() != Some(&network)).then(|| Change::Network(Box::new(network)))
            }
            Key::Host(id) => {
                let host: Host = decode(value)?;
                let before = self.hosts.insert(id, host.clone());
                (before.as_ref() != Some(&host)).then_some(Change::Host(host))
            }
            Key::Address(network, address) => {
                self.addresses.insert((network, address), decode(value)?);
                None
            }
            Key::Endpoint(network, id) => {
                let endpoint: ClusterEndpoint = decode(value)?;
                let before = self.endpoints.insert((network, id), endpoint.clone());
                (before.as_ref() != Some(&endpoint)).then_some(Change::Endpoint(endpoint))
            }
            Key::Ring => {
                let ring: Ring = decode(value)?;
                let before = self.ring.replace(ring);
                (before != self.ring).then_some(Change::Ring)
            }
        })
    }

    pub(super) fn delete(&mut self, key: &[u8]) -> Option<Change> {
        match Key::parse(key)? {
            Key::Network(id) => self.networks.remove(&id).map(|_| Change::NetworkGone(id)),
            Key::Host(id) => self.hosts.remove(&id).map(|_| Change::HostGone(id)),
            Key::Address(network, address) => {
                self.addresses.remove(&(network, address));
                None
            }
            Key::Endpoint(network, id) => self.endpoints.remove(&(network, id)).map(Change::EndpointGone),
            Key::Ring => self.ring.take().map(|_| Change::Ring),
        }
    }

    /// What changed between an earlier state and this one.
    pub(super) fn since(&self, before: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        let gone = before
            .endpoints
            .iter()
            .filter(|(key, _)| !self.endpoints.contains_key(key));
        changes.extend(gone.map(|(_, endpoint)| Change::EndpointGone(endpoint.clone())));
        let gone = before.networks.keys().filter(|id| !self.networks.contains_key(id));
        changes.extend(gone.cloned().map(Change::NetworkGone));
        let gone = before.hosts.keys().filter(|id| !self.hosts.contains_key(*id));
        changes.extend(gone.cloned().map(Change::HostGone));
        let new = self
            .networks
            .iter()
            .filter(|(id, one)| before.networks.get(id) != Some(one));
        changes.extend(new.map(|(_, network)| Change::Network(Box::new(network.clone()))));
        let new = self.hosts.iter().filter(|(id, one)| before.hosts.get(*id) != Some(one));
        changes.extend(new.map(|(_, host)| Change::Host(host.clone())));
        let new = self
            .endpoints
            .iter()
            .filter(|(key, one)| before.endpoints.get(key) != Some(one));
        changes.extend(new.map(|(_, endpoint)| Change::Endpoint(endpoint.clone())));
        changes.extend((before.ring != self.ring).then_some(Change::Ring));
        changes
    }

    /// The endpoints of one network, on every host.
    pub fn endpoints_of<'a>(&'a self, network: &'a NetworkId) -> impl Iterator<Item = &'a ClusterEndpoint> {
        self.endpoints
            .values()
            .filter(move |endpoint| endpoint.network == *network)
    }

    /// The addresses of one network that are taken.
    pub fn addresses_of<'a>(&'a self, network: &'a NetworkId) -> impl Iterator<Item = IpAddr> {
        let of_network = move |((of, _), _): &(&(NetworkId, IpAddr), _)| of == network;
        self.addresses
            .iter()
            .filter(of_network)
            .map(|((_, address), _)| *address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(id: &str, last: u8) -> Host {
        Host {
            id: id.to_owned(),
            vtep: IpAddr::from([192, 0, 2, last]),
        }
    }

    #[test]
    fn what_is_not_the_same_is_a_change() {
        let of = |hosts: &[Host]| State {
            hosts: hosts.iter().map(|host| (host.id.clone(), host.clone())).collect(),
            ..State::default()
        };
        let before = of(&[host("a", 1), host("b", 2), host("c", 3)]);
        let after = of(&[host("b", 2), host("c", 9), host("d", 4)]);
        assert_eq!(
            after.since(&before),
            [
                Change::HostGone("a".to_owned()),
                Change::Host(host("c", 9)),
                Change::Host(host("d", 4))
            ]
        );
        assert_eq!(after.since(&after), []);
    }
}
