//! The iptables backend reads as the manuals print it.

use super::super::{Iptables, Rules};
use super::lab::{Lab, endpoint, network, port};
use super::{Which, wall};
use crate::Instance;
use std::process::Command;

fn columns(text: &str) -> Vec<String> {
    text.lines()
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            // The counters come first.
            words.get(2..).unwrap_or(&words).join(" ")
        })
        .collect()
}

#[test]
fn rules_of_a_bridge_with_two_ports() {
    let lab = Lab::new(false);
    let mut apart = network('b');
    (apart.masquerade, apart.icc) = (false, false);
    let ports = vec![port("80", "0.0.0.0", 8080), port("443", "0.0.0.0", 8443)];
    let rules = Rules {
        networks: [
            ("aaaaaaaaaaaa".to_owned(), network('a')),
            ("bbbbbbbbbbbb".to_owned(), apart),
        ]
        .into(),
        endpoints: [("a1".to_owned(), endpoint("a1", ports))].into(),
    };
    let _wall = wall(&lab, Which::Iptables, rules);
    let nat = lab.host.sh("iptables -t nat -L -v");
    let lines = columns(&nat);
    assert!(nat.contains("Chain DOCKER (2 references)"), "{nat}");
    for line in [
        "MASQUERADE all -- any !br-a 172.18.0.0/16 anywhere",
        "MASQUERADE tcp -- any any 172.18.0.2 172.18.0.2 tcp dpt:https",
        "MASQUERADE tcp -- any any 172.18.0.2 172.18.0.2 tcp dpt:http",
        "RETURN all -- br-a any anywhere anywhere",
        "DNAT tcp -- !br-a any anywhere anywhere tcp dpt:8443 to:172.18.0.2:443",
        "DNAT tcp -- !br-a any anywhere anywhere tcp dpt:http-alt to:172.18.0.2:80",
    ] {
        assert!(lines.iter().any(|there| there == line), "{line}\n{nat}");
    }
    let at = |what: &str| {
        lines
            .iter()
            .position(|line| line.split(' ').any(|word| word == what))
            .unwrap()
    };
    assert!(
        at("dpt:8443") < at("dpt:http-alt") && at("dpt:https") < at("dpt:http"),
        "in the manual's order"
    );
    // Without masquerading there is nothing of that bridge here.
    assert!(
        !lines.iter().any(|line| line.starts_with("MASQUERADE all -- any !br-b")),
        "{nat}"
    );
    assert!(
        !lines.iter().any(|line| line.starts_with("RETURN all -- br-b")),
        "{nat}"
    );

    let filter = lab.host.sh("iptables -L -v");
    let lines = columns(&filter);
    assert!(
        filter.contains("Chain DOCKER (2 references)"),
        "one for each bridge: {filter}"
    );
    for line in [
        "ACCEPT tcp -- !br-a br-a anywhere 172.18.0.2 tcp dpt:https",
        "ACCEPT tcp -- !br-a br-a anywhere 172.18.0.2 tcp dpt:http",
        "DROP all -- br-b br-b anywhere anywhere",
    ] {
        assert!(lines.iter().any(|there| there == line), "{line}\n{filter}");
    }
}

#[test]
fn the_policy_of_forward_is_a_choice() {
    let lab = Lab::new(false);
    lab.host.run(|| {
        use super::Backend;
        let backend = Iptables::new(&Instance::new(None), true).unwrap();
        backend.restore(&Rules::default()).unwrap();
        assert!(backend.intact(&Rules::default()).unwrap());
    });
    assert!(
        lab.host
            .sh("iptables -S FORWARD; ip6tables -S FORWARD")
            .matches("-P FORWARD DROP")
            .count()
            == 2
    );
}

#[test]
fn others_of_our_kind_have_chains_of_their_own() {
    let lab = Lab::new(false);
    lab.host.run(|| {
        use super::Backend;
        let one = Iptables::new(&Instance::new(None), false).unwrap();
        let other = Iptables::new(&Instance::new(Some("0123abcd".to_owned())), false).unwrap();
        let rules = super::lab::rules();
        let mut theirs = Rules::default();
        let mut network = network('a');
        network.device = "gtry-0123abcd".to_owned();
        network.ipv4 = vec!["172.30.0.0/16".parse().unwrap()];
        theirs.networks.insert("cccccccccccc".to_owned(), network);
        one.restore(&rules).unwrap();
        other.restore(&theirs).unwrap();
        one.restore(&rules).unwrap();
        assert!(one.intact(&rules).unwrap() && other.intact(&theirs).unwrap());
        one.clear().unwrap();
        assert!(other.intact(&theirs).unwrap());
        other.clear().unwrap();
    });
    let left = lab.host.sh("iptables-save; ip6tables-save");
    assert!(!left.contains("DOCKER") && !left.contains("gtry"), "{left}");
}

#[test]
fn a_dockerd_that_has_these_chains_is_not_disturbed() {
    let lab = Lab::new(false);
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("dockerd");
    // By a program: a file that this process has written may be open yet in another test's child, and is not run then.
    let copied = Command::new("cp").arg("/bin/sleep").arg(&program).status();
    assert!(copied.unwrap().success());
    lab.host.run(|| {
        let new = || Iptables::new(&Instance::new(None), false).map(drop);
        let mut dockerd = Command::new(&program).arg("60").spawn().unwrap();
        assert!(new().is_ok(), "one that leaves iptables alone");
        assert!(
            Command::new("iptables")
                .args(["-t", "nat", "-N", "DOCKER"])
                .status()
                .unwrap()
                .success()
        );
        let error = new().unwrap_err().to_string();
        assert!(error.contains("beside dockerd (pid "), "{error}");
        assert!(Iptables::new(&Instance::new(Some("0123abcd".to_owned())), false).is_ok());
        dockerd.kill().unwrap();
        dockerd.wait().unwrap();
        assert!(new().is_ok(), "what a dead one left");
    });
}
