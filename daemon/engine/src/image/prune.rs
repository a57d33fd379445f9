//! Prune: images that no container has go.

use super::RemovedImage;
use super::find::users;
use crate::filters::Filters;
use crate::{Engine, Event};
use gantry_core::{ErrorKind, Labels, Result};
use std::time::SystemTime;

impl Engine {
    /// Removes images without a name, and with the filter `dangling=false` all that no container has. What was taken away, and bytes.
    pub async fn prune_images(&self, filters: Filters) -> Result<(Vec<RemovedImage>, u64)> {
        filters.check(&["dangling", "label", "label!", "until"])?;
        let dangling = filters.flag("dangling")?.unwrap_or(true);
        let before = filters.until()?;
        let alone = self.context.pruning_images.turn().await;
        let engine = self.clone();
        crate::finish(async move {
            let _alone = alone;
            let (mut removed, mut space) = (Vec::new(), 0);
            for image in engine.all_images().await? {
                let labels = &image.config.config.labels;
                let nameless = image.records.iter().all(super::ImageRecord::is_dangling);
                let old = before.is_none_or(|before| created(&image).is_some_and(|created| created < before));
                let spared = (dangling && !nameless) || !users(&engine.context, &image.id).is_empty();
                if spared || !old || !filters.labels(labels) || !filters.lacks_labels(labels) {
                    continue;
                }
                match engine.image_remove(&image.id.to_string(), true).await {
                    Ok(gone) => {
                        space += image.size;
                        removed.extend(gone);
                    }
                    Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::NotFound) => {}
                    Err(error) => tracing::warn!(image = %image.id, err = %error, "the image is not pruned"),
                }
            }
            let reclaimed = Labels::from([("reclaimed".to_owned(), space.to_string())]);
            engine
                .context
                .tell(vec![Event::new("image", "prune", "", reclaimed)])
                .await;
            Ok((removed, space))
        })
        .await
    }
}

/// When it was made, as its config says.
pub(super) fn created(image: &super::Image) -> Option<SystemTime> {
    let text = image.config.created.as_deref()?;
    chrono::DateTime::parse_from_rfc3339(text).ok().map(SystemTime::from)
}
