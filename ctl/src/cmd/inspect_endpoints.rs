//! A container's networks and ports as `docker inspect` shows them.

use std::collections::BTreeMap;

use gantry_proto::gantry::v1 as pb;

use super::inspect_container::list_or_null;
use crate::template::{Struct, Value};

/// "NetworkSettings".
pub(super) fn settings(it: &pb::Container) -> Struct {
    let network = it.network.clone().unwrap_or_default();
    // Docker shows the default bridge's endpoint once more beside the networks.
    let bridge = network.endpoints.iter().find(|endpoint| endpoint.network == "bridge");
    let old = bridge.cloned().unwrap_or_default();
    let networks: Value = network.endpoints.iter().map(|it| (&it.network, endpoint(it))).collect();
    Struct::new("*container.NetworkSettings")
        .with("Bridge", "")
        .with("SandboxID", &network.sandbox_id)
        .with("SandboxKey", &network.sandbox_key)
        .with("Ports", ports(&it.ports, !network.sandbox_key.is_empty()))
        .with("HairpinMode", false)
        .with("LinkLocalIPv6Address", "")
        .with("LinkLocalIPv6PrefixLen", 0)
        .with("SecondaryIPAddresses", Value::Null)
        .with("SecondaryIPv6Addresses", Value::Null)
        .with("EndpointID", &old.id)
        .with("Gateway", &old.ipv4_gateway)
        .with("GlobalIPv6Address", &old.ipv6_address)
        .with("GlobalIPv6PrefixLen", old.ipv6_prefix)
        .with("IPAddress", &old.ipv4_address)
        .with("IPPrefixLen", old.ipv4_prefix)
        .with("IPv6Gateway", &old.ipv6_gateway)
        .with("MacAddress", &old.mac_address)
        .with("Networks", networks)
}

/// Where ports are published, and null where they are only exposed; nothing while the container has no sandbox.
fn ports(ports: &[pb::PortMapping], started: bool) -> Value {
    let mut out: BTreeMap<String, Value> = BTreeMap::new();
    for port in ports.iter().filter(|port| started || port.host_port != 0) {
        let key = format!("{}/{}", port.container_port, port.protocol);
        let entry = out.entry(key).or_insert(Value::Null);
        if port.host_port == 0 {
            continue;
        }
        let binding = binding(&port.host_ip, &port.host_port.to_string());
        match entry {
            Value::List(bindings) => bindings.push(binding),
            other => *other = Value::List(vec![binding]),
        }
    }
    Value::Map(out)
}

fn binding(address: &str, port: &str) -> Value {
    Struct::new("nat.PortBinding")
        .json_as("HostIP", Some("HostIp"), address)
        .with("HostPort", port)
        .into()
}

/// "PortBindings" of the host configuration: what was asked for.
pub(super) fn bindings(asked: &[pb::PortBinding]) -> Value {
    let mut out: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for one in asked {
        let places = out.entry(one.container.clone()).or_default();
        places.push(binding(&one.host_ip, &one.host_port));
    }
    out.into_iter().collect()
}

/// "Links" of the host configuration: "/db:/web/store".
pub(super) fn links(links: &[String], container: &str) -> Value {
    let shown = |link: &String| match link.split_once(':') {
        Some((name, alias)) => format!("/{name}:/{container}/{alias}"),
        None => link.clone(),
    };
    let mut all: Vec<String> = links.iter().map(shown).collect();
    all.sort_unstable();
    list_or_null(&all)
}

fn endpoint(it: &pb::Endpoint) -> Struct {
    let asked = it.settings.clone().unwrap_or_default();
    let mac = match it.mac_address.as_str() {
        "" => &asked.mac_address,
        own => own,
    };
    let options = match asked.driver_options.is_empty() {
        true => Value::Null,
        false => asked.driver_options.iter().collect(),
    };
    Struct::new("*network.EndpointSettings")
        .with("IPAMConfig", addresses(&asked))
        .with("Links", list_or_null(&asked.links))
        .with("Aliases", list_or_null(&asked.aliases))
        .with("MacAddress", mac)
        .with("DriverOpts", options)
        .with("GwPriority", asked.gateway_priority)
        .with("NetworkID", &it.network_id)
        .with("EndpointID", &it.id)
        .with("Gateway", &it.ipv4_gateway)
        .with("IPAddress", &it.ipv4_address)
        .with("IPPrefixLen", it.ipv4_prefix)
        .with("IPv6Gateway", &it.ipv6_gateway)
        .with("GlobalIPv6Address", &it.ipv6_address)
        .with("GlobalIPv6PrefixLen", it.ipv6_prefix)
        .with("DNSNames", list_or_null(&it.dns_names))
}

/// The addresses that were asked for.
fn addresses(asked: &pb::EndpointSettings) -> Value {
    if asked.ipv4_address.is_empty() && asked.ipv6_address.is_empty() && asked.link_local.is_empty() {
        return Value::Null;
    }
    Struct::new("*network.EndpointIPAMConfig")
        .omit_empty("IPv4Address", &asked.ipv4_address)
        .omit_empty("IPv6Address", &asked.ipv6_address)
        .omit_empty("LinkLocalIPs", asked.link_local.as_slice())
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(host_ip: &str, host_port: u32, container_port: u32) -> pb::PortMapping {
        pb::PortMapping {
            host_ip: host_ip.into(),
            host_port,
            container_port,
            protocol: "tcp".into(),
        }
    }

    #[test]
    fn ports_are_published_or_null() {
        let all = [port("0.0.0.0", 8080, 80), port("::", 8080, 80), port("", 0, 443)];
        assert_eq!(
            ports(&all, true).json(),
            r#"{"443/tcp":null,"80/tcp":[{"HostIp":"0.0.0.0","HostPort":"8080"},{"HostIp":"::","HostPort":"8080"}]}"#
        );
        assert_eq!(ports(&[port("", 0, 443)], false).json(), "{}");
        let asked = pb::PortBinding {
            container: "80/tcp".into(),
            host_ip: String::new(),
            host_port: "8000-8010".into(),
        };
        assert_eq!(
            bindings(&[asked]).json(),
            r#"{"80/tcp":[{"HostIp":"","HostPort":"8000-8010"}]}"#
        );
        assert_eq!(links(&["db:store".into()], "web").json(), r#"["/db:/web/store"]"#);
        assert_eq!(links(&[], "web").json(), "null");
    }

    #[test]
    fn settings_keep_docker_s_order() {
        let asked = pb::EndpointSettings {
            ipv4_address: "172.17.0.9".into(),
            ..Default::default()
        };
        let bridge = pb::Endpoint {
            network: "bridge".into(),
            network_id: "n1".into(),
            id: "e1".into(),
            settings: Some(asked),
            mac_address: "02:42:ac:11:00:09".into(),
            ipv4_address: "172.17.0.9".into(),
            ipv4_prefix: 16,
            ipv4_gateway: "172.17.0.1".into(),
            ..Default::default()
        };
        let it = pb::Container {
            network: Some(pb::NetworkSettings {
                sandbox_id: "s1".into(),
                sandbox_key: "/run/s1".into(),
                endpoints: vec![bridge],
            }),
            ..Default::default()
        };
        assert_eq!(
            Value::from(settings(&it)).json(),
            "{\"Bridge\":\"\",\"SandboxID\":\"s1\",\"SandboxKey\":\"/run/s1\",\"Ports\":{},\"HairpinMode\":false,\
             \"LinkLocalIPv6Address\":\"\",\"LinkLocalIPv6PrefixLen\":0,\"SecondaryIPAddresses\":null,\"SecondaryIPv6Addresses\":null,\
             \"EndpointID\":\"e1\",\"Gateway\":\"172.17.0.1\",\"GlobalIPv6Address\":\"\",\"GlobalIPv6PrefixLen\":0,\"IPAddress\":\
             \"172.17.0.9\",\"IPPrefixLen\":16,\"IPv6Gateway\":\"\",\"MacAddress\":\"02:42:ac:11:00:09\",\"Networks\":{\"bridge\":\
             {\"IPAMConfig\":{\"IPv4Address\":\"172.17.0.9\"},\"Links\":null,\"Aliases\":null,\"MacAddress\":\"02:42:ac:11:00:09\",\
             \"DriverOpts\":null,\"GwPriority\":0,\"NetworkID\":\"n1\",\"EndpointID\":\"e1\",\"Gateway\":\"172.17.0.1\",\"IPAddress\":\
             \"172.17.0.9\",\"IPPrefixLen\":16,\"IPv6Gateway\":\"\",\"GlobalIPv6Address\":\"\",\"GlobalIPv6PrefixLen\":0,\
             \"DNSNames\":null}}}"
        );
    }
}
