//! Tag: one more name for an image.

use super::ImageRecord;
use crate::events::Event;
use crate::gate::blocking;
use crate::{Engine, records};
use gantry_core::reference::Reference;
use gantry_core::{Digest, Error, Labels, Result};

impl Engine {
    pub async fn image_tag(&self, source: &str, target: &str) -> Result<()> {
        let reference = Reference::parse(target)?;
        if reference.digest().is_some() {
            return Err(Error::invalid(format!(
                "refusing to create a tag with a digest reference: \"{target}\""
            )));
        }
        let image = self.image(source).await?;
        let record = ImageRecord::new(reference.or_latest().to_string(), image.target.clone());
        self.name_image(&image.id, record, "tag").await
    }

    /// Gives an image a name, taking it from whoever had it; an image that loses its last name stays as a dangling one.
    pub(crate) async fn name_image(&self, id: &Digest, record: ImageRecord, action: &str) -> Result<()> {
        let (context, event) = (self.context.clone(), image_event(action, id, &record.name));
        let told = blocking(move || records::name_image(&context, record, vec![event])).await?;
        self.context.bus.publish(told);
        Ok(())
    }
}

pub(crate) fn image_event(action: &str, id: &Digest, name: &str) -> Event {
    let familiar = Reference::parse(name).map_or_else(|_| id.to_string(), |reference| reference.familiar());
    Event::new(
        "image",
        action,
        id.to_string(),
        Labels::from([("name".to_owned(), familiar)]),
    )
}
