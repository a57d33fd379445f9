//! Remove: a name, or an image with all its names.

use super::find::users;
use super::tag::image_event;
use super::{Image, ImageRecord};
use crate::gate::blocking;
use crate::{Engine, failpoint, records};
use gantry_core::reference::Reference;
use gantry_core::{Error, Result};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RemovedImage {
    Untagged(String),
    Deleted(String),
}

impl Engine {
    /// What was taken away, in order.
    pub async fn image_remove(&self, name: &str, force: bool) -> Result<Vec<RemovedImage>> {
        let image = self.image(name).await?;
        let by_name = Reference::parse(name)
            .ok()
            .map(|reference| reference.or_latest().to_string());
        let named = by_name.and_then(|name| image.records.iter().find(|record| record.name == name).cloned());
        let (going, staying): (Vec<ImageRecord>, Vec<ImageRecord>) = match &named {
            Some(record) => image.records.iter().cloned().partition(|other| other == record),
            None => (image.records.clone(), Vec::new()),
        };
        self.may_remove(name, &image, named.is_some(), &going, &staying, force)?;
        // A stopped container's image that is forced away stays for it, without a name.
        let used = !users(&self.context, &image.id).is_empty();
        let keep = (staying.is_empty() && used).then(|| ImageRecord::dangling(image.target.clone()));
        let removed = self.take_away(&image, going, staying.is_empty() && !used, keep).await?;
        failpoint!("engine::image::removed");
        self.collect().await;
        Ok(removed)
    }

    fn may_remove(
        &self,
        name: &str,
        image: &Image,
        by_name: bool,
        going: &[ImageRecord],
        staying: &[ImageRecord],
        force: bool,
    ) -> Result<()> {
        let repositories = |records: &[ImageRecord]| {
            let mut names: Vec<String> = records
                .iter()
                .filter_map(|record| Reference::parse(&record.name).ok())
                .map(|r| r.name())
                .collect();
            names.sort();
            names.dedup();
            names.len()
        };
        if !by_name && repositories(going) > 1 && !force {
            return Err(Error::conflict(format!(
                "conflict: unable to delete {} (must be forced) - image is referenced in multiple repositories",
                image.id.short()
            )));
        }
        if !staying.is_empty() {
            return Ok(());
        }
        for keeper in users(&self.context, &image.id) {
            let running = keeper.state().is_running();
            let shown = if by_name {
                name.to_owned()
            } else {
                image.id.short().to_owned()
            };
            let container = keeper.id().short();
            if running && !(force && by_name) {
                let how = if by_name { "must be forced" } else { "cannot be forced" };
                let using = if by_name {
                    format!(
                        "container {container} is using its referenced image {}",
                        image.id.short()
                    )
                } else {
                    format!("image is being used by running container {container}")
                };
                return Err(Error::conflict(format!(
                    "conflict: unable to {} {shown} ({how}) - {using}",
                    if by_name {
                        "remove repository reference"
                    } else {
                        "delete"
                    }
                )));
            }
            if !running && !force {
                let (what, using) = match by_name {
                    true => (
                        "remove repository reference",
                        format!(
                            "container {container} is using its referenced image {}",
                            image.id.short()
                        ),
                    ),
                    false => (
                        "delete",
                        format!("image is being used by stopped container {container}"),
                    ),
                };
                return Err(Error::conflict(format!(
                    "conflict: unable to {what} {shown} (must be forced) - {using}"
                )));
            }
        }
        Ok(())
    }

    async fn take_away(
        &self,
        image: &Image,
        going: Vec<ImageRecord>,
        deletes: bool,
        keep: Option<ImageRecord>,
    ) -> Result<Vec<RemovedImage>> {
        let mut removed = Vec::new();
        let mut events = Vec::new();
        for record in going.iter().filter(|record| !record.is_dangling()) {
            if let Ok(reference) = Reference::parse(&record.name) {
                removed.push(RemovedImage::Untagged(reference.familiar()));
                events.push(image_event("untag", &image.id, &record.name));
            }
        }
        if deletes {
            removed.push(RemovedImage::Deleted(image.id.to_string()));
            events.push(image_event("delete", &image.id, &image.id.to_string()));
        }
        let context = self.context.clone();
        let told = crate::finish(blocking(move || records::unname_images(&context, &going, keep, events))).await?;
        self.context.bus.publish(told);
        Ok(removed)
    }

    /// Collects what nothing refers to any more. A failure is logged: the removal itself is done, and the next
    /// collection takes the rest.
    pub(crate) async fn collect(&self) {
        let context = self.context.clone();
        if let Err(error) = blocking(move || records::collect(&context)).await {
            tracing::warn!(err = %error, "collection did not finish");
        }
    }
}
