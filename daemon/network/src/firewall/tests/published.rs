//! Published ports from everywhere, and what is not published from nowhere.

use super::lab::{LONG, Lab, both, endpoint, eventually, rules};
use super::{Which, misses, reaches, wall};
use crate::ports::Allocator;
use gantry_core::network::{PortBinding, PortRange};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

fn everywhere(which: Which, bridge_calls: bool) {
    let lab = Lab::new(bridge_calls);
    lab.settled();
    let wall = wall(&lab, which, rules());
    assert!(
        lab.host.run(|| wall.backend.intact(&wall.rules()).unwrap()),
        "what was said is what is there"
    );

    // From another host: sources are preserved, in both families and protocols.
    reaches(&lab.neighbour, "192.0.2.1:8080", "a1 saw 192.0.2.2");
    reaches(&lab.neighbour, "[fd01::1]:8080", "a1 saw fd01::2");
    assert_eq!(
        lab.neighbour.ask_udp("192.0.2.1:5353").as_deref(),
        Some("a1 saw 192.0.2.2")
    );
    assert_eq!(
        lab.neighbour.ask_udp("[fd01::1]:5353").as_deref(),
        Some("a1 saw fd01::2")
    );
    reaches(&lab.neighbour, "192.0.2.1:8082", "a1 saw 192.0.2.2");

    // From this host, by every name that it has.
    reaches(&lab.host, "127.0.0.1:8080", "a1 saw 172.18.0.1");
    reaches(&lab.host, "127.0.0.1:8081", "a1 saw 172.18.0.1");
    assert!(lab.host.ask_udp("127.0.0.1:5353").is_some());
    for address in [
        "192.0.2.1:8080",
        "192.0.2.1:8082",
        "172.18.0.1:8080",
        "172.19.0.1:8080",
        "[fd01::1]:8080",
        "[fd18::1]:8080",
    ] {
        assert!(
            lab.host
                .ask_within(address, LONG)
                .is_some_and(|answer| answer.starts_with("a1 saw ")),
            "{address}"
        );
    }
    reaches(&lab.host, "172.18.0.2:80", "a1 saw 172.18.0.1");

    // From containers by the host's addresses: oneself, a neighbour on the bridge, another network.
    for from in [&lab.a1, &lab.a2, &lab.b1] {
        for address in ["192.0.2.1:8080", "172.18.0.1:8080", "[fd01::1]:8080", "[fd18::1]:8080"] {
            let answer = from.ask_within(address, LONG);
            assert!(
                answer.as_ref().is_some_and(|answer| answer.starts_with("a1 saw ")),
                "{address}: {answer:?}"
            );
        }
        assert!(from.ask_udp("192.0.2.1:5353").is_some());
        assert!(from.ask_udp("[fd01::1]:5353").is_some());
    }

    // Directly: within a network, and not from elsewhere, published or not, on the loopback or not.
    reaches(&lab.a2, "172.18.0.2:80", "a1 saw 172.18.0.3");
    reaches(&lab.a2, "[fd18::2]:80", "a1 saw fd18::3");
    for address in ["172.18.0.2:80", "172.18.0.2:81", "[fd18::2]:80", "[fd18::2]:81"] {
        misses(&lab.neighbour, address);
        misses(&lab.b1, address);
    }
    misses(&lab.neighbour, "192.0.2.1:8081");
    misses(&lab.a2, "192.0.2.1:8081");

    // To the world.
    reaches(&lab.a1, "192.0.2.2:7000", "neighbour saw 192.0.2.1");
    reaches(&lab.a1, "[fd01::2]:7000", "neighbour saw fd01::1");
    assert_eq!(
        lab.a1.ask_udp("192.0.2.2:7000").as_deref(),
        Some("neighbour saw 192.0.2.1")
    );

    // Nothing is left.
    lab.host.run(|| wall.clear().unwrap());
    misses(&lab.neighbour, "192.0.2.1:8080");
    let left = lab
        .host
        .sh("nft list ruleset; iptables-save; ip6tables-save; cat /proc/sys/net/ipv4/conf/br-a/route_localnet");
    assert!(
        !left.contains("br-a") && !left.contains("DOCKER") && !left.contains("gantry"),
        "{left}"
    );
    assert_eq!(left.lines().last(), Some("0"));
}

#[test]
fn nftables_with_frames_of_bridges_in_its_rules() {
    everywhere(Which::Nft, true);
}

#[test]
fn nftables_without() {
    everywhere(Which::Nft, false);
}

#[test]
fn iptables_with_frames_of_bridges_in_its_rules() {
    everywhere(Which::Iptables, true);
}

#[test]
fn iptables_without() {
    everywhere(Which::Iptables, false);
}

/// Somebody on the wire, or in a container, who sends to 127.0.0.1 of the host, or from it.
fn loopback_is_ours(which: Which) {
    let lab = Lab::new(false);
    lab.settled();
    let _wall = wall(&lab, which, rules());
    // Published, so the bridge carries what comes from the loopback.
    assert_eq!(
        lab.host.sh("cat /proc/sys/net/ipv4/conf/br-a/route_localnet").trim(),
        "1"
    );
    assert_eq!(
        lab.host.sh("cat /proc/sys/net/ipv4/conf/br-b/route_localnet").trim(),
        "0"
    );
    reaches(&lab.host, "127.0.0.1:8081", "a1 saw 172.18.0.1");
    reaches(&lab.host, "127.0.0.1:7000", "host saw 127.0.0.1");
    lab.host.sh(
        "echo 1 > /proc/sys/net/ipv4/conf/lan/route_localnet; echo 1 > /proc/sys/net/ipv4/conf/br-a/route_localnet",
    );
    for (space, device, gateway) in [(&lab.neighbour, "lan", "192.0.2.1"), (&lab.a2, "eth0", "172.18.0.1")] {
        space.sh(&format!(
            "echo 1 > /proc/sys/net/ipv4/conf/{device}/route_localnet
             ip route del local 127.0.0.0/8 dev lo table local; ip route del local 127.0.0.1 dev lo table local
             ip route add 127.0.0.1 via {gateway}"
        ));
        misses(space, "127.0.0.1:7000");
        misses(space, "127.0.0.1:8081");
        misses(space, "127.0.0.1:8080");
    }
}

#[test]
fn loopback_under_nftables() {
    loopback_is_ours(Which::Nft);
}

#[test]
fn loopback_under_iptables() {
    loopback_is_ours(Which::Iptables);
}

/// `[::1]` is left to the socket that holds the port: it refuses at once, so that clients go on.
fn ipv6_loopback(which: Which) {
    let lab = Lab::new(false);
    lab.settled();
    let _wall = wall(&lab, which, rules());
    lab.host.run(|| {
        let binding = PortBinding {
            container: "80".parse().unwrap(),
            host: None,
            ports: Some(PortRange::one(8080)),
        };
        let _held = Allocator::default().reserve(&[binding], None).unwrap().keep();
        let started = Instant::now();
        let address: SocketAddr = "[::1]:8080".parse().unwrap();
        let error = TcpStream::connect_timeout(&address, Duration::from_secs(5)).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
        assert!(started.elapsed() < Duration::from_secs(1));
        assert!(TcpStream::connect("localhost:8080").is_ok(), "a client that tries both");
    });
}

#[test]
fn ipv6_loopback_under_nftables() {
    ipv6_loopback(Which::Nft);
}

#[test]
fn ipv6_loopback_under_iptables() {
    ipv6_loopback(Which::Iptables);
}

/// Datagrams from one socket go to whoever has the port now.
fn moved(which: Which) {
    let lab = Lab::new(false);
    lab.settled();
    let wall = wall(&lab, which, rules());
    let socket = lab.neighbour.run(|| UdpSocket::bind("0.0.0.0:4444").unwrap());
    socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let ask = |port: u16| {
        socket.send_to(b"?", ("192.0.2.1", port)).unwrap();
        let mut buffer = [0; 64];
        let count = socket.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..count]).into_owned())
    };
    assert_eq!(ask(5353).as_deref(), Some("a1 saw 192.0.2.2"));
    assert_eq!(ask(5454), None);
    let change = |edit: &(dyn Fn(&mut crate::firewall::Rules) + Sync)| {
        lab.host.run(|| wall.change(|rules| edit(rules)).unwrap())
    };
    // Gone: not answered by who had it.
    change(&|rules| drop(rules.endpoints.remove("a1")));
    assert_eq!(ask(5353), None);
    change(&|rules| {
        let mut ports = both("80/udp", 5353).to_vec();
        ports.extend(both("80/udp", 5454));
        rules.endpoints.insert("a2".to_owned(), endpoint("a2", ports));
    });
    eventually(Duration::from_secs(3), || {
        ask(5353).as_deref() == Some("a2 saw 192.0.2.2")
    });
    eventually(Duration::from_secs(3), || {
        ask(5454).as_deref() == Some("a2 saw 192.0.2.2")
    });
    misses(&lab.neighbour, "192.0.2.1:8080");
    assert!(lab.host.run(|| wall.backend.intact(&wall.rules()).unwrap()));
}

#[test]
fn ports_move_under_nftables() {
    moved(Which::Nft);
}

#[test]
fn ports_move_under_iptables() {
    moved(Which::Iptables);
}
