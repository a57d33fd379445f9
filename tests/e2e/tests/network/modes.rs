//! host, none, another container's, and macvlan.

use crate::{address, exec, once, pings, up};
use gantry_e2e::talk::{Servers, reaches};
use gantry_e2e::{House, Netns};

#[test]
fn the_host_s_network_is_the_daemon_s() {
    let house = House::apart(&[]);
    let gantry = house.gantry();
    let other = Netns::new();
    house.netns().cable("outer", &other, "outer");
    let links = once(&gantry, &["--network", "host"], "ip -o link show");
    assert!(links.contains("outer") && !links.contains("eth0@"), "{links}");
    up(&gantry, "one", &["--network", "host"]);
    let seen = crate::inspect(&gantry, "one");
    assert_eq!(seen["HostConfig"]["NetworkMode"], "host");
    assert!(seen["NetworkSettings"]["Networks"]["host"].is_object(), "{seen:#}");
    let host = once(&gantry, &["--network", "host"], "hostname");
    assert_eq!(
        host,
        std::fs::read_to_string("/proc/sys/kernel/hostname")
            .expect("proc")
            .trim()
    );
    gantry
        .run(&["network", "connect", "bridge", "one"])
        .exits(1)
        .says("host mode");
}

#[test]
fn none_has_itself_alone() {
    let house = House::apart(&[]);
    let gantry = house.gantry();
    let links = once(
        &gantry,
        &["--network", "none"],
        "ip -o link show | grep -v -e sit0 -e tunl0; ip route; ping -c 1 127.0.0.1 >/dev/null",
    );
    assert!(links.contains("lo:") && links.lines().count() == 1, "{links}");
    up(&gantry, "one", &["--network", "none"]);
    gantry
        .run(&["network", "connect", "bridge", "one"])
        .exits(1)
        .says("none");
}

#[test]
fn a_container_shares_another_s_network() {
    let house = House::apart(&[]);
    let gantry = house.gantry();
    gantry.ok(&["network", "create", "web"]);
    let id = up(&gantry, "one", &["--network", "web", "--hostname", "uno"]);
    up(&gantry, "two", &["--network", "container:one"]);
    let of = |name: &str| exec(&gantry, name, "ip -o addr; hostname; cat /etc/hosts /etc/resolv.conf");
    assert_eq!(of("one"), of("two"));
    assert!(of("two").contains(&address(&gantry, "one", "web")));
    let mode = crate::inspect(&gantry, "two")["HostConfig"]["NetworkMode"].clone();
    assert_eq!(mode, format!("container:{id}"));
    gantry.ok(&["exec", "-d", "one", "httpd", "-f", "-p", "127.0.0.1:8080", "-h", "/etc"]);
    let page = "for i in 1 2 3 4 5 6 7 8 9; do wget -q -O - http://127.0.0.1:8080/hostname && break; sleep 0.2; done";
    assert_eq!(exec(&gantry, "two", page), "uno");
    for (flags, says) in [
        (&["-p", "80:80"][..], "container type network mode"),
        (&["--hostname", "x"][..], "hostname"),
        (&["--dns", "192.0.2.1"][..], "dns and the network mode"),
    ] {
        let mut args = vec!["create", "--network", "container:one"];
        args.extend(flags);
        args.extend(["busybox", "true"]);
        gantry.run(&args).exits(1).says(says);
    }
    gantry.run(&["network", "connect", "bridge", "two"]).exits(1);
    gantry.ok(&["stop", "-t", "0", "one"]);
    let output = gantry.run(&["run", "--rm", "--network", "container:one", "busybox", "true"]);
    output.exits(125).says("non running container");
    gantry
        .run(&["run", "--rm", "--network", "container:nobody", "busybox", "true"])
        .exits(125)
        .says("nobody");
}

#[test]
fn macvlan_is_in_the_neighbour_s_network() {
    let house = House::apart(&[]);
    let (gantry, other) = (house.gantry(), Netns::new());
    house.netns().cable("out1", &other, "out1");
    other.ip("addr add 10.66.0.1/24 dev out1");
    for mode in ["bridge", "private", "vepa", "passthru"] {
        let option = format!("macvlan_mode={mode}");
        let args = [
            "network",
            "create",
            "-d",
            "macvlan",
            "--subnet",
            "10.66.0.0/24",
            "--gateway",
            "10.66.0.1",
            "-o",
            "parent=out1",
            "-o",
            &option,
            "lan",
        ];
        gantry.ok(&args);
        up(&gantry, "one", &["--network", "lan"]);
        assert!(pings(&gantry, "one", "10.66.0.1"), "{mode}");
        let own = address(&gantry, "one", "lan");
        let servers = Servers::new(&house.inside("one"), "one", &[7000]);
        reaches(&other, &format!("{own}:7000"), "one 10.66.0.1");
        if mode == "bridge" {
            up(&gantry, "two", &["--network", "lan"]);
            assert!(pings(&gantry, "two", "one"), "by name");
            assert!(exec(&gantry, "one", "ip route").contains("default via 10.66.0.1"));
            gantry.ok(&["rm", "-f", "two"]);
        }
        drop(servers);
        gantry.ok(&["rm", "-f", "one"]);
        gantry.ok(&["network", "rm", "lan"]);
    }
}

#[test]
fn what_this_kernel_lacks_is_named() {
    let house = House::apart(&[]);
    let gantry = house.gantry();
    let other = Netns::new();
    house.netns().cable("out1", &other, "out1");
    for (kind, args) in [
        ("vlan", &["-d", "macvlan", "-o", "parent=out1.10", "x"][..]),
        ("ipvlan", &["-d", "ipvlan", "-o", "parent=out1", "x"][..]),
    ] {
        if supported(house.netns(), kind) {
            continue;
        }
        let mut all = vec!["network", "create"];
        all.extend(args);
        let output = gantry.run(&all);
        let refused = match output.code {
            // Where only a start finds out.
            0 => gantry
                .run(&["run", "--rm", "--network", "x", "busybox", "true"])
                .exits(125),
            _ => output,
        };
        assert!(refused.stderr.contains(kind), "{kind}: {}", refused.stderr);
        gantry.run(&["network", "rm", "x"]);
    }
}

fn supported(netns: &Netns, kind: &str) -> bool {
    let more = if kind == "vlan" { "id 9" } else { "" };
    let made = netns
        .run(&format!("ip link add link out1 name outx type {kind} {more}"))
        .code
        == 0;
    netns.run("ip link del outx");
    made
}
