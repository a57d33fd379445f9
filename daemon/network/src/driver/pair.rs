//! Endpoints that are a veth pair: one end a port of a bridge, the other in the sandbox.

use super::endpoint::settle;
use crate::netlink::{Batch, Change, Kind, Netlink, NewLink, Peer, PortChange};
use crate::{Error, Result};
use gantry_core::network::Endpoint;
use gantry_core::{Error as Fault, ErrorKind};
use nix::errno::Errno;
use std::os::fd::BorrowedFd;

/// How many ports the kernel's bridge has (`BR_MAX_PORTS` less the one of number 0).
pub(super) const PORTS: usize = 1023;

/// The bridge's side.
pub(super) struct Socket<'a> {
    /// Name and index of the bridge.
    pub(super) bridge: (&'a str, u32),
    pub(super) mtu: u32,
    pub(super) port: PortChange,
}

/// Makes the pair. What a kill left of the same endpoint is removed before; what cannot be finished is removed again.
/// `host` speaks of the namespace that the bridge is in.
pub(super) fn plug(
    host: &mut Netlink,
    socket: &Socket<'_>,
    endpoint: &Endpoint,
    namespace: BorrowedFd<'_>,
) -> Result<()> {
    unplug(host, endpoint)?;
    if host.link(&endpoint.host_interface)?.is_some() {
        let name = &endpoint.host_interface;
        return Err(Fault::conflict(format!("an interface {name} is there already, and is not ours")).into());
    }
    fail::fail_point!("network::pair::join");
    let made = make(host, socket, endpoint, namespace).and_then(|()| {
        fail::fail_point!("network::pair::joining");
        settle(endpoint, namespace)
    });
    if made.is_err() {
        let mut batch = Batch::new();
        batch.delete_link(&endpoint.host_interface);
        if let Err(error) = host.run(batch) {
            tracing::warn!(err = %error, "what was made of an endpoint stays until it is made again");
        }
    }
    made
}

fn make(host: &mut Netlink, socket: &Socket<'_>, endpoint: &Endpoint, namespace: BorrowedFd<'_>) -> Result<()> {
    let name = endpoint.host_interface.as_str();
    let mut batch = Batch::new();
    batch.add_link(&NewLink {
        name,
        kind: Kind::Veth(Peer {
            name: &endpoint.interface,
            namespace: Some(namespace),
            mac: Some(endpoint.mac),
            mtu: socket.mtu,
        }),
        parent: None,
        namespace: None,
        mac: None,
        mtu: socket.mtu,
    });
    batch.set_link(
        name,
        &Change {
            alias: Some(&endpoint.id),
            plain_ipv6: true,
            ..Change::default()
        },
    );
    let connected = Change {
        master: Some(socket.bridge.1),
        ..Change::default()
    };
    batch.set_link(name, &connected);
    batch.set_port(name, socket.port);
    let up = Change {
        up: Some(true),
        ..Change::default()
    };
    batch.set_link(name, &up);
    host.run(batch).map_err(|error| explain(error, socket, endpoint))
}

fn explain(error: Error, socket: &Socket<'_>, endpoint: &Endpoint) -> Error {
    let errno = match &error {
        Error::Kernel { source, .. } => source.raw_os_error().map(Errno::from_raw),
        _ => None,
    };
    match errno {
        Some(Errno::EXFULL) => {
            let bridge = socket.bridge.0;
            let message = format!("bridge {bridge} has {PORTS} ports, and can have no more: use another network");
            Fault::new(ErrorKind::ResourceExhausted, message).into()
        }
        Some(Errno::EEXIST) => {
            let name = &endpoint.interface;
            Fault::conflict(format!("the sandbox has an interface {name} already")).into()
        }
        _ => error,
    }
}

/// Removes the pair, if the host's end is this endpoint's. It may be gone already.
pub(super) fn unplug(host: &mut Netlink, endpoint: &Endpoint) -> Result<()> {
    match host.link(&endpoint.host_interface)? {
        Some(link) if link.alias == endpoint.id => {
            let mut batch = Batch::new();
            batch.delete_link(link.index);
            host.run(batch)
        }
        _ => Ok(()),
    }
}
