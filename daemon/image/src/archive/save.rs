//! Save: images become an archive that is docker-archive and OCI layout at once.

use super::docker::Listed;
use super::oci::{FULL_NAME, REF_NAME};
use super::pipe::PipeWriter;
use crate::blobs::Blobs;
use crate::descriptor::{Descriptor, Document, Index};
use crate::error::{ImageError, Result};
use crate::media;
use crate::platform::Platform;
use crate::service::{ImageService, Resolved, paced};
use bytes::Bytes;
use gantry_core::content::BlobStream;
use gantry_core::reference::Reference;
use gantry_core::{Digest, Namespace};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use tar::{EntryType, Header};
use tokio::sync::mpsc;

/// One image, perhaps under a name. The same target may come under several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaveItem {
    pub target: Descriptor,
    pub reference: Option<Reference>,
}

impl ImageService {
    /// Writes the archive to `out`. Everything is looked up before the first byte: what is missing is an error, not half an
    /// archive.
    pub async fn save(
        &self,
        ns: &Namespace,
        items: Vec<SaveItem>,
        out: mpsc::Sender<gantry_core::Result<Bytes>>,
    ) -> gantry_core::Result<()> {
        let blobs = self.blobs(ns, None);
        let work = paced("write an archive", move || {
            let contents = Contents::of(&items, &blobs)?;
            let mut out = PipeWriter::new(out);
            contents.write(&blobs, &mut out)?;
            out.flush().map_err(ImageError::io("write the archive"))
        });
        Ok(work.await?)
    }
}

/// What goes into the archive.
pub(super) struct Contents {
    pub index: Index,
    /// None in an archive that is an OCI layout only.
    pub listing: Option<Vec<Listed>>,
    pub blobs: BTreeMap<Digest, u64>,
}

impl Contents {
    pub(super) fn empty() -> Self {
        Self {
            index: Index {
                schema_version: 2,
                media_type: Some(media::OCI_INDEX.to_owned()),
                manifests: Vec::new(),
                annotations: BTreeMap::new(),
            },
            listing: None,
            blobs: BTreeMap::new(),
        }
    }

    fn of(items: &[SaveItem], blobs: &Blobs) -> Result<Self> {
        if items.is_empty() {
            return Err(ImageError::NothingToSave);
        }
        let mut contents = Self::empty();
        let mut listing: Vec<Listed> = Vec::new();
        let mut listed: BTreeMap<Digest, usize> = BTreeMap::new();
        for item in items {
            contents.gather(&item.target, blobs)?;
            let mut entry = item.target.clone();
            if let Some(reference) = &item.reference {
                entry.annotations.insert(FULL_NAME.to_owned(), reference.to_string());
                if let Some(tag) = reference.tag() {
                    entry.annotations.insert(REF_NAME.to_owned(), tag.to_owned());
                }
            }
            if !contents.index.manifests.contains(&entry) {
                contents.index.manifests.push(entry);
            }
            let at = match listed.get(&item.target.digest) {
                Some(at) => *at,
                None => {
                    listing.push(list(&blobs.resolve(&item.target, &Platform::host())?));
                    listed.insert(item.target.digest.clone(), listing.len() - 1);
                    listing.len() - 1
                }
            };
            let tag = item.reference.as_ref().filter(|reference| reference.tag().is_some());
            listing[at].repo_tags.extend(tag.map(Reference::familiar));
        }
        contents.listing = Some(listing);
        Ok(contents)
    }

    /// Everything below a target that is here.
    fn gather(&mut self, at: &Descriptor, blobs: &Blobs) -> Result<()> {
        if self.blobs.contains_key(&at.digest) {
            return Ok(());
        }
        let document = blobs.document(at)?;
        self.blobs.insert(at.digest.clone(), at.size);
        match document {
            Document::Manifest(manifest) => {
                for blob in manifest.layers.iter().chain([&manifest.config]) {
                    if blobs.find(&blob.digest)?.is_none() {
                        return Err(ImageError::MissingBlob {
                            what: format!("part of image {}", at.digest),
                            digest: blob.digest.clone(),
                        });
                    }
                    self.blobs.insert(blob.digest.clone(), blob.size);
                }
            }
            Document::Index(index) => {
                for entry in &index.manifests {
                    // Other platforms were perhaps never pulled.
                    if blobs.find(&entry.digest)?.is_some() && self.is_whole(entry, blobs)? {
                        self.gather(entry, blobs)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn is_whole(&self, at: &Descriptor, blobs: &Blobs) -> Result<bool> {
        let Document::Manifest(manifest) = blobs.document(at)? else {
            return Ok(true);
        };
        for blob in manifest.layers.iter().chain([&manifest.config]) {
            if blobs.find(&blob.digest)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub(super) fn write(&self, blobs: &Blobs, out: &mut impl Write) -> Result<()> {
        let json = |value: serde_json::Result<Vec<u8>>| value.expect("maps have text keys, so it serialises");
        let mut archive = Archive { out };
        archive.directory("blobs/")?;
        let algorithms: BTreeSet<&str> = self.blobs.keys().map(|digest| digest.algorithm().name()).collect();
        for algorithm in algorithms {
            archive.directory(&format!("blobs/{algorithm}/"))?;
        }
        for (digest, size) in &self.blobs {
            let reader = blobs.content.reader(&blobs.ns, digest)?;
            archive.file(&path(digest), *size, BlobStream::new(reader))?;
        }
        let layout = json(serde_json::to_vec(&json!({ "imageLayoutVersion": "1.0.0" })));
        let listing = self.listing.as_ref();
        let listing = listing.map(|listing| ("manifest.json", json(serde_json::to_vec(listing))));
        let index = ("index.json", json(serde_json::to_vec(&self.index)));
        for (name, text) in [index].into_iter().chain(listing).chain([("oci-layout", layout)]) {
            archive.file(name, text.len() as u64, &text[..])?;
        }
        archive.finish()
    }
}

pub(super) fn list(image: &Resolved) -> Listed {
    Listed {
        config: path(&image.id),
        repo_tags: Vec::new(),
        layers: image.layers.iter().map(|layer| path(&layer.digest)).collect(),
    }
}

fn path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}

struct Archive<'a, W: Write> {
    out: &'a mut W,
}

impl<W: Write> Archive<'_, W> {
    fn directory(&mut self, name: &str) -> Result<()> {
        self.header(name, EntryType::Directory, 0o755, 0)
    }

    fn file(&mut self, name: &str, size: u64, content: impl Read) -> Result<()> {
        self.header(name, EntryType::Regular, 0o644, size)?;
        let mut content = content.take(size);
        let copied = std::io::copy(&mut content, self.out).map_err(ImageError::io(format!("write \"{name}\"")))?;
        if copied < size {
            return Err(ImageError::WrongSize {
                what: format!("stored blob \"{name}\""),
                expected: size,
                got: copied,
            });
        }
        let padding = usize::try_from((512 - size % 512) % 512).expect("below 512");
        self.raw(&[0; 512][..padding])
    }

    fn header(&mut self, name: &str, kind: EntryType, mode: u32, size: u64) -> Result<()> {
        let mut header = Header::new_gnu();
        header
            .set_path(name)
            .map_err(ImageError::io("name an archive member"))?;
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(size);
        header.set_cksum();
        self.raw(header.as_bytes())
    }

    fn finish(&mut self) -> Result<()> {
        self.raw(&[0; 1024])
    }

    fn raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).map_err(ImageError::io("write the archive"))
    }
}
