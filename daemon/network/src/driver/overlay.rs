//! Overlay networks on one host: a segment ([`super::vxlan`]) in a namespace of its own for each network that somebody here is in. It
//! is made for the first endpoint and goes with the last.

use super::Driver;
use super::vxlan::{self, ENCRYPTED_PORT, PORT, Remote, SEAL, Segment, Table};
use crate::netlink::{Kind, Netlink, Vxlan};
use crate::{Error, Result, ipsec, netns};
use gantry_core::Error as Fault;
use gantry_core::network::{Endpoint, MacAddress, NetworkId, NetworkRecord, OverlayOptions, Scope};
use ipnet::IpNet;
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

/// Of the files that networks' namespaces are bound to.
const PREFIX: &str = "overlay-";

/// Where the MTU of the underlay is not known.
const ETHERNET: u32 = 1500;

/// The overlay driver of one host.
#[derive(Debug, Clone)]
pub struct Overlay(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    local: IpAddr,
    /// One deed at a time for each network.
    busy: Mutex<HashMap<NetworkId, Arc<Mutex<()>>>>,
}

impl Overlay {
    /// `dir`: where namespaces are bound; `local`: this host's address on the underlay.
    pub fn new(dir: PathBuf, local: IpAddr) -> Self {
        Self(Arc::new(Inner {
            dir,
            local,
            busy: Mutex::default(),
        }))
    }

    /// Makes the network's table on this host be what `remotes` answers. It is asked when nobody else is at it, so that the last to tell
    /// has the latest news. A network that nobody here is in has no table.
    pub fn tell(&self, network: &NetworkRecord, remotes: impl FnOnce() -> Vec<Remote>) -> Result<()> {
        let busy = self.busy(&network.id);
        let _alone = busy.lock();
        let Some(namespace) = self.find(network)? else {
            return Ok(());
        };
        let mut table = Table::open(vni(network)?, namespace.as_fd())?;
        let known: BTreeSet<Remote> = table.remotes()?.into_iter().collect();
        let wanted: BTreeSet<Remote> = remotes().into_iter().collect();
        let stale: Vec<Remote> = known.difference(&wanted).copied().collect();
        // Who shares a hardware address with one that goes is told again.
        let touched: BTreeSet<MacAddress> = stale.iter().map(|remote| remote.mac).collect();
        let fresh = |remote: &&Remote| !known.contains(remote) || touched.contains(&remote.mac);
        let fresh: Vec<Remote> = wanted.iter().filter(fresh).copied().collect();
        table.remove(&stale)?;
        table.add(&fresh)
    }

    /// Removes what there is of networks that are not among these.
    pub fn sweep(&self, known: &[NetworkId]) -> Result<()> {
        for path in netns::list(&self.0.dir)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let Some(short) = name.strip_prefix(PREFIX) else {
                continue;
            };
            if !known.iter().any(|id| id.short() == short) {
                netns::remove(&path)?;
            }
        }
        Ok(())
    }

    fn busy(&self, network: &NetworkId) -> Arc<Mutex<()>> {
        self.0.busy.lock().entry(network.clone()).or_default().clone()
    }

    fn path(&self, network: &NetworkRecord) -> PathBuf {
        self.0.dir.join(format!("{PREFIX}{}", network.id.short()))
    }

    fn find(&self, network: &NetworkRecord) -> Result<Option<OwnedFd>> {
        match netns::open(&self.path(network)) {
            Ok(namespace) => Ok(Some(namespace)),
            Err(Error::Namespace { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn segment(&self, network: &NetworkRecord) -> Result<Segment> {
        let options = OverlayOptions::read(&network.options)?;
        let gateways = network.pools.iter().filter_map(|pool| {
            let gateway = pool.gateway?;
            IpNet::new(gateway, pool.subnet.prefix_len()).ok()
        });
        Ok(Segment {
            vni: vni(network)?,
            port: if options.encrypted { ENCRYPTED_PORT } else { PORT },
            local: self.0.local,
            mtu: match options.link.mtu {
                0 => {
                    let seal = if options.encrypted { SEAL } else { 0 };
                    underlay(self.0.local)?.saturating_sub(vxlan::overhead(self.0.local) + seal)
                }
                mtu => mtu,
            },
            gateways: gateways.collect(),
        })
    }

    /// Takes the network away from this host if nobody here is in it.
    fn end(&self, network: &NetworkRecord) -> Result<()> {
        if let Some(namespace) = self.find(network)? {
            let links = Netlink::open_in(namespace.as_fd())?.links()?;
            if links.iter().any(|link| link.kind == "veth") {
                return Ok(());
            }
            vxlan::remove(vni(network)?, namespace.as_fd())?;
        }
        netns::remove(&self.path(network))
    }
}

/// The number that the cluster gave.
fn vni(network: &NetworkRecord) -> Result<u32> {
    let vni = OverlayOptions::read(&network.options)?.vni;
    vni.ok_or_else(|| Fault::internal(format!("overlay network {} has no VXLAN number", network.name)).into())
}

fn underlay(local: IpAddr) -> Result<u32> {
    let mut netlink = Netlink::open()?;
    let addresses = netlink.addresses()?;
    let Some(own) = addresses.iter().find(|address| address.net.addr() == local) else {
        return Ok(ETHERNET);
    };
    let mtu = netlink.link(own.index)?.map_or(ETHERNET, |link| link.mtu);
    // A loopback's is no cable's.
    Ok(if mtu > 0 { mtu.min(65_535) } else { ETHERNET })
}

impl Driver for Overlay {
    fn name(&self) -> &str {
        "overlay"
    }

    fn scope(&self) -> Scope {
        Scope::Global
    }

    fn check(&self, network: &mut NetworkRecord, _: &[NetworkRecord]) -> Result<()> {
        if OverlayOptions::read(&network.options)?.encrypted {
            ipsec::check()?;
        }
        if network.pools.is_empty() {
            return Err(Fault::invalid("an overlay network needs a subnet").into());
        }
        if Netlink::open()?.has_kind(&Kind::Vxlan(Vxlan {
            vni: 1,
            port: PORT,
            local: None,
        }))? {
            return Ok(());
        }
        Err(Error::Unsupported("the kernel has no vxlan devices".to_owned()))
    }

    /// Mends what is there; the first endpoint makes it.
    fn create(&self, network: &NetworkRecord) -> Result<()> {
        let busy = self.busy(&network.id);
        let _alone = busy.lock();
        self.end(network)?;
        match self.find(network)? {
            Some(namespace) => vxlan::create(&self.segment(network)?, namespace.as_fd()),
            None => Ok(()),
        }
    }

    fn remove(&self, network: &NetworkRecord) -> Result<()> {
        let busy = self.busy(&network.id);
        {
            let _alone = busy.lock();
            self.end(network)?;
        }
        self.0.busy.lock().remove(&network.id);
        Ok(())
    }

    fn join(&self, network: &NetworkRecord, endpoint: &Endpoint, sandbox: BorrowedFd<'_>) -> Result<()> {
        let busy = self.busy(&network.id);
        let _alone = busy.lock();
        let segment = self.segment(network)?;
        std::fs::create_dir_all(&self.0.dir).map_err(|source| Error::File {
            what: format!("make {}", self.0.dir.display()),
            source,
        })?;
        let namespace = netns::make(&self.path(network), &netns::Settings::default())?;
        let made = vxlan::create(&segment, namespace.as_fd())
            .and_then(|()| vxlan::join(&segment, endpoint, namespace.as_fd(), sandbox));
        drop(namespace);
        made.inspect_err(|_| {
            if let Err(error) = self.end(network) {
                tracing::warn!(network = network.name, err = %error, "what was made of an overlay network stays");
            }
        })
    }

    fn leave(&self, network: &NetworkRecord, endpoint: &Endpoint, _: Option<BorrowedFd<'_>>) -> Result<()> {
        let busy = self.busy(&network.id);
        let _alone = busy.lock();
        if let Some(namespace) = self.find(network)? {
            vxlan::leave(endpoint, namespace.as_fd())?;
        }
        self.end(network)
    }
}

#[cfg(test)]
mod tests;
