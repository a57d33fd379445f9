//! Addresses on their way into a plan.

use super::{Membership, PATIENCE};
use crate::failpoint;
use gantry_core::network::{NetworkId, NetworkRecord};
use gantry_core::{ErrorKind, Result};
use gantry_network::ipam::Reservation;
use ipnet::IpNet;
use std::net::IpAddr;
use std::sync::Arc;
use tracing::debug;

/// An address that is given back when this is dropped, unless it is kept: then it belongs to a plan.
pub(in crate::network) enum Claimed {
    Here(Reservation),
    InCluster(InCluster),
}

pub(in crate::network) struct InCluster {
    membership: Arc<Membership>,
    network: NetworkId,
    endpoint: String,
    net: IpNet,
    kept: bool,
}

impl Claimed {
    /// With the length of its subnet.
    pub fn with_length(&self) -> IpNet {
        match self {
            Self::Here(reservation) => reservation.with_length(),
            Self::InCluster(claim) => claim.net,
        }
    }

    pub fn keep(self) {
        match self {
            Self::Here(reservation) => {
                reservation.keep();
            }
            Self::InCluster(mut claim) => claim.kept = true,
        }
    }
}

impl Drop for InCluster {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        let address = self.net.addr();
        let cluster = &self.membership.cluster;
        let said = self
            .membership
            .say(|| cluster.release(&self.network, address, &self.endpoint));
        if let Err(error) = said {
            debug!(%address, err = %error, "the address is given back later");
        }
    }
}

impl Membership {
    /// Takes an address of the network's pool of that index for an endpoint.
    pub fn claim(
        self: &Arc<Self>,
        network: &NetworkRecord,
        pool: usize,
        wanted: Option<IpAddr>,
        endpoint: &str,
    ) -> Result<Claimed> {
        let claimed = self.wait(PATIENCE, self.cluster.claim(&network.id, pool, wanted, endpoint));
        if let Err(error) = &claimed
            && matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::DeadlineExceeded)
        {
            // It may have been taken all the same, or be taken yet.
            self.changed();
        }
        let address = claimed?;
        failpoint!("engine::overlay::claimed");
        let length = network.pools[pool].subnet.prefix_len();
        Ok(Claimed::InCluster(InCluster {
            membership: self.clone(),
            network: network.id.clone(),
            endpoint: endpoint.to_owned(),
            net: IpNet::new(address, length).expect("an address of a subnet takes the subnet's length"),
            kept: false,
        }))
    }
}
