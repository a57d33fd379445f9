//! Which ports our containers have.

use super::socket::Scope;
use gantry_core::network::{Protocol, PublishedPort};
use std::collections::BTreeMap;
use std::net::IpAddr;

#[derive(Debug, Default)]
pub(super) struct Taken {
    ports: BTreeMap<(Protocol, u16), Vec<IpAddr>>,
    /// The last of the ephemeral range that was given.
    pub last: Option<u16>,
}

impl Taken {
    pub fn has(&self, protocol: Protocol, scope: Scope, port: u16) -> bool {
        let hosts = self.ports.get(&(protocol, port));
        hosts.is_some_and(|hosts| hosts.iter().any(|host| scope.overlaps(*host)))
    }

    pub fn insert(&mut self, published: &[PublishedPort]) {
        for port in published {
            let hosts = self.ports.entry((port.container.protocol, port.host_port)).or_default();
            hosts.push(port.host);
        }
    }

    pub fn remove(&mut self, published: &[PublishedPort]) {
        for port in published {
            let key = (port.container.protocol, port.host_port);
            if let Some(hosts) = self.ports.get_mut(&key) {
                hosts.retain(|host| *host != port.host);
                if hosts.is_empty() {
                    self.ports.remove(&key);
                }
            }
        }
    }

    pub fn len(&self) -> usize {
        self.ports.len()
    }
}

/// Ports as sockets hold them: the same one of both families, on all addresses, is one socket's.
pub(super) fn groups(published: &[PublishedPort]) -> Vec<Vec<PublishedPort>> {
    let mut wild: BTreeMap<_, Vec<PublishedPort>> = BTreeMap::new();
    let mut groups = Vec::new();
    for port in published {
        if port.host.is_unspecified() {
            wild.entry((port.container, port.host_port)).or_default().push(*port);
        } else {
            groups.push(vec![*port]);
        }
    }
    groups.extend(wild.into_values());
    groups
}
