//! Other people's firewalls. An accept of ours never overrides a drop in someone else's chain, so where one drops what is forwarded
//! (iptables of either kind, ufw, a dockerd beside us, chains of nftables), a chain of ours is jumped to from its top, and
//! firewalld is told to trust our bridges. Our own tables judge all the same, so what is accepted here is only what
//! passes through our bridges at all; nothing of it changes when containers come and go.

mod chain;
mod firewalld;
mod old;
mod survey;

use super::published::Version;
use super::xtables::{Kind, Xtables};
use super::{Backend, Rules};
use crate::{Instance, Result};
use parking_lot::Mutex;
use std::path::Path;
use survey::Found;

/// What this instance says in chains that are not its own.
#[derive(Debug)]
pub struct Foreign {
    /// In nftables' own chains.
    chain: String,
    /// In those of iptables.
    old_chain: String,
    /// Which `FORWARD` chains of iptables are the backend's: those on nftables, the old ones.
    owned: (bool, bool),
    firewalld: firewalld::Firewalld,
    complaint: Mutex<String>,
}

impl Foreign {
    pub fn new(instance: &Instance, backend: &dyn Backend) -> Self {
        let suffix = instance.chain_suffix();
        Self {
            chain: format!("gantry-forward{suffix}"),
            old_chain: format!("GANTRY-FORWARD{suffix}"),
            owned: (backend.owns_forward(false), backend.owns_forward(true)),
            firewalld: firewalld::Firewalld::new(None),
            complaint: Mutex::default(),
        }
    }

    /// Speaks to firewalld on another bus than the system's.
    #[must_use]
    pub fn with_bus(mut self, address: String) -> Self {
        self.firewalld = firewalld::Firewalld::new(Some(address));
        self
    }

    /// Whether there are tables that change without nftables telling of it.
    pub(crate) fn silent(&self) -> bool {
        !self.owned.1 && versions().iter().any(|version| Xtables::legacy_filter(*version))
    }

    /// Says in every foreign chain that drops what has to be said there, and no more in those where nothing is left to say.
    /// Whether anything had to be changed. A chain that cannot be changed is complained of once, in the log: our own
    /// rules are right without it.
    pub(crate) fn place(&self, rules: &Rules) -> bool {
        self.everywhere(|found| {
            let wanted = found.drops || found.ours;
            match &found.place {
                survey::Place::Chain(place) => chain::say(place, &self.chain, rules, wanted),
                survey::Place::Old(tables) => old::say(tables, &self.old_chain, rules, wanted),
                survey::Place::Firewalld => self.firewalld.trust(rules),
            }
        })
    }

    /// Takes back everything.
    pub fn withdraw(&self) {
        let nothing = Rules::default();
        self.place(&nothing);
    }

    fn everywhere(&self, deed: impl Fn(&Found) -> Result<bool>) -> bool {
        let mut complaints = Vec::new();
        let mut changed = false;
        let found = self.survey().unwrap_or_else(|error| {
            complaints.push(error.to_string());
            Vec::new()
        });
        for found in &found {
            match deed(found) {
                Ok(did) => changed |= did,
                Err(error) => complaints.push(format!("{}: {error}", found.place)),
            }
        }
        let complaint = complaints.join("; ");
        let mut last = self.complaint.lock();
        if !complaint.is_empty() && *last != complaint {
            tracing::warn!(%complaint, "another firewall may keep containers from the network");
        }
        *last = complaint;
        changed
    }

    fn survey(&self) -> Result<Vec<Found>> {
        let mut found = survey::nftables(&self.chain, &self.old_chain)?;
        if self.owned.0 {
            found.retain(|found| !matches!(&found.place, survey::Place::Old(tables) if tables.kind == Kind::Nft));
        }
        if !self.owned.1 {
            for version in versions() {
                found.extend(survey::legacy(version, &self.old_chain)?);
            }
        }
        Ok(found)
    }
}

fn versions() -> Vec<Version> {
    let mut versions = Version::BOTH.to_vec();
    versions.retain(|version| *version == Version::V4 || Path::new("/proc/sys/net/ipv6").exists());
    versions
}
