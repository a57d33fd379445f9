//! What a snapshot changed, for `diff` and `commit`.

use super::ImageService;
use crate::descriptor::Descriptor;
use crate::diff::{self, Change, Sides};
use crate::error::{ImageError, Result};
use crate::hash::Hasher;
use crate::media;
use gantry_core::content::{Ingest, IngestRequest};
use gantry_core::snapshot::{SnapshotOptions, Whiteouts};
use gantry_core::{Algorithm, Digest, ErrorKind, Labels, LeaseId, Namespace};
use std::io::{self, Write};
use std::path::PathBuf;

/// A layer made from a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiffLayer {
    pub blob: Descriptor,
    pub diff_id: Digest,
}

impl ImageService {
    /// What the active snapshot `key` changed over its parent, in the order of paths. Blocks.
    pub fn changes(
        &self,
        ns: &Namespace,
        snapshotter: &str,
        key: &str,
        parent: Option<&str>,
    ) -> gantry_core::Result<Vec<Change>> {
        self.with_sides(ns, snapshotter, key, parent, diff::changes)
            .map_err(Into::into)
    }

    /// The same as a gzip layer in the store. Blocks.
    pub fn diff(
        &self,
        ns: &Namespace,
        snapshotter: &str,
        key: &str,
        parent: Option<&str>,
        mount_points: &[String],
        lease: Option<LeaseId>,
    ) -> gantry_core::Result<DiffLayer> {
        let layer = self.with_sides(ns, snapshotter, key, parent, |sides| {
            let sides = &sides.clone().mounted_on(mount_points);
            let mut writer = GzipLayer::open(self, ns, lease.clone())?;
            match diff::write_layer(sides, &mut writer) {
                Ok(()) => writer.finish(),
                Err(error) => {
                    writer.abort();
                    Err(error)
                }
            }
        });
        layer.map_err(Into::into)
    }

    fn with_sides<T>(
        &self,
        ns: &Namespace,
        snapshotter: &str,
        key: &str,
        parent: Option<&str>,
        work: impl FnOnce(&Sides) -> Result<T>,
    ) -> Result<T> {
        let snapshots = &self.inner.snapshots;
        let target = snapshots.apply_target(ns, snapshotter, key)?;
        if target.whiteouts == Whiteouts::Overlay {
            return work(&Sides::new(target, None));
        }
        let Some(parent) = parent else {
            let empty = empty_directory()?;
            let outcome = work(&Sides::new(target, Some(empty.clone())));
            // Left over it is an empty directory; the outcome matters more.
            let _ = std::fs::remove_dir(empty);
            return outcome;
        };
        let unique: u64 = rand::random();
        let view = format!("compare-{unique:016x} {parent}");
        let mounts = snapshots.view(ns, snapshotter, &view, Some(parent), SnapshotOptions::default())?;
        let outcome = match mounts.as_slice() {
            [mount] if mount.kind == "bind" => work(&Sides::new(target, Some(PathBuf::from(&mount.source)))),
            _ => Err(ImageError::from(gantry_core::Error::new(
                ErrorKind::Unimplemented,
                format!("snapshotter {snapshotter} shows no directory to compare with"),
            ))),
        };
        snapshots.remove(ns, snapshotter, &view)?;
        outcome
    }
}

fn empty_directory() -> Result<PathBuf> {
    let unique: u64 = rand::random();
    let path = std::env::temp_dir().join(format!("gantry-empty-{unique:016x}"));
    std::fs::create_dir(&path).map_err(ImageError::io("make an empty directory"))?;
    Ok(path)
}

/// A tar stream on its way into the store: hashed, compressed, hashed again.
pub(crate) struct GzipLayer<'a> {
    service: &'a ImageService,
    ns: &'a Namespace,
    plain: Hasher,
    encoder: flate2::write::GzEncoder<IntoIngest>,
}

struct IntoIngest(Box<dyn Ingest>);

impl Write for IntoIngest {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(|e| ImageError::from(e).into_io())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> GzipLayer<'a> {
    pub(crate) fn open(service: &'a ImageService, ns: &'a Namespace, lease: Option<LeaseId>) -> Result<Self> {
        let out = open_ingest(service, ns, lease)?;
        Ok(Self {
            service,
            ns,
            plain: Hasher::new(Algorithm::Sha256),
            encoder: flate2::write::GzEncoder::new(out, flate2::Compression::fast()),
        })
    }

    /// Throws away what was written.
    pub(crate) fn abort(self) {
        if let Ok(ingest) = self.encoder.finish() {
            // What cannot be dropped now expires with its lease.
            let _ = ingest.0.abort();
        }
    }

    pub(crate) fn finish(self) -> Result<DiffLayer> {
        let diff_id = self.plain.digest();
        let ingest = self.encoder.finish().map_err(ImageError::io("write layer"))?.0;
        finish(self.service, self.ns, ingest, media::OCI_LAYER_GZIP, diff_id)
    }
}

fn finish(
    service: &ImageService,
    ns: &Namespace,
    ingest: Box<dyn Ingest>,
    media_type: &str,
    diff_id: Digest,
) -> Result<DiffLayer> {
    let (digest, size) = (ingest.digest(), ingest.status().offset);
    let labels: Labels = crate::blobs::uncompressed_label(&diff_id);
    match ingest.commit(Some(size), Some(&digest), labels.clone()) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            service.inner.content.label(ns, &digest, &labels)?;
        }
        Err(error) => return Err(error.into()),
    }
    Ok(DiffLayer {
        blob: Descriptor::new(media_type, digest, size),
        diff_id,
    })
}

fn open_ingest(service: &ImageService, ns: &Namespace, lease: Option<LeaseId>) -> Result<IntoIngest> {
    let unique: u64 = rand::random();
    let request = IngestRequest {
        reference: format!("diff-{unique:016x}"),
        total: 0,
        expected: None,
        lease,
        transient: true,
    };
    Ok(IntoIngest(service.inner.content.ingest(ns, request)?))
}

/// A layer stored as it comes.
pub(crate) struct RawLayer<'a> {
    service: &'a ImageService,
    ns: &'a Namespace,
    out: IntoIngest,
}

impl<'a> RawLayer<'a> {
    pub(crate) fn open(service: &'a ImageService, ns: &'a Namespace, lease: Option<LeaseId>) -> Result<Self> {
        let out = open_ingest(service, ns, lease)?;
        Ok(Self { service, ns, out })
    }

    pub(crate) fn abort(self) {
        // What cannot be dropped now expires with its lease.
        let _ = self.out.0.abort();
    }

    pub(crate) fn finish(self, media_type: &str, diff_id: Digest) -> Result<DiffLayer> {
        finish(self.service, self.ns, self.out.0, media_type, diff_id)
    }
}

impl Write for RawLayer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for GzipLayer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.encoder.write_all(bytes)?;
        self.plain.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
