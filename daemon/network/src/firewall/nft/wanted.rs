//! What a description comes to in tables, chains and elements.

use super::super::nfnetlink::Family;
use super::super::published::Version;
use super::super::{EndpointRules, NetworkRules, Rules};
use super::table::Table;
use gantry_core::network::GatewayMode;
use ipnet::IpNet;

pub(super) fn table(family: Family, name: &str, rules: &Rules) -> Table {
    match family {
        Family::Ip => routed(Version::V4, name, rules),
        Family::Ip6 => routed(Version::V6, name, rules),
        Family::Bridge => bridged(name, rules),
    }
}

/// The words that differ between the families.
struct Words {
    family: &'static str,
    /// Of all that is this host's own loopback.
    loopback: &'static str,
    icmp: &'static str,
}

const V4: Words = Words {
    family: "ip",
    loopback: "127.0.0.0/8",
    icmp: "icmp",
};

const V6: Words = Words {
    family: "ip6",
    loopback: "::1",
    icmp: "ipv6-icmp",
};

fn words(version: Version) -> &'static Words {
    match version {
        Version::V4 => &V4,
        Version::V6 => &V6,
    }
}

fn routed(version: Version, name: &str, rules: &Rules) -> Table {
    let words = words(version);
    let mut table = Table::new(format!("{} {name}", words.family));
    declare(&mut table, version);
    standing(&mut table, words, version);
    for (id, network) in &rules.networks {
        of_network(&mut table, words, version, id, network);
    }
    for endpoint in rules.endpoints.values() {
        of_endpoint(&mut table, version, rules, endpoint);
    }
    table
}

fn declare(table: &mut Table, version: Version) {
    let (ports, any, open, allowed, ranges, sources) = match version {
        Version::V4 => (
            "inet_proto . ipv4_addr . inet_service : ipv4_addr . inet_service",
            "inet_proto . inet_service : ipv4_addr . inet_service",
            "ipv4_addr . inet_proto . inet_service",
            "ipv4_addr . ipv4_addr . inet_proto . inet_service",
            "ipv4_addr",
            "ipv4_addr : ipv4_addr",
        ),
        Version::V6 => (
            "inet_proto . ipv6_addr . inet_service : ipv6_addr . inet_service",
            "inet_proto . inet_service : ipv6_addr . inet_service",
            "ipv6_addr . inet_proto . inet_service",
            "ipv6_addr . ipv6_addr . inet_proto . inet_service",
            "ipv6_addr",
            "ipv6_addr : ipv6_addr",
        ),
    };
    table.set("map", "ports", ports);
    table.set("map", "any", any);
    table.set("set", "open", open);
    table.set("set", "allowed", allowed);
    table.set("set", "bridges", "ifname");
    table.set("set", "closed", "ifname");
    table.set("map", "entering", "ifname : verdict");
    table.set("map", "answered", "ifname : verdict");
    table.ranges("set", "masqueraded", ranges);
    table.ranges("map", "sources", sources);
}

/// The chains that stand whatever networks there are.
fn standing(table: &mut Table, words: &Words, version: Version) {
    let (ip, loopback) = (words.family, words.loopback);
    table.chain(
        "raw",
        Some("type filter hook prerouting priority raw"),
        vec![
            format!("iif != \"lo\" {ip} daddr {loopback} drop"),
            format!("iif != \"lo\" {ip} saddr {loopback} drop"),
        ],
    );
    table.chain(
        "prerouting",
        Some("type nat hook prerouting priority dstnat"),
        vec!["fib daddr type local jump published".to_owned()],
    );
    let output = match version {
        Version::V4 => "fib daddr type local jump published".to_owned(),
        Version::V6 => "ip6 daddr != ::1 fib daddr type local jump published".to_owned(),
    };
    table.chain("output", Some("type nat hook output priority -100"), vec![output]);
    table.chain(
        "published",
        None,
        vec![
            format!("dnat to meta l4proto . {ip} daddr . th dport map @ports"),
            "dnat to meta l4proto . th dport map @any".to_owned(),
        ],
    );
    table.chain(
        "forward",
        Some("type filter hook forward priority filter + 10"),
        vec![
            "ct state established,related accept".to_owned(),
            "oifname vmap @entering".to_owned(),
            "iifname @closed drop".to_owned(),
        ],
    );
    table.chain(
        "postrouting",
        Some("type nat hook postrouting priority srcnat"),
        vec![
            "oifname vmap @answered".to_owned(),
            format!("{ip} saddr @masqueraded masquerade"),
            format!("snat to {ip} saddr map @sources"),
        ],
    );
}

fn of_network(table: &mut Table, words: &Words, version: Version, id: &str, network: &NetworkRules) {
    let device = &network.device;
    let short: String = id.chars().filter(char::is_ascii_alphanumeric).take(12).collect();
    let (entering, answered) = (format!("in-{short}"), format!("out-{short}"));
    table.element("bridges", format!("\"{device}\""));
    table.element("entering", format!("\"{device}\" : jump {entering}"));
    table.chain(&entering, None, admitted(words, version, network));
    if network.closed(version) {
        table.element("closed", format!("\"{device}\""));
        return;
    }
    if !network.translated(version) {
        return;
    }
    let subnets = network.subnets(version);
    let ip = words.family;
    let mut rules = Vec::new();
    for subnet in &subnets {
        rules.push(format!("{ip} saddr {subnet} ct status dnat masquerade"));
        rules.push(format!("{ip} saddr {subnet} accept"));
    }
    if version == Version::V4 {
        rules.push(format!("ip saddr {} masquerade", words.loopback));
    }
    table.element("answered", format!("\"{device}\" : jump {answered}"));
    table.chain(&answered, None, rules);
    if network.masquerade {
        for subnet in subnets {
            leaving(table, version, network, subnet);
        }
    }
}

fn leaving(table: &mut Table, version: Version, network: &NetworkRules, subnet: IpNet) {
    match network.source4.filter(|_| version == Version::V4) {
        Some(source) => table.element("sources", format!("{subnet} : {source}")),
        None => table.element("masqueraded", subnet.to_string()),
    }
}

/// What may go out on the bridge to a container, apart from answers.
fn admitted(words: &Words, version: Version, network: &NetworkRules) -> Vec<String> {
    let (ip, device) = (words.family, &network.device);
    let mut rules = Vec::new();
    if network.icc {
        rules.push(format!("iifname \"{device}\" accept"));
    } else {
        rules.push(format!("iifname \"{device}\" ct status dnat accept"));
        rules.push(format!(
            "{ip} saddr . {ip} daddr . meta l4proto . th dport @allowed accept"
        ));
        if version == Version::V6 {
            rules.push("icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept".to_owned());
        }
        rules.push(format!("iifname \"{device}\" drop"));
    }
    if !network.closed(version) {
        rules.push("iifname @closed drop".to_owned());
        match network.mode(version) {
            GatewayMode::Nat => rules.push("ct status dnat accept".to_owned()),
            GatewayMode::NatUnprotected => {
                rules.push("ct status dnat accept".to_owned());
                rules.push("iifname != @bridges accept".to_owned());
            }
            GatewayMode::Routed => {
                rules.push(format!("meta l4proto {} accept", words.icmp));
                rules.push(format!("{ip} daddr . meta l4proto . th dport @open accept"));
            }
            GatewayMode::Isolated => {}
        }
    }
    rules.push("counter drop".to_owned());
    rules
}

fn of_endpoint(table: &mut Table, version: Version, rules: &Rules, endpoint: &EndpointRules) {
    for port in rules.translations(endpoint, version) {
        let to = format!("{} . {}", port.to, port.to_port);
        match port.host {
            Some(host) => table.element("ports", format!("{} . {host} . {} : {to}", port.protocol, port.port)),
            None => table.element("any", format!("{} . {} : {to}", port.protocol, port.port)),
        }
    }
    for (address, protocol, port) in rules.opened(endpoint, version) {
        table.element("open", format!("{address} . {protocol} . {port}"));
    }
    for (from, to, protocol, port) in rules.allowed(endpoint, version) {
        table.element("allowed", format!("{from} . {to} . {protocol} . {port}"));
    }
}

/// Containers of one network that may not talk to each other, kept apart where their frames cross the bridge.
fn bridged(name: &str, rules: &Rules) -> Table {
    let mut table = Table::new(format!("bridge {name}"));
    table.set("set", "apart", "ifname");
    table.set("set", "allowed4", "ipv4_addr . ipv4_addr . inet_proto . inet_service");
    table.set("set", "allowed6", "ipv6_addr . ipv6_addr . inet_proto . inet_service");
    table.chain(
        "forward",
        Some("type filter hook forward priority -300"),
        vec!["iifname @apart jump apart".to_owned()],
    );
    // Without connection tracking on bridges (a module of its own), answers are those that come from an allowed port.
    table.chain(
        "apart",
        None,
        vec![
            "ether type arp accept".to_owned(),
            "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept".to_owned(),
            "ip saddr . ip daddr . meta l4proto . th dport @allowed4 accept".to_owned(),
            "ip daddr . ip saddr . meta l4proto . th sport @allowed4 accept".to_owned(),
            "ip6 saddr . ip6 daddr . meta l4proto . th dport @allowed6 accept".to_owned(),
            "ip6 daddr . ip6 saddr . meta l4proto . th sport @allowed6 accept".to_owned(),
            "counter drop".to_owned(),
        ],
    );
    for endpoint in rules.endpoints.values() {
        // By port, since not every kernel can tell the bridge (`nft_meta_bridge`).
        if rules.keeps_apart(endpoint) && !endpoint.interface.is_empty() {
            table.element("apart", format!("\"{}\"", endpoint.interface));
        }
        for (set, version) in [("allowed4", Version::V4), ("allowed6", Version::V6)] {
            for (from, to, protocol, port) in rules.allowed(endpoint, version) {
                table.element(set, format!("{from} . {to} . {protocol} . {port}"));
            }
        }
    }
    table
}
