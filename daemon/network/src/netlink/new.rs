//! Devices to be made.

use super::Target;
use super::batch::Batch;
use gantry_core::network::{IpvlanMode, MacAddress, MacvlanMode};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoData, InfoIpVlan, InfoKind, InfoMacVlan, InfoVeth, InfoVlan, InfoVxlan, IpVlanFlags, IpVlanMode, LinkAttribute,
    LinkInfo, LinkMessage, MacVlanMode,
};
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

/// A device to be made.
#[derive(Debug)]
pub struct NewLink<'a> {
    pub name: &'a str,
    pub kind: Kind<'a>,
    /// The device it sits on.
    pub parent: Option<u32>,
    /// Where it is to be, if not here. `parent` is still one of here.
    pub namespace: Option<BorrowedFd<'a>>,
    pub mac: Option<MacAddress>,
    /// 0 = the kernel's choice.
    pub mtu: u32,
}

#[derive(Debug)]
pub enum Kind<'a> {
    Bridge,
    Dummy,
    Veth(Peer<'a>),
    Macvlan(MacvlanMode),
    Ipvlan(IpvlanMode, IpVlanFlags),
    Vxlan(Vxlan),
    Vlan(u16),
}

/// The other end of a veth pair.
#[derive(Debug)]
pub struct Peer<'a> {
    pub name: &'a str,
    pub namespace: Option<BorrowedFd<'a>>,
    pub mac: Option<MacAddress>,
    pub mtu: u32,
}

/// A VXLAN device without learning, told by [`super::Fdb`] entries where what is, and answering for
/// neighbours that it was told of.
#[derive(Debug, Clone, Copy)]
pub struct Vxlan {
    pub vni: u32,
    pub port: u16,
    /// The source of what it sends.
    pub local: Option<IpAddr>,
}

impl Kind<'_> {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Dummy => "dummy",
            Self::Veth(_) => "veth",
            Self::Macvlan(_) => "macvlan",
            Self::Ipvlan(..) => "ipvlan",
            Self::Vxlan(_) => "vxlan",
            Self::Vlan(_) => "vlan",
        }
    }

    pub(super) fn info(&self) -> Vec<LinkInfo> {
        let (kind, data) = match self {
            Self::Bridge => (InfoKind::Bridge, None),
            Self::Dummy => (InfoKind::Dummy, None),
            Self::Veth(peer) => (InfoKind::Veth, Some(InfoData::Veth(InfoVeth::Peer(peer.message())))),
            Self::Macvlan(mode) => {
                let mode = match mode {
                    MacvlanMode::Bridge => MacVlanMode::Bridge,
                    MacvlanMode::Private => MacVlanMode::Private,
                    MacvlanMode::Vepa => MacVlanMode::Vepa,
                    MacvlanMode::Passthru => MacVlanMode::Passthrough,
                };
                (
                    InfoKind::MacVlan,
                    Some(InfoData::MacVlan(vec![InfoMacVlan::Mode(mode)])),
                )
            }
            Self::Ipvlan(mode, flags) => {
                let mode = match mode {
                    IpvlanMode::L2 => IpVlanMode::L2,
                    IpvlanMode::L3 => IpVlanMode::L3,
                    IpvlanMode::L3s => IpVlanMode::L3S,
                };
                let data = vec![InfoIpVlan::Mode(mode), InfoIpVlan::Flags(*flags)];
                (InfoKind::IpVlan, Some(InfoData::IpVlan(data)))
            }
            Self::Vxlan(vxlan) => (InfoKind::Vxlan, Some(InfoData::Vxlan(vxlan.data()))),
            Self::Vlan(id) => (InfoKind::Vlan, Some(InfoData::Vlan(vec![InfoVlan::Id(*id)]))),
        };
        std::iter::once(LinkInfo::Kind(kind))
            .chain(data.map(LinkInfo::Data))
            .collect()
    }
}

impl Peer<'_> {
    fn message(&self) -> LinkMessage {
        let mut message = Target::Name(self.name).message();
        let namespace = self.namespace.map(|fd| LinkAttribute::NetNsFd(fd.as_raw_fd()));
        message.attributes.extend(namespace);
        message.attributes.extend(looks(self.mac, self.mtu));
        message
    }
}

impl Vxlan {
    fn data(&self) -> Vec<InfoVxlan> {
        let mut data = vec![
            InfoVxlan::Id(self.vni),
            InfoVxlan::Port(self.port),
            InfoVxlan::Learning(false),
            InfoVxlan::Proxy(true),
            InfoVxlan::L2Miss(false),
            InfoVxlan::L3Miss(false),
        ];
        data.extend(self.local.map(|local| match local {
            IpAddr::V4(address) => InfoVxlan::Local(address),
            IpAddr::V6(address) => InfoVxlan::Local6(address),
        }));
        data
    }
}

pub(super) fn looks(mac: Option<MacAddress>, mtu: u32) -> impl Iterator<Item = LinkAttribute> {
    let mac = mac.map(|mac| LinkAttribute::Address(mac.0.to_vec()));
    mac.into_iter().chain((mtu > 0).then_some(LinkAttribute::Mtu(mtu)))
}

impl Batch {
    pub fn add_link(&mut self, link: &NewLink<'_>) {
        let mut message = Target::Name(link.name).message();
        let attributes = &mut message.attributes;
        attributes.extend(link.parent.map(LinkAttribute::Link));
        attributes.extend(link.namespace.map(|fd| LinkAttribute::NetNsFd(fd.as_raw_fd())));
        attributes.extend(looks(link.mac, link.mtu));
        attributes.push(LinkAttribute::LinkInfo(link.kind.info()));
        let kind = link.kind.name();
        self.push(
            format!("add {kind} {}", link.name),
            RouteNetlinkMessage::NewLink(message),
            NLM_F_CREATE | NLM_F_EXCL,
        )
        .of_kind(kind);
    }
}
