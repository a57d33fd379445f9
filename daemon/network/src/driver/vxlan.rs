//! The devices of an overlay network on one host: a bridge and a VXLAN device in a namespace of the network's own.
//!
//! The namespace (made by [`crate::netns::make`]) keeps the overlay's subnets apart from the host's routes and from other
//! overlays, and takes every device with it when it goes. The VXLAN device is made from the host's namespace and
//! so sends from there. Nothing is learned from the wire: which endpoint is at which host, and its
//! hardware address, is told by the entries of a [`Table`]; the device answers for neighbours out of them, and what was told once
//! holds until it is taken back, whatever becomes of the daemon.

use super::pair::{self, Socket};
use crate::netlink::{Batch, Change, Fdb, Kind, Neighbour, Netlink, NewLink, PortChange, Vxlan};
use crate::{Error, Result};
use gantry_core::Error as Fault;
use gantry_core::network::{Endpoint, MacAddress};
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};
use std::{io, thread};

/// The port of the IANA (RFC 7348).
pub const PORT: u16 = 4789;

/// Of encrypted networks: what goes there goes in IPsec only, which is told by the port. One of those that are nobody's.
pub const ENCRYPTED_PORT: u16 = 14_789;

/// What ESP takes (RFC 4303, RFC 4106): headers, counter, padding and the seal.
pub const SEAL: u32 = 40;

/// What the headers take of the underlay's MTU: Ethernet, VXLAN, UDP, and IPv4 or IPv6 around them.
pub fn overhead(underlay: IpAddr) -> u32 {
    if underlay.is_ipv4() { 50 } else { 70 }
}

/// The bridge's name in the network's namespace.
const BRIDGE: &str = "br0";

/// A namespace ends some time after its last user; so long its VXLAN device is still in the way of another of its number.
const ENDING: Duration = Duration::from_secs(5);
const STEP: Duration = Duration::from_millis(20);

const UNKNOWN: MacAddress = MacAddress([0; 6]);

/// One overlay network on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// 24 bits.
    pub vni: u32,
    pub port: u16,
    /// This host's address on the underlay.
    pub local: IpAddr,
    /// Of bridge and endpoints; 0 = the kernel's choice.
    pub mtu: u32,
    /// Addresses of the bridge.
    pub gateways: Vec<IpNet>,
}

impl Segment {
    fn device(&self) -> String {
        device(self.vni)
    }
}

fn device(vni: u32) -> String {
    format!("vxlan{vni}")
}

/// Makes the bridge and the VXLAN device in `namespace`, or mends them. The caller is in the namespace that the underlay is in.
pub fn create(segment: &Segment, namespace: BorrowedFd<'_>) -> Result<()> {
    let mut inside = Netlink::open_in(namespace)?;
    let bridge = match inside.link(BRIDGE)? {
        Some(link) => link.index,
        None => add_bridge(&mut inside, segment)?,
    };
    fail::fail_point!("network::vxlan");
    add_vxlan(&mut inside, segment, namespace)?;
    let mut batch = Batch::new();
    for gateway in &segment.gateways {
        batch.set_address(bridge, *gateway);
    }
    let quiet = Change {
        plain_ipv6: true,
        ..Change::default()
    };
    let connected = Change {
        master: Some(bridge),
        ..Change::default()
    };
    let up = Change {
        up: Some(true),
        mtu: segment.mtu,
        ..Change::default()
    };
    let device = segment.device();
    batch.set_link(&device, &quiet);
    batch.set_link(&device, &connected);
    batch.set_link(&device, &up);
    batch.set_link(bridge, &up);
    inside.run(batch)
}

fn add_bridge(inside: &mut Netlink, segment: &Segment) -> Result<u32> {
    let [_, a, b, c] = segment.vni.to_be_bytes();
    let mut batch = Batch::new();
    batch.add_link(&NewLink {
        name: BRIDGE,
        kind: Kind::Bridge,
        parent: None,
        namespace: None,
        // The same on every host: a container that moves finds its gateway where it was.
        mac: Some(MacAddress([0x02, 0x42, 0, a, b, c])),
        mtu: segment.mtu,
    });
    let quiet = Change {
        plain_ipv6: true,
        ..Change::default()
    };
    batch.set_link(BRIDGE, &quiet);
    inside.run(batch)?;
    inside.index(BRIDGE)
}

fn add_vxlan(inside: &mut Netlink, segment: &Segment, namespace: BorrowedFd<'_>) -> Result<()> {
    if inside.link(&segment.device())?.is_some() {
        return Ok(());
    }
    let started = Instant::now();
    loop {
        let mut batch = Batch::new();
        batch.add_link(&NewLink {
            name: &segment.device(),
            kind: Kind::Vxlan(Vxlan {
                vni: segment.vni,
                port: segment.port,
                local: Some(segment.local),
            }),
            parent: None,
            namespace: Some(namespace),
            mac: None,
            mtu: segment.mtu,
        });
        match Netlink::open()?.run(batch) {
            Err(Error::Kernel { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {
                if started.elapsed() > ENDING {
                    let (vni, port) = (segment.vni, segment.port);
                    let message = format!("another VXLAN device of this host has number {vni} at port {port}");
                    return Err(Fault::conflict(message).into());
                }
                thread::sleep(STEP);
            }
            other => return other,
        }
    }
}

/// Deletes both devices, so that the number is free at once; the namespace itself is removed by [`crate::netns::remove`].
pub fn remove(vni: u32, namespace: BorrowedFd<'_>) -> Result<()> {
    let mut batch = Batch::new();
    batch.delete_link(&device(vni));
    batch.delete_link(BRIDGE);
    Netlink::open_in(namespace)?.run(batch)
}

/// Makes an endpoint between the network's namespace and a sandbox.
pub fn join(segment: &Segment, endpoint: &Endpoint, namespace: BorrowedFd<'_>, sandbox: BorrowedFd<'_>) -> Result<()> {
    let mut inside = Netlink::open_in(namespace)?;
    let socket = Socket {
        bridge: (BRIDGE, inside.index(BRIDGE)?),
        mtu: segment.mtu,
        port: PortChange::default(),
    };
    pair::plug(&mut inside, &socket, endpoint, sandbox)
}

/// Removes an endpoint from the network's namespace.
pub fn leave(endpoint: &Endpoint, namespace: BorrowedFd<'_>) -> Result<()> {
    pair::unplug(&mut Netlink::open_in(namespace)?, endpoint)
}

/// An endpoint at another host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Remote {
    pub address: IpAddr,
    pub mac: MacAddress,
    /// Of the other host, on the underlay.
    pub host: IpAddr,
}

/// What a VXLAN device was told.
pub struct Table {
    netlink: Netlink,
    device: u32,
}

impl Table {
    pub fn open(vni: u32, namespace: BorrowedFd<'_>) -> Result<Self> {
        let mut netlink = Netlink::open_in(namespace)?;
        let device = netlink.index(&device(vni))?;
        Ok(Self { netlink, device })
    }

    /// What is known of an address or a hardware address is replaced.
    pub fn add(&mut self, remotes: &[Remote]) -> Result<()> {
        let mut batch = Batch::new();
        for remote in remotes {
            batch.set_fdb(&self.fdb(remote.mac, remote.host));
            batch.set_neighbour(&self.neighbour(remote));
        }
        self.netlink.run(batch)
    }

    /// Those that are gone already are no failure. A hardware address that two addresses share is forgotten with the first.
    pub fn remove(&mut self, remotes: &[Remote]) -> Result<()> {
        let mut batch = Batch::new();
        for remote in remotes {
            batch.delete_neighbour(&self.neighbour(remote));
            batch.delete_fdb(&self.fdb(remote.mac, remote.host));
        }
        self.netlink.run(batch)
    }

    /// Broadcasts and frames to nobody known go to these hosts.
    pub fn add_hosts(&mut self, hosts: &[IpAddr]) -> Result<()> {
        let mut batch = Batch::new();
        for host in hosts {
            batch.append_fdb(&self.fdb(UNKNOWN, *host));
        }
        self.netlink.run(batch)
    }

    pub fn remove_hosts(&mut self, hosts: &[IpAddr]) -> Result<()> {
        let mut batch = Batch::new();
        for host in hosts {
            batch.delete_fdb(&self.fdb(UNKNOWN, *host));
        }
        self.netlink.run(batch)
    }

    /// What the kernel knows now.
    pub fn remotes(&mut self) -> Result<Vec<Remote>> {
        let fdb = self.netlink.fdb(self.device)?;
        let hosts: BTreeMap<MacAddress, IpAddr> = fdb.into_iter().map(|entry| (entry.mac, entry.host)).collect();
        let known = self.netlink.neighbours(self.device)?;
        let remotes = known.into_iter().filter_map(|neighbour| {
            Some(Remote {
                address: neighbour.address,
                mac: neighbour.mac,
                host: *hosts.get(&neighbour.mac)?,
            })
        });
        Ok(remotes.collect())
    }

    pub fn hosts(&mut self) -> Result<Vec<IpAddr>> {
        let all = self.netlink.fdb(self.device)?;
        let flooded = all.into_iter().filter(|entry| entry.mac == UNKNOWN);
        Ok(flooded.map(|entry| entry.host).collect())
    }

    fn fdb(&self, mac: MacAddress, host: IpAddr) -> Fdb {
        Fdb {
            device: self.device,
            mac,
            host,
        }
    }

    fn neighbour(&self, remote: &Remote) -> Neighbour {
        Neighbour {
            device: self.device,
            address: remote.address,
            mac: remote.mac,
        }
    }
}

#[cfg(test)]
mod tests;
