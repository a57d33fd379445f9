//! Lost rules come back; refused ones leave everything as it was; a start costs little.

use super::super::Rules;
use super::lab::{Lab, both, endpoint, eventually, network, port, rules};
use super::{Which, misses, reaches, wall};
use gantry_core::network::PublishedPort;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// It comes back, without a restart. That this takes two seconds at most (P28) is for the end-to-end tests to see, of several turns.
const SOON: Duration = Duration::from_secs(15);

fn lost(which: Which, deeds: &[&str], rules: Rules) {
    let lab = Lab::new(false);
    lab.settled();
    let wall = wall(&lab, which, rules);
    let watch = lab.host.run(|| wall.watch().unwrap());
    reaches(&lab.neighbour, "192.0.2.1:8080", "a1 saw 192.0.2.2");
    for deed in deeds {
        lab.host.sh(deed);
        let whole = || lab.host.run(|| wall.backend.intact(&wall.rules()).unwrap());
        let took = eventually(SOON, whole);
        println!("{which:?}: back {took:?} after `{deed}`");
        reaches(&lab.neighbour, "192.0.2.1:8080", "a1 saw 192.0.2.2");
    }
    drop(watch);
    lab.host.sh(deeds[0]);
    misses(&lab.neighbour, "192.0.2.1:8080");
    assert!(lab.host.run(|| wall.check().unwrap()));
    reaches(&lab.neighbour, "192.0.2.1:8080", "a1 saw 192.0.2.2");
    assert!(
        lab.host.run(|| !wall.check().unwrap() && !wall.check().unwrap()),
        "nothing more to do"
    );
}

#[test]
fn lost_rules_come_back_under_nftables() {
    lost(
        Which::Nft,
        &[
            "nft flush ruleset",
            "nft delete table ip6 gantry",
            "nft flush chain ip gantry prerouting",
            "nft flush map ip gantry any",
            "nft delete table bridge gantry",
        ],
        rules(),
    );
}

#[test]
fn lost_rules_come_back_under_iptables() {
    lost(
        Which::Iptables,
        &[
            "iptables -F; iptables -t nat -F",
            "nft flush ruleset",
            "ip6tables -t nat -F DOCKER",
            "iptables -t raw -F",
            "iptables -D FORWARD -j DOCKER-USER",
        ],
        rules(),
    );
}

fn many(count: u16) -> Vec<PublishedPort> {
    (0..count / 2).flat_map(|at| both("80", 20_000 + at)).collect()
}

#[test]
fn ten_thousand_ports_are_published_and_come_back() {
    let mut all = rules();
    let lab = Lab::new(false);
    lab.settled();
    let firewall = wall(&lab, Which::Nft, all.clone());
    let started = Instant::now();
    lab.host.run(|| {
        firewall
            .change(|rules| rules.endpoints.get_mut("a2").unwrap().ports = many(10_000))
            .unwrap();
    });
    let took = started.elapsed();
    println!("10,000 elements published in {took:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    reaches(&lab.neighbour, "192.0.2.1:24999", "a2 saw 192.0.2.2");
    reaches(&lab.neighbour, "[fd01::1]:20000", "a2 saw fd01::2");

    // One more beside them costs what it costs alone.
    let started = Instant::now();
    lab.host.run(|| {
        firewall
            .change(|rules| rules.endpoints.get_mut("b1").unwrap().ports = vec![port("80", "0.0.0.0", 9000)])
            .unwrap()
    });
    println!("one more port beside them in {:?}", started.elapsed());
    reaches(&lab.neighbour, "192.0.2.1:9000", "b1 saw 192.0.2.2");
    let started = Instant::now();
    lab.host.run(|| {
        firewall
            .change(|rules| rules.endpoints.get_mut("b1").unwrap().ports.clear())
            .unwrap()
    });
    println!("and taken back in {:?}", started.elapsed());

    let started = Instant::now();
    assert!(lab.host.run(|| firewall.backend.intact(&firewall.rules()).unwrap()));
    println!("looked at in {:?}", started.elapsed());
    drop(firewall);

    all.endpoints.get_mut("a2").unwrap().ports = many(10_000);
    lost(Which::Nft, &["nft flush ruleset"], all);
}

#[test]
fn a_start_costs_one_transaction_or_none() {
    let lab = Lab::new(false);
    for which in [Which::Nft, Which::Iptables] {
        let firewall = wall(&lab, which, rules());
        lab.host.run(|| {
            let generation = || {
                super::super::nfnetlink::Netfilter::open()
                    .unwrap()
                    .generation()
                    .unwrap()
            };
            // The first look makes the generation known.
            while firewall.check().unwrap() {}
            let before = generation();
            firewall
                .change(|rules| rules.endpoints.insert("b2".to_owned(), endpoint("b2", Vec::new())))
                .unwrap();
            assert_eq!(generation(), before, "nothing is published, nothing is done");
            let (mut starts, mut stops) = (Vec::new(), Vec::new());
            for at in 0..11 {
                let ports = both("80", 9000 + at).to_vec();
                let started = Instant::now();
                firewall
                    .change(|rules| rules.endpoints.insert("b2".to_owned(), endpoint("b2", ports)))
                    .unwrap();
                starts.push(started.elapsed());
                let started = Instant::now();
                firewall.change(|rules| rules.endpoints.remove("b2")).unwrap();
                stops.push(started.elapsed());
            }
            starts.sort_unstable();
            stops.sort_unstable();
            println!(
                "{which:?}: a port is published in {:?} and taken back in {:?}",
                starts[5], stops[5]
            );
            if which == Which::Nft {
                assert_eq!(generation(), before + 22, "one transaction each");
                // The best one: what else the machine does is not its cost.
                assert!(starts[0] < Duration::from_millis(15), "{:?}", starts[0]);
            }
            firewall.clear().unwrap();
        });
    }
}

#[test]
fn what_is_refused_changes_nothing() {
    let lab = Lab::new(false);
    lab.settled();
    for which in [Which::Nft, Which::Iptables] {
        let firewall = wall(&lab, which, rules());
        let firewall = Arc::clone(&firewall);
        lab.host.run(|| {
            let mut odd = network('b');
            odd.device = "br\"; drop".to_owned();
            let error = firewall
                .change(|rules| rules.networks.insert("odd".to_owned(), odd))
                .unwrap_err();
            assert!(
                error.to_string().contains("cannot be said in a firewall rule"),
                "{error}"
            );
            // Two networks that masquerade the same addresses by different ones: the kernel itself refuses that.
            if which == Which::Nft {
                let clash = |rules: &mut Rules| {
                    for (id, letter) in [("c", 'a'), ("d", 'b')] {
                        let mut network = network(letter);
                        network.ipv4 = vec!["172.29.0.0/16".parse().unwrap()];
                        network.device = format!("br-{id}");
                        network.source4 = Some(if id == "c" { "192.0.2.1" } else { "192.0.2.3" }.parse().unwrap());
                        rules.networks.insert(id.to_owned(), network);
                    }
                };
                let error = firewall.change(clash).unwrap_err();
                assert!(error.to_string().starts_with("nft: "), "{error}");
            }
            assert_eq!(firewall.rules(), rules());
            assert!(firewall.backend.intact(&rules()).unwrap());
        });
        reaches(&lab.neighbour, "192.0.2.1:8080", "a1 saw 192.0.2.2");
        lab.host.run(|| firewall.clear().unwrap());
    }
}

/// What an earlier run left is replaced, also what this run knows nothing of.
#[test]
fn a_restart_replaces_what_was_left() {
    let lab = Lab::new(false);
    lab.settled();
    for which in [Which::Nft, Which::Iptables] {
        let before = wall(&lab, which, rules());
        drop(before);
        let mut now = rules();
        now.endpoints.remove("a1");
        now.networks.remove("bbbbbbbbbbbb");
        let after = wall(&lab, which, now);
        misses(&lab.neighbour, "192.0.2.1:8080");
        let left = lab.host.sh("nft list ruleset; iptables-save; ip6tables-save");
        assert!(
            !left.contains("br-b") && !left.contains("8080") && !left.contains("172.18.0.2"),
            "{left}"
        );
        lab.host.run(|| after.clear().unwrap());
    }
}

/// A change that meets lost rules brings back all of them.
#[test]
fn a_change_after_a_loss_restores_everything() {
    let lab = Lab::new(false);
    lab.settled();
    for (which, loss) in [
        (Which::Nft, "nft flush ruleset"),
        (Which::Iptables, "iptables -t nat -F; iptables -t nat -X"),
    ] {
        let firewall = wall(&lab, which, rules());
        lab.host.sh(loss);
        lab.host.run(|| {
            let ports = vec![port("80", "0.0.0.0", 9000)];
            firewall
                .change(|rules| rules.endpoints.insert("b1".to_owned(), endpoint("b1", ports)))
                .unwrap();
            assert!(firewall.backend.intact(&firewall.rules()).unwrap());
        });
        reaches(&lab.neighbour, "192.0.2.1:8080", "a1 saw 192.0.2.2");
        reaches(&lab.neighbour, "192.0.2.1:9000", "b1 saw 192.0.2.2");
        lab.host.run(|| firewall.clear().unwrap());
    }
}
