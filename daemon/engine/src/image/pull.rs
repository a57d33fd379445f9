//! Pull: fetch, unpack, then give it its name.

use super::ImageRecord;
use crate::{Engine, failpoint};
use gantry_core::reference::Reference;
use gantry_core::snapshot::SnapshotService;
use gantry_core::{Digest, Error, Result};
use gantry_image::{Progress, PullOptions};
use tokio::sync::mpsc;

/// Progress under way; when full, steps are left out, never the result.
const STREAM: usize = 256;

#[derive(Debug, Clone, Default)]
pub struct PullImage {
    pub reference: String,
    /// `os/arch[/variant]`; empty = the host's.
    pub platform: String,
    pub all_tags: bool,
    pub username: String,
    pub password: String,
    pub identity_token: String,
}

#[derive(Debug, Clone)]
pub enum PullEvent {
    Step(Progress),
    Done(Pulled),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// Normalised.
    pub reference: String,
    pub digest: Digest,
    pub id: Digest,
    pub up_to_date: bool,
}

pub type PullStream = mpsc::Receiver<Result<PullEvent>>;

impl Engine {
    /// Pulls an image. The work belongs to the daemon but ends when the receiver goes: finished blobs and partial ones are
    /// kept for the next try.
    pub async fn image_pull(&self, request: PullImage) -> Result<PullStream> {
        let reference = Reference::parse(&request.reference)?;
        if request.all_tags && (reference.tag().is_some() || reference.digest().is_some()) {
            return Err(Error::invalid("tag can't be used with --all-tags/-a"));
        }
        let (sender, receiver) = mpsc::channel(STREAM);
        let engine = self.clone();
        tokio::spawn(async move {
            let work = engine.pull_all(reference, &request, &sender);
            tokio::select! {
                result = work => {
                    if let Err(error) = result {
                        // Whoever asked may be gone by now.
                        let _ = sender.send(Err(error)).await;
                    }
                }
                () = sender.closed() => tracing::info!(image = %request.reference, "the pull ended with its last client"),
            }
        });
        Ok(receiver)
    }

    async fn pull_all(
        &self,
        reference: Reference,
        request: &PullImage,
        sender: &mpsc::Sender<Result<PullEvent>>,
    ) -> Result<()> {
        let options = PullOptions::new(
            &request.platform,
            &request.username,
            &request.password,
            &request.identity_token,
        )?;
        let references = match request.all_tags {
            true => {
                let tags = self.context.images.tags(&reference, &options).await?;
                tags.iter()
                    .map(|tag| reference.clone().with_tag(tag))
                    .collect::<Result<Vec<_>>>()?
            }
            false => vec![reference.or_latest()],
        };
        for reference in references {
            let pulled = self.pull_one(reference, options.clone(), sender).await?;
            if sender.send(Ok(PullEvent::Done(pulled))).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    async fn pull_one(
        &self,
        reference: Reference,
        options: PullOptions,
        sender: &mpsc::Sender<Result<PullEvent>>,
    ) -> Result<Pulled> {
        let (progress, mut steps) = mpsc::channel(STREAM);
        let images = &self.context.images;
        let work = images.pull(&self.context.namespace, reference.clone(), options, progress);
        let forward = async {
            while let Some(step) = steps.recv().await {
                if sender.send(Ok(PullEvent::Step(step))).await.is_err() {
                    break;
                }
            }
        };
        let (fetched, ()) = tokio::join!(work, forward);
        let fetched = fetched?;
        failpoint!("engine::image::pulled");
        let name = reference.to_string();
        let known = self.known(&name).await?;
        let up_to_date = known.is_some_and(|record| record.target.digest == fetched.target.digest);
        if !up_to_date {
            self.name_image(
                &fetched.id,
                ImageRecord::new(name.clone(), fetched.target.clone()),
                "pull",
            )
            .await?;
        }
        failpoint!("engine::image::recorded");
        Ok(Pulled {
            reference: name,
            digest: fetched.target.digest.clone(),
            id: fetched.id.clone(),
            up_to_date,
        })
    }

    async fn known(&self, name: &str) -> Result<Option<ImageRecord>> {
        let (context, name) = (self.context.clone(), name.to_owned());
        crate::gate::blocking(move || crate::records::image(&context, &name)).await
    }

    /// An image whose layers were taken away (another snapshotter, a damaged layer) is unpacked again from its blobs.
    pub(crate) async fn ensure_unpacked(&self, image: &super::Image) -> Result<()> {
        let (context, chain) = (self.context.clone(), image.chain_id());
        if chain.is_empty() {
            return Ok(());
        }
        let there = crate::gate::blocking(move || {
            Ok(context
                .snapshots
                .stat(&context.namespace, &context.config.snapshotter, &chain)
                .is_ok())
        })
        .await?;
        if there {
            return Ok(());
        }
        self.context
            .images
            .unpack(&self.context.namespace, &image.target)
            .await
            .map(drop)
    }
}
