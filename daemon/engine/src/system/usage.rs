//! How much disk is used, and by what.

use crate::gate::blocking;
use crate::{Engine, Image, ImageSummary, ListContainers, ListImages, Summary, VolumeView};
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

/// What of it is asked for: what is not is not measured.
#[derive(Debug, Clone, Copy)]
pub struct Measure {
    pub images: bool,
    pub containers: bool,
    pub volumes: bool,
}

impl Measure {
    pub const ALL: Self = Self {
        images: true,
        containers: true,
        volumes: true,
    };
}

impl Engine {
    pub async fn usage(&self, asked: Measure) -> Result<Usage> {
        let mut usage = Usage::default();
        if asked.images {
            (usage.images, usage.layers) = self.images_usage().await?;
        }
        if asked.containers {
            usage.containers = self.containers_usage().await?;
        }
        if asked.volumes {
            usage.volumes = self.measured_volumes().await?;
        }
        Ok(usage)
    }

    async fn images_usage(&self) -> Result<(Vec<ImageUsage>, u64)> {
        let summaries = self.images(ListImages::default()).await?;
        let sizes = self.layer_sizes(&summaries).await?;
        let images = summaries
            .into_iter()
            .map(|one| ImageUsage {
                shared: shared(&sizes, &one.image),
                containers: one.containers,
                image: one.image,
            })
            .collect();
        Ok((images, sizes.values().map(|(size, _)| size).sum()))
    }

    async fn containers_usage(&self) -> Result<Vec<ContainerUsage>> {
        self.list(ListContainers {
            all: true,
            size: true,
            ..ListContainers::default()
        })
        .await
    }

    /// For each image the bytes of layers that others have too.
    pub async fn shared_sizes(&self, images: &[&Image]) -> Result<Vec<u64>> {
        let sizes = self.layer_sizes(&self.images(ListImages::default()).await?).await?;
        Ok(images.iter().map(|image| shared(&sizes, image)).collect())
    }

    async fn layer_sizes(&self, images: &[ImageSummary]) -> Result<LayerSizes> {
        let context = self.context.clone();
        let chains: Vec<Vec<Digest>> = images.iter().map(|one| one.image.config.chain_ids()).collect();
        blocking(move || {
            let mut sizes = LayerSizes::new();
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
        .await
    }
}

/// By chain id: bytes, and how many images have it.
type LayerSizes = HashMap<Digest, (u64, usize)>;

fn shared(sizes: &LayerSizes, image: &Image) -> u64 {
    let chains = image.config.chain_ids();
    let of = chains.iter().filter_map(|chain| sizes.get(chain));
    of.filter(|(_, images)| *images > 1).map(|(size, _)| size).sum()
}
