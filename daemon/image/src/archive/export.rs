//! Export: images under their names become an archive that holds the platforms asked for, and whole (containerd's rules, where `save`
//! follows Docker's).

use super::docker::Listed;
use super::oci::{FULL_NAME, REF_NAME};
use super::pipe::PipeWriter;
use super::save::{Contents, list};
use crate::blobs::Blobs;
use crate::descriptor::{Descriptor, Document};
use crate::error::{ImageError, Result};
use crate::media;
use crate::platform::Platform;
use crate::service::{ImageService, Wanted, enter, paced};
use bytes::Bytes;
use gantry_core::reference::Reference;
use gantry_core::{Digest, Namespace};
use std::collections::BTreeMap;
use std::io::Write;
use tokio::sync::mpsc;

/// Labels that say where a blob came from; the archive keeps them.
const SOURCE: &str = "containerd.io/distribution.source.";

/// One image under its name, which may be any text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportItem {
    pub name: String,
    pub target: Descriptor,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExportOptions {
    /// Of an index, in order of preference; empty = the host's.
    pub platforms: Vec<Platform>,
    /// The others, too.
    pub all_platforms: bool,
    /// No `manifest.json` for Docker.
    pub skip_compatibility_manifest: bool,
    /// No layers that may not be handed on.
    pub skip_non_distributable: bool,
}

impl ImageService {
    /// Writes the archive to `out`. What is missing is an error before the first byte.
    pub async fn export(
        &self,
        ns: &Namespace,
        items: Vec<ExportItem>,
        options: ExportOptions,
        out: mpsc::Sender<gantry_core::Result<Bytes>>,
    ) -> gantry_core::Result<()> {
        let blobs = self.blobs(ns, None);
        let work = paced("write an archive", move || {
            let contents = gather(&items, &options, &blobs)?;
            let mut out = PipeWriter::new(out);
            contents.write(&blobs, &mut out)?;
            out.flush().map_err(ImageError::io("write the archive"))
        });
        Ok(work.await?)
    }
}

fn gather(items: &[ExportItem], options: &ExportOptions, blobs: &Blobs) -> Result<Contents> {
    if items.is_empty() {
        return Err(ImageError::NothingToSave);
    }
    let platforms = match options.platforms.is_empty() {
        true => vec![Platform::host()],
        false => options.platforms.clone(),
    };
    let mut gathering = Gathering {
        blobs,
        wanted: Wanted {
            platforms,
            all_metadata: options.all_platforms,
            limit: 0,
        },
        all: options.all_platforms,
        skip_foreign: options.skip_non_distributable,
        contents: Contents::empty(),
    };
    let mut listing = Vec::new();
    let mut listed: BTreeMap<Digest, Option<usize>> = BTreeMap::new();
    for item in items {
        gathering.contents.index.manifests.push(named(item, blobs)?);
        let at = match listed.get(&item.target.digest) {
            Some(at) => *at,
            None => {
                let shown = gathering.add(&item.target)?;
                let at = shown.map(|shown| {
                    listing.push(shown);
                    listing.len() - 1
                });
                listed.insert(item.target.digest.clone(), at);
                at
            }
        };
        if let (Some(at), Ok(name)) = (at, Reference::parse(&item.name)) {
            listing[at].repo_tags.push(name.or_latest().familiar());
        }
    }
    let mut contents = gathering.contents;
    contents.listing = (!options.skip_compatibility_manifest).then_some(listing);
    Ok(contents)
}

struct Gathering<'a> {
    blobs: &'a Blobs,
    wanted: Wanted,
    all: bool,
    skip_foreign: bool,
    contents: Contents,
}

impl Gathering<'_> {
    /// All of a target; answers the image of it that Docker is to see, if it holds one.
    fn add(&mut self, target: &Descriptor) -> Result<Option<Listed>> {
        let shown = match self.blobs.document(target)? {
            Document::Manifest(_) => Some(target.clone()),
            Document::Index(index) => {
                let entries = self.wanted.entries(&target.digest, &index)?;
                let fitting = entries.iter().filter(|entry| self.wanted.matches(entry));
                fitting.min_by_key(|entry| self.wanted.rank(entry)).cloned()
            }
        };
        self.tree(target, &mut Vec::new())?;
        // What is no image of a file system (an artifact, an attestation) is nothing to Docker.
        let image = shown.and_then(|at| self.blobs.resolve(&at, &Platform::host()).ok());
        Ok(image.map(|image| list(&image)))
    }

    fn tree(&mut self, at: &Descriptor, above: &mut Vec<Digest>) -> Result<()> {
        if self.contents.blobs.contains_key(&at.digest) {
            return Ok(());
        }
        enter(&at.digest, above)?;
        let document = self.blobs.document(at)?;
        self.contents.blobs.insert(at.digest.clone(), at.size);
        match document {
            Document::Manifest(manifest) => {
                for blob in manifest.layers.iter().chain([&manifest.config]) {
                    self.blob(blob, at)?;
                }
            }
            Document::Index(index) => {
                let entries = match self.all {
                    true => index.manifests,
                    false => self.wanted.entries(&at.digest, &index)?,
                };
                for entry in &entries {
                    self.tree(entry, above)?;
                }
            }
        }
        above.pop();
        Ok(())
    }

    fn blob(&mut self, blob: &Descriptor, of: &Descriptor) -> Result<()> {
        if self.skip_foreign && media::is_foreign(&blob.media_type) {
            return Ok(());
        }
        if self.blobs.find(&blob.digest)?.is_none() {
            return Err(ImageError::MissingBlob {
                what: format!("part of image {}", of.digest),
                digest: blob.digest.clone(),
            });
        }
        self.contents.blobs.insert(blob.digest.clone(), blob.size);
        Ok(())
    }
}

/// An image's entry in `index.json`.
fn named(item: &ExportItem, blobs: &Blobs) -> Result<Descriptor> {
    let mut entry = item.target.clone();
    if let Some(info) = blobs.find(&entry.digest)? {
        let sources = info.labels.into_iter().filter(|(key, _)| key.starts_with(SOURCE));
        entry.annotations.extend(sources);
    }
    if !item.name.is_empty() {
        let tag = Reference::parse(&item.name)
            .ok()
            .and_then(|name| name.tag().map(str::to_owned));
        let short = tag.unwrap_or_else(|| item.name.clone());
        entry.annotations.insert(FULL_NAME.to_owned(), item.name.clone());
        entry.annotations.insert(REF_NAME.to_owned(), short);
    }
    Ok(entry)
}
