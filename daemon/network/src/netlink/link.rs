//! Devices: which, what they are, away with them.

use super::batch::Batch;
use super::{Kind, Netlink, wire};
use crate::{Error, Result};
use gantry_core::network::MacAddress;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkExtentMask, LinkMessage};
use nix::errno::Errno;
use std::fmt;

/// Which device: by name or by index.
#[derive(Debug, Clone, Copy)]
pub enum Target<'a> {
    Name(&'a str),
    Index(u32),
}

impl<'a> From<&'a str> for Target<'a> {
    fn from(name: &'a str) -> Self {
        Self::Name(name)
    }
}

impl<'a> From<&'a String> for Target<'a> {
    fn from(name: &'a String) -> Self {
        Self::Name(name)
    }
}

impl From<u32> for Target<'_> {
    fn from(index: u32) -> Self {
        Self::Index(index)
    }
}

impl fmt::Display for Target<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Index(index) => write!(f, "interface {index}"),
        }
    }
}

impl Target<'_> {
    pub(super) fn message(&self) -> LinkMessage {
        let mut message = LinkMessage::default();
        match self {
            Self::Name(name) => message.attributes.push(LinkAttribute::IfName((*name).to_owned())),
            Self::Index(index) => message.header.index = *index,
        }
        message
    }
}

impl Batch {
    /// One that is gone is no failure.
    pub fn delete_link<'a>(&mut self, target: impl Into<Target<'a>>) {
        let target = target.into();
        self.push(
            format!("delete {target}"),
            RouteNetlinkMessage::DelLink(target.message()),
            0,
        )
        .forgive(&[Errno::ENODEV]);
    }
}

/// A device as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub name: String,
    /// `bridge`, `veth`, ...; empty for hardware.
    pub kind: String,
    pub alias: String,
    pub mac: Option<MacAddress>,
    pub mtu: u32,
    pub up: bool,
    pub loopback: bool,
    /// Index of the bridge it is a port of.
    pub master: Option<u32>,
    pub parent: Option<u32>,
    /// Of a VXLAN device.
    pub vni: Option<u32>,
    /// Of a bridge's port.
    pub hairpin: bool,
    pub isolated: bool,
    pub statistics: Statistics,
}

/// What went through a device since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    pub rx_bytes: u64,
    pub rx_packets: u64,
    pub rx_errors: u64,
    pub rx_dropped: u64,
    pub tx_bytes: u64,
    pub tx_packets: u64,
    pub tx_errors: u64,
    pub tx_dropped: u64,
}

impl Netlink {
    pub fn link<'a>(&mut self, target: impl Into<Target<'a>>) -> Result<Option<Link>> {
        let target = target.into();
        let mut message = target.message();
        let brief = LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]);
        message.attributes.push(brief);
        self.get(
            &format!("look for {target}"),
            &RouteNetlinkMessage::GetLink(message),
            read,
        )
    }

    /// The index of a device that has to be there.
    pub fn index(&mut self, name: &str) -> Result<u32> {
        match self.link(name)? {
            Some(link) => Ok(link.index),
            None => Err(gantry_core::Error::not_found(format!("there is no network interface {name}")).into()),
        }
    }

    /// All devices, with their statistics.
    pub fn links(&mut self) -> Result<Vec<Link>> {
        let message = RouteNetlinkMessage::GetLink(LinkMessage::default());
        self.dump("list interfaces", &message, read)
    }

    /// Whether the kernel has devices of a kind (its module is loaded if there is one). Asked by a wish that is refused
    /// either way, since it lacks what each of these kinds must be told.
    pub fn has_kind(&mut self, kind: &Kind<'_>) -> Result<bool> {
        let mut message = Target::Name("gantry-probe").message();
        let info = kind.info().into_iter().take(1).collect();
        message.attributes.push(LinkAttribute::LinkInfo(info));
        let mut batch = Batch::new();
        batch
            .push(
                format!("probe {}", kind.name()),
                RouteNetlinkMessage::NewLink(message),
                NLM_F_CREATE | NLM_F_EXCL,
            )
            .of_kind(kind.name());
        match self.run(batch) {
            Err(Error::Unsupported(_)) => Ok(false),
            Err(Error::Kernel { .. }) => Ok(true),
            Err(error) => Err(error),
            Ok(()) => {
                let mut batch = Batch::new();
                batch.delete_link("gantry-probe");
                self.run(batch).map(|()| true)
            }
        }
    }
}

// linux/if_link.h
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
const IFLA_STATS64: u16 = 23;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const IFLA_VXLAN_ID: u16 = 1;
const IFLA_BRPORT_MODE: u16 = 4;
const IFLA_BRPORT_ISOLATED: u16 = 33;
const IFF_UP: u32 = 1;
const IFF_LOOPBACK: u32 = 8;
/// `struct ifinfomsg`.
const HEADER: usize = 16;

/// Only what is wanted is read: hardware has attributes that no library knows all of.
fn read(payload: &[u8]) -> Option<Link> {
    let flags = wire::u32_at(payload, 8)?;
    let mut link = Link {
        index: wire::u32_at(payload, 4)?,
        up: flags & IFF_UP != 0,
        loopback: flags & IFF_LOOPBACK != 0,
        ..Link::default()
    };
    for (kind, value) in wire::attributes(payload.get(HEADER..)?) {
        match kind {
            IFLA_ADDRESS => link.mac = value.try_into().ok().map(MacAddress),
            IFLA_IFNAME => link.name = wire::text(value),
            IFLA_MTU => link.mtu = wire::u32_at(value, 0)?,
            IFLA_LINK => link.parent = wire::u32_at(value, 0),
            IFLA_MASTER => link.master = wire::u32_at(value, 0),
            IFLA_IFALIAS => link.alias = wire::text(value),
            IFLA_STATS64 => link.statistics = statistics(value)?,
            IFLA_LINKINFO => read_info(value, &mut link),
            _ => {}
        }
    }
    Some(link)
}

fn read_info(info: &[u8], link: &mut Link) {
    link.kind = wire::find(info, IFLA_INFO_KIND).map(wire::text).unwrap_or_default();
    if link.kind == "vxlan" {
        let id = wire::find(info, IFLA_INFO_DATA).and_then(|data| wire::find(data, IFLA_VXLAN_ID));
        link.vni = id.and_then(|id| wire::u32_at(id, 0));
    }
    if let Some(port) = wire::find(info, IFLA_INFO_SLAVE_DATA) {
        let set = |wanted| wire::find(port, wanted).is_some_and(|value| value.first() == Some(&1));
        link.hairpin = set(IFLA_BRPORT_MODE);
        link.isolated = set(IFLA_BRPORT_ISOLATED);
    }
}

/// `struct rtnl_link_stats64`.
fn statistics(value: &[u8]) -> Option<Statistics> {
    let at = |place: usize| wire::u64_at(value, place * 8);
    Some(Statistics {
        rx_packets: at(0)?,
        tx_packets: at(1)?,
        rx_bytes: at(2)?,
        tx_bytes: at(3)?,
        rx_errors: at(4)?,
        tx_errors: at(5)?,
        rx_dropped: at(6)?,
        tx_dropped: at(7)?,
    })
}
