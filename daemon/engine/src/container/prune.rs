//! Prune: containers that do not run go.

use super::RemoveOptions;
use crate::filters::Filters;
use crate::keeper::Keeper;
use crate::volume::Pruned;
use crate::{Engine, Event};
use gantry_core::lifecycle::State;
use gantry_core::{ErrorKind, Labels, Result};
use std::sync::Arc;
use std::time::SystemTime;

impl Engine {
    /// Removes containers that do not run; their anonymous volumes stay.
    pub async fn prune_containers(&self, filters: Filters) -> Result<Pruned> {
        filters.check(&["label", "label!", "until"])?;
        let before = filters.until()?;
        let engine = self.clone();
        crate::finish(async move {
            let mut pruned = Pruned::default();
            for keeper in engine.context.registry.all() {
                if rests(&keeper) && engine.is_old(&keeper, before) && wanted(&keeper, &filters) {
                    engine.prune_one(&keeper, &mut pruned).await?;
                }
            }
            let reclaimed = Labels::from([("reclaimed".to_owned(), pruned.space.to_string())]);
            engine
                .context
                .tell(vec![Event::new("container", "prune", "", reclaimed)])
                .await;
            Ok(pruned)
        })
        .await
    }

    async fn prune_one(&self, keeper: &Arc<Keeper>, pruned: &mut Pruned) -> Result<()> {
        let size = self.size_of(&keeper.record()).await.map_or(0, |(own, _)| own);
        match self.remove(keeper.id().as_str(), RemoveOptions::default()).await {
            Ok(()) => {
                pruned.space += size;
                pruned.removed.push(keeper.id().to_string());
                Ok(())
            }
            // Somebody started or removed it meanwhile.
            Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::NotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn is_old(&self, keeper: &Keeper, before: Option<SystemTime>) -> bool {
        before.is_none_or(|before| keeper.record().created_at < before)
    }
}

fn rests(keeper: &Keeper) -> bool {
    matches!(
        keeper.state(),
        // What is cleared after its run is waited for.
        State::Created | State::Clearing { start: false, .. } | State::Exited { .. } | State::Dead { .. }
    )
}

fn wanted(keeper: &Keeper, filters: &Filters) -> bool {
    let record = keeper.record();
    filters.labels(&record.config.labels) && filters.not_labels(&record.config.labels)
}
