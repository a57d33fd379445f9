//! The directories that snapshotters keep: made whole, measured, synced and removed.
//!
//! A [`Home`] gives each snapshot id the directory `<root>/snapshots/<id>`. It never looks at parents, never mounts and
//! keeps no metadata. Nothing here follows a symbolic link or crosses a mount point.
//!
//! The one flow: [`Home::make`] builds in `new-<id>` and renames to `<id>`; [`Home::remove`] renames to `rm-<id>`, which
//! is deleted beside everything else. So an id is there whole or not at all, and [`Home::cleanup`] knows by the name what a kill left.

mod compare;
mod home;
mod mounted;
mod reaper;
mod remove;
mod walk;

pub use compare::{Teller, Xattrs, look, path_in, same_attributes, xattrs};
pub use home::Home;
pub use mounted::refuse_mounted;
pub use remove::remove_tree;
pub use walk::{Entry, MAX_DEPTH, measure, names, open_child, open_root, walk};

pub use gantry_snapshots_api::PathError;

use rustix::fs::{CWD, Mode, OFlags, openat};
use std::path::Path;

type Result<T, E = PathError> = std::result::Result<T, E>;

/// Brings everything below `dir` to disk, and whatever else its filesystem still holds in memory.
pub fn sync_tree(dir: &Path) -> Result<()> {
    let opened = open_root(dir)?;
    rustix::fs::syncfs(opened).map_err(PathError::of("sync the filesystem of", dir))
}

/// Brings the entries and attributes of one directory to disk.
pub fn sync_dir(dir: &Path) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = openat(CWD, dir, flags, Mode::empty()).map_err(PathError::of("open", dir))?;
    rustix::fs::fsync(opened).map_err(PathError::of("sync", dir))
}
