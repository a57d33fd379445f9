//! Layers to directories and back, for clients who bring the mounts: apply a layer to them, or make one of what differs.
//!
//! Mounts as the daemon's own snapshotters make them are worked on by their directories, without mounting; all others are
//! mounted where only the worker sees them.

pub(crate) mod place;
#[cfg(test)]
mod tests;

use crate::activations::Activations;
use crate::gate::blocking;
use gantry_core::content::{BlobStream, ContentStore};
use gantry_core::error::io_kind;
use gantry_core::snapshot::{ApplyTarget, Whiteouts};
use gantry_core::{Algorithm, Error, ErrorKind, Labels, LeaseId, Mount, Namespace, Result};
use gantry_image::diff::{Format, NewLayer, Sides, store_layer};
use gantry_image::unpack::{Applied, Limits, apply};
use gantry_image::{Descriptor, media};
use gantry_snapshots_mount::with_mounted;
use place::Place;
use rustix::fs::{CWD, Mode, OFlags};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Cheap to clone.
#[derive(Clone)]
pub struct Difference {
    content: Arc<dyn ContentStore>,
    activations: Option<Arc<Activations>>,
    limits: Limits,
    /// Where trees are mounted.
    at: PathBuf,
}

/// What a comparison becomes.
#[derive(Debug, Clone, Default)]
pub struct NewDifference {
    /// Empty = a gzip layer of OCI.
    pub media_type: String,
    /// Name of the ingest; empty = one of our own.
    pub reference: String,
    pub labels: Labels,
    pub lease: Option<LeaseId>,
    /// No later time is written; seconds since 1970.
    pub source_date_epoch: Option<i64>,
}

impl Difference {
    pub(crate) fn new(content: Arc<dyn ContentStore>, limits: Limits, at: PathBuf) -> Self {
        Self {
            content,
            activations: None,
            limits,
            at,
        }
    }

    /// Takes mounts that have to be activated, too.
    pub(crate) fn activating(mut self, activations: Arc<Activations>) -> Self {
        self.activations = Some(activations);
        self
    }

    /// Unpacks the layer `blob` into what `mounts` show; with `sync`, it is on disk afterwards. Answers the plain layer: its
    /// media type, size and diffID.
    pub async fn apply(&self, ns: &Namespace, blob: Descriptor, mounts: Vec<Mount>, sync: bool) -> Result<Descriptor> {
        let (room, ns) = (self.clone(), ns.clone());
        blocking(move || {
            if !media::is_layer(&blob.media_type) {
                let text = format!(
                    "failed to get stream processor for {}: no processor for media-type",
                    blob.media_type
                );
                return Err(Error::new(ErrorKind::Unimplemented, text));
            }
            if mounts.is_empty() {
                return Err(Error::invalid("a layer needs at least one mount to be applied to"));
            }
            let unpack = |mounts: &[Mount]| room.unpack(&ns, &blob, mounts, sync);
            let applied = match &room.activations {
                Some(activations) if mounts.len() > 1 => activations.with(&ns, "diff-apply", &mounts, unpack)?,
                Some(_) | None => unpack(&mounts)?,
            };
            Ok(Descriptor::new(media::OCI_LAYER, applied.diff_id, applied.size))
        })
        .await
    }

    fn unpack(&self, ns: &Namespace, blob: &Descriptor, mounts: &[Mount], sync: bool) -> Result<Applied> {
        let source = BlobStream::new(self.content.reader(ns, &blob.digest)?);
        let into = |target: ApplyTarget| -> Result<Applied> {
            let applied = apply(source, &target, &self.limits, Algorithm::Sha256, |_| {})?;
            if sync {
                sync_filesystem(&target.dir)?;
            }
            Ok(applied)
        };
        match Place::to_write(mounts) {
            Place::Overlay { upper, lower } => into(ApplyTarget {
                dir: upper,
                whiteouts: Whiteouts::Overlay,
                lower,
            }),
            Place::Directory(dir) => into(plain(dir)),
            Place::Mounts(mounts) => with_mounted(&self.at.join("apply"), &mounts, |root| into(plain(root.into())))?,
        }
    }

    /// Stores as a layer what `right` shows and `left` does not, and the other way round. Answers the stored layer.
    pub async fn compare(
        &self,
        ns: &Namespace,
        left: Vec<Mount>,
        right: Vec<Mount>,
        new: NewDifference,
    ) -> Result<Descriptor> {
        let (room, ns) = (self.clone(), ns.clone());
        blocking(move || {
            let layer = NewLayer {
                format: format(&new.media_type)?,
                reference: Some(new.reference).filter(|name| !name.is_empty()),
                labels: new.labels,
                lease: new.lease,
                latest: new.source_date_epoch,
            };
            let store = |sides: &Sides| Ok(store_layer(&*room.content, &ns, sides, layer)?.blob);
            room.with_sides(&left, &right, store)
        })
        .await
    }

    fn with_sides<T: Send>(
        &self,
        left: &[Mount],
        right: &[Mount],
        work: impl FnOnce(&Sides) -> Result<T> + Send,
    ) -> Result<T> {
        if let Some((upper, lower)) = place::above(left, right) {
            return work(&Sides::overlay(upper, lower));
        }
        self.shown("left", left, |lower| {
            self.shown("right", right, |upper| work(&Sides::trees(upper, lower)))
        })
    }

    /// Runs `work` on the tree that `mounts` make, for reading.
    fn shown<T: Send>(&self, side: &str, mounts: &[Mount], work: impl FnOnce(&Path) -> Result<T> + Send) -> Result<T> {
        match Place::to_read(mounts) {
            Place::Directory(dir) => work(&dir),
            Place::Overlay { .. } => unreachable!("an overlay is read mounted"),
            Place::Mounts(mounts) => with_mounted(&self.at.join(side), &mounts, work)?,
        }
    }
}

fn plain(dir: PathBuf) -> ApplyTarget {
    ApplyTarget {
        dir,
        whiteouts: Whiteouts::Plain,
        lower: Vec::new(),
    }
}

fn format(media_type: &str) -> Result<Format> {
    match media_type {
        "" => Ok(Format::Gzip),
        named => Format::of(named).ok_or_else(|| {
            let text = format!("unsupported diff media type: {named}: not implemented");
            Error::new(ErrorKind::Unimplemented, text)
        }),
    }
}

fn sync_filesystem(dir: &Path) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let synced = rustix::fs::openat(CWD, dir, flags, Mode::empty()).and_then(rustix::fs::syncfs);
    synced.map_err(|errno| {
        let error = std::io::Error::from(errno);
        Error::new(
            io_kind(&error),
            format!("sync the filesystem of {}: {error}", dir.display()),
        )
    })
}
