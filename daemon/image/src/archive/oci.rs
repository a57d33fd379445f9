//! OCI layout: `index.json` names manifests and indexes, `blobs/` holds them (OCI image spec 1.1, "Image Layout").

use super::scan::{Scan, bad};
use crate::blobs::{Blobs, reference_labels};
use crate::descriptor::{Descriptor, Document, Index};
use crate::error::{ImageError, Result};
use crate::media;
use crate::service::enter;
use gantry_core::Digest;
use gantry_core::reference::Reference;

/// Full name, as containerd and Docker write it.
pub(super) const FULL_NAME: &str = "io.containerd.image.name";
/// OCI's: a tag, or whatever the writer took for a name.
pub(super) const REF_NAME: &str = "org.opencontainers.image.ref.name";
const ATTESTATION: &str = "vnd.docker.reference.type";

/// `index.json` itself, all that it names checked and labelled.
pub(super) fn index(scan: &Scan, index: &[u8], blobs: &Blobs) -> Result<Index> {
    let mut index = parse(index)?;
    for entry in &mut index.manifests {
        let target = check(scan, entry, blobs, &mut Vec::new())?;
        entry.media_type = target.media_type;
    }
    Ok(index)
}

fn parse(index: &[u8]) -> Result<Index> {
    match Document::parse(media::OCI_INDEX, index, "archive member \"index.json\"")? {
        Document::Index(index) => Ok(index),
        Document::Manifest(_) => Err(bad("index.json is no index".to_owned())),
    }
}

/// Each image of `index.json`, complete as far as the archive promises.
pub(super) fn images(scan: &Scan, index: &[u8], blobs: &Blobs) -> Result<Vec<(Descriptor, Vec<Reference>)>> {
    let index = parse(index)?;
    let mut found: Vec<(Descriptor, Vec<Reference>)> = Vec::new();
    for entry in index
        .manifests
        .iter()
        .filter(|entry| !entry.annotations.contains_key(ATTESTATION))
    {
        let name = name_of(entry)?;
        let target = Descriptor {
            annotations: Default::default(),
            ..entry.clone()
        };
        match found.iter_mut().find(|(known, _)| known.digest == target.digest) {
            Some((_, names)) => names.extend(name),
            None => {
                let target = check(scan, &target, blobs, &mut Vec::new())?;
                found.push((target, name.into_iter().collect()));
            }
        }
    }
    Ok(found)
}

fn name_of(entry: &Descriptor) -> Result<Option<Reference>> {
    if let Some(name) = entry.annotations.get(FULL_NAME) {
        let name = Reference::parse(name).map_err(|error| bad(format!("image name \"{name}\": {error}")))?;
        return Ok(Some(name.or_latest()));
    }
    // A bare tag names nothing.
    let name = entry.annotations.get(REF_NAME).filter(|name| name.contains([':', '/']));
    Ok(name
        .and_then(|name| Reference::parse(name).ok())
        .map(Reference::or_latest))
}

/// Follows a target down, labels what it finds, and misses nothing but other platforms.
fn check(scan: &Scan, at: &Descriptor, blobs: &Blobs, above: &mut Vec<Digest>) -> Result<Descriptor> {
    enter(&at.digest, above)?;
    present(scan, at, blobs, "manifest")?;
    let document = blobs.document(at)?;
    match &document {
        Document::Manifest(manifest) => {
            present(scan, &manifest.config, blobs, "image config")?;
            for layer in &manifest.layers {
                present(scan, layer, blobs, "layer")?;
            }
        }
        Document::Index(index) => check_children(scan, at, index, blobs, above)?,
    }
    blobs.label(&at.digest, &reference_labels(&document))?;
    above.pop();
    Ok(Descriptor {
        media_type: document.media_type().to_owned(),
        ..at.clone()
    })
}

fn check_children(scan: &Scan, at: &Descriptor, index: &Index, blobs: &Blobs, above: &mut Vec<Digest>) -> Result<()> {
    let mut here = 0;
    for entry in &index.manifests {
        if scan.has(&entry.digest) {
            check(scan, entry, blobs, above)?;
            here += 1;
        }
    }
    match (here, index.manifests.first()) {
        (0, Some(first)) => Err(ImageError::MissingBlob {
            what: format!("manifest of index {}", at.digest),
            digest: first.digest.clone(),
        }),
        (0, None) => Err(bad(format!("index {} is empty", at.digest))),
        _ => Ok(()),
    }
}

fn present(scan: &Scan, blob: &Descriptor, blobs: &Blobs, what: &str) -> Result<()> {
    let size = match (scan.has(&blob.digest), blobs.find(&blob.digest)?) {
        (true, Some(info)) => info.size,
        // An archive is whole by itself: what merely happens to be in the store may go at any time.
        _ => {
            return Err(ImageError::MissingBlob {
                what: format!("{what} in the archive"),
                digest: blob.digest.clone(),
            });
        }
    };
    match size == blob.size {
        true => Ok(()),
        false => Err(ImageError::WrongSize {
            what: format!("{what} {}", blob.digest),
            expected: blob.size,
            got: size,
        }),
    }
}
