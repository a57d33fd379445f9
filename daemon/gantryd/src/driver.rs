//! Which snapshotters: overlayfs where it works, found out by mounting one, native, and the services outside that the
//! configuration names. The first of them is what new things use, unless the configuration says another.

use crate::config::{Driver, ProxyPlugin, SNAPSHOTTER, Settings};
use crate::error::{Error, Result};
use gantry_core::Mount;
use gantry_snapshots_api::{Capabilities, Snapshotter};
use gantry_snapshots_native::Native;
use gantry_snapshots_overlayfs::Overlayfs;
use gantry_snapshots_proxy::Proxy;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tracing::warn;

pub const OVERLAYFS: &str = "overlayfs";
pub const NATIVE: &str = "native";

/// The snapshotters of this daemon, and the one that new things use.
pub struct Snapshotters {
    pub all: Vec<Arc<dyn Snapshotter>>,
    pub default: String,
}

/// Blocks. `scope` names this daemon's snapshots at services outside, which several daemons may share.
pub fn open(settings: &Settings, scope: &str) -> Result<Snapshotters> {
    let root = settings.data_root.join("snapshotters");
    fs::create_dir_all(&root).map_err(Error::path("make the directory", &root))?;
    let place = |name: &str| {
        let moved = settings.tuning.roots.get(name).cloned();
        moved.unwrap_or_else(|| root.join(name))
    };
    let (overlays, copies) = (place(OVERLAYFS), place(NATIVE));
    let works = overlayfs_works(settings, &overlays)?;
    let mut all: Vec<Arc<dyn Snapshotter>> = Vec::new();
    // Where it is not the default it is opened all the same if it holds something: its containers are still there.
    if works || is_enabled(settings, OVERLAYFS) && overlays.exists() {
        all.push(Arc::new(Overlayfs::open(&overlays).map_err(gantry_core::Error::from)?));
    }
    // This one works everywhere, and clients of containerd's API may name it.
    if is_enabled(settings, NATIVE) {
        all.push(Arc::new(Native::open(&copies).map_err(gantry_core::Error::from)?));
    }
    let enabled = settings
        .proxies
        .iter()
        .filter(|proxy| is_enabled(settings, &proxy.name));
    for proxy in enabled {
        all.push(Arc::new(outside(proxy, root.join(&proxy.name), scope)?));
    }
    let default = match &settings.storage_driver {
        Some(Driver::Overlayfs) => OVERLAYFS.to_owned(),
        Some(Driver::Native) => NATIVE.to_owned(),
        Some(Driver::Proxy(name)) => name.clone(),
        None if works => OVERLAYFS.to_owned(),
        None => NATIVE.to_owned(),
    };
    match all.iter().any(|snapshotter| snapshotter.name() == default) {
        true => Ok(Snapshotters { all, default }),
        false => Err(Error::bad(
            "disabled_plugins",
            format!(
                "the snapshotter {default}, which new containers would use, is among them; name another by --storage-driver"
            ),
        )),
    }
}

fn is_enabled(settings: &Settings, name: &str) -> bool {
    !settings.tuning.is_disabled(SNAPSHOTTER, name)
}

/// Tried where nothing else was chosen or ruled out.
fn overlayfs_works(settings: &Settings, root: &Path) -> Result<bool> {
    let within = root.parent().unwrap_or(root);
    fs::create_dir_all(within).map_err(Error::path("make the directory", within))?;
    match &settings.storage_driver {
        _ if !is_enabled(settings, OVERLAYFS) => Ok(false),
        Some(Driver::Native) => Ok(false),
        Some(Driver::Overlayfs) => match probe(within) {
            Ok(()) => Ok(true),
            Err(reason) => Err(Error::Driver {
                driver: OVERLAYFS.to_owned(),
                path: within.to_owned(),
                reason,
            }),
        },
        Some(Driver::Proxy(_)) | None => match probe(within) {
            Ok(()) => Ok(true),
            Err(reason) => {
                let place = within.display();
                warn!("overlayfs does not work on {place}, so layers are copied: {reason}");
                Ok(false)
            }
        },
    }
}

/// It need not be there yet.
fn outside(proxy: &ProxyPlugin, root: PathBuf, scope: &str) -> Result<Proxy> {
    let has = |word: &str| proxy.capabilities.iter().any(|known| known == word);
    let settings = gantry_snapshots_proxy::Settings {
        name: proxy.name.clone(),
        told: proxy.told.clone(),
        address: proxy.address.clone(),
        root,
        scope: scope.to_owned(),
        capabilities: Capabilities {
            rebase: has("rebase"),
            remap_ids: has("remap-ids"),
            share: has("reflink"),
        },
    };
    Ok(Proxy::open(settings).map_err(gantry_core::Error::from)?)
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
