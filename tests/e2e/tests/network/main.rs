//! Networks by the real commands over the real kernel: each test's daemon has a network namespace of its own, and where it
//! matters a neighbour on a wire, which stands for another host and for the Internet.

mod apart;
mod default;
mod defined;
mod iptables;
mod live;
mod lost;
mod modes;
mod names;
mod ports;
mod promises;
mod publish;

use gantry_e2e::{Gantry, House, Netns};
use serde_json::Value;
use std::time::{Duration, Instant};

/// Starts a container that does nothing for a long time; answers its id.
#[track_caller]
fn up(gantry: &Gantry, name: &str, flags: &[&str]) -> String {
    let mut args = vec!["run", "-d", "--name", name];
    args.extend(flags);
    args.extend(["busybox", "sleep", "100000"]);
    gantry.ok(&args)
}

/// Runs a command in a new container that is removed afterwards; what it printed.
#[track_caller]
fn once(gantry: &Gantry, flags: &[&str], command: &str) -> String {
    let mut args = vec!["run", "--rm"];
    args.extend(flags);
    args.extend(["busybox", "sh", "-c", command]);
    gantry.ok(&args)
}

#[track_caller]
fn exec(gantry: &Gantry, name: &str, command: &str) -> String {
    gantry.ok(&["exec", name, "sh", "-c", command])
}

#[track_caller]
fn inspect(gantry: &Gantry, name: &str) -> Value {
    let text = gantry.ok(&["inspect", name]);
    let value: Value = serde_json::from_str(&text).expect("inspect prints JSON");
    value[0].clone()
}

#[track_caller]
fn network(gantry: &Gantry, name: &str) -> Value {
    let text = gantry.ok(&["network", "inspect", name]);
    let value: Value = serde_json::from_str(&text).expect("network inspect prints JSON");
    value[0].clone()
}

/// One field of a container's endpoint in a network.
#[track_caller]
fn endpoint(gantry: &Gantry, name: &str, network: &str, field: &str) -> String {
    let seen = inspect(gantry, name);
    let value = &seen["NetworkSettings"]["Networks"][network][field];
    let text = value
        .as_str()
        .unwrap_or_else(|| panic!("{network}.{field} of {name}: {seen:#}"));
    text.to_owned()
}

/// Its IPv4 address in a network.
#[track_caller]
fn address(gantry: &Gantry, name: &str, network: &str) -> String {
    endpoint(gantry, name, network, "IPAddress")
}

/// Whether one echo request is answered.
fn pings(gantry: &Gantry, from: &str, to: &str) -> bool {
    gantry.run(&["exec", from, "ping", "-c", "1", "-W", "2", to]).code == 0
}

/// The rules of the house, as nft prints them; the elements of a set, which have no order, sorted.
fn rules(house: &House) -> Vec<String> {
    let text = house.netns().ok("nft -s list ruleset");
    let mut lines = Vec::new();
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once("elements = {") {
        lines.extend(before.lines().map(|line| line.trim().to_owned()));
        let (inside, after) = after.split_once('}').expect("sets are closed");
        let mut elements: Vec<String> = inside.split(',').map(|one| one.trim().to_owned()).collect();
        elements.sort();
        lines.extend(elements);
        rest = after;
    }
    lines.extend(rest.lines().map(|line| line.trim().to_owned()));
    lines.retain(|line| !line.is_empty());
    lines
}

/// Waits until the rules are these, and says what is not the same.
#[track_caller]
fn same_rules(house: &House, before: &[String], limit: Duration) {
    let deadline = Instant::now() + limit;
    loop {
        let now = rules(house);
        if now == before {
            return;
        }
        let lost: Vec<_> = before.iter().filter(|line| !now.contains(line)).collect();
        let more: Vec<_> = now.iter().filter(|line| !before.contains(line)).collect();
        assert!(
            Instant::now() < deadline,
            "not the same rules after {limit:?}: lost {lost:#?}, new {more:#?}, all: {now:#?}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Lets the neighbour try container addresses directly.
fn knows_the_way(neighbour: &Netns) {
    for subnet in ["172.16.0.0/12", "10.0.0.0/8"] {
        neighbour.ip(&format!("route add {subnet} via {}", gantry_e2e::netns::HOUSE4));
    }
    neighbour.ip(&format!("-6 route add fd00::/8 via {}", gantry_e2e::netns::HOUSE6));
}
