//! Networks that several hosts share: what the cluster store says of them, and what this host says there.
//!
//! The records here are a copy of the store's, so that containers go on, and the daemon starts, without it. What is taken there (addresses)
//! is taken before it is written down here, and given back after it was forgotten here; whatever a kill or an absence left between
//! the two is made right by [`Membership::make_true`], which says there what is written down here.

mod claim;
mod encryption;
mod follow;

pub(super) use claim::Claimed;

use super::{ClusterConfig, Networks, records};
use crate::failpoint;
use gantry_core::network::{Endpoint, NetworkId, NetworkRecord, NewNetwork, OverlayOptions, Scope, option};
use gantry_core::{Error, ErrorKind, Result};
use gantry_network::driver::Overlay;
use gantry_network::driver::vxlan::Remote;
use gantry_network::netlink::Netlink;
use gantry_network::overlay::{Cluster, ClusterEndpoint, ClusterNetwork, Settings};
use gantry_store::Store;
use ipnet::IpNet;
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use std::future::Future;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tracing::{debug, warn};

/// For one thing asked of the cluster, however many members are tried.
const PATIENCE: Duration = Duration::from_secs(10);
/// For all that this host has to say.
const WHOLE: Duration = Duration::from_secs(60);

/// This host among those that share networks.
pub(super) struct Membership {
    cluster: Cluster,
    driver: Overlay,
    host: String,
    vtep: IpAddr,
    /// Held from an address's claim until it is written down; wholly while what is claimed is compared with what is written.
    claiming: RwLock<()>,
    /// Something could not be said.
    unsaid: Notify,
    guard: encryption::Guarded,
    runtime: Handle,
    tasks: Mutex<Vec<AbortHandle>>,
}

impl Membership {
    /// Begins to follow; the store may be away. `dir`: where namespaces are bound; `host`: what tells this host from others.
    pub fn open(config: &ClusterConfig, dir: &Path, host: String) -> Result<Arc<Self>> {
        let runtime = Handle::current();
        let vtep = advertised(&config.advertise)?;
        let settings = Settings {
            endpoints: config.endpoints.clone(),
            user: config.user.clone(),
            tls: config.tls.clone(),
            host: host.clone(),
            vtep,
            lease: config.lease,
        };
        Ok(Arc::new(Self {
            cluster: Cluster::connect(settings, &runtime)?,
            driver: Overlay::new(dir.to_owned(), vtep),
            host,
            vtep,
            claiming: RwLock::new(()),
            unsaid: Notify::new(),
            guard: encryption::Guarded::new(vtep),
            runtime,
            tasks: Mutex::default(),
        }))
    }

    pub fn driver(&self) -> Overlay {
        self.driver.clone()
    }

    /// Ends what goes on beside the daemon's requests.
    pub fn close(&self) {
        for task in self.tasks.lock().drain(..) {
            task.abort();
        }
    }

    /// Waits on a thread that may block.
    fn wait<T>(&self, limit: Duration, work: impl Future<Output = gantry_network::Result<T>>) -> Result<T> {
        let done = self.runtime.block_on(async { timeout(limit, work).await });
        match done {
            Ok(done) => Ok(done?),
            Err(_) => {
                let text = format!("the cluster store does not answer within {} s", limit.as_secs());
                Err(Error::new(ErrorKind::Unavailable, text))
            }
        }
    }

    /// To be held by whoever claims addresses until they are written down.
    pub fn claiming(&self) -> Result<RwLockReadGuard<'_, ()>> {
        let held = self.claiming.try_read_for(WHOLE);
        held.ok_or_else(|| {
            Error::new(
                ErrorKind::Unavailable,
                "the cluster store is being caught up with; try again",
            )
        })
    }

    /// Makes a network known to all hosts. `draft` is shown those that there are.
    fn define(&self, draft: impl Fn(&[NetworkRecord]) -> Result<NetworkRecord>) -> Result<NetworkRecord> {
        let encrypted = std::cell::Cell::new(false);
        let make = |there: &[ClusterNetwork]| {
            let others: Vec<NetworkRecord> = there.iter().map(|network| network.record.clone()).collect();
            let record = draft(&others)?;
            let options = OverlayOptions::read(&record.options)?;
            encrypted.set(options.encrypted);
            Ok((record, options.vni))
        };
        let made = self.wait(PATIENCE, self.cluster.create_network(make))?;
        failpoint!("engine::overlay::created");
        if encrypted.get() {
            self.turn()?;
        }
        // What is heard of afterwards is later than this.
        self.runtime
            .block_on(self.cluster.heard_of(&made.record.id, true, PATIENCE));
        Ok(adopted(&made))
    }

    /// Takes a network away from all hosts, if nobody anywhere is in it.
    pub fn remove(&self, network: &NetworkRecord) -> Result<()> {
        self.wait(PATIENCE, self.cluster.delete_network(&network.id))
            .map_err(|error| error.context(format!("error while removing network {}", network.name)))?;
        failpoint!("engine::overlay::removed");
        self.runtime
            .block_on(self.cluster.heard_of(&network.id, false, PATIENCE));
        Ok(())
    }

    /// Tells the other hosts of an endpoint, and this one of theirs. What the store does not hear now it is told when it returns.
    pub fn announce(&self, network: &NetworkRecord, endpoint: &Endpoint) -> Result<()> {
        self.tell(network)?;
        let published = self.published(endpoint);
        if let Err(error) = self.say(|| self.cluster.publish(&published)) {
            warn!(network = network.name, endpoint = endpoint.id, err = %error, "other hosts do not know of the endpoint yet");
        }
        failpoint!("engine::overlay::announced");
        Ok(())
    }

    pub fn withdraw(&self, endpoint: &Endpoint) {
        let said = self.say(|| self.cluster.withdraw(&endpoint.network, &endpoint.id));
        if let Err(error) = said {
            debug!(endpoint = endpoint.id, err = %error, "other hosts are told later that the endpoint is gone");
        }
        failpoint!("engine::overlay::withdrawn");
    }

    /// Takes back all that was said of an endpoint that is not written down any more.
    pub fn release(&self, endpoint: &Endpoint) {
        // An account of the whole that is being given may still name it: this comes after.
        let _after = self.claiming.read();
        self.withdraw(endpoint);
        for address in endpoint.addresses() {
            let said = self.say(|| self.cluster.release(&endpoint.network, address, &endpoint.id));
            if let Err(error) = said {
                debug!(endpoint = endpoint.id, %address, err = %error, "the address is given back later");
            }
        }
    }

    /// Says something that is said later if it cannot be said now.
    fn say<T, F>(&self, deed: impl FnOnce() -> F) -> Result<T>
    where
        F: Future<Output = gantry_network::Result<T>>,
    {
        let connected = *self.cluster.connection().borrow();
        let said = match connected {
            true => self.wait(PATIENCE, deed()),
            // Nobody waits for what is known to be away.
            false => Err(Error::new(ErrorKind::Unavailable, "the cluster store is away")),
        };
        if said.is_err() {
            self.unsaid.notify_one();
        }
        said
    }

    /// Something of ours is not as the store has it.
    pub fn changed(&self) {
        self.unsaid.notify_one();
    }

    /// Makes the kernel know where the endpoints of other hosts are.
    pub fn tell(&self, network: &NetworkRecord) -> Result<()> {
        let remotes = || {
            let others = self.others(&network.id).into_iter();
            let each = others.flat_map(|endpoint| {
                let (mac, host) = (endpoint.mac, endpoint.vtep);
                let addresses = endpoint.addresses.into_iter();
                addresses.map(move |address| Remote { address, mac, host })
            });
            each.collect()
        };
        Ok(self.driver.tell(network, remotes)?)
    }

    /// The endpoints that other hosts have in a network.
    pub fn others(&self, network: &NetworkId) -> Vec<ClusterEndpoint> {
        let Some(state) = self.cluster.state() else {
            return Vec::new();
        };
        let others = state
            .endpoints_of(network)
            .filter(|endpoint| endpoint.host != self.host);
        others.cloned().collect()
    }

    fn published(&self, endpoint: &Endpoint) -> ClusterEndpoint {
        ClusterEndpoint {
            id: endpoint.id.clone(),
            network: endpoint.network.clone(),
            host: self.host.clone(),
            vtep: self.vtep,
            word: self.guard.word().to_owned(),
            mac: endpoint.mac,
            addresses: endpoint.addresses().collect(),
            names: endpoint.names.clone(),
        }
    }

    /// Makes the store say of this host what is written down here.
    fn make_true(&self, store: &Store, shared: impl Fn(&NetworkId) -> bool) -> Result<()> {
        let _alone = self.claiming.write();
        let written = records::sandboxes(store)?;
        let endpoints = written.iter().flat_map(|(_, sandbox)| &sandbox.endpoints);
        let mine: Vec<ClusterEndpoint> = endpoints
            .filter(|endpoint| shared(&endpoint.network))
            .map(|endpoint| self.published(endpoint))
            .collect();
        for (endpoint, address) in self.wait(WHOLE, self.cluster.reconcile(&mine))? {
            warn!(
                endpoint,
                %address,
                "another host has the address of a container of ours by now: start the container again to give it another"
            );
        }
        Ok(())
    }
}

/// A network of the cluster's as it is kept here.
fn adopted(network: &ClusterNetwork) -> NetworkRecord {
    let mut record = network.record.clone();
    record
        .options
        .insert(option::VXLAN_IDS.to_owned(), network.vni.to_string());
    record
}

/// The address that other hosts send to.
fn advertised(text: &str) -> Result<IpAddr> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let mut netlink = Netlink::open()?;
    let link = netlink.link(text)?.ok_or_else(|| {
        Error::invalid(format!(
            "cluster-advertise: \"{text}\" is neither an address nor an interface of this host"
        ))
    })?;
    let addresses = netlink.addresses()?;
    let mut global: Vec<IpAddr> = addresses
        .iter()
        .filter(|address| address.index == link.index && address.global)
        .map(|address| address.net.addr())
        .collect();
    global.sort_by_key(IpAddr::is_ipv6);
    let first = global.first().copied();
    first.ok_or_else(|| Error::precondition(format!("cluster-advertise: interface {text} has no address")))
}

impl Networks {
    /// The membership that a network of several hosts needs; `None` for a network of this host alone.
    pub(super) fn shared(&self, network: &NetworkRecord) -> Result<Option<&Arc<Membership>>> {
        match network.scope {
            Scope::Local => Ok(None),
            Scope::Global => self.cluster.as_ref().map(Some).ok_or_else(no_cluster),
        }
    }

    /// Takes away what a former daemon left of networks that are no more.
    pub(super) fn sweep_overlays(&self) {
        let Some(cluster) = &self.cluster else { return };
        let known: Vec<NetworkId> = self.records.read().keys().cloned().collect();
        if let Err(error) = cluster.driver.sweep(&known) {
            warn!(err = %error, "what is left of former overlay networks stays");
        }
    }

    /// Defines a network on all hosts.
    pub(super) fn define_shared(&self, new: &NewNetwork) -> Result<NetworkRecord> {
        let cluster = self.cluster.as_ref().ok_or_else(no_cluster)?;
        cluster.define(|there| self.draft_among(new, there))
    }
}

pub(super) fn no_cluster() -> Error {
    Error::precondition(
        "overlay networks need a cluster store: start the daemon with --cluster-store and --cluster-advertise",
    )
}

/// Where subnets of shared networks come from, unless they are given: away from what hosts choose for their own.
pub(super) fn pool() -> gantry_network::ipam::AddressPool {
    let base: IpNet = "10.0.0.0/8".parse().expect("a subnet");
    gantry_network::ipam::AddressPool::new(base, 24).expect("a /24 fits a /8")
}
