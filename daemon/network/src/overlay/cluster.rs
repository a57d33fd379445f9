//! What a host asks of the cluster and tells it.

use super::Settings;
use super::client::{delete, present, put};
use super::follow::Shared;
use super::records::{AddressClaim, ClusterEndpoint, ClusterNetwork, Key, encode, folder};
use super::state::{Changes, State};
use super::wire::{RequestOp, ResponseOp, TxnRequest};
use crate::{Error, Result};
use gantry_core::network::NetworkId;
use gantry_core::{Error as CoreError, ErrorKind};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::timeout;

/// Others were quicker so often: something is wrong.
pub(super) const RACES: usize = 16;

/// The cluster that this host belongs to, until it is dropped.
#[derive(Debug)]
pub struct Cluster {
    pub(super) shared: Arc<Shared>,
    lease: Arc<Mutex<Option<i64>>>,
    tasks: [AbortHandle; 2],
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Cluster {
    /// Looks at the settings and begins to follow; etcd may be away.
    pub fn connect(settings: Settings, runtime: &Handle) -> Result<Self> {
        let _inside = runtime.enter();
        let shared = Arc::new(Shared::new(settings)?);
        let lease = Arc::new(Mutex::new(None));
        let follow = runtime.spawn(shared.clone().follow()).abort_handle();
        let stay = runtime.spawn(shared.clone().stay(lease.clone())).abort_handle();
        Ok(Self {
            shared,
            lease,
            tasks: [follow, stay],
        })
    }

    /// Whether etcd is followed just now. When it becomes true again, [`Cluster::reconcile`].
    pub fn connection(&self) -> watch::Receiver<bool> {
        self.shared.connected.subscribe()
    }

    /// Waits until etcd is followed; false if it is not within that time.
    pub async fn ready(&self, within: Duration) -> bool {
        let mut connection = self.connection();
        matches!(
            timeout(within, connection.wait_for(|connected| *connected)).await,
            Ok(Ok(_))
        )
    }

    /// The last known state; `None` before etcd was first heard.
    pub fn state(&self) -> Option<Arc<State>> {
        self.shared.state()
    }

    /// Everything, and then each change. A watch outlives etcd's absence.
    pub fn watch(&self) -> Changes {
        let (first, rest) = self.shared.begin();
        Changes {
            first,
            rest,
            cluster: self.shared.clone(),
        }
    }

    /// The networks as last known.
    pub fn networks(&self) -> Vec<ClusterNetwork> {
        self.state()
            .map(|state| state.networks.values().cloned().collect())
            .unwrap_or_default()
    }

    /// Tells all hosts where an endpoint of ours is and what it is called.
    pub async fn publish(&self, endpoint: &ClusterEndpoint) -> Result<()> {
        let key = Key::Endpoint(endpoint.network.clone(), endpoint.id.clone()).bytes();
        let txn = TxnRequest {
            compare: vec![present(Key::Network(endpoint.network.clone()).bytes())],
            success: vec![put(key, encode(endpoint)?, 0)],
            failure: Vec::new(),
        };
        match self.txn("publish an endpoint in the cluster", txn).await?.0 {
            true => Ok(()),
            false => Err(not_there(&endpoint.network)),
        }
    }

    /// Takes that back. One that is gone already is no error.
    pub async fn withdraw(&self, network: &NetworkId, endpoint: &str) -> Result<()> {
        let key = Key::Endpoint(network.clone(), endpoint.to_owned()).bytes();
        self.apply("withdraw an endpoint from the cluster", vec![delete(key)])
            .await
    }

    /// Makes the cluster say of this host exactly what is true, at start and after etcd was away: endpoints and addresses that are
    /// ours no more are taken back, those that are missing are published and claimed. Gives the addresses that
    /// another host has by now.
    pub async fn reconcile(&self, mine: &[ClusterEndpoint]) -> Result<Vec<(String, IpAddr)>> {
        let host = self.shared.settings.host.clone();
        let kept: HashMap<&str, &ClusterEndpoint> = mine.iter().map(|one| (one.id.as_str(), one)).collect();
        let said = self.all().await?;
        let mut deeds = Vec::new();
        for ((network, id), endpoint) in said.endpoints.iter().filter(|(_, one)| one.host == host) {
            if !kept.contains_key(id.as_str()) || kept[id.as_str()].network != endpoint.network {
                deeds.push(delete(Key::Endpoint(network.clone(), id.clone()).bytes()));
            }
        }
        for ((network, address), claim) in said.addresses.iter().filter(|(_, one)| one.host == host) {
            let has = |one: &&ClusterEndpoint| one.network == *network && one.addresses.contains(address);
            if kept.get(claim.endpoint.as_str()).copied().filter(has).is_none() {
                deeds.push(delete(Key::Address(network.clone(), *address).bytes()));
            }
        }
        self.apply("take back what is no more from the cluster", deeds).await?;
        let mut lost = Vec::new();
        for endpoint in mine {
            let claim = self.mine(&endpoint.id);
            for address in &endpoint.addresses {
                let key = (endpoint.network.clone(), *address);
                if said.addresses.get(&key) != Some(&claim)
                    && !self.claim_one(&endpoint.network, *address, &claim).await?
                {
                    lost.push((endpoint.id.clone(), *address));
                }
            }
            let key = (endpoint.network.clone(), endpoint.id.clone());
            if said.endpoints.get(&key) != Some(endpoint) {
                self.publish(endpoint).await?;
            }
        }
        Ok(lost)
    }

    /// Clears away what a host left that will never come back.
    pub async fn evict(&self, host: &str) -> Result<()> {
        let said = self.all().await?;
        let endpoints = said.endpoints.iter().filter(|(_, one)| one.host == host);
        let endpoints = endpoints.map(|((network, id), _)| Key::Endpoint(network.clone(), id.clone()));
        let addresses = said.addresses.iter().filter(|(_, one)| one.host == host);
        let addresses = addresses.map(|((network, address), _)| Key::Address(network.clone(), *address));
        let keys = endpoints.chain(addresses).chain([Key::Host(host.to_owned())]);
        let deeds = keys.map(|key| delete(key.bytes())).collect();
        self.apply("evict a host from the cluster", deeds).await
    }

    /// Ends membership at once, for a host that goes for good. A daemon that only restarts does not leave.
    pub async fn leave(self) -> Result<()> {
        for task in &self.tasks {
            task.abort();
        }
        let lease = self.lease.lock().take();
        match lease {
            None => Ok(()),
            Some(lease) => self.shared.etcd.revoke(lease).await,
        }
    }

    pub(super) async fn txn(&self, deed: &str, txn: TxnRequest) -> Result<(bool, Vec<ResponseOp>)> {
        let answer = self.shared.etcd.txn(deed, txn).await?;
        Ok((answer.succeeded, answer.responses))
    }

    /// etcd takes 128 operations in one transaction.
    async fn apply(&self, deed: &str, deeds: Vec<RequestOp>) -> Result<()> {
        for some in deeds.chunks(100) {
            let txn = TxnRequest {
                success: some.to_vec(),
                ..TxnRequest::default()
            };
            self.txn(deed, txn).await?;
        }
        Ok(())
    }

    pub(super) fn mine(&self, endpoint: &str) -> AddressClaim {
        AddressClaim {
            host: self.shared.settings.host.clone(),
            endpoint: endpoint.to_owned(),
        }
    }

    async fn all(&self) -> Result<State> {
        let mut state = State::default();
        for pair in &self.shared.etcd.folder(folder("")).await?.kvs {
            state.put(pair);
        }
        Ok(state)
    }
}

pub(super) fn raced(deed: &str) -> Error {
    let text = format!("{deed}: other hosts of the cluster were quicker {RACES} times; try again");
    CoreError::new(ErrorKind::Aborted, text).into()
}

pub(super) fn not_there(network: &NetworkId) -> Error {
    CoreError::not_found(format!("network {} is not in the cluster", network.short())).into()
}

#[cfg(test)]
mod tests;
