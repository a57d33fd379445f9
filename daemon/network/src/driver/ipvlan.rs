//! Endpoints that share the hardware address of one of the host's interfaces.

use super::macvlan::sit;
use super::{Driver, endpoint, parent};
use crate::netlink::{Kind, Netlink, NewLink};
use crate::{Error, Instance, Result};
use gantry_core::Error as Fault;
use gantry_core::network::{Endpoint, IpvlanMode, LinkOptions, NetworkRecord, option};
use netlink_packet_route::link::IpVlanFlags;
use std::os::fd::BorrowedFd;

/// Of a parent that is the network's own, before its short id.
const PREFIX: &str = "di-";
const KIND: &str = "ipvlan";

/// In the L3 modes the parent routes: endpoints have default routes without a gateway.
#[derive(Debug, Clone)]
pub struct Ipvlan {
    instance: Instance,
}

impl Ipvlan {
    pub fn new(instance: Instance) -> Self {
        Self { instance }
    }
}

fn kind(network: &NetworkRecord) -> Result<Kind<'static>> {
    let mode = IpvlanMode::read(&network.options)?;
    let flags = match network.options.get(option::IPVLAN_FLAG).map(String::as_str) {
        None | Some("" | "bridge") => IpVlanFlags::empty(),
        Some("private") => IpVlanFlags::Private,
        Some("vepa") => IpVlanFlags::Vepa,
        Some(other) => {
            let message = format!("invalid value for network option {}: \"{other}\"", option::IPVLAN_FLAG);
            return Err(Fault::invalid(message).into());
        }
    };
    Ok(Kind::Ipvlan(mode, flags))
}

impl Driver for Ipvlan {
    fn name(&self) -> &str {
        KIND
    }

    /// A parent has one network of this driver.
    fn check(&self, network: &mut NetworkRecord, others: &[NetworkRecord]) -> Result<()> {
        parent::refuse_others(KIND, network, &[option::IPVLAN_MODE, option::IPVLAN_FLAG])?;
        LinkOptions::read(&network.options)?;
        let kind = kind(network)?;
        parent::choose(network, PREFIX)?;
        if let Some(other) = parent::sharers(network, others).next() {
            return Err(parent::taken(network, other, ""));
        }
        let mut netlink = Netlink::open()?;
        if !netlink.has_kind(&kind)? {
            return Err(Error::Unsupported("the kernel has no ipvlan devices".to_owned()));
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
        let link = NewLink {
            name: &endpoint.interface,
            kind: kind(network)?,
            parent: None,
            namespace: Some(netns),
            mac: None,
            mtu: LinkOptions::read(&network.options)?.mtu,
        };
        sit(network, endpoint, link, netns)
    }

    fn leave(&self, _: &NetworkRecord, endpoint: &Endpoint, netns: Option<BorrowedFd<'_>>) -> Result<()> {
        netns.map_or(Ok(()), |netns| endpoint::clear(endpoint, KIND, netns))
    }
}
