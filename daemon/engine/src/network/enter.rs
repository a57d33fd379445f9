//! A container's way into its networks: planned, reserved, written down, made.

use super::cluster::Claimed;
use super::plan::{self, Join};
use super::{Networks, Slot, leave, links, names, records};
use crate::context::Context;
use crate::failpoint;
use crate::files::Texts;
use crate::gate::{UnderWay, held};
use gantry_core::container::{ContainerRecord, NetworkMode};
use gantry_core::network::{Endpoint, MacAddress, NetworkRecord, Opening, Sandbox};
use gantry_core::spec::Network;
use gantry_core::{ContainerId, Error, ErrorKind, Result};
use gantry_network::driver::Driver;
use gantry_network::ipam;
use gantry_network::netns::{self, DefaultRoute};
use gantry_network::ports::{Reserved, for_endpoint};
use ipnet::IpNet;
use parking_lot::RwLockReadGuard;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use tracing::warn;

/// What a container is started with.
pub(crate) struct Entered {
    pub network: Network,
    pub texts: Texts,
}

/// Endpoints that are not written down yet.
struct Planned<'a> {
    endpoints: Vec<Endpoint>,
    opens: Vec<Opening>,
    networks: Vec<Arc<NetworkRecord>>,
    held: Vec<Claimed>,
    /// Until what was claimed of the cluster is written down.
    claiming: Option<RwLockReadGuard<'a, ()>>,
}

/// Whether somebody who is on the way out may have what is wanted.
pub(super) fn is_taken(error: &Error) -> bool {
    use ErrorKind::{AlreadyExists, Conflict, FailedPrecondition, PermissionDenied, ResourceExhausted, Unavailable};
    matches!(
        error.kind(),
        AlreadyExists | Conflict | FailedPrecondition | PermissionDenied | ResourceExhausted | Unavailable
    )
}

/// Takes a container that is to be started into its networks. Who is on the way out may have what it needs, and is waited for then.
pub(crate) async fn enter(
    context: &Arc<Context>,
    container: &Arc<ContainerRecord>,
    under_way: &UnderWay,
) -> Result<Entered> {
    let leaving = &context.networks.leaving;
    let try_to = || {
        let (context, container) = (context.clone(), container.clone());
        held(under_way, move || context.networks.enter(&context, &container))
    };
    if !has_own(container) {
        return try_to().await;
    }
    if context.networks.asks_plugins(container) {
        leaving.gone(leave::PATIENCE).await;
    }
    match try_to().await {
        Err(error) if is_taken(&error) && leaving.gone(leave::PATIENCE).await => try_to().await,
        entered => entered,
    }
}

/// Whether it needs anything that others may have.
fn has_own(container: &ContainerRecord) -> bool {
    match container.host.network_mode {
        NetworkMode::Bridge | NetworkMode::Network(_) => true,
        NetworkMode::None | NetworkMode::Host | NetworkMode::Container(_) => false,
    }
}

impl Networks {
    /// Makes the container's sandbox with all its endpoints, or nothing.
    fn enter(&self, context: &Context, container: &ContainerRecord) -> Result<Entered> {
        let network = match &container.host.network_mode {
            NetworkMode::Host => Network::Host,
            NetworkMode::Container(other) => Network::Path(self.joined(context, other)?),
            // With no network it is a namespace with a loopback.
            NetworkMode::None | NetworkMode::Bridge | NetworkMode::Network(_) => {
                let slot = self.slot(&container.id);
                let mut slot = slot.lock();
                // It may have been connected to another one on its way here.
                let now = context.registry.get(&container.id).map(|keeper| keeper.record());
                let container = now.as_deref().unwrap_or(container);
                let entered = self.enter_own(context, container, &mut slot);
                drop(slot);
                if entered.is_ok() {
                    self.tell_linkers(context, container);
                }
                return entered.map_err(|error| error.context("failed to set up container networking"));
            }
        };
        let texts = names::texts(self, context, container, None)?;
        Ok(Entered { network, texts })
    }

    fn enter_own(&self, context: &Context, container: &ContainerRecord, slot: &mut Slot) -> Result<Entered> {
        // Whatever a former run left.
        self.clear(&container.id, slot)?;
        let mut joins = plan::joins(container, |name| self.find(name))?;
        self.with_gateway(context, &mut joins, &[])?;
        let opens = links::openings(self, context, container)?;
        let planned = self.plan(container, &joins, slot)?;
        self.carry_out(context, container, slot, Planned { opens, ..planned })
    }

    /// Plugins keep books of their own: whoever leaves has given back to them before others ask.
    fn asks_plugins(&self, container: &ContainerRecord) -> bool {
        let joins = plan::joins(container, |name| self.find(name));
        joins.is_ok_and(|joins| asks_plugins(&joins))
    }

    /// Endpoints with all that they need, reserved.
    fn plan(&self, container: &ContainerRecord, joins: &[Join], slot: &mut Slot) -> Result<Planned<'_>> {
        let claiming = self.claiming(joins)?;
        let mut endpoints = Vec::with_capacity(joins.len());
        let mut held = Vec::new();
        for join in joins {
            let endpoint = self.endpoint(container, join, &endpoints, &mut held)?;
            endpoints.push(endpoint);
        }
        let networks: Vec<Arc<NetworkRecord>> = joins.iter().map(|join| join.network.clone()).collect();
        self.reserve_ports(container, &mut endpoints, &networks, slot)?;
        Ok(Planned {
            endpoints,
            opens: Vec::new(),
            networks,
            held,
            claiming,
        })
    }

    /// To be held while addresses are claimed of the cluster and until they are written down.
    pub(super) fn claiming(&self, joins: &[Join]) -> Result<Option<RwLockReadGuard<'_, ()>>> {
        for join in joins {
            if let Some(cluster) = self.shared(&join.network)? {
                return cluster.claiming().map(Some);
            }
        }
        Ok(None)
    }

    fn carry_out(
        &self,
        context: &Context,
        container: &ContainerRecord,
        slot: &mut Slot,
        planned: Planned<'_>,
    ) -> Result<Entered> {
        let Planned {
            endpoints,
            opens,
            networks,
            held,
            claiming,
        } = planned;
        failpoint!("engine::network::enter::reserved");
        let key = self.dir.join(container.id.short());
        let sandbox = Sandbox {
            key: key.to_string_lossy().into_owned(),
            endpoints,
            opens,
            ..Sandbox::default()
        };
        records::put_sandbox(&self.store, &container.id, &sandbox)?;
        for claimed in held {
            claimed.keep();
        }
        drop(claiming);
        slot.sockets = slot.held.take().map(Reserved::keep).unwrap_or_default();
        slot.sandbox = Some(sandbox.clone());
        self.shown.write().insert(container.id.clone(), Arc::new(sandbox));
        failpoint!("engine::network::enter::recorded");
        // Whoever removes a network looks for who is shown in it, and we for what is removed: one sees the other.
        let there = networks
            .iter()
            .try_for_each(|network| self.by_id(&network.id).map(drop));
        let made = there.and_then(|()| self.realise(context, container, slot, &networks));
        made.inspect_err(|_| {
            if let Err(error) = self.clear(&container.id, slot) {
                warn!(container = %container.id, err = %error, "what was made of its networks is not gone altogether");
            }
        })
    }

    /// The plan of one endpoint, its addresses reserved.
    pub(super) fn endpoint(
        &self,
        container: &ContainerRecord,
        join: &Join,
        others: &[Endpoint],
        held: &mut Vec<Claimed>,
    ) -> Result<Endpoint> {
        let (network, settings) = (&join.network, &join.settings);
        ipam::check_static(&network.pools, network.ipam.configured, settings)?;
        let id = hex::encode(rand::random::<[u8; 32]>());
        let (mut ipv4, mut ipv6) = (None, None);
        for (v4, wanted, given) in [
            (true, settings.ipv4.map(IpAddr::V4), &mut ipv4),
            (false, settings.ipv6.map(IpAddr::V6), &mut ipv6),
        ] {
            *given = self.address(network, &id, v4, wanted, held)?;
        }
        let (gateway4, gateway6) = plan::gateways(network);
        let wanted = settings
            .mac
            .or(container.host.mac_address.filter(|_| others.is_empty()));
        Ok(Endpoint {
            network: network.id.clone(),
            sandbox: container.id.clone(),
            interface: plan::interface(network, settings, others)?,
            host_interface: match network.driver.as_str() {
                "bridge" | "overlay" => Endpoint::veth_name(&id),
                _ => String::new(),
            },
            mac: mac(wanted, ipv4)?,
            gateway4: gateway4.filter(|_| ipv4.is_some()),
            gateway6: gateway6.filter(|_| ipv6.is_some()),
            ipv4,
            ipv6,
            settings: settings.clone(),
            names: names::of(container, network, settings),
            ports: Vec::new(),
            dns: Default::default(),
            id,
        })
    }

    /// One address of a family, from the first of the network's pools that has one left, or the one that is wanted.
    fn address(
        &self,
        network: &NetworkRecord,
        endpoint: &str,
        v4: bool,
        wanted: Option<IpAddr>,
        held: &mut Vec<Claimed>,
    ) -> Result<Option<IpNet>> {
        let of_family = |(_, pool): &(usize, &gantry_core::network::Pool)| pool.subnet.addr().is_ipv4() == v4;
        let pools = network.pools.iter().enumerate().filter(of_family);
        let pools = pools.filter(|(_, pool)| wanted.is_none_or(|address| pool.subnet.contains(&address)));
        let mut refused = None;
        for (index, _) in pools {
            let claimed = match self.shared(network)? {
                Some(cluster) => cluster.claim(network, index, wanted, endpoint),
                None => self
                    .addresses
                    .reserve(&network.id, index, wanted)
                    .map(Claimed::Here)
                    .map_err(Error::from),
            };
            match claimed {
                Ok(claimed) => {
                    let given = claimed.with_length();
                    held.push(claimed);
                    return Ok(Some(given));
                }
                Err(error) => refused = Some(error),
            }
        }
        match refused {
            Some(error) => Err(error.context(format!("network {}", network.name))),
            None => Ok(None),
        }
    }

    /// Takes the host's ports and gives them to the endpoint that publishes.
    fn reserve_ports(
        &self,
        container: &ContainerRecord,
        endpoints: &mut [Endpoint],
        networks: &[Arc<NetworkRecord>],
        slot: &mut Slot,
    ) -> Result<()> {
        let bindings = plan::bindings(container)?;
        if bindings.is_empty() {
            return Ok(());
        }
        let Some(index) = plan::publisher(endpoints, networks) else {
            warn!(container = %container.id, "nothing is published: none of its networks is a bridge that leads out");
            return Ok(());
        };
        let default = match networks[index].driver.as_str() {
            "bridge" => gantry_core::network::BridgeOptions::read(&networks[index].options)?.binding,
            _ => None,
        };
        let default = default.filter(|address| !address.is_unspecified());
        let endpoint = &mut endpoints[index];
        plan::check_families(&bindings, default, endpoint, &networks[index].name)?;
        let reserved = self.ports.reserve(&bindings, default);
        let reserved = reserved.map_err(|error| for_endpoint(&container.name, &endpoint.id, error))?;
        endpoint.ports = reserved.published();
        slot.held = Some(reserved);
        Ok(())
    }

    fn realise(
        &self,
        context: &Context,
        container: &ContainerRecord,
        slot: &mut Slot,
        networks: &[Arc<NetworkRecord>],
    ) -> Result<Entered> {
        let Some(mut sandbox) = slot.sandbox.clone() else {
            return Err(Error::internal("a sandbox that was not planned cannot be made"));
        };
        std::fs::create_dir_all(&self.dir)
            .map_err(|error| Error::internal(format!("make {}: {error}", self.dir.display())))?;
        let key = std::path::PathBuf::from(&sandbox.key);
        let namespace = netns::make(&key, &netns::Settings::default())?;
        failpoint!("engine::network::enter::netns");
        for (endpoint, network) in sandbox.endpoints.iter().zip(networks) {
            self.join(network, endpoint, namespace.as_fd())?;
            failpoint!("engine::network::enter::joined");
        }
        if self.learn(&mut sandbox)? {
            records::put_sandbox(&self.store, &container.id, &sandbox)?;
            slot.sandbox = Some(sandbox.clone());
            self.shown
                .write()
                .insert(container.id.clone(), Arc::new(sandbox.clone()));
        }
        self.route(&sandbox.endpoints, networks, namespace.as_fd())?;
        self.publish_ports(&sandbox)?;
        failpoint!("engine::network::enter::published");
        self.publish_names(&sandbox.endpoints);
        let texts = names::texts(self, context, container, Some(&sandbox))?;
        self.serve_names(slot, &texts, container, networks, namespace.as_fd())?;
        Ok(Entered {
            network: Network::Path(key),
            texts,
        })
    }

    /// Makes the endpoint, and its network first if somebody removed it.
    pub(super) fn join(&self, network: &NetworkRecord, endpoint: &Endpoint, namespace: BorrowedFd<'_>) -> Result<()> {
        let driver: &dyn Driver = self.driver(&network.driver)?;
        if network.driver == "overlay" {
            // Before anything can be sent.
            self.encrypt(Some(network))?;
        }
        let making = self.making(&network.id);
        let plug = || -> Result<()> {
            // Plugins make what they need themselves, and may take minutes.
            let _whole = (network.driver != "cni").then(|| making.read());
            Ok(driver.join(network, endpoint, namespace)?)
        };
        match plug() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.make(network)?;
                plug()?;
            }
            other => other?,
        }
        self.furnish(endpoint, namespace)?;
        match self.shared(network)? {
            Some(cluster) => cluster.announce(network, endpoint),
            None => Ok(()),
        }
    }

    /// Sets the default routes of a sandbox.
    pub(super) fn route(
        &self,
        endpoints: &[Endpoint],
        networks: &[Arc<NetworkRecord>],
        namespace: BorrowedFd<'_>,
    ) -> Result<()> {
        let (v4, v6) = plan::default_routes(endpoints, networks);
        let v4 = v4.map(|index| DefaultRoute {
            interface: endpoints[index].interface.as_str(),
            gateway: endpoints[index].gateway4,
        });
        let v6 = v6.map(|index| DefaultRoute {
            interface: endpoints[index].interface.as_str(),
            gateway: endpoints[index].gateway6,
        });
        Ok(netns::set_default_routes(namespace, v4, v6)?)
    }

    /// The namespace of another container that runs.
    fn joined(&self, context: &Context, other: &str) -> Result<std::path::PathBuf> {
        let keeper = context.registry.find(other)?;
        let pid = keeper.pid().ok_or_else(|| {
            Error::conflict(format!(
                "cannot join network of a non running container: {}",
                keeper.id()
            ))
        })?;
        Ok(match self.sandbox(keeper.id()) {
            Some(sandbox) => sandbox.key.clone().into(),
            None => format!("/proc/{pid}/ns/net").into(),
        })
    }

    /// The sandbox of a container that joins another's.
    pub(super) fn shared_with(&self, context: &Context, other: &str) -> Option<ContainerId> {
        context.registry.find(other).ok().map(|keeper| keeper.id().clone())
    }
}

pub(super) fn asks_plugins(joins: &[Join]) -> bool {
    joins.iter().any(|join| join.network.driver == "cni")
}

fn mac(wanted: Option<MacAddress>, ipv4: Option<IpNet>) -> Result<MacAddress> {
    let address = ipv4.and_then(|net| match net.addr() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    });
    Ok(ipam::mac(wanted, address)?)
}
