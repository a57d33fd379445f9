//! Endpoints with a hardware address of their own on one of the host's interfaces.

use super::{Driver, endpoint, parent};
use crate::netlink::{Batch, Kind, Netlink, NewLink};
use crate::{Error, Instance, Result};
use gantry_core::Error as Fault;
use gantry_core::network::{Endpoint, LinkOptions, MacvlanMode, NetworkRecord, option};
use std::io;
use std::os::fd::BorrowedFd;

/// Of a parent that is the network's own, before its short id.
const PREFIX: &str = "dm-";
const KIND: &str = "macvlan";

#[derive(Debug, Clone)]
pub struct Macvlan {
    instance: Instance,
}

impl Macvlan {
    pub fn new(instance: Instance) -> Self {
        Self { instance }
    }
}

impl Driver for Macvlan {
    fn name(&self) -> &str {
        KIND
    }

    /// A parent can be shared by networks of this driver, but for one in the passthru mode, which has it alone.
    fn check(&self, network: &mut NetworkRecord, others: &[NetworkRecord]) -> Result<()> {
        parent::refuse_others(KIND, network, &[option::MACVLAN_MODE])?;
        LinkOptions::read(&network.options)?;
        let mode = MacvlanMode::read(&network.options)?;
        parent::choose(network, PREFIX)?;
        for other in parent::sharers(network, others) {
            let alone = MacvlanMode::read(&other.options)? == MacvlanMode::Passthru;
            match other.driver.as_str() {
                KIND if alone => return Err(parent::taken(network, other, " alone (passthru)")),
                KIND if mode == MacvlanMode::Passthru => {
                    return Err(parent::taken(network, other, ", and passthru needs it alone"));
                }
                KIND => {}
                _ => return Err(parent::taken(network, other, "")),
            }
        }
        let mut netlink = Netlink::open()?;
        if !netlink.has_kind(&Kind::Macvlan(mode))? {
            return Err(Error::Unsupported("the kernel has no macvlan devices".to_owned()));
        }
        parent::check(&mut netlink, network, PREFIX)
    }

    fn create(&self, network: &NetworkRecord) -> Result<()> {
        parent::make(&self.instance, network, PREFIX)
    }

    fn remove(&self, network: &NetworkRecord) -> Result<()> {
        parent::remove(&self.instance, network)
    }

    fn join(&self, network: &NetworkRecord, endpoint: &Endpoint, netns: BorrowedFd<'_>) -> Result<()> {
        let mode = MacvlanMode::read(&network.options)?;
        // In this mode the parent's address is the endpoint's, whatever is asked for.
        let mac = (mode != MacvlanMode::Passthru).then_some(endpoint.mac);
        let link = NewLink {
            name: &endpoint.interface,
            kind: Kind::Macvlan(mode),
            parent: None,
            namespace: Some(netns),
            mac,
            mtu: LinkOptions::read(&network.options)?.mtu,
        };
        sit(network, endpoint, link, netns)
    }

    fn leave(&self, _: &NetworkRecord, endpoint: &Endpoint, netns: Option<BorrowedFd<'_>>) -> Result<()> {
        // Without a namespace there is no interface either.
        netns.map_or(Ok(()), |netns| endpoint::clear(endpoint, KIND, netns))
    }
}

/// Makes `link` on the network's parent right in the sandbox. What a kill left of the same endpoint is removed before;
/// what cannot be finished is removed again.
pub(super) fn sit(
    network: &NetworkRecord,
    endpoint: &Endpoint,
    link: NewLink<'_>,
    netns: BorrowedFd<'_>,
) -> Result<()> {
    let kind = link.kind.name();
    let mut host = Netlink::open()?;
    let parent = Some(host.index(&network.device)?);
    let link = NewLink { parent, ..link };
    fail::fail_point!("network::macvlan::join");
    match add(&mut host, &link) {
        Err(Error::Kernel { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {
            endpoint::clear(endpoint, kind, netns)?;
            add(&mut host, &link).map_err(|error| explain(error, endpoint))?;
        }
        other => other?,
    }
    fail::fail_point!("network::macvlan::joining");
    let made = endpoint::settle(endpoint, netns);
    if made.is_err()
        && let Err(error) = endpoint::clear(endpoint, kind, netns)
    {
        tracing::warn!(err = %error, "what was made of an endpoint stays until it is made again");
    }
    made
}

fn add(host: &mut Netlink, link: &NewLink<'_>) -> Result<()> {
    let mut batch = Batch::new();
    batch.add_link(link);
    host.run(batch)
}

fn explain(error: Error, endpoint: &Endpoint) -> Error {
    match error {
        Error::Kernel { source, .. } if source.kind() == io::ErrorKind::AlreadyExists => {
            let name = &endpoint.interface;
            Fault::conflict(format!("the sandbox has an interface {name} already")).into()
        }
        other => other,
    }
}

#[cfg(test)]
mod tests;
