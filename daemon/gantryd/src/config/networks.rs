//! Options about networks, under dockerd's names.

use super::values;
use crate::error::{Error, Result};
use clap::Args;
use gantry_engine::{BridgeConfig, CniConfig, Firewall, NetworkConfig};
use gantry_network::ipam::AddressPool;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::net::IpAddr;

/// In the file, and what the command line calls those that it calls otherwise.
const KEYS: [(&str, &str); 23] = [
    ("bip", "bip"),
    ("bip6", "bip6"),
    ("bridge", "bridge"),
    ("default-address-pools", "default-address-pool"),
    ("default-gateway", "default-gateway"),
    ("default-gateway-v6", "default-gateway-v6"),
    ("dns", "dns"),
    ("dns-opts", "dns-opt"),
    ("dns-search", "dns-search"),
    ("firewall-backend", "firewall-backend"),
    ("fixed-cidr", "fixed-cidr"),
    ("fixed-cidr-v6", "fixed-cidr-v6"),
    ("host-gateway-ips", "host-gateway-ip"),
    ("icc", "icc"),
    ("ip", "ip"),
    ("ip-forward", "ip-forward"),
    ("ip-forward-no-drop", "ip-forward-no-drop"),
    ("ip-masq", "ip-masq"),
    ("ip6tables", "ip6tables"),
    ("iptables", "iptables"),
    ("ipv6", "ipv6"),
    ("mtu", "mtu"),
    ("network-control-plane-mtu", "network-control-plane-mtu"),
];

pub fn is_key(key: &str) -> bool {
    KEYS.iter().any(|(known, _)| *known == key)
}

pub fn flag_of(key: &str) -> Option<&'static str> {
    KEYS.iter().find(|(known, _)| *known == key).map(|(_, flag)| *flag)
}

#[derive(Debug, Default, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct NetworkOptions {
    /// Address of the default bridge, with its subnet's length
    #[arg(long, value_name = "CIDR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    bip: Option<String>,
    #[arg(long, value_name = "CIDR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    bip6: Option<String>,
    /// An existing bridge to use for the default network; "none" for no default network
    #[arg(long, short = 'b', value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    bridge: Option<String>,
    /// base=CIDR,size=LENGTH: where networks that name no subnet get theirs
    #[arg(long = "default-address-pool", value_name = "POOL")]
    #[serde(rename = "default-address-pools", skip_serializing_if = "Vec::is_empty")]
    default_address_pool: Vec<String>,
    /// Where containers of the default bridge send what is for others
    #[arg(long, value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    default_gateway: Option<String>,
    #[arg(long, value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    default_gateway_v6: Option<String>,
    /// Name server of containers
    #[arg(long = "dns", value_name = "ADDRESS")]
    #[serde(rename = "dns", skip_serializing_if = "Vec::is_empty")]
    dns: Vec<String>,
    #[arg(long = "dns-opt", value_name = "OPTION")]
    #[serde(rename = "dns-opts", skip_serializing_if = "Vec::is_empty")]
    dns_opt: Vec<String>,
    #[arg(long = "dns-search", value_name = "DOMAIN")]
    #[serde(rename = "dns-search", skip_serializing_if = "Vec::is_empty")]
    dns_search: Vec<String>,
    /// nftables or iptables
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    firewall_backend: Option<String>,
    /// What containers of the default bridge get addresses from
    #[arg(long, value_name = "CIDR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    fixed_cidr: Option<String>,
    #[arg(long, value_name = "CIDR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    fixed_cidr_v6: Option<String>,
    /// What host-gateway stands for in --add-host
    #[arg(long = "host-gateway-ip", value_name = "ADDRESS")]
    #[serde(rename = "host-gateway-ips", skip_serializing_if = "Vec::is_empty")]
    host_gateway_ip: Vec<String>,
    /// Let containers of the default bridge talk to each other (default true)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    icc: Option<bool>,
    /// Where ports are published that name no address
    #[arg(long, value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    ip: Option<String>,
    /// Switch the host's forwarding on (default true)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    ip_forward: Option<bool>,
    /// Leave the iptables policy of FORWARD alone where forwarding is switched on
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    ip_forward_no_drop: Option<bool>,
    /// Masquerade what leaves the default bridge (default true)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    ip_masq: Option<bool>,
    /// With iptables=false it must be false, too
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    ip6tables: Option<bool>,
    /// false = write no firewall rules at all
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    iptables: Option<bool>,
    /// IPv6 in the default bridge
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    ipv6: Option<bool>,
    /// Of the default bridge
    #[arg(long, value_name = "BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    mtu: Option<u32>,
}

/// `default-address-pools` of the file.
#[derive(Deserialize)]
struct PoolObject {
    base: String,
    size: u8,
}

/// Takes the options about networks out of what is given.
pub fn read(given: &mut Map<String, Value>, instance: &str, warnings: &mut Vec<String>) -> Result<NetworkConfig> {
    let mut reader = Reader(given);
    let rules = reader.truth("iptables", true)?;
    if let Some(six) = reader.value::<bool>("ip6tables")?
        && six != rules
    {
        return Err(Error::bad(
            "ip6tables",
            "it cannot differ from iptables: one backend writes the rules of both families",
        ));
    }
    let ip_forward = reader.truth("ip-forward", true)?;
    let no_drop = reader.value::<bool>("ip-forward-no-drop")?;
    if reader
        .value::<u32>("network-control-plane-mtu")?
        .is_some_and(|mtu| mtu != 1500)
    {
        return Err(Error::bad(
            "network-control-plane-mtu",
            "there is no control plane of our own: remove it",
        ));
    }
    let backend = reader.text("firewall-backend")?;
    let backend: Firewall = backend
        .parse()
        .map_err(|error: gantry_core::Error| Error::bad("firewall-backend", error.to_string()))?;
    if no_drop == Some(false) && backend != Firewall::Iptables {
        warnings.push(
            "ip-forward-no-drop: only the iptables backend changes the policy of FORWARD; forwarding is not dropped"
                .to_owned(),
        );
    }
    let pools = reader.pools()?;
    Ok(NetworkConfig {
        instance: Some(instance.to_owned()).filter(|id| !id.is_empty()),
        ip_forward,
        drop_forward: ip_forward && no_drop != Some(true),
        firewall: if rules { backend } else { Firewall::Off },
        dns: reader.list("dns")?,
        dns_search: reader.texts("dns-search")?,
        dns_options: reader.texts("dns-opts")?,
        host_gateways: reader.list("host-gateway-ips")?,
        pools,
        bridge: bridge(&mut reader)?,
        cluster: None,
        cni: CniConfig::default(),
    })
}

fn bridge(reader: &mut Reader<'_>) -> Result<Option<BridgeConfig>> {
    let name = reader.text("bridge")?;
    let config = BridgeConfig {
        bip: reader.parsed::<IpNet>("bip")?,
        bip6: reader.parsed::<IpNet>("bip6")?,
        fixed_cidr: reader.parsed::<IpNet>("fixed-cidr")?,
        fixed_cidr_v6: reader.parsed::<IpNet>("fixed-cidr-v6")?,
        default_gateway: reader.parsed::<IpAddr>("default-gateway")?,
        default_gateway_v6: reader.parsed::<IpAddr>("default-gateway-v6")?,
        ipv6: reader.truth("ipv6", false)?,
        no_icc: !reader.truth("icc", true)?,
        no_masquerade: !reader.truth("ip-masq", true)?,
        mtu: reader.value::<u32>("mtu")?.unwrap_or(0),
        host_ip: reader
            .parsed::<IpAddr>("ip")?
            .filter(|address| !address.is_unspecified()),
        name: name.clone(),
    };
    if !name.is_empty() && config.bip.is_some() {
        return Err(Error::bad(
            "bip",
            "you specified -b & --bip, mutually exclusive options. Please specify only one",
        ));
    }
    check_families(&config)?;
    Ok((name != "none").then_some(config))
}

/// Refuses what would be dropped in silence.
fn check_families(config: &BridgeConfig) -> Result<()> {
    let six = [
        ("bip6", config.bip6.is_some()),
        ("fixed-cidr-v6", config.fixed_cidr_v6.is_some()),
        ("default-gateway-v6", config.default_gateway_v6.is_some()),
    ];
    if let Some((key, _)) = six.iter().find(|(_, given)| *given && !config.ipv6) {
        return Err(Error::bad(*key, "the default bridge has no IPv6: give ipv6, too"));
    }
    for (key, gateway, subnet, keys) in [
        (
            "default-gateway",
            config.default_gateway,
            config.bip.or(config.fixed_cidr),
            "bip or fixed-cidr",
        ),
        (
            "default-gateway-v6",
            config.default_gateway_v6,
            config.bip6.or(config.fixed_cidr_v6),
            "bip6 or fixed-cidr-v6",
        ),
    ] {
        match (gateway, subnet) {
            (Some(_), None) => return Err(Error::bad(key, format!("say by {keys} in which subnet it is"))),
            (Some(gateway), Some(subnet)) if !subnet.contains(&gateway) => {
                return Err(Error::bad(
                    key,
                    format!("{gateway} is not in the subnet {}", subnet.trunc()),
                ));
            }
            _ => {}
        }
    }
    for (key, net, v4) in [
        ("bip", config.bip, true),
        ("bip6", config.bip6, false),
        ("fixed-cidr", config.fixed_cidr, true),
        ("fixed-cidr-v6", config.fixed_cidr_v6, false),
    ] {
        if net.is_some_and(|net| net.addr().is_ipv4() != v4) {
            return Err(Error::bad(
                key,
                if v4 {
                    "an IPv4 subnet is expected"
                } else {
                    "an IPv6 subnet is expected"
                },
            ));
        }
    }
    Ok(())
}

struct Reader<'a>(&'a mut Map<String, Value>);

impl Reader<'_> {
    fn value<T: serde::de::DeserializeOwned>(&mut self, key: &str) -> Result<Option<T>> {
        match self.0.remove(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => serde_json::from_value(value)
                .map(Some)
                .map_err(|error| Error::bad(key, error.to_string())),
        }
    }

    fn truth(&mut self, key: &str, unsaid: bool) -> Result<bool> {
        Ok(self.value(key)?.unwrap_or(unsaid))
    }

    fn text(&mut self, key: &str) -> Result<String> {
        Ok(self.value(key)?.unwrap_or_default())
    }

    fn texts(&mut self, key: &str) -> Result<Vec<String>> {
        Ok(self.value(key)?.unwrap_or_default())
    }

    fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(&mut self, key: &str) -> Result<Option<T>> {
        match self.text(key)?.as_str() {
            "" => Ok(None),
            text => text
                .parse()
                .map(Some)
                .map_err(|error: T::Err| Error::bad(key, format!("{text}: {error}"))),
        }
    }

    fn list<T: std::str::FromStr<Err: std::fmt::Display>>(&mut self, key: &str) -> Result<Vec<T>> {
        let texts = self.texts(key)?;
        let one = |text: &String| {
            text.parse()
                .map_err(|error: T::Err| Error::bad(key, format!("{text}: {error}")))
        };
        texts.iter().map(one).collect()
    }

    /// `{"base": "10.0.0.0/8", "size": 24}` in the file, `base=10.0.0.0/8,size=24` on the command line.
    fn pools(&mut self) -> Result<Vec<AddressPool>> {
        let key = "default-address-pools";
        let given: Vec<Value> = self.value(key)?.unwrap_or_default();
        let one = |value: &Value| {
            let object = match value {
                Value::String(text) => pool_of_text(text)
                    .ok_or_else(|| Error::bad(key, format!("{text}: base=CIDR,size=LENGTH is expected")))?,
                other => serde_json::from_value(other.clone()).map_err(|error| Error::bad(key, error.to_string()))?,
            };
            let base: IpNet = object
                .base
                .parse()
                .map_err(|_| Error::bad(key, format!("{}: a subnet is expected", object.base)))?;
            AddressPool::new(base, object.size).map_err(|error| Error::bad(key, error.to_string()))
        };
        given.iter().map(one).collect()
    }
}

fn pool_of_text(text: &str) -> Option<PoolObject> {
    let (mut base, mut size) = (None, None);
    for (name, value) in values::fields(text) {
        match name {
            "base" => base = Some(value.to_owned()),
            "size" => size = Some(value.parse().ok()?),
            _ => return None,
        }
    }
    Some(PoolObject {
        base: base?,
        size: size?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn reading(value: Value) -> Result<NetworkConfig> {
        let Value::Object(mut map) = value else {
            panic!("an object")
        };
        read(&mut map, "", &mut Vec::new())
    }

    #[test]
    fn dockerd_s_options() {
        let config = reading(json!({
            "bip": "10.1.0.1/24", "fixed-cidr": "10.1.0.128/25", "icc": false, "mtu": 1400, "dns": ["9.9.9.9"],
            "default-address-pools": [{"base": "10.0.0.0/8", "size": 24}, "base=fd00::/48,size=64"],
            "firewall-backend": "iptables",
        }))
        .unwrap();
        let bridge = config.bridge.unwrap();
        assert!(bridge.no_icc && !bridge.no_masquerade);
        assert_eq!(
            (bridge.mtu, config.pools.len(), config.firewall),
            (1400, 2, Firewall::Iptables)
        );
        assert!(reading(json!({"bridge": "none"})).unwrap().bridge.is_none());
        assert_eq!(reading(json!({"iptables": false})).unwrap().firewall, Firewall::Off);
    }

    #[test]
    fn who_drops_what_is_forwarded() {
        for (given, drops) in [
            (json!({}), true),
            (json!({"ip-forward": false}), false),
            (json!({"ip-forward-no-drop": true}), false),
            (
                json!({"ip-forward-no-drop": false, "firewall-backend": "iptables"}),
                true,
            ),
        ] {
            assert_eq!(reading(given.clone()).unwrap().drop_forward, drops, "{given}");
        }
    }

    #[test]
    fn both_families_of_the_default_bridge() {
        let config = reading(json!({
            "ipv6": true, "bip6": "fd00:1::1/64", "default-gateway-v6": "fd00:1::9",
            "fixed-cidr": "10.1.0.0/24", "default-gateway": "10.1.0.9",
        }));
        let bridge = config.unwrap().bridge.unwrap();
        assert_eq!(bridge.default_gateway_v6, Some("fd00:1::9".parse().unwrap()));
        let outside = reading(json!({"bip": "10.1.0.1/24", "default-gateway": "10.2.0.9"})).unwrap_err();
        assert!(outside.to_string().contains("10.2.0.9"), "{outside}");
    }

    #[test]
    fn what_cannot_be_is_named() {
        for (key, value) in [
            ("bip", json!("10.1.0.1")),
            ("dns", json!(["here"])),
            ("firewall-backend", json!("ufw")),
            ("default-address-pools", json!(["size=3"])),
            ("default-address-pools", json!([{"base": "10.0.0.0/8", "size": 4}])),
            ("ip6tables", json!(false)),
            ("bip6", json!("fd00::1/64")),
            ("fixed-cidr-v6", json!("fd00::/64")),
            ("default-gateway-v6", json!("fd00::9")),
            ("default-gateway", json!("10.1.0.9")),
            ("bip", json!("fd00::1/64")),
        ] {
            let error = reading(json!({ key: value })).unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
    }
}
