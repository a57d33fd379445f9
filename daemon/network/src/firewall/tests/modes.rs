//! What the options of networks make of them.

use super::super::Rules;
use super::lab::{Lab, rules};
use super::{Which, misses, reaches, wall};
use gantry_core::network::GatewayMode;

fn with(edit: impl FnOnce(&mut Rules)) -> Rules {
    let mut rules = rules();
    edit(&mut rules);
    rules
}

const A: &str = "aaaaaaaaaaaa";

fn options(which: Which) {
    let lab = Lab::new(false);
    lab.settled();
    let wall = wall(&lab, which, Rules::default());
    let become_ = |edit: fn(&mut Rules)| {
        lab.host.run(|| {
            wall.change(|rules| *rules = with(edit)).unwrap();
            assert!(wall.backend.intact(&wall.rules()).unwrap());
        });
    };

    become_(|rules| rules.networks.get_mut(A).unwrap().masquerade = false);
    reaches(&lab.a1, "192.0.2.2:7000", "neighbour saw 172.18.0.2");
    reaches(&lab.a1, "[fd01::2]:7000", "neighbour saw fd18::2");
    reaches(&lab.neighbour, "192.0.2.1:8080", "a1 saw 192.0.2.2");
    misses(&lab.neighbour, "172.18.0.2:80");

    lab.host.sh("ip addr add 192.0.2.77/24 dev lan");
    become_(|rules| rules.networks.get_mut(A).unwrap().source4 = Some("192.0.2.77".parse().unwrap()));
    reaches(&lab.a1, "192.0.2.2:7000", "neighbour saw 192.0.2.77");

    become_(|rules| rules.networks.get_mut(A).unwrap().internal = true);
    misses(&lab.a1, "192.0.2.2:7000");
    misses(&lab.a1, "[fd01::2]:7000");
    misses(&lab.neighbour, "192.0.2.1:8080");
    misses(&lab.neighbour, "172.18.0.2:80");
    misses(&lab.b1, "172.18.0.2:80");
    reaches(&lab.a2, "172.18.0.2:80", "a1 saw 172.18.0.3");

    become_(|rules| {
        let network = rules.networks.get_mut(A).unwrap();
        (network.mode4, network.mode6) = (GatewayMode::Routed, GatewayMode::Routed);
    });
    reaches(&lab.neighbour, "172.18.0.2:80", "a1 saw 192.0.2.2");
    reaches(&lab.neighbour, "[fd18::2]:80", "a1 saw fd01::2");
    misses(&lab.neighbour, "[fd18::2]:81");
    misses(&lab.neighbour, "192.0.2.1:8080");
    reaches(&lab.a1, "192.0.2.2:7000", "neighbour saw 172.18.0.2");
    lab.neighbour
        .sh("busybox ping -c 1 -W 2 172.18.0.2 && busybox ping -c 1 -W 2 fd18::2");

    become_(|rules| {
        let network = rules.networks.get_mut(A).unwrap();
        (network.mode4, network.mode6) = (GatewayMode::NatUnprotected, GatewayMode::NatUnprotected);
    });
    reaches(&lab.neighbour, "172.18.0.3:81", "a2 saw 192.0.2.2");
    reaches(&lab.neighbour, "192.0.2.1:8080", "a1 saw 192.0.2.2");
    reaches(&lab.a1, "192.0.2.2:7000", "neighbour saw 192.0.2.1");
    misses(&lab.b1, "172.18.0.3:81");

    become_(|rules| rules.networks.get_mut(A).unwrap().mode6 = GatewayMode::Isolated);
    misses(&lab.a1, "[fd01::2]:7000");
    reaches(&lab.a1, "192.0.2.2:7000", "neighbour saw 192.0.2.1");
    reaches(&lab.a2, "[fd18::2]:80", "a1 saw fd18::3");

    become_(|rules| *rules = Rules::default());
}

#[test]
fn options_under_nftables() {
    options(Which::Nft);
}

#[test]
fn options_under_iptables() {
    options(Which::Iptables);
}

/// With `icc` off, links alone let containers talk; a host that accepts ICMP first does not change that.
fn apart(which: Which, bridge_calls: bool) {
    let lab = Lab::new(bridge_calls);
    lab.settled();
    let wall = wall(
        &lab,
        which,
        with(|rules| rules.networks.get_mut(A).unwrap().icc = false),
    );
    lab.host.sh(
        "iptables -I FORWARD -p icmp -j ACCEPT; ip6tables -I FORWARD -p ipv6-icmp --icmpv6-type echo-request -j ACCEPT",
    );
    misses(&lab.a2, "172.18.0.2:80");
    misses(&lab.a2, "[fd18::2]:80");
    if which == Which::Nft {
        lab.a2
            .sh("! busybox ping -c 1 -W 1 172.18.0.2 && ! busybox ping -c 1 -W 1 fd18::2");
    }
    reaches(&lab.a2, "192.0.2.2:7000", "neighbour saw 192.0.2.1");
    lab.host.run(|| {
        let link = |rules: &mut Rules| {
            let links = &mut rules.endpoints.get_mut("a1").unwrap().links;
            links.push(("172.18.0.3".parse().unwrap(), "80".parse().unwrap()));
            links.push(("fd18::3".parse().unwrap(), "80".parse().unwrap()));
        };
        wall.change(link).unwrap();
        assert!(wall.backend.intact(&wall.rules()).unwrap());
    });
    reaches(&lab.a2, "172.18.0.2:80", "a1 saw 172.18.0.3");
    reaches(&lab.a2, "[fd18::2]:80", "a1 saw fd18::3");
    misses(&lab.a2, "172.18.0.2:81");
    misses(&lab.a1, "172.18.0.3:80");
}

#[test]
fn apart_under_nftables() {
    apart(Which::Nft, false);
}

#[test]
fn apart_under_nftables_with_frames_of_bridges_in_its_rules() {
    apart(Which::Nft, true);
}

/// Only with br_netfilter: otherwise it is the isolation of the bridge's ports that keeps them apart.
#[test]
fn apart_under_iptables() {
    apart(Which::Iptables, true);
}

/// What users filter stays filtered: chains of theirs come first.
#[test]
fn users_filter_in_front_of_nftables() {
    let lab = Lab::new(false);
    lab.settled();
    let _wall = wall(&lab, Which::Nft, rules());
    lab.host.sh("nft add table ip mine
         nft 'add chain ip mine forward { type filter hook forward priority filter; }'
         nft add rule ip mine forward ip saddr 192.0.2.2 ip daddr 172.18.0.2 tcp dport 80 counter drop");
    misses(&lab.neighbour, "192.0.2.1:8080");
    reaches(&lab.neighbour, "192.0.2.1:8082", "a1 saw 192.0.2.2");
}

#[test]
fn users_filter_in_docker_user() {
    let lab = Lab::new(false);
    lab.settled();
    let wall = wall(&lab, Which::Iptables, rules());
    lab.host
        .sh("iptables -I DOCKER-USER -s 192.0.2.2 -p tcp --dport 80 -j DROP");
    misses(&lab.neighbour, "192.0.2.1:8080");
    reaches(&lab.neighbour, "192.0.2.1:8082", "a1 saw 192.0.2.2");
    // It outlives restarts, and even our going.
    lab.host.run(|| wall.backend.restore(&wall.rules()).unwrap());
    misses(&lab.neighbour, "192.0.2.1:8080");
    lab.host.run(|| wall.clear().unwrap());
    assert!(lab.host.sh("iptables -S DOCKER-USER").contains("192.0.2.2"));
}
