//! Networks and ports of a container, as they are shown.

use crate::call::Call;
use crate::inspect::some;
use crate::model::shown::{Endpoint, EndpointIpam, HostPort, ListedPort, NetworkSettings, Table};
use gantry_core::ContainerId;
use gantry_core::network::{EndpointSettings, PortBinding, PortRange};
use gantry_engine::{Attachment, ContainerNetworks};
use std::net::IpAddr;

pub fn listed(networks: &ContainerNetworks) -> Vec<ListedPort> {
    if networks.sandbox.is_none() {
        return Vec::new();
    }
    let exposed = networks.exposed.iter().map(|port| ListedPort {
        ip: String::new(),
        private_port: port.number,
        public_port: None,
        kind: port.protocol.to_string(),
    });
    let published = networks.published.iter().map(|port| ListedPort {
        ip: port.host.to_string(),
        private_port: port.container.number,
        public_port: Some(port.host_port),
        kind: port.container.protocol.to_string(),
    });
    published.chain(exposed).collect()
}

/// Every exposed port; those that are published with where.
fn by_port(networks: &ContainerNetworks) -> Table<Option<Vec<HostPort>>> {
    let mut table: Table<Option<Vec<HostPort>>> = Table::new();
    if networks.sandbox.is_none() {
        return table;
    }
    for port in &networks.exposed {
        table.entry(port.to_string()).or_default();
    }
    for port in &networks.published {
        let at = HostPort {
            host_ip: port.host.to_string(),
            host_port: port.host_port.to_string(),
        };
        table
            .entry(port.container.to_string())
            .or_default()
            .get_or_insert_default()
            .push(at);
    }
    table
}

/// What is asked to be published, by port.
pub fn bindings(list: &[PortBinding]) -> Table<Vec<HostPort>> {
    let mut table: Table<Vec<HostPort>> = Table::new();
    let range = |range: PortRange| match range.first == range.last {
        true => range.first.to_string(),
        false => format!("{}-{}", range.first, range.last),
    };
    for binding in list {
        table.entry(binding.container.to_string()).or_default().push(HostPort {
            host_ip: binding.host.map(|address| address.to_string()).unwrap_or_default(),
            host_port: binding.ports.map(range).unwrap_or_default(),
        });
    }
    table
}

pub fn endpoints(call: &Call, networks: &ContainerNetworks, id: &ContainerId) -> Table<Endpoint> {
    networks
        .attachments
        .iter()
        .map(|attachment| (attachment.name.clone(), endpoint(call, attachment, id)))
        .collect()
}

fn endpoint(call: &Call, attachment: &Attachment, id: &ContainerId) -> Endpoint {
    let settings = &attachment.settings;
    let at = attachment.endpoint.as_ref();
    let text = |address: Option<IpAddr>| address.map(|address| address.to_string()).unwrap_or_default();
    let ipv4 = at
        .and_then(|at| at.ipv4)
        .map(|net| (net.addr().to_string(), net.prefix_len()));
    let ipv6 = at
        .and_then(|at| at.ipv6)
        .map(|net| (net.addr().to_string(), net.prefix_len()));
    let ((ipv4, ipv4_prefix), (ipv6, ipv6_prefix)) = (ipv4.unwrap_or_default(), ipv6.unwrap_or_default());
    Endpoint {
        ipam: ipam(settings),
        links: some(settings.links.clone()),
        aliases: some(aliases(call, attachment, id)),
        // The one it is to have, before it has any.
        mac_address: at
            .map(|at| at.mac)
            .or(settings.mac)
            .map(|mac| mac.to_string())
            .unwrap_or_default(),
        driver_opts: Some(settings.driver_options.clone()).filter(|options| !options.is_empty()),
        gw_priority: call.since(48).then_some(settings.gateway_priority),
        network_id: attachment
            .network
            .as_ref()
            .map(|network| network.id.to_string())
            .unwrap_or_default(),
        endpoint_id: at.map(|at| at.id.clone()).unwrap_or_default(),
        gateway: text(at.and_then(|at| at.gateway4).map(IpAddr::V4)),
        ipv4,
        ipv4_prefix,
        ipv6_gateway: text(at.and_then(|at| at.gateway6).map(IpAddr::V6)),
        ipv6,
        ipv6_prefix,
        names: call
            .since(44)
            .then(|| some(at.map(|at| at.names.clone()).unwrap_or_default())),
    }
}

/// Up to version 1.44 the short id is among them on networks that were made.
fn aliases(call: &Call, attachment: &Attachment, id: &ContainerId) -> Vec<String> {
    let mut aliases = attachment.settings.aliases.clone();
    let made = !gantry_core::network::PREDEFINED.contains(&attachment.name.as_str());
    if call.before(45) && made && attachment.endpoint.is_some() {
        let short = id.short().to_owned();
        if !aliases.contains(&short) {
            aliases.push(short);
        }
    }
    aliases
}

fn ipam(settings: &EndpointSettings) -> Option<EndpointIpam> {
    let text = |address: Option<String>| address.unwrap_or_default();
    let ipam = EndpointIpam {
        ipv4: text(settings.ipv4.map(|address| address.to_string())),
        ipv6: text(settings.ipv6.map(|address| address.to_string())),
        link_local: settings.link_local.iter().map(IpAddr::to_string).collect(),
    };
    let is_asked = !(ipam.ipv4.is_empty() && ipam.ipv6.is_empty() && ipam.link_local.is_empty());
    is_asked.then_some(ipam)
}

pub fn settings(call: &Call, networks: &ContainerNetworks, id: &ContainerId) -> NetworkSettings {
    let endpoints = endpoints(call, networks, id);
    let key = networks
        .sandbox
        .as_ref()
        .map(|sandbox| sandbox.key.clone())
        .unwrap_or_default();
    // The default bridge's stand at the top too, for clients of old.
    let top = endpoints.get("bridge");
    let of = |field: fn(&Endpoint) -> &String| top.map(field).cloned().unwrap_or_default();
    NetworkSettings {
        bridge: "",
        sandbox_id: if key.is_empty() { String::new() } else { id.to_string() },
        sandbox_key: key,
        ports: by_port(networks),
        hairpin_mode: false,
        link_local_address: "",
        link_local_prefix: 0,
        secondary4: None,
        secondary6: None,
        endpoint_id: of(|at| &at.endpoint_id),
        gateway: of(|at| &at.gateway),
        ipv6: of(|at| &at.ipv6),
        ipv6_prefix: top.map_or(0, |at| at.ipv6_prefix),
        ipv4: of(|at| &at.ipv4),
        ipv4_prefix: top.map_or(0, |at| at.ipv4_prefix),
        ipv6_gateway: of(|at| &at.ipv6_gateway),
        mac_address: of(|at| &at.mac_address),
        networks: endpoints,
    }
}
