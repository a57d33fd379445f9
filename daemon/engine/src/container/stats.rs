//! Stats: one sample, or one a second.

use crate::Engine;
use crate::context::Context;
use crate::gate::blocking;
use crate::keeper::Keeper;
use crate::network::Traffic;
use gantry_core::Result;
use gantry_core::container::NetworkMode;
use gantry_task::stats::Stats;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;
use tracing::debug;

const EVERY: Duration = Duration::from_secs(1);
/// A shim that does not answer for so long gives an empty sample.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a container uses at one moment. `stats` is `None` when it does not run.
#[derive(Debug, Clone)]
pub struct Sample {
    pub read: SystemTime,
    pub id: String,
    /// The name it has now (P19).
    pub name: String,
    pub stats: Option<Stats>,
    /// What went through its interfaces, by their names; of a container that shares another's network, the other's. Empty on the
    /// host's network, whose interfaces are everybody's.
    pub networks: Vec<(String, Traffic)>,
}

impl Engine {
    /// A stream of samples; with `stream` false, exactly one.
    pub async fn stats(&self, name: &str, stream: bool) -> Result<mpsc::Receiver<Sample>> {
        let keeper = self.find(name)?;
        let context = self.context.clone();
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            let mut tick = tokio::time::interval(EVERY);
            tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    _ = tick.tick() => {}
                    () = sender.closed() => return,
                }
                let sample = sample(&context, &keeper).await;
                if sender.send(sample).await.is_err() || !stream {
                    return;
                }
                if keeper.state() == gantry_core::lifecycle::State::Removed {
                    return;
                }
            }
        });
        Ok(receiver)
    }
}

async fn sample(context: &Arc<Context>, keeper: &Arc<Keeper>) -> Sample {
    let stats = match keeper.shim().await {
        Ok(shim) => tokio::time::timeout(PATIENCE, shim.stats())
            .await
            .ok()
            .and_then(std::result::Result::ok),
        Err(_) => None,
    };
    let networks = match &stats {
        Some(_) => traffic(context, keeper).await,
        None => Vec::new(),
    };
    Sample {
        read: SystemTime::now(),
        id: keeper.id().to_string(),
        name: keeper.record().name.clone(),
        stats,
        networks,
    }
}

async fn traffic(context: &Arc<Context>, keeper: &Arc<Keeper>) -> Vec<(String, Traffic)> {
    let (worker, record) = (context.clone(), keeper.record());
    let counted = blocking(move || {
        let owner = match &record.host.network_mode {
            NetworkMode::Container(other) => worker.registry.find(other)?.id().clone(),
            _ => record.id.clone(),
        };
        worker.networks.traffic(&owner)
    });
    counted.await.unwrap_or_else(|error| {
        debug!(container = %keeper.id(), err = %error, "its network's counters cannot be read");
        Vec::new()
    })
}
