//! What containers of two hosts have of one network.

use crate::bed::{Bed, Underlay, WIRE, endpoint, pings, reaches, up};
use gantry_e2e::talk::{A, AAAA, ANSWER, EMBEDDED, PTR, ask};
use gantry_e2e::{House, Netns, PATIENCE, eventually};
use serde_json::Value;
use std::net::TcpStream;
use std::time::Duration;

/// Waits until a name has these records.
#[track_caller]
fn means(from: &Netns, name: &str, kind: u16, records: &[&str]) {
    let mut last = Vec::new();
    eventually(&format!("{name} is {records:?}"), PATIENCE, || {
        last = ask(from, EMBEDDED, name, kind, ANSWER)
            .map(|answer| answer.records)
            .unwrap_or_default();
        last.sort();
        last == records
    });
}

#[test]
fn containers_of_two_hosts_share_a_network() {
    let bed = Bed::new(Underlay::V4);
    let id = bed.network("--ipv6 --attachable --label ann=bob web");
    let (one, other) = (bed.gantry(0), bed.gantry(1));
    for gantry in [&one, &other] {
        let text = gantry.ok(&["network", "inspect", "web"]);
        let seen: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(
            (&seen[0]["Id"], &seen[0]["Scope"]),
            (&id.as_str().into(), &"global".into())
        );
        assert_eq!(
            (&seen[0]["Driver"], &seen[0]["Labels"]["ann"]),
            (&"overlay".into(), &"bob".into())
        );
        assert_eq!(
            seen[0]["Options"]["com.docker.network.driver.overlay.vxlanid_list"],
            "4096"
        );
        assert_eq!(seen[0]["Attachable"], true);
        let listed = gantry.ok(&[
            "network",
            "ls",
            "-f",
            "scope=global",
            "--format",
            "{{.Name}} {{.Driver}} {{.Scope}}",
        ]);
        assert_eq!(listed, "web overlay global");
    }
    // Nothing is made where nobody is in it.
    assert!(
        !bed.houses[1]
            .exec_root()
            .join(format!("netns/overlay-{}", &id[..12]))
            .exists()
    );

    up(&one, "ann", &["--network", "web", "--network-alias", "first"]);
    up(&other, "bob", &["--network", "web", "--hostname", "bee"]);
    let mine: Vec<String> = ["IPAddress", "GlobalIPv6Address"]
        .iter()
        .map(|field| endpoint(&one, "ann", "web", field))
        .collect();
    let theirs: Vec<String> = ["IPAddress", "GlobalIPv6Address"]
        .iter()
        .map(|field| endpoint(&other, "bob", "web", field))
        .collect();
    assert!(mine[0] != theirs[0] && mine[1] != theirs[1], "{mine:?} {theirs:?}");
    for (address, back) in theirs.iter().zip(&mine) {
        reaches(&one, "ann", address);
        reaches(&other, "bob", back);
    }
    let (inside, there) = (bed.houses[0].inside("ann"), bed.houses[1].inside("bob"));
    for name in ["bob", "bee", "bob.web"] {
        means(&inside, name, A, &[&theirs[0]]);
        means(&inside, name, AAAA, &[&theirs[1]]);
    }
    for name in ["ann", "first"] {
        means(&there, name, A, &[&mine[0]]);
        means(&there, name, AAAA, &[&mine[1]]);
    }
    let reverse: Vec<&str> = theirs[0].rsplit('.').collect();
    means(
        &inside,
        &format!("{}.in-addr.arpa", reverse.join(".")),
        PTR,
        &["bob.web"],
    );
    assert!(
        pings(&one, "ann", "bob")
            && one
                .run(&["exec", "ann", "ping", "-6", "-c", "1", "-W", "2", "bob"])
                .code
                == 0
    );
    let mtu = one.ok(&["exec", "ann", "cat", "/sys/class/net/eth0/mtu"]);
    assert_eq!(mtu, "1450", "room for the headers on the wire");

    // An address that a container anywhere has is taken.
    let taken = one.run(&["network", "rm", "web"]).exits(1);
    assert!(taken.stderr.contains("active endpoints"), "{}", taken.stderr);
    other.ok(&["rename", "bob", "renamed"]);
    means(&inside, "renamed", A, &[&theirs[0]]);
    means(&inside, "bob", A, &[]);
    other.ok(&["rm", "-f", "renamed"]);
    means(&inside, "renamed", A, &[]);
    eventually("nobody is there any more", PATIENCE, || !pings(&one, "ann", &theirs[0]));
    let gone = bed.houses[1].exec_root().join(format!("netns/overlay-{}", &id[..12]));
    eventually("the network leaves with the last", PATIENCE, || !gone.exists());
    drop((inside, there));
    bed.close();
}

#[test]
fn an_address_is_one_container_s_on_all_hosts() {
    let bed = Bed::new(Underlay::V4);
    bed.network("--subnet 10.66.0.0/24 --subnet fd66::/64 --ipv6 web");
    let (one, other) = (bed.gantry(0), bed.gantry(1));
    up(
        &one,
        "ann",
        &["--network", "web", "--ip", "10.66.0.9", "--ip6", "fd66::9"],
    );
    for (flag, address) in [("--ip", "10.66.0.9"), ("--ip6", "fd66::9")] {
        let output = other.run(&["run", "--rm", "--network", "web", flag, address, "busybox", "true"]);
        output.exits(125).says("already in use");
    }
    // Refused, and nothing is kept of it.
    up(&other, "bob", &["--network", "web"]);
    assert_eq!(endpoint(&other, "bob", "web", "IPAddress"), "10.66.0.2");
    one.ok(&["rm", "-f", "ann"]);
    eventually("an address that was given back can be had", PATIENCE, || {
        other
            .run(&[
                "run",
                "--rm",
                "--network",
                "web",
                "--ip",
                "10.66.0.9",
                "--ip6",
                "fd66::9",
                "busybox",
                "true",
            ])
            .code
            == 0
    });
    // Names, numbers and subnets are one network's on all hosts.
    for (line, says) in [
        ("network create -d overlay web", "already exists"),
        ("network create -d overlay --subnet 10.66.0.128/25 x", "overlaps"),
        (
            "network create -d overlay --opt com.docker.network.driver.overlay.vxlanid_list=4096 x",
            "4096",
        ),
        ("network create -d overlay --opt parent=eth0 x", "parent"),
    ] {
        let args: Vec<&str> = line.split(' ').collect();
        let refused = other.run(&args);
        assert!(
            refused.code != 0 && refused.stderr.contains(says),
            "{line}: {}",
            refused.stderr
        );
    }
    bed.close();
}

#[test]
fn the_gateway_leads_out_and_in() {
    let bed = Bed::new(Underlay::V4);
    bed.network("--ipv6 web");
    bed.network("--internal inner");
    let (one, other) = (bed.gantry(0), bed.gantry(1));
    up(&one, "ann", &["--network", "web", "-p", "8080:80"]);
    one.ok(&["exec", "-d", "ann", "httpd", "-p", "80"]);
    for at in ["192.0.2.1:8080", "[2001:db8:1::1]:8080"] {
        let at = at.parse().expect("an address");
        eventually("the published port leads in", PATIENCE, || {
            let connected = || TcpStream::connect_timeout(&at, Duration::from_secs(2)).is_ok();
            bed.houses[1].netns().enter(connected)
        });
    }
    // Out to the other host itself, by masquerade.
    assert!(pings(&one, "ann", "192.0.2.2") && pings(&one, "ann", "2001:db8:1::2"));
    let shown = one.ok(&[
        "inspect",
        "-f",
        "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}",
        "ann",
    ]);
    assert_eq!(shown.trim(), "web", "the gateway is nobody's network");
    assert!(one.ok(&["port", "ann"]).contains("80/tcp -> 0.0.0.0:8080"));
    // Containers of one host do not talk over it.
    up(&one, "cid", &["--network", "web"]);
    let gateway = one.ok(&[
        "exec",
        "cid",
        "sh",
        "-c",
        "ip -o -4 addr show eth1 | awk '{print $4}' | cut -d/ -f1",
    ]);
    assert!(!pings(&one, "ann", &gateway), "{gateway}");
    let hosts = one.ok(&["exec", "cid", "cat", "/etc/hosts"]);
    assert!(!hosts.contains(&gateway), "{hosts}");

    // Who is in an internal network alone has no way out; connecting brings it, disconnecting takes it away.
    up(&other, "dan", &["--network", "inner"]);
    assert!(!pings(&other, "dan", "192.0.2.1"));
    assert!(!other.ok(&["exec", "dan", "ip", "-o", "link"]).contains("eth1"));
    other.ok(&["network", "connect", "web", "dan"]);
    reaches(&other, "dan", "ann");
    assert!(pings(&other, "dan", "192.0.2.1"));
    other.ok(&["network", "disconnect", "web", "dan"]);
    assert!(!pings(&other, "dan", "192.0.2.1"));
    let links = other.ok(&["exec", "dan", "ip", "-o", "link"]);
    assert!(!links.contains("eth1") && !links.contains("eth2"), "{links}");
    bed.close();
}

#[test]
fn overlay_networks_want_a_cluster() {
    let house = House::apart(&[]);
    let refused = house.gantry().run(&["network", "create", "-d", "overlay", "web"]);
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("--cluster-store"), "{}", refused.stderr);
    let mut command = house.daemon_command();
    command.args([
        "--cluster-store",
        "consul://127.0.0.1:8500",
        "--cluster-advertise",
        WIRE,
    ]);
    let output = command.output().expect("gantryd runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("consul"), "{said}");
}
