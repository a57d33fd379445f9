//! The firewall that is wanted and the one that is there, held together.

mod watch;

pub use watch::Watch;

use super::nfnetlink::Netfilter;
use super::published::Published;
use super::{Backend, Foreign, Rules, conntrack, localnet};
use crate::{Error, Result};
use parking_lot::Mutex;
use std::collections::BTreeSet;

/// Keeps the kernel's firewall as it is described. Calls block, and one is made at a time.
pub struct Wall {
    pub(super) backend: Box<dyn Backend>,
    foreign: Foreign,
    state: Mutex<State>,
}

struct State {
    rules: Rules,
    /// Of nftables, at which everything was known to be in place.
    generation: Option<u32>,
    /// Kept open: when one is closed, the kernel first finishes what was deleted, for some ten milliseconds.
    netfilter: Option<Netfilter>,
}

impl State {
    fn now(&mut self) -> Option<u32> {
        match self.asked() {
            Ok(generation) => Some(generation),
            Err(error) => {
                tracing::debug!(%error, "nftables' generation is unknown");
                self.netfilter = None;
                None
            }
        }
    }

    fn asked(&mut self) -> Result<u32> {
        match &mut self.netfilter {
            Some(netfilter) => netfilter.generation(),
            empty => empty.insert(Netfilter::open()?).generation(),
        }
    }
}

impl Wall {
    /// Makes the kernel say `rules`, in the place of whatever an earlier run of this instance left.
    pub fn new(backend: Box<dyn Backend>, foreign: Foreign, rules: Rules) -> Result<Self> {
        backend.restore(&rules)?;
        foreign.place(&rules);
        localnet::set(&Rules::default(), &rules);
        let state = Mutex::new(State {
            rules,
            generation: None,
            netfilter: None,
        });
        Ok(Self {
            backend,
            foreign,
            state,
        })
    }

    pub fn backend(&self) -> &'static str {
        self.backend.name()
    }

    pub fn rules(&self) -> Rules {
        self.state.lock().rules.clone()
    }

    /// Changes the description, and the kernel with it in one transaction; if the kernel refuses, both stay as they were. Nothing
    /// is done where nothing changes.
    pub fn change<T>(&self, edit: impl FnOnce(&mut Rules) -> T) -> Result<T> {
        let mut state = self.state.lock();
        let mut after = state.rules.clone();
        let edited = edit(&mut after);
        if after == state.rules {
            return Ok(edited);
        }
        let was = state.now();
        if let Err(error) = self.backend.change(&state.rules, &after) {
            self.mended(&state.rules, &after, error)?;
        }
        if state.rules.networks != after.networks {
            self.foreign.place(&after);
        }
        let is = state.now();
        // One step is our own transaction; more than that may have been anybody's.
        let alone = was.is_some()
            && was == state.generation
            && is.is_some_and(|is| Some(is.wrapping_sub(1)) == was || Some(is) == was);
        state.generation = is.filter(|_| alone);
        localnet::set(&state.rules, &after);
        forget(&state.rules, &after);
        state.rules = after;
        Ok(edited)
    }

    /// The rules may have been lost, and the change failed for that: then all of them are put in place. If that is
    /// refused as well, those from before are to be there.
    fn mended(&self, before: &Rules, after: &Rules, error: Error) -> Result<()> {
        if matches!(error, Error::Asked(_)) {
            return Err(error);
        }
        if let Err(again) = self.backend.restore(after) {
            if !self.backend.intact(before).unwrap_or(false)
                && let Err(error) = self.backend.restore(before)
            {
                tracing::error!(%error, "the firewall's rules cannot be put back");
            }
            return Err(again);
        }
        tracing::warn!(%error, "firewall rules were lost and have been put back");
        Ok(())
    }

    /// Looks whether everything is still there and puts back what is not; whether anything was missing.
    pub fn check(&self) -> Result<bool> {
        let mut state = self.state.lock();
        let is = state.now();
        let known = is.is_some() && is == state.generation;
        if known && !self.backend.silent() && !self.foreign.silent() {
            return Ok(false);
        }
        let mut lost = false;
        if !known || self.backend.silent() {
            lost = !self.backend.intact(&state.rules)?;
            if lost {
                self.backend.restore(&state.rules)?;
                localnet::set(&Rules::default(), &state.rules);
                tracing::warn!("firewall rules were lost and have been put back");
            }
        }
        let moved = self.foreign.place(&state.rules);
        // What was changed just now is looked at once more before it is believed.
        state.generation = is.filter(|_| !lost && !moved);
        Ok(lost || moved)
    }

    /// Removes every rule of this instance.
    pub fn clear(&self) -> Result<()> {
        let mut state = self.state.lock();
        self.foreign.withdraw();
        self.backend.clear()?;
        localnet::set(&state.rules, &closed(&state.rules));
        state.rules = Rules::default();
        state.generation = None;
        Ok(())
    }
}

/// The same networks with nothing published.
fn closed(rules: &Rules) -> Rules {
    Rules {
        networks: rules.networks.clone(),
        ..Rules::default()
    }
}

fn forget(before: &Rules, after: &Rules) {
    let (before, after) = before.difference(after);
    let was: BTreeSet<Published> = before.all_translations().into_iter().collect();
    let is: BTreeSet<Published> = after.all_translations().into_iter().collect();
    let gone: Vec<Published> = was.difference(&is).copied().collect();
    let new: Vec<Published> = is.difference(&was).copied().collect();
    if let Err(error) = conntrack::forget(&gone, &new) {
        tracing::warn!(%error, "connections to ports that are not published any more may go on for a while");
    }
}
