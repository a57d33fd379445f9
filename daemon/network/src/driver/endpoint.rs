//! What every driver does inside the sandbox once the interface is there.

use crate::netlink::{Batch, Change, Netlink};
use crate::sysctl::{self, Family};
use crate::{Result, netns};
use gantry_core::network::Endpoint;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::IpAddr;
use std::os::fd::BorrowedFd;

/// Gives the endpoint's interface its addresses and brings it up. Routes to its own subnets come with the addresses.
pub(super) fn settle(endpoint: &Endpoint, namespace: BorrowedFd<'_>) -> Result<()> {
    let addresses: Vec<IpNet> = addresses(endpoint).collect();
    netns::enter(namespace, || {
        if sysctl::has(Family::Ipv6) {
            let without = !addresses.iter().any(|net| net.addr().is_ipv6());
            let set = |setting, value| sysctl::set_device(Family::Ipv6, &endpoint.interface, setting, value);
            set("disable_ipv6", if without { "1" } else { "0" })?;
            set("accept_ra", "0")?;
            set("accept_dad", "0")?;
        }
        let mut netlink = Netlink::open()?;
        let index = netlink.index(&endpoint.interface)?;
        let mut batch = Batch::new();
        for net in addresses {
            batch.set_address(index, net);
        }
        let up = Change {
            up: Some(true),
            ..Change::default()
        };
        batch.set_link(index, &up);
        netlink.run(batch)
    })
}

fn addresses(endpoint: &Endpoint) -> impl Iterator<Item = IpNet> {
    // RFC 3927 and RFC 4291: the subnets of link-local addresses.
    let local = endpoint.settings.link_local.iter().filter_map(|address| match address {
        IpAddr::V4(address) => Ipv4Net::new(*address, 16).ok().map(IpNet::V4),
        IpAddr::V6(address) => Ipv6Net::new(*address, 64).ok().map(IpNet::V6),
    });
    endpoint.ipv4.into_iter().chain(endpoint.ipv6).chain(local)
}

/// Deletes the interface inside the sandbox if it is of the driver's kind.
pub(super) fn clear(endpoint: &Endpoint, kind: &str, namespace: BorrowedFd<'_>) -> Result<()> {
    let mut netlink = Netlink::open_in(namespace)?;
    let Some(link) = netlink.link(&endpoint.interface)?.filter(|link| link.kind == kind) else {
        return Ok(());
    };
    let mut batch = Batch::new();
    batch.delete_link(link.index);
    netlink.run(batch)
}
