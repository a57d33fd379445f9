//! The nftables backend: tables of our own (`ip`, `ip6`, `bridge`), in which everything that starting a container changes is
//! an element of a map or a set.
//!
//! What is where, in the order a packet meets it (`ip6` is the same but for the loopback rules):
//! - `raw`, priority raw: nobody but this host itself sends to or from 127/8.
//! - `prerouting` and `output`, priority dstnat: what is sent to an address of this host is looked up in `ports` (protocol,
//!   address, port) and in `any` (protocol, port), and led to a container. No proxy; sources stay what they are.
//! - `forward`, priority filter + 10: by the bridge a packet would go out on, a chain for each network. So users' chains at
//!   priority filter (or any below 10) see packets before we do, with the container's address as the target: that is
//!   the place for rules that stand in `DOCKER-USER` elsewhere. A drop there is final; an accept there does not
//!   override ours.
//! - `postrouting`, priority srcnat: masquerading, and the two cases where an answer would not find its way back
//!   otherwise: a container that reaches a neighbour by the host's address, and the host that comes from 127.0.0.1.
//! - family `bridge`, `forward`, by port: networks whose containers may not talk to each other, with the links that they may have all
//!   the same. It holds whether br_netfilter is there or not, and no accept elsewhere undoes it.
//!
//! `[::1]` is not led to containers: for an answer that comes in on a bridge the kernel looks for a route to ::1 on that very
//! bridge (`rt6_need_strict` covers the loopback address), there is no `route_localnet` for IPv6, and so it is
//! dropped. It is left to the reserved socket to refuse, at once, and clients go on to 127.0.0.1.

mod table;
mod wanted;

use super::nfnetlink::{Family, Netfilter};
use super::run::Run;
use super::{Backend, Rules, device};
use crate::{Instance, Result};
use std::path::Path;
use table::Table;

/// Makes nftables say what the rules say.
#[derive(Debug)]
pub struct Nftables {
    table: String,
    families: Vec<Family>,
}

impl Nftables {
    pub fn new(instance: &Instance) -> Self {
        let mut families = vec![Family::Ip, Family::Bridge];
        if Path::new("/proc/sys/net/ipv6").exists() {
            families.insert(1, Family::Ip6);
        }
        Self {
            table: instance.table(),
            families,
        }
    }

    /// Of the family `bridge` alone, beside a backend that cannot judge frames which cross a bridge.
    pub(super) fn bridged(instance: &Instance) -> Self {
        Self {
            table: format!("{}-apart", instance.table()),
            families: vec![Family::Bridge],
        }
    }

    /// Whether `nft` and the kernel take its tables; nothing is changed.
    pub(super) fn is_possible(&self) -> bool {
        let text = self
            .wanted(&Rules::default())
            .iter()
            .map(|(_, table)| table.replaced())
            .collect::<String>();
        Run::new("nft", &["-c", "-f", "-"]).input(text).output().is_ok()
    }

    fn wanted(&self, rules: &Rules) -> Vec<(Family, Table)> {
        let of = |family: &Family| (*family, wanted::table(*family, &self.table, rules));
        self.families.iter().map(of).collect()
    }
}

impl Backend for Nftables {
    fn name(&self) -> &'static str {
        "nftables"
    }

    fn restore(&self, rules: &Rules) -> Result<()> {
        device::check(rules)?;
        let text: String = self.wanted(rules).iter().map(|(_, table)| table.replaced()).collect();
        apply(text)
    }

    fn change(&self, before: &Rules, after: &Rules) -> Result<()> {
        let (before, after) = before.difference(after);
        device::check(&after)?;
        let wanted = self.wanted(&after);
        let was = self.wanted(&before);
        let text: String = wanted
            .iter()
            .zip(&was)
            .map(|((_, now), (_, was))| now.changed(was))
            .collect();
        if !text.is_empty() {
            apply(text)?;
        }
        Ok(())
    }

    fn intact(&self, rules: &Rules) -> Result<bool> {
        let mut netfilter = Netfilter::open()?;
        for (family, table) in self.wanted(rules) {
            let there = netfilter.rules(family, &self.table)?;
            let full = |(name, chain): (&String, &table::Chain)| {
                there.get(name).copied().unwrap_or_default() == chain.rules.len()
            };
            if !table.chains.iter().all(full) {
                return Ok(false);
            }
            for (name, set) in table.sets.iter().filter(|(_, set)| !set.elements.is_empty()) {
                let count = netfilter.elements(family, &self.table, name)?;
                let whole = if set.ranges {
                    count > 0
                } else {
                    count == set.elements.len()
                };
                if !whole {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn clear(&self) -> Result<()> {
        let nothing = Rules::default();
        apply(self.wanted(&nothing).iter().map(|(_, table)| table.removed()).collect())
    }
}

/// One transaction.
fn apply(text: String) -> Result<()> {
    Run::new("nft", &["-f", "-"]).input(text).output().map(drop)
}
