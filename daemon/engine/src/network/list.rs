//! What networks there are and who is in them.

use super::plan;
use super::{Networks, Traffic};
use crate::Engine;
use crate::filters::Filters;
use gantry_core::container::ContainerRecord;
use gantry_core::lifecycle::State;
use gantry_core::network::{Endpoint, EndpointSettings, NetworkRecord, PREDEFINED, Port, PublishedPort, Sandbox};
use gantry_core::{ContainerId, Error, Result};
use gantry_network::netns;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

const KNOWN: &[&str] = &["dangling", "driver", "id", "label", "name", "scope", "type"];

/// A network and its endpoints.
#[derive(Debug, Clone)]
pub struct NetworkView {
    pub record: Arc<NetworkRecord>,
    pub members: Vec<Member>,
}

#[derive(Debug, Clone)]
pub struct Member {
    pub container: ContainerId,
    pub name: String,
    pub endpoint: Endpoint,
}

impl Engine {
    /// Sorted by name.
    pub fn networks(&self, filters: &Filters) -> Result<Vec<NetworkView>> {
        filters.check(KNOWN)?;
        let dangling = filters.flag("dangling")?;
        for kind in filters.values("type") {
            if !matches!(kind.as_str(), "builtin" | "custom") {
                return Err(Error::invalid(format!("invalid filter: 'type'='{kind}'")));
            }
        }
        let (names, ids) = (filters.patterns("name"), filters.patterns("id"));
        let mut all: Vec<_> = self
            .context
            .networks
            .all()
            .into_iter()
            .map(|record| self.network_view(record))
            .collect();
        all.retain(|view| {
            let record = &view.record;
            let predefined = PREDEFINED.contains(&record.name.as_str());
            filters.any("driver", |value| value == record.driver)
                && ids.meet(record.id.as_str())
                && names.meet(&record.name)
                && filters.any("scope", |value| value == record.scope.name())
                && filters.any("type", |value| (value == "builtin") == predefined)
                && filters.labels(&record.labels)
                && dangling.is_none_or(|wanted| wanted == (!predefined && view.members.is_empty()))
        });
        all.sort_by(|a, b| a.record.name.cmp(&b.record.name));
        Ok(all)
    }

    pub fn network(&self, name: &str) -> Result<NetworkView> {
        Ok(self.network_view(self.context.networks.find(name)?))
    }

    fn network_view(&self, record: Arc<NetworkRecord>) -> NetworkView {
        let mut members = Vec::new();
        for (container, endpoint) in self.context.networks.members(&record) {
            let name = self
                .context
                .registry
                .get(&container)
                .map(|keeper| keeper.record().name.clone());
            members.push(Member {
                name: name.unwrap_or_default(),
                container,
                endpoint,
            });
        }
        NetworkView { record, members }
    }
}

impl Networks {
    pub(super) fn all(&self) -> Vec<Arc<NetworkRecord>> {
        self.records.read().values().cloned().collect()
    }

    fn members(&self, record: &NetworkRecord) -> Vec<(ContainerId, Endpoint)> {
        let shown = self.shown.read();
        let of = |(id, sandbox): (&ContainerId, &Arc<Sandbox>)| {
            let endpoints = sandbox
                .endpoints
                .iter()
                .filter(|endpoint| endpoint.network == record.id);
            endpoints
                .map(|endpoint| (id.clone(), endpoint.clone()))
                .collect::<Vec<_>>()
        };
        let mut members: Vec<_> = shown.iter().flat_map(of).collect();
        members.sort_by(|a, b| a.0.cmp(&b.0));
        members
    }

    /// A container that is in the network.
    pub(super) fn user_of(&self, id: &gantry_core::network::NetworkId) -> Option<String> {
        let shown = self.shown.read();
        let mut users = shown
            .iter()
            .filter(|(_, sandbox)| sandbox.endpoints.iter().any(|endpoint| endpoint.network == *id));
        users.next().map(|(container, sandbox)| {
            let named = sandbox
                .endpoints
                .iter()
                .filter(|endpoint| endpoint.network == *id)
                .find_map(|endpoint| endpoint.names.first());
            named.cloned().unwrap_or_else(|| container.short().to_owned())
        })
    }
}

/// What a container has in its networks.
#[derive(Debug, Clone, Default)]
pub struct ContainerNetworks {
    /// While it is started and has interfaces of its own.
    pub sandbox: Option<Arc<Sandbox>>,
    /// One for each network it is to be in, by name.
    pub attachments: Vec<Attachment>,
    /// By port and address.
    pub published: Vec<PublishedPort>,
    /// Exposed and not published.
    pub exposed: Vec<Port>,
}

#[derive(Debug, Clone)]
pub struct Attachment {
    /// As the container's configuration names the network.
    pub name: String,
    /// `None` if there is none of this name.
    pub network: Option<Arc<NetworkRecord>>,
    pub settings: EndpointSettings,
    /// While it is started.
    pub endpoint: Option<Endpoint>,
}

impl Networks {
    /// What is only made ready, for somebody who attached to it, is in its networks when it starts.
    pub fn of_container(&self, container: &ContainerRecord, state: &State) -> ContainerNetworks {
        let sandbox = match state {
            State::Prepared { .. } => None,
            _ => self.sandbox(&container.id),
        };
        self.in_sandbox(container, sandbox)
    }

    fn in_sandbox(&self, container: &ContainerRecord, sandbox: Option<Arc<Sandbox>>) -> ContainerNetworks {
        let endpoints = sandbox
            .as_ref()
            .map(|sandbox| sandbox.endpoints.as_slice())
            .unwrap_or_default();
        let mut published: Vec<PublishedPort> = endpoints.iter().flat_map(plan::reachable).collect();
        published.sort();
        let mut exposed = plan::open_ports(container);
        exposed.retain(|port| !published.iter().any(|other| other.container == *port));
        let attachments = container.networks.iter().map(|(name, settings)| {
            let network = self.find(name).ok();
            let in_it = |endpoint: &&Endpoint| network.as_ref().is_some_and(|network| network.id == endpoint.network);
            Attachment {
                name: network
                    .as_ref()
                    .map_or_else(|| name.clone(), |network| network.name.clone()),
                endpoint: endpoints.iter().find(in_it).cloned(),
                settings: settings.clone(),
                network,
            }
        });
        ContainerNetworks {
            attachments: attachments.collect(),
            published,
            exposed,
            sandbox,
        }
    }
}

impl Networks {
    /// Whether a container is to be in the network of this name, id or id prefix.
    pub fn is_wanted(&self, container: &ContainerRecord, network: &str) -> bool {
        let found = self.find(network).ok();
        container.networks.contains_key(network) || found.is_some_and(|found| plan::is_wanted(container, &found))
    }

    /// What went through a started container's interfaces.
    pub fn traffic(&self, id: &ContainerId) -> Result<Vec<(String, Traffic)>> {
        let Some(sandbox) = self.sandbox(id) else {
            return Ok(Vec::new());
        };
        let namespace = netns::open(Path::new(&sandbox.key))?;
        let mut all = netns::statistics(namespace.as_fd())?;
        // A kernel puts devices of its own into every namespace (`tunl0`).
        all.retain(|(name, _)| sandbox.endpoints.iter().any(|endpoint| endpoint.interface == *name));
        Ok(all)
    }

    /// Whether one of these ports is exposed, or published: then it is the host's that counts.
    pub fn has_port(&self, container: &ContainerRecord, wanted: &[Port], published: bool) -> bool {
        let of = self.in_sandbox(container, self.sandbox(&container.id));
        let mut of_host = of.published.iter().map(|port| Port {
            number: port.host_port,
            ..port.container
        });
        let own = of.published.iter().map(|port| port.container);
        match published {
            true => of_host.any(|port| wanted.contains(&port)),
            false => own.chain(of.exposed.iter().copied()).any(|port| wanted.contains(&port)),
        }
    }
}
