//! Which snapshotter: overlayfs where it works, found out by mounting one, else native.

use crate::config::{Driver, Settings};
use crate::error::{Error, Result};
use gantry_core::Mount;
use gantry_snapshots_api::Snapshotter;
use gantry_snapshots_native::Native;
use gantry_snapshots_overlayfs::Overlayfs;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tracing::warn;

pub const OVERLAYFS: &str = "overlayfs";
pub const NATIVE: &str = "native";

/// The snapshotters of this daemon, and the one that new things use.
pub struct Snapshotters {
    pub all: Vec<Arc<dyn Snapshotter>>,
    pub default: &'static str,
}

/// Blocks.
pub fn open(settings: &Settings) -> Result<Snapshotters> {
    let root = settings.data_root.join("snapshotters");
    fs::create_dir_all(&root).map_err(Error::path("make the directory", &root))?;
    let works = match settings.storage_driver {
        Some(Driver::Native) => false,
        Some(Driver::Overlayfs) => {
            probe(&root).map_err(|reason| Error::Driver {
                driver: OVERLAYFS,
                path: root.clone(),
                reason,
            })?;
            true
        }
        None => match probe(&root) {
            Ok(()) => true,
            Err(reason) => {
                warn!(
                    "overlayfs does not work on {}, so layers are copied: {reason}",
                    root.display()
                );
                false
            }
        },
    };
    let mut all: Vec<Arc<dyn Snapshotter>> = Vec::new();
    // Where it is not the default it is opened all the same if it holds something: its containers are still there.
    if works || root.join(OVERLAYFS).exists() {
        all.push(Arc::new(
            Overlayfs::open(&root.join(OVERLAYFS)).map_err(gantry_core::Error::from)?,
        ));
    }
    // This one works everywhere, and clients of containerd's API may name it.
    all.push(Arc::new(
        Native::open(&root.join(NATIVE)).map_err(gantry_core::Error::from)?,
    ));
    Ok(Snapshotters {
        all,
        default: if works { OVERLAYFS } else { NATIVE },
    })
}

/// Mounts an overlay in a mount namespace of its own, writes through it, and looks where the byte went.
fn probe(root: &Path) -> Result<(), String> {
    let place = root.join(format!(".probe-{}", std::process::id()));
    let outcome = try_overlay(&place);
    // Scratch of ours; if it stays it is in nobody's way.
    let _ = fs::remove_dir_all(&place);
    outcome
}

fn try_overlay(place: &Path) -> Result<(), String> {
    let dir = |name: &str| -> Result<PathBuf, String> {
        let path = place.join(name);
        fs::create_dir_all(&path).map_err(|error| format!("make {}: {error}", path.display()))?;
        Ok(path)
    };
    let (lower, upper, work, merged) = (dir("lower")?, dir("upper")?, dir("work")?, dir("merged")?);
    let options = [("lowerdir", &lower), ("upperdir", &upper), ("workdir", &work)]
        .map(|(name, path)| format!("{name}={}", path.display()))
        .to_vec();
    let mount = Mount {
        kind: "overlay".to_owned(),
        source: "overlay".to_owned(),
        target: String::new(),
        options,
    };
    let written = gantry_snapshots_mount::with_mounted(&merged, &[mount], |tree| fs::write(tree.join("file"), b"x"));
    written
        .map_err(|error| error.to_string())?
        .map_err(|error| format!("write through an overlay: {error}"))?;
    match upper.join("file").exists() {
        true => Ok(()),
        false => Err("what is written through an overlay does not arrive in its upper directory".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probe_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        probe(dir.path()).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(probe(Path::new("/proc/nonexistent")).is_err());
    }
}
