//! Routes of the main table.

use super::batch::Batch;
use super::{Netlink, family, wire};
use crate::Result;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A way to a subnet; the subnet of length 0 is everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    pub destination: IpNet,
    /// `None` = they are neighbours.
    pub gateway: Option<IpAddr>,
    /// `None` only in lists: several ways, or none.
    pub device: Option<u32>,
    /// 0 = the kernel's choice.
    pub metric: u32,
}

impl Route {
    pub fn default4(gateway: Option<Ipv4Addr>, device: u32) -> Self {
        Self {
            destination: Ipv4Net::default().into(),
            gateway: gateway.map(IpAddr::V4),
            device: Some(device),
            metric: 0,
        }
    }

    pub fn default6(gateway: Option<Ipv6Addr>, device: u32) -> Self {
        Self {
            destination: Ipv6Net::default().into(),
            gateway: gateway.map(IpAddr::V6),
            device: Some(device),
            metric: 0,
        }
    }

    pub fn is_default(&self) -> bool {
        self.destination.prefix_len() == 0
    }

    fn message(&self) -> RouteMessage {
        let mut message = RouteMessage::default();
        let header = &mut message.header;
        header.address_family = family(self.destination.addr());
        header.destination_prefix_length = self.destination.prefix_len();
        header.table = RouteHeader::RT_TABLE_MAIN;
        header.protocol = RouteProtocol::Static;
        header.kind = RouteType::Unicast;
        header.scope = match (self.gateway, self.destination) {
            (None, IpNet::V4(_)) => RouteScope::Link,
            _ => RouteScope::Universe,
        };
        let attributes = &mut message.attributes;
        if !self.is_default() {
            let network = RouteAddress::from(self.destination.network());
            attributes.push(RouteAttribute::Destination(network));
        }
        attributes.extend(self.gateway.map(|gateway| RouteAttribute::Gateway(gateway.into())));
        attributes.extend(self.device.map(RouteAttribute::Oif));
        attributes.extend((self.metric > 0).then_some(RouteAttribute::Priority(self.metric)));
        message
    }
}

impl Batch {
    /// Makes it the way to its subnet, in place of another of the same metric.
    pub fn set_route(&mut self, route: &Route) {
        self.push(
            format!("set the route to {}", shown(route)),
            RouteNetlinkMessage::NewRoute(route.message()),
            NLM_F_CREATE | NLM_F_REPLACE,
        );
    }

    /// One that is gone is no failure.
    pub fn delete_route(&mut self, route: &Route) {
        let mut message = route.message();
        // These say "any" here.
        message.header.protocol = RouteProtocol::Unspec;
        message.header.scope = RouteScope::NoWhere;
        self.push(
            format!("delete the route to {}", shown(route)),
            RouteNetlinkMessage::DelRoute(message),
            0,
        )
        .forgive(&[Errno::ESRCH, Errno::ENODEV]);
    }
}

fn shown(route: &Route) -> String {
    match route.gateway {
        Some(gateway) => format!("{} via {gateway}", route.destination),
        None => route.destination.to_string(),
    }
}

impl Netlink {
    /// The unicast routes of the main table, of both families.
    pub fn routes(&mut self) -> Result<Vec<Route>> {
        let mut all = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = RouteMessage::default();
            message.header.address_family = family;
            all.extend(self.dump("list routes", &RouteNetlinkMessage::GetRoute(message), read)?);
        }
        Ok(all)
    }
}

// linux/rtnetlink.h
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_TABLE: u16 = 15;
const RT_TABLE_MAIN: u32 = 254;
const RTN_UNICAST: u8 = 1;
const RTM_F_CLONED: u32 = 0x200;
/// `struct rtmsg`.
const HEADER: usize = 12;
const AF_INET: u8 = 2;

fn read(payload: &[u8]) -> Option<Route> {
    let attributes = payload.get(HEADER..)?;
    let number = |wanted| wire::find(attributes, wanted).and_then(|value| wire::u32_at(value, 0));
    let table = number(RTA_TABLE).unwrap_or_else(|| u32::from(payload[4]));
    let cached = wire::u32_at(payload, 8)? & RTM_F_CLONED != 0;
    if table != RT_TABLE_MAIN || payload[7] != RTN_UNICAST || cached {
        return None;
    }
    let whole: IpAddr = if payload[0] == AF_INET {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let destination = wire::find(attributes, RTA_DST).and_then(wire::ip).unwrap_or(whole);
    Some(Route {
        destination: IpNet::new(destination, payload[1]).ok()?,
        gateway: wire::find(attributes, RTA_GATEWAY).and_then(wire::ip),
        device: number(RTA_OIF),
        metric: number(RTA_PRIORITY).unwrap_or(0),
    })
}
