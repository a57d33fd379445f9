//! Images as names of descriptors: the engine's own table, seen by containerd's clients.

use super::{Meta, change_labels, new_labels};
use crate::ImageRecord;
use crate::records::{self, Image};
use gantry_core::gc::LABEL_EXPIRE;
use gantry_core::meta::{Change, Happening};
use gantry_core::{Digest, Error, Labels, LeaseId, Namespace, Result};
use gantry_image::Descriptor;
use gantry_store::{Batch, Resource};
use std::time::SystemTime;

/// An image to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewImage {
    pub name: String,
    /// Its annotations are those of the image.
    pub target: Descriptor,
    pub labels: Labels,
    /// When it was made (`source_date_epoch`); now if none.
    pub at: Option<SystemTime>,
    /// Holds the image if it expires; an unknown one is NotFound then.
    pub lease: Option<LeaseId>,
}

/// What changes in an image; none leaves a field as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageUpdate {
    /// Whole, with its annotations.
    pub target: Option<Descriptor>,
    pub labels: Option<Change<Labels>>,
    /// Of the target, after it was replaced.
    pub annotations: Option<Change<Labels>>,
    /// As in [`NewImage`], for the time of the update.
    pub at: Option<SystemTime>,
    pub lease: Option<LeaseId>,
}

/// How an image is deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeleteImage {
    /// Only if it has this target; else NotFound.
    pub target: Option<Digest>,
    /// Collects what it alone referred to, and waits for that.
    pub sync: bool,
    /// Is relieved of the image.
    pub lease: Option<LeaseId>,
}

type Key = (Namespace, String);

impl Meta {
    /// By name; those without a name are not shown.
    pub async fn images(&self, ns: &Namespace) -> Result<Vec<ImageRecord>> {
        let ns = ns.clone();
        self.run(move |meta| {
            let all = meta.store.scan::<Image>(&ns)?.into_iter();
            Ok(all
                .map(|(_, Image(image))| image)
                .filter(|image| !image.is_dangling())
                .collect())
        })
        .await
    }

    pub async fn image(&self, ns: &Namespace, name: &str) -> Result<ImageRecord> {
        let key = (ns.clone(), name.to_owned());
        self.run(move |meta| meta.find_image(&key)).await
    }

    fn find_image(&self, key: &Key) -> Result<ImageRecord> {
        let found = self.store.get::<Image>(key)?.map(|Image(image)| image);
        found
            .filter(|image| !image.is_dangling())
            .ok_or_else(|| Error::not_found(format!("image \"{}\": not found", key.1)))
    }

    /// Answers it as it is kept.
    pub async fn create_image(&self, ns: &Namespace, image: NewImage) -> Result<ImageRecord> {
        let ns = ns.clone();
        self.run(move |meta| {
            check_name(&image.name)?;
            let at = image.at.unwrap_or_else(SystemTime::now);
            let mut record = ImageRecord {
                labels: new_labels(image.labels)?,
                created_at: at,
                updated_at: at,
                ..ImageRecord::new(image.name, image.target)
            };
            record.target.annotations.retain(|_, value| !value.is_empty());
            check_target(&record.target)?;
            let key = (ns, record.name.clone());
            let _claim = records::claim_image(&meta.store, &key)?;
            if meta.store.contains::<Image>(&key)? {
                return Err(Error::exists(format!("image \"{}\": already exists", key.1)));
            }
            let happening = Happening::ImageCreate {
                name: record.name.clone(),
                labels: record.labels.clone(),
            };
            meta.put_image(&key, record, image.lease.as_ref(), happening)
        })
        .await
    }

    /// Answers it as it is afterwards.
    pub async fn update_image(&self, ns: &Namespace, name: &str, update: ImageUpdate) -> Result<ImageRecord> {
        let key = (ns.clone(), name.to_owned());
        self.run(move |meta| {
            check_name(&key.1)?;
            let _claim = records::claim_image(&meta.store, &key)?;
            let mut image = meta.find_image(&key)?;
            if let Some(target) = update.target {
                image.target = target;
                image.target.annotations.retain(|_, value| !value.is_empty());
            }
            change_labels(&mut image.labels, update.labels)?;
            change_labels(&mut image.target.annotations, update.annotations)?;
            check_target(&image.target)?;
            image.updated_at = update.at.unwrap_or_else(SystemTime::now);
            let happening = Happening::ImageUpdate {
                name: image.name.clone(),
                labels: image.labels.clone(),
            };
            meta.put_image(&key, image, update.lease.as_ref(), happening)
        })
        .await
    }

    fn put_image(
        &self,
        key: &Key,
        image: ImageRecord,
        lease: Option<&LeaseId>,
        happening: Happening,
    ) -> Result<ImageRecord> {
        let mut batch = Batch::new();
        let resource = Resource::Image(key.1.clone());
        // Only what ends by itself has to be held.
        if image.labels.contains_key(LABEL_EXPIRE) {
            self.leases.add_in(&mut batch, &key.0, lease, &resource)?;
        } else {
            self.leases.remove_in(&mut batch, &key.0, lease, &resource);
        }
        let record = Image(image);
        batch.put(key, &record)?;
        self.commit(&key.0, batch, Some(happening))?;
        Ok(record.0)
    }

    pub async fn delete_image(&self, ns: &Namespace, name: &str, how: DeleteImage) -> Result<()> {
        let key = (ns.clone(), name.to_owned());
        self.run(move |meta| {
            meta.drop_image(&key, &how)?;
            if how.sync {
                meta.collector.collect()?;
            }
            Ok(())
        })
        .await
    }

    fn drop_image(&self, key: &Key, how: &DeleteImage) -> Result<()> {
        let _claim = records::claim_image(&self.store, key)?;
        let image = self.find_image(key)?;
        if let Some(wanted) = &how.target
            && image.target.digest != *wanted
        {
            return Err(Error::not_found(format!(
                "image \"{}\" has target {}, not {wanted}: not found",
                key.1, image.target.digest
            )));
        }
        let mut batch = Batch::new();
        batch.delete::<Image>(key);
        let resource = Resource::Image(key.1.clone());
        self.leases.remove_in(&mut batch, &key.0, how.lease.as_ref(), &resource);
        let name = key.1.clone();
        self.commit(&key.0, batch, Some(Happening::ImageDelete { name }))
    }
}

fn check_name(name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Error::invalid("image name must not be empty: invalid argument"));
    }
    if ImageRecord::is_dangling_name(name) {
        return Err(Error::invalid(format!(
            "image name \"{name}\" is kept for images that have none"
        )));
    }
    Ok(())
}

fn check_target(target: &Descriptor) -> Result<()> {
    if target.size == 0 {
        return Err(Error::invalid(
            "Target.Size must be greater than zero: invalid argument",
        ));
    }
    if target.media_type.is_empty() {
        return Err(Error::invalid("Target.MediaType must be set: invalid argument"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
