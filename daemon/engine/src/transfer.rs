//! Images from one place to another for clients of the containerd API: pull, import, export and one more name.

use crate::Engine;
use crate::image::ImageRecord;
use crate::meta::{ImageUpdate, NewImage};
use bytes::Bytes;
use gantry_core::meta::Change;
use gantry_core::reference::Reference;
use gantry_core::{Error, ErrorKind, Labels, LeaseId, Namespace, Result};
use gantry_image::{
    Credentials, Descriptor, Hold, LoadOptions, LoadedImage, Platform, ProgressSink, PullOptions, SaveItem,
    UnpackOptions,
};
use tokio::sync::mpsc;

/// Where an image goes in the store.
#[derive(Debug, Clone, Default)]
pub struct ToStore {
    /// Empty = only the names below.
    pub name: String,
    pub labels: Labels,
    /// Which image of an index; the host's if none.
    pub platform: Option<Platform>,
    /// Where it is unpacked; the first is used on the way in, the rest afterwards.
    pub unpacks: Vec<Unpack>,
    pub references: Vec<MoreNames>,
    pub lease: Option<LeaseId>,
}

#[derive(Debug, Clone, Default)]
pub struct Unpack {
    pub platform: Option<Platform>,
    /// Empty = the default one.
    pub snapshotter: String,
}

/// Names that an archive gives its images, as far as they are wanted.
#[derive(Debug, Clone, Default)]
pub struct MoreNames {
    /// A whole name, or the beginning of names; empty = all.
    pub name: String,
    pub is_prefix: bool,
    /// Takes the name from the image that has it.
    pub overwrite: bool,
}

impl MoreNames {
    fn wants(&self, name: &str) -> bool {
        match self.is_prefix {
            true => name.starts_with(&self.name),
            false => name == self.name,
        }
    }
}

impl ToStore {
    fn platform(&self) -> Option<Platform> {
        let first = self.unpacks.first().and_then(|unpack| unpack.platform.clone());
        self.platform.clone().or(first)
    }

    fn snapshotter(&self) -> String {
        self.unpacks
            .first()
            .map(|unpack| unpack.snapshotter.clone())
            .unwrap_or_default()
    }

    /// The names an image of an archive gets, and whether they may be taken from another.
    fn names(&self, image: &LoadedImage) -> Vec<(String, bool)> {
        let mut names = Vec::new();
        if !self.name.is_empty() {
            names.push((self.name.clone(), true));
        }
        for reference in image.references.iter().map(ToString::to_string) {
            if self.references.is_empty() && self.name.is_empty() {
                names.push((reference, true));
            } else if let Some(wanted) = self.references.iter().find(|one| one.wants(&reference)) {
                names.push((reference, wanted.overwrite));
            }
        }
        names
    }
}

impl Engine {
    /// Fetches and unpacks `reference`, and gives it its name.
    pub async fn transfer_pull(
        &self,
        ns: &Namespace,
        reference: &str,
        credentials: Option<Credentials>,
        to: ToStore,
        progress: ProgressSink,
    ) -> Result<ImageRecord> {
        let options = PullOptions {
            platform: to.platform(),
            credentials,
            snapshotter: to.snapshotter(),
            lease: to.lease.clone(),
        };
        let images = &self.context.images;
        let pulled = images.pull(ns, Reference::parse(reference)?, options, progress).await?;
        let _more = self.unpack_more(ns, &pulled.target, &to).await?;
        let name = match to.name.as_str() {
            "" => reference.to_owned(),
            name => name.to_owned(),
        };
        self.keep(ns, name, pulled.target, &to, true).await
    }

    /// Reads an archive and gives its images their names. Answers them.
    pub async fn transfer_import(
        &self,
        ns: &Namespace,
        archive: mpsc::Receiver<Result<Bytes>>,
        to: ToStore,
        progress: ProgressSink,
    ) -> Result<Vec<ImageRecord>> {
        let options = LoadOptions {
            platform: to.platform(),
            snapshotter: to.snapshotter(),
            lease: to.lease.clone(),
        };
        let loaded = self.context.images.load_with(ns, archive, options, progress).await?;
        let mut kept = Vec::new();
        for image in &loaded {
            let _more = self.unpack_more(ns, &image.target, &to).await?;
            for (name, overwrite) in to.names(image) {
                kept.push(self.keep(ns, name, image.target.clone(), &to, overwrite).await?);
            }
        }
        match kept.is_empty() {
            true => Err(Error::not_found("no image name found in the archive: not found")),
            false => Ok(kept),
        }
    }

    /// Writes the archive of an image to `out`.
    pub async fn transfer_export(&self, ns: &Namespace, name: &str, out: mpsc::Sender<Result<Bytes>>) -> Result<()> {
        let image = self.meta().image(ns, name).await?;
        let item = SaveItem {
            target: image.target,
            reference: Reference::parse(name).ok(),
        };
        self.context.images.save(ns, vec![item], out).await
    }

    /// Gives an image one more name.
    pub async fn transfer_tag(&self, ns: &Namespace, from: &str, to: ToStore) -> Result<ImageRecord> {
        if to.name.is_empty() {
            return Err(Error::invalid("a tag needs a name"));
        }
        let image = self.meta().image(ns, from).await?;
        self.keep(ns, to.name.clone(), image.target, &to, true).await
    }

    async fn unpack_more(&self, ns: &Namespace, target: &Descriptor, to: &ToStore) -> Result<Vec<Hold>> {
        let mut held = Vec::new();
        for unpack in to.unpacks.iter().skip(1) {
            let options = UnpackOptions {
                platform: unpack.platform.clone().or_else(|| to.platform()),
                snapshotter: unpack.snapshotter.clone(),
                lease: to.lease.clone(),
            };
            let images = &self.context.images;
            let unpacked = images.unpack_with(ns, target, options, ProgressSink::silent()).await?;
            held.push(unpacked.hold);
        }
        Ok(held)
    }

    async fn keep(
        &self,
        ns: &Namespace,
        name: String,
        target: Descriptor,
        to: &ToStore,
        overwrite: bool,
    ) -> Result<ImageRecord> {
        let new = NewImage {
            name: name.clone(),
            target: target.clone(),
            labels: to.labels.clone(),
            at: None,
            lease: to.lease.clone(),
        };
        match self.meta().create_image(ns, new).await {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            other => return other,
        }
        let there = self.meta().image(ns, &name).await?;
        if !overwrite && there.target.digest != target.digest {
            return Err(Error::exists(format!("image \"{name}\": already exists")));
        }
        let update = ImageUpdate {
            target: Some(target),
            labels: (!to.labels.is_empty()).then(|| Change::Replace(to.labels.clone())),
            lease: to.lease.clone(),
            ..ImageUpdate::default()
        };
        self.meta().update_image(ns, &name, update).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_an_archive_are_taken_as_they_are_wanted() {
        let digest = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
        let image = LoadedImage {
            references: ["docker.io/library/a:1", "example.com/b:2"]
                .map(|name| Reference::parse(name).unwrap())
                .to_vec(),
            target: Descriptor::new("m", digest, 1),
            id: format!("sha256:{}", "1".repeat(64)).parse().unwrap(),
            chain_id: None,
            hold: Hold::default(),
        };
        let (a, b) = ("docker.io/library/a:1".to_owned(), "example.com/b:2".to_owned());
        assert_eq!(ToStore::default().names(&image), [(a.clone(), true), (b, true)]);
        let wanting = |name: &str, is_prefix| ToStore {
            references: vec![MoreNames {
                name: name.to_owned(),
                is_prefix,
                overwrite: false,
            }],
            ..ToStore::default()
        };
        assert_eq!(wanting("docker.io/library/", true).names(&image), [(a.clone(), false)]);
        assert_eq!(wanting(&a, false).names(&image), [(a, false)]);
        assert_eq!(wanting("docker.io/library/", false).names(&image), []);
        let named = ToStore {
            name: "mine".to_owned(),
            ..ToStore::default()
        };
        assert_eq!(named.names(&image), [("mine".to_owned(), true)]);
    }
}
