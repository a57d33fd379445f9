//! Which of the rules that are there are ours.

use super::super::xtables::Saved;
use super::lines::{Line, Names};
use std::collections::{BTreeMap, BTreeSet};

/// Rules of ours in chains that are not ours, as they were saved.
pub(super) fn standing<'a>(names: &Names, saved: &'a Saved, table: &str) -> Vec<&'a str> {
    let Some(there) = saved.get(table) else {
        return Vec::new();
    };
    let mut chains = names.of(table);
    if table == "filter" {
        chains.push(&names.user);
    }
    let (devices, targets) = (devices(names, saved), targets(names, saved));
    let ours = |rule: &&'a String| {
        let Some((chain, rest)) = rule.strip_prefix("-A ").and_then(|rule| rule.split_once(' ')) else {
            return false;
        };
        let jump = rest.rsplit_once("-j ").map(|(_, target)| target);
        match (table, chain) {
            (_, "PREROUTING" | "OUTPUT" | "FORWARD" | "POSTROUTING") if jump.is_some_and(|to| chains.contains(&to)) => {
                true
            }
            ("filter", "FORWARD") => devices.iter().any(|device| passage(device, rest)),
            ("nat", "POSTROUTING") => devices.iter().any(|device| leaving(device, rest)) || itself(rest, &targets),
            _ => false,
        }
    };
    there.rules.iter().filter(ours).map(String::as_str).collect()
}

/// Devices that our chains, and jumps to them, name.
fn devices<'a>(names: &Names, saved: &'a Saved) -> BTreeSet<&'a str> {
    let mut devices = BTreeSet::new();
    for (table, there) in saved {
        let chains = names.of(table);
        for rule in &there.rules {
            let Some((chain, rest)) = rule.strip_prefix("-A ").and_then(|rule| rule.split_once(' ')) else {
                continue;
            };
            let jump = rest.rsplit_once("-j ").map(|(_, target)| target);
            if !chains.contains(&chain) && !jump.is_some_and(|to| chains.contains(&to)) {
                continue;
            }
            let words: Vec<&str> = rest.split(' ').collect();
            let named = words.windows(2).filter(|pair| matches!(pair[0], "-i" | "-o"));
            devices.extend(named.map(|pair| pair[1]).filter(|device| *device != "lo"));
        }
    }
    devices
}

/// Addresses of containers that our `DOCKER` chain leads to.
fn targets<'a>(names: &Names, saved: &'a Saved) -> BTreeSet<&'a str> {
    let Some(nat) = saved.get("nat") else {
        return BTreeSet::new();
    };
    let main = names.main.clone();
    let led = nat.rules.iter().filter_map(|rule| {
        let rest = rule.strip_prefix("-A ")?.strip_prefix(&main)?.strip_prefix(' ')?;
        let (_, to) = rest.split_once("--to-destination ")?;
        let (address, _) = to.rsplit_once(':')?;
        Some(address.trim_start_matches('[').trim_end_matches(']'))
    });
    led.collect()
}

fn passage(device: &str, rest: &str) -> bool {
    [
        format!("-o {device} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"),
        format!("-o {device} -p icmp -j ACCEPT"),
        format!("-o {device} -p ipv6-icmp -j ACCEPT"),
        format!("! -i {device} -o {device} -j DROP"),
        format!("! -i {device} -o {device} -j ACCEPT"),
        format!("-i {device} ! -o {device} -j ACCEPT"),
        format!("-i {device} -o {device} -j ACCEPT"),
        format!("-i {device} -o {device} -j DROP"),
    ]
    .iter()
    .any(|shape| shape == rest)
}

/// `-s SUBNET ! -o DEVICE -j MASQUERADE`
fn leaving(device: &str, rest: &str) -> bool {
    let target = rest
        .strip_prefix("-s ")
        .and_then(|rest| rest.split_once(' '))
        .map(|(_, rest)| rest);
    let out = format!("! -o {device} -j ");
    let target = target.and_then(|rest| rest.strip_prefix(&out));
    target.is_some_and(|target| target == "MASQUERADE" || target.starts_with("SNAT --to-source "))
}

/// `-s A -d A ... --dport P -j MASQUERADE`, of a container that one of our ports leads to.
fn itself(rest: &str, targets: &BTreeSet<&str>) -> bool {
    let words: Vec<&str> = rest.split(' ').collect();
    match words.as_slice() {
        ["-s", from, "-d", to, "-p", _, "-m", _, "--dport", _, "-j", "MASQUERADE"] => {
            from == to
                && from
                    .split_once('/')
                    .is_some_and(|(address, _)| targets.contains(address))
        }
        _ => false,
    }
}

/// Whether all of `lines` are there, as often as they should be.
pub(super) fn complete(saved: &Saved, lines: &[Line]) -> bool {
    let mut wanted: BTreeMap<(&str, String), usize> = BTreeMap::new();
    for line in lines {
        *wanted.entry((line.table, line.append())).or_default() += 1;
    }
    let mut there: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for (table, saved) in saved {
        for rule in &saved.rules {
            *there.entry((table, rule)).or_default() += 1;
        }
    }
    wanted
        .iter()
        .all(|((table, rule), count)| there.get(&(*table, rule.as_str())).is_some_and(|found| found >= count))
}
