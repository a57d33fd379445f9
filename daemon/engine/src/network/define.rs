//! Making a network: checked, written down, made; undone where it cannot be made.

use super::{Networks, cluster, records};
use crate::Engine;
use crate::context::Context;
use crate::events::Event;
use crate::failpoint;
use gantry_core::network::{NetworkId, NetworkRecord, NewNetwork, PREDEFINED, Scope, check_name};
use gantry_core::{Error, Labels, Result};
use gantry_network::ipam::{self, AddressPool};
use gantry_network::netlink::Netlink;
use ipnet::IpNet;
use std::sync::Arc;
use std::time::SystemTime;
use tracing::warn;

impl Engine {
    pub async fn create_network(&self, new: NewNetwork) -> Result<Arc<NetworkRecord>> {
        self.network_work(move |context| context.networks.define(context, &new))
            .await
    }
}

impl Networks {
    pub(super) fn define(&self, context: &Context, new: &NewNetwork) -> Result<(Arc<NetworkRecord>, Vec<Event>)> {
        check_name(&new.name)?;
        if PREDEFINED.contains(&new.name.as_str()) || new.name == "default" {
            return Err(Error::new(
                gantry_core::ErrorKind::PermissionDenied,
                format!("operation is not permitted on predefined {} network", new.name),
            ));
        }
        let _alone = self.defining.lock();
        if let Some(other) = self.records.read().values().find(|record| record.name == new.name) {
            return Err(Error::exists(format!(
                "network with name {} already exists: {}",
                new.name,
                other.id.short()
            )));
        }
        let draft = match new.driver.as_str() {
            "overlay" => self.define_shared(new)?,
            _ => self.draft(new)?,
        };
        failpoint!("engine::network::create::checked");
        let told = records::put_network(context, &draft, vec![records::event(&draft, "create", Labels::new())])?;
        failpoint!("engine::network::create::recorded");
        let record = self.know(draft);
        match self.make(&record) {
            Ok(()) => Ok((record, told)),
            Err(error) => {
                self.unmake(context, &record);
                Err(error)
            }
        }
    }

    /// The record of a network as it would be, with subnets that are free at this moment.
    pub(super) fn draft(&self, new: &NewNetwork) -> Result<NetworkRecord> {
        self.draft_among(new, &[])
    }

    /// The same, where `more` networks are kept apart from.
    pub(super) fn draft_among(&self, new: &NewNetwork, more: &[NetworkRecord]) -> Result<NetworkRecord> {
        let name = if new.driver.is_empty() { "bridge" } else { &new.driver };
        let driver = self.driver(name)?;
        if matches!(name, "host" | "null") {
            return Err(Error::new(
                gantry_core::ErrorKind::PermissionDenied,
                format!("only one instance of \"{name}\" network is allowed"),
            ));
        }
        let (ipv4, ipv6) = (new.ipv4.unwrap_or(true), new.ipv6.unwrap_or(false));
        let mut others: Vec<NetworkRecord> = self.records.read().values().map(|record| (**record).clone()).collect();
        others.extend(
            more.iter()
                .filter(|one| !self.records.read().contains_key(&one.id))
                .cloned(),
        );
        let pools = match (driver.addresses(), new.ipam.driver.as_str()) {
            (true, "" | "default") => {
                let taken: Vec<IpNet> = others
                    .iter()
                    .flat_map(|other| &other.pools)
                    .map(|pool| pool.subnet)
                    .collect();
                let own = self.pools_of(driver.scope());
                ipam::choose(&new.pools, ipv4, ipv6, &taken, &host_routes()?, &own)?
            }
            (true, "null") => Vec::new(),
            (false, _) if new.pools.is_empty() => Vec::new(),
            (false, _) => {
                return Err(Error::invalid(format!(
                    "networks of the {name} driver have no subnets of ours: leave --subnet and --gateway out"
                )));
            }
            (true, other) => {
                return Err(Error::invalid(format!(
                    "unknown ipam driver \"{other}\"; known are default, null"
                )));
            }
        };
        let mut record = NetworkRecord {
            id: NetworkId::from_random(rand::random()),
            name: new.name.clone(),
            created_at: SystemTime::now(),
            driver: name.to_owned(),
            scope: driver.scope(),
            pools,
            ipam: new.ipam.clone(),
            ipv4,
            ipv6,
            internal: new.internal,
            attachable: new.attachable,
            options: new.options.clone(),
            labels: new.labels.clone(),
            device: String::new(),
        };
        record.ipam.configured = new.pools.iter().any(|pool| pool.subnet.is_some());
        driver.check(&mut record, &others)?;
        Ok(record)
    }

    /// Where networks that name no subnet get theirs.
    fn pools_of(&self, scope: Scope) -> Vec<AddressPool> {
        match scope {
            Scope::Local => self.pools.clone(),
            Scope::Global => {
                let six = self.pools.iter().filter(|pool| pool.base().addr().is_ipv6());
                std::iter::once(cluster::pool()).chain(six.copied()).collect()
            }
        }
    }

    /// Makes what the network has in the kernel, or mends it: where several want it, the later ones find it whole.
    pub(super) fn make(&self, record: &NetworkRecord) -> Result<()> {
        let making = self.making(&record.id);
        let _alone = making.write();
        self.driver(&record.driver)?.create(record)?;
        failpoint!("engine::network::create::made");
        self.allow(record)
    }

    /// Takes back what was made of a network that could not be made whole.
    fn unmake(&self, context: &Context, record: &NetworkRecord) {
        let undone = self
            .forbid(record)
            .and_then(|()| match self.shared(record)? {
                Some(cluster) => cluster.remove(record),
                None => Ok(()),
            })
            .and_then(|()| Ok(self.driver(&record.driver)?.remove(record)?))
            .and_then(|()| records::delete_network(context, record, Vec::new()).map(drop));
        if let Err(error) = undone {
            warn!(network = record.name, err = %error, "a network that could not be made is not gone altogether");
        }
        self.forget(record);
    }

    pub(super) fn forget(&self, record: &NetworkRecord) {
        self.records.write().remove(&record.id);
        self.making.lock().remove(&record.id);
        self.addresses.remove(&record.id);
    }
}

/// Subnets that the host has routes to, apart from default routes.
fn host_routes() -> Result<Vec<IpNet>> {
    let routes = Netlink::open()?.routes()?;
    let subnets = routes
        .iter()
        .filter(|route| !route.is_default())
        .map(|route| route.destination);
    Ok(subnets.collect())
}
