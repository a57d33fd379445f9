//! Encryption of what goes between hosts, for networks that want it.

use super::{Membership, PATIENCE};
use crate::network::Networks;
use gantry_core::network::{NetworkRecord, OverlayOptions};
use gantry_core::{Error, ErrorKind, Result};
use gantry_network::driver::vxlan::ENCRYPTED_PORT;
use gantry_network::ipsec::{Guard, Peer};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tracing::debug;

/// How old a key gets before the next is used; Docker's are as old.
const EVERY: Duration = Duration::from_secs(12 * 3600);

/// This host's side, and whether anything was ever told to the kernel.
pub(super) struct Guarded {
    guard: Guard,
    word: String,
    /// `None` = a former daemon may have told it something.
    on: Mutex<Option<bool>>,
}

impl Guarded {
    pub fn new(vtep: IpAddr) -> Self {
        // The kernel counts anew after each boot.
        let word = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let word = word.trim().to_owned();
        let local = Peer {
            address: vtep,
            word: word.clone(),
        };
        Self {
            guard: Guard::new(local, ENCRYPTED_PORT),
            word,
            on: Mutex::new(None),
        }
    }

    pub fn word(&self) -> &str {
        &self.word
    }
}

pub(super) fn is_encrypted(network: &NetworkRecord) -> bool {
    network.driver == "overlay" && OverlayOptions::read(&network.options).is_ok_and(|options| options.encrypted)
}

impl Membership {
    /// Makes sure that the cluster has keys, and that they are not too old.
    pub(super) fn turn(&self) -> Result<()> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        self.wait(PATIENCE, self.cluster.turn(now, EVERY)).map(drop)
    }

    /// Makes the kernel encrypt to the hosts that have endpoints in these networks, and to no others.
    fn encrypt(&self, networks: &[&NetworkRecord]) -> Result<()> {
        let mut on = self.guard.on.lock();
        if networks.is_empty() {
            if *on != Some(false) {
                // A kernel without IPsec has nothing of ours.
                if let Err(error) = self.guard.guard.clear() {
                    debug!(err = %error, "there is no encryption to be taken away");
                }
                *on = Some(false);
            }
            return Ok(());
        }
        let ring = self.cluster.state().and_then(|state| state.ring.clone());
        let ring = ring.ok_or_else(|| {
            let text = "the keys of encrypted networks are not known yet: the cluster store was not reached";
            Error::new(ErrorKind::Unavailable, text)
        })?;
        let others = networks.iter().flat_map(|network| self.others(&network.id));
        let peers: BTreeSet<Peer> = others
            .map(|endpoint| Peer {
                address: endpoint.vtep,
                word: endpoint.word,
            })
            .collect();
        let peers: Vec<Peer> = peers.into_iter().collect();
        *on = Some(true);
        Ok(self.guard.guard.set(&ring, &peers)?)
    }
}

impl Networks {
    /// Has encryption cover the networks that somebody here is in, and one that somebody is about to join.
    pub(in crate::network) fn encrypt(&self, joining: Option<&NetworkRecord>) -> Result<()> {
        let Some(cluster) = &self.cluster else { return Ok(()) };
        let all: Vec<_> = self.records.read().values().cloned().collect();
        let encrypted: Vec<&NetworkRecord> = all
            .iter()
            .map(|network| &**network)
            .filter(|network| is_encrypted(network))
            .filter(|network| joining.is_some_and(|one| one.id == network.id) || self.is_used(&network.id))
            .collect();
        cluster.encrypt(&encrypted)
    }

    /// Whether keys are needed at all.
    pub(super) fn has_encrypted(&self) -> bool {
        self.records.read().values().any(|network| is_encrypted(network))
    }
}
