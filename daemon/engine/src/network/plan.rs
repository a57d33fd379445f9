//! Decisions about a container's endpoints, made of plain data: which networks in which order, who has the default route, what is
//! published where.

use super::gateway::is_gateway;
use gantry_core::container::ContainerRecord;
use gantry_core::network::{
    BridgeOptions, Endpoint, EndpointSettings, IpvlanMode, LinkOptions, NetworkRecord, Port, PortBinding,
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

/// Whether names are served in the network: in all but the default bridge.
pub fn has_names(network: &NetworkRecord) -> bool {
    network.name != "bridge" && !is_gateway(network)
}

/// The next interface name with the network's prefix that the container does not have.
pub fn interface(network: &NetworkRecord, taken: &[Endpoint]) -> Result<String> {
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
        let configured = pool.auxiliary.get("DefaultGatewayIPv4").copied();
        match configured.or(pool.gateway) {
            Some(IpAddr::V4(address)) if gateways.0.is_none() => gateways.0 = Some(address),
            Some(IpAddr::V6(address)) if gateways.1.is_none() => gateways.1 = Some(address),
            Some(_) | None => {}
        }
    }
    gateways
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

/// `80`, `80/udp`, `8000-8010/tcp`.
pub fn exposed_ports(text: &str) -> Result<Vec<Port>> {
    let (numbers, protocol) = text.split_once('/').unwrap_or((text, ""));
    let range: gantry_core::network::PortRange = numbers.parse()?;
    let protocol = protocol.parse()?;
    Ok((range.first..=range.last)
        .map(|number| Port { number, protocol })
        .collect())
}

/// A legacy link: `container` or `container:alias`.
pub fn link(text: &str) -> (&str, &str) {
    match text.split_once(':') {
        Some((container, alias)) => (container, alias),
        None => (text, text),
    }
}
