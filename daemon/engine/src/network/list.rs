//! What networks there are and who is in them.

use super::{Networks, scope_name};
use crate::Engine;
use crate::filters::Filters;
use gantry_core::network::{Endpoint, NetworkRecord, PREDEFINED, Sandbox};
use gantry_core::{ContainerId, Error, Result};
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
        let mut all: Vec<_> = self.context.networks.all().into_iter().map(|record| self.network_view(record)).collect();
        all.retain(|view| {
            let record = &view.record;
            let predefined = PREDEFINED.contains(&record.name.as_str());
            filters.any("driver", |value| value == record.driver)
                && filters.any("id", |value| record.id.as_str().starts_with(value))
                && filters.any("name", |value| record.name.contains(value))
                && filters.any("scope", |value| value == scope_name(record.scope))
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

    /// What a started container has in its networks; `None` for others.
    pub fn sandbox(&self, id: &ContainerId) -> Option<Arc<Sandbox>> {
        self.context.networks.sandbox(id)
    }

    /// The network of an endpoint.
    pub fn network_of(&self, endpoint: &Endpoint) -> Option<Arc<NetworkRecord>> {
        self.context.networks.by_id(&endpoint.network).ok()
    }

    fn network_view(&self, record: Arc<NetworkRecord>) -> NetworkView {
        let mut members = Vec::new();
        for (container, endpoint) in self.context.networks.members(&record) {
            let name = self.context.registry.get(&container).map(|keeper| keeper.record().name.clone());
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
            let endpoints = sandbox.endpoints.iter().filter(|endpoint| endpoint.network == record.id);
            endpoints.map(|endpoint| (id.clone(), endpoint.clone())).collect::<Vec<_>>()
        };
        let mut members: Vec<_> = shown.iter().flat_map(of).collect();
        members.sort_by(|a, b| a.0.cmp(&b.0));
        members
    }

    /// A container that is in the network.
    pub(super) fn user_of(&self, id: &gantry_core::network::NetworkId) -> Option<String> {
        let shown = self.shown.read();
        let mut users = shown.iter().filter(|(_, sandbox)| sandbox.endpoints.iter().any(|endpoint| endpoint.network == *id));
        users.next().map(|(container, sandbox)| {
            let named = sandbox.endpoints.iter().filter(|endpoint| endpoint.network == *id).find_map(|endpoint| endpoint.names.first());
            named.cloned().unwrap_or_else(|| container.short().to_owned())
        })
    }
}
