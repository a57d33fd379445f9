//! Images from one place to another for clients of the containerd API: pull, push, import, export and more names.

mod names;

pub use names::MoreNames;

use crate::Engine;
use crate::image::ImageRecord;
use crate::meta::{ImageUpdate, NewImage};
use bytes::Bytes;
use gantry_core::meta::Change;
use gantry_core::reference::Reference;
use gantry_core::{Error, ErrorKind, Labels, LeaseId, Namespace, Result};
use gantry_image::{
    Access, ArchiveOptions, Descriptor, ExportItem, ExportOptions, FetchOptions, Platform, ProgressSink, PushOptions,
    UnpackAt, UnpackOptions, Wanted,
};
use names::Named;
use tokio::sync::mpsc;

/// Where an image goes in the store.
#[derive(Debug, Clone, Default)]
pub struct ToStore {
    /// Empty = only the names below.
    pub name: String,
    pub labels: Labels,
    /// What of an index.
    pub wanted: Wanted,
    /// Where it is unpacked; nowhere unless said.
    pub unpacks: Vec<UnpackAt>,
    pub references: Vec<MoreNames>,
    pub lease: Option<LeaseId>,
}

/// Which images of the store.
#[derive(Debug, Clone, Default)]
pub struct FromStore {
    pub name: String,
    pub references: Vec<MoreNames>,
    pub wanted: Wanted,
}

/// How an archive is read.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReadArchive {
    /// It is a tar as it comes.
    pub plain: bool,
    /// Layers of a docker-archive are stored compressed.
    pub force_compress: bool,
}

impl ToStore {
    fn of_target(&self, target: &Descriptor) -> Result<Vec<Named>> {
        let names = names::of_target(&self.name, &self.labels, &self.references, target);
        match names.is_empty() {
            true => Err(Error::not_found("no image name found: not found")),
            false => Ok(names),
        }
    }

    fn of_image(&self, image: &Descriptor) -> Vec<Named> {
        names::of_image(&self.name, &self.labels, &self.references, image)
    }
}

impl Engine {
    /// Fetches what `reference` points at, unpacks it where that is said, and names it.
    pub async fn transfer_pull(
        &self,
        ns: &Namespace,
        reference: &str,
        access: Access,
        to: ToStore,
        progress: ProgressSink,
    ) -> Result<Vec<ImageRecord>> {
        let parsed = Reference::parse(reference)?;
        if to.name.is_empty() && to.references.iter().all(|one| one.is_prefix) {
            return Err(Error::not_found("no image name found: not found"));
        }
        let options = FetchOptions {
            access,
            wanted: to.wanted.clone(),
            unpacks: to.unpacks.clone(),
            lease: to.lease.clone(),
        };
        let fetched = self.context.images.fetch_content(ns, parsed, options, progress).await?;
        self.keep(ns, to.of_target(&fetched.target)?, &fetched.target, &to)
            .await
    }

    /// Sends an image to a registry as what `reference` names. Answers the image.
    pub async fn transfer_push(
        &self,
        ns: &Namespace,
        from: FromStore,
        reference: &str,
        access: Access,
        progress: ProgressSink,
    ) -> Result<ImageRecord> {
        let reference = Reference::parse(reference)?;
        let image = self.meta().image(ns, &from.name).await?;
        let options = PushOptions {
            access,
            wanted: from.wanted,
        };
        let images = &self.context.images;
        images.push(ns, &image.target, reference, options, progress).await?;
        Ok(image)
    }

    /// Reads an archive: its index gets the name asked for, its images those that it gives them as far as they are wanted.
    pub async fn transfer_import(
        &self,
        ns: &Namespace,
        archive: mpsc::Receiver<Result<Bytes>>,
        how: ReadArchive,
        to: ToStore,
        progress: ProgressSink,
    ) -> Result<Vec<ImageRecord>> {
        let options = ArchiveOptions {
            plain: how.plain,
            force_compress: how.force_compress,
            wanted: to.wanted.clone(),
            lease: to.lease.clone(),
        };
        let images = &self.context.images;
        let read = images.read_archive(ns, archive, options, progress.clone()).await?;
        let mut held = Vec::new();
        for unpack in &to.unpacks {
            for image in &read.images {
                held.extend(self.unpack_fitting(ns, image, unpack, &to, &progress).await?);
            }
        }
        let mut kept = Vec::new();
        if let Ok(names) = to.of_target(&read.index) {
            kept.extend(self.keep(ns, names, &read.index, &to).await?);
        }
        for image in &read.images {
            // What a record keeps of a descriptor: its entry's platform is its index's affair.
            let target = Descriptor {
                platform: None,
                ..image.clone()
            };
            kept.extend(self.keep(ns, to.of_image(image), &target, &to).await?);
        }
        let asked = !to.name.is_empty() || !to.references.is_empty();
        match kept.is_empty() && asked {
            true => Err(Error::not_found(
                "no image of the archive bears a name that is wanted: not found",
            )),
            false => Ok(kept),
        }
    }

    /// Writes the archive of images to `out`. Answers them.
    pub async fn transfer_export(
        &self,
        ns: &Namespace,
        from: FromStore,
        options: ExportOptions,
        out: mpsc::Sender<Result<Bytes>>,
    ) -> Result<Vec<ImageRecord>> {
        if from.references.iter().any(|one| one.is_prefix) {
            let text = "prefix lookup on export not implemented: not implemented";
            return Err(Error::new(ErrorKind::Unimplemented, text));
        }
        let first = (!from.name.is_empty()).then_some(from.name);
        let mut images = Vec::new();
        for name in first.into_iter().chain(from.references.into_iter().map(|one| one.name)) {
            images.push(self.meta().image(ns, &name).await?);
        }
        if images.is_empty() {
            return Err(Error::invalid("an export needs the name of an image"));
        }
        let item = |image: &ImageRecord| ExportItem {
            name: image.name.clone(),
            target: image.target.clone(),
        };
        let items = images.iter().map(item).collect();
        self.context.images.export(ns, items, options, out).await?;
        Ok(images)
    }

    /// Gives an image more names.
    pub async fn transfer_tag(&self, ns: &Namespace, from: &str, to: ToStore) -> Result<Vec<ImageRecord>> {
        let image = self.meta().image(ns, from).await?;
        self.keep(ns, to.of_target(&image.target)?, &image.target, &to).await
    }

    /// Unpacks an image of an archive if it is for the platform.
    async fn unpack_fitting(
        &self,
        ns: &Namespace,
        image: &Descriptor,
        unpack: &UnpackAt,
        to: &ToStore,
        progress: &ProgressSink,
    ) -> Result<Option<gantry_image::Hold>> {
        let platform = unpack.platform.clone().or_else(|| to.wanted.platforms.first().cloned());
        let platform = platform.unwrap_or_else(Platform::host).normalised();
        let (images, there, target, wanted) =
            (self.context.images.clone(), ns.clone(), image.clone(), platform.clone());
        let resolved = crate::gate::blocking(move || images.config_for(&there, &target, &wanted)).await;
        let fits = resolved.is_ok_and(|resolved| {
            let config = &resolved.config;
            platform.fits(&Platform::new(
                &config.os,
                &config.architecture,
                config.variant.as_deref(),
            ))
        });
        if !fits {
            tracing::debug!(digest = %image.digest, "an image of the archive is for another platform and is not unpacked");
            return Ok(None);
        }
        let options = UnpackOptions {
            platform: Some(platform),
            snapshotter: unpack.snapshotter.clone(),
            lease: to.lease.clone(),
        };
        let images = &self.context.images;
        let unpacked = images.unpack_with(ns, image, options, progress.clone()).await?;
        Ok(Some(unpacked.hold))
    }

    async fn keep(
        &self,
        ns: &Namespace,
        names: Vec<Named>,
        target: &Descriptor,
        to: &ToStore,
    ) -> Result<Vec<ImageRecord>> {
        let mut kept = Vec::new();
        for (name, labels) in names {
            kept.push(self.keep_one(ns, name, labels, target, to.lease.clone()).await?);
        }
        Ok(kept)
    }

    /// Makes the image, or makes the one of that name this.
    async fn keep_one(
        &self,
        ns: &Namespace,
        name: String,
        labels: Labels,
        target: &Descriptor,
        lease: Option<LeaseId>,
    ) -> Result<ImageRecord> {
        loop {
            let new = NewImage {
                name: name.clone(),
                target: target.clone(),
                labels: labels.clone(),
                at: None,
                lease: lease.clone(),
            };
            match self.meta().create_image(ns, new).await {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                other => return other,
            }
            let update = ImageUpdate {
                target: Some(target.clone()),
                labels: Some(Change::Replace(labels.clone())),
                lease: lease.clone(),
                ..ImageUpdate::default()
            };
            match self.meta().update_image(ns, &name, update).await {
                // Deleted in between: it is made after all.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                other => return other,
            }
        }
    }
}
