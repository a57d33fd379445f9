//! What the firewall is to say of networks and endpoints.

use super::Networks;
use super::config::Firewall;
use gantry_core::network::{BridgeOptions, Endpoint, NetworkId, NetworkRecord, Opening, Port, Sandbox};
use gantry_core::{ContainerId, Error, Result};
use gantry_network::firewall::{Backend, EndpointRules, Foreign, Iptables, NetworkRules, Nftables, Rules, Wall};
use ipnet::IpNet;
use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tracing::warn;

/// `None` for networks that no packet of passes the host's firewall by a device of ours.
pub fn of_network(record: &NetworkRecord) -> Option<NetworkRules> {
    if record.driver != "bridge" {
        return None;
    }
    // Checked when the network was made.
    let options = BridgeOptions::read(&record.options).ok()?;
    let mut rules = NetworkRules {
        device: record.device.clone(),
        ipv4: Vec::new(),
        ipv6: Vec::new(),
        internal: record.internal,
        icc: options.icc,
        masquerade: options.masquerade,
        source4: match options.host_ipv4 {
            Some(IpAddr::V4(address)) => Some(address),
            Some(IpAddr::V6(_)) | None => None,
        },
        mode4: options.mode4,
        mode6: options.mode6,
    };
    for pool in &record.pools {
        match pool.subnet {
            IpNet::V4(net) => rules.ipv4.push(net),
            IpNet::V6(net) => rules.ipv6.push(net),
        }
    }
    Some(rules)
}

/// `None` where there is nothing to say: starting such a container costs no transaction.
fn of_endpoint(endpoint: &Endpoint, links: Vec<(IpAddr, Port)>, closed: bool) -> Option<EndpointRules> {
    if endpoint.ports.is_empty() && links.is_empty() && !closed {
        return None;
    }
    Some(EndpointRules {
        network: endpoint.network.to_string(),
        ipv4: endpoint.ipv4.and_then(|net| match net.addr() {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        }),
        ipv6: endpoint.ipv6.and_then(|net| match net.addr() {
            IpAddr::V6(address) => Some(address),
            IpAddr::V4(_) => None,
        }),
        interface: endpoint.host_interface.clone(),
        ports: endpoint.ports.clone(),
        links,
    })
}

type Shown = HashMap<ContainerId, Arc<Sandbox>>;

/// From which address which port of the endpoint is open, by the links of all who are in its network.
fn links_to(shown: &Shown, endpoint: &Endpoint) -> Vec<(IpAddr, Port)> {
    let mut links = Vec::new();
    for sandbox in shown.values() {
        let opened = sandbox.opens.iter().filter(|opening| opening.to == endpoint.sandbox);
        let from = sandbox.endpoints.iter().filter(|own| own.network == endpoint.network);
        let from: Vec<IpAddr> = from.flat_map(Endpoint::addresses).collect();
        let ports = opened.flat_map(|opening| &opening.ports);
        links.extend(ports.flat_map(|port| from.iter().map(move |address| (*address, *port))));
    }
    links.sort_unstable();
    links.dedup();
    links
}

/// The endpoints that links lead to, in the network of the one they begin in.
fn linked(shown: &Shown, own: &Endpoint, opens: &[Opening]) -> Vec<Endpoint> {
    let sandboxes = opens.iter().filter_map(|opening| shown.get(&opening.to));
    let endpoints = sandboxes.flat_map(|sandbox| &sandbox.endpoints);
    endpoints
        .filter(|other| other.network == own.network)
        .cloned()
        .collect()
}

impl Networks {
    /// Everything that is to be said now.
    fn rules(&self) -> Rules {
        let mut rules = Rules::default();
        for record in self.records.read().values() {
            if let Some(network) = of_network(record) {
                rules.networks.insert(record.id.to_string(), network);
            }
        }
        let shown = self.shown.read();
        for sandbox in shown.values() {
            for endpoint in &sandbox.endpoints {
                if let Some(said) = self.said(&shown, endpoint)
                    && rules.networks.contains_key(&said.network)
                {
                    rules.endpoints.insert(endpoint.id.clone(), said);
                }
            }
        }
        rules
    }

    /// The wall, made with all that is to be said if it is not there; `None` where the administrator wants none.
    pub(super) fn wall(&self) -> Result<Option<Arc<Wall>>> {
        let mut held = self.wall.lock();
        if let Some((wall, _)) = &*held {
            return Ok(Some(wall.clone()));
        }
        let backend: Box<dyn Backend> = match self.config.firewall {
            Firewall::Off => return Ok(None),
            Firewall::Nftables => Box::new(Nftables::new(&self.instance)),
            Firewall::Iptables => Box::new(Iptables::new(&self.instance, self.config.drop_forward)?),
        };
        self.note_backend(backend.name());
        let foreign = Foreign::new(&self.instance, &*backend);
        let wall = Arc::new(Wall::new(backend, foreign, self.rules())?);
        self.clear_others(wall.backend());
        let watch = wall.watch().inspect_err(
            |error| warn!(err = %error, "the firewall is not watched: rules that others remove stay lost"),
        );
        *held = Some((wall.clone(), watch.ok()));
        Ok(Some(wall))
    }

    /// What a former daemon said by the other backend is taken away, once all is said by this one: nobody finds a gap.
    fn clear_others(&self, name: &str) {
        for other in self.noted_backends().iter().filter(|noted| *noted != name) {
            if let Err(error) = self.clear_backend(other) {
                warn!(err = %error, "rules of the other firewall backend stay");
                return;
            }
        }
        self.write_note(name);
    }

    /// Where nothing is to be said: takes away what a former daemon said that did not come to an orderly end.
    pub(super) fn clear_what_is_noted(&self) {
        let held = self.wall.lock();
        // Somebody may have been faster, and have something to say.
        if held.is_some() {
            return;
        }
        let noted = self.noted_backends();
        let cleared = noted.iter().try_for_each(|name| self.clear_backend(name));
        match cleared {
            Ok(()) => self.forget_backend(),
            Err(error) => warn!(err = %error, "rules of a former daemon stay"),
        }
    }

    /// The note of the backends whose rules may be there. It lasts as long as they do: until a reboot.
    fn backend_note(&self) -> PathBuf {
        self.dir.with_file_name("firewall")
    }

    fn noted_backends(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.backend_note()).unwrap_or_default();
        text.split_whitespace().map(str::to_owned).collect()
    }

    /// Adds one, before it says anything.
    fn note_backend(&self, name: &str) {
        let mut noted = self.noted_backends();
        if noted.iter().all(|other| other != name) {
            noted.push(name.to_owned());
            self.write_note(&noted.join(" "));
        }
    }

    fn write_note(&self, text: &str) {
        let note = self.backend_note();
        if let Err(error) = std::fs::write(&note, text) {
            warn!(err = %error, "the firewall backend in use cannot be noted in {}", note.display());
        }
    }

    pub(super) fn forget_backend(&self) {
        let note = self.backend_note();
        if let Err(error) = std::fs::remove_file(&note)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            warn!(err = %error, "{} cannot be removed", note.display());
        }
    }

    fn clear_backend(&self, name: &str) -> Result<()> {
        let backend: Box<dyn Backend> = match name {
            "nftables" => Box::new(Nftables::new(&self.instance)),
            "iptables" => Box::new(Iptables::new(&self.instance, self.config.drop_forward)?),
            _ => return Ok(()),
        };
        Foreign::new(&self.instance, &*backend).withdraw();
        Ok(backend.clear()?)
    }

    /// Says one network's rules.
    pub(super) fn allow(&self, record: &NetworkRecord) -> Result<()> {
        let Some(rules) = of_network(record) else { return Ok(()) };
        if let Some(wall) = self.wall()? {
            wall.change(|all| all.networks.insert(record.id.to_string(), rules))?;
        }
        Ok(())
    }

    pub(super) fn forbid(&self, record: &NetworkRecord) -> Result<()> {
        if of_network(record).is_none() {
            return Ok(());
        }
        if let Some(wall) = self.wall()? {
            wall.change(|all| all.networks.remove(record.id.as_str()))?;
        }
        Ok(())
    }

    /// Whether containers of the endpoint's network may not talk to each other: then the firewall must know each by its port.
    fn is_closed(&self, endpoint: &Endpoint) -> bool {
        self.keeps_apart(&endpoint.network)
    }

    pub(super) fn keeps_apart(&self, id: &NetworkId) -> bool {
        let network = self.by_id(id).ok();
        network
            .and_then(|network| of_network(&network))
            .is_some_and(|rules| !rules.icc)
    }

    fn said(&self, shown: &Shown, endpoint: &Endpoint) -> Option<EndpointRules> {
        let closed = self.is_closed(endpoint);
        let links = if closed { links_to(shown, endpoint) } else { Vec::new() };
        of_endpoint(endpoint, links, closed)
    }

    /// Says what is to be said of a sandbox's endpoints and of those it links to and no more, all of it in one transaction.
    pub(super) fn publish_ports(&self, sandbox: &Sandbox) -> Result<()> {
        let silent = |endpoint: &Endpoint| endpoint.ports.is_empty() && !self.is_closed(endpoint);
        if sandbox.endpoints.iter().all(silent) && self.wall.lock().is_none() {
            return Ok(());
        }
        let Some(wall) = self.wall()? else {
            return match sandbox.endpoints.iter().all(|endpoint| endpoint.ports.is_empty()) {
                true => Ok(()),
                false => Err(Error::precondition(
                    "ports cannot be published: the daemon was told to leave the firewall alone (iptables is false)",
                )),
            };
        };
        Ok(wall.change(|all| self.say(all, &sandbox.endpoints, &sandbox.opens, true))?)
    }

    /// The endpoints go; who was linked to is open to their addresses no more.
    pub(super) fn withdraw_ports(&self, endpoints: &[Endpoint], opens: &[Opening]) -> Result<()> {
        if endpoints.is_empty() {
            return Ok(());
        }
        let held = self.wall.lock().as_ref().map(|(wall, _)| wall.clone());
        match held {
            Some(wall) => Ok(wall.change(|all| self.say(all, endpoints, opens, false))?),
            // Whatever a former daemon left is replaced when the wall is made.
            None => Ok(()),
        }
    }

    /// What is shown is read while the wall is held, so that the last to change it has seen all.
    fn say(&self, all: &mut Rules, endpoints: &[Endpoint], opens: &[Opening], there: bool) {
        let shown = self.shown.read();
        let mut put = |endpoint: &Endpoint, there: bool| {
            match self.said(&shown, endpoint).filter(|_| there) {
                Some(said) => all.endpoints.insert(endpoint.id.clone(), said),
                None => all.endpoints.remove(&endpoint.id),
            };
        };
        for endpoint in endpoints {
            put(endpoint, there);
            for other in linked(&shown, endpoint, opens) {
                put(&other, true);
            }
        }
    }
}
