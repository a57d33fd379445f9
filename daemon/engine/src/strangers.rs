//! What no record names: bundles and directories left by a daemon that was killed between recording and removing, or by a
//! machine that lost its power before it knew of them.

use crate::Engine;
use crate::background::Job;
use crate::container::teardown;
use crate::context::Context;
use crate::gate::blocking;
use gantry_core::{ContainerId, Result};
use std::sync::Arc;
use tracing::{info, warn};

impl Engine {
    /// Finds strangers now, before the daemon serves and makes things of its own, and clears them beside everything else. Only what
    /// stands in the way of a known container's next start is cleared first.
    pub(crate) async fn sweep_strangers(&self) -> Result<()> {
        let context = self.context.clone();
        let (leaving, bundles, dirs) =
            blocking(move || Ok((context.shims.leaving()?, bundles(&context)?, dirs(&context)))).await?;
        let context = self.context.clone();
        for id in &bundles.idle {
            if let Err(error) = teardown::cleanup(&context, id).await {
                warn!(container = %id, err = %error, "what was left of a start that the records do not know could not be cleared");
            }
        }
        tokio::spawn(async move {
            for bundle in leaving {
                let what = "removing a bundle that a former daemon was removing";
                context
                    .background
                    .hand(Job::new(what, move || Ok(bundle.remove()?)))
                    .await;
            }
            for id in bundles.unknown.iter().chain(&dirs) {
                info!(container = %id, "clearing what a former daemon left of an unknown container");
                if let Err(error) = clear(&context, id).await {
                    warn!(container = %id, err = %error, "what a former daemon left could not be cleared");
                }
            }
        });
        Ok(())
    }
}

async fn clear(context: &Arc<Context>, id: &ContainerId) -> Result<()> {
    teardown::cleanup(context, id).await?;
    let dir = context.state_dir(id);
    blocking(move || teardown::remove_tree(&dir)).await
}

/// Bundles that should not be there.
#[derive(Default)]
struct Bundles {
    /// Nobody knows the container.
    unknown: Vec<ContainerId>,
    /// By its record it has nothing in the kernel: that it was being started was written, but lost with the machine's power.
    idle: Vec<ContainerId>,
}

fn bundles(context: &Context) -> Result<Bundles> {
    let mut found = Bundles::default();
    for name in context.shims.list_bundles()? {
        if name.namespace != context.namespace || context.shims.is_foreign(&name) {
            continue;
        }
        match context.registry.get(&name.id) {
            None => found.unknown.push(name.id),
            Some(keeper) if !keeper.state().may_hold_resources() => found.idle.push(name.id),
            Some(_) => {}
        }
    }
    Ok(found)
}

fn dirs(context: &Context) -> Vec<ContainerId> {
    let entries = std::fs::read_dir(context.config.data_root.join("containers"))
        .into_iter()
        .flatten()
        .flatten();
    let ids = entries.filter_map(|entry| ContainerId::new(entry.file_name().to_str()?).ok());
    ids.filter(|id| context.registry.get(id).is_none()).collect()
}
