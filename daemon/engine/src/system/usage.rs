//! How much disk is used, and by what.

use crate::gate::blocking;
use crate::{Engine, Image, ListContainers, ListImages, Summary, VolumeView};
use gantry_core::snapshot::SnapshotService;
use gantry_core::{Digest, Result};
use std::collections::HashMap;

/// Everything that takes room.
#[derive(Debug, Clone, Default)]
pub struct Usage {
    pub images: Vec<ImageUsage>,
    /// Bytes of all layers of images, each counted once.
    pub layers: u64,
    pub containers: Vec<ContainerUsage>,
    pub volumes: Vec<VolumeView>,
}

#[derive(Debug, Clone)]
pub struct ImageUsage {
    pub image: Image,
    /// Bytes of layers that other images have too.
    pub shared: u64,
    pub containers: usize,
}

/// A container with its sizes.
pub type ContainerUsage = Summary;

impl Engine {
    pub async fn usage(&self) -> Result<Usage> {
        let summaries = self.images(ListImages::default()).await?;
        let context = self.context.clone();
        let chains: Vec<Vec<Digest>> = summaries.iter().map(|one| one.image.config.chain_ids()).collect();
        let sizes = blocking(move || {
            let mut sizes: HashMap<Digest, (u64, usize)> = HashMap::new();
            for chain in chains.into_iter().flatten() {
                let measured = |chain: &Digest| {
                    context
                        .snapshots
                        .usage(&context.namespace, &context.config.snapshotter, &chain.to_string())
                        .map_or(0, |usage| usage.size)
                };
                let size = match sizes.get(&chain) {
                    Some((size, _)) => *size,
                    None => measured(&chain),
                };
                sizes.entry(chain).or_insert((size, 0)).1 += 1;
            }
            Ok(sizes)
        })
        .await?;
        let shared = |image: &Image| {
            let chains = image.config.chain_ids();
            let of = chains.iter().filter_map(|chain| sizes.get(chain));
            of.filter(|(_, images)| *images > 1).map(|(size, _)| size).sum()
        };
        let images = summaries
            .into_iter()
            .map(|one| ImageUsage {
                shared: shared(&one.image),
                containers: one.containers,
                image: one.image,
            })
            .collect();
        let containers = self
            .list(ListContainers {
                all: true,
                size: true,
                ..ListContainers::default()
            })
            .await?;
        Ok(Usage {
            images,
            layers: sizes.values().map(|(size, _)| size).sum(),
            containers,
            volumes: self.measured_volumes().await?,
        })
    }
}
