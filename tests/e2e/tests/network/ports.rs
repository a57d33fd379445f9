//! Published ports: who reaches them, as whom, and who does not.

use crate::{address, knows_the_way, up};
use gantry_e2e::netns::{HOUSE4, HOUSE6, NEIGHBOUR4, NEIGHBOUR6, neighbour};
use gantry_e2e::talk::{ANSWER, SILENCE, Servers, reaches, tcp, udp, unreachable};
use gantry_e2e::{House, eventually};

/// Flags that publish a port by both protocols.
macro_rules! both {
    ($port:literal) => {
        ["-p", $port, "-p", concat!($port, "/udp")]
    };
}

/// What holds under either backend.
pub fn a_port_is_reached_from_everywhere(house: &House) {
    let (gantry, other) = (house.gantry(), neighbour(house.netns()));
    knows_the_way(&other);
    gantry.ok(&["network", "create", "--ipv6", "web"]);
    up(
        &gantry,
        "one",
        &[&["--network", "web"], &both!("8080:7000")[..]].concat(),
    );
    up(&gantry, "near", &["--network", "web"]);
    gantry.ok(&["network", "create", "--ipv6", "away"]);
    up(&gantry, "far", &["--network", "away"]);
    let one = house.inside("one");
    let _servers = Servers::new(&one, "one", &[7000]);

    // From another host, which is seen as itself.
    reaches(&other, &format!("{HOUSE4}:8080"), &format!("one {NEIGHBOUR4}"));
    reaches(&other, &format!("[{HOUSE6}]:8080"), &format!("one {NEIGHBOUR6}"));
    unreachable(&other, &format!("{HOUSE4}:7000"));
    let own = address(&gantry, "one", "web");
    unreachable(&other, &format!("{own}:7000"));
    // From this one, by each of its addresses.
    for to in [HOUSE4, "127.0.0.1", "127.3.4.5"] {
        for said in [
            tcp(house.netns(), &format!("{to}:8080"), ANSWER),
            udp(house.netns(), &format!("{to}:8080"), ANSWER),
        ] {
            assert!(
                said.as_ref().is_ok_and(|said| said.starts_with("one ")),
                "{to}: {said:?}"
            );
        }
    }
    let six = tcp(house.netns(), &format!("[{HOUSE6}]:8080"), ANSWER);
    assert!(six.as_ref().is_ok_and(|said| said.starts_with("one ")), "{six:?}");
    // From a neighbour in the same network, one in another, and from itself, by the host's address.
    for name in ["near", "far", "one"] {
        let from = house.inside(name);
        for host in [HOUSE4.to_owned(), format!("[{HOUSE6}]")] {
            let to = format!("{host}:8080");
            for said in [tcp(&from, &to, ANSWER), udp(&from, &to, ANSWER)] {
                assert!(
                    said.as_ref().is_ok_and(|said| said.starts_with("one ")),
                    "{name} by {host}: {said:?}"
                );
            }
        }
    }
    gantry.ok(&["stop", "-t", "0", "one"]);
    let closed = || tcp(&other, &format!("{HOUSE4}:8080"), SILENCE).is_err();
    eventually("it is reached no more", ANSWER, closed);
    unreachable(&other, &format!("{HOUSE4}:8080"));
}

#[test]
fn a_port_is_reached_from_everywhere_but_the_container_is_not() {
    a_port_is_reached_from_everywhere(&House::apart(&[]));
}

/// What holds under either backend.
pub fn what_is_for_loopback_stays_there(house: &House) {
    let (gantry, other) = (house.gantry(), neighbour(house.netns()));
    up(&gantry, "one", &both!("127.0.0.1:8081:7000"));
    up(&gantry, "two", &[]);
    let one = house.inside("one");
    let _servers = Servers::new(&one, "one", &[7000]);
    let mut local = Servers::none();
    local.tcp(house.netns(), "host", "127.0.0.1:8099".parse().expect("an address"));
    for said in [
        tcp(house.netns(), "127.0.0.1:8081", ANSWER),
        udp(house.netns(), "127.0.0.1:8081", ANSWER),
    ] {
        assert!(said.as_ref().is_ok_and(|said| said.starts_with("one ")), "{said:?}");
    }
    unreachable(&other, &format!("{HOUSE4}:8081"));
    unreachable(&house.inside("two"), "172.17.0.1:8081");
    // A neighbour that sends to 127.0.0.1 over the wire, and a container that does over the bridge.
    for (from, device, via) in [(&other, "out0", HOUSE4), (&house.inside("two"), "eth0", "172.17.0.1")] {
        from.ip("addr del 127.0.0.1/8 dev lo");
        from.set("ipv4/conf/all/route_localnet", "1");
        from.ip(&format!("route add 127.0.0.1/32 via {via} dev {device}"));
        unreachable(from, "127.0.0.1:8081");
        assert!(
            tcp(from, "127.0.0.1:8099", SILENCE).is_err(),
            "a server of the host's own"
        );
    }
}

#[test]
fn what_is_for_loopback_stays_there_() {
    what_is_for_loopback_stays_there(&House::apart(&[]));
}

#[test]
fn one_address_of_the_host_is_published_on() {
    let house = House::apart(&[]);
    let (gantry, other) = (house.gantry(), neighbour(house.netns()));
    house.netns().ip("addr add 192.0.2.99/24 dev out0");
    up(&gantry, "one", &both!("192.0.2.99:8080:7000"));
    up(&gantry, "two", &both!("192.0.2.1:8080:7000"));
    let (one, two) = (house.inside("one"), house.inside("two"));
    let _servers = (Servers::new(&one, "one", &[7000]), Servers::new(&two, "two", &[7000]));
    reaches(&other, "192.0.2.99:8080", &format!("one {NEIGHBOUR4}"));
    reaches(&other, "192.0.2.1:8080", &format!("two {NEIGHBOUR4}"));
    unreachable(house.netns(), "127.0.0.1:8080");
    // IPv6, and in a network without it.
    gantry.ok(&["network", "create", "--ipv6", "six"]);
    let port = format!("[{HOUSE6}]:8082:7000");
    up(&gantry, "three", &["--network", "six", "-p", &port]);
    let three = house.inside("three");
    let _third = Servers::new(&three, "three", &[7000]);
    let said = tcp(&other, &format!("[{HOUSE6}]:8082"), ANSWER);
    assert_eq!(said.ok(), Some(format!("three {NEIGHBOUR6}")));
    // Not an address of this host.
    let output = gantry.run(&["run", "--rm", "-p", "203.0.113.9:80:80", "busybox", "true"]);
    output.exits(125).says("203.0.113.9:80");
}

/// `[::1]` has no way in this kernel's NAT: refused with a word, or it works.
#[test]
fn loopback_of_ipv6_works_or_is_refused_with_a_word() {
    let house = House::apart(&[]);
    let gantry = house.gantry();
    gantry.ok(&["network", "create", "--ipv6", "six"]);
    let args = [
        "run",
        "-d",
        "--name",
        "one",
        "--network",
        "six",
        "-p",
        "[::1]:8080:7000",
        "busybox",
        "sleep",
        "1000",
    ];
    let output = gantry.run(&args);
    if output.code == 0 {
        let one = house.inside("one");
        let _servers = Servers::new(&one, "one", &[7000]);
        let said = tcp(house.netns(), "[::1]:8080", ANSWER);
        assert!(said.as_ref().is_ok_and(|said| said.starts_with("one ")), "{said:?}");
    } else {
        assert!(output.stderr.contains("::1"), "{}", output.stderr);
    }
}
