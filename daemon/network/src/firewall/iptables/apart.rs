//! Who is kept apart on a bridge. Frames that cross it pass iptables only where br_netfilter is on, so a table of nftables' family
//! `bridge` says the same; it is there as long as some network needs it.

use super::super::nft::Nftables;
use super::super::{Backend, Rules};
use crate::{Instance, Result};

#[derive(Debug)]
pub(super) struct Apart(Option<Nftables>);

impl Apart {
    /// Where there is no nftables, the bridge driver keeps ports apart by itself.
    pub fn new(instance: &Instance) -> Self {
        Self(Some(Nftables::bridged(instance)).filter(Nftables::is_possible))
    }

    pub fn is_possible(&self) -> bool {
        self.0.is_some()
    }

    pub fn restore(&self, rules: &Rules) -> Result<()> {
        match &self.0 {
            Some(table) if is_needed(rules) => table.restore(rules),
            Some(table) => table.clear(),
            None => Ok(()),
        }
    }

    pub fn change(&self, before: &Rules, after: &Rules) -> Result<()> {
        match (&self.0, is_needed(before), is_needed(after)) {
            (None, ..) | (_, false, false) => Ok(()),
            (Some(table), true, true) => table.change(before, after),
            (Some(_), ..) => self.restore(after),
        }
    }

    pub fn intact(&self, rules: &Rules) -> Result<bool> {
        match &self.0 {
            Some(table) if is_needed(rules) => table.intact(rules),
            Some(_) | None => Ok(true),
        }
    }

    pub fn clear(&self) -> Result<()> {
        self.0.as_ref().map_or(Ok(()), Nftables::clear)
    }
}

fn is_needed(rules: &Rules) -> bool {
    rules.networks.values().any(|network| !network.icc)
}
