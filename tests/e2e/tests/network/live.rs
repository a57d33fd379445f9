//! Networks of containers that run: joined, left, renamed; many comings and goings.

use crate::{address, endpoint, exec, inspect, network, pings, rules, up};
use gantry_e2e::netns::{HOUSE4, HOUSE6, NEIGHBOUR4, NEIGHBOUR6, neighbour};
use gantry_e2e::talk::{Servers, reaches};
use gantry_e2e::{House, PATIENCE, eventually};

fn default_route(house: &House, name: &str) -> String {
    exec(&house.gantry(), name, "ip route show default")
}

#[test]
fn a_running_container_joins_and_leaves() {
    let house = House::apart(&[]);
    let gantry = house.gantry();
    for (name, subnet) in [
        ("bbb", "10.71.0.0/24"),
        ("aaa", "10.72.0.0/24"),
        ("ccc", "10.73.0.0/24"),
    ] {
        gantry.ok(&["network", "create", "--subnet", subnet, name]);
    }
    up(&gantry, "one", &["--network", "bbb"]);
    up(&gantry, "peer", &["--network", "aaa"]);
    assert!(default_route(&house, "one").contains("via 10.71.0.1 dev eth0"));
    gantry.ok(&[
        "network",
        "connect",
        "--ip",
        "10.72.0.50",
        "--alias",
        "first",
        "aaa",
        "one",
    ]);
    // The network whose name comes first has the default route.
    assert!(
        default_route(&house, "one").contains("via 10.72.0.1 dev eth1"),
        "{}",
        default_route(&house, "one")
    );
    assert_eq!(address(&gantry, "one", "aaa"), "10.72.0.50");
    assert!(exec(&gantry, "one", "ip -o addr show eth1").contains("10.72.0.50/24"));
    assert!(pings(&gantry, "peer", "first") && pings(&gantry, "one", "peer"));
    assert!(exec(&gantry, "one", "cat /etc/hosts").contains("10.72.0.50"));
    gantry.ok(&["network", "connect", "--gw-priority", "10", "ccc", "one"]);
    assert!(
        default_route(&house, "one").contains("via 10.73.0.1 dev eth2"),
        "the highest priority"
    );
    gantry
        .run(&["network", "connect", "aaa", "one"])
        .exits(1)
        .says("already exists in network aaa");
    gantry
        .run(&["network", "connect", "--ip", "10.71.0.2", "bbb", "peer"])
        .exits(1)
        .says("already in use");
    assert!(
        !exec(&gantry, "peer", "ip -o link").contains("eth1"),
        "and nothing is left of it"
    );

    // The same at the next start.
    gantry.ok(&["restart", "-t", "0", "one"]);
    assert!(default_route(&house, "one").contains("via 10.73.0.1"));
    assert_eq!(address(&gantry, "one", "aaa"), "10.72.0.50");

    gantry.ok(&["network", "disconnect", "ccc", "one"]);
    assert!(default_route(&house, "one").contains("via 10.72.0.1"));
    gantry.ok(&["network", "disconnect", "aaa", "one"]);
    assert!(default_route(&house, "one").contains("via 10.71.0.1"));
    let links = exec(&gantry, "one", "ip -o link | grep -c eth");
    assert_eq!(links, "1");
    assert!(
        network(&gantry, "aaa")["Containers"]
            .as_object()
            .is_some_and(|all| all.len() == 1)
    );
    gantry
        .run(&["network", "disconnect", "aaa", "one"])
        .exits(1)
        .says("not connected");
    // The last one too; then it is by itself.
    gantry.ok(&["network", "disconnect", "bbb", "one"]);
    assert_eq!(exec(&gantry, "one", "ip route; ip -o link | grep -c eth; true"), "0");
    gantry.ok(&["network", "connect", "bbb", "one"]);
    // While it does not run it is told where it is to be, as often as anybody likes.
    gantry.ok(&["stop", "-t", "0", "one"]);
    gantry.ok(&["network", "connect", "--ip", "10.71.0.77", "bbb", "one"]);
    gantry.ok(&["start", "one"]);
    assert_eq!(address(&gantry, "one", "bbb"), "10.71.0.77");
    assert!(
        exec(&gantry, "one", "ip -o link").contains("eth0"),
        "the first free name"
    );
    gantry.ok(&["network", "rm", "ccc"]);
}

#[test]
fn the_default_route_of_ipv6_goes_the_same_way() {
    let house = House::apart(&[]);
    let gantry = house.gantry();
    for (name, subnet) in [("bbb", "fd00:71::/64"), ("aaa", "fd00:72::/64")] {
        gantry.ok(&["network", "create", "--ipv6", "--subnet", subnet, name]);
    }
    up(&gantry, "one", &["--network", "bbb"]);
    up(&gantry, "peer", &["--network", "aaa"]);
    let route = || exec(&gantry, "one", "ip -6 route show default");
    assert!(route().contains("via fd00:71::1 dev eth0"), "{}", route());
    gantry.ok(&["network", "connect", "--ip6", "fd00:72::50", "aaa", "one"]);
    assert!(route().contains("via fd00:72::1 dev eth1"), "{}", route());
    assert_eq!(endpoint(&gantry, "one", "aaa", "GlobalIPv6Address"), "fd00:72::50");
    assert!(pings(&gantry, "peer", "fd00:72::50"));
    assert!(exec(&gantry, "one", "cat /etc/hosts").contains("fd00:72::50"));
    gantry
        .run(&["network", "connect", "--ip6", "fd00:71::2", "bbb", "peer"])
        .exits(1)
        .says("already in use");
    gantry.ok(&["network", "disconnect", "aaa", "one"]);
    assert!(route().contains("via fd00:71::1 dev eth0"), "{}", route());
}

#[test]
fn who_is_stopped_joins_at_its_start() {
    let house = House::apart(&[]);
    let gantry = house.gantry();
    gantry.ok(&["network", "create", "web"]);
    gantry.ok(&["create", "--name", "one", "busybox", "sleep", "10000"]);
    gantry.ok(&["network", "connect", "--alias", "uno", "web", "one"]);
    up(&gantry, "two", &["--network", "web"]);
    gantry.ok(&["start", "one"]);
    assert!(pings(&gantry, "two", "uno"));
    let seen = inspect(&gantry, "one");
    let networks = seen["NetworkSettings"]["Networks"].as_object().expect("networks");
    assert_eq!(networks.keys().collect::<Vec<_>>(), ["bridge", "web"]);
    gantry.ok(&["network", "disconnect", "bridge", "one"]);
    assert!(pings(&gantry, "two", "one"));
}

#[test]
fn ports_follow_the_default_route() {
    let house = House::apart(&[]);
    let (gantry, other) = (house.gantry(), neighbour(house.netns()));
    gantry.ok(&["network", "create", "--ipv6", "bbb"]);
    gantry.ok(&["network", "create", "--ipv6", "aaa"]);
    up(
        &gantry,
        "one",
        &["--network", "bbb", "-p", "7100:7000", "-p", "7100:7000/udp"],
    );
    let one = house.inside("one");
    let _servers = Servers::new(&one, "one", &[7000]);
    let reached = || {
        reaches(&other, &format!("{HOUSE4}:7100"), &format!("one {NEIGHBOUR4}"));
        reaches(&other, &format!("[{HOUSE6}]:7100"), &format!("one {NEIGHBOUR6}"));
    };
    reached();
    gantry.ok(&["network", "connect", "aaa", "one"]);
    reached();
    gantry.ok(&["network", "disconnect", "bbb", "one"]);
    reached();
    gantry.ok(&["network", "connect", "bbb", "one"]);
    gantry.ok(&["network", "disconnect", "aaa", "one"]);
    reached();
    assert!(gantry.ok(&["port", "one"]).contains("7000/tcp -> 0.0.0.0:7100"));
    // In no network it publishes nothing, and nobody else has its ports meanwhile.
    gantry.ok(&["network", "disconnect", "bbb", "one"]);
    assert_eq!(gantry.ok(&["port", "one"]), "");
    gantry
        .run(&["run", "--rm", "-p", "7100:80", "busybox", "true"])
        .exits(125)
        .says("7100");
    gantry.ok(&["network", "connect", "aaa", "one"]);
    reached();
}

#[test]
fn a_network_goes_right_after_its_last_container() {
    let house = House::apart(&[]);
    let gantry = house.gantry();
    for turn in 0..10 {
        gantry.ok(&["network", "create", "--subnet", "10.75.0.0/24", "brief"]);
        up(&gantry, "one", &["--network", "brief", "-p", "7100:80"]);
        assert_eq!(address(&gantry, "one", "brief"), "10.75.0.2", "turn {turn}");
        gantry.ok(&["rm", "-f", "one"]);
        gantry.ok(&["network", "rm", "brief"]);
    }
}

/// What `rm` and `stop` answer before is waited for by who wants it.
#[test]
fn ports_and_addresses_are_free_at_once() {
    let house = House::apart(&[]);
    let gantry = house.gantry();
    gantry.ok(&["network", "create", "--subnet", "10.75.0.0/24", "web"]);
    let taken = [
        "--network",
        "web",
        "--ip",
        "10.75.0.9",
        "-p",
        "7100:80",
        "-p",
        "7100:80/udp",
    ];
    for turn in 0..20 {
        up(&gantry, "one", &taken);
        match turn % 2 {
            0 => gantry.ok(&["rm", "-f", "one"]),
            _ => {
                gantry.ok(&["stop", "-t", "0", "one"]);
                up(&gantry, "two", &taken);
                gantry.ok(&["rm", "-f", "two", "one"])
            }
        };
    }
    // A port that stays taken is said to be, and a restart does not wait for itself.
    up(&gantry, "one", &taken);
    gantry
        .run(&["run", "--rm", "-p", "7100:80", "busybox", "true"])
        .exits(125)
        .says("7100");
    gantry.ok(&["restart", "-t", "0", "one"]);
    assert_eq!(address(&gantry, "one", "web"), "10.75.0.9");
}

#[test]
fn options_of_an_endpoint_are_obeyed_or_refused() {
    let house = House::apart(&[]);
    let gantry = house.gantry();
    gantry.ok(&["network", "create", "web"]);
    gantry.ok(&["network", "create", "far"]);
    up(&gantry, "one", &["--network", "web"]);
    let connect = |option: &str| {
        let args = ["network", "connect", "--driver-opt", option, "far", "one"];
        gantry.run(&args)
    };
    connect("com.docker.network.speed=11")
        .exits(1)
        .says("com.docker.network.speed");
    connect("com.docker.network.endpoint.ifname=eth0").exits(1).says("eth0");
    connect("com.docker.network.endpoint.sysctls=net.ipv4.conf.IFNAME.log_martians=1").exits(0);
    let set = exec(&gantry, "one", "cat /proc/sys/net/ipv4/conf/eth1/log_martians");
    assert_eq!(set, "1");
    gantry.ok(&["network", "disconnect", "far", "one"]);
    connect("com.docker.network.endpoint.ifname=front0").exits(0);
    assert!(exec(&gantry, "one", "ip -o link").contains("front0"));
    // What the address management is told and has no use for is kept and shown.
    gantry.ok(&["network", "create", "--ipam-opt", "some=thing", "told"]);
    assert_eq!(network(&gantry, "told")["IPAM"]["Options"]["some"], "thing");
}

#[test]
fn fifty_comings_and_goings_leave_nothing() {
    let house = House::apart(&[]);
    let gantry = house.gantry();
    gantry.ok(&["network", "create", "--ipv6", "web"]);
    let before = (house.netns().links(), rules(&house));
    let names: Vec<String> = (0..50).map(|n| format!("c{n}")).collect();
    std::thread::scope(|scope| {
        for some in names.chunks(13) {
            let gantry = house.gantry();
            scope.spawn(move || {
                for name in some {
                    up(
                        &gantry,
                        name,
                        &["--network", "web", "-P", "--expose", "80", "--expose", "53/udp"],
                    );
                }
            });
        }
    });
    let given: std::collections::BTreeSet<String> = names
        .iter()
        .flat_map(|name| {
            ["IPAddress", "GlobalIPv6Address", "MacAddress"].map(|field| endpoint(&gantry, name, "web", field))
        })
        .collect();
    assert_eq!(given.len(), 150, "each has its own");
    assert_eq!(house.netns().links().len(), before.0.len() + 50);
    let mut args = vec!["stop", "-t", "0"];
    args.extend(names.iter().map(String::as_str));
    gantry.ok(&args);
    let files = || std::fs::read_dir(house.exec_root().join("netns")).map_or(0, Iterator::count);
    eventually("all is gone", PATIENCE, || {
        files() == 0 && house.netns().links() == before.0 && rules(&house) == before.1
    });
    assert_eq!(network(&gantry, "web")["Containers"], serde_json::json!({}));
    gantry.ok(&["start", "c7"]);
    args[0] = "rm";
    args[1] = "-f";
    args.remove(2);
    gantry.ok(&args);
}
