//! Chains of others that drop what is forwarded, of each kind, under both backends.

use super::super::{Backend, Foreign, Iptables, Nftables, Wall};
use super::lab::{Lab, eventually, rules};
use super::{Which, misses, reaches, wall};
use crate::Instance;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

const BOTH: [Which; 2] = [Which::Nft, Which::Iptables];

fn works(lab: &Lab) {
    reaches(&lab.neighbour, "192.0.2.1:8080", "a1 saw 192.0.2.2");
    reaches(&lab.neighbour, "[fd01::1]:8080", "a1 saw fd01::2");
    reaches(&lab.a1, "192.0.2.2:7000", "neighbour saw 192.0.2.1");
    reaches(&lab.a1, "[fd01::2]:7000", "neighbour saw fd01::1");
    reaches(&lab.b1, "192.0.2.1:8080", "a1 saw 172.18.0.1");
    misses(&lab.neighbour, "172.18.0.2:80");
    misses(&lab.b1, "172.18.0.2:80");
}

/// Waits until containers reach the world again, in both families.
fn opens(lab: &Lab) {
    for address in ["192.0.2.2:7000", "[fd01::2]:7000"] {
        eventually(Duration::from_secs(10), || lab.a1.ask(address).is_some());
    }
}

/// `before` is done first, and `later` (the same, on a wall that stands) is noticed.
fn kind(set_up: &str, take_down: &str) {
    for which in BOTH {
        let lab = Lab::new(false);
        lab.settled();
        lab.host.sh(set_up);
        misses(&lab.a1, "192.0.2.2:7000");
        let firewall = wall(&lab, which, rules());
        works(&lab);
        assert!(lab.host.run(|| firewall.backend.intact(&firewall.rules()).unwrap()));
        lab.host.run(|| firewall.clear().unwrap());
        let left = lab
            .host
            .sh("nft list ruleset; iptables-save; [ ! -e /proc/self/net/ip_tables_names ] || iptables-legacy-save");
        assert!(
            !left.contains("br-a") && !left.to_lowercase().contains("gantry"),
            "{left}"
        );
        lab.host.sh(take_down);

        // It comes while we are there.
        let firewall = wall(&lab, which, rules());
        let _watch = lab.host.run(|| firewall.watch().unwrap());
        works(&lab);
        lab.host.sh(set_up);
        opens(&lab);
        works(&lab);
    }
}

#[test]
fn iptables_on_nftables_with_a_policy() {
    kind(
        "iptables-nft -P FORWARD DROP; ip6tables-nft -P FORWARD DROP",
        "iptables-nft -P FORWARD ACCEPT; ip6tables-nft -P FORWARD ACCEPT",
    );
}

#[test]
fn iptables_on_nftables_that_ends_in_a_reject() {
    kind(
        "iptables-nft -A FORWARD -i nosuch0 -j ACCEPT; iptables-nft -A FORWARD -j REJECT; ip6tables-nft -A FORWARD -j REJECT",
        "iptables-nft -F FORWARD; ip6tables-nft -F FORWARD",
    );
}

#[test]
fn old_iptables_with_a_policy() {
    kind(
        "iptables-legacy -w 10 -P FORWARD DROP; ip6tables-legacy -w 10 -P FORWARD DROP",
        "iptables-legacy -w 10 -P FORWARD ACCEPT; ip6tables-legacy -w 10 -P FORWARD ACCEPT",
    );
}

#[test]
fn chains_of_nftables_with_a_policy() {
    kind(
        "nft add table inet mine; nft 'add chain inet mine forward { type filter hook forward priority 0; policy drop; }'",
        "nft delete table inet mine",
    );
}

#[test]
fn chains_of_nftables_that_end_in_a_reject() {
    kind(
        "nft add table inet mine; nft 'add chain inet mine passing { type filter hook forward priority -10; }'
         nft add rule inet mine passing ct state invalid drop; nft add rule inet mine passing counter reject with icmpx admin-prohibited",
        "nft delete table inet mine",
    );
}

/// As a dockerd leaves it that switched forwarding on: a policy, and its users' chain in front.
#[test]
fn a_dockerd_beside_us() {
    let lab = Lab::new(false);
    lab.settled();
    lab.host.sh(
        "for t in iptables ip6tables; do
           $t -P FORWARD DROP; $t -N DOCKER-USER; $t -N DOCKER-FORWARD; $t -A FORWARD -j DOCKER-USER; $t -A FORWARD -j DOCKER-FORWARD
           $t -A DOCKER-FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
         done
         iptables -A DOCKER-USER -s 192.0.2.2 -d 172.18.0.2 -p tcp --dport 81 -j DROP",
    );
    let firewall = wall(&lab, Which::Nft, rules());
    works(&lab);
    // What its users filter they filter for us, too.
    misses(&lab.neighbour, "192.0.2.1:8082");
    lab.host.run(|| firewall.clear().unwrap());
    let left = lab.host.sh("iptables-save; ip6tables-save");
    assert!(!left.contains("GANTRY") && left.contains("DOCKER-USER"), "{left}");
    misses(&lab.a1, "192.0.2.2:7000");
}

fn installed(program: &str) -> bool {
    let found = Command::new("sh")
        .args(["-c", &format!("command -v {program}")])
        .stdout(Stdio::null())
        .status();
    let found = found.is_ok_and(|status| status.success());
    if !found {
        println!("skipped: {program} is not installed");
    }
    found
}

#[test]
fn ufw() {
    if !installed("ufw") {
        return;
    }
    for which in BOTH {
        let lab = Lab::new(false);
        lab.settled();
        let firewall = wall(&lab, which, rules());
        let _watch = lab.host.run(|| firewall.watch().unwrap());
        works(&lab);
        // Its settings in a mount namespace of this command, so that the machine's stay what they are.
        let ufw = |command: &str| {
            lab.host.sh(&format!(
                "unshare -m sh -ec '
                   mount -t tmpfs none /mnt; cp -a /etc/ufw /mnt
                   sed -i s/^ENABLED=.*/ENABLED=yes/ /mnt/ufw/ufw.conf
                   mount --bind /mnt/ufw /etc/ufw; {command}'"
            ));
        };
        ufw("/lib/ufw/ufw-init start");
        assert!(lab.host.sh("iptables-save").contains("ufw-before-forward"));
        opens(&lab);
        works(&lab);
        ufw("/lib/ufw/ufw-init force-reload");
        opens(&lab);
        works(&lab);
        lab.host.run(|| firewall.clear().unwrap());
        misses(&lab.a1, "192.0.2.2:7000");
    }
}

/// A process that is ended with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn firewalld() {
    if !installed("firewalld") || !installed("dbus-daemon") || !installed("busctl") {
        return;
    }
    for which in BOTH {
        let lab = Lab::new(false);
        lab.settled();
        let directory = tempfile::tempdir().unwrap();
        let bus = format!("unix:path={}/bus", directory.path().display());
        let configuration = directory.path().join("bus.conf");
        let text = format!(
            "<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN\" \
             \"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">\n<busconfig><type>system</type>\
             <listen>{bus}</listen><policy context=\"default\"><allow send_destination=\"*\"/><allow receive_sender=\"*\"/>\
             <allow own=\"*\"/><allow user=\"*\"/></policy></busconfig>"
        );
        std::fs::write(&configuration, text).unwrap();
        let start = |program: &str, arguments: &[&str]| {
            lab.host.run(|| {
                let child = Command::new(program)
                    .args(arguments)
                    .env("DBUS_SYSTEM_BUS_ADDRESS", &bus)
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn();
                Ended(child.unwrap())
            })
        };
        let option = format!("--config-file={}", configuration.display());
        let _dbus = start("dbus-daemon", &[&option, "--nofork", "--nopidfile"]);
        eventually(Duration::from_secs(5), || directory.path().join("bus").exists());
        let mut firewalld = start("firewalld", &["--nofork", "--nopid"]);
        let ready = || lab.host.sh("nft list tables").contains("inet firewalld");
        let started = std::time::Instant::now();
        while !ready() {
            if firewalld.0.try_wait().unwrap().is_some() || started.elapsed() > Duration::from_secs(30) {
                println!("skipped: firewalld does not run in a network namespace here");
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let command = |command: &str| {
            lab.host
                .sh(&format!("DBUS_SYSTEM_BUS_ADDRESS={bus} firewall-cmd {command}"))
        };
        eventually(Duration::from_secs(10), || {
            lab.host.run(|| {
                let asked = Command::new("firewall-cmd")
                    .arg("--state")
                    .env("DBUS_SYSTEM_BUS_ADDRESS", &bus)
                    .output();
                asked.unwrap().status.success()
            })
        });
        misses(&lab.a1, "192.0.2.2:7000");

        let firewall = lab.host.run(|| {
            let instance = Instance::new(None);
            let backend: Box<dyn Backend> = match which {
                Which::Nft => Box::new(Nftables::new(&instance)),
                Which::Iptables => Box::new(Iptables::new(&instance, false).unwrap()),
            };
            let foreign = Foreign::new(&instance, backend.as_ref()).with_bus(bus.clone());
            Arc::new(Wall::new(backend, foreign, rules()).unwrap())
        });
        let _watch = lab.host.run(|| firewall.watch().unwrap());
        works(&lab);
        assert_eq!(command("--zone=trusted --list-interfaces").trim(), "br-a br-b");
        for reload in ["--reload", "--complete-reload"] {
            command(reload);
            let took = eventually(Duration::from_secs(15), || lab.a1.ask("192.0.2.2:7000").is_some());
            println!("{which:?}: back {took:?} after firewall-cmd {reload}");
            works(&lab);
            assert!(lab.host.run(|| firewall.backend.intact(&firewall.rules()).unwrap()));
        }
        lab.host.run(|| firewall.clear().unwrap());
        assert_eq!(command("--zone=trusted --list-interfaces").trim(), "");
        misses(&lab.a1, "192.0.2.2:7000");
    }
}
