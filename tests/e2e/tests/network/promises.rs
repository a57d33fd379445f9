//! Promises about networks by their numbers. P28 and P36 stand with what is lost and comes back.

use crate::{address, endpoint, pings, up};
use gantry_e2e::netns::{HOUSE4, HOUSE6, INTERNET4, INTERNET6, NEIGHBOUR4, NEIGHBOUR6, neighbour};
use gantry_e2e::talk::{Servers, reaches, unreachable};
use gantry_e2e::{House, Netns, PATIENCE, eventually};
use std::net::{TcpListener, UdpSocket};
use std::process::Stdio;
use std::time::{Duration, Instant};

#[test]
fn p24_of_64_networks_of_one_name_one_is_made() {
    let house = House::apart(&[]);
    let gantry = house.gantry();
    let clients: Vec<_> = (0..64)
        .map(|_| {
            let mut command = gantry.command(["network", "create", "--ipv6", "only"]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            command.spawn().expect("gantry starts")
        })
        .collect();
    let mut made = Vec::new();
    for client in clients {
        let output = client.wait_with_output().expect("gantry ends");
        let (out, err) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        match output.status.success() {
            true => made.push(out.trim().to_owned()),
            false => assert!(err.contains("network with name only already exists"), "{err}"),
        }
    }
    assert_eq!(made.len(), 1, "{made:?}");
    assert_eq!(
        gantry.ok(&["network", "ls", "-q", "--no-trunc", "-f", "name=only"]),
        made[0]
    );
    let links = house.netns().links();
    assert_eq!(
        links.iter().filter(|name| name.starts_with("br-")).count(),
        1,
        "{links:?}"
    );
}

const FIRST: u16 = 20_000;
const LAST: u16 = 24_999;
const MIDDLE: u16 = 22_222;
const SAMPLES: [u16; 3] = [FIRST, MIDDLE, LAST];

fn is_bound(netns: &Netns, port: u16) -> [bool; 4] {
    netns.enter(|| {
        let tcp = |host: &str| TcpListener::bind((host, port)).map(drop).is_err();
        let udp = |host: &str| UdpSocket::bind((host, port)).map(drop).is_err();
        [tcp("0.0.0.0"), udp("0.0.0.0"), tcp("::"), udp("::")]
    })
}

/// How long `start` takes.
fn start(house: &House, name: &str) -> Duration {
    let began = Instant::now();
    house.gantry().ok(&["start", name]);
    began.elapsed()
}

#[test]
fn p25_ten_thousand_ports_publish_in_under_a_second_and_stay_reserved() {
    let mut house = House::apart(&[]);
    let other = neighbour(house.netns());
    let gantry = house.gantry();
    gantry.ok(&["network", "create", "--ipv6", "web"]);
    let range = format!("{FIRST}-{LAST}:{FIRST}-{LAST}");
    let udp = format!("{range}/udp");
    let create = |name: &str, flags: &[&str]| {
        let mut args = vec!["create", "--name", name, "--network", "web"];
        args.extend(flags);
        args.extend(["busybox", "sleep", "100000"]);
        gantry.ok(&args);
    };
    create("plain", &[]);
    create("many", &["-p", &range, "-p", &udp]);

    // One that is taken in the middle: nothing happens at all.
    let taken = house
        .netns()
        .enter(|| UdpSocket::bind(("0.0.0.0", MIDDLE)))
        .expect("a free port");
    let before = crate::rules(&house);
    gantry.run(&["start", "many"]).exits(1).says(&MIDDLE.to_string());
    assert_eq!(crate::rules(&house), before);
    drop(taken);
    assert_eq!(is_bound(house.netns(), FIRST), [false; 4]);

    let mut times = Vec::new();
    for _ in 0..10 {
        let plain = start(&house, "plain");
        let many = start(&house, "many");
        times.push(many.saturating_sub(plain));
        println!("a start takes {plain:?}, and with 10,000 ports {many:?}");
        if times.iter().any(|time| *time < Duration::from_secs(1)) {
            break;
        }
        gantry.ok(&["stop", "-t", "0", "plain", "many"]);
    }
    assert!(times.iter().any(|time| *time < Duration::from_secs(1)), "{times:?}");

    let many = house.inside("many");
    let _servers = Servers::new(&many, "many", &SAMPLES);
    let reached = || {
        for port in SAMPLES {
            reaches(&other, &format!("{HOUSE4}:{port}"), &format!("many {NEIGHBOUR4}"));
            reaches(&other, &format!("[{HOUSE6}]:{port}"), &format!("many {NEIGHBOUR6}"));
        }
    };
    let reserved = |house: &House| {
        for port in SAMPLES {
            assert_eq!(is_bound(house.netns(), port), [true; 4], "{port}");
        }
    };
    reached();
    reserved(&house);
    let proxies = std::fs::read_dir("/proc")
        .expect("proc")
        .flatten()
        .filter(|entry| std::fs::read_to_string(entry.path().join("comm")).is_ok_and(|name| name.contains("proxy")));
    assert_eq!(proxies.count(), 0, "no process for a port");
    house.kill_daemon();
    reserved(&house);
    reached();
    house.start();
    reserved(&house);
    reached();
    gantry
        .run(&["run", "--rm", "-p", &format!("{MIDDLE}:80"), "busybox", "true"])
        .exits(125)
        .says("22222");
    gantry.ok(&["rm", "-f", "many"]);
    eventually("the ports are given back", PATIENCE, || {
        is_bound(house.netns(), MIDDLE) == [false; 4]
    });
}

/// A rule of the host's own that accepts ICMP before anything of ours is asked.
fn accept_icmp_first(netns: &Netns) {
    let table = "table inet eager {\nchain forward {\ntype filter hook forward priority -300\nmeta l4proto { icmp, ipv6-icmp } accept\n}\n}\n";
    netns.feed("nft -f -", table);
    netns.ok("iptables -I FORWARD 1 -p icmp -j ACCEPT");
    netns.ok("ip6tables -I FORWARD 1 -p ipv6-icmp -j ACCEPT");
}

/// A network of containers that may not talk, where the bridge itself keeps them apart.
fn icc_holds(flags: &[&str]) {
    let house = House::apart(flags);
    let option = "com.docker.network.bridge.enable_icc=false";
    house
        .gantry()
        .ok(&["network", "create", "--ipv6", "--opt", option, "shy"]);
    holds_between(&house, "shy", "bridge");
}

/// The default bridge, where the firewall does: it can let links through.
fn icc_of_the_default_bridge_holds(flags: &[&str]) {
    let own = ["--icc=false", "--ipv6", "--bip6", "fd00:29::1/64"];
    let house = House::apart(&[&own[..], flags].concat());
    house.gantry().ok(&["network", "create", "talk"]);
    holds_between(&house, "bridge", "talk");
}

fn holds_between(house: &House, shy: &str, open: &str) {
    let gantry = house.gantry();
    let _other = neighbour(house.netns());
    for name in ["ann", "bob"] {
        up(&gantry, name, &["--network", shy]);
    }
    for name in ["cid", "dan"] {
        up(&gantry, name, &["--network", open]);
    }
    accept_icmp_first(house.netns());
    let (a, b) = (house.inside("ann"), house.inside("bob"));
    let _servers = Servers::new(&b, "bob", &[7000]);
    let four = address(&gantry, "bob", shy);
    let six = endpoint(&gantry, "bob", shy, "GlobalIPv6Address");
    for called in ["0", "1"] {
        for name in ["bridge/bridge-nf-call-iptables", "bridge/bridge-nf-call-ip6tables"] {
            house.netns().set(name, called);
        }
        assert!(!pings(&gantry, "ann", &four), "{four} with bridge-nf-call {called}");
        assert!(!pings(&gantry, "ann", &six), "{six} with bridge-nf-call {called}");
        unreachable(&a, &format!("{four}:7000"));
        unreachable(&a, &format!("[{six}]:7000"));
        assert!(
            pings(&gantry, "ann", INTERNET4) && pings(&gantry, "ann", INTERNET6),
            "and the world with bridge-nf-call {called}"
        );
        assert!(
            pings(&gantry, "cid", &address(&gantry, "dan", open)),
            "others may, with bridge-nf-call {called}"
        );
    }
}

#[test]
fn p29_icc_off_holds_against_a_rule_that_accepts_icmp_first() {
    icc_holds(&[]);
}

#[test]
fn p29_icc_off_holds_under_iptables_too() {
    icc_holds(&["--firewall-backend", "iptables"]);
}

#[test]
fn p29_icc_off_holds_on_the_default_bridge() {
    icc_of_the_default_bridge_holds(&[]);
}

#[test]
fn p29_icc_off_holds_on_the_default_bridge_under_iptables_too() {
    icc_of_the_default_bridge_holds(&["--firewall-backend", "iptables"]);
}
