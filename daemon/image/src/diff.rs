//! What a snapshot changed: as a list, and as a layer that makes the same changes again.
//!
//! One walk serves both. It goes by descriptors and follows no link, since a running container may rename things under
//! it; its order is that of the names, so equal trees give equal layers.

mod store;
mod walk;
mod write;

pub use store::{Format, NewLayer, store_layer};

use crate::error::Result;
use gantry_core::snapshot::{ApplyTarget, Whiteouts};
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use walk::{Walk, What};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    Modified,
    Added,
    Deleted,
}

impl ChangeKind {
    /// The letter of `docker diff`.
    pub fn letter(self) -> char {
        match self {
            Self::Modified => 'C',
            Self::Added => 'A',
            Self::Deleted => 'D',
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// Absolute within the container.
    pub path: PathBuf,
    pub kind: ChangeKind,
}

/// The two sides of a comparison.
#[derive(Debug, Clone)]
pub struct Sides {
    upper: PathBuf,
    lower: Vec<PathBuf>,
    whiteouts: Whiteouts,
    /// Made to be mounted on, and for nothing else; relative to the root.
    mount_points: BTreeSet<Vec<u8>>,
    /// Directories above them.
    above: BTreeSet<Vec<u8>>,
}

impl Sides {
    /// A snapshot's own directory over its layers (overlay), or a whole tree beside its parent's (`base`).
    pub fn new(target: ApplyTarget, base: Option<PathBuf>) -> Self {
        let lower = match target.whiteouts {
            Whiteouts::Overlay => target.lower,
            Whiteouts::Plain => base.into_iter().collect(),
        };
        Self {
            upper: target.dir,
            lower,
            whiteouts: target.whiteouts,
            mount_points: BTreeSet::new(),
            above: BTreeSet::new(),
        }
    }

    /// Leaves these out where they are new and empty, and what is new for them alone.
    pub fn mounted_on(mut self, paths: &[String]) -> Self {
        for path in paths {
            let path = path.trim_matches('/');
            let cuts = path.match_indices('/').map(|(at, _)| path.as_bytes()[..at].to_vec());
            self.above.extend(cuts);
            self.mount_points.insert(path.as_bytes().to_vec());
        }
        self
    }

    /// A directory of overlayfs over its layers, nearest first.
    pub fn overlay(upper: PathBuf, lower: Vec<PathBuf>) -> Self {
        Self {
            upper,
            lower,
            whiteouts: Whiteouts::Overlay,
            mount_points: BTreeSet::new(),
            above: BTreeSet::new(),
        }
    }

    /// Two whole trees.
    pub fn trees(upper: &Path, lower: &Path) -> Self {
        Self {
            upper: upper.to_owned(),
            lower: vec![lower.to_owned()],
            whiteouts: Whiteouts::Plain,
            mount_points: BTreeSet::new(),
            above: BTreeSet::new(),
        }
    }
}

/// The changes in the order of their paths. A directory of which only the content changed is listed if a name came or went.
pub fn changes(sides: &Sides) -> Result<Vec<Change>> {
    let mut found: Vec<Change> = Vec::new();
    let mut listed_dirs = std::collections::HashSet::new();
    let shown = |path: &[u8]| {
        use std::os::unix::ffi::OsStrExt;
        Path::new("/").join(std::ffi::OsStr::from_bytes(path))
    };
    Walk::new(sides)?.run(&mut |node| {
        let kind = match node.what {
            What::Same(_) | What::Opaque => return Ok(()),
            What::Changed(_) => ChangeKind::Modified,
            What::Added(_) => ChangeKind::Added,
            What::Gone => ChangeKind::Deleted,
        };
        if node.path.is_empty() {
            return Ok(());
        }
        let path = shown(node.path);
        let parent = path.parent().unwrap_or(Path::new("/")).to_owned();
        if kind != ChangeKind::Modified && parent != Path::new("/") && listed_dirs.insert(parent.clone()) {
            found.push(Change {
                path: parent,
                kind: ChangeKind::Modified,
            });
        }
        listed_dirs.insert(path.clone());
        found.push(Change { path, kind });
        Ok(())
    })?;
    found.sort();
    Ok(found)
}

/// Writes the layer tar.
pub fn write_layer(sides: &Sides, out: impl Write) -> Result<()> {
    write_layer_until(sides, None, out)
}

/// The same with no time later than `latest`, in seconds since 1970: so that what is built again comes out equal.
pub fn write_layer_until(sides: &Sides, latest: Option<i64>, out: impl Write) -> Result<()> {
    let mut writer = write::LayerWriter::new(out, latest);
    let mut waiting: Vec<(Vec<u8>, walk::Stat)> = Vec::new();
    Walk::new(sides)?.run(&mut |node| {
        // Unchanged directories go in only when something below them does, before it.
        waiting.retain(|(path, _)| {
            path.is_empty()
                || node
                    .path
                    .strip_prefix(&path[..])
                    .is_some_and(|r| r.first() == Some(&b'/'))
        });
        if let What::Same(stat) = node.what {
            waiting.push((node.path.to_vec(), stat));
            return Ok(());
        }
        for (path, stat) in waiting.drain(..) {
            if !path.is_empty() {
                writer.directory(&path, &stat, sides)?;
            }
        }
        writer.node(&node)
    })?;
    writer.finish()
}

#[cfg(test)]
mod tests;
