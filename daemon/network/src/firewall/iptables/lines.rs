//! The rules of a description, in the words `iptables-save` prints them in.

use super::super::published::{Published, Version};
use super::super::{EndpointRules, NetworkRules, Rules};
use gantry_core::network::{GatewayMode, Protocol};
use std::cmp::Reverse;
use std::net::IpAddr;

/// Chains of our own, with the instance's suffix. Kernels take 28 characters.
#[derive(Debug, Clone)]
pub(super) struct Names {
    /// `DOCKER`, in each table that we use.
    pub main: String,
    /// Ports as containers see them, who reach the host from inside.
    pub hairpin: String,
    /// Whose sources are changed so that answers come back.
    pub answers: String,
    pub user: String,
    pub stage1: String,
    pub stage2: String,
}

impl Names {
    pub fn new(suffix: &str) -> Self {
        let stage = if suffix.is_empty() {
            "DOCKER-ISOLATION-STAGE"
        } else {
            "DOCKER-ISOLATION"
        };
        Self {
            main: format!("DOCKER{suffix}"),
            hairpin: format!("DOCKER-HAIRPIN{suffix}"),
            answers: format!("DOCKER-ANSWERS{suffix}"),
            user: format!("DOCKER-USER{suffix}"),
            stage1: format!("{stage}-1{suffix}"),
            stage2: format!("{stage}-2{suffix}"),
        }
    }

    /// Those of one table that are wholly ours.
    pub fn of(&self, table: &str) -> Vec<&str> {
        match table {
            "raw" => vec![&self.main],
            "nat" => vec![&self.main, &self.hairpin, &self.answers],
            "filter" => vec![&self.main, &self.stage1, &self.stage2],
            _ => Vec::new(),
        }
    }
}

/// A rule: its table, its chain, the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub table: &'static str,
    pub chain: String,
    pub rest: String,
}

impl Line {
    fn new(table: &'static str, chain: &str, rest: String) -> Self {
        Self {
            table,
            chain: chain.to_owned(),
            rest,
        }
    }

    pub fn append(&self) -> String {
        format!("-A {} {}", self.chain, self.rest)
    }

    pub fn delete(&self) -> String {
        format!("-D {} {}", self.chain, self.rest)
    }
}

/// Everything that stands as long as the networks do.
pub(super) fn standing(names: &Names, version: Version, rules: &Rules) -> Vec<Line> {
    let mut lines = Vec::new();
    let local = "-m addrtype --dst-type LOCAL";
    let loopback = if version == Version::V4 {
        "127.0.0.0/8"
    } else {
        "::1/128"
    };
    lines.push(Line::new("raw", "PREROUTING", format!("-j {}", names.main)));
    lines.push(Line::new("raw", &names.main, format!("-d {loopback} ! -i lo -j DROP")));
    lines.push(Line::new("raw", &names.main, format!("-s {loopback} ! -i lo -j DROP")));
    lines.push(Line::new("nat", "PREROUTING", format!("{local} -j {}", names.main)));
    lines.push(Line::new("nat", "PREROUTING", format!("{local} -j {}", names.hairpin)));
    // No answer to ::1 would come back: see the nftables backend.
    let output = if version == Version::V4 {
        String::new()
    } else {
        "! -d ::1/128 ".to_owned()
    };
    lines.push(Line::new("nat", "OUTPUT", format!("{output}{local} -j {}", names.main)));
    lines.push(Line::new("nat", "POSTROUTING", format!("-j {}", names.answers)));
    lines.push(Line::new("filter", "FORWARD", format!("-j {}", names.user)));
    lines.push(Line::new("filter", "FORWARD", format!("-j {}", names.stage1)));
    let through = "-m conntrack --ctstate RELATED,ESTABLISHED,DNAT -j RETURN";
    lines.push(Line::new("filter", &names.stage2, through.to_owned()));
    for network in rules.networks.values() {
        translation(&mut lines, names, version, network);
        passage(&mut lines, names, version, network);
    }
    for stage in [&names.stage1, &names.stage2] {
        lines.push(Line::new("filter", stage, "-j RETURN".to_owned()));
    }
    lines
}

fn translation(lines: &mut Vec<Line>, names: &Names, version: Version, network: &NetworkRules) {
    if !network.translated(version) {
        return;
    }
    let device = &network.device;
    let subnets = network.subnets(version);
    for subnet in &subnets {
        let back = format!("-s {subnet} -o {device} -m conntrack --ctstate DNAT -j MASQUERADE");
        lines.push(Line::new("nat", &names.answers, back));
    }
    if version == Version::V4 {
        let host = format!("-s 127.0.0.0/8 -o {device} -j MASQUERADE");
        lines.push(Line::new("nat", &names.answers, host));
    }
    if !network.masquerade || subnets.is_empty() {
        return;
    }
    for subnet in &subnets {
        let target = match network.source4.filter(|_| version == Version::V4) {
            Some(source) => format!("SNAT --to-source {source}"),
            None => "MASQUERADE".to_owned(),
        };
        lines.push(Line::new(
            "nat",
            "POSTROUTING",
            format!("-s {subnet} ! -o {device} -j {target}"),
        ));
    }
    lines.push(Line::new("nat", &names.main, format!("-i {device} -j RETURN")));
}

fn passage(lines: &mut Vec<Line>, names: &Names, version: Version, network: &NetworkRules) {
    let device = &network.device;
    let mut put = |chain: &str, rest: String| lines.push(Line::new("filter", chain, rest));
    if network.closed(version) {
        put(&names.stage1, format!("! -i {device} -o {device} -j DROP"));
        put(&names.stage1, format!("-i {device} ! -o {device} -j DROP"));
    } else {
        let mode = network.mode(version);
        if mode == GatewayMode::Nat {
            let known = "-m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT";
            put(&names.stage1, format!("! -i {device} -o {device} {known} -j DROP"));
        }
        put(&names.stage1, format!("-i {device} ! -o {device} -j {}", names.stage2));
        if mode != GatewayMode::Routed {
            put(&names.stage2, format!("-o {device} -j DROP"));
        }
        put(
            "FORWARD",
            format!("-o {device} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"),
        );
        put("FORWARD", format!("-o {device} -j {}", names.main));
        match mode {
            GatewayMode::Routed => {
                let icmp = if version == Version::V4 { "icmp" } else { "ipv6-icmp" };
                put("FORWARD", format!("-o {device} -p {icmp} -j ACCEPT"));
                put("FORWARD", format!("! -i {device} -o {device} -j DROP"));
            }
            GatewayMode::NatUnprotected => put("FORWARD", format!("! -i {device} -o {device} -j ACCEPT")),
            GatewayMode::Nat | GatewayMode::Isolated => {}
        }
        put("FORWARD", format!("-i {device} ! -o {device} -j ACCEPT"));
    }
    if !network.icc && version == Version::V6 {
        // Links need to find each other: neighbour solicitations and advertisements.
        for kind in [135, 136] {
            put(
                &names.main,
                format!("-i {device} -o {device} -p ipv6-icmp -m icmp6 --icmpv6-type {kind} -j ACCEPT"),
            );
        }
    }
    if !network.icc && !network.closed(version) {
        // A published port is for everyone, also for those who may not talk to its container directly.
        put(
            &names.main,
            format!("-i {device} -o {device} -m conntrack --ctstate DNAT -j ACCEPT"),
        );
    }
    let among = if network.icc { "ACCEPT" } else { "DROP" };
    put("FORWARD", format!("-i {device} -o {device} -j {among}"));
}

/// What comes and goes with one endpoint.
pub(super) fn of_endpoint(names: &Names, version: Version, rules: &Rules, endpoint: &EndpointRules) -> Vec<Line> {
    let Some(network) = rules.networks.get(&endpoint.network) else {
        return Vec::new();
    };
    let device = &network.device;
    let mut lines = Vec::new();
    let mut ports = rules.translations(endpoint, version);
    ports.sort_unstable_by_key(|port| Reverse((port.to_port, port.protocol, port.port, port.host)));
    for port in &ports {
        let rest = translated(port);
        lines.push(Line::new(
            "nat",
            &names.main,
            rest.replace("INTERFACE", &format!("! -i {device} ")),
        ));
        lines.push(Line::new("nat", &names.hairpin, rest.replace("INTERFACE", "")));
    }
    let mut open: Vec<(IpAddr, Protocol, u16)> = ports
        .iter()
        .map(|port| (port.to, port.protocol, port.to_port))
        .collect();
    open.dedup();
    for (address, protocol, port) in &open {
        let (one, matched) = (single(*address), matched(*protocol, "dport", *port));
        lines.push(Line::new(
            "nat",
            "POSTROUTING",
            format!("-s {one} -d {one} {matched} -j MASQUERADE"),
        ));
    }
    open.extend(rules.opened(endpoint, version).into_iter().rev());
    for (address, protocol, port) in open {
        let (one, matched) = (single(address), matched(protocol, "dport", port));
        let rest = format!("-d {one} ! -i {device} -o {device} {matched} -j ACCEPT");
        lines.push(Line::new("filter", &names.main, rest));
    }
    for (from, to, protocol, port) in rules.allowed(endpoint, version) {
        let (from, to) = (single(from), single(to));
        let (there, back) = (matched(protocol, "dport", port), matched(protocol, "sport", port));
        let pass = |source: &str, target: &str, what: &str| {
            format!("-s {source} -d {target} -i {device} -o {device} {what} -j ACCEPT")
        };
        lines.push(Line::new("filter", &names.main, pass(&from, &to, &there)));
        lines.push(Line::new("filter", &names.main, pass(&to, &from, &back)));
    }
    lines
}

fn translated(port: &Published) -> String {
    let host = port
        .host
        .map(|host| format!("-d {} ", single(host)))
        .unwrap_or_default();
    let to = match port.to {
        IpAddr::V4(address) => format!("{address}:{}", port.to_port),
        IpAddr::V6(address) => format!("[{address}]:{}", port.to_port),
    };
    let matched = matched(port.protocol, "dport", port.port);
    format!("{host}INTERFACE{matched} -j DNAT --to-destination {to}")
}

fn matched(protocol: Protocol, end: &str, port: u16) -> String {
    format!("-p {protocol} -m {protocol} --{end} {port}")
}

fn single(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => format!("{address}/32"),
        IpAddr::V6(address) => format!("{address}/128"),
    }
}
