//! The networks that are always there: bridge, host, none. What the configuration says is what they are.

use super::config::BridgeConfig;
use super::{Networks, plan, records};
use crate::context::Context;
use gantry_core::Result;
use gantry_core::lifecycle::State;
use gantry_core::network::{IpamSettings, NetworkId, NetworkRecord, NewNetwork, PoolRequest, option};
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;
use tracing::{info, warn};

impl Networks {
    /// Writes down those that are missing, and the default bridge anew if it was configured to be another and nobody is in it.
    pub fn predefine(&self, context: &Context) -> Result<()> {
        let _alone = self.defining.lock();
        for (name, driver) in [("host", "host"), ("none", "null")] {
            if self.named(name).is_none() {
                let record = plain(name, driver);
                records::put_network(context, &record, Vec::new())?;
                self.know(record);
            }
        }
        match &self.config.bridge {
            Some(bridge) => self.default_bridge(context, bridge),
            None => self.without_bridge(context),
        }
    }

    /// Takes down what belongs to nobody that runs: a former daemon was ended while it was about it.
    pub fn sweep(self: &Arc<Self>, context: &Context) {
        let known: Vec<_> = self.shown.read().keys().cloned().collect();
        for id in known {
            let state = context.registry.get(&id).map(|keeper| keeper.state());
            // A keeper that removes does not clear again.
            let over = matches!(state, None | Some(State::Removing { .. } | State::Dead { .. }));
            if over || state.is_some_and(|state| !state.may_hold_resources()) {
                self.leave(&id);
            }
        }
    }

    fn named(&self, name: &str) -> Option<Arc<NetworkRecord>> {
        self.records.read().values().find(|record| record.name == name).cloned()
    }

    fn default_bridge(&self, context: &Context, config: &BridgeConfig) -> Result<()> {
        let wanted = asked(config);
        let old = self.named("bridge");
        if let Some(old) = &old {
            let same = old.options == wanted.options && old.ipv6 == config.ipv6 && fits(old, config);
            if same {
                return Ok(());
            }
            if self.is_used(&old.id) {
                warn!(
                    "the default bridge is configured anew; containers are in the old one, so it stays until a start finds it empty"
                );
                return Ok(());
            }
            info!("the default bridge is configured anew");
            self.driver(&old.driver)?.remove(old)?;
            self.forget(old);
        }
        let mut record = self.draft(&wanted)?;
        if let Some(old) = &old {
            record.id = old.id.clone();
            record.created_at = old.created_at;
        }
        records::put_network(context, &record, Vec::new())?;
        self.know(record);
        Ok(())
    }

    fn without_bridge(&self, context: &Context) -> Result<()> {
        match self.named("bridge") {
            Some(old) if !self.is_used(&old.id) => {
                self.driver(&old.driver)?.remove(&old)?;
                records::delete_network(context, &old, Vec::new())?;
                self.forget(&old);
                Ok(())
            }
            Some(_) | None => Ok(()),
        }
    }

    pub(super) fn is_used(&self, id: &NetworkId) -> bool {
        let shown = self.shown.read();
        shown
            .values()
            .any(|sandbox| sandbox.endpoints.iter().any(|endpoint| endpoint.network == *id))
    }
}

fn plain(name: &str, driver: &str) -> NetworkRecord {
    NetworkRecord {
        id: NetworkId::from_random(rand::random()),
        name: name.to_owned(),
        created_at: SystemTime::now(),
        driver: driver.to_owned(),
        scope: Default::default(),
        pools: Vec::new(),
        ipam: IpamSettings::default(),
        ipv4: true,
        ipv6: false,
        internal: false,
        attachable: false,
        options: BTreeMap::new(),
        labels: Default::default(),
        device: String::new(),
    }
}

/// The bridge's address, what containers get addresses from, and where they send what is for others.
type Wanted = (Option<IpNet>, Option<IpNet>, Option<IpAddr>);

fn of_family(config: &BridgeConfig, v4: bool) -> Wanted {
    match v4 {
        true => (config.bip, config.fixed_cidr, config.default_gateway),
        false => (config.bip6, config.fixed_cidr_v6, config.default_gateway_v6),
    }
}

/// The default bridge in the words of `network create`.
fn asked(config: &BridgeConfig) -> NewNetwork {
    let flag = |on: bool| on.to_string();
    let mut options = BTreeMap::from([
        (option::DEFAULT_BRIDGE.to_owned(), flag(true)),
        (option::ICC.to_owned(), flag(!config.no_icc)),
        (option::MASQUERADE.to_owned(), flag(!config.no_masquerade)),
        (
            option::BINDING_IPV4.to_owned(),
            config
                .host_ip
                .map_or_else(|| "0.0.0.0".to_owned(), |address| address.to_string()),
        ),
    ]);
    if !config.name.is_empty() {
        options.insert(option::BRIDGE_NAME.to_owned(), config.name.clone());
    }
    if config.mtu > 0 {
        options.insert(option::MTU.to_owned(), config.mtu.to_string());
    }
    let pool = |v4: bool, (bip, fixed, gateway): Wanted| {
        let subnet = bip.or(fixed).map(|net| net.trunc());
        subnet.is_some().then(|| PoolRequest {
            subnet,
            range: fixed.filter(|_| bip.is_some()),
            gateway: bip.map(|net| net.addr()),
            // The bridge's own address stays; containers are sent elsewhere, and nobody is given that address.
            auxiliary: gateway
                .map(|address| (plan::default_gateway(v4).to_owned(), address))
                .into_iter()
                .collect(),
        })
    };
    let pools = [
        pool(true, of_family(config, true)),
        pool(false, of_family(config, false)),
    ];
    NewNetwork {
        name: "bridge".to_owned(),
        driver: "bridge".to_owned(),
        pools: pools.into_iter().flatten().collect(),
        ipv6: Some(config.ipv6),
        options,
        ..NewNetwork::default()
    }
}

/// Whether the subnets that the record has are those that are configured, or were chosen freely and still may be.
fn fits(record: &NetworkRecord, config: &BridgeConfig) -> bool {
    let fits = |v4: bool| {
        let (bip, fixed, gateway) = of_family(config, v4);
        let pool = record.pools.iter().find(|pool| pool.subnet.addr().is_ipv4() == v4);
        match (bip.or(fixed), pool) {
            (None, pool) => pool.is_none() || !record.ipam.configured,
            (Some(_), None) => false,
            (Some(net), Some(pool)) => {
                pool.subnet == net.trunc()
                    && bip.is_none_or(|bip| pool.gateway == Some(bip.addr()))
                    && pool.range == fixed.filter(|_| bip.is_some())
                    && pool.auxiliary.get(plan::default_gateway(v4)) == gateway.as_ref()
            }
        }
    };
    fits(true) && (!config.ipv6 || fits(false))
}
