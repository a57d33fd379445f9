//! Import: the tar of a root filesystem becomes an image of one layer, in one pass.

use super::docker::put_manifest;
use super::pipe::PipeReader;
use crate::compress::{Compression, decoder, peek};
use crate::config::{History, ImageConfig, RootFs, RunConfig};
use crate::descriptor::{Descriptor, Manifest};
use crate::error::{ImageError, Result};
use crate::hash::Hasher;
use crate::instruction::apply_changes;
use crate::media;
use crate::platform::Platform;
use crate::progress::ProgressSink;
use crate::service::{
    DiffLayer, Draft, GzipLayer, ImageService, Job, Pulled, RawLayer, blocking, on_blocking_thread, paced,
};
use crate::unpack::{Applied, apply};
use bytes::Bytes;
use chrono::{SecondsFormat, Utc};
use gantry_core::{Algorithm, Labels, Namespace};
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use tokio::sync::mpsc;

#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    pub message: String,
    /// Dockerfile instructions.
    pub changes: Vec<String>,
    /// `os/arch[/variant]`; empty = the host's.
    pub platform: String,
}

impl ImageService {
    /// Makes an image of a root filesystem's tar, compressed in any of the known ways.
    pub async fn import(
        &self,
        ns: &Namespace,
        options: ImportOptions,
        tar: mpsc::Receiver<gantry_core::Result<Bytes>>,
    ) -> gantry_core::Result<Pulled> {
        let platform = match options.platform.as_str() {
            "" => Platform::host(),
            text => Platform::parse(text)?,
        };
        // Before the first byte is read: a mistake there costs nothing.
        let mut config = RunConfig::default();
        apply_changes(&mut config, &options.changes)?;
        let (job, hold) = self.job(ns, None, "", ProgressSink::silent()).await?;
        let (service, there) = (self.clone(), job.clone());
        let target = paced("import", move || {
            on_blocking_thread(|| {
                let layer = service.import_layer(&there, PipeReader::new(tar))?;
                put_image(&there, &layer, config, &platform, &options.message)
            })
        });
        let target = target.await?;
        let (blobs, wanted) = (job.blobs.clone(), target.clone());
        let resolved = blocking("read an image", move || blobs.resolve(&wanted, &Platform::host())).await?;
        Ok(self.finish(&job, resolved, hold).await?)
    }

    /// Unpacks and stores at once. What the store keeps is gzip or zstd as it came, anything else as gzip.
    fn import_layer(&self, job: &Job, source: impl Read) -> Result<DiffLayer> {
        let (compression, source) = peek(source).map_err(ImageError::io("read tar"))?;
        let draft = Draft::prepare(&self.inner, job, None, None)?.expect("without a chain it is always new");
        let unpack =
            |source: &mut dyn Read| apply(source, &draft.target, &self.inner.limits, Algorithm::Sha256, |_| {});
        let (blobs, lease) = (&job.blobs, job.blobs.lease.clone());
        let (applied, layer) = match compression {
            Compression::Gzip | Compression::Zstd => {
                let mut tee = Tee {
                    source,
                    out: RawLayer::open(self, &blobs.ns, lease)?,
                };
                let applied = unpack(&mut tee).and_then(not_empty);
                let media_type = match compression {
                    Compression::Gzip => media::OCI_LAYER_GZIP,
                    _ => media::OCI_LAYER_ZSTD,
                };
                match applied {
                    Ok(applied) => (applied.clone(), tee.out.finish(media_type, applied.diff_id)?),
                    Err(error) => {
                        tee.out.abort();
                        return Err(error);
                    }
                }
            }
            Compression::None | Compression::Bzip2 | Compression::Xz => {
                let (_, plain) = decoder(source).map_err(ImageError::io("read tar"))?;
                let mut tee = Tee {
                    source: plain,
                    out: GzipLayer::open(self, &blobs.ns, lease)?,
                };
                match unpack(&mut tee).and_then(not_empty) {
                    Ok(applied) => (applied, tee.out.finish()?),
                    Err(error) => {
                        tee.out.abort();
                        return Err(error);
                    }
                }
            }
        };
        draft.commit(&applied.diff_id, None)?;
        Ok(layer)
    }
}

fn not_empty(applied: Applied) -> Result<Applied> {
    match applied.size {
        0 => Err(ImageError::NotAnArchive {
            detail: "it is empty".to_owned(),
        }),
        _ => Ok(applied),
    }
}

fn put_image(
    job: &Job,
    layer: &DiffLayer,
    config: RunConfig,
    platform: &Platform,
    message: &str,
) -> Result<Descriptor> {
    let created = Some(Utc::now().to_rfc3339_opts(SecondsFormat::Nanos, true));
    let comment = if message.is_empty() { "Imported from -" } else { message };
    let config = ImageConfig {
        created: created.clone(),
        architecture: platform.architecture.clone(),
        variant: platform.variant.clone(),
        os: platform.os.clone(),
        config,
        rootfs: RootFs {
            kind: "layers".to_owned(),
            diff_ids: vec![layer.diff_id.clone()],
        },
        history: vec![History {
            created,
            comment: comment.to_owned(),
            ..History::default()
        }],
        ..ImageConfig::default()
    };
    let bytes = config.to_bytes();
    let blob = Descriptor::new(
        media::OCI_CONFIG,
        Hasher::of(Algorithm::Sha256, &bytes),
        bytes.len() as u64,
    );
    job.blobs.put(&blob, "config", &bytes, Labels::new())?;
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(media::OCI_MANIFEST.to_owned()),
        config: blob,
        layers: vec![layer.blob.clone()],
        annotations: BTreeMap::new(),
    };
    put_manifest(&job.blobs, manifest)
}

/// What is read is written too.
struct Tee<R, W> {
    source: R,
    out: W,
}

impl<R: Read, W: Write> Read for Tee<R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.out.write_all(&buffer[..read])?;
        Ok(read)
    }
}
