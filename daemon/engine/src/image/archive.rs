//! Load, save and import: images as files.

use super::ImageRecord;
use super::tag::image_event;
use crate::container::TarStream;
use crate::gate::blocking;
use crate::{Engine, records};
use bytes::Bytes;
use gantry_core::reference::Reference;
use gantry_core::{Digest, Result};
use gantry_image::{ImportOptions, Progress, SaveItem};
use std::collections::BTreeSet;
use tokio::sync::mpsc;

/// Progress under way.
const STREAM: usize = 256;
/// Chunks of an archive under way; a full channel holds the writer back.
const CHUNKS: usize = 8;

#[derive(Debug, Clone)]
pub enum LoadEvent {
    Step(Progress),
    /// An image that is there now: its name, or only its id.
    Loaded {
        reference: Option<String>,
        id: Digest,
    },
}

pub type LoadStream = mpsc::Receiver<Result<LoadEvent>>;

/// What goes with the tar of a root filesystem.
#[derive(Debug, Clone, Default)]
pub struct ImportImage {
    /// Empty = no name.
    pub reference: String,
    pub message: String,
    /// Dockerfile instructions.
    pub changes: Vec<String>,
    pub platform: String,
}

impl Engine {
    /// Reads an archive of images. What is in it is named as it says; nothing of a bad archive stays.
    pub fn image_load(&self, archive: mpsc::Receiver<Result<Bytes>>) -> LoadStream {
        let (sender, receiver) = mpsc::channel(STREAM);
        let engine = self.clone();
        tokio::spawn(async move {
            if let Err(error) = engine.load(archive, &sender).await {
                // Whoever asked may be gone by now.
                let _ = sender.send(Err(error)).await;
            }
        });
        receiver
    }

    async fn load(
        &self,
        archive: mpsc::Receiver<Result<Bytes>>,
        sender: &mpsc::Sender<Result<LoadEvent>>,
    ) -> Result<()> {
        let (progress, mut steps) = mpsc::channel(STREAM);
        let work = self.context.images.load(&self.context.namespace, archive, progress);
        let forward = async {
            while let Some(step) = steps.recv().await {
                if sender.send(Ok(LoadEvent::Step(step))).await.is_err() {
                    break;
                }
            }
        };
        let (loaded, ()) = tokio::join!(work, forward);
        for image in loaded? {
            let names: Vec<String> = image.references.iter().map(ToString::to_string).collect();
            if names.is_empty() {
                self.name_image(&image.id, ImageRecord::dangling(image.target.clone()), "load")
                    .await?;
                let _ = sender
                    .send(Ok(LoadEvent::Loaded {
                        reference: None,
                        id: image.id.clone(),
                    }))
                    .await;
            }
            for name in names {
                self.name_image(&image.id, ImageRecord::new(name.clone(), image.target.clone()), "load")
                    .await?;
                let familiar = Reference::parse(&name)?.familiar();
                let _ = sender
                    .send(Ok(LoadEvent::Loaded {
                        reference: Some(familiar),
                        id: image.id.clone(),
                    }))
                    .await;
            }
        }
        Ok(())
    }

    /// Writes images as an archive that is docker-archive and OCI layout at once.
    pub async fn image_save(&self, names: &[String]) -> Result<TarStream> {
        let mut items: Vec<SaveItem> = Vec::new();
        let mut saved = BTreeSet::new();
        for name in names {
            if let Some(tagged) = self.of_repository(name).await? {
                for (image, item) in tagged {
                    saved.insert(image);
                    items.push(item);
                }
                continue;
            }
            let image = self.image(name).await?;
            let by_name = Reference::parse(name).ok().map(Reference::or_latest);
            let reference =
                by_name.filter(|reference| image.records.iter().any(|record| record.name == reference.to_string()));
            saved.insert(image.id.clone());
            items.push(SaveItem {
                target: image.target.clone(),
                reference,
            });
        }
        let (sender, receiver) = mpsc::channel(CHUNKS);
        let context = self.context.clone();
        tokio::spawn(async move {
            match context.images.save(&context.namespace, items, sender.clone()).await {
                Ok(()) => {
                    let told = saved.iter().map(|id| image_event("save", id, &id.to_string()));
                    context.tell(told.collect()).await;
                }
                Err(error) => {
                    let _ = sender.send(Err(error)).await;
                }
            }
        });
        Ok(receiver)
    }

    /// All that is tagged in a repository, where a repository alone is named; `None` where something else is, or nothing is there.
    async fn of_repository(&self, name: &str) -> Result<Option<Vec<(Digest, SaveItem)>>> {
        let Ok(repository) = Reference::parse(name) else {
            return Ok(None);
        };
        if repository.tag().is_some() || repository.digest().is_some() {
            return Ok(None);
        }
        let mut items = Vec::new();
        for image in self.all_images().await? {
            let references = image
                .records
                .iter()
                .filter_map(|record| Reference::parse(&record.name).ok());
            let tagged = references.filter(|one| one.name() == repository.name() && one.tag().is_some());
            items.extend(tagged.map(|reference| {
                let item = SaveItem {
                    target: image.target.clone(),
                    reference: Some(reference),
                };
                (image.id.clone(), item)
            }));
        }
        Ok(Some(items).filter(|items| !items.is_empty()))
    }

    /// Makes an image of one layer from the tar of a root filesystem.
    pub async fn image_import(&self, request: ImportImage, tar: mpsc::Receiver<Result<Bytes>>) -> Result<Digest> {
        let reference = match request.reference.as_str() {
            "" => None,
            text => Some(Reference::parse(text)?.or_latest()),
        };
        let options = ImportOptions {
            message: request.message,
            changes: request.changes,
            platform: request.platform,
        };
        let image = self
            .context
            .images
            .import(&self.context.namespace, options, tar)
            .await?;
        let record = match &reference {
            Some(reference) => ImageRecord::new(reference.to_string(), image.target.clone()),
            None => ImageRecord::dangling(image.target.clone()),
        };
        let event = image_event("import", &image.id, &record.name);
        let context = self.context.clone();
        let told = blocking(move || records::name_image(&context, record, vec![event])).await?;
        self.context.bus.publish(told);
        Ok(image.id)
    }
}
