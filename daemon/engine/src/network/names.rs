//! Who is called what, and the files that say so.

use super::gateway::is_gateway;
use super::links;
use super::plan::{self, has_names};
use super::{NetworkConfig, Networks, Slot};
use crate::context::Context;
use crate::files::{self, Texts};
use gantry_core::Result;
use gantry_core::container::{ContainerRecord, HostConfig, NetworkMode};
use gantry_core::network::{Endpoint, EndpointSettings, NameServers, NetworkId, NetworkRecord, Sandbox};
use gantry_network::files::{DnsSettings, HostResolver, Hosts, Way, hosts, resolv_conf};
use gantry_network::names::{Membership, NetworkNames, Resolver, View, Zone};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use tracing::warn;

/// The names a container answers to in a network, its own first; none in the default bridge.
pub fn of(container: &ContainerRecord, network: &NetworkRecord, settings: &EndpointSettings) -> Vec<String> {
    if !has_names(network) {
        return Vec::new();
    }
    let mut names = vec![container.name.clone()];
    let more = settings.aliases.iter().map(String::as_str);
    for name in more.chain([container.id.short(), files::hostname(container)]) {
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}

/// `hosts` and `resolv.conf` of a container.
pub fn texts(
    networks: &Networks,
    context: &Context,
    container: &ContainerRecord,
    sandbox: Option<&Sandbox>,
) -> Result<Texts> {
    if let NetworkMode::Container(other) = &container.host.network_mode {
        // It shares all of the other's.
        if let Some(id) = networks.shared_with(context, other) {
            return Texts::read(&context.state_dir(&id));
        }
    }
    let host = HostResolver::find()?;
    let dns = dns(networks, container, sandbox);
    let way = way(networks, container, sandbox);
    let resolv = resolv_conf(&host, &dns, way);
    if let Some(warning) = &resolv.warning {
        warn!(container = %container.id, "{warning}");
    }
    let hosts = match container.host.network_mode {
        NetworkMode::Host => files::host_hosts(&container.host.extra_hosts, &networks.host_gateways())?,
        _ => own_hosts(networks, context, container, sandbox)?,
    };
    Ok(Texts {
        hosts,
        resolv_conf: resolv.text,
        upstreams: resolv.upstreams,
        ndots_set: resolv.ndots_set,
    })
}

/// What the container says, else what the daemon says, else what its networks say.
fn dns(networks: &Networks, container: &ContainerRecord, sandbox: Option<&Sandbox>) -> DnsSettings {
    let mut said = said(&container.host, &networks.config);
    let endpoints = sandbox.map(|sandbox| sandbox.endpoints.as_slice()).unwrap_or_default();
    for NameServers {
        servers,
        search,
        options,
    } in endpoints.iter().map(|endpoint| &endpoint.dns)
    {
        let or = |said: &mut Vec<String>, more: &Vec<String>| {
            if said.is_empty() {
                said.clone_from(more);
            }
        };
        if said.servers.is_empty() {
            said.servers.clone_from(servers);
        }
        or(&mut said.search, search);
        or(&mut said.options, options);
    }
    said
}

fn said(host: &HostConfig, config: &NetworkConfig) -> DnsSettings {
    let or = |own: &Vec<String>, daemon: &Vec<String>| if own.is_empty() { daemon.clone() } else { own.clone() };
    DnsSettings {
        servers: if host.dns.is_empty() {
            config.dns.clone()
        } else {
            host.dns.clone()
        },
        search: or(&host.dns_search, &config.dns_search),
        options: or(&host.dns_options, &config.dns_options),
    }
}

fn way(networks: &Networks, container: &ContainerRecord, sandbox: Option<&Sandbox>) -> Way {
    if container.host.network_mode == NetworkMode::Host {
        return Way::Host;
    }
    let endpoints = sandbox.map(|sandbox| sandbox.endpoints.as_slice()).unwrap_or_default();
    let ipv6 = endpoints.iter().any(|endpoint| endpoint.gateway6.is_some());
    let named = |endpoint: &Endpoint| {
        networks
            .by_id(&endpoint.network)
            .is_ok_and(|network| has_names(&network))
    };
    match endpoints.iter().any(named) {
        true => Way::Embedded { ipv6 },
        false => Way::Direct { ipv6 },
    }
}

fn own_hosts(
    networks: &Networks,
    context: &Context,
    container: &ContainerRecord,
    sandbox: Option<&Sandbox>,
) -> Result<String> {
    let endpoints = sandbox.map(|sandbox| sandbox.endpoints.as_slice()).unwrap_or_default();
    let found = |endpoint: &&Endpoint| {
        networks
            .by_id(&endpoint.network)
            .is_ok_and(|network| !is_gateway(&network))
    };
    let mut addresses: Vec<IpAddr> = endpoints.iter().filter(found).flat_map(Endpoint::addresses).collect();
    if addresses.is_empty() {
        // Its only address is loopback's.
        addresses.push(IpAddr::from([127, 0, 0, 1]));
    }
    let links = links::find(networks, context, container, false)?;
    let links: Vec<(IpAddr, Vec<String>)> = links
        .into_iter()
        .flat_map(|link| {
            link.addresses
                .into_iter()
                .map(move |address| (address, link.names.clone()))
        })
        .collect();
    Ok(hosts(&Hosts {
        hostname: files::hostname(container),
        domainname: &container.config.domainname,
        ipv6: true,
        extra: &container.host.extra_hosts,
        host_gateways: &networks.host_gateways(),
        links: &links,
        addresses: &addresses,
    })?)
}

impl Networks {
    /// A container that others link to may have another address at each start: theirs are told. What cannot be told is said, and right
    /// at their next start.
    pub(super) fn tell_linkers(&self, context: &Context, container: &ContainerRecord) {
        for keeper in context.registry.all() {
            let other = keeper.record();
            let linked = |text: &String| {
                let found = context.registry.find(plan::link(text).0);
                found.is_ok_and(|found| *found.id() == container.id)
            };
            if other.id != container.id && other.host.links.iter().any(linked) {
                self.tell_hosts(context, &other);
            }
        }
    }

    /// Writes the hosts file of a container that is started anew. What cannot be written is said, and right at its next start.
    pub(crate) fn tell_hosts(&self, context: &Context, container: &ContainerRecord) {
        if self.sandbox(&container.id).is_none() {
            return;
        }
        // Nobody else writes its files meanwhile.
        let slot = self.slot(&container.id);
        let _slot = slot.lock();
        let Some(sandbox) = self.sandbox(&container.id) else {
            return;
        };
        let texts = texts(self, context, container, Some(&sandbox));
        if let Err(error) = texts.and_then(|texts| files::rewrite(context, container, &texts)) {
            warn!(container = %container.id, err = %error, "a change of links could not be written into the container's hosts");
        }
    }

    /// What `host-gateway` stands for.
    pub(super) fn host_gateways(&self) -> Vec<IpAddr> {
        if !self.config.host_gateways.is_empty() {
            return self.config.host_gateways.clone();
        }
        let bridge = self.find("bridge").ok();
        bridge
            .iter()
            .flat_map(|network| &network.pools)
            .filter_map(|pool| pool.gateway)
            .collect()
    }

    /// Publishes the names of the endpoints' networks anew.
    pub(super) fn publish_names(&self, endpoints: &[Endpoint]) {
        let networks: Vec<NetworkId> = endpoints.iter().map(|endpoint| endpoint.network.clone()).collect();
        self.publish(&networks);
    }

    pub(super) fn publish_all(&self) {
        let networks: Vec<NetworkId> = self.records.read().keys().cloned().collect();
        self.publish(&networks);
    }

    pub(super) fn publish(&self, networks: &[NetworkId]) {
        self.zone.send_modify(|zone| {
            // Read under the zone's lock, so that the last to publish has seen all.
            let mut next: Zone = (**zone).clone();
            for id in networks {
                match self.names_in(id) {
                    Some(names) => next.networks.insert(id.clone(), Arc::new(names)),
                    None => next.networks.remove(id),
                };
            }
            *zone = Arc::new(next);
        });
    }

    fn names_in(&self, id: &NetworkId) -> Option<NetworkNames> {
        let network = self.by_id(id).ok().filter(|network| has_names(network))?;
        let mut names = NetworkNames::new(&network.name);
        for sandbox in self.shown.read().values() {
            for endpoint in sandbox.endpoints.iter().filter(|endpoint| endpoint.network == *id) {
                let addresses: Vec<IpAddr> = endpoint.addresses().collect();
                names.add(endpoint.names.iter().map(String::as_str), &addresses);
            }
        }
        for endpoint in self.cluster.iter().flat_map(|cluster| cluster.others(id)) {
            names.add(endpoint.names.iter().map(String::as_str), &endpoint.addresses);
        }
        Some(names)
    }

    /// Answers names in the sandbox if one of its networks has them; changes what an answering one sees.
    pub(super) fn serve_names(
        &self,
        slot: &mut Slot,
        texts: &Texts,
        container: &ContainerRecord,
        networks: &[Arc<NetworkRecord>],
        namespace: BorrowedFd<'_>,
    ) -> Result<()> {
        let Some(view) = self.view(texts, container, networks) else {
            slot.resolver = None;
            return Ok(());
        };
        match &slot.resolver {
            Some(resolver) => resolver.set_view(view),
            None => {
                let resolver = Resolver::open(namespace, view, self.zone.subscribe(), &self.runtime)?;
                slot.resolver = Some(resolver);
            }
        }
        Ok(())
    }

    pub(super) fn view(
        &self,
        texts: &Texts,
        container: &ContainerRecord,
        networks: &[Arc<NetworkRecord>],
    ) -> Option<View> {
        if !networks.iter().any(|network| has_names(network)) {
            return None;
        }
        let membership = |network: &Arc<NetworkRecord>| {
            let links = plan::entry(container, network)
                .map(|(_, settings)| settings.links.as_slice())
                .unwrap_or_default();
            let own =
                (container.host.network_mode.network() == Some(network.name.as_str())).then_some(&container.host.links);
            let all = links.iter().chain(own.into_iter().flatten());
            Membership {
                network: network.id.clone(),
                links: all
                    .map(|text| plan::link(text))
                    .map(|(name, alias)| (alias.to_owned(), name.to_owned()))
                    .collect::<BTreeMap<_, _>>(),
            }
        };
        let leads_out = networks.iter().any(|network| !network.internal);
        Some(View {
            networks: networks
                .iter()
                .filter(|network| has_names(network))
                .map(membership)
                .collect(),
            upstreams: texts.upstreams.clone(),
            forward: leads_out,
            ndots_set: texts.ndots_set,
        })
    }
}
