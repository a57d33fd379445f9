//! Neighbours, and what bridges and VXLAN devices know of where hardware addresses are.

use super::batch::{Batch, Deed};
use super::{Netlink, family, wire};
use crate::Result;
use gantry_core::network::MacAddress;
use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;
use std::net::IpAddr;

/// What hardware address an address has, told once and for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Neighbour {
    pub device: u32,
    pub address: IpAddr,
    pub mac: MacAddress,
}

/// Which other host a VXLAN device sends frames for a hardware address to. The address of zeros stands for
/// all that is unknown, and can have several hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fdb {
    pub device: u32,
    pub mac: MacAddress,
    pub host: IpAddr,
}

const GONE: &[Errno] = &[Errno::ENOENT, Errno::ENODEV, Errno::ESRCH];

impl Batch {
    pub fn set_neighbour(&mut self, neighbour: &Neighbour) {
        let what = format!("set neighbour {}", neighbour.address);
        let message = RouteNetlinkMessage::NewNeighbour(neighbour.message());
        self.push(what, message, NLM_F_CREATE | NLM_F_REPLACE);
    }

    /// One that is gone is no failure.
    pub fn delete_neighbour(&mut self, neighbour: &Neighbour) {
        let what = format!("delete neighbour {}", neighbour.address);
        let message = RouteNetlinkMessage::DelNeighbour(neighbour.message());
        self.push(what, message, 0).forgive(GONE);
    }

    /// In place of another host that had the hardware address.
    pub fn set_fdb(&mut self, entry: &Fdb) {
        self.new_fdb(entry, NLM_F_CREATE | NLM_F_REPLACE);
    }

    /// Beside other hosts; one that is there already is no failure.
    pub fn append_fdb(&mut self, entry: &Fdb) {
        self.new_fdb(entry, NLM_F_CREATE | NLM_F_APPEND)
            .forgive(&[Errno::EEXIST]);
    }

    /// One that is gone is no failure.
    pub fn delete_fdb(&mut self, entry: &Fdb) {
        let what = format!("forget that {} is at {}", entry.mac, entry.host);
        let message = RouteNetlinkMessage::DelNeighbour(entry.message());
        self.push(what, message, 0).forgive(GONE);
    }

    fn new_fdb(&mut self, entry: &Fdb, flags: u16) -> &mut Deed {
        let what = format!("tell that {} is at {}", entry.mac, entry.host);
        self.push(what, RouteNetlinkMessage::NewNeighbour(entry.message()), flags)
    }
}

impl Neighbour {
    fn message(&self) -> NeighbourMessage {
        let mut message = NeighbourMessage::default();
        message.header.family = family(self.address);
        message.header.ifindex = self.device;
        message.header.state = NeighbourState::Permanent;
        message.attributes = vec![
            NeighbourAttribute::Destination(self.address.into()),
            NeighbourAttribute::LinkLayerAddress(self.mac.0.to_vec()),
        ];
        message
    }
}

impl Fdb {
    fn message(&self) -> NeighbourMessage {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Bridge;
        message.header.ifindex = self.device;
        message.header.state = NeighbourState::Permanent;
        message.header.flags = NeighbourFlags::Own;
        message.attributes = vec![
            NeighbourAttribute::LinkLayerAddress(self.mac.0.to_vec()),
            NeighbourAttribute::Destination(self.host.into()),
        ];
        message
    }
}

impl Netlink {
    /// The permanent neighbours of a device.
    pub fn neighbours(&mut self, device: u32) -> Result<Vec<Neighbour>> {
        let message = RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default());
        self.dump("list neighbours", &message, |payload| {
            let entry = Entry::read(payload).filter(|entry| entry.device == device)?;
            Some(Neighbour {
                device,
                address: entry.destination?,
                mac: entry.mac,
            })
        })
    }

    /// The permanent entries of a VXLAN device.
    pub fn fdb(&mut self, device: u32) -> Result<Vec<Fdb>> {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Bridge;
        let message = RouteNetlinkMessage::GetNeighbour(message);
        self.dump("list hardware addresses", &message, |payload| {
            let entry = Entry::read(payload).filter(|entry| entry.device == device)?;
            Some(Fdb {
                device,
                mac: entry.mac,
                host: entry.destination?,
            })
        })
    }
}

const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NUD_PERMANENT: u16 = 0x80;
/// `struct ndmsg`.
const HEADER: usize = 12;

struct Entry {
    device: u32,
    mac: MacAddress,
    destination: Option<IpAddr>,
}

impl Entry {
    /// `None` if it is not a permanent one.
    fn read(payload: &[u8]) -> Option<Self> {
        let attributes = payload.get(HEADER..)?;
        if wire::u16_at(payload, 8)? & NUD_PERMANENT == 0 {
            return None;
        }
        Some(Self {
            device: wire::u32_at(payload, 4)?,
            mac: MacAddress(wire::find(attributes, NDA_LLADDR)?.try_into().ok()?),
            destination: wire::find(attributes, NDA_DST).and_then(wire::ip),
        })
    }
}
