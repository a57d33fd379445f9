//! An archive read as containerd's clients want it: one index of all that it holds, nothing unpacked, nothing named.

use super::load::neither;
use super::oci::{FULL_NAME, REF_NAME};
use super::pipe::PipeReader;
use super::scan::Scan;
use super::{docker, oci};
use crate::blobs::{Blobs, reference_labels};
use crate::descriptor::{Descriptor, Document, Index};
use crate::error::{ImageError, Result};
use crate::hash::Hasher;
use crate::hold::Hold;
use crate::media;
use crate::platform::Platform;
use crate::progress::ProgressSink;
use crate::service::{ImageService, Wanted, paced};
use bytes::Bytes;
use gantry_core::{Algorithm, LeaseId, Namespace};
use std::collections::BTreeMap;
use tokio::sync::mpsc;

#[derive(Debug, Clone, Default)]
pub struct ArchiveOptions {
    /// It is a tar as it comes; otherwise it may be compressed in any known way.
    pub plain: bool,
    /// Layers that a docker-archive brings uncompressed are stored compressed.
    pub force_compress: bool,
    /// Something of these platforms must be in it.
    pub wanted: Wanted,
    pub lease: Option<LeaseId>,
}

/// What an archive holds, in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    pub index: Descriptor,
    /// Its entries, with the annotations that name them.
    pub images: Vec<Descriptor>,
    pub hold: Hold,
}

impl ImageService {
    /// Reads an archive whole.
    pub async fn read_archive(
        &self,
        ns: &Namespace,
        archive: mpsc::Receiver<gantry_core::Result<Bytes>>,
        options: ArchiveOptions,
        progress: impl Into<ProgressSink>,
    ) -> gantry_core::Result<Archive> {
        let (job, hold) = self.job(ns, options.lease.clone(), "", progress.into()).await?;
        let service = self.clone();
        let read = paced("read an archive", move || {
            let (source, limits) = (PipeReader::new(archive), &service.inner.limits);
            let scan = match options.plain {
                true => Scan::of_tar(source, &job.blobs, limits, &job.progress)?,
                false => Scan::of(source, &job.blobs, limits, &job.progress)?,
            };
            let packer = options.force_compress.then_some(&service);
            let index = index(&scan, &job.blobs, packer)?;
            let digest = put(&index, &job.blobs)?;
            options.wanted.entries(&digest.digest, &index)?;
            Ok((digest, index.manifests))
        });
        let (index, images) = read.await?;
        Ok(Archive { index, images, hold })
    }
}

fn index(scan: &Scan, blobs: &Blobs, packer: Option<&ImageService>) -> Result<Index> {
    let document = |name: &str| scan.documents.get(name).map(Vec::as_slice);
    let index = match (document("index.json"), document("manifest.json")) {
        (Some(index), _) => oci::index(scan, index, blobs)?,
        (None, Some(listing)) => of_docker(scan, listing, blobs, packer)?,
        (None, None) => return Err(neither()),
    };
    match index.manifests.is_empty() {
        true => Err(ImageError::NotAnArchive {
            detail: "it holds no image".to_owned(),
        }),
        false => Ok(index),
    }
}

/// One entry for each name of each image.
fn of_docker(scan: &Scan, listing: &[u8], blobs: &Blobs, packer: Option<&ImageService>) -> Result<Index> {
    let mut manifests = Vec::new();
    for (target, names) in docker::images(scan, listing, blobs, packer)? {
        let config = blobs.resolve(&target, &Platform::host())?.config;
        let platform = Platform::new(&config.os, &config.architecture, config.variant.as_deref());
        let target = Descriptor {
            platform: Some(platform),
            ..target
        };
        if names.is_empty() {
            manifests.push(target.clone());
        }
        for name in names {
            let mut entry = target.clone();
            let short = name.tag().map_or_else(|| name.to_string(), str::to_owned);
            entry.annotations.insert(FULL_NAME.to_owned(), name.to_string());
            entry.annotations.insert(REF_NAME.to_owned(), short);
            manifests.push(entry);
        }
    }
    Ok(Index {
        schema_version: 2,
        media_type: Some(media::OCI_INDEX.to_owned()),
        manifests,
        annotations: BTreeMap::new(),
    })
}

fn put(index: &Index, blobs: &Blobs) -> Result<Descriptor> {
    let bytes = serde_json::to_vec(index).expect("maps have text keys, so it serialises");
    let digest = Hasher::of(Algorithm::Sha256, &bytes);
    let target = Descriptor::new(media::OCI_INDEX, digest, bytes.len() as u64);
    let labels = reference_labels(&Document::Index(index.clone()));
    blobs.put(&target, "index", &bytes, labels)?;
    Ok(target)
}
