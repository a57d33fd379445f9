//! Networks that users define: what they are asked to be, and what is refused.

use crate::{address, endpoint, exec, network, once, pings, up};
use gantry_e2e::{Gantry, House};
use serde_json::json;

#[track_caller]
fn refused(gantry: &Gantry, line: &str, says: &str) {
    let args: Vec<&str> = line.split(' ').collect();
    let before = gantry.ok(&["network", "ls", "--no-trunc"]);
    let output = gantry.run(&args);
    assert_ne!(output.code, 0, "{line}: {}", output.stdout);
    assert!(output.stderr.contains(says), "{line}: {}", output.stderr);
    assert_eq!(gantry.ok(&["network", "ls", "--no-trunc"]), before, "{line}");
}

fn create(gantry: &Gantry, line: &str) -> String {
    let mut args = vec!["network", "create"];
    args.extend(line.split(' '));
    gantry.ok(&args)
}

#[test]
fn a_network_is_what_was_asked_for() {
    let house = House::apart(&[]);
    let gantry = house.gantry();
    let id = create(
        &gantry,
        "--driver bridge --subnet 172.25.0.0/16 --gateway 172.25.0.254 --ip-range 172.25.100.0/24 --aux-address printer=172.25.100.1 --label a=b --attachable web",
    );
    assert_eq!(id.len(), 64);
    let seen = network(&gantry, "web");
    assert_eq!(seen["Id"], id.as_str());
    assert_eq!(
        seen["IPAM"]["Config"][0],
        json!({"Subnet": "172.25.0.0/16", "IPRange": "172.25.100.0/24", "Gateway": "172.25.0.254",
            "AuxiliaryAddresses": {"printer": "172.25.100.1"}})
    );
    assert_eq!((&seen["Labels"]["a"], &seen["Attachable"]), (&json!("b"), &json!(true)));
    assert_eq!((&seen["Scope"], &seen["Internal"]), (&json!("local"), &json!(false)));
    let device = format!("br-{}", &id[..12]);
    assert!(house.netns().links().contains(&device));
    let text = house.netns().ip(&format!("-4 addr show {device}"));
    assert!(text.contains("inet 172.25.0.254/16"), "{text}");

    up(&gantry, "free", &["--network", "web"]);
    let given = address(&gantry, "free", "web");
    assert!(given.starts_with("172.25.100.") && given != "172.25.100.1", "{given}");
    assert!(exec(&gantry, "free", "ip route").contains("default via 172.25.0.254"));
    up(
        &gantry,
        "fixed",
        &[
            "--network",
            "web",
            "--ip",
            "172.25.7.7",
            "--mac-address",
            "02:11:22:33:44:55",
        ],
    );
    assert_eq!(address(&gantry, "fixed", "web"), "172.25.7.7");
    assert_eq!(endpoint(&gantry, "fixed", "web", "MacAddress"), "02:11:22:33:44:55");
    assert!(exec(&gantry, "fixed", "ip link show eth0").contains("02:11:22:33:44:55"));
    assert!(pings(&gantry, "free", "172.25.7.7"));
    // An address is given once, and again when it is free.
    let output = gantry.run(&[
        "run",
        "--rm",
        "--network",
        "web",
        "--ip",
        "172.25.7.7",
        "busybox",
        "true",
    ]);
    output.exits(125).says("Address already in use");
    gantry.ok(&["rm", "-f", "fixed"]);
    once(&gantry, &["--network", "web", "--ip", "172.25.7.7"], "true");
    let output = gantry.run(&["run", "--rm", "--network", "web", "--ip", "10.1.2.3", "busybox", "true"]);
    output.exits(125).says("10.1.2.3");
}

#[test]
fn networks_are_listed_and_pruned() {
    let house = House::apart(&[]);
    let gantry = house.gantry();
    let id = create(&gantry, "--label keep=yes one");
    create(&gantry, "two");
    let names = |args: &[&str]| {
        let mut all = vec!["network", "ls", "--format", "{{.Name}}"];
        all.extend(args);
        gantry.ok(&all).lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(names(&[]), ["bridge", "host", "none", "one", "two"]);
    assert_eq!(names(&["-f", "driver=bridge"]), ["bridge", "one", "two"]);
    assert_eq!(names(&["-f", "label=keep=yes"]), ["one"]);
    assert_eq!(names(&["-f", "type=builtin"]), ["bridge", "host", "none"]);
    let table = gantry.ok(&["network", "ls"]);
    let header: Vec<&str> = table.lines().next().unwrap_or_default().split_whitespace().collect();
    assert_eq!(header, ["NETWORK", "ID", "NAME", "DRIVER", "SCOPE"]);
    let line = table.lines().find(|line| line.contains(" one ")).expect("it is listed");
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words, [&id[..12], "one", "bridge", "local"]);
    // By a prefix of its id too.
    assert_eq!(network(&gantry, &id[..8])["Name"], "one");

    up(&gantry, "user", &["--network", "two"]);
    create(&gantry, "three");
    let pruned = gantry.ok(&["network", "prune", "-f", "--filter", "label!=keep"]);
    assert!(
        pruned.lines().collect::<Vec<_>>() == ["Deleted Networks:", "three"],
        "{pruned}"
    );
    refused(&gantry, "network rm two", "has active endpoints");
    gantry.ok(&["rm", "-f", "user"]);
    // The container's interface may still be on its way out.
    gantry.ok(&["network", "rm", "two", "one"]);
    assert_eq!(names(&["-q", "-f", "type=custom"]), [""; 0]);
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let house = House::apart(&[]);
    let gantry = house.gantry();
    create(&gantry, "--subnet 10.40.0.0/16 web");
    let links = house.netns().links();
    for (line, says) in [
        ("network create --subnet 10.40.3.0/24 other", "overlaps"),
        ("network create --subnet 172.17.9.0/24 other", "overlaps"),
        ("network create web", "already exists"),
        ("network create bridge", "predefined"),
        ("network create --driver host mine", "only one instance"),
        ("network create --driver quantum other", "quantum"),
        ("network create --opt com.example.no=1 other", "com.example.no"),
        (
            "network create --opt com.docker.network.bridge.enable_icc=perhaps other",
            "enable_icc",
        ),
        ("network create --subnet 10.50.0.0/33 other", "10.50.0.0/33"),
        ("network create --subnet nowhere other", "nowhere"),
        ("network create --subnet 10.50.0.1/16 other", "10.50.0.0/16"),
        (
            "network create --subnet 10.50.0.0/16 --gateway 10.51.0.1 other",
            "10.51.0.1",
        ),
        (
            "network create --subnet 10.50.0.0/16 --ip-range 10.51.0.0/24 other",
            "10.51.0.0/24",
        ),
        ("network create -d macvlan -o parent=nosuch0 other", "nosuch0"),
        ("network create -d macvlan -o parent=lo other", "lo"),
        ("network create -d macvlan -o macvlan_mode=loud other", "macvlan_mode"),
        ("network create -bad", "bad"),
        ("network create a/b", "a/b"),
        ("network create ü", "ü"),
        ("network rm bridge", "pre-defined"),
        ("network rm nothing", "nothing"),
        ("network inspect nothing", "nothing"),
        ("network connect web nobody", "nobody"),
        ("network connect nothing nobody", "no"),
    ] {
        refused(&gantry, line, says);
        assert_eq!(house.netns().links(), links, "{line}");
    }
    let output = gantry.run(&["run", "--rm", "--network", "nothing", "busybox", "true"]);
    output.exits(125).says("network nothing not found");
    let output = gantry.run(&["run", "--rm", "--ip", "172.17.0.9", "busybox", "true"]);
    output.exits(125).says("user configured subnets");
    assert_eq!(
        gantry.ok(&["ps", "-aq"]),
        "",
        "a container that could not be started by run --rm is gone"
    );
}

#[test]
fn a_small_pool_runs_out_and_says_so() {
    let house = House::apart(&[]);
    let gantry = house.gantry();
    create(&gantry, "--subnet 10.60.0.0/29 small");
    // Eight less the network, the broadcast and the gateway.
    for n in 0..5 {
        up(&gantry, &format!("c{n}"), &["--network", "small"]);
    }
    let output = gantry.run(&[
        "run",
        "-d",
        "--name",
        "one-more",
        "--network",
        "small",
        "busybox",
        "true",
    ]);
    output.exits(125).says("10.60.0.0/29");
    gantry.ok(&["rm", "-f", "c3", "one-more"]);
    up(&gantry, "c3", &["--network", "small"]);
    assert_eq!(address(&gantry, "c3", "small"), "10.60.0.5");
}

#[test]
fn options_of_a_bridge_are_obeyed() {
    let house = House::apart(&[]);
    let gantry = house.gantry();
    create(
        &gantry,
        "--opt com.docker.network.container_iface_prefix=intf --opt com.docker.network.driver.mtu=1300 --opt com.docker.network.bridge.name=named0 web",
    );
    assert!(house.netns().links().contains(&"named0".to_owned()));
    let text = once(&gantry, &["--network", "web"], "ip -o link show");
    assert!(
        text.contains("intf0") && text.contains("mtu 1300") && !text.contains("eth0"),
        "{text}"
    );
    refused(
        &gantry,
        "network create --opt com.docker.network.bridge.name=named0 other",
        "named0",
    );
    refused(
        &gantry,
        "network create --opt com.docker.network.bridge.name=name-of-16-chars other",
        "com.docker.network.bridge.name",
    );
}

#[test]
fn a_netns_that_vanished_is_made_again_by_the_next_start() {
    let house = House::apart(&[]);
    let gantry = house.gantry();
    create(&gantry, "web");
    up(&gantry, "one", &["--network", "web"]);
    let seen = crate::inspect(&gantry, "one");
    let key = seen["NetworkSettings"]["SandboxKey"]
        .as_str()
        .expect("a path")
        .to_owned();
    nix::mount::umount2(key.as_str(), nix::mount::MntFlags::MNT_DETACH).expect("it is mounted");
    std::fs::remove_file(&key).expect("it is there");
    let output = gantry.run(&["network", "connect", "bridge", "one"]);
    assert_ne!(output.code, 0, "there is nowhere to connect to");
    gantry.ok(&["stop", "-t", "0", "one"]);
    gantry.ok(&["start", "one"]);
    assert!(exec(&gantry, "one", "ip -o addr").contains("eth0"));
}
