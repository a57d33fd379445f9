//! The iptables backend: the same reachability, and chains as the manuals print them.

use crate::{ports, up};
use gantry_e2e::{House, PATIENCE, eventually};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const FLAGS: [&str; 2] = ["--firewall-backend", "iptables"];

/// A table as `iptables -L -v` lists it: without counters, blanks made one, and our chains by the names of the plain daemon.
fn listed(house: &House, line: &str) -> Vec<String> {
    let suffix = house.instance().replace("gantry", "");
    let text = house.netns().ok(line).replace(&suffix, "");
    let lines = text.lines().map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let counted = words.len() > 2 && words[0].starts_with(|c: char| c.is_ascii_digit());
        if counted { words[2..].join(" ") } else { words.join(" ") }
    });
    lines.collect()
}

/// The lines of one chain.
fn chain<'a>(lines: &'a [String], name: &str) -> Vec<&'a str> {
    let head = format!("Chain {name} (");
    let from = lines.iter().position(|line| line.starts_with(&head));
    let from = from.unwrap_or_else(|| panic!("no chain {name}: {lines:#?}"));
    let rest = lines[from + 2..].iter().map(String::as_str);
    rest.take_while(|line| !line.is_empty()).collect()
}

#[track_caller]
fn has(lines: &[&str], line: &str) {
    assert!(lines.contains(&line), "{line:?} is not in {lines:#?}");
}

#[test]
fn the_chains_read_as_the_manual_prints_them() {
    let house = House::apart(&FLAGS);
    let gantry = house.gantry();
    let id = gantry.ok(&["network", "create", "my-bridge-001"]);
    let device = format!("br-{}", &id[..12]);
    let flags = ["-p", "8080:80/tcp", "-p", "8443:443/tcp", "--network", "my-bridge-001"];
    up(&gantry, "c1", &flags);
    let options = [
        "network",
        "create",
        "--driver",
        "bridge",
        "--subnet",
        "172.25.0.0/16",
        "--ip-range",
        "172.25.100.0/24",
        "--opt",
        "com.docker.network.container_iface_prefix=intf",
        "--opt",
        "com.docker.network.bridge.enable_ip_masquerade=false",
        "--opt",
        "com.docker.network.bridge.enable_icc=false",
        "my-bridge-003",
    ];
    let third = gantry.ok(&options);
    let third = format!("br-{}", &third[..12]);

    let nat = listed(&house, "iptables -t nat -L -v");
    let postrouting = chain(&nat, "POSTROUTING");
    has(
        &postrouting,
        "MASQUERADE tcp -- any any 172.18.0.2 172.18.0.2 tcp dpt:https",
    );
    has(
        &postrouting,
        "MASQUERADE tcp -- any any 172.18.0.2 172.18.0.2 tcp dpt:http",
    );
    has(
        &postrouting,
        &format!("MASQUERADE all -- any !{device} 172.18.0.0/16 anywhere"),
    );
    assert!(
        !postrouting.iter().any(|line| line.contains(&third)),
        "{postrouting:#?}"
    );
    let docker = chain(&nat, "DOCKER");
    has(&docker, &format!("RETURN all -- {device} any anywhere anywhere"));
    has(
        &docker,
        &format!("DNAT tcp -- !{device} any anywhere anywhere tcp dpt:8443 to:172.18.0.2:443"),
    );
    has(
        &docker,
        &format!("DNAT tcp -- !{device} any anywhere anywhere tcp dpt:http-alt to:172.18.0.2:80"),
    );
    assert!(!docker.iter().any(|line| line.contains(&third)), "{docker:#?}");
    let filter = listed(&house, "iptables -L -v");
    let docker = chain(&filter, "DOCKER");
    has(
        &docker,
        &format!("ACCEPT tcp -- !{device} {device} anywhere 172.18.0.2 tcp dpt:https"),
    );
    has(
        &docker,
        &format!("ACCEPT tcp -- !{device} {device} anywhere 172.18.0.2 tcp dpt:http"),
    );
    let forward = chain(&filter, "FORWARD");
    has(&forward, &format!("DROP all -- {third} {third} anywhere anywhere"));
    assert!(
        filter.iter().any(|line| line.starts_with("Chain FORWARD (policy DROP")),
        "{filter:#?}"
    );
    has(&forward, "DOCKER-USER all -- any any anywhere anywhere");

    gantry.ok(&["rm", "-f", "c1"]);
    eventually("its lines are gone", Duration::from_secs(10), || {
        !house.netns().ok("iptables-save").contains("172.18.0.2")
    });
    // The ports are held by sockets, not by processes.
    assert!(!house.netns().ok("ss -lntp").contains("proxy"));
}

#[test]
fn ports_are_reached_the_same() {
    ports::a_port_is_reached_from_everywhere(&House::apart(&FLAGS));
}

#[test]
fn what_is_for_loopback_stays_there() {
    ports::what_is_for_loopback_stays_there(&House::apart(&FLAGS));
}

#[test]
fn p28_flushed_chains_are_put_back_within_two_seconds() {
    let house = House::apart(&FLAGS);
    let gantry = house.gantry();
    gantry.ok(&["network", "create", "--ipv6", "web"]);
    up(&gantry, "one", &["--network", "web", "-p", "8080:80"]);
    // By program, table and chain; each in its order. What the user's own chain says is the user's affair.
    let saved = || {
        let mut chains: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for program in ["iptables-save", "ip6tables-save"] {
            let mut table = String::new();
            for line in house.netns().ok(program).lines() {
                if line.starts_with('*') {
                    line.clone_into(&mut table);
                } else if let Some((chain, rule)) = line.strip_prefix("-A ").and_then(|rest| rest.split_once(' '))
                    && !chain.starts_with("DOCKER-USER")
                {
                    let key = format!("{program} {table} {chain}");
                    chains.entry(key).or_default().push(rule.to_owned());
                }
            }
        }
        chains
    };
    let before = saved();
    assert!(
        before.values().flatten().any(|line| line.contains("8080")),
        "{before:#?}"
    );
    let mut times = Vec::new();
    for lines in [
        &["iptables -F"][..],
        &["iptables -t nat -F", "ip6tables -F"][..],
        &["iptables -t raw -F", "ip6tables -t nat -F"][..],
    ] {
        for line in lines {
            house.netns().ok(line);
        }
        let began = Instant::now();
        let mut now = saved();
        while now != before {
            let lost: Vec<_> = before
                .iter()
                .filter(|(chain, rules)| now.get(*chain) != Some(rules))
                .collect();
            let late = began.elapsed() > PATIENCE;
            assert!(!late, "after {lines:?}: lost {lost:#?}, all: {now:#?}");
            std::thread::sleep(Duration::from_millis(20));
            now = saved();
        }
        times.push(began.elapsed());
    }
    // A busy machine is not slow each time.
    assert!(times.iter().any(|time| *time < Duration::from_secs(2)), "{times:?}");
}

#[test]
fn a_daemon_of_the_other_backend_takes_over() {
    let mut house = House::apart(&FLAGS);
    let other = gantry_e2e::netns::neighbour(house.netns());
    let gantry = house.gantry();
    up(&gantry, "one", &["-p", "8080:7000", "-p", "8080:7000/udp"]);
    let one = house.inside("one");
    let _servers = gantry_e2e::talk::Servers::new(&one, "one", &[7000]);
    let reached = || gantry_e2e::talk::reaches(&other, "192.0.2.1:8080", "one 192.0.2.2");
    reached();
    house.stop_daemon();
    house.set_flags(&[]);
    house.start();
    reached();
    gantry_e2e::eventually("the old backend's rules are gone", gantry_e2e::PATIENCE, || {
        !house.netns().ok("iptables-save").contains("8080")
    });
    gantry.ok(&["rm", "-f", "one"]);
}
