//! What no record names: bundles and directories left by a daemon that was killed between making and recording.

use crate::Engine;
use crate::background::Job;
use crate::container::teardown;
use crate::context::Context;
use crate::gate::blocking;
use gantry_core::{ContainerId, Result};
use std::sync::Arc;
use tracing::{info, warn};

impl Engine {
    /// Finds strangers now, before the daemon serves and makes things of its own, and clears them beside everything else.
    pub(crate) async fn sweep_strangers(&self) -> Result<()> {
        let context = self.context.clone();
        let (leaving, bundles, dirs) =
            blocking(move || Ok((context.shims.leaving()?, bundles(&context)?, dirs(&context)))).await?;
        let context = self.context.clone();
        tokio::spawn(async move {
            for bundle in leaving {
                let what = "removing a bundle that a former daemon was removing";
                context
                    .background
                    .hand(Job::new(what, move || Ok(bundle.remove()?)))
                    .await;
            }
            for id in bundles.iter().chain(&dirs) {
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

fn bundles(context: &Context) -> Result<Vec<ContainerId>> {
    let all = context.shims.list_bundles()?;
    let own = all
        .into_iter()
        .filter(|name| name.namespace == context.namespace)
        .map(|name| name.id);
    Ok(own.filter(|id| context.registry.get(id).is_none()).collect())
}

fn dirs(context: &Context) -> Vec<ContainerId> {
    let entries = std::fs::read_dir(context.config.data_root.join("containers"))
        .into_iter()
        .flatten()
        .flatten();
    let ids = entries.filter_map(|entry| ContainerId::new(entry.file_name().to_str()?).ok());
    ids.filter(|id| context.registry.get(id).is_none()).collect()
}
