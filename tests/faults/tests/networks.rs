//! P32: the daemon killed at every stop that has to do with networks. Each house has a network namespace of its own, in which all
//! links and rules are the daemon's.

use gantry_e2e::{House, eventually};
use gantry_faults::{LIMIT, Passed, cut_short, deadly, house_apart, is_network, runs_once, say, slow, stops, walk};
use std::net::TcpListener;
use std::sync::Barrier;

const ONE: &str = "one";
const NET: &str = "web";
const OTHER: &str = "other";
const LAN: &str = "lan";

/// Every deed about networks, each reaching some of the stops.
const LIFE: [&str; 19] = [
    "network create --ipv6 web",
    "network create other",
    "network create -d macvlan --subnet 10.66.0.0/24 lan",
    "create --name one --network web -p 8080:80 -p 8080:80/udp busybox sleep 1000",
    "network connect other one",
    "network disconnect other one",
    "start one",
    "network connect --alias uno other one",
    "network connect lan one",
    "network disconnect lan one",
    "network disconnect web one",
    "network connect web one",
    "stop -t 0 one",
    "start one",
    "restart -t 0 one",
    "rm -f one",
    "network rm lan",
    "network rm other",
    "network rm web",
];

/// Whether the daemon has died on the way. What fails because of its death is of no interest.
fn life(house: &mut House) -> bool {
    LIFE.iter().any(|line| {
        let args: Vec<&str> = line.split(' ').collect();
        cut_short(house, &args, b"")
    })
}

/// What is in the house's namespace and among the daemon's files. Nothing is, once a daemon that has no networks but its own and no
/// containers has come to an orderly end.
fn holdings(house: &House) -> Vec<String> {
    let mut all = house.netns().links();
    all.push(house.netns().ok("nft -s list ruleset"));
    let saved = house.netns().ok("iptables-save");
    all.extend(saved.lines().filter(|line| line.starts_with("-A")).map(str::to_owned));
    all.extend(files(house));
    all
}

fn files(house: &House) -> Vec<String> {
    let dirs = [house.exec_root().join("netns"), house.data_root().join("containers")];
    let entries = dirs
        .iter()
        .flat_map(std::fs::read_dir)
        .flat_map(|entries| entries.flatten().collect::<Vec<_>>());
    entries.map(|entry| entry.path().display().to_string()).collect()
}

/// What speaks of our networks and ports while the daemon runs: devices, rules, elements of maps, namespaces.
fn traces(house: &House) -> Vec<String> {
    let ours = |text: &str| ["br-", "veth", "dm-", "8080"].iter().any(|word| text.contains(word));
    let rules = house.netns().ok("nft -s list ruleset");
    let rules = rules.lines().map(str::to_owned);
    let mut all: Vec<String> = house.netns().links().into_iter().chain(rules).collect();
    all.retain(|text| ours(text));
    all.extend(files(house));
    if !is_free(house) {
        all.push("port 8080".to_owned());
    }
    all
}

fn is_free(house: &House) -> bool {
    house.netns().enter(|| TcpListener::bind("[::]:8080").is_ok())
}

/// What is there after the kill is what the deeds made or not; it works, and it can be removed.
fn mended(house: &House) {
    let gantry = house.gantry();
    let exists = |what: &[&str]| gantry.run(what).code == 0;
    if exists(&["container", "inspect", ONE]) {
        let status = gantry.ok(&["inspect", "-f", "{{.State.Status}}", ONE]);
        if status != "running" {
            let started = gantry.run(&["start", ONE]);
            let gone = started.stderr.contains("No such container") || started.stderr.contains("removal");
            assert!(
                started.code == 0 || gone,
                "start of what was {status}: {}",
                started.stderr
            );
        }
        if exists(&["exec", ONE, "true"]) {
            runs_once(house, ONE);
            connected_as_said(house);
        }
        gantry.ok(&["rm", "-f", ONE]);
    }
    for name in [NET, OTHER, LAN] {
        if exists(&["network", "inspect", name]) {
            gantry.ok(&["network", "rm", name]);
        }
    }
}

/// The interfaces in the container are those of the networks that it is said to be in.
fn connected_as_said(house: &House) {
    let gantry = house.gantry();
    let template = "{{range $name, $end := .NetworkSettings.Networks}}{{$end.IPAddress}} {{end}}";
    let said = gantry.ok(&["inspect", "-f", template, ONE]);
    let mut said: Vec<&str> = said.split_whitespace().collect();
    let shown = gantry.ok(&["exec", ONE, "sh", "-c", "ip -o -4 addr | grep eth; true"]);
    let addresses = shown
        .lines()
        .filter_map(|line| line.split_whitespace().nth(3)?.split('/').next());
    let mut inside: Vec<&str> = addresses.collect();
    said.sort_unstable();
    inside.sort_unstable();
    assert_eq!(inside, said, "{shown}");
    // Addresses of their own, which are taken in the kernel and in the books. The host has no place in the macvlan's network.
    for address in said.iter().filter(|address| !address.starts_with("10.66.")) {
        let seen = house.netns().run(&format!("busybox ping -c 1 -W 2 {address}"));
        assert_eq!(seen.code, 0, "{address}: {}", seen.stdout);
    }
}

/// Everything once more; all of it must succeed, with the addresses that a daemon without a past would give.
fn repeat(house: &House) {
    let gantry = house.gantry();
    for line in LIFE {
        let args: Vec<&str> = line.split(' ').collect();
        gantry.ok(&args);
        if line == "start one" {
            let address = gantry.ok(&["inspect", "-f", "{{.NetworkSettings.Networks.web.IPAddress}}", ONE]);
            assert!(
                address.ends_with(".0.2"),
                "an address of a container that is gone is not given again: {address}"
            );
            assert!(!is_free(house), "its port is taken");
        }
    }
}

/// Whether the daemon died at the stop. Either way nothing is left and everything can be done again.
fn dies_at(stop: &str) -> bool {
    let (mut house, passed): (House, Passed) = house_apart();
    let known = house.gantry().ok(&["network", "ls", "--no-trunc"]);
    house.stop_daemon();
    let before = holdings(&house);
    passed.forget();
    house.set_env(deadly(stop, &passed));
    house.start();
    match life(&mut house) {
        true => assert!(house.wait_daemon(LIMIT), "it is about to end"),
        false => house.stop_daemon(),
    }
    let hit = passed.all().iter().any(|name| name == stop);
    house.set_env(Vec::new());
    house.start();
    mended(&house);
    let mut left = Vec::new();
    let clean = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        eventually("nothing is left", LIMIT, || {
            left = traces(&house);
            left.is_empty()
        });
    }));
    assert!(clean.is_ok(), "left: {left:#?}");
    assert_eq!(house.gantry().ok(&["network", "ls", "--no-trunc"]), known);
    house.stop_daemon();
    assert_eq!(holdings(&house), before, "after an orderly end");
    house.start();
    repeat(&house);
    hit
}

#[test]
fn p32_a_kill_at_every_stop_of_networks_leaves_nothing() {
    let mut stops = stops();
    stops.retain(|stop| is_network(stop));
    if let Ok(only) = std::env::var("GANTRY_ONLY_STOP") {
        stops.retain(|stop| stop.contains(&only));
    }
    let seen = walk(&stops, dies_at);
    for stop in &seen.hit {
        say(&format!("killed at {stop}, and nothing was left"));
    }
    seen.judge(" of networks", &stops);
}

/// Eight containers are started at once when the network's bridge is gone, and the daemon is slow at the stop. What it passed.
fn eight_find_no_bridge(stop: &str) -> Vec<String> {
    let (mut house, passed): (House, Passed) = house_apart();
    house.stop_daemon();
    house.set_env(slow(stop, &passed));
    house.start();
    let gantry = house.gantry();
    gantry.ok(&["network", "create", "--subnet", "10.99.0.0/24", NET]);
    let id = gantry.ok(&["network", "inspect", "-f", "{{.Id}}", NET]);
    let ping = ["busybox", "ping", "-c1", "-W5", "10.99.0.1"];
    let run = [&["run", "--rm", "--network", NET][..], &ping].concat();
    house.netns().ip(&format!("link del br-{}", &id[..12]));
    passed.forget();
    let start = Barrier::new(8);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                start.wait();
                gantry.ok(&run);
            });
        }
    });
    let passed = passed.all();
    assert!(passed.iter().any(|name| name == stop), "{stop} was passed: {passed:?}");
    passed
}

/// It has ended, and what it has in its networks is not cleared yet.
#[test]
fn who_has_just_been_stopped_is_told_where_it_is_to_be() {
    let (mut house, passed): (House, Passed) = house_apart();
    house.stop_daemon();
    house.set_env(slow("engine::clear", &passed));
    house.start();
    let gantry = house.gantry();
    gantry.ok(&["network", "create", "--subnet", "10.99.0.0/24", NET]);
    gantry.ok(&["run", "-d", "--name", ONE, "--network", NET, "busybox", "sleep", "1000"]);
    gantry.ok(&["stop", "-t", "0", ONE]);
    gantry.ok(&["network", "connect", "--ip", "10.99.0.77", NET, ONE]);
    gantry.ok(&["start", ONE]);
    let address = format!("{{{{(index .NetworkSettings.Networks \"{NET}\").IPAddress}}}}");
    assert_eq!(gantry.ok(&["inspect", "-f", &address, ONE]), "10.99.0.77");
    gantry.ok(&["stop", "-t", "0", ONE]);
    gantry.ok(&["network", "disconnect", NET, ONE]);
    gantry.ok(&["rm", ONE]);
}

#[test]
fn of_many_that_find_no_bridge_one_makes_it() {
    eight_find_no_bridge("network::bridge::missing");
}

#[test]
fn nobody_joins_a_bridge_that_is_half_made() {
    let passed = eight_find_no_bridge("network::bridge");
    let mut half = false;
    for name in &passed {
        match name.as_str() {
            "network::bridge" => half = true,
            "engine::network::create::made" => half = false,
            "network::pair::join" => assert!(!half, "{passed:#?}"),
            _ => {}
        }
    }
}
