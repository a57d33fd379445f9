//! The network section of the manual (004), command by command, under either firewall backend: `gantry` for docker, the daemon's
//! default bridge for docker0, our sandbox files, a neighbour that stands for the Internet, and no proxy process. What the backend
//! for iptables lists is compared in its own tests.

use crate::{address, exec, inspect, network, once};
use gantry_e2e::netns::{INTERNET4, INTERNET6, NEIGHBOUR4, NEIGHBOUR6, neighbour};
use gantry_e2e::talk::{Servers, reaches, tcp, unreachable};
use gantry_e2e::{Gantry, House, Netns};
use std::time::Duration;

const FIRST: &str = "my-bridge-001";
const SECOND: &str = "my-bridge-002";
const THIRD: &str = "my-bridge-003";
const NGINX: &str = "nginx";

/// The bridge of a user-defined network.
fn device(id: &str) -> String {
    format!("br-{}", &id[..12])
}

/// The wire of the veth that leads out of a container, seen from the host: its name and the bridge it is in.
fn host_end(house: &House, container: &Netns, interface: &str) -> (String, String) {
    let inside = container.ip(&format!("-o link show {interface}"));
    let index = inside.split('@').nth(1).and_then(|rest| rest.strip_prefix("if"));
    let index = index
        .and_then(|rest| rest.split(':').next())
        .expect("the other end's number");
    let links = house.netns().ip("-o link show");
    let end = links.lines().find(|line| line.starts_with(&format!("{index}: ")));
    let end = end.unwrap_or_else(|| panic!("no link {index}: {links}"));
    let name = end.split([' ', '@']).nth(1).expect("a name");
    let master = end.split(" master ").nth(1).and_then(|rest| rest.split(' ').next());
    (name.to_owned(), master.expect("a bridge").to_owned())
}

/// `docker network create`, `network ls -f driver=bridge`, `ip a`, `brctl show`.
fn a_bridge_is_made(house: &House, gantry: &Gantry) -> String {
    let id = gantry.ok(&["network", "create", FIRST]);
    assert_eq!(id.len(), 64, "{id}");
    let listed = gantry.ok(&["network", "ls", "-f", "driver=bridge"]);
    let mut rows = listed.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    assert_eq!(
        rows.next().expect("a head"),
        ["NETWORK", "ID", "NAME", "DRIVER", "SCOPE"]
    );
    let mut rows: Vec<_> = rows.map(|row| row[1..].join(" ")).collect();
    rows.sort();
    assert_eq!(rows, ["bridge bridge local", "my-bridge-001 bridge local"]);
    assert!(listed.contains(&id[..12]));
    let shown = house.netns().ip(&format!("addr show {}", device(&id)));
    for part in [
        "NO-CARRIER,BROADCAST,MULTICAST,UP",
        "inet 172.18.0.1/16 brd 172.18.255.255 scope global",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    device(&id)
}

/// The embedded DNS serves user-defined networks only.
fn names_are_known_in_user_defined_networks(gantry: &Gantry) {
    gantry.ok(&["run", "--rm", "--name", "c1", "-itd", "busybox", "sh"]);
    gantry.ok(&[
        "run",
        "--rm",
        "--name",
        "c2",
        "-itd",
        "--network",
        FIRST,
        "busybox",
        "sh",
    ]);
    let ping = |flags: &[&str], name: &str| {
        let mut args = vec!["run", "--rm", "--name", "c3"];
        args.extend(flags);
        args.extend(["busybox", "ping", "-c", "2", name]);
        gantry.run(&args)
    };
    for name in ["c1", "c2"] {
        let seen = ping(&[], name);
        assert_eq!(
            (seen.code, seen.stderr.trim()),
            (1, &*format!("ping: bad address '{name}'"))
        );
    }
    let seen = ping(&["--network", FIRST], "c2");
    assert_eq!(seen.code, 0, "{}", seen.stderr);
    assert!(
        seen.stdout.starts_with("PING c2 (172.18.0.2): 56 data bytes"),
        "{}",
        seen.stdout
    );
    assert!(
        seen.stdout
            .contains("2 packets transmitted, 2 packets received, 0% packet loss")
    );
    let seen = ping(&["--network", FIRST], "c1");
    assert_eq!((seen.code, seen.stderr.trim()), (1, "ping: bad address 'c1'"));
}

/// Each container sees its own interfaces; the host has the other end, in the network's bridge.
fn a_pair_leads_out(house: &House, gantry: &Gantry, bridge: &str) {
    let inside = exec(gantry, "c2", "ip a");
    assert!(inside.contains("eth0@if"), "{inside}");
    assert!(
        inside.contains("inet 172.18.0.2/16 brd 172.18.255.255 scope global eth0"),
        "{inside}"
    );
    assert!(inside.contains("02:42:ac:12:00:02"), "{inside}");
    let (end, master) = host_end(house, &house.inside("c2"), "eth0");
    assert!(end.starts_with("veth"), "{end}");
    assert_eq!(master, bridge);
    let (_, master) = host_end(house, &house.inside("c1"), "eth0");
    assert_eq!(
        master,
        house.instance().replace("gantry-", "gtry-"),
        "the default bridge has the other"
    );
    let seen = exec(gantry, "c2", &format!("ping -c 2 {INTERNET4}"));
    assert!(seen.contains("2 packets transmitted, 2 packets received"), "{seen}");
    let key = inspect(gantry, "c2")["NetworkSettings"]["SandboxKey"].clone();
    let key = key.as_str().expect("a path");
    assert!(
        key.starts_with(&house.exec_root().join("netns").display().to_string()),
        "{key}"
    );
    gantry.ok(&["rm", "-f", "c1", "c2"]);
}

/// No way between bridges, until the reader has done the homework.
fn nothing_is_routed(house: &House, gantry: &Gantry) {
    gantry.ok(&["network", "create", SECOND]);
    gantry.ok(&[
        "run",
        "--rm",
        "--name",
        "c1",
        "--network",
        FIRST,
        "-itd",
        "busybox",
        "sh",
    ]);
    let four = address(gantry, "c1", FIRST);
    let ping = |to: &str| {
        let args = [
            "run",
            "--rm",
            "--name",
            "c2",
            "--network",
            SECOND,
            "busybox",
            "ping",
            "-c",
            "1",
            "-W",
            "1",
            to,
        ];
        gantry.run(&args)
    };
    let seen = ping(&four);
    assert_eq!(seen.code, 1, "{}", seen.stdout);
    assert!(
        seen.stdout.contains("0 packets received, 100% packet loss"),
        "{}",
        seen.stdout
    );
    // The homework: a container that is in both networks.
    gantry.ok(&[
        "run",
        "-itd",
        "--rm",
        "--name",
        "c2",
        "--network",
        SECOND,
        "busybox",
        "sh",
    ]);
    gantry.ok(&["network", "connect", FIRST, "c2"]);
    let seen = exec(gantry, "c2", &format!("ping -c 3 {four}"));
    assert!(
        seen.contains("3 packets transmitted, 3 packets received, 0% packet loss"),
        "{seen}"
    );
    gantry.ok(&["rm", "-f", "c1", "c2"]);
    gantry_e2e::eventually("their pairs are gone", gantry_e2e::PATIENCE, || {
        house.netns().links().iter().all(|link| !link.starts_with("veth"))
    });
}

/// Prefix of interfaces, no masquerade, no talk among containers.
fn options_are_obeyed(house: &House, gantry: &Gantry, other: &Netns) {
    let id = gantry.ok(&[
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
        THIRD,
    ]);
    for name in ["c1", "c2"] {
        gantry.ok(&[
            "run",
            "--rm",
            "--name",
            name,
            "--network",
            THIRD,
            "-itd",
            "busybox",
            "sh",
        ]);
    }
    let one = address(gantry, "c1", THIRD);
    assert!(one.starts_with("172.25.100."), "{one}");
    assert!(exec(gantry, "c1", "ip a").contains(" intf0@if"));
    let (_, master) = host_end(house, &house.inside("c1"), "intf0");
    assert_eq!(master, device(&id));
    assert!(!crate::pings(gantry, "c2", &one), "no talk within the network");
    unreachable(&house.inside("c2"), &format!("{one}:80"));
    // Its packets go out with their own source, which the neighbour does not know the way to.
    let _there = Servers::new(other, "world", &[7000]);
    unreachable(&house.inside("c1"), &format!("{NEIGHBOUR4}:7000"));
    other.ip("route add 172.25.0.0/16 via 192.0.2.1");
    reaches(
        &house.inside("c1"),
        &format!("{NEIGHBOUR4}:7000"),
        &format!("world {one}"),
    );
    other.ip("route del 172.25.0.0/16");
    gantry.ok(&["rm", "-f", "c1", "c2"]);
    assert_eq!(
        network(gantry, THIRD)["Options"]["com.docker.network.container_iface_prefix"],
        "intf"
    );
    gantry.ok(&["network", "rm", THIRD]);
}

/// `-p 8080:80/tcp -p 8443:443/tcp`: reached from here and from elsewhere; the shim holds the ports and no process carries bytes.
fn ports_are_published(house: &House, gantry: &Gantry, other: &Netns) {
    gantry.ok(&["tag", "busybox", NGINX]);
    let serve = "echo hello > /tmp/index.html; httpd -p 443 -h /tmp; exec httpd -f -p 80 -h /tmp";
    let flags = [
        "run",
        "-d",
        "-p",
        "8080:80/tcp",
        "-p",
        "8443:443/tcp",
        "--name",
        "c1",
        "--rm",
        "--network",
        FIRST,
    ];
    let mut args = flags.to_vec();
    args.extend([NGINX, "sh", "-c", serve]);
    gantry.ok(&args);
    let limit = Duration::from_secs(20);
    for (from, host) in [
        (other, "192.0.2.1"),
        (house.netns(), "127.0.0.1"),
        (house.netns(), "192.0.2.1"),
    ] {
        for port in [8080, 8443] {
            gantry_e2e::eventually("the page", limit, || {
                let page = from.run(&format!(
                    "timeout 5 busybox wget -q -O - http://{host}:{port}/index.html"
                ));
                page.stdout.trim() == "hello"
            });
        }
    }
    let ports = gantry.ok(&["port", "c1"]);
    for line in ["80/tcp -> 0.0.0.0:8080", "443/tcp -> 0.0.0.0:8443"] {
        assert!(ports.lines().any(|shown| shown == line), "{line}: {ports}");
    }
    let holders = house.netns().ok("ss -ltunpH");
    for line in holders
        .lines()
        .filter(|line| line.contains(":8080") || line.contains(":8443"))
    {
        assert!(line.contains("containerd-shim"), "{line}");
    }
    gantry.ok(&["rm", "-f", "c1"]);
    assert!(
        tcp(other, "192.0.2.1:8080", Duration::from_secs(2)).is_err(),
        "not published any more"
    );
}

/// All of it by IPv6.
fn the_same_by_ipv6(house: &House, gantry: &Gantry, other: &Netns) {
    const SIX: [&str; 2] = ["my-bridge-006", "my-bridge-007"];
    for name in SIX {
        gantry.ok(&["network", "create", "--ipv6", name]);
    }
    let serve = "echo hello > /tmp/index.html; exec httpd -f -p 80 -h /tmp";
    let mut args = vec![
        "run",
        "-d",
        "--rm",
        "--name",
        "c1",
        "--network",
        SIX[0],
        "-p",
        "8080:80",
    ];
    args.extend(["busybox", "sh", "-c", serve]);
    gantry.ok(&args);
    let answered = "1 packets transmitted, 1 packets received";
    let seen = once(gantry, &["--network", SIX[0]], "ping -6 -c 1 c1");
    assert!(seen.contains("PING c1 (fd") && seen.contains(answered), "{seen}");
    let seen = exec(gantry, "c1", &format!("ping -c 1 {INTERNET6}"));
    assert!(seen.contains(answered), "{seen}");
    let six = crate::endpoint(gantry, "c1", SIX[0], "GlobalIPv6Address");
    let seen = once(gantry, &["--network", SIX[1]], &format!("ping -c 1 -W 1 {six}; true"));
    assert!(seen.contains("0 packets received, 100% packet loss"), "{seen}");
    for (from, host) in [(other, "[2001:db8:1::1]"), (house.netns(), "[2001:db8:1::1]")] {
        gantry_e2e::eventually("the page", Duration::from_secs(20), || {
            let page = from.run(&format!("timeout 5 busybox wget -q -O - http://{host}:8080/index.html"));
            page.stdout.trim() == "hello"
        });
    }
    let ports = gantry.ok(&["port", "c1"]);
    assert!(ports.lines().any(|line| line == "80/tcp -> [::]:8080"), "{ports}");
    gantry.ok(&["rm", "-f", "c1"]);
    gantry.ok(&["network", "rm", SIX[0], SIX[1]]);
}

/// The modes that have no bridge.
fn other_drivers(house: &House, gantry: &Gantry) {
    let seen = once(gantry, &["--network", "host"], "ip -o link");
    for link in house.netns().links().iter().filter(|link| !link.starts_with("veth")) {
        assert!(seen.contains(&format!(": {link}")), "{link}: {seen}");
    }
    let seen = once(gantry, &["--network", "none"], "ip -o link");
    assert!(seen.lines().all(|line| line.contains(": lo:")), "{seen}");
}

/// Addresses of the neighbour's network, and a MAC of the container's own.
fn in_the_underlay(house: &House, gantry: &Gantry, other: &Netns) {
    let wire = gantry_e2e::netns::WIRE;
    let args = [
        "network",
        "create",
        "-d",
        "macvlan",
        "--subnet",
        "192.0.2.0/24",
        "--gateway",
        NEIGHBOUR4,
        "--ipv6",
        "--subnet",
        "2001:db8:1::/64",
        "--gateway",
        NEIGHBOUR6,
        "-o",
        &format!("parent={wire}"),
        "under",
    ];
    gantry.ok(&args);
    let flags = [
        "run",
        "--rm",
        "--name",
        "c1",
        "--network",
        "under",
        "--ip",
        "192.0.2.77",
        "--ip6",
        "2001:db8:1::77",
        "-itd",
    ];
    let mut args = flags.to_vec();
    args.extend(["busybox", "sh"]);
    gantry.ok(&args);
    let _here = Servers::new(&house.inside("c1"), "c1", &[80]);
    reaches(other, "192.0.2.77:80", "c1 192.0.2.2");
    reaches(other, "[2001:db8:1::77]:80", "c1 2001:db8:1::2");
    let mac = inspect(gantry, "c1")["NetworkSettings"]["Networks"]["under"]["MacAddress"].clone();
    let mac = mac.as_str().expect("a MAC").to_owned();
    assert!(
        other.ip("neigh show 192.0.2.77").contains(&mac),
        "it is seen by its own MAC"
    );
    gantry.ok(&["rm", "-f", "c1"]);
    gantry.ok(&["network", "rm", "under"]);
}

fn the_section(flags: &[&str]) {
    let house = House::apart(flags);
    let other = neighbour(house.netns());
    let gantry = house.gantry();
    let bridge = a_bridge_is_made(&house, &gantry);
    names_are_known_in_user_defined_networks(&gantry);
    a_pair_leads_out(&house, &gantry, &bridge);
    nothing_is_routed(&house, &gantry);
    options_are_obeyed(&house, &gantry, &other);
    ports_are_published(&house, &gantry, &other);
    the_same_by_ipv6(&house, &gantry, &other);
    other_drivers(&house, &gantry);
    in_the_underlay(&house, &gantry, &other);
    gantry.ok(&["network", "rm", FIRST, SECOND]);
}

#[test]
fn the_network_section_works_by_nftables() {
    the_section(&[]);
}

#[test]
fn the_network_section_works_by_iptables() {
    the_section(&["--firewall-backend", "iptables"]);
}
