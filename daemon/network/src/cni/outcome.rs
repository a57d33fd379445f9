//! What plugins answer, as far as anybody here needs it.

use gantry_core::network::MacAddress;
use ipnet::IpNet;
use serde_json::Value;
use std::net::IpAddr;

/// A result (SPEC, "Success"), read for one interface of the sandbox.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    pub mac: Option<MacAddress>,
    /// With the lengths of their subnets.
    pub addresses: Vec<IpNet>,
    /// Of the default routes.
    pub gateways: Vec<IpAddr>,
    pub servers: Vec<IpAddr>,
    pub search: Vec<String>,
    pub options: Vec<String>,
}

impl Outcome {
    /// Whatever cannot be read is passed over: plugins may say more than is known here.
    pub fn read(result: &Value, interface: &str) -> Self {
        let list = |of: &Value, key: &str| of[key].as_array().cloned().unwrap_or_default();
        let text = |of: &Value, key: &str| of[key].as_str().map(str::to_owned);
        let interfaces = list(result, "interfaces");
        let inside = |one: &Value| text(one, "sandbox").is_some_and(|sandbox| !sandbox.is_empty());
        let own = interfaces
            .iter()
            .position(|one| inside(one) && one["name"] == *interface);
        let ips = list(result, "ips");
        let ips: Vec<&Value> = ips
            .iter()
            .filter(|ip| match ip["interface"].as_u64() {
                None => true,
                Some(index) => own.is_none() || usize::try_from(index).ok() == own,
            })
            .collect();
        let dns = &result["dns"];
        let texts = |key: &str| -> Vec<String> {
            let all = list(dns, key).into_iter();
            all.filter_map(|one| one.as_str().map(str::to_owned)).collect()
        };
        let mut search = texts("search");
        if search.is_empty() {
            search.extend(text(dns, "domain"));
        }
        Self {
            mac: own.and_then(|own| text(&interfaces[own], "mac")?.parse().ok()),
            addresses: ips.iter().filter_map(|ip| text(ip, "address")?.parse().ok()).collect(),
            gateways: gateways(&list(result, "routes"), &ips),
            servers: texts("nameservers").iter().filter_map(|one| one.parse().ok()).collect(),
            search,
            options: texts("options"),
        }
    }

    pub fn address(&self, v4: bool) -> Option<IpNet> {
        self.addresses.iter().find(|net| net.addr().is_ipv4() == v4).copied()
    }
}

/// A default route that names no gateway goes by that of the address of its family.
fn gateways(routes: &[Value], ips: &[&Value]) -> Vec<IpAddr> {
    let address = |value: &Value| value.as_str().and_then(|text| text.parse::<IpAddr>().ok());
    let of = |route: &Value| -> Option<IpAddr> {
        let destination: IpNet = route["dst"].as_str()?.parse().ok()?;
        if destination.prefix_len() > 0 {
            return None;
        }
        let v4 = destination.addr().is_ipv4();
        let same = |gateway: &IpAddr| gateway.is_ipv4() == v4;
        let mut of_addresses = ips.iter().filter_map(|ip| address(&ip["gateway"]));
        address(&route["gw"]).or_else(|| of_addresses.find(same))
    };
    routes.iter().filter_map(of).collect()
}
