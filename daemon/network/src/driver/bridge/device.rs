//! The bridge itself.

use crate::Result;
use crate::netlink::{Batch, Change, Kind, Netlink, NewLink};
use crate::sysctl::{self, Family};
use gantry_core::network::{MacAddress, NetworkRecord};
use ipnet::IpNet;

/// How the bridge has to be.
pub(super) struct Wanted<'a> {
    pub(super) name: &'a str,
    /// `None` = it is somebody else's, and only gets what it lacks.
    pub(super) mark: Option<String>,
    pub(super) mac: MacAddress,
    pub(super) mtu: u32,
    pub(super) gateways: Vec<IpNet>,
    pub(super) ipv6: bool,
    pub(super) route_localnet: bool,
}

/// The same for the same network, so that neighbours' memories hold when the bridge is made anew; and its own, so that it
/// does not change with its ports.
pub(super) fn mac(network: &NetworkRecord) -> MacAddress {
    let id = network.id.as_str();
    let digits = |at: usize| u8::from_str_radix(&id[at * 2..at * 2 + 2], 16).unwrap_or_default();
    MacAddress([0x02, 0x42, digits(0), digits(1), digits(2), digits(3)])
}

pub(super) fn make(netlink: &mut Netlink, wanted: &Wanted<'_>) -> Result<()> {
    fail::fail_point!("network::bridge::missing");
    let mut batch = Batch::new();
    batch.add_link(&NewLink {
        name: wanted.name,
        kind: Kind::Bridge,
        parent: None,
        namespace: None,
        mac: Some(wanted.mac),
        mtu: wanted.mtu,
    });
    let marked = Change {
        alias: wanted.mark.as_deref(),
        ..Change::default()
    };
    batch.set_link(wanted.name, &marked);
    netlink.run(batch)
}

/// Brings a bridge to what is wanted, whatever it was before.
pub(super) fn mend(netlink: &mut Netlink, wanted: &Wanted<'_>) -> Result<()> {
    fail::fail_point!("network::bridge");
    settings(wanted)?;
    let index = netlink.index(wanted.name)?;
    let mut batch = Batch::new();
    if let Some(mark) = &wanted.mark {
        let ours = Change {
            alias: Some(mark),
            mtu: wanted.mtu,
            ..Change::default()
        };
        batch.set_link(index, &ours);
        let addresses = netlink.addresses()?;
        let stale = |net: &IpNet| !wanted.gateways.contains(net);
        for address in addresses
            .iter()
            .filter(|address| address.index == index && address.global)
        {
            if stale(&address.net) {
                batch.delete_address(index, address.net);
            }
        }
    }
    for gateway in &wanted.gateways {
        batch.set_address(index, *gateway);
    }
    let up = Change {
        up: Some(true),
        ..Change::default()
    };
    batch.set_link(index, &up);
    netlink.run(batch)
}

fn settings(wanted: &Wanted<'_>) -> Result<()> {
    let name = wanted.name;
    if wanted.route_localnet {
        // What is published on 127.0.0.1 comes from there. The bridge still answers for its own addresses only.
        sysctl::set_device(Family::Ipv4, name, "route_localnet", "1")?;
        sysctl::set_device(Family::Ipv4, name, "arp_ignore", "1")?;
    }
    if !sysctl::has(Family::Ipv6) {
        return Ok(());
    }
    sysctl::set_device(Family::Ipv6, name, "accept_ra", "0")?;
    if wanted.ipv6 {
        sysctl::set_device(Family::Ipv6, name, "disable_ipv6", "0")?;
        sysctl::set_device(Family::Ipv6, name, "accept_dad", "0")?;
    } else if wanted.mark.is_some() {
        // The host is not reached by a way that nobody asked for.
        sysctl::set_device(Family::Ipv6, name, "disable_ipv6", "1")?;
    }
    Ok(())
}
