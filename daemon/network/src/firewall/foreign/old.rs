//! Somebody's `FORWARD` chain of iptables (by hand, of ufw, of a dockerd): our rules in a chain that it jumps to first.

use super::super::Rules;
use super::super::published::Version;
use super::super::xtables::{SavedTable, Xtables};
use super::chain::open;
use crate::Result;
use std::fmt::Write;

/// Users' own rules, which stay in front, where there is a chain of that name.
const USER: &str = "DOCKER-USER";

/// Whether anything had to be changed.
pub(super) fn say(tables: &Xtables, ours: &str, rules: &Rules, wanted: bool) -> Result<bool> {
    let saved = tables.saved(Some("filter"))?;
    let empty = SavedTable::default();
    let filter = saved.get("filter").unwrap_or(&empty);
    let body = if wanted {
        body(tables.version, filter, rules)
    } else {
        Vec::new()
    };
    let jump = format!("-j {ours}");
    let jumps = filter.of("FORWARD").filter(|rule| **rule == jump).count();
    let there = filter.chains.contains_key(ours);
    let mut text = String::new();
    if body.is_empty() {
        for _ in 0..jumps {
            put(&mut text, format_args!("-D FORWARD {jump}\n"));
        }
        if there {
            put(&mut text, format_args!("-F {ours}\n-X {ours}\n"));
        }
    } else {
        if !there || !filter.of(ours).eq(body.iter().map(String::as_str)) {
            put(&mut text, format_args!(":{ours} - [0:0]\n"));
            for rule in &body {
                put(&mut text, format_args!("-A {ours} {rule}\n"));
            }
        }
        if jumps == 0 {
            put(&mut text, format_args!("-I FORWARD 1 {jump}\n"));
        }
    }
    if text.is_empty() {
        return Ok(false);
    }
    tables.restore(format!("*filter\n{text}COMMIT\n"))?;
    Ok(true)
}

fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a string takes all that is written");
}

/// As `iptables-save` prints them, without their chain.
fn body(version: Version, filter: &SavedTable, rules: &Rules) -> Vec<String> {
    let mut body = Vec::new();
    for network in rules.networks.values() {
        let device = &network.device;
        if network.icc {
            body.push(format!("-i {device} -o {device} -j ACCEPT"));
        }
        if network.closed(version) {
            continue;
        }
        body.push(format!(
            "-o {device} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
        ));
        body.push(format!("-o {device} -m conntrack --ctstate DNAT -j ACCEPT"));
        if open(network) {
            body.push(format!("-o {device} -j ACCEPT"));
        }
        body.push(format!("-i {device} ! -o {device} -j ACCEPT"));
    }
    if !body.is_empty() && filter.chains.contains_key(USER) {
        body.insert(0, format!("-j {USER}"));
    }
    body
}
