//! A container's way out of its networks, in whatever state it was left.

use super::{Networks, Slot, records};
use crate::failpoint;
use gantry_core::network::Endpoint;
use gantry_core::{ContainerId, Error, Result};
use gantry_network::netns;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

impl Networks {
    /// Removes what a run of the container has here. Safe to do again; a container that has nothing is soon done.
    pub fn leave(&self, id: &ContainerId) -> Result<()> {
        let known = self.slots.lock().get(id).cloned();
        let Some(slot) = known else { return Ok(()) };
        let mut held = slot.lock();
        self.clear(id, &mut held)?;
        drop(held);
        self.slots.lock().remove(id);
        Ok(())
    }

    /// The same, the slot being locked. Goes on after a failure and answers the first; the plan is forgotten only if there was none.
    pub(super) fn clear(&self, id: &ContainerId, slot: &mut Slot) -> Result<()> {
        let Some(sandbox) = slot.sandbox.clone() else {
            slot.held = None;
            slot.sockets.clear();
            return Ok(());
        };
        slot.resolver = None;
        let mut failure = None;
        let mut note = |result: Result<()>| {
            if let Err(error) = result {
                failure.get_or_insert(error);
            }
        };
        note(self.withdraw_ports(&sandbox.endpoints));
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
        self.shown.write().remove(id);
        self.publish_names(&sandbox.endpoints);
        // The sockets that held the host's ports.
        slot.held = None;
        slot.sockets.clear();
        records::delete_sandbox(&self.store, id)?;
        failpoint!("engine::network::leave::forgotten");
        slot.sandbox = None;
        for endpoint in &sandbox.endpoints {
            self.give_back(endpoint);
        }
        Ok(())
    }

    /// Removes one endpoint's interface.
    pub(super) fn part(&self, endpoint: &Endpoint, namespace: Option<&OwnedFd>) -> Result<()> {
        let Ok(network) = self.by_id(&endpoint.network) else {
            // Its network cannot be removed before it; a lost record has taken the device with it.
            return Ok(());
        };
        let driver = self.driver(&network.driver)?;
        Ok(driver.leave(&network, endpoint, namespace.map(AsFd::as_fd))?)
    }

    pub(super) fn give_back(&self, endpoint: &Endpoint) {
        for address in endpoint.addresses() {
            self.addresses.release(&endpoint.network, address);
        }
        self.ports.release(&endpoint.ports);
    }
}
