//! Networks: made, listed, removed; entered by a container that is started, left when its run is over, joined and left by running
//! ones.
//!
//! The flow of a start: [`enter`] plans the endpoints, reserves their addresses and ports, writes the plan down,
//! and has it made (namespace, interfaces, routes, one firewall transaction, names). [`Networks::leave`] undoes it, in whatever state a kill
//! left it, and forgets the plan last. What a daemon finds written down at its start is claimed before anything else is given.
//!
//! All of it blocks and is called from the gate.

mod cluster;
mod config;
mod define;
mod descriptors;
mod enter;
mod gateway;
mod learn;
mod leave;
mod leaving;
mod links;
mod list;
mod live;
mod names;
pub(crate) mod options;
pub(crate) mod plan;
mod predefined;
mod records;
mod remove;
mod rules;

pub use config::{BridgeConfig, ClusterConfig, CniConfig, Firewall, NetworkConfig};
pub(crate) use descriptors::{hand_over, take_up};
pub(crate) use enter::{Entered, enter};
pub use gantry_network::netlink::Statistics as Traffic;
pub use list::{Attachment, ContainerNetworks, Member, NetworkView};
pub use live::Connect;

use crate::events::Event;
use gantry_core::network::{NetworkId, NetworkRecord, PublishedPort, Sandbox};
use gantry_core::{ContainerId, Error, ErrorKind, Result};
use gantry_network::Instance;
use gantry_network::driver::{Bridge, Cni, Driver, Host, Ipvlan, Macvlan, Null};
use gantry_network::firewall::{Wall, Watch};
use gantry_network::ipam::{AddressPool, Addresses};
use gantry_network::names::{Resolver, Zone};
use gantry_network::ports::{Allocator, Held, Reserved};
use gantry_store::Store;
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tracing::warn;

/// Every network of this daemon and every started container's place in them.
pub(crate) struct Networks {
    config: NetworkConfig,
    instance: Instance,
    store: Arc<Store>,
    /// Where namespaces are bound.
    dir: PathBuf,
    drivers: Vec<Box<dyn Driver>>,
    records: RwLock<BTreeMap<NetworkId, Arc<NetworkRecord>>>,
    addresses: Addresses,
    pools: Vec<AddressPool>,
    ports: Allocator,
    /// Made with the first network that has rules. Its watch ends with it.
    wall: Mutex<Option<(Arc<Wall>, Option<Watch>)>>,
    /// What each container has, behind its own lock: a slow one delays itself alone.
    slots: Mutex<HashMap<ContainerId, Arc<Mutex<Slot>>>>,
    /// The same for who only reads.
    shown: RwLock<HashMap<ContainerId, Arc<Sandbox>>>,
    zone: watch::Sender<Arc<Zone>>,
    /// One network is defined or removed at a time: names and subnets are checked against all others.
    defining: Mutex<()>,
    /// A network is made alone, and whole before anybody joins it; who joins does so beside others. One that is slow delays itself alone.
    making: Mutex<HashMap<NetworkId, Arc<RwLock<()>>>>,
    leaving: leaving::Leaving,
    /// `None` = no networks are shared with other hosts.
    cluster: Option<Arc<cluster::Membership>>,
    runtime: Handle,
}

/// What one started container holds here.
#[derive(Default)]
struct Slot {
    sandbox: Option<Sandbox>,
    resolver: Option<Resolver>,
    /// Ports of a plan that is not written down yet.
    held: Option<Reserved>,
    /// What holds the host's ports until a shim has them.
    sockets: Vec<Held>,
}

impl Networks {
    /// Reads what is written down and claims what it names. The kernel is looked at by [`Networks::bring_up`].
    pub fn open(
        config: NetworkConfig,
        store: Arc<Store>,
        exec_root: &std::path::Path,
        global_id: [u8; 5],
    ) -> Result<Self> {
        let instance = Instance::new(config.instance.clone());
        let dir = exec_root.join("netns");
        let linking = config.firewall.judges_bridged(&instance);
        let mut drivers: Vec<Box<dyn Driver>> = vec![
            Box::new(Bridge::new(instance.clone(), config.ip_forward).linking(linking)),
            Box::new(Macvlan::new(instance.clone())),
            Box::new(Ipvlan::new(instance.clone())),
            Box::new(Cni::new(
                config.cni.configurations.clone(),
                config.cni.plugins.clone(),
                dir.clone(),
                exec_root.join("cni"),
            )),
            Box::new(Host),
            Box::new(Null),
        ];
        let cluster = match &config.cluster {
            Some(settings) => Some(cluster::Membership::open(settings, &dir, hex::encode(global_id))?),
            None => None,
        };
        drivers.extend(
            cluster
                .iter()
                .map(|cluster| Box::new(cluster.driver()) as Box<dyn Driver>),
        );
        let mut pools = config.pools.clone();
        if pools.is_empty() {
            pools = gantry_network::ipam::docker_pools();
        }
        pools.push(gantry_network::ipam::unique_local(global_id));
        let networks = Self {
            dir,
            config,
            instance,
            drivers,
            records: RwLock::default(),
            addresses: Addresses::default(),
            pools,
            ports: Allocator::default(),
            wall: Mutex::default(),
            slots: Mutex::default(),
            shown: RwLock::default(),
            zone: watch::channel(Arc::default()).0,
            defining: Mutex::default(),
            making: Mutex::default(),
            leaving: leaving::Leaving::default(),
            cluster,
            runtime: Handle::current(),
            store,
        };
        for record in records::networks(&networks.store)? {
            networks.know(record);
        }
        for (id, sandbox) in records::sandboxes(&networks.store)? {
            networks.claim(&id, sandbox);
        }
        // Before anybody answers.
        networks.publish_all();
        Ok(networks)
    }

    fn know(&self, record: NetworkRecord) -> Arc<NetworkRecord> {
        let record = Arc::new(record);
        self.addresses.add(&record.id, &record.pools);
        self.records.write().insert(record.id.clone(), record.clone());
        record
    }

    /// What a former daemon gave to a container.
    fn claim(&self, id: &ContainerId, sandbox: Sandbox) {
        for endpoint in &sandbox.endpoints {
            for address in endpoint.addresses() {
                if let Err(error) = self.addresses.claim(&endpoint.network, address) {
                    warn!(container = %id, err = %error, "an address that was given before cannot be claimed");
                }
            }
        }
        if let Err(error) = self.ports.claim(&ports_of(&sandbox)) {
            warn!(container = %id, err = %error, "a port that was published before cannot be claimed");
        }
        // Whether it runs is still to be seen.
        self.leaving.begin(id);
        self.shown.write().insert(id.clone(), Arc::new(sandbox.clone()));
        self.slot(id).lock().sandbox = Some(sandbox);
    }

    /// Makes what networks have in the kernel, or mends it. A network that cannot be made is complained of, and made again when it
    /// is needed.
    pub fn bring_up(&self) {
        let _alone = self.defining.lock();
        // The default bridge of a daemon beside the plain one is made when somebody joins it.
        let wanted = |record: &Arc<NetworkRecord>| {
            record.name != "bridge" || self.config.instance.is_none() || self.is_used(&record.id)
        };
        let mut all = self.all();
        all.retain(wanted);
        for record in &all {
            let making = self.making(&record.id);
            let _alone = making.write();
            let made = self
                .driver(&record.driver)
                .and_then(|driver| Ok(driver.create(record)?));
            if let Err(error) = made {
                warn!(network = record.name, err = %error, "the network could not be made");
            }
        }
        self.sweep_overlays();
        self.publish_all();
        if !all.iter().any(|record| rules::of_network(record).is_some()) {
            self.clear_what_is_noted();
        } else if let Err(error) = self.wall() {
            warn!(err = %error, "the firewall could not be set up");
        }
    }

    /// At an orderly end: where nobody is left in any network, nothing of ours stays in the kernel.
    pub fn close(&self) {
        if let Some(cluster) = &self.cluster {
            cluster.close();
        }
        self.leaving.wait(leave::PATIENCE);
        let _alone = self.defining.lock();
        if !self.shown.read().is_empty() {
            return;
        }
        for record in self.records.read().values() {
            let gone = self
                .driver(&record.driver)
                .and_then(|driver| Ok(driver.remove(record)?));
            if let Err(error) = gone {
                warn!(network = record.name, err = %error, "the network's device stays");
            }
        }
        if let Some((wall, watch)) = self.wall.lock().take() {
            drop(watch);
            match wall.clear() {
                Ok(()) => self.forget_backend(),
                Err(error) => warn!(err = %error, "the firewall's rules stay"),
            }
        }
    }

    fn making(&self, id: &NetworkId) -> Arc<RwLock<()>> {
        self.making.lock().entry(id.clone()).or_default().clone()
    }

    fn driver(&self, name: &str) -> Result<&dyn Driver> {
        let found = self.drivers.iter().find(|driver| driver.name() == name);
        if found.is_none() && name == "overlay" {
            return Err(cluster::no_cluster());
        }
        found.map(|driver| &**driver).ok_or_else(|| {
            let known: Vec<&str> = self.drivers.iter().map(|driver| driver.name()).collect();
            Error::new(
                ErrorKind::NotFound,
                format!("unknown network driver \"{name}\"; known are {}", known.join(", ")),
            )
        })
    }

    /// By name; the one for networks of several hosts too, though it needs a cluster.
    pub(crate) fn driver_names(&self) -> Vec<String> {
        let names = self.drivers.iter().map(|driver| driver.name().to_owned());
        let all: BTreeSet<String> = names.chain(["overlay".to_owned()]).collect();
        all.into_iter().collect()
    }

    /// The network of this id, name, or unique id prefix.
    pub fn find(&self, text: &str) -> Result<Arc<NetworkRecord>> {
        let records = self.records.read();
        let exact = records.values().find(|record| record.id.as_str() == text);
        if let Some(record) = exact.or_else(|| records.values().find(|record| record.name == text)) {
            return Ok(record.clone());
        }
        let like: Vec<_> = records
            .values()
            .filter(|record| record.id.as_str().starts_with(text))
            .collect();
        match like.as_slice() {
            [one] if !text.is_empty() => Ok((*one).clone()),
            [] | [_] => Err(Error::not_found(format!("network {text} not found"))),
            several => {
                let ids: Vec<&str> = several.iter().map(|record| record.id.short()).collect();
                Err(Error::invalid(format!(
                    "network {text} is ambiguous ({} matches found based on ID prefix): {}",
                    several.len(),
                    ids.join(", ")
                )))
            }
        }
    }

    fn by_id(&self, id: &NetworkId) -> Result<Arc<NetworkRecord>> {
        let found = self.records.read().get(id).cloned();
        found.ok_or_else(|| Error::not_found(format!("network {id} not found")))
    }

    /// The container's run is over: nobody sees it in its networks from now on, and what it has there will soon be free.
    pub fn departing(&self, id: &ContainerId) {
        if self.slots.lock().contains_key(id) {
            self.leaving.begin(id);
            self.hide(id);
        }
    }

    /// A container that a former daemon left behind is there still.
    pub fn stays(&self, id: &ContainerId) {
        self.leaving.end(id);
    }

    fn slot(&self, id: &ContainerId) -> Arc<Mutex<Slot>> {
        self.slots.lock().entry(id.clone()).or_default().clone()
    }

    /// What a started container has; `None` for one that is not started or has no networks of its own.
    pub fn sandbox(&self, id: &ContainerId) -> Option<Arc<Sandbox>> {
        self.shown.read().get(id).cloned()
    }
}

impl crate::Engine {
    /// Runs network work where blocking is allowed, to its end, and tells what happened.
    async fn network_work<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&crate::context::Context) -> Result<(T, Vec<Event>)> + Send + 'static,
    {
        let context = self.context.clone();
        crate::finish(async move {
            let worker = context.clone();
            let (outcome, told) = crate::gate::blocking(move || work(&worker)).await?;
            context.bus.publish(told);
            Ok(outcome)
        })
        .await
    }
}

/// The host's ports that are kept for a sandbox.
fn ports_of(sandbox: &Sandbox) -> Vec<PublishedPort> {
    let published = sandbox.endpoints.iter().flat_map(|endpoint| &endpoint.ports);
    published.chain(&sandbox.idle).copied().collect()
}
