//! Legacy links: what one container of the default bridge is told of another.

use super::Networks;
use super::plan::{self, has_names};
use crate::context::Context;
use crate::files;
use gantry_core::container::{ContainerRecord, NetworkMode};
use gantry_core::network::{Endpoint, NetworkId, Opening, Port, Protocol};
use gantry_core::{ContainerId, Error, Result};
use std::net::{IpAddr, SocketAddr};

/// Another container that a legacy link names, where both are in the default bridge.
pub(super) struct Link {
    container: ContainerId,
    network: NetworkId,
    pub addresses: Vec<IpAddr>,
    /// The alias first.
    pub names: Vec<String>,
    exposed: Vec<Port>,
    /// As it is configured.
    env: Vec<String>,
}

/// The links of a container to those that run. Whom `strict` must find running.
pub(super) fn find(
    networks: &Networks,
    context: &Context,
    container: &ContainerRecord,
    strict: bool,
) -> Result<Vec<Link>> {
    if container.host.network_mode != NetworkMode::Bridge {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for text in &container.host.links {
        let (name, alias) = plan::link(text);
        // One that is gone is linked to no more.
        let Ok(keeper) = context.registry.find(name) else {
            continue;
        };
        let other = keeper.record();
        let sandbox = networks.sandbox(keeper.id());
        let endpoint = sandbox.as_ref().and_then(|sandbox| {
            let shared = |endpoint: &&Endpoint| {
                networks
                    .by_id(&endpoint.network)
                    .is_ok_and(|network| !has_names(&network))
            };
            sandbox.endpoints.iter().find(shared)
        });
        match endpoint {
            Some(endpoint) => found.push(Link {
                container: other.id.clone(),
                network: endpoint.network.clone(),
                addresses: endpoint.addresses().collect(),
                names: vec![alias.to_owned(), files::hostname(&other).to_owned(), other.name.clone()],
                exposed: plan::open_ports(&other),
                env: other.config.env.clone(),
            }),
            None if strict => {
                return Err(Error::conflict(format!(
                    "Cannot link to a non running container: /{} AS {alias}",
                    other.name
                )));
            }
            None => {}
        }
    }
    Ok(found)
}

/// What links let through where the default bridge's containers may not talk to each other. Whoever is linked to has to run.
pub fn openings(networks: &Networks, context: &Context, container: &ContainerRecord) -> Result<Vec<Opening>> {
    let links = find(networks, context, container, true)?;
    let closed = links.into_iter().filter(|link| networks.keeps_apart(&link.network));
    let opening = |link: Link| Opening {
        to: link.container,
        ports: link.exposed,
    };
    Ok(closed.map(opening).collect())
}

impl Networks {
    /// The variables that tell a container of those it links to, as Docker names them ("Legacy container links", environment
    /// variables).
    pub fn linked(&self, context: &Context, container: &ContainerRecord) -> Result<Vec<String>> {
        let links = find(self, context, container, false)?;
        let each = links.iter().flat_map(|link| variables(link, &container.name));
        Ok(each.collect())
    }
}

fn variables(link: &Link, linking: &str) -> Vec<String> {
    let alias = &link.names[0];
    let prefix = alias.to_uppercase().replace('-', "_");
    let mut all = Vec::new();
    if let Some(address) = link.addresses.first() {
        let mut ports = link.exposed.clone();
        ports.sort_by_key(|port| (port.protocol != Protocol::Tcp, port.protocol.to_string(), port.number));
        all.extend(
            ports
                .first()
                .map(|port| format!("{prefix}_PORT={}", url(*port, *address))),
        );
        // Ports that follow one another are told of together too.
        let follows =
            |one: &Port, next: &Port| one.protocol == next.protocol && one.number.checked_add(1) == Some(next.number);
        for range in ports.chunk_by(follows) {
            all.extend(of_range(&prefix, range, *address));
        }
    }
    all.push(format!("{prefix}_NAME=/{linking}/{alias}"));
    for entry in &link.env {
        match entry.split_once('=') {
            None | Some(("HOME" | "PATH", _)) => {}
            Some((name, value)) => all.push(format!("{prefix}_ENV_{name}={value}")),
        }
    }
    all
}

fn url(port: Port, address: IpAddr) -> String {
    format!("{}://{}", port.protocol, SocketAddr::new(address, port.number))
}

fn of_range(prefix: &str, range: &[Port], address: IpAddr) -> Vec<String> {
    let of = |port: Port| {
        let protocol = port.protocol.to_string().to_uppercase();
        format!("{prefix}_PORT_{}_{protocol}", port.number)
    };
    let of_one = |port: &Port| {
        let name = of(*port);
        [
            format!("{name}={}", url(*port, address)),
            format!("{name}_ADDR={address}"),
            format!("{name}_PORT={}", port.number),
            format!("{name}_PROTO={}", port.protocol),
        ]
    };
    let mut all: Vec<String> = range.iter().flat_map(of_one).collect();
    if let [first, .., last] = range {
        let name = of(*first);
        all.extend([
            format!("{name}_START={}", url(*first, address)),
            format!("{name}_PORT_START={}", first.number),
            format!("{name}_END={}", url(*last, address)),
            format!("{name}_PORT_END={}", last.number),
        ]);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(number: u16, protocol: Protocol) -> Port {
        Port { number, protocol }
    }

    #[test]
    fn variables_are_named_as_dockers() {
        let link = Link {
            container: ContainerId::new("ab".repeat(32)).expect("an id"),
            network: NetworkId::from_random([1; 32]),
            addresses: vec![IpAddr::from([172, 17, 0, 5])],
            names: vec!["my-db".to_owned(), "abc".to_owned()],
            exposed: vec![
                port(53, Protocol::Udp),
                port(5432, Protocol::Tcp),
                port(8001, Protocol::Tcp),
                port(8000, Protocol::Tcp),
            ],
            env: ["FOO=1=2", "PATH=/bin", "HOME=/", "odd"].map(str::to_owned).to_vec(),
        };
        assert_eq!(
            variables(&link, "web"),
            [
                "MY_DB_PORT=tcp://172.17.0.5:5432",
                "MY_DB_PORT_5432_TCP=tcp://172.17.0.5:5432",
                "MY_DB_PORT_5432_TCP_ADDR=172.17.0.5",
                "MY_DB_PORT_5432_TCP_PORT=5432",
                "MY_DB_PORT_5432_TCP_PROTO=tcp",
                "MY_DB_PORT_8000_TCP=tcp://172.17.0.5:8000",
                "MY_DB_PORT_8000_TCP_ADDR=172.17.0.5",
                "MY_DB_PORT_8000_TCP_PORT=8000",
                "MY_DB_PORT_8000_TCP_PROTO=tcp",
                "MY_DB_PORT_8001_TCP=tcp://172.17.0.5:8001",
                "MY_DB_PORT_8001_TCP_ADDR=172.17.0.5",
                "MY_DB_PORT_8001_TCP_PORT=8001",
                "MY_DB_PORT_8001_TCP_PROTO=tcp",
                "MY_DB_PORT_8000_TCP_START=tcp://172.17.0.5:8000",
                "MY_DB_PORT_8000_TCP_PORT_START=8000",
                "MY_DB_PORT_8000_TCP_END=tcp://172.17.0.5:8001",
                "MY_DB_PORT_8000_TCP_PORT_END=8001",
                "MY_DB_PORT_53_UDP=udp://172.17.0.5:53",
                "MY_DB_PORT_53_UDP_ADDR=172.17.0.5",
                "MY_DB_PORT_53_UDP_PORT=53",
                "MY_DB_PORT_53_UDP_PROTO=udp",
                "MY_DB_NAME=/web/my-db",
                "MY_DB_ENV_FOO=1=2",
            ]
        );
    }
}
