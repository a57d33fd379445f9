//! Stats: one sample, or one a second.

use super::traffic::{self, Traffic};
use crate::Engine;
use crate::keeper::Keeper;
use gantry_core::Result;
use gantry_task::stats::Stats;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;

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
    /// By interface; empty for a container without interfaces of its own.
    pub traffic: BTreeMap<String, Traffic>,
}

impl Engine {
    /// A stream of samples; with `stream` false, exactly one.
    pub async fn stats(&self, name: &str, stream: bool) -> Result<mpsc::Receiver<Sample>> {
        let keeper = self.find(name)?;
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            let mut tick = tokio::time::interval(EVERY);
            tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    _ = tick.tick() => {}
                    () = sender.closed() => return,
                }
                let sample = sample(&keeper).await;
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

async fn sample(keeper: &Arc<Keeper>) -> Sample {
    let stats = match keeper.shim().await {
        Ok(shim) => tokio::time::timeout(PATIENCE, shim.stats())
            .await
            .ok()
            .and_then(std::result::Result::ok),
        Err(_) => None,
    };
    let record = keeper.record();
    let pid = keeper
        .state()
        .pid()
        .filter(|_| stats.is_some() && record.host.network_mode.is_private());
    Sample {
        traffic: pid.map(traffic::of).unwrap_or_default(),
        read: SystemTime::now(),
        id: keeper.id().to_string(),
        name: record.name.clone(),
        stats,
    }
}
