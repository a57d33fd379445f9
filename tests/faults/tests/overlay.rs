//! P32 for networks that others have a say in: the daemon killed at every stop that has to do with networks of several hosts and with
//! networks by plugins. Each house has a network namespace of its own, with an etcd in it.

use gantry_e2e::{Etcd, House, PATIENCE, eventually};
use gantry_faults::{LIMIT, Passed, cut_short, deadly, house_apart, runs_once, say, stops, walk};
use serde_json::json;
use std::path::Path;

const ONE: &str = "one";
const AT: &str = "127.0.0.1";

/// Every deed, each reaching some of the stops.
const LIFE: [&str; 13] = [
    "network create -d overlay --ipv6 web",
    "network create -d overlay more",
    "network create -d cni plug",
    "create --name one --network web busybox sleep 1000",
    "start one",
    "network connect more one",
    "network connect plug one",
    "network disconnect web one",
    "network disconnect plug one",
    "restart -t 0 one",
    "rm -f one",
    "network rm more plug",
    "network rm web",
];

/// Whether the daemon has died on the way. What fails because of its death is of no interest.
fn life(house: &mut House) -> bool {
    LIFE.iter().any(|line| {
        let args: Vec<&str> = line.split(' ').collect();
        cut_short(house, &args, b"")
    })
}

fn configure(dir: &Path) {
    let plug = json!({"cniVersion": "1.0.0", "name": "plug", "plugins": [{"type": "bridge", "bridge": "outcni0", "ipam":
        {"type": "host-local", "dataDir": dir.join("given"), "ranges": [[{"subnet": "10.88.0.0/24"}]]}}]});
    std::fs::write(dir.join("10-plug.conflist"), plug.to_string()).expect("a file");
}

/// Addresses that the plugin has given.
fn given(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir.join("given/plug"))
        .into_iter()
        .flatten()
        .flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.parse::<std::net::IpAddr>().is_ok()).collect()
}

/// All that there is anywhere of networks with nobody in them.
fn traces(house: &House, etcd: &Etcd, dir: &Path) -> Vec<String> {
    let ours = |name: &String| {
        ["veth", "vxlan", "gtgw-", "br-"]
            .iter()
            .any(|start| name.starts_with(start))
    };
    let mut all: Vec<String> = house.netns().links().into_iter().filter(ours).collect();
    for place in ["netns", "cni"] {
        let entries = std::fs::read_dir(house.exec_root().join(place))
            .into_iter()
            .flatten()
            .flatten();
        all.extend(entries.map(|entry| entry.path().display().to_string()));
    }
    for kind in ["networks", "addresses", "endpoints"] {
        let count = etcd.count(house.netns(), kind);
        if count > 0 {
            all.push(format!("{count} {kind} in etcd"));
        }
    }
    all.extend(given(dir));
    all
}

/// What is there after the kill works and can be removed.
fn mended(house: &House) {
    let gantry = house.gantry();
    if gantry.run(&["container", "inspect", ONE]).code == 0 {
        let started = gantry.run(&["start", ONE]);
        let gone = started.stderr.contains("No such container") || started.stderr.contains("removal");
        assert!(started.code == 0 || gone, "start after the kill: {}", started.stderr);
        if started.code == 0 {
            runs_once(house, ONE);
            gantry.ok(&["exec", ONE, "ping", "-c", "1", "-W", "2", ONE]);
        }
        gantry.ok(&["rm", "-f", ONE]);
    }
    // What the cluster has is known here a moment after the start.
    let named = |name: &str| gantry.run(&["network", "inspect", name]).code == 0;
    let mut said = Vec::new();
    let removed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        eventually("networks can be removed", LIMIT, || {
            let all = ["web", "more", "plug", "gantry_gwbridge"];
            let left: Vec<&str> = all.into_iter().filter(|name| named(name)).collect();
            said = left
                .iter()
                .map(|name| gantry.run(&["network", "rm", name]).stderr)
                .collect();
            left.is_empty()
        });
    }));
    assert!(
        removed.is_ok(),
        "networks cannot be removed: {said:#?}\n{}",
        house.log()
    );
}

fn dies_at(stop: &str) -> bool {
    let dir = tempfile::tempdir().expect("a temporary directory");
    configure(dir.path());
    let (mut house, passed): (House, Passed) = house_apart();
    let etcd = Etcd::start(house.netns(), AT);
    house.stop_daemon();
    house.set_flags(&[
        &format!("--cluster-store=etcd://{AT}:2379"),
        &format!("--cluster-advertise={AT}"),
        &format!("--cni-conf-dir={}", dir.path().display()),
    ]);
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
        eventually("nothing is left", PATIENCE, || {
            // A network that a kill left in etcd is heard of in a moment.
            mended(&house);
            left = traces(&house, &etcd, dir.path());
            left.is_empty()
        });
    }));
    assert!(clean.is_ok(), "left: {left:#?}");
    for line in LIFE {
        let args: Vec<&str> = line.split(' ').collect();
        house.gantry().ok(&args);
        if line.starts_with("start") {
            let template = "{{.NetworkSettings.Networks.web.IPAddress}}";
            let address = house.gantry().ok(&["inspect", "-f", template, ONE]);
            assert!(
                address.ends_with(".2"),
                "an address of nobody is not given again: {address}"
            );
        }
    }
    mended(&house);
    drop(house);
    drop(etcd);
    hit
}

#[test]
fn p32_a_kill_at_every_stop_of_shared_networks_leaves_nothing() {
    let mut stops = stops();
    stops.retain(|stop| gantry_faults::is_shared(stop));
    if let Ok(only) = std::env::var("GANTRY_ONLY_STOP") {
        stops.retain(|stop| stop.contains(&only));
    }
    let seen = walk(&stops, dies_at);
    for stop in &seen.hit {
        say(&format!("killed at {stop}, and nothing was left"));
    }
    seen.judge(" of shared networks", &stops);
}
