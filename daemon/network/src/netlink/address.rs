//! Addresses of devices.

use super::batch::Batch;
use super::{Netlink, family, wire};
use crate::Result;
use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope};
use nix::errno::Errno;
use std::net::{IpAddr, Ipv4Addr};

/// An address of a device, with the length of its subnet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    pub index: u32,
    pub net: IpNet,
    /// Not one of the link or the host alone.
    pub global: bool,
}

impl Batch {
    /// An address that is there already is no failure. IPv6 addresses are in use at once: nobody is asked whether they are free.
    pub fn set_address(&mut self, index: u32, net: IpNet) {
        let mut message = message(index, net);
        if let IpNet::V4(net) = net
            && net.prefix_len() < 31
        {
            let broadcast: Ipv4Addr = net.broadcast();
            message.attributes.push(AddressAttribute::Broadcast(broadcast));
        }
        if net.addr().is_ipv6() {
            message.header.flags = AddressHeaderFlags::Nodad;
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        self.push(
            format!("set address {net}"),
            RouteNetlinkMessage::NewAddress(message),
            NLM_F_CREATE | NLM_F_REPLACE,
        );
    }

    /// One that is gone is no failure.
    pub fn delete_address(&mut self, index: u32, net: IpNet) {
        self.push(
            format!("delete address {net}"),
            RouteNetlinkMessage::DelAddress(message(index, net)),
            0,
        )
        .forgive(&[Errno::EADDRNOTAVAIL, Errno::ENODEV]);
    }
}

fn message(index: u32, net: IpNet) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(net.addr());
    message.header.prefix_len = net.prefix_len();
    message.header.index = index;
    message.header.scope = match net.addr() {
        IpAddr::V4(address) if address.is_link_local() => AddressScope::Link,
        IpAddr::V6(address) if address.is_unicast_link_local() => AddressScope::Link,
        _ => AddressScope::Universe,
    };
    message.attributes.push(AddressAttribute::Local(net.addr()));
    message.attributes.push(AddressAttribute::Address(net.addr()));
    message
}

impl Netlink {
    /// All addresses of all devices.
    pub fn addresses(&mut self) -> Result<Vec<Address>> {
        let message = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        self.dump("list addresses", &message, read)
    }
}

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
/// `struct ifaddrmsg`.
const HEADER: usize = 8;
const RT_SCOPE_UNIVERSE: u8 = 0;

fn read(payload: &[u8]) -> Option<Address> {
    let attributes = payload.get(HEADER..)?;
    // On links with two ends `IFA_ADDRESS` is the other one's.
    let address = wire::find(attributes, IFA_LOCAL).or_else(|| wire::find(attributes, IFA_ADDRESS))?;
    Some(Address {
        index: wire::u32_at(payload, 4)?,
        net: IpNet::new(wire::ip(address)?, payload[1]).ok()?,
        global: payload[3] == RT_SCOPE_UNIVERSE,
    })
}
