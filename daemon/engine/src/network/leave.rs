//! A container's way out of its networks, in whatever state it was left.

use super::{Networks, Slot, ports_of, records};
use crate::failpoint;
use gantry_core::network::Endpoint;
use gantry_core::{ContainerId, Error, Result};
use gantry_network::netns;
use parking_lot::Mutex;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tracing::warn;

/// How long who needs what others give back waits for them.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// Tries to take one sandbox down, and what is between them.
const TRIES: u32 = 10;
const BETWEEN: Duration = Duration::from_secs(1);

impl Networks {
    /// Takes a container whose run is over out of its networks. Nobody sees it there from now on; what it has in the kernel is
    /// taken down beside the caller, since the kernel takes its time to be rid of an interface. A kill meanwhile leaves the plan written
    /// down.
    pub fn leave(self: &Arc<Self>, id: &ContainerId) {
        let known = self.slots.lock().get(id).cloned();
        let Some(slot) = known else {
            self.leaving.end(id);
            return;
        };
        self.leaving.begin(id);
        self.hide(id);
        let (networks, id) = (self.clone(), id.clone());
        self.runtime.spawn_blocking(move || networks.finish_leaving(&id, &slot));
    }

    pub(super) fn hide(&self, id: &ContainerId) {
        let hidden = self.shown.write().remove(id);
        if let Some(sandbox) = hidden {
            self.publish_names(&sandbox.endpoints);
        }
    }

    fn finish_leaving(&self, id: &ContainerId, slot: &Arc<Mutex<Slot>>) {
        for attempt in 1..=TRIES {
            let mut held = slot.lock();
            // It may have been started again, which has cleared this first.
            if self.shown.read().contains_key(id) {
                return;
            }
            let Err(error) = self.clear(id, &mut held) else { break };
            drop(held);
            if attempt == TRIES {
                warn!(container = %id, err = %error, "what it has in its networks stays until the next start of the daemon");
                self.leaving.end(id);
                return;
            }
            std::thread::sleep(BETWEEN);
        }
        let mut slots = self.slots.lock();
        let unused = slots.get(id).is_some_and(|known| Arc::ptr_eq(known, slot)) && !self.shown.read().contains_key(id);
        // Whoever else holds the slot is about to use it.
        if unused && Arc::strong_count(slot) <= 2 {
            slots.remove(id);
        }
    }

    /// The same, the slot being locked. Goes on after a failure and answers the first; the plan is forgotten only if there was none.
    pub(super) fn clear(&self, id: &ContainerId, slot: &mut Slot) -> Result<()> {
        let Some(sandbox) = slot.sandbox.clone() else {
            slot.held = None;
            slot.sockets.clear();
            self.leaving.end(id);
            return Ok(());
        };
        slot.resolver = None;
        self.hide(id);
        let mut failure = None;
        let mut note = |result: Result<()>| {
            if let Err(error) = result {
                failure.get_or_insert(error);
            }
        };
        note(self.withdraw_ports(&sandbox.endpoints, &sandbox.opens));
        failpoint!("engine::network::leave::withdrawn");
        let key = Path::new(&sandbox.key);
        let namespace = netns::open(key).ok();
        for endpoint in &sandbox.endpoints {
            note(self.part(endpoint, namespace.as_ref()));
            failpoint!("engine::network::leave::parted");
        }
        drop(namespace);
        note(netns::remove(key).map_err(Error::from));
        failpoint!("engine::network::leave::netns");
        if let Some(error) = failure {
            return Err(error.context("the container's networks could not be taken down"));
        }
        // The sockets that held the host's ports.
        slot.held = None;
        slot.sockets.clear();
        records::delete_sandbox(&self.store, id)?;
        failpoint!("engine::network::leave::forgotten");
        slot.sandbox = None;
        for endpoint in &sandbox.endpoints {
            self.give_back(endpoint);
        }
        self.ports.release(&ports_of(&sandbox));
        self.leaving.end(id);
        Ok(())
    }

    /// Removes one endpoint's interface.
    pub(super) fn part(&self, endpoint: &Endpoint, namespace: Option<&OwnedFd>) -> Result<()> {
        let Ok(network) = self.by_id(&endpoint.network) else {
            // Its network cannot be removed before it; a lost record has taken the device with it.
            return Ok(());
        };
        let driver = self.driver(&network.driver)?;
        if let Some(cluster) = self.shared(&network)? {
            cluster.withdraw(endpoint);
        }
        Ok(driver.leave(&network, endpoint, namespace.map(AsFd::as_fd))?)
    }

    pub(super) fn give_back(&self, endpoint: &Endpoint) {
        for address in endpoint.addresses() {
            self.addresses.release(&endpoint.network, address);
        }
        let network = self.by_id(&endpoint.network).ok();
        let shared = network.as_ref().map(|network| self.shared(network));
        if let Some(Ok(Some(cluster))) = shared {
            cluster.release(endpoint);
        }
    }
}
