//! Which chains of others forwarded packets go through, and whether they drop.

use super::super::published::Version;
use super::super::run::Run;
use super::super::xtables::{Kind, Xtables};
use crate::{Error, Result};
use serde::Deserialize;
use std::fmt;

pub(super) struct Found {
    pub place: Place,
    /// What is not accepted there is dropped.
    pub drops: bool,
    /// There is a chain of ours beside it.
    pub ours: bool,
}

pub(super) enum Place {
    Chain(Chain),
    Old(Xtables),
    Firewalld,
}

/// A base chain of nftables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chain {
    pub family: String,
    pub table: String,
    pub name: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chain(chain) => write!(f, "chain {} {} {}", chain.family, chain.table, chain.name),
            Self::Old(tables) => write!(f, "FORWARD of iptables ({:?}, {:?})", tables.kind, tables.version),
            Self::Firewalld => f.write_str("firewalld"),
        }
    }
}

#[derive(Deserialize)]
struct Listing {
    nftables: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    chain: Option<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    family: String,
    table: String,
    name: String,
    hook: Option<String>,
    policy: Option<String>,
}

/// Those that nftables knows of, iptables' own on nftables among them.
pub(super) fn nftables(ours: &str, ours_old: &str) -> Result<Vec<Found>> {
    let printed = Run::new("nft", &["-j", "list", "chains"]).output()?;
    let listing: Listing = serde_json::from_str(&printed).map_err(|error| Error::Answer {
        deed: "list the chains of nftables".to_owned(),
        reason: error.to_string(),
    })?;
    let chains: Vec<Listed> = listing.nftables.into_iter().filter_map(|item| item.chain).collect();
    let has = |of: &Listed, name: &str| {
        chains
            .iter()
            .any(|chain| chain.family == of.family && chain.table == of.table && chain.name == name)
    };
    let mut found: Vec<Found> = Vec::new();
    for chain in &chains {
        let routed = matches!(chain.family.as_str(), "ip" | "ip6" | "inet");
        if chain.hook.as_deref() != Some("forward") || !routed || known(&chain.table) {
            continue;
        }
        let version = if chain.family == "ip" { Version::V4 } else { Version::V6 };
        let place = match (chain.family.as_str(), chain.table.as_str(), chain.name.as_str()) {
            ("ip" | "ip6", "filter", "FORWARD") => Place::Old(Xtables {
                version,
                kind: Kind::Nft,
            }),
            (_, "firewalld", _) => Place::Firewalld,
            _ => Place::Chain(Chain {
                family: chain.family.clone(),
                table: chain.table.clone(),
                name: chain.name.clone(),
            }),
        };
        if matches!(place, Place::Firewalld) && found.iter().any(|found| matches!(found.place, Place::Firewalld)) {
            continue;
        }
        found.push(Found {
            drops: chain.policy.as_deref() == Some("drop") || ends_in_a_drop(chain)?,
            ours: has(chain, ours) || has(chain, ours_old),
            place,
        });
    }
    Ok(found)
}

/// Tables whose chains drop nothing but what belongs to themselves.
fn known(table: &str) -> bool {
    table == "gantry" || table.starts_with("gantry-") || table == "docker-bridges"
}

/// Whether the last rule of a chain, without a condition, drops or rejects.
fn ends_in_a_drop(chain: &Listed) -> Result<bool> {
    let printed = Run::new("nft", &["list", "chain", &chain.family, &chain.table, &chain.name]).output()?;
    let mut rules = printed.lines().rev().map(str::trim);
    let last = rules.find(|line| !line.is_empty() && *line != "}");
    Ok(last.is_some_and(ends_all))
}

fn ends_all(rule: &str) -> bool {
    let mut words = rule.split(' ').peekable();
    if words.peek() == Some(&"counter") {
        // `counter packets 0 bytes 0`
        words.nth(4);
    }
    let verdict: Vec<&str> = words.collect();
    matches!(
        verdict.as_slice(),
        ["drop" | "reject", ..] | ["xt", "target", "\"REJECT\"" | "\"DROP\"", ..]
    )
}

/// The old tables, which are not made by being asked for.
pub(super) fn legacy(version: Version, ours: &str) -> Result<Option<Found>> {
    if !Xtables::legacy_filter(version) {
        return Ok(None);
    }
    let tables = Xtables {
        version,
        kind: Kind::Legacy,
    };
    let saved = tables.saved(Some("filter"))?;
    let Some(filter) = saved.get("filter") else {
        return Ok(None);
    };
    let last = filter.of("FORWARD").last();
    let ends = last.is_some_and(|rule| rule == "-j DROP" || rule.starts_with("-j REJECT"));
    Ok(Some(Found {
        drops: ends || filter.chains.get("FORWARD").is_some_and(|policy| policy == "DROP"),
        ours: filter.chains.contains_key(ours),
        place: Place::Old(tables),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_that_end_everything() {
        for rule in [
            "drop",
            "counter packets 0 bytes 0 drop",
            "counter packets 3 bytes 180 reject",
            "reject with icmpx admin-prohibited",
            "counter packets 0 bytes 0 xt target \"REJECT\"",
        ] {
            assert!(ends_all(rule), "{rule}");
        }
        for rule in [
            "ct state invalid drop",
            "iifname \"eth0\" counter packets 0 bytes 0 drop",
            "type filter hook forward priority filter; policy accept;",
            "accept",
        ] {
            assert!(!ends_all(rule), "{rule}");
        }
    }
}
