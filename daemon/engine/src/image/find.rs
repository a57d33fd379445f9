//! Finding images: by reference, by id, by unique id prefix.

use super::{Image, ImageRecord};
use crate::context::Context;
use crate::gate::blocking;
use crate::{Engine, records};
use gantry_core::reference::Reference;
use gantry_core::snapshot::SnapshotService;
use gantry_core::{Digest, Error, ErrorKind, Result};
use std::collections::BTreeMap;
use std::sync::Arc;

impl Engine {
    /// Every image once, newest first.
    pub(crate) async fn all_images(&self) -> Result<Vec<Image>> {
        let context = self.context.clone();
        blocking(move || all(&context)).await
    }

    /// The image that `text` names.
    pub async fn image(&self, text: &str) -> Result<Image> {
        let (context, text) = (self.context.clone(), text.to_owned());
        blocking(move || find(&context, &text)).await
    }
}

/// All images, grouped by id.
pub(crate) fn all(context: &Context) -> Result<Vec<Image>> {
    let mut by_id: BTreeMap<Digest, Image> = BTreeMap::new();
    for record in records::images(context)? {
        let image = match load(context, record.clone()) {
            Ok(image) => image,
            // One image that cannot be read must not hide the others.
            Err(error) => {
                tracing::warn!(image = %record.name, err = %error, "an image cannot be read");
                continue;
            }
        };
        match by_id.get_mut(&image.id) {
            Some(known) => known.records.push(record),
            None => {
                by_id.insert(image.id.clone(), image);
            }
        }
    }
    let mut images: Vec<Image> = by_id.into_values().collect();
    images.sort_by(|a, b| b.config.created.cmp(&a.config.created).then(a.id.cmp(&b.id)));
    Ok(images)
}

fn load(context: &Context, record: ImageRecord) -> Result<Image> {
    let resolved = context.images.config(&context.namespace, &record.target)?;
    let image = Image {
        parent: context.images.parent(&context.namespace, &resolved.id),
        id: resolved.id,
        target: record.target.clone(),
        config: resolved.config,
        records: vec![record],
        size: 0,
    };
    let size = unpacked_size(context, &image);
    Ok(Image { size, ..image })
}

/// Bytes of all layers; a layer that is not unpacked counts as nothing.
fn unpacked_size(context: &Context, image: &Image) -> u64 {
    let snapshotter = &context.config.snapshotter;
    let usage = |chain: &Digest| {
        context
            .snapshots
            .usage(&context.namespace, snapshotter, &chain.to_string())
    };
    image
        .config
        .chain_ids()
        .iter()
        .filter_map(|chain| usage(chain).ok())
        .map(|usage| usage.size)
        .sum()
}

pub(crate) fn find(context: &Context, text: &str) -> Result<Image> {
    if let Some(image) = by_reference(context, text)? {
        return Ok(image);
    }
    by_id(context, text)
}

/// The id of the image that `text` names, without a look at its other names and sizes where a name is enough.
pub(crate) fn id(context: &Context, text: &str) -> Result<Digest> {
    match named(context, text)? {
        Some(id) => Ok(id),
        None => Ok(by_id(context, text)?.id),
    }
}

/// The id of the image that has this name.
fn named(context: &Context, text: &str) -> Result<Option<Digest>> {
    let Ok(reference) = Reference::parse(text) else {
        return Ok(None);
    };
    let record = records::image(context, &reference.or_latest().to_string())?;
    let id = record.map(|record| Ok(context.images.config(&context.namespace, &record.target)?.id));
    id.transpose()
}

fn by_reference(context: &Context, text: &str) -> Result<Option<Image>> {
    let Ok(reference) = Reference::parse(text) else {
        return Ok(None);
    };
    let Some(record) = records::image(context, &reference.or_latest().to_string())? else {
        return Ok(None);
    };
    let image = load(context, record)?;
    // Its other names belong to the answer.
    Ok(all(context)?
        .into_iter()
        .find(|known| known.id == image.id)
        .map(|known| Image {
            target: image.target.clone(),
            ..known
        })
        .or(Some(image)))
}

/// Whether `text`, a name or the beginning of an id, is the image of that id.
pub(crate) fn means(context: &Context, text: &str, id: &Digest) -> Result<bool> {
    let begins = id.hex().starts_with(text.strip_prefix("sha256:").unwrap_or(text));
    Ok(begins || named(context, text)?.is_some_and(|named| named == *id))
}

fn by_id(context: &Context, text: &str) -> Result<Image> {
    let missing = || Error::not_found(format!("No such image: {}", shown(text)));
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    if hex.is_empty() || hex.len() > 64 || !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        // A malformed reference is the caller's mistake, not a missing image.
        Reference::parse(text)?;
        return Err(missing());
    }
    let mut matches = all(context)?
        .into_iter()
        .filter(|image| image.id.hex().starts_with(hex));
    match (matches.next(), matches.next()) {
        (Some(image), None) => Ok(image),
        (None, _) => Err(missing()),
        (Some(a), Some(b)) => Err(Error::new(
            ErrorKind::InvalidArgument,
            format!(
                "ambiguous image id prefix \"{text}\": it may be {} or {}; give more digits",
                a.id.short(),
                b.id.short()
            ),
        )),
    }
}

/// As Docker prints a missing image: with the tag it looked for.
fn shown(text: &str) -> String {
    Reference::parse(text).map_or_else(|_| text.to_owned(), |reference| reference.or_latest().familiar())
}

/// Images whose containers exist.
pub(crate) fn users(context: &Arc<Context>, id: &Digest) -> Vec<Arc<crate::keeper::Keeper>> {
    context
        .registry
        .all()
        .into_iter()
        .filter(|keeper| keeper.record().image_id == *id)
        .collect()
}
