//! What a host asks of the cluster and tells it.

use super::Settings;
use super::client::{absent, delete, get, present, put, unchanged, value_is};
use super::follow::Shared;
use super::records::{AddressClaim, ClusterEndpoint, ClusterNetwork, Key, decode, encode, folder};
use super::state::{Changes, State};
use super::wire::{RequestOp, ResponseOp, TxnRequest, response_op};
use crate::ipam::Addresses;
use crate::{Error, Result};
use gantry_core::network::{NetworkId, NetworkRecord, Pool};
use gantry_core::{Error as CoreError, ErrorKind};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::timeout;

/// Numbers of VXLAN segments that are given without being asked for; Docker begins there too, above what VLANs use.
const FIRST_VNI: u32 = 4096;
const LAST_VNI: u32 = (1 << 24) - 1;
/// Others were quicker so often: something is wrong.
const RACES: usize = 16;

/// The cluster that this host belongs to, until it is dropped.
#[derive(Debug)]
pub struct Cluster {
    shared: Arc<Shared>,
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

    /// Makes a network known to all. `make` is shown those that are there, and gives the record and, if one was asked for, the
    /// VXLAN number; it is called again if another host was quicker. So names, numbers and subnets can be kept apart.
    pub async fn create_network(
        &self,
        mut make: impl FnMut(&[ClusterNetwork]) -> Result<(NetworkRecord, Option<u32>)>,
    ) -> Result<ClusterNetwork> {
        for _ in 0..RACES {
            let listed = self.shared.etcd.folder(folder("networks/")).await?;
            let revision = listed.header.unwrap_or_default().revision;
            let there: Vec<ClusterNetwork> = listed.kvs.iter().filter_map(|pair| decode(&pair.value).ok()).collect();
            let (record, vni) = make(&there)?;
            let vni = free_vni(&there, vni)?;
            if let Some(other) = there.iter().find(|other| other.record.name == record.name) {
                if other.record.id == record.id {
                    return Ok(other.clone());
                }
                return Err(CoreError::exists(format!("network with name {} already exists", record.name)).into());
            }
            let network = ClusterNetwork { record, vni };
            let key = Key::Network(network.record.id.clone()).bytes();
            let txn = TxnRequest {
                compare: vec![unchanged(folder("networks/"), revision)],
                success: vec![put(key, encode(&network)?, 0)],
                failure: Vec::new(),
            };
            if self.txn("create a network in the cluster", txn).await?.0 {
                return Ok(network);
            }
        }
        Err(raced("create a network"))
    }

    /// Networks that have endpoints or addresses somewhere stay. One that is gone already is no error.
    pub async fn delete_network(&self, network: &NetworkId) -> Result<()> {
        let empty = |kind: &str| {
            let (first, end) = folder(&format!("{kind}/{network}/"));
            absent(first, end)
        };
        let txn = TxnRequest {
            compare: vec![empty("addresses"), empty("endpoints")],
            success: vec![delete(Key::Network(network.clone()).bytes())],
            failure: Vec::new(),
        };
        match self.txn("delete a network of the cluster", txn).await?.0 {
            true => Ok(()),
            false => Err(CoreError::new(
                ErrorKind::PermissionDenied,
                format!("network {} has active endpoints in the cluster", network.short()),
            )
            .into()),
        }
    }

    /// The networks as last known.
    pub fn networks(&self) -> Vec<ClusterNetwork> {
        self.state()
            .map(|state| state.networks.values().cloned().collect())
            .unwrap_or_default()
    }

    /// Takes an address of the network's pool of that index, the wanted one or a free one, for an endpoint of ours. Asked again
    /// for the same endpoint and address it is had already.
    pub async fn claim(
        &self,
        network: &NetworkId,
        pool: usize,
        wanted: Option<IpAddr>,
        endpoint: &str,
    ) -> Result<IpAddr> {
        let claim = self.mine(endpoint);
        let (mut pools, mut taken) = self.known(network);
        let mut fresh = false;
        for _ in 0..RACES {
            let picked = match pools.as_ref() {
                Some(pools) => pick(network, pools, pool, wanted, &taken, &claim),
                None => Err(not_there(network)),
            };
            let address = match picked {
                Ok(address) => address,
                Err(error) if fresh => return Err(error),
                Err(_) => {
                    // What we knew may be old.
                    (pools, taken) = self.looked_up(network).await?;
                    fresh = true;
                    continue;
                }
            };
            if self.claim_one(network, address, &claim).await? {
                return Ok(address);
            }
            (pools, taken) = self.looked_up(network).await?;
            fresh = true;
        }
        Err(raced("take an address"))
    }

    /// False if another has it or the network is gone.
    async fn claim_one(&self, network: &NetworkId, address: IpAddr, claim: &AddressClaim) -> Result<bool> {
        let key = Key::Address(network.clone(), address).bytes();
        let value = encode(claim)?;
        let txn = TxnRequest {
            compare: vec![
                present(Key::Network(network.clone()).bytes()),
                absent(key.clone(), Vec::new()),
            ],
            success: vec![put(key.clone(), value.clone(), 0)],
            failure: vec![get(key)],
        };
        let (done, answers) = self.txn("take an address in the cluster", txn).await?;
        Ok(done || values(&answers).any(|found| *found == value))
    }

    /// Gives an address back; false if it was not that endpoint's.
    pub async fn release(&self, network: &NetworkId, address: IpAddr, endpoint: &str) -> Result<bool> {
        let key = Key::Address(network.clone(), address).bytes();
        let txn = TxnRequest {
            compare: vec![value_is(key.clone(), encode(&self.mine(endpoint))?)],
            success: vec![delete(key)],
            failure: Vec::new(),
        };
        Ok(self.txn("give back an address to the cluster", txn).await?.0)
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

    async fn txn(&self, deed: &str, txn: TxnRequest) -> Result<(bool, Vec<ResponseOp>)> {
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

    fn mine(&self, endpoint: &str) -> AddressClaim {
        AddressClaim {
            host: self.shared.settings.host.clone(),
            endpoint: endpoint.to_owned(),
        }
    }

    /// A network's pools and what is taken of them, as last known.
    fn known(&self, network: &NetworkId) -> (Option<Vec<Pool>>, BTreeMap<IpAddr, AddressClaim>) {
        let Some(state) = self.state() else {
            return (None, BTreeMap::new());
        };
        let of_network = state.addresses.iter().filter(|((of, _), _)| of == network);
        let taken = of_network.map(|((_, address), claim)| (*address, claim.clone()));
        let pools = state.networks.get(network).map(|known| known.record.pools.clone());
        (pools, taken.collect())
    }

    /// The same from etcd.
    async fn looked_up(&self, network: &NetworkId) -> Result<(Option<Vec<Pool>>, BTreeMap<IpAddr, AddressClaim>)> {
        let etcd = &self.shared.etcd;
        let taken = etcd.folder(folder(&format!("addresses/{network}/"))).await?;
        let mut state = State::default();
        for pair in &taken.kvs {
            state.put(pair);
        }
        let record = etcd.folder((Key::Network(network.clone()).bytes(), Vec::new())).await?;
        let network = record
            .kvs
            .first()
            .map(|pair| decode::<ClusterNetwork>(&pair.value))
            .transpose()?;
        let taken = state
            .addresses
            .into_iter()
            .map(|((_, address), claim)| (address, claim));
        Ok((network.map(|network| network.record.pools), taken.collect()))
    }

    async fn all(&self) -> Result<State> {
        let mut state = State::default();
        for pair in &self.shared.etcd.folder(folder("")).await?.kvs {
            state.put(pair);
        }
        Ok(state)
    }
}

/// An address that nobody is known to have, by the same rules as on one host.
fn pick(
    network: &NetworkId,
    pools: &[Pool],
    pool: usize,
    wanted: Option<IpAddr>,
    taken: &BTreeMap<IpAddr, AddressClaim>,
    claim: &AddressClaim,
) -> Result<IpAddr> {
    let addresses = Addresses::default();
    addresses.add(network, pools);
    for address in taken
        .iter()
        .filter(|(_, owner)| *owner != claim)
        .map(|(address, _)| address)
    {
        // One outside the pools stands in nobody's way.
        let _ = addresses.claim(network, *address);
    }
    Ok(addresses.reserve(network, pool, wanted)?.keep())
}

fn free_vni(there: &[ClusterNetwork], wanted: Option<u32>) -> Result<u32> {
    let taken: BTreeSet<u32> = there.iter().map(|network| network.vni).collect();
    match wanted {
        None => (FIRST_VNI..=LAST_VNI).find(|vni| !taken.contains(vni)).ok_or_else(|| {
            CoreError::new(ErrorKind::ResourceExhausted, "every VXLAN number is taken by a network").into()
        }),
        Some(vni) if vni == 0 || vni > LAST_VNI => {
            Err(CoreError::invalid(format!("invalid VXLAN number {vni}: it must be from 1 to {LAST_VNI}")).into())
        }
        Some(vni) if taken.contains(&vni) => {
            Err(CoreError::conflict(format!("VXLAN number {vni} is taken by another network of the cluster")).into())
        }
        Some(vni) => Ok(vni),
    }
}

fn values(answers: &[ResponseOp]) -> impl Iterator<Item = &Vec<u8>> {
    answers.iter().flat_map(|answer| match &answer.response {
        Some(response_op::Response::ResponseRange(range)) => range.kvs.iter().map(|pair| &pair.value).collect(),
        _ => Vec::new(),
    })
}

fn not_there(network: &NetworkId) -> Error {
    CoreError::not_found(format!("network {} is not in the cluster", network.short())).into()
}

fn raced(deed: &str) -> Error {
    let text = format!("{deed}: other hosts of the cluster were quicker {RACES} times; try again");
    CoreError::new(ErrorKind::Aborted, text).into()
}

#[cfg(test)]
mod tests;
