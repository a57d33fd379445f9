//! Joining and leaving networks, in whatever state the container is.

use super::cluster::Claimed;
use super::enter::{asks_plugins, is_taken};
use super::gateway::{is_gateway, needs_gateway};
use super::plan::{self, Join, entry, is_wanted};
use super::{Networks, Slot, leave, names, records};
use crate::context::Context;
use crate::events::Event;
use crate::keeper::Keeper;
use crate::{Engine, failpoint, files};
use gantry_core::container::{ContainerRecord, NetworkMode};
use gantry_core::network::{Endpoint, EndpointSettings, NetworkRecord, Sandbox};
use gantry_core::{ContainerId, Error, ErrorKind, Labels, Result};
use gantry_network::netns;
use parking_lot::RwLockReadGuard;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

/// A container's wish to be in a network.
#[derive(Debug, Clone, Default)]
pub struct Connect {
    pub network: String,
    pub container: String,
    pub settings: EndpointSettings,
}

impl Engine {
    pub async fn connect_network(&self, wish: Connect) -> Result<()> {
        let keeper = self.find(&wish.container)?;
        self.network_work(move |context| {
            let network = context.networks.find(&wish.network)?;
            let told = context.networks.connect(context, &keeper, &network, &wish.settings)?;
            Ok(((), told))
        })
        .await
    }

    /// `force` takes a container out of a network whose record of it is all there is.
    pub async fn disconnect_network(&self, network: &str, container: &str, force: bool) -> Result<()> {
        let (network, container) = (network.to_owned(), container.to_owned());
        let keeper = match self.find(&container) {
            Ok(keeper) => keeper,
            // Nothing is left to be taken out of the way: endpoints never outlive their container here.
            Err(error) if force && error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        self.network_work(move |context| {
            let network = context.networks.find(&network)?;
            let told = context.networks.disconnect(context, &keeper, &network)?;
            Ok(((), told))
        })
        .await
    }
}

/// A plan, what is reserved for it, and what is held until it is written down.
type More<'a> = (Sandbox, Vec<Claimed>, Option<RwLockReadGuard<'a, ()>>);

impl Networks {
    fn connect(
        &self,
        context: &Context,
        keeper: &Keeper,
        network: &Arc<NetworkRecord>,
        settings: &EndpointSettings,
    ) -> Result<Vec<Event>> {
        // One that has just ended is in its networks until it is cleared, and yet does not run any more.
        self.leaving.wait_for(keeper.id(), leave::PATIENCE);
        let slot = self.slot(keeper.id());
        let mut slot = slot.lock();
        // From here on nobody else changes which networks it is to be in.
        let container = keeper.record();
        check_modes(&container, network)?;
        if has(&slot, network) && is_wanted(&container, network) {
            return Err(Error::new(
                ErrorKind::PermissionDenied,
                format!(
                    "endpoint with name {} already exists in network {}",
                    container.name, network.name
                ),
            ));
        }
        // One that does not run and is to be in it already is to be in it so from now on.
        let name = entry(&container, network)
            .map_or(&network.name, |(name, _)| name)
            .clone();
        let mut wanted = ContainerRecord::clone(&container);
        wanted.networks.insert(name.clone(), settings.clone());
        if slot.sandbox.is_some() {
            self.join_running(context, &wanted, network, &mut slot)?;
        }
        failpoint!("engine::network::connect::made");
        let extra = Labels::from([("container".to_owned(), container.id.to_string())]);
        let (_, told) = crate::records::change(context, keeper, |record| {
            record.networks.insert(name, settings.clone());
            Ok(vec![records::event(network, "connect", extra)])
        })?;
        Ok(told)
    }

    fn join_running(
        &self,
        context: &Context,
        container: &ContainerRecord,
        network: &Arc<NetworkRecord>,
        slot: &mut Slot,
    ) -> Result<()> {
        let Some(before) = slot.sandbox.clone() else {
            return Ok(());
        };
        let namespace = netns::open(Path::new(&before.key))?;
        let settings = entry(container, network).map(|(_, settings)| settings.clone());
        let mut joins = vec![Join {
            network: network.clone(),
            settings: settings.unwrap_or_default(),
        }];
        self.with_gateway(context, &mut joins, &before.endpoints)?;
        if asks_plugins(&joins) {
            self.leaving.wait(leave::PATIENCE);
        }
        let plan = || self.plan_more(container, &before, &joins);
        let (mut after, held, claiming) = match plan() {
            Err(error) if is_taken(&error) && self.leaving.wait(leave::PATIENCE) => plan()?,
            planned => planned?,
        };
        let new = after.endpoints[before.endpoints.len()..].to_vec();
        after.unsettled = true;
        self.place_ports(&mut after)?;
        records::put_sandbox(&self.store, &container.id, &after)?;
        for claimed in held {
            claimed.keep();
        }
        drop(claiming);
        failpoint!("engine::network::connect::recorded");
        let mut each = joins.iter().zip(&new);
        let made = each.try_for_each(|(join, endpoint)| self.join(&join.network, endpoint, namespace.as_fd()));
        failpoint!("engine::network::connect::joined");
        let learned = made.and_then(|()| match self.learn(&mut after)? {
            true => records::put_sandbox(&self.store, &container.id, &after),
            false => Ok(()),
        });
        if let Err(error) = learned.and_then(|()| self.settle(context, container, &after, slot, namespace.as_fd())) {
            self.undo_join(context, container, &before, &new, slot);
            return Err(error.context(format!("connect {} to network {}", container.name, network.name)));
        }
        Ok(())
    }

    /// What it will have, the endpoints that are new last.
    fn plan_more(&self, container: &ContainerRecord, before: &Sandbox, joins: &[Join]) -> Result<More<'_>> {
        let claiming = self.claiming(joins)?;
        let (mut held, mut after) = (Vec::new(), before.clone());
        for join in joins {
            let endpoint = self.endpoint(container, join, &after.endpoints, &mut held)?;
            after.endpoints.push(endpoint);
        }
        Ok((after, held, claiming))
    }

    fn undo_join(
        &self,
        context: &Context,
        container: &ContainerRecord,
        before: &Sandbox,
        new: &[Endpoint],
        slot: &mut Slot,
    ) {
        let namespace = netns::open(Path::new(&before.key)).ok();
        let before = Sandbox {
            unsettled: true,
            ..before.clone()
        };
        let undone = self
            .withdraw_ports(new, &before.opens)
            .and_then(|()| {
                let mut each = new.iter();
                each.try_for_each(|endpoint| self.part(endpoint, namespace.as_ref()))
            })
            .and_then(|()| records::put_sandbox(&self.store, &container.id, &before))
            .and_then(|()| match &namespace {
                Some(namespace) => self.settle(context, container, &before, slot, namespace.as_fd()),
                None => Ok(()),
            });
        match undone {
            Ok(()) => new.iter().for_each(|endpoint| self.give_back(endpoint)),
            Err(error) => {
                tracing::warn!(container = %container.id, err = %error, "what was made of a new endpoint is not gone altogether")
            }
        }
    }

    fn disconnect(&self, context: &Context, keeper: &Keeper, network: &Arc<NetworkRecord>) -> Result<Vec<Event>> {
        if network.driver == "host" {
            return Err(Error::new(
                ErrorKind::PermissionDenied,
                "container cannot be disconnected from host network - hostmode",
            ));
        }
        let slot = self.slot(keeper.id());
        let mut slot = slot.lock();
        let (wanted, told) = crate::records::change(context, keeper, |container| {
            let Some(name) = entry(container, network).map(|(name, _)| name.clone()) else {
                return Err(Error::new(
                    ErrorKind::PermissionDenied,
                    format!(
                        "container {} is not connected to network {}",
                        container.id, network.name
                    ),
                ));
            };
            container.networks.remove(&name);
            let extra = Labels::from([("container".to_owned(), container.id.to_string())]);
            Ok(vec![records::event(network, "disconnect", extra)])
        })?;
        failpoint!("engine::network::disconnect::recorded");
        self.part_unwanted(context, &wanted, &mut slot)?;
        Ok(told)
    }

    /// Takes a started container out of networks that it is not to be in. What a kill left half done is finished by the same.
    pub(super) fn part_unwanted(&self, context: &Context, container: &ContainerRecord, slot: &mut Slot) -> Result<()> {
        let Some(before) = slot.sandbox.clone() else {
            return Ok(());
        };
        let namespace = netns::open(Path::new(&before.key))?;
        let asked = |endpoint: &Endpoint| {
            let network = self.by_id(&endpoint.network).ok()?;
            is_wanted(container, &network).then_some(network)
        };
        let led_out = before
            .endpoints
            .iter()
            .filter_map(asked)
            .any(|network| needs_gateway(&network));
        let wanted = |endpoint: &Endpoint| {
            let gateway = || self.by_id(&endpoint.network).is_ok_and(|network| is_gateway(&network));
            asked(endpoint).is_some() || (led_out && gateway())
        };
        let (stay, go): (Vec<Endpoint>, Vec<Endpoint>) = before.endpoints.iter().cloned().partition(wanted);
        if go.is_empty() {
            return Ok(());
        }
        let mut after = Sandbox {
            endpoints: stay,
            unsettled: true,
            ..before.clone()
        };
        after.idle.extend(go.iter().flat_map(|endpoint| endpoint.ports.clone()));
        self.place_ports(&mut after)?;
        self.shown.write().insert(container.id.clone(), Arc::new(after.clone()));
        self.withdraw_ports(&go, &before.opens)?;
        for endpoint in &go {
            self.part(endpoint, Some(&namespace))?;
            failpoint!("engine::network::disconnect::parted");
        }
        records::put_sandbox(&self.store, &container.id, &after)?;
        failpoint!("engine::network::disconnect::forgotten");
        self.settle(context, container, &after, slot, namespace.as_fd())?;
        self.publish_names(&go);
        for endpoint in &go {
            self.give_back(endpoint);
        }
        Ok(())
    }

    /// Gives all its ports to the endpoint that publishes. Where none does, they stay reserved.
    fn place_ports(&self, after: &mut Sandbox) -> Result<()> {
        let mut ports = std::mem::take(&mut after.idle);
        for endpoint in &mut after.endpoints {
            ports.append(&mut endpoint.ports);
        }
        let networks = self.networks_of(&after.endpoints)?;
        match plan::publisher(&after.endpoints, &networks) {
            Some(index) => after.endpoints[index].ports = ports,
            None => after.idle = ports,
        }
        Ok(())
    }

    /// Makes routes, rules, names and files of a running sandbox those of its endpoints, and shows it. A record that was written
    /// before is written again in the end.
    pub(super) fn settle(
        &self,
        context: &Context,
        container: &ContainerRecord,
        sandbox: &Sandbox,
        slot: &mut Slot,
        namespace: std::os::fd::BorrowedFd<'_>,
    ) -> Result<()> {
        let networks = self.networks_of(&sandbox.endpoints)?;
        self.route(&sandbox.endpoints, &networks, namespace)?;
        self.keep(slot, &container.id, sandbox);
        self.publish_ports(sandbox)?;
        self.publish_names(&sandbox.endpoints);
        let texts = names::texts(self, context, container, Some(sandbox))?;
        self.serve_names(slot, &texts, container, &networks, namespace)?;
        files::rewrite(context, container, &texts)?;
        if sandbox.unsettled {
            let settled = Sandbox {
                unsettled: false,
                ..sandbox.clone()
            };
            records::put_sandbox(&self.store, &container.id, &settled)?;
            self.keep(slot, &container.id, &settled);
        }
        Ok(())
    }

    /// It is this from now on, for all to see.
    fn keep(&self, slot: &mut Slot, id: &ContainerId, sandbox: &Sandbox) {
        slot.sandbox = Some(sandbox.clone());
        self.shown.write().insert(id.clone(), Arc::new(sandbox.clone()));
    }

    pub(super) fn networks_of(&self, endpoints: &[Endpoint]) -> Result<Vec<Arc<NetworkRecord>>> {
        endpoints.iter().map(|endpoint| self.by_id(&endpoint.network)).collect()
    }

    /// That a container is in its networks from now on, or will not be any more.
    pub fn told(&self, id: &ContainerId, action: &str) -> Vec<Event> {
        let sandbox = self.sandbox(id);
        let endpoints = sandbox.iter().flat_map(|sandbox| &sandbox.endpoints);
        let networks = endpoints.filter_map(|endpoint| self.by_id(&endpoint.network).ok());
        let extra = || Labels::from([("container".to_owned(), id.to_string())]);
        networks
            .map(|network| records::event(&network, action, extra()))
            .collect()
    }

    /// A container has another name: its names in its networks follow.
    pub fn renamed(&self, keeper: &Keeper) -> Result<()> {
        let known = self.slots.lock().get(keeper.id()).cloned();
        let Some(slot) = known else { return Ok(()) };
        let mut slot = slot.lock();
        // What it is called by now, should it have been renamed twice.
        let container = &*keeper.record();
        let Some(mut sandbox) = slot.sandbox.clone() else {
            return Ok(());
        };
        for endpoint in &mut sandbox.endpoints {
            let network = self.by_id(&endpoint.network)?;
            endpoint.names = names::of(container, &network, &endpoint.settings);
        }
        records::put_sandbox(&self.store, &container.id, &sandbox)?;
        self.keep(&mut slot, &container.id, &sandbox);
        self.publish_names(&sandbox.endpoints);
        if let Some(cluster) = &self.cluster {
            cluster.changed();
        }
        Ok(())
    }
}

fn has(slot: &Slot, network: &NetworkRecord) -> bool {
    let sandbox = slot.sandbox.as_ref();
    sandbox.is_some_and(|sandbox| sandbox.endpoints.iter().any(|endpoint| endpoint.network == network.id))
}

fn check_modes(container: &ContainerRecord, network: &NetworkRecord) -> Result<()> {
    let refused = |why: &str| Err(Error::new(ErrorKind::PermissionDenied, why));
    match (&container.host.network_mode, network.driver.as_str()) {
        (NetworkMode::Container(_), _) => refused(
            "container sharing network namespace with another container or host cannot be connected to any other network",
        ),
        (NetworkMode::Host, _) => {
            refused("container cannot be connected to multiple networks with one of the networks in host mode")
        }
        (_, "host") => refused("container cannot be connected to host network"),
        (NetworkMode::None, _) | (_, "null") => refused(
            "container cannot be connected to multiple networks with one of the networks in private (none) mode",
        ),
        (NetworkMode::Bridge | NetworkMode::Network(_), _) => Ok(()),
    }
}
