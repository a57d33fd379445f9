//! Networks that every host knows.

use super::Cluster;
use super::client::{absent, delete, put, unchanged};
use super::cluster::{RACES, raced};
use super::records::{ClusterNetwork, Key, decode, encode, folder};
use super::wire::TxnRequest;
use crate::Result;
use gantry_core::network::{NetworkId, NetworkRecord};
use gantry_core::{Error as CoreError, ErrorKind};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::timeout;

/// Numbers of VXLAN segments that are given without being asked for; Docker begins there too, above what VLANs use.
pub(super) const FIRST_VNI: u32 = 4096;
const LAST_VNI: u32 = (1 << 24) - 1;

impl Cluster {
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

    /// Waits until this host has heard that a network is there, or that it is not; whether it has in time.
    pub async fn heard_of(&self, network: &NetworkId, there: bool, within: Duration) -> bool {
        let so = || {
            self.state()
                .is_some_and(|state| state.networks.contains_key(network) == there)
        };
        let mut changes = self.watch();
        let heard = timeout(within, async {
            while !so() {
                if changes.next().await.is_none() {
                    break;
                }
            }
        });
        heard.await.is_ok() && so()
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
