//! A bridge on the host, with a veth pair for each endpoint.

mod device;

use super::pair::{self, Socket};
use super::{Driver, is_ours, mark};
use crate::netlink::{Batch, Kind, Link, Netlink, PortChange};
use crate::sysctl::{self, Family};
use crate::{Instance, Result};
use gantry_core::Error as Fault;
use gantry_core::network::{BridgeOptions, Endpoint, GatewayMode, NetworkRecord, option};
use ipnet::IpNet;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;

/// The bridge driver of one daemon.
#[derive(Debug, Clone)]
pub struct Bridge {
    instance: Instance,
    forward: bool,
    linking: bool,
}

impl Bridge {
    /// `forward`: whether the host's forwarding is switched on with the first network (the daemon's `ip-forward`).
    pub fn new(instance: Instance, forward: bool) -> Self {
        Self {
            instance,
            forward,
            linking: false,
        }
    }

    /// Whether the firewall judges frames that cross a bridge. Then it alone keeps containers of the default bridge without `icc`
    /// apart, since it can make an exception for legacy links; everywhere else the bridge itself does, under any firewall.
    #[must_use]
    pub fn linking(self, linking: bool) -> Self {
        Self { linking, ..self }
    }

    fn device_of(&self, network: &NetworkRecord, options: &BridgeOptions) -> String {
        match (options.name.as_str(), is_default(network)) {
            ("", true) => self.instance.default_bridge(),
            ("", false) => format!("br-{}", network.id.short()),
            (name, _) => name.to_owned(),
        }
    }

    /// The gateways that are addresses of the bridge.
    fn gateways(network: &NetworkRecord, options: &BridgeOptions) -> Vec<IpNet> {
        let on_bridge = |gateway: &IpAddr| match gateway {
            IpAddr::V4(_) => !options.inhibit_ipv4 && options.mode4 != GatewayMode::Isolated,
            IpAddr::V6(_) => options.mode6 != GatewayMode::Isolated,
        };
        let gateways = network.pools.iter().filter_map(|pool| {
            let gateway = pool.gateway.filter(on_bridge)?;
            IpNet::new(gateway, pool.subnet.prefix_len()).ok()
        });
        gateways.collect()
    }

    fn switch_forwarding_on(&self, network: &NetworkRecord) -> Result<()> {
        if !self.forward || network.internal {
            return Ok(());
        }
        if has(network, IpAddr::is_ipv4) {
            sysctl::set("net.ipv4.ip_forward", "1")?;
        }
        if has(network, IpAddr::is_ipv6) {
            forward_ipv6()?;
        }
        Ok(())
    }
}

fn is_default(network: &NetworkRecord) -> bool {
    network.name == "bridge" || network.options.contains_key(option::DEFAULT_BRIDGE)
}

fn has(network: &NetworkRecord, family: impl Fn(&IpAddr) -> bool) -> bool {
    network.pools.iter().any(|pool| family(&pool.subnet.addr()))
}

/// A host that forwards takes no router's advertisements, unless it is told to take them all the same (2): its own default
/// route must not be lost.
fn forward_ipv6() -> Result<()> {
    if sysctl::get_device(Family::Ipv6, "all", "forwarding")?.as_deref() == Some("1") {
        return Ok(());
    }
    for link in Netlink::open()?.links()? {
        if sysctl::get_device(Family::Ipv6, &link.name, "accept_ra")?.as_deref() == Some("1") {
            sysctl::set_device(Family::Ipv6, &link.name, "accept_ra", "2")?;
        }
    }
    sysctl::set_device(Family::Ipv6, "default", "forwarding", "1")?;
    sysctl::set_device(Family::Ipv6, "all", "forwarding", "1")
}

fn need_bridge(name: &str, link: Option<Link>) -> Result<Link> {
    match link {
        Some(link) if link.kind == Kind::Bridge.name() => Ok(link),
        Some(_) => Err(Fault::conflict(format!("interface {name} is not a bridge")).into()),
        None => Err(Fault::not_found(format!("there is no bridge {name}")).into()),
    }
}

impl Driver for Bridge {
    fn name(&self) -> &str {
        "bridge"
    }

    fn check(&self, network: &mut NetworkRecord, others: &[NetworkRecord]) -> Result<()> {
        let options = BridgeOptions::read(&network.options)?;
        network.device = self.device_of(network, &options);
        for family in [IpAddr::is_ipv4, IpAddr::is_ipv6] {
            let pools = network.pools.iter().filter(|pool| family(&pool.subnet.addr()));
            if pools.count() > 1 {
                return Err(Fault::invalid("a bridge network has one subnet of each IP version").into());
            }
        }
        let same = |other: &&NetworkRecord| other.driver == "bridge" && other.device == network.device;
        if let Some(other) = others.iter().filter(|other| other.id != network.id).find(same) {
            let message = format!("bridge {} belongs to network {} already", network.device, other.name);
            return Err(Fault::conflict(message).into());
        }
        match Netlink::open()?.link(&network.device)? {
            None => Ok(()),
            there => need_bridge(&network.device, there).map(drop),
        }
    }

    fn create(&self, network: &NetworkRecord) -> Result<()> {
        let options = BridgeOptions::read(&network.options)?;
        self.switch_forwarding_on(network)?;
        let mut netlink = Netlink::open()?;
        let there = netlink.link(&network.device)?;
        let ours = there.as_ref().is_none_or(|link| is_ours(&self.instance, &link.alias));
        let wanted = device::Wanted {
            name: &network.device,
            mark: ours.then(|| mark(&self.instance, network)),
            mac: device::mac(network),
            mtu: options.link.mtu,
            gateways: Self::gateways(network, &options),
            ipv6: has(network, IpAddr::is_ipv6),
            route_localnet: !network.internal && has(network, IpAddr::is_ipv4),
        };
        match there {
            None => device::make(&mut netlink, &wanted)?,
            there => drop(need_bridge(&network.device, there)?),
        }
        device::mend(&mut netlink, &wanted)
    }

    fn remove(&self, network: &NetworkRecord) -> Result<()> {
        let mut netlink = Netlink::open()?;
        let made = mark(&self.instance, network);
        if let Some(link) = netlink.link(&network.device)?.filter(|link| link.alias == made) {
            let mut batch = Batch::new();
            batch.delete_link(link.index);
            netlink.run(batch)?;
        }
        Ok(())
    }

    fn join(&self, network: &NetworkRecord, endpoint: &Endpoint, netns: BorrowedFd<'_>) -> Result<()> {
        let options = BridgeOptions::read(&network.options)?;
        let judged = self.linking && is_default(network);
        let mut netlink = Netlink::open()?;
        let link = netlink.link(&network.device)?;
        let bridge = need_bridge(&network.device, link)?;
        let socket = Socket {
            bridge: (&network.device, bridge.index),
            mtu: options.link.mtu,
            port: PortChange {
                // A container that asks for its own published port comes back by the port it left by, where bridged
                // packets pass the firewall (br_netfilter).
                hairpin: Some(!network.internal),
                isolated: Some(!options.icc && !judged),
                ..PortChange::default()
            },
        };
        pair::plug(&mut netlink, &socket, endpoint, netns)
    }

    fn leave(&self, _: &NetworkRecord, endpoint: &Endpoint, _: Option<BorrowedFd<'_>>) -> Result<()> {
        pair::unplug(&mut Netlink::open()?, endpoint)
    }
}

#[cfg(test)]
mod tests;
