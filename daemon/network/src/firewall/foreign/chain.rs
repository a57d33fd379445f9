//! A base chain of somebody's in nftables: our rules in a chain beside it, jumped to from its top.

use super::super::published::Version;
use super::super::run::Run;
use super::super::{NetworkRules, Rules};
use super::survey::Chain;
use crate::Result;
use gantry_core::network::GatewayMode;
use std::fmt::Write;

/// Whether anything had to be changed.
pub(super) fn say(place: &Chain, ours: &str, rules: &Rules, wanted: bool) -> Result<bool> {
    let table = format!("{} {}", place.family, place.table);
    let bodies = if wanted { wanted_rules(rules) } else { Vec::new() };
    let jumps = jumps(place, ours)?;
    let there = body(place, ours);
    let mut text = String::new();
    if bodies.is_empty() {
        for handle in &jumps {
            put(
                &mut text,
                format_args!("delete rule {table} {} handle {handle}\n", place.name),
            );
        }
        if there.is_some() && others_jump(place, ours)? == jumps.len() {
            put(
                &mut text,
                format_args!("flush chain {table} {ours}\ndelete chain {table} {ours}\n"),
            );
        }
    } else {
        if there.as_ref() != Some(&bodies) {
            put(
                &mut text,
                format_args!("add chain {table} {ours}\nflush chain {table} {ours}\n"),
            );
            for rule in &bodies {
                put(&mut text, format_args!("add rule {table} {ours} {rule}\n"));
            }
        }
        if jumps.is_empty() {
            put(
                &mut text,
                format_args!("insert rule {table} {} jump {ours}\n", place.name),
            );
        }
    }
    if text.is_empty() {
        return Ok(false);
    }
    Run::new("nft", &["-f", "-"]).input(text).output()?;
    Ok(true)
}

fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a string takes all that is written");
}

/// As nftables lists them.
fn wanted_rules(rules: &Rules) -> Vec<String> {
    let mut wanted = Vec::new();
    for network in rules.networks.values() {
        let device = &network.device;
        if network.icc {
            wanted.push(format!("iifname \"{device}\" oifname \"{device}\" accept"));
        }
        if network.internal {
            continue;
        }
        wanted.push(format!("oifname \"{device}\" ct state established,related accept"));
        wanted.push(format!("oifname \"{device}\" ct status dnat accept"));
        if open(network) {
            wanted.push(format!("oifname \"{device}\" accept"));
        }
        wanted.push(format!("iifname \"{device}\" oifname != \"{device}\" accept"));
    }
    wanted
}

/// Whether containers are reached at their own addresses, which our own tables judge.
pub(super) fn open(network: &NetworkRules) -> bool {
    let open = |version| {
        let mode = network.mode(version);
        !network.closed(version) && matches!(mode, GatewayMode::Routed | GatewayMode::NatUnprotected)
    };
    Version::BOTH.into_iter().any(open)
}

/// Handles of the rules in the base chain that jump to ours.
fn jumps(place: &Chain, ours: &str) -> Result<Vec<String>> {
    let printed = Run::new(
        "nft",
        &["-a", "list", "chain", &place.family, &place.table, &place.name],
    )
    .output()?;
    let jump = format!("jump {ours} # handle ");
    let found = printed.lines().filter_map(|line| line.trim().strip_prefix(&jump));
    Ok(found.map(str::to_owned).collect())
}

/// How many rules of the whole table jump to ours: two base chains of one table share it.
fn others_jump(place: &Chain, ours: &str) -> Result<usize> {
    let printed = Run::new("nft", &["-t", "list", "table", &place.family, &place.table]).output()?;
    let jump = format!("jump {ours}");
    Ok(printed.lines().filter(|line| line.trim() == jump).count())
}

/// The rules of our chain, if it is there.
fn body(place: &Chain, ours: &str) -> Option<Vec<String>> {
    let printed = Run::new("nft", &["list", "chain", &place.family, &place.table, ours])
        .output()
        .ok()?;
    let lines = printed.lines().map(str::trim);
    let rules = lines.filter(|line| !line.is_empty() && !line.starts_with(['}', '#']) && !line.ends_with('{'));
    Some(rules.map(str::to_owned).collect())
}
