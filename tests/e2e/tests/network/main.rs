//! Networks by the real commands over the real kernel: each test's daemon has a network namespace of its own, and where it
//! matters a neighbour on a wire, which stands for another host and for the Internet.

mod apart;
mod default;
mod defined;
mod iptables;
mod links;
mod live;
mod lost;
mod manual;
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

/// The rules of the house: its chains, sets and maps as nft prints them. They have no order among themselves, and the elements of
/// a set have none.
fn rules(house: &House) -> Vec<String> {
    let text = house.netns().ok("nft -s list ruleset");
    let (mut blocks, mut table, mut block) = (Vec::new(), String::new(), String::new());
    let mut elements: Option<String> = None;
    for line in text.lines().map(str::trim) {
        if let Some(so_far) = &mut elements {
            so_far.push_str(line);
        } else if let Some(first) = line.strip_prefix("elements = {") {
            elements = Some(first.to_owned());
        } else if line.starts_with("table ") {
            line.clone_into(&mut table);
        } else if line == "}" {
            blocks.push(format!("{table} {}", std::mem::take(&mut block)));
        } else {
            block.push_str(line);
            block.push('\n');
        }
        if let Some(all) = elements.take_if(|all| all.ends_with('}')) {
            let mut all: Vec<&str> = all.trim_end_matches('}').split(',').map(str::trim).collect();
            all.sort_unstable();
            block.push_str(&all.join("\n"));
            block.push('\n');
        }
    }
    blocks.sort();
    blocks
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
            "not the same rules after {limit:?}: lost {lost:#?}, new {more:#?}"
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
