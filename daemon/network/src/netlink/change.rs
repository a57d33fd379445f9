//! What is changed of devices.

use super::Target;
use super::batch::Batch;
use super::new::looks;
use gantry_core::network::MacAddress;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoBridgePort, InfoPortData, InfoPortKind, LinkAttribute, LinkFlags,
    LinkInfo,
};
use nix::errno::Errno;
use std::os::fd::{AsRawFd, BorrowedFd};

/// What is to be changed of a device; what is left out stays.
#[derive(Debug, Clone, Copy, Default)]
pub struct Change<'a> {
    pub up: Option<bool>,
    /// The bridge it becomes a port of; 0 = of none.
    pub master: Option<u32>,
    pub mac: Option<MacAddress>,
    /// 0 = as it is.
    pub mtu: u32,
    /// Only of a device that is named by its index.
    pub name: Option<&'a str>,
    /// Up to 255 bytes.
    pub alias: Option<&'a str>,
    pub namespace: Option<BorrowedFd<'a>>,
    /// It gets no IPv6 address of the kernel's making.
    pub plain_ipv6: bool,
}

/// What is to be changed of a bridge's port.
#[derive(Debug, Clone, Copy, Default)]
pub struct PortChange {
    /// Frames may leave by the port they came in by.
    pub hairpin: Option<bool>,
    /// Isolated ports do not reach each other.
    pub isolated: Option<bool>,
    pub learning: Option<bool>,
    /// Frames to unknown addresses are sent here too.
    pub flood: Option<bool>,
}

impl Batch {
    pub fn set_link<'a>(&mut self, target: impl Into<Target<'a>>, change: &Change<'_>) {
        let target = target.into();
        let mut message = target.message();
        if let Some(up) = change.up {
            message.header.flags.set(LinkFlags::Up, up);
            message.header.change_mask = LinkFlags::Up;
        }
        let attributes = &mut message.attributes;
        attributes.extend(looks(change.mac, change.mtu));
        attributes.extend(change.master.map(LinkAttribute::Controller));
        attributes.extend(change.name.map(|name| LinkAttribute::IfName(name.to_owned())));
        attributes.extend(change.alias.map(|alias| LinkAttribute::IfAlias(alias.to_owned())));
        attributes.extend(change.namespace.map(|fd| LinkAttribute::NetNsFd(fd.as_raw_fd())));
        if change.plain_ipv6 {
            let none = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
            attributes.push(LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![none])]));
        }
        let what = match change {
            Change { master: Some(0), .. } => format!("take {target} out of its bridge"),
            Change { master: Some(_), .. } => format!("connect {target} to its bridge"),
            Change { up: Some(true), .. } => format!("bring {target} up"),
            Change { up: Some(false), .. } => format!("take {target} down"),
            _ => format!("set up {target}"),
        };
        let deed = self.push(what, RouteNetlinkMessage::SetLink(message), 0);
        if change.plain_ipv6 {
            // A kernel without IPv6 has nothing to switch off.
            deed.forgive(&[Errno::EAFNOSUPPORT, Errno::EOPNOTSUPP]);
        }
    }

    pub fn set_port<'a>(&mut self, target: impl Into<Target<'a>>, change: PortChange) {
        let target = target.into();
        let mut message = target.message();
        let settings = [
            change.hairpin.map(InfoBridgePort::HairpinMode),
            change.isolated.map(InfoBridgePort::Isolated),
            change.learning.map(InfoBridgePort::Learning),
            change.flood.map(InfoBridgePort::UnicastFlood),
        ];
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::PortKind(InfoPortKind::Bridge),
            LinkInfo::PortData(InfoPortData::BridgePort(settings.into_iter().flatten().collect())),
        ]));
        self.push(
            format!("set the bridge port {target}"),
            RouteNetlinkMessage::NewLink(message),
            0,
        );
    }
}
