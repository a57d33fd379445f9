//! What tests of namespaces share: a namespace that stands for the host, sandboxes, and whether they reach each other.

use super::{Settings, enter, furnish, in_thread};
use crate::Error;
use gantry_core::network::{Endpoint, MacAddress, NetworkId, NetworkRecord, Pool, Scope};
use gantry_core::{ContainerId, Labels};
use nix::sched::{CloneFlags, unshare};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, SystemTime};

/// A namespace that nothing but this descriptor holds.
pub(crate) fn fresh() -> OwnedFd {
    in_thread(|| {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        furnish(&Settings::default())?;
        let own = format!("/proc/self/task/{}/ns/net", nix::unistd::gettid());
        Ok(File::open(own).unwrap().into())
    })
    .unwrap()
}

/// Runs a test in a namespace of its own, which stands for the host's.
pub(crate) fn alone(test: impl FnOnce() + Send) {
    within(&fresh(), test);
}

pub(crate) fn within<T: Send>(namespace: &OwnedFd, deed: impl FnOnce() -> T + Send) -> T {
    enter(namespace.as_fd(), || Ok(deed())).unwrap()
}

/// Whether a connection from one namespace to an address of another comes about.
pub(crate) fn reaches(from: &OwnedFd, to: &OwnedFd, address: IpAddr, patience: Duration) -> bool {
    let listener = within(to, || TcpListener::bind((address, 0))).unwrap();
    let port = listener.local_addr().unwrap().port();
    let deed = || match TcpStream::connect_timeout(&SocketAddr::new(address, port), patience) {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::HostUnreachable) => Ok(false),
        Err(source) => Err(Error::File {
            what: format!("connect to {address}"),
            source,
        }),
    };
    enter(from.as_fd(), deed).unwrap()
}

pub(crate) const LONG: Duration = Duration::from_secs(5);
pub(crate) const SHORT: Duration = Duration::from_millis(400);

/// The first address of a subnet that a host can have.
fn gateway(subnet: ipnet::IpNet) -> IpAddr {
    let first = subnet.hosts().find(|address| *address != subnet.network());
    first.unwrap()
}

pub(crate) fn network(driver: &str, digit: u8, subnets: &[&str], options: &[(&str, &str)]) -> NetworkRecord {
    let pools = subnets.iter().map(|subnet| Pool {
        subnet: subnet.parse().unwrap(),
        range: None,
        gateway: Some(gateway(subnet.parse().unwrap())),
        auxiliary: BTreeMap::new(),
    });
    NetworkRecord {
        id: NetworkId::from_random([digit; 32]),
        name: format!("net{digit}"),
        created_at: SystemTime::UNIX_EPOCH,
        driver: driver.to_owned(),
        scope: Scope::Local,
        pools: pools.collect(),
        ipam: Default::default(),
        ipv4: true,
        ipv6: false,
        internal: false,
        attachable: false,
        options: options
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        labels: Labels::default(),
        device: String::new(),
    }
}

/// The endpoint number `place` of a network, with the addresses of that place in its subnets.
pub(crate) fn endpoint(network: &NetworkRecord, place: u8) -> Endpoint {
    let net = |ipv4: bool| {
        let pool = network.pools.iter().find(|pool| pool.subnet.addr().is_ipv4() == ipv4)?;
        let address = pool.subnet.hosts().nth(usize::from(place))?;
        ipnet::IpNet::new(address, pool.subnet.prefix_len()).ok()
    };
    let id = format!("{place:02x}{}", "e".repeat(62));
    Endpoint {
        host_interface: Endpoint::veth_name(&id),
        id,
        network: network.id.clone(),
        sandbox: ContainerId::try_from("5".repeat(64)).unwrap(),
        interface: "eth0".to_owned(),
        mac: MacAddress([2, 0x42, 0, 0, 0, place]),
        ipv4: net(true),
        ipv6: net(false),
        gateway4: None,
        gateway6: None,
        settings: Default::default(),
        names: Vec::new(),
        ports: Vec::new(),
        dns: Default::default(),
    }
}
