//! Who is called what.

use crate::files::Upstream;
use gantry_core::network::NetworkId;
use hickory_proto::rr::Name;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

/// The names of every network. The engine publishes a new one when something changes; networks that did not change are shared.
#[derive(Debug, Clone, Default)]
pub struct Zone {
    pub networks: HashMap<NetworkId, Arc<NetworkNames>>,
}

/// The names of one network's containers: their own, short ids, aliases. One name may have several containers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkNames {
    network: String,
    addresses: HashMap<String, Vec<IpAddr>>,
    names: HashMap<IpAddr, String>,
}

/// What one sandbox sees.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    /// Asked in this order; the first that knows a name answers.
    pub networks: Vec<Membership>,
    pub upstreams: Vec<Upstream>,
    /// False when nothing leads out of any of its networks.
    pub forward: bool,
    /// Names without a dot are never asked of others.
    pub ndots_set: bool,
}

/// One network of a sandbox's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    pub network: NetworkId,
    /// Names that only this sandbox uses for others (`--link name:alias`), by alias.
    pub links: BTreeMap<String, String>,
}

impl NetworkNames {
    /// `network` is the network's own name, by which names may be qualified.
    pub fn new(network: &str) -> Self {
        Self {
            network: folded(network),
            ..Self::default()
        }
    }

    /// A container's names, the first of which its addresses are shown as.
    pub fn add<'a>(&mut self, names: impl IntoIterator<Item = &'a str>, addresses: &[IpAddr]) {
        for (index, name) in names.into_iter().enumerate() {
            let known = self.addresses.entry(folded(name)).or_default();
            for address in addresses {
                if !known.contains(address) {
                    known.push(*address);
                }
                if index == 0 {
                    self.names.insert(*address, name.to_owned());
                }
            }
        }
    }

    fn find(&self, name: &str, links: &BTreeMap<String, String>) -> Option<&Vec<IpAddr>> {
        let linked = links.iter().find(|(alias, _)| folded(alias) == name);
        linked
            .and_then(|(_, target)| self.addresses.get(&folded(target)))
            .or_else(|| self.addresses.get(name))
            .or_else(|| {
                let unqualified = name.strip_suffix(&self.network)?.strip_suffix('.')?;
                self.addresses.get(unqualified)
            })
    }
}

impl View {
    /// The addresses of a name in the first network that knows it.
    pub(super) fn addresses<'a>(&self, zone: &'a Zone, name: &Name) -> Option<&'a [IpAddr]> {
        let name = folded(&name.to_ascii());
        let known = |membership: &Membership| {
            let names = zone.networks.get(&membership.network)?;
            names.find(&name, &membership.links)
        };
        self.networks.iter().find_map(known).map(Vec::as_slice)
    }

    /// `container.network` of an address in one of the networks.
    pub(super) fn name(&self, zone: &Zone, address: IpAddr) -> Option<Name> {
        let known = |membership: &Membership| {
            let names = zone.networks.get(&membership.network)?;
            let name = names.names.get(&address)?;
            let labels = name.split('.').chain(names.network.split('.')).map(str::as_bytes);
            Name::from_labels(labels).ok()
        };
        self.networks.iter().find_map(known)
    }
}

/// Names are compared without regard to case or a last dot; others than ASCII ones as they go over the wire.
fn folded(name: &str) -> String {
    let wire = match name.is_ascii() {
        true => None,
        false => Name::from_utf8(name).ok().map(|name| name.to_ascii()),
    };
    let mut folded = wire.unwrap_or_else(|| name.to_owned()).to_ascii_lowercase();
    if folded.ends_with('.') {
        folded.pop();
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> NetworkId {
        NetworkId::from_random([n; 32])
    }

    fn member(n: u8) -> Membership {
        Membership {
            network: id(n),
            links: BTreeMap::new(),
        }
    }

    fn zone() -> Zone {
        let mut front = NetworkNames::new("My.Front");
        front.add(
            ["web", "0123456789ab", "WWW"],
            &["10.1.0.2".parse().unwrap(), "fd01::2".parse().unwrap()],
        );
        front.add(["web2", "www"], &["10.1.0.3".parse().unwrap()]);
        let mut back = NetworkNames::new("back");
        back.add(["db"], &["10.2.0.2".parse().unwrap()]);
        back.add(["web"], &["10.2.0.9".parse().unwrap()]);
        let networks = [(id(1), Arc::new(front)), (id(2), Arc::new(back))];
        Zone {
            networks: networks.into_iter().collect(),
        }
    }

    fn seen(view: &View, name: &str) -> Vec<String> {
        let name = Name::from_utf8(name).unwrap();
        let found = view.addresses(&zone(), &name).unwrap_or_default().to_vec();
        found.iter().map(IpAddr::to_string).collect()
    }

    #[test]
    fn a_sandbox_sees_its_own_networks_in_order() {
        let view = View {
            networks: vec![member(1), member(2)],
            ..View::default()
        };
        assert_eq!(seen(&view, "WEB."), ["10.1.0.2", "fd01::2"]);
        assert_eq!(seen(&view, "web.back."), ["10.2.0.9"]);
        assert_eq!(seen(&view, "web.my.front"), ["10.1.0.2", "fd01::2"]);
        assert_eq!(seen(&view, "www"), ["10.1.0.2", "fd01::2", "10.1.0.3"]);
        assert_eq!(seen(&view, "0123456789AB"), ["10.1.0.2", "fd01::2"]);
        assert_eq!(seen(&view, "db"), ["10.2.0.2"]);
        let front = View {
            networks: vec![member(1)],
            ..View::default()
        };
        assert!(seen(&front, "db").is_empty() && seen(&front, "db.back").is_empty());
        assert!(front.name(&zone(), "10.2.0.2".parse().unwrap()).is_none());
        let name = view.name(&zone(), "10.1.0.2".parse().unwrap()).unwrap();
        assert_eq!(name.to_ascii(), "web.my.front.");
    }

    #[test]
    fn a_link_is_its_owner_s_alone() {
        let mut linked = member(2);
        linked.links.insert("Database".to_owned(), "db".to_owned());
        let view = View {
            networks: vec![linked],
            ..View::default()
        };
        assert_eq!(seen(&view, "database"), ["10.2.0.2"]);
        let other = View {
            networks: vec![member(2)],
            ..View::default()
        };
        assert!(seen(&other, "database").is_empty());
    }

    #[test]
    fn names_of_other_alphabets() {
        let mut names = NetworkNames::new("net");
        names.add(["bücher"], &["10.0.0.2".parse().unwrap()]);
        let zone = Zone {
            networks: [(id(1), Arc::new(names))].into_iter().collect(),
        };
        let view = View {
            networks: vec![member(1)],
            ..View::default()
        };
        let asked = Name::from_ascii("xn--bcher-kva.").unwrap();
        assert!(view.addresses(&zone, &asked).is_some());
    }
}
