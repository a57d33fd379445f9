//! The default bridge.

use crate::{address, exec, inspect, knows_the_way, network, once, pings, up};
use gantry_e2e::netns::{HOUSE4, HOUSE6, INTERNET4, INTERNET6, NEIGHBOUR4, NEIGHBOUR6, neighbour};
use gantry_e2e::talk::{Servers, reaches, unreachable};
use gantry_e2e::{House, Netns, eventually};
use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

#[test]
fn a_container_gets_an_address_and_the_way_out() {
    let house = House::apart(&[]);
    let (gantry, other) = (house.gantry(), neighbour(house.netns()));
    knows_the_way(&other);
    let bridge = network(&gantry, "bridge");
    assert_eq!(bridge["Driver"], "bridge");
    assert_eq!(bridge["IPAM"]["Config"][0]["Subnet"], "172.17.0.0/16");
    let id = up(&gantry, "one", &[]);
    up(&gantry, "two", &[]);
    let seen = inspect(&gantry, "one");
    let settings = &seen["NetworkSettings"];
    assert_eq!(settings["IPAddress"], "172.17.0.2", "{settings:#}");
    assert_eq!(settings["IPPrefixLen"], 16);
    assert_eq!(settings["Gateway"], "172.17.0.1");
    assert_eq!(settings["MacAddress"], "02:42:ac:11:00:02");
    let end = &settings["Networks"]["bridge"];
    assert_eq!(end["IPAddress"], "172.17.0.2");
    assert_eq!(end["NetworkID"], bridge["Id"]);
    assert_eq!(end["EndpointID"].as_str().map(str::len), Some(64));
    assert_eq!(address(&gantry, "two", "bridge"), "172.17.0.3");
    let members = network(&gantry, "bridge");
    let member = &members["Containers"][&id];
    assert_eq!(member["Name"], "one", "{members:#}");
    assert_eq!(member["IPv4Address"], "172.17.0.2/16");

    let inside = exec(
        &gantry,
        "one",
        "ip -o -4 addr show eth0; ip route; cat /sys/class/net/eth0/address",
    );
    assert!(inside.contains("172.17.0.2/16"), "{inside}");
    assert!(inside.contains("default via 172.17.0.1 dev eth0"), "{inside}");
    assert!(inside.contains("02:42:ac:11:00:02"), "{inside}");
    assert!(pings(&gantry, "one", "172.17.0.3") && pings(&gantry, "one", "172.17.0.1"));
    assert!(pings(&gantry, "one", INTERNET4), "the Internet");

    // Masqueraded: the neighbour sees the house, and nobody else may begin.
    let one = house.inside("one");
    let _there = Servers::new(&other, "world", &[7000]);
    let _here = Servers::new(&one, "one", &[7001]);
    reaches(&one, &format!("{NEIGHBOUR4}:7000"), &format!("world {HOUSE4}"));
    reaches(house.netns(), "172.17.0.2:7001", "one 172.17.0.1");
    reaches(&house.inside("two"), "172.17.0.2:7001", "one 172.17.0.3");
    unreachable(&other, "172.17.0.2:7001");
}

#[test]
fn the_default_bridge_has_ipv6_where_it_is_told_to() {
    let flags = [
        "--ipv6",
        "--bip6",
        "fd00:17::1/64",
        "--bip",
        "10.77.0.1/24",
        "--default-gateway",
        "10.77.0.7",
        "--default-gateway-v6",
        "fd00:17::7",
    ];
    let mut house = House::apart(&flags);
    let gantry = house.gantry();
    up(&gantry, "one", &[]);
    let routes = exec(&gantry, "one", "ip route; ip -6 route");
    assert!(routes.contains("default via 10.77.0.7"), "{routes}");
    assert!(routes.contains("default via fd00:17::7"), "{routes}");
    gantry.ok(&["rm", "-f", "one"]);
    // Without the gateway elsewhere it is the bridge.
    house.stop_daemon();
    house.set_flags(&flags[..3]);
    house.start();
    let other = neighbour(house.netns());
    knows_the_way(&other);
    up(&gantry, "one", &["-p", "8080:7001", "-p", "8080:7001/udp"]);
    up(&gantry, "two", &[]);
    let settings = inspect(&gantry, "one")["NetworkSettings"].clone();
    assert_eq!(settings["GlobalIPv6Address"], "fd00:17::2", "{settings:#}");
    assert_eq!(settings["GlobalIPv6PrefixLen"], 64);
    assert_eq!(settings["IPv6Gateway"], "fd00:17::1");
    let inside = exec(&gantry, "one", "ip -o -6 addr show eth0; ip -6 route; cat /etc/hosts");
    assert!(inside.contains("fd00:17::2/64"), "{inside}");
    assert!(inside.contains("default via fd00:17::1 dev eth0"), "{inside}");
    assert!(inside.lines().any(|line| line.starts_with("fd00:17::2\t")), "{inside}");
    assert!(pings(&gantry, "one", "fd00:17::3") && pings(&gantry, "one", INTERNET6));
    let one = house.inside("one");
    let _there = Servers::new(&other, "world", &[7000]);
    let _here = Servers::new(&one, "one", &[7001]);
    reaches(&one, &format!("[{NEIGHBOUR6}]:7000"), &format!("world {HOUSE6}"));
    reaches(&other, &format!("[{HOUSE6}]:8080"), &format!("one {NEIGHBOUR6}"));
    unreachable(&other, "[fd00:17::2]:7001");
}

#[test]
fn stats_count_what_goes_through_the_interfaces() {
    let house = House::apart(&[]);
    let gantry = house.gantry();
    up(&gantry, "one", &[]);
    up(&gantry, "two", &["--network", "container:one"]);
    up(&gantry, "host", &["--network", "host"]);
    exec(&gantry, "one", "ping -c 3 -s 1000 -i 0.1 172.17.0.1");
    let line = |name: &str| gantry.ok(&["stats", "--no-stream", "--format", "{{.NetIO}}", name]);
    for name in ["one", "two"] {
        let said = line(name);
        let both: Vec<&str> = said.split(" / ").collect();
        assert!(
            both.len() == 2 && both.iter().all(|count| count.ends_with("kB")),
            "{name}: {said}"
        );
    }
    assert_eq!(line("host"), "0B / 0B");
}

#[test]
fn the_sandbox_s_file_is_a_namespace_for_as_long_as_it_runs() {
    let house = House::apart(&[]);
    let gantry = house.gantry();
    up(&gantry, "one", &[]);
    let seen = inspect(&gantry, "one");
    let key = seen["NetworkSettings"]["SandboxKey"]
        .as_str()
        .expect("a path")
        .to_owned();
    let pid = &seen["State"]["Pid"];
    let inode = |path: &str| fs::metadata(path).expect("a namespace").ino();
    assert_eq!(inode(&key), inode(&format!("/proc/{pid}/ns/net")));
    let text = house.inside("one").ip("addr show eth0");
    assert!(text.contains("inet 172.17.0.2/16"), "{text}");
    gantry.ok(&["stop", "-t", "0", "one"]);
    eventually("the file goes", Duration::from_secs(10), || {
        !std::path::Path::new(&key).exists()
    });
    let settings = &inspect(&gantry, "one")["NetworkSettings"];
    assert_eq!(
        (&settings["SandboxKey"], &settings["IPAddress"]),
        (&"".into(), &"".into())
    );
    gantry.ok(&["start", "one"]);
    let given = address(&gantry, "one", "bridge");
    assert!(given.starts_with("172.17.0."), "{given}");
}

#[test]
fn the_files_name_the_container_and_servers_outside() {
    let house = House::apart(&["--dns-search", "example.org"]);
    let gantry = house.gantry();
    let flags = [
        "--hostname",
        "box",
        "--add-host",
        "up:host-gateway",
        "--add-host",
        "db:192.0.2.77",
    ];
    let hosts = once(&gantry, &flags, "cat /etc/hosts; cat /etc/hostname");
    for line in [
        "127.0.0.1\tlocalhost",
        "172.17.0.2\tbox",
        "172.17.0.1\tup",
        "192.0.2.77\tdb",
    ] {
        assert!(hosts.lines().any(|has| has == line), "{line:?} in {hosts}");
    }
    assert_eq!(hosts.lines().last(), Some("box"));
    let resolv = once(&gantry, &[], "cat /etc/resolv.conf");
    assert!(
        !resolv.contains("127.0.0."),
        "no server of the host's loopback: {resolv}"
    );
    assert!(resolv.contains("search example.org"), "{resolv}");
    let flags = [
        "--dns",
        "198.51.100.1",
        "--dns-search",
        "a.test",
        "--dns-option",
        "ndots:3",
    ];
    let resolv = once(&gantry, &flags, "cat /etc/resolv.conf");
    for line in ["nameserver 198.51.100.1", "search a.test", "options ndots:3"] {
        assert!(resolv.lines().any(|has| has == line), "{line:?} in {resolv}");
    }
    // What a container writes into its files is its own.
    up(&gantry, "one", &[]);
    exec(&gantry, "one", "echo 192.0.2.9 mine >> /etc/hosts");
    assert!(exec(&gantry, "one", "cat /etc/hosts").contains("mine"));
}

#[test]
fn the_configuration_says_what_the_bridge_is() {
    let flags = [
        "--bip",
        "10.77.0.1/24",
        "--fixed-cidr",
        "10.77.0.128/25",
        "--mtu",
        "1400",
    ];
    let mut house = House::apart(&flags);
    let gantry = house.gantry();
    up(&gantry, "one", &[]);
    let given: Ipv4Addr = address(&gantry, "one", "bridge").parse().expect("an address");
    assert!(
        given.octets()[..3] == [10, 77, 0] && given.octets()[3] >= 128,
        "{given}"
    );
    assert_eq!(inspect(&gantry, "one")["NetworkSettings"]["Gateway"], "10.77.0.1");
    assert_eq!(exec(&gantry, "one", "cat /sys/class/net/eth0/mtu"), "1400");
    gantry.ok(&["rm", "-f", "one"]);
    // P23: what the configuration does not say any more is gone.
    house.stop_daemon();
    house.set_flags(&[]);
    house.start();
    up(&gantry, "one", &[]);
    assert_eq!(address(&gantry, "one", "bridge"), "172.17.0.2");
    assert_eq!(exec(&gantry, "one", "cat /sys/class/net/eth0/mtu"), "1500");
    assert!(!house.netns().ip("-4 addr").contains("10.77."));
}

#[test]
fn a_subnet_that_the_host_has_is_not_taken() {
    let mut house = House::apart(&["--bridge", "none"]);
    let gantry = house.gantry();
    assert_eq!(gantry.run(&["network", "inspect", "bridge"]).code, 1);
    house.stop_daemon();
    let other = Netns::new();
    house.netns().cable("outer", &other, "outer");
    house.netns().ip("addr add 172.17.3.4/24 dev outer");
    house.set_flags(&[]);
    house.start();
    assert_eq!(
        network(&gantry, "bridge")["IPAM"]["Config"][0]["Subnet"],
        "172.18.0.0/16"
    );
}

#[test]
fn others_who_drop_in_forward_are_told_of_us() {
    let house = House::apart(&[]);
    let netns = house.netns();
    let (gantry, other) = (house.gantry(), neighbour(netns));
    netns.ok("iptables -P FORWARD DROP");
    up(&gantry, "one", &["-p", "7002:7002"]);
    let one = house.inside("one");
    let _there = Servers::new(&other, "world", &[7000]);
    let _here = Servers::new(&one, "one", &[7002]);
    reaches(&one, &format!("{NEIGHBOUR4}:7000"), &format!("world {HOUSE4}"));
    let said = gantry_e2e::talk::tcp(&other, &format!("{HOUSE4}:7002"), gantry_e2e::talk::ANSWER);
    assert_eq!(said.ok().as_deref(), Some("one 192.0.2.2"));
    gantry.ok(&["rm", "-f", "one"]);
}
