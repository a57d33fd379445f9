//! The keys of encrypted networks, the same on every host.

use super::Cluster;
use super::client::{absent, put, unchanged};
use super::cluster::RACES;
use super::cluster::raced;
use super::records::{Key, decode, encode};
use super::wire::TxnRequest;
use crate::Result;
use crate::ipsec::{Ring, Secret};
use std::time::Duration;

impl Cluster {
    /// Makes sure that there are keys, and turns the ring if it was last turned longer ago than `every`. It does not matter which host does
    /// it. `now`: seconds since 1970.
    pub async fn turn(&self, now: u64, every: Duration) -> Result<Ring> {
        let key = Key::Ring.bytes();
        for _ in 0..RACES {
            let found = self.shared.etcd.folder((key.clone(), Vec::new())).await?;
            let pair = found.kvs.first();
            let known = pair.map(|pair| decode::<Ring>(&pair.value)).transpose()?;
            let (ring, condition) = match (known, pair) {
                (Some(ring), Some(pair)) => {
                    if now < ring.since.saturating_add(every.as_secs()) {
                        return Ok(ring);
                    }
                    (
                        ring.turned(now, fresh()),
                        unchanged((key.clone(), Vec::new()), pair.mod_revision),
                    )
                }
                _ => (Ring::new(now, fresh), absent(key.clone(), Vec::new())),
            };
            let txn = TxnRequest {
                compare: vec![condition],
                success: vec![put(key.clone(), encode(&ring)?, 0)],
                failure: Vec::new(),
            };
            if self.txn("change the keys of the cluster", txn).await?.0 {
                return Ok(ring);
            }
        }
        Err(raced("change the keys of the cluster"))
    }
}

fn fresh() -> Secret {
    Secret::from_random(rand::random())
}
