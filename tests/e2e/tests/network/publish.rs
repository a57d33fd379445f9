//! What can be said with `-p` and `-P`, what is shown of it, and what is refused.

use crate::{inspect, network, up};
use gantry_e2e::{Gantry, House};
use serde_json::json;
use std::net::{TcpListener, UdpSocket};

#[track_caller]
fn port(gantry: &Gantry, args: &[&str]) -> Vec<String> {
    let mut all = vec!["port"];
    all.extend(args);
    gantry.ok(&all).lines().map(str::to_owned).collect()
}

#[test]
fn every_form_is_shown() {
    let house = House::apart(&[]);
    let gantry = house.gantry();
    gantry.ok(&["network", "create", "--ipv6", "web"]);
    let flags = [
        "--network",
        "web",
        "-p",
        "8080:80",
        "-p",
        "127.0.0.1:8081:81/tcp",
        "-p",
        "8053:53/udp",
        "-p",
        "9000-9002:7000-7002",
        "--publish",
        "0.0.0.0:8084:84",
    ];
    up(&gantry, "one", &flags);
    let all = port(&gantry, &["one"]);
    for line in [
        "80/tcp -> 0.0.0.0:8080",
        "80/tcp -> [::]:8080",
        "81/tcp -> 127.0.0.1:8081",
        "53/udp -> 0.0.0.0:8053",
        "7001/tcp -> 0.0.0.0:9001",
        "84/tcp -> 0.0.0.0:8084",
    ] {
        assert!(all.iter().any(|has| has == line), "{line}: {all:#?}");
    }
    assert!(!all.contains(&"84/tcp -> [::]:8084".to_owned()));
    assert_eq!(port(&gantry, &["one", "80"]), ["0.0.0.0:8080", "[::]:8080"]);
    assert_eq!(port(&gantry, &["one", "53/udp"])[0], "0.0.0.0:8053");
    gantry.run(&["port", "one", "82"]).exits(1).says("82");
    let shown = gantry.ok(&["ps", "--format", "{{.Ports}}"]);
    for part in [
        "0.0.0.0:8080->80/tcp",
        "[::]:8080->80/tcp",
        "127.0.0.1:8081->81/tcp",
        "0.0.0.0:9001->7001/tcp",
        "0.0.0.0:8053->53/udp",
    ] {
        assert!(shown.split(", ").any(|has| has == part), "{part}: {shown}");
    }
    let ports = inspect(&gantry, "one")["NetworkSettings"]["Ports"].clone();
    assert_eq!(
        ports["80/tcp"],
        json!([{"HostIp": "0.0.0.0", "HostPort": "8080"}, {"HostIp": "::", "HostPort": "8080"}])
    );
    assert_eq!(
        inspect(&gantry, "one")["HostConfig"]["PortBindings"]["81/tcp"],
        json!([{"HostIp": "127.0.0.1", "HostPort": "8081"}])
    );
    assert_eq!(
        gantry.ok(&["ps", "-q", "-f", "publish=80"]),
        "",
        "the filter is for ports of the host"
    );
    assert_ne!(gantry.ok(&["ps", "-q", "-f", "publish=8080"]), "");
    gantry.ok(&["stop", "-t", "0", "one"]);
    assert_eq!(port(&gantry, &["one"]), [""; 0]);
}

/// A socket holds the port of both families, and nothing translates one into the other: what is shown leads somewhere.
#[test]
fn what_leads_nowhere_is_not_shown_or_is_refused() {
    let house = House::apart(&[]);
    let gantry = house.gantry();
    up(&gantry, "four", &["-p", "8080:80"]);
    assert_eq!(port(&gantry, &["four"]), ["80/tcp -> 0.0.0.0:8080"]);
    assert_eq!(gantry.ok(&["ps", "--format", "{{.Ports}}"]), "0.0.0.0:8080->80/tcp");
    let bound = house.netns().enter(|| TcpListener::bind("[::]:8080").map(drop));
    assert!(bound.is_err(), "it is held all the same");
    gantry.ok(&["network", "create", "--ipv6", "both"]);
    let six = ["network", "create", "--ipv4=false", "--ipv6", "six"];
    gantry.ok(&six);
    up(&gantry, "alone", &["--network", "six", "-p", "8081:80"]);
    assert_eq!(port(&gantry, &["alone"]), ["80/tcp -> [::]:8081"]);
    for (flags, version) in [
        (&["-p", "[::]:8082:80"][..], "IPv6"),
        (&["--network", "six", "-p", "0.0.0.0:8082:80"][..], "IPv4"),
    ] {
        let mut args = vec!["run", "--rm"];
        args.extend(flags);
        args.extend(["busybox", "true"]);
        gantry.run(&args).exits(125).says(&format!("no {version} address"));
    }
    // Where an endpoint of both families takes the ports over, both are shown.
    gantry.ok(&["network", "connect", "--gw-priority", "1", "both", "four"]);
    assert_eq!(
        port(&gantry, &["four"]),
        ["80/tcp -> 0.0.0.0:8080", "80/tcp -> [::]:8080"]
    );
}

#[test]
fn ports_are_chosen_where_none_is_said() {
    let house = House::apart(&[]);
    let gantry = house.gantry();
    up(
        &gantry,
        "one",
        &[
            "-P",
            "--expose",
            "80",
            "--expose",
            "53/udp",
            "--expose",
            "7000-7001",
            "-p",
            "81",
        ],
    );
    let all = port(&gantry, &["one"]);
    let range = house
        .netns()
        .enter(|| std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range"));
    let range: Vec<u16> = range
        .expect("proc")
        .split_whitespace()
        .map(|end| end.parse().expect("a port"))
        .collect();
    for container in ["80/tcp", "53/udp", "7000/tcp", "7001/tcp", "81/tcp"] {
        let line = all
            .iter()
            .find(|line| line.starts_with(&format!("{container} -> 0.0.0.0:")));
        let chosen = line.and_then(|line| line.rsplit(':').next()?.parse::<u16>().ok());
        assert!(
            chosen.is_some_and(|port| (range[0]..=range[1]).contains(&port)),
            "{container}: {all:?}"
        );
    }
    // One of a range, and the others when it is taken.
    up(&gantry, "two", &["-p", "9000-9001:80"]);
    up(&gantry, "three", &["-p", "9000-9001:80"]);
    let mut chosen = [
        port(&gantry, &["two", "80"])[0].clone(),
        port(&gantry, &["three", "80"])[0].clone(),
    ];
    chosen.sort();
    assert_eq!(chosen, ["0.0.0.0:9000", "0.0.0.0:9001"]);
    let output = gantry.run(&["run", "--rm", "-p", "9000-9001:80", "busybox", "true"]);
    output.exits(125).says("9000-9001");
}

#[test]
fn a_port_is_truly_taken_and_given_back() {
    let house = House::apart(&[]);
    let gantry = house.gantry();
    up(&gantry, "one", &["-p", "8080:80", "-p", "8080:80/udp"]);
    let bind = |address: &str| house.netns().enter(|| TcpListener::bind(address).map(drop)).is_ok();
    let bind_udp = |address: &str| house.netns().enter(|| UdpSocket::bind(address).map(drop)).is_ok();
    for address in ["0.0.0.0:8080", "127.0.0.1:8080", "[::]:8080", "[::1]:8080"] {
        assert!(!bind(address) && !bind_udp(address), "{address}");
    }
    let rules = crate::rules(&house);
    for flags in [
        &["-p", "8080:81"][..],
        &["-p", "8085:85", "-p", "127.0.0.1:8080:81"][..],
        &["-p", "8080:81/udp"][..],
    ] {
        let mut args = vec!["run", "-d", "--name", "two"];
        args.extend(flags);
        args.extend(["busybox", "sleep", "10"]);
        gantry.run(&args).exits(125).says("8080");
        assert_eq!(gantry.ok(&["inspect", "-f", "{{.State.Status}}", "two"]), "created");
        gantry.ok(&["rm", "two"]);
        assert_eq!(crate::rules(&house), rules, "{flags:?}");
        assert!(bind("0.0.0.0:8085"), "{flags:?}: what was reserved before it");
    }
    gantry.ok(&["rm", "-f", "one"]);
    gantry_e2e::eventually("the ports are free", gantry_e2e::PATIENCE, || {
        bind("0.0.0.0:8080") && bind_udp("[::]:8080")
    });
    // Somebody else's.
    let theirs = house
        .netns()
        .enter(|| TcpListener::bind("0.0.0.0:8080"))
        .expect("a free port");
    gantry
        .run(&["run", "--rm", "-p", "8080:80", "busybox", "true"])
        .exits(125)
        .says("address already in use");
    drop(theirs);
    up(&gantry, "one", &["-p", "8080:80"]);
}

#[test]
fn what_is_no_port_is_refused() {
    let house = House::apart(&[]);
    let gantry = house.gantry();
    for (flag, says) in [
        ("0:0", "0"),
        ("70000:80", "70000"),
        ("80:70000", "70000"),
        ("80-90:80-85", "80-90"),
        ("90-80:80-90", "90-80"),
        ("8080:80/icmp", "icmp"),
        ("nowhere:8080:80", "nowhere"),
        ("1:2:3:4", "invalid"),
        ("", "port"),
    ] {
        let output = gantry.run(&["create", "-p", flag, "busybox"]);
        assert_ne!(output.code, 0, "{flag}");
        assert!(output.stderr.contains(says), "{flag}: {}", output.stderr);
    }
    let output = gantry.run(&["run", "--rm", "-p", "8080:80/sctp", "busybox", "true"]);
    assert!(output.code == 0 || output.stderr.contains("sctp"), "{}", output.stderr);
    assert_eq!(gantry.ok(&["ps", "-aq"]), "");
    assert_eq!(network(&gantry, "bridge")["Containers"], json!({}));
}
