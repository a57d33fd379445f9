//! Addresses that one host has and no other.

use super::Cluster;
use super::client::{absent, delete, get, present, put, value_is};
use super::cluster::{RACES, not_there, raced};
use super::records::{AddressClaim, ClusterNetwork, Key, decode, encode, folder};
use super::state::State;
use super::wire::{ResponseOp, TxnRequest, response_op};
use crate::Result;
use crate::ipam::Addresses;
use gantry_core::network::{NetworkId, Pool};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// A network's pools, and whose its addresses are.
type Taken = (Option<Vec<Pool>>, BTreeMap<IpAddr, AddressClaim>);

impl Cluster {
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
    pub(super) async fn claim_one(&self, network: &NetworkId, address: IpAddr, claim: &AddressClaim) -> Result<bool> {
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

    /// A network's pools and what is taken of them, as last known.
    fn known(&self, network: &NetworkId) -> Taken {
        let Some(state) = self.state() else {
            return (None, BTreeMap::new());
        };
        let of_network = state.addresses.iter().filter(|((of, _), _)| of == network);
        let taken = of_network.map(|((_, address), claim)| (*address, claim.clone()));
        let pools = state.networks.get(network).map(|known| known.record.pools.clone());
        (pools, taken.collect())
    }

    /// The same from etcd.
    async fn looked_up(&self, network: &NetworkId) -> Result<Taken> {
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

fn values(answers: &[ResponseOp]) -> impl Iterator<Item = &Vec<u8>> {
    answers.iter().flat_map(|answer| match &answer.response {
        Some(response_op::Response::ResponseRange(range)) => range.kvs.iter().map(|pair| &pair.value).collect(),
        _ => Vec::new(),
    })
}
