//! History: how an image came to be, newest first.

use crate::Engine;
use crate::gate::blocking;
use gantry_core::snapshot::SnapshotService;
use gantry_core::{Digest, Result};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEntry {
    /// The image's own id on the newest line; nothing on the others.
    pub id: Option<Digest>,
    /// RFC 3339.
    pub created: Option<String>,
    pub created_by: String,
    /// Bytes unpacked.
    pub size: u64,
    pub comment: String,
    pub tags: Vec<String>,
}

impl Engine {
    pub async fn image_history(&self, name: &str) -> Result<Vec<HistoryEntry>> {
        let image = self.image(name).await?;
        let context = self.context.clone();
        blocking(move || {
            let snapshotter = &context.config.snapshotter;
            let mut chains = image.config.chain_ids().into_iter();
            let mut entries: Vec<HistoryEntry> = Vec::new();
            for line in &image.config.history {
                let layer = if line.empty_layer { None } else { chains.next() };
                let size = layer.and_then(|chain| {
                    context
                        .snapshots
                        .usage(&context.namespace, snapshotter, &chain.to_string())
                        .ok()
                });
                entries.push(HistoryEntry {
                    id: None,
                    created: line.created.clone(),
                    created_by: line.created_by.clone(),
                    size: size.map_or(0, |usage| usage.size),
                    comment: line.comment.clone(),
                    tags: Vec::new(),
                });
            }
            if let Some(newest) = entries.last_mut() {
                newest.id = Some(image.id.clone());
                newest.tags = image.repo_tags();
            }
            entries.reverse();
            Ok(entries)
        })
        .await
    }
}
