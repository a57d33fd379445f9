//! Decisions about a container's endpoints, made of plain data: which networks in which order, who has the default route, what is
//! published where.

use super::gateway::is_gateway;
use super::options;
use gantry_core::container::ContainerRecord;
use gantry_core::network::{
    BridgeOptions, Endpoint, EndpointSettings, IpvlanMode, LinkOptions, NetworkRecord, Port, PortBinding, PublishedPort,
};
use gantry_core::{Error, Result};
use gantry_network::driver::is_publishing;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// A network to be joined.
#[derive(Debug, Clone)]
pub struct Join {
    pub network: Arc<NetworkRecord>,
    pub settings: EndpointSettings,
}

/// The networks a container joins, the one of its mode first, then by name.
pub fn joins(container: &ContainerRecord, find: impl Fn(&str) -> Result<Arc<NetworkRecord>>) -> Result<Vec<Join>> {
    let mut joins = Vec::new();
    for (name, settings) in &container.networks {
        let network = find(name)?;
        if matches!(network.driver.as_str(), "host" | "null") {
            continue;
        }
        let first = container.host.network_mode.network() == Some(name);
        let join = Join {
            network,
            settings: settings.clone(),
        };
        match first {
            true => joins.insert(0, join),
            false => joins.push(join),
        }
    }
    Ok(joins)
}

/// What a container's configuration says of a network, and what it calls it: by its name, its id, or twelve digits of that or more.
pub fn entry<'a>(
    container: &'a ContainerRecord,
    network: &NetworkRecord,
) -> Option<(&'a String, &'a EndpointSettings)> {
    let id = network.id.as_str();
    let names_it = |name: &str| name == network.name || (name.len() >= 12 && id.starts_with(name));
    container.networks.iter().find(|(name, _)| names_it(name))
}

/// Whether a container, started or not, is to be in the network.
pub fn is_wanted(container: &ContainerRecord, network: &NetworkRecord) -> bool {
    entry(container, network).is_some()
}

/// Whether names are served in the network: in all but the default bridge.
pub fn has_names(network: &NetworkRecord) -> bool {
    network.name != "bridge" && !is_gateway(network)
}

/// The interface name that is asked for, or the next one with the network's prefix that the container does not have.
pub fn interface(network: &NetworkRecord, settings: &EndpointSettings, taken: &[Endpoint]) -> Result<String> {
    options::check(settings)?;
    if let Some(wanted) = options::interface(settings) {
        return match taken.iter().any(|other| other.interface == wanted) {
            false => Ok(wanted.to_owned()),
            true => Err(Error::conflict(format!(
                "the container has an interface {wanted} already"
            ))),
        };
    }
    let prefix = LinkOptions::read(&network.options)?.prefix;
    let free = (0..).map(|number| format!("{prefix}{number}"));
    let free = free
        .take(taken.len() + 1)
        .find(|name| taken.iter().all(|other| other.interface != *name));
    free.ok_or_else(|| Error::internal("no free interface name"))
}

/// What containers of the network send to what is not their neighbour.
pub fn gateways(network: &NetworkRecord) -> (Option<Ipv4Addr>, Option<Ipv6Addr>) {
    let mut gateways = (None, None);
    if network.internal || !has_gateway(network) {
        return gateways;
    }
    for pool in &network.pools {
        // The default bridge may send containers elsewhere than to itself.
        let configured = pool
            .auxiliary
            .get(default_gateway(pool.subnet.addr().is_ipv4()))
            .copied();
        match configured.or(pool.gateway) {
            Some(IpAddr::V4(address)) if gateways.0.is_none() => gateways.0 = Some(address),
            Some(IpAddr::V6(address)) if gateways.1.is_none() => gateways.1 = Some(address),
            Some(_) | None => {}
        }
    }
    gateways
}

/// Docker's names of the address that containers of the default bridge send to what is for others.
pub fn default_gateway(v4: bool) -> &'static str {
    if v4 { "DefaultGatewayIPv4" } else { "DefaultGatewayIPv6" }
}

fn has_gateway(network: &NetworkRecord) -> bool {
    use gantry_core::network::GatewayMode::Isolated;
    match network.driver.as_str() {
        "bridge" => BridgeOptions::read(&network.options)
            .is_ok_and(|options| options.mode4 != Isolated || options.mode6 != Isolated),
        "ipvlan" => !is_layer3(network),
        "overlay" => false,
        _ => true,
    }
}

/// Everyone is reached through the device itself.
pub fn is_layer3(network: &NetworkRecord) -> bool {
    network.driver == "ipvlan" && IpvlanMode::read(&network.options).is_ok_and(|mode| mode != IpvlanMode::L2)
}

/// Which endpoint has the default route of each family: the highest priority, then the network's name, the gateway of networks
/// that have none last. `networks` are the
/// endpoints' own, in the same order.
pub fn default_routes(endpoints: &[Endpoint], networks: &[Arc<NetworkRecord>]) -> (Option<usize>, Option<usize>) {
    let best = |leads: &dyn Fn(&Endpoint, &NetworkRecord) -> bool| {
        let all = endpoints.iter().zip(networks).enumerate();
        let fit = all.filter(|(_, (endpoint, network))| leads(endpoint, network));
        fit.min_by(|(_, (a, an)), (_, (b, bn))| {
            let priority = b.settings.gateway_priority.cmp(&a.settings.gateway_priority);
            let spare = is_gateway(an).cmp(&is_gateway(bn));
            priority.then(spare).then_with(|| an.name.cmp(&bn.name))
        })
        .map(|(index, _)| index)
    };
    let layer3 = |network: &NetworkRecord| is_layer3(network) && !network.internal;
    (
        best(&|endpoint, network| endpoint.gateway4.is_some() || (endpoint.ipv4.is_some() && layer3(network))),
        best(&|endpoint, network| endpoint.gateway6.is_some() || (endpoint.ipv6.is_some() && layer3(network))),
    )
}

/// The endpoint whose network publishes ports: the bridge that has the default route, else the first bridge; networks by plugins count if
/// theirs can.
pub fn publisher(endpoints: &[Endpoint], networks: &[Arc<NetworkRecord>]) -> Option<usize> {
    let (v4, v6) = default_routes(endpoints, networks);
    let bridge = |index: &usize| {
        let network = &networks[*index];
        (network.driver == "bridge" && !network.internal) || is_publishing(network)
    };
    v4.filter(bridge)
        .or_else(|| v6.filter(bridge))
        .or_else(|| (0..networks.len()).find(bridge))
}

/// What is asked to be published: the bindings, and with `-P` every exposed port that has none.
pub fn bindings(container: &ContainerRecord) -> Result<Vec<PortBinding>> {
    let mut bindings = container.host.port_bindings.clone();
    if !container.host.publish_all_ports {
        return Ok(bindings);
    }
    for exposed in &container.config.exposed_ports {
        for port in exposed_ports(exposed)? {
            if !bindings.iter().any(|binding| binding.container == port) {
                bindings.push(PortBinding {
                    container: port,
                    host: None,
                    ports: None,
                });
            }
        }
    }
    Ok(bindings)
}

/// The endpoint's ports that lead somewhere: a socket holds the port of both families, and nothing translates one into the other.
pub fn reachable(endpoint: &Endpoint) -> impl Iterator<Item = PublishedPort> + '_ {
    let ports = endpoint.ports.iter().copied();
    ports.filter(|port| has_family(endpoint, &port.host))
}

fn has_family(endpoint: &Endpoint, host: &IpAddr) -> bool {
    match host {
        IpAddr::V4(_) => endpoint.ipv4.is_some(),
        IpAddr::V6(_) => endpoint.ipv6.is_some(),
    }
}

/// Refuses what would be published and lead nowhere.
pub fn check_families(
    bindings: &[PortBinding],
    default: Option<IpAddr>,
    endpoint: &Endpoint,
    network: &str,
) -> Result<()> {
    if endpoint.addresses().next().is_none() {
        // A plugin will say.
        return Ok(());
    }
    for binding in bindings {
        let Some(host) = binding.host.or(default).filter(|host| !has_family(endpoint, host)) else {
            continue;
        };
        let version = if host.is_ipv4() { "IPv4" } else { "IPv6" };
        return Err(Error::invalid(format!(
            "cannot publish port {} on {host}: the container has no {version} address in network {network}",
            binding.container
        )));
    }
    Ok(())
}

/// `80`, `80/udp`, `8000-8010/tcp`.
pub fn exposed_ports(text: &str) -> Result<Vec<Port>> {
    let (numbers, protocol) = text.split_once('/').unwrap_or((text, ""));
    let range: gantry_core::network::PortRange = numbers.parse()?;
    let protocol = protocol.parse()?;
    Ok((range.first..=range.last)
        .map(|number| Port { number, protocol })
        .collect())
}

/// What a container exposes, published ports included.
pub fn open_ports(container: &ContainerRecord) -> Vec<Port> {
    let exposed = container.config.exposed_ports.iter();
    // Checked when it was created.
    let mut ports: Vec<Port> = exposed
        .flat_map(|text| exposed_ports(text).unwrap_or_default())
        .chain(container.host.port_bindings.iter().map(|binding| binding.container))
        .collect();
    ports.sort();
    ports.dedup();
    ports
}

/// A legacy link: `container` or `container:alias`, or as inspect shows it, `/container:/self/alias`.
pub fn link(text: &str) -> (&str, &str) {
    match text.split_once(':') {
        Some((container, alias)) if alias.starts_with('/') => (
            container.strip_prefix('/').unwrap_or(container),
            alias.rsplit('/').next().unwrap_or(alias),
        ),
        Some((container, alias)) => (container, alias),
        None => (text, text),
    }
}
