//! A network as `docker network inspect` shows it.

use std::collections::HashMap;

use gantry_proto::gantry::v1 as pb;

use crate::format::time;
use crate::template::{Struct, Value};

pub(super) fn value(it: &pb::Network) -> Value {
    let members: Value = it.members.iter().map(|one| (&one.container, member(one))).collect();
    Struct::new("network.Inspect")
        .with("Name", &it.name)
        .json_as("ID", Some("Id"), it.id.as_str())
        .with("Created", time::rfc3339_nano(time::from_wire(it.created_at.as_ref())))
        .with("Scope", &it.scope)
        .with("Driver", &it.driver)
        .with("EnableIPv4", it.ipv4)
        .with("EnableIPv6", it.ipv6)
        .with(
            "IPAM",
            ipam(&it.ipam.clone().unwrap_or_default(), is_predefined(&it.name)),
        )
        .with("Internal", it.internal)
        .with("Attachable", it.attachable)
        .with("Ingress", false)
        .with("ConfigFrom", Struct::new("network.ConfigReference").with("Network", ""))
        .with("ConfigOnly", false)
        .with("Containers", members)
        .with("Options", map(&it.options))
        .with("Labels", map(&it.labels))
        .into()
}

/// Networks that are there without having been made.
fn is_predefined(name: &str) -> bool {
    matches!(name, "bridge" | "host" | "none")
}

fn map(pairs: &HashMap<String, String>) -> Value {
    pairs.iter().collect()
}

fn ipam(it: &pb::Ipam, predefined: bool) -> Struct {
    let pools: Vec<Value> = it.pools.iter().map(pool).collect();
    let options = match predefined && it.options.is_empty() {
        true => Value::Null,
        false => map(&it.options),
    };
    Struct::new("network.IPAM")
        .with("Driver", if it.driver.is_empty() { "default" } else { &it.driver })
        .with("Options", options)
        .with(
            "Config",
            if pools.is_empty() {
                Value::Null
            } else {
                Value::List(pools)
            },
        )
}

fn pool(it: &pb::AddressPool) -> Value {
    let mut out = Struct::new("network.IPAMConfig")
        .omit_empty("Subnet", &it.subnet)
        .omit_empty("IPRange", &it.range)
        .omit_empty("Gateway", &it.gateway);
    let json = (!it.auxiliary.is_empty()).then_some("AuxiliaryAddresses");
    out = out.json_as("AuxAddress", json, map(&it.auxiliary));
    out.into()
}

fn member(it: &pb::NetworkMember) -> Struct {
    Struct::new("network.EndpointResource")
        .with("Name", &it.name)
        .with("EndpointID", &it.endpoint)
        .with("MacAddress", &it.mac_address)
        .with("IPv4Address", &it.ipv4_address)
        .with("IPv6Address", &it.ipv6_address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_is_docker_s() {
        let pool = pb::AddressPool {
            subnet: "172.20.0.0/16".into(),
            gateway: "172.20.0.1".into(),
            auxiliary: [("r".to_owned(), "172.20.0.9".to_owned())].into(),
            ..Default::default()
        };
        let member = pb::NetworkMember {
            container: "c1".into(),
            name: "web".into(),
            endpoint: "e1".into(),
            mac_address: "02:42:ac:14:00:02".into(),
            ipv4_address: "172.20.0.2/16".into(),
            ..Default::default()
        };
        let it = pb::Network {
            id: "abc".into(),
            name: "back".into(),
            scope: "local".into(),
            driver: "bridge".into(),
            ipv4: true,
            ipam: Some(pb::Ipam {
                pools: vec![pool],
                ..Default::default()
            }),
            members: vec![member],
            options: [("com.docker.network.driver.mtu".to_owned(), "1400".to_owned())].into(),
            created_at: Some(prost_types::Timestamp { seconds: 1, nanos: 0 }),
            ..Default::default()
        };
        assert_eq!(
            value(&it).json(),
            "{\"Name\":\"back\",\"Id\":\"abc\",\"Created\":\"1970-01-01T00:00:01Z\",\"Scope\":\"local\",\"Driver\":\"bridge\",\
             \"EnableIPv4\":true,\"EnableIPv6\":false,\"IPAM\":{\"Driver\":\"default\",\"Options\":{},\"Config\":[{\"Subnet\":\
             \"172.20.0.0/16\",\"Gateway\":\"172.20.0.1\",\"AuxiliaryAddresses\":{\"r\":\"172.20.0.9\"}}]},\"Internal\":false,\
             \"Attachable\":false,\"Ingress\":false,\"ConfigFrom\":{\"Network\":\"\"},\"ConfigOnly\":false,\"Containers\":{\"c1\":\
             {\"Name\":\"web\",\"EndpointID\":\"e1\",\"MacAddress\":\"02:42:ac:14:00:02\",\"IPv4Address\":\"172.20.0.2/16\",\
             \"IPv6Address\":\"\"}},\"Options\":{\"com.docker.network.driver.mtu\":\"1400\"},\"Labels\":{}}"
        );
        let host = pb::Network {
            name: "host".into(),
            ..Default::default()
        };
        let json = value(&host).json();
        assert!(
            json.contains("\"IPAM\":{\"Driver\":\"default\",\"Options\":null,\"Config\":null}"),
            "{json}"
        );
    }
}
