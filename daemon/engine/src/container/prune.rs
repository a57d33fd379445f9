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
use tokio::sync::{Mutex, OwnedMutexGuard};

/// One cleaning up at a time. Docker refuses a second one; here it waits for its turn and finds what is left.
#[derive(Debug, Clone, Default)]
pub struct Pruning(Arc<Mutex<()>>);

impl Pruning {
    /// While the guard lives, nobody else cleans up.
    pub async fn turn(&self) -> OwnedMutexGuard<()> {
        self.0.clone().lock_owned().await
    }
}

impl Engine {
    /// Removes containers that do not run; their anonymous volumes stay.
    pub async fn prune_containers(&self, filters: Filters) -> Result<Pruned> {
        filters.check(&["label", "label!", "until"])?;
        let before = filters.until()?;
        let alone = self.context.pruning.turn().await;
        let engine = self.clone();
        crate::finish(async move {
            let _alone = alone;
            let mut pruned = Pruned::default();
            for keeper in engine.context.registry.all() {
                if rests(&keeper) && engine.is_old(&keeper, before) && wanted(&keeper, &filters) {
                    engine.prune_one(&keeper, &mut pruned).await;
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

    /// One that stays does not keep the others.
    async fn prune_one(&self, keeper: &Arc<Keeper>, pruned: &mut Pruned) {
        let size = self.size_of(&keeper.record()).await.map_or(0, |(own, _)| own);
        match self.remove(keeper.id().as_str(), RemoveOptions::default()).await {
            Ok(()) => {
                pruned.space += size;
                pruned.removed.push(keeper.id().to_string());
            }
            // Somebody started or removed it meanwhile.
            Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::NotFound) => {}
            Err(error) => tracing::warn!(container = %keeper.id(), err = %error, "the container is not pruned"),
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
    filters.labels(&record.config.labels) && filters.lacks_labels(&record.config.labels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn one_cleaning_up_at_a_time() {
        let pruning = Pruning::default();
        let alone = pruning.turn().await;
        assert!(pruning.turn().now_or_never().is_none(), "the second one waits");
        drop(alone);
        assert!(pruning.turn().now_or_never().is_some());
    }
}
