//! Changes: what differs from the image.

use crate::Engine;
use crate::gate::blocking;
use gantry_core::Result;

pub use gantry_image::{Change, ChangeKind};

impl Engine {
    /// In path order; a directory before what is in it.
    pub async fn changes(&self, name: &str) -> Result<Vec<Change>> {
        let keeper = self.find(name)?;
        let (context, record) = (self.context.clone(), keeper.record());
        blocking(move || {
            let parent = (!record.chain_id.is_empty()).then_some(record.chain_id.as_str());
            context
                .images
                .changes(&context.namespace, &record.snapshotter, &record.snapshot_key, parent)
        })
        .await
    }
}
