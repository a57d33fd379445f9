//! A layer on its way into the store: hashed plain, compressed, hashed again, under the name the caller gives the ingest.

use super::{Sides, write_layer_until};
use crate::blobs::uncompressed_label;
use crate::descriptor::Descriptor;
use crate::error::{ImageError, Result};
use crate::hash::Hasher;
use crate::media;
use crate::service::DiffLayer;
use gantry_core::content::{BlobInfo, ContentStore, Ingest, IngestRequest};
use gantry_core::{Algorithm, Digest, ErrorKind, Labels, LeaseId, Namespace};
use std::io::{self, Write};

/// How a layer is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Tar,
    Gzip,
    Zstd,
}

impl Format {
    /// Of the media types a layer can be made as; `None` for all others.
    pub fn of(media_type: &str) -> Option<Self> {
        match media_type {
            media::OCI_LAYER => Some(Self::Tar),
            media::OCI_LAYER_GZIP => Some(Self::Gzip),
            media::OCI_LAYER_ZSTD => Some(Self::Zstd),
            _ => None,
        }
    }

    pub fn media_type(self) -> &'static str {
        match self {
            Self::Tar => media::OCI_LAYER,
            Self::Gzip => media::OCI_LAYER_GZIP,
            Self::Zstd => media::OCI_LAYER_ZSTD,
        }
    }
}

/// What becomes of a comparison.
#[derive(Debug, Clone)]
pub struct NewLayer {
    pub format: Format,
    /// Name of the ingest; `None` = one of our own. Under a caller's name, what a failure leaves stays.
    pub reference: Option<String>,
    pub labels: Labels,
    pub lease: Option<LeaseId>,
    /// No later time is written; seconds since 1970.
    pub latest: Option<i64>,
}

/// Writes the layer of `sides` into the store, in any case anew. A compressed one is labelled with its diffID. Blocks.
pub fn store_layer(content: &dyn ContentStore, ns: &Namespace, sides: &Sides, layer: NewLayer) -> Result<DiffLayer> {
    let ours = layer.reference.is_none();
    let unique: u64 = rand::random();
    let request = IngestRequest {
        reference: layer.reference.unwrap_or_else(|| format!("diff-{unique:016x}")),
        total: 0,
        expected: None,
        lease: layer.lease,
        transient: ours,
    };
    let mut ingest = content.ingest(ns, request)?;
    if ingest.status().offset > 0 {
        ingest.truncate(0)?;
    }
    let diff_id = match fill(ingest.as_mut(), sides, layer.format, layer.latest) {
        Ok(diff_id) => diff_id,
        Err(error) => {
            if ours {
                // The failure is the one to tell; what stays is dropped with its lease.
                let _ = ingest.abort();
            }
            return Err(error);
        }
    };
    let mut labels = layer.labels;
    let told = match layer.format {
        Format::Tar => Labels::new(),
        Format::Gzip | Format::Zstd => uncompressed_label(&diff_id),
    };
    labels.extend(told.clone());
    let blob = commit(content, ns, ingest, labels, &told)?;
    Ok(DiffLayer {
        blob: Descriptor::new(layer.format.media_type(), blob.digest, blob.size),
        diff_id,
    })
}

fn fill(ingest: &mut dyn Ingest, sides: &Sides, format: Format, latest: Option<i64>) -> Result<Digest> {
    let out = IntoIngest(ingest);
    let ended = ImageError::io("write layer");
    let mut hashed = Hashed {
        out: match format {
            Format::Tar => Packed::Tar(out),
            Format::Gzip => Packed::Gzip(flate2::write::GzEncoder::new(out, flate2::Compression::fast())),
            Format::Zstd => {
                let encoder = zstd::stream::write::Encoder::new(out, zstd::DEFAULT_COMPRESSION_LEVEL);
                Packed::Zstd(encoder.map_err(ImageError::io("write layer"))?)
            }
        },
        plain: Hasher::new(Algorithm::Sha256),
    };
    write_layer_until(sides, latest, &mut hashed)?;
    hashed.out.finish().map_err(ended)?;
    Ok(hashed.plain.digest())
}

/// A blob that is there already keeps its labels; `told` is added if it lacks it.
fn commit(
    content: &dyn ContentStore,
    ns: &Namespace,
    ingest: Box<dyn Ingest>,
    labels: Labels,
    told: &Labels,
) -> Result<BlobInfo> {
    let (digest, size) = (ingest.digest(), ingest.status().offset);
    match ingest.commit(Some(size), Some(&digest), labels) {
        Ok(info) => Ok(info),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let info = content.info(ns, &digest)?;
            match told.keys().all(|key| info.labels.contains_key(key)) {
                true => Ok(info),
                false => Ok(content.label(ns, &digest, told)?),
            }
        }
        Err(error) => Err(error.into()),
    }
}

struct IntoIngest<'a>(&'a mut dyn Ingest);

impl Write for IntoIngest<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(|e| ImageError::from(e).into_io())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum Packed<'a> {
    Tar(IntoIngest<'a>),
    Gzip(flate2::write::GzEncoder<IntoIngest<'a>>),
    Zstd(zstd::stream::write::Encoder<'static, IntoIngest<'a>>),
}

impl Packed<'_> {
    fn finish(self) -> io::Result<()> {
        match self {
            Self::Tar(_) => Ok(()),
            Self::Gzip(encoder) => encoder.finish().map(drop),
            Self::Zstd(encoder) => encoder.finish().map(drop),
        }
    }
}

struct Hashed<'a> {
    out: Packed<'a>,
    plain: Hasher,
}

impl Write for Hashed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.out {
            Packed::Tar(out) => out.write_all(bytes)?,
            Packed::Gzip(out) => out.write_all(bytes)?,
            Packed::Zstd(out) => out.write_all(bytes)?,
        }
        self.plain.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
