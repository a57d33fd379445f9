//! What keeps networks and containers apart, and IPv6.

use crate::{address, endpoint, exec, knows_the_way, pings, up};
use gantry_e2e::House;
use gantry_e2e::netns::{HOUSE6, INTERNET4, INTERNET6, NEIGHBOUR4, NEIGHBOUR6, neighbour};
use gantry_e2e::talk::{Servers, reaches, unreachable};

#[test]
fn nothing_is_routed_between_bridges() {
    let house = House::apart(&[]);
    let gantry = house.gantry();
    gantry.ok(&["network", "create", "--ipv6", "one"]);
    gantry.ok(&["network", "create", "--ipv6", "two"]);
    up(&gantry, "ann", &["--network", "one"]);
    up(&gantry, "bob", &["--network", "two"]);
    up(&gantry, "cid", &[]);
    let b = house.inside("bob");
    let _servers = Servers::new(&b, "bob", &[7000]);
    let (four, six) = (
        address(&gantry, "bob", "two"),
        endpoint(&gantry, "bob", "two", "GlobalIPv6Address"),
    );
    for from in ["ann", "cid"] {
        assert!(!pings(&gantry, from, &four), "{from} to {four}");
        unreachable(&house.inside(from), &format!("{four}:7000"));
    }
    assert!(!pings(&gantry, "ann", &six), "a to {six}");
    unreachable(&house.inside("ann"), &format!("[{six}]:7000"));
    // The homework of the manual: who is in both reaches both.
    gantry.ok(&["network", "connect", "two", "ann"]);
    assert!(pings(&gantry, "ann", &four) && pings(&gantry, "ann", &six));
}

#[test]
fn an_internal_network_leads_nowhere() {
    let house = House::apart(&[]);
    let (gantry, other) = (house.gantry(), neighbour(house.netns()));
    gantry.ok(&["network", "create", "--internal", "--ipv6", "deep"]);
    assert_eq!(crate::network(&gantry, "deep")["Internal"], true);
    up(&gantry, "ann", &["--network", "deep"]);
    up(&gantry, "bob", &["--network", "deep"]);
    assert!(pings(&gantry, "ann", &address(&gantry, "bob", "deep")) && pings(&gantry, "ann", "bob"));
    assert!(pings(
        &gantry,
        "ann",
        &endpoint(&gantry, "bob", "deep", "GlobalIPv6Address")
    ));
    for family in ["-4", "-6"] {
        let routes = exec(&gantry, "ann", &format!("ip {family} route | grep default; true"));
        assert_eq!(routes, "", "{family}");
    }
    let _there = Servers::new(&other, "world", &[7000]);
    let a = house.inside("ann");
    // Not even by a route of its own.
    let deep = crate::network(&gantry, "deep");
    for (place, to) in [NEIGHBOUR4.to_owned(), format!("[{NEIGHBOUR6}]")].iter().enumerate() {
        let subnet = deep["IPAM"]["Config"][place]["Subnet"].as_str().expect("a subnet");
        let (base, _) = subnet.split_once('/').expect("a length");
        let gateway = match base.strip_suffix(".0") {
            Some(four) => format!("{four}.1"),
            None => format!("{base}1"),
        };
        a.run(&format!("ip route add default via {gateway}"));
        unreachable(&a, &format!("{to}:7000"));
    }
}

#[test]
fn without_masquerade_the_neighbour_sees_the_container() {
    let house = House::apart(&[]);
    let (gantry, other) = (house.gantry(), neighbour(house.netns()));
    let option = "com.docker.network.bridge.enable_ip_masquerade=false";
    gantry.ok(&[
        "network",
        "create",
        "--ipv6",
        "--subnet",
        "10.61.0.0/24",
        "--subnet",
        "fd00:61::/64",
        "--opt",
        option,
        "plain",
    ]);
    up(&gantry, "ann", &["--network", "plain"]);
    let _there = Servers::new(&other, "world", &[7000]);
    let a = house.inside("ann");
    unreachable(&a, &format!("{NEIGHBOUR4}:7000"));
    unreachable(&a, &format!("[{NEIGHBOUR6}]:7000"));
    knows_the_way(&other);
    reaches(&a, &format!("{NEIGHBOUR4}:7000"), "world 10.61.0.2");
    reaches(&a, &format!("[{NEIGHBOUR6}]:7000"), "world fd00:61::2");
}

#[test]
fn without_icc_containers_of_a_network_do_not_meet() {
    let house = House::apart(&[]);
    let (gantry, other) = (house.gantry(), neighbour(house.netns()));
    let option = "com.docker.network.bridge.enable_icc=false";
    gantry.ok(&["network", "create", "--ipv6", "--opt", option, "shy"]);
    up(&gantry, "ann", &["--network", "shy"]);
    up(
        &gantry,
        "bob",
        &["--network", "shy", "-p", "7100:7000", "-p", "7100:7000/udp"],
    );
    let (a, b) = (house.inside("ann"), house.inside("bob"));
    let _servers = Servers::new(&b, "bob", &[7000]);
    for to in [
        address(&gantry, "bob", "shy"),
        endpoint(&gantry, "bob", "shy", "GlobalIPv6Address"),
    ] {
        assert!(!pings(&gantry, "ann", &to), "a to {to}");
        let to = if to.contains(':') { format!("[{to}]") } else { to };
        unreachable(&a, &format!("{to}:7000"));
    }
    // The gateway, the world and published ports are for everyone.
    assert!(pings(&gantry, "ann", INTERNET4));
    reaches(&other, "192.0.2.1:7100", "bob 192.0.2.2");
    assert!(pings(&gantry, "ann", INTERNET6));
    reaches(&other, &format!("[{HOUSE6}]:7100"), &format!("bob {NEIGHBOUR6}"));
}

#[test]
fn ipv6_works_like_the_other() {
    let house = House::apart(&[]);
    let (gantry, other) = (house.gantry(), neighbour(house.netns()));
    knows_the_way(&other);
    gantry.ok(&["network", "create", "--ipv6", "--subnet", "fd00:aa::/64", "six"]);
    up(&gantry, "ann", &["--network", "six"]);
    up(
        &gantry,
        "bob",
        &[
            "--network",
            "six",
            "--ip6",
            "fd00:aa::77",
            "-p",
            "7100:7000",
            "-p",
            "7100:7000/udp",
        ],
    );
    assert_eq!(endpoint(&gantry, "bob", "six", "GlobalIPv6Address"), "fd00:aa::77");
    let own = endpoint(&gantry, "ann", "six", "GlobalIPv6Address");
    assert!(own.starts_with("fd00:aa::"), "{own}");
    assert!(pings(&gantry, "ann", "fd00:aa::77") && pings(&gantry, "ann", INTERNET6));
    let (a, b) = (house.inside("ann"), house.inside("bob"));
    let _there = Servers::new(&other, "world", &[7000]);
    let _here = Servers::new(&b, "bob", &[7000]);
    reaches(&a, &format!("[{NEIGHBOUR6}]:7000"), &format!("world {HOUSE6}"));
    reaches(&other, &format!("[{HOUSE6}]:7100"), &format!("bob {NEIGHBOUR6}"));
    unreachable(&other, "[fd00:aa::77]:7000");
    let settings = "cat /proc/sys/net/ipv6/conf/eth0/accept_ra /proc/sys/net/ipv6/conf/eth0/disable_ipv6";
    assert_eq!(exec(&gantry, "ann", settings), "0\n0");
    assert!(exec(&gantry, "ann", "ip -6 route").contains("default via fd00:aa::1"));
    // IPv6 alone, where IPv4 was said to be off.
    let created = gantry.run(&[
        "network",
        "create",
        "--ipv4=false",
        "--ipv6",
        "--subnet",
        "fd00:bb::/64",
        "alone",
    ]);
    created.exits(0);
    let text = crate::once(&gantry, &["--network", "alone"], "ip -o addr show eth0");
    assert!(text.contains("fd00:bb::") && !text.contains("inet "), "{text}");
}

#[test]
fn a_user_s_rule_that_drops_is_before_ours() {
    let house = House::apart(&[]);
    let (gantry, other) = (house.gantry(), neighbour(house.netns()));
    gantry.ok(&["network", "create", "--ipv6", "front"]);
    let flags = ["--network", "front", "-p", "7100:7000", "-p", "7100:7000/udp"];
    up(&gantry, "web", &flags);
    let web = house.inside("web");
    let _servers = Servers::new(&web, "web", &[7000]);
    for (family, to, from) in [
        ("ip", "192.0.2.1".to_owned(), NEIGHBOUR4),
        ("ip6", format!("[{HOUSE6}]"), NEIGHBOUR6),
    ] {
        let (to, answer) = (format!("{to}:7100"), format!("web {from}"));
        reaches(&other, &to, &answer);
        let table = format!(
            "table {family} user {{\nchain forward {{\ntype filter hook forward priority 0\n{family} saddr {from} drop\n}}\n}}\n"
        );
        house.netns().feed("nft -f -", &table);
        unreachable(&other, &to);
        house.netns().ok(&format!("nft delete table {family} user"));
        reaches(&other, &to, &answer);
    }
}
