//! The way out of networks that have none of their own: a bridge of this host's, by which containers of overlay networks reach the world
//! and publish ports. Containers do not talk to each other over it. Docker calls its own `docker_gwbridge`; whoever wants it otherwise
//! makes a bridge network of this name first.

use super::Networks;
use super::plan::Join;
use crate::context::Context;
use gantry_core::network::{Endpoint, EndpointSettings, NetworkRecord, NewNetwork, option};
use gantry_core::{ErrorKind, Result};
use gantry_network::sysctl::{self, Family};
use std::collections::BTreeMap;
use std::sync::Arc;

const NAME: &str = "gantry_gwbridge";

pub fn is_gateway(network: &NetworkRecord) -> bool {
    network.name == NAME && network.driver == "bridge"
}

/// Whether who is in the network needs the gateway to get out.
pub fn needs_gateway(network: &NetworkRecord) -> bool {
    network.driver == "overlay" && !network.internal
}

impl Networks {
    /// Adds the gateway to what is joined if that needs it, and `there` has it not already.
    pub(super) fn with_gateway(&self, context: &Context, joins: &mut Vec<Join>, there: &[Endpoint]) -> Result<()> {
        if !joins.iter().any(|join| needs_gateway(&join.network)) {
            return Ok(());
        }
        let gateway = self.gateway(context)?;
        let has = joins.iter().any(|join| join.network.id == gateway.id)
            || there.iter().any(|endpoint| endpoint.network == gateway.id);
        if !has {
            joins.push(Join {
                network: gateway,
                settings: EndpointSettings::default(),
            });
        }
        Ok(())
    }

    /// The gateway's network, made if it is not there.
    fn gateway(&self, context: &Context) -> Result<Arc<NetworkRecord>> {
        let known = || {
            let records = self.records.read();
            records.values().find(|record| is_gateway(record)).cloned()
        };
        if let Some(known) = known() {
            return Ok(known);
        }
        let options = BTreeMap::from([
            (option::BRIDGE_NAME.to_owned(), self.instance.gateway_bridge()),
            (option::ICC.to_owned(), false.to_string()),
        ]);
        let new = NewNetwork {
            name: NAME.to_owned(),
            driver: "bridge".to_owned(),
            ipv6: Some(sysctl::has(Family::Ipv6)),
            options,
            ..NewNetwork::default()
        };
        match self.define(context, &new) {
            Ok((record, told)) => {
                context.bus.publish(told);
                Ok(record)
            }
            // Another container's start was quicker.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => known().ok_or(error),
            Err(error) => Err(error),
        }
    }
}
