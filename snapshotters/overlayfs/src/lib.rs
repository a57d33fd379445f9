//! Snapshots as layers of overlayfs (Documentation/filesystems/overlayfs.rst).
//!
//! A snapshot is `<root>/snapshots/<id>/fs`, which holds only its difference from the parents, and `<id>/work`, which the
//! kernel needs while it is written. This room never mounts; it says how to. The shapes of mounts are containerd's,
//! clients read them: one bind where nothing lies below, else an overlay with the nearest parent first.
//!
//! The one flow: `prepare` makes both directories, content comes in through the mount or straight into `fs` with
//! whiteouts, `commit` syncs and measures `fs`, and children name it among their `lowerdir`s.

mod changes;
mod kernel;

pub use changes::compare;
pub use kernel::Kernel;

use gantry_snapshots_api::{
    Access, ApplyTarget, Capabilities, ChangeVisitor, Error, Id, IdMap, Mount, Options, PathError, Removed, Result,
    Snapshotter, Usage, Whiteouts,
};
use gantry_snapshots_dirs::{Home, measure};
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

pub const NAME: &str = "overlayfs";

/// Most layers below one mount (`OVL_MAX_STACK` in fs/overlayfs).
pub const MAX_LAYERS: usize = 500;

/// The overlayfs snapshotter.
#[derive(Debug)]
pub struct Overlayfs {
    home: Home,
    kernel: Kernel,
}

impl Overlayfs {
    /// Opens it below `root`, which is made if it is not there.
    pub fn open(root: &Path) -> Result<Self> {
        Self::open_on(root, Kernel::probe())
    }

    /// Opens it for a kernel described by the caller.
    pub fn open_on(root: &Path, kernel: Kernel) -> Result<Self> {
        let refuse = |reason: &str| Error::Root {
            snapshotter: NAME,
            root: root.to_path_buf(),
            reason: reason.to_owned(),
        };
        match root.to_str() {
            None => return Err(refuse("it is not UTF-8, as mount options have to be")),
            Some(text) if text.contains([':', ',', '\\']) => {
                return Err(refuse("':', ',' and '\\' have a meaning in mount options"));
            }
            Some(_) => {}
        }
        let open = |source| Error::Open {
            snapshotter: NAME,
            source,
        };
        let home = Home::open(root).map_err(open)?;
        if !kernel.can_hold_layers(home.snapshots()).map_err(open)? {
            return Err(refuse(
                "its filesystem cannot be written below an overlay, use the native snapshotter",
            ));
        }
        Ok(Self { home, kernel })
    }

    fn fs(&self, id: Id) -> PathBuf {
        self.home.path(id).join("fs")
    }

    fn work(&self, id: Id) -> PathBuf {
        self.home.path(id).join("work")
    }

    fn make(&self, id: Id, parents: &[Id], options: &Options, access: Access) -> Result<()> {
        self.check_parents(id, parents)?;
        let below = parents.first().map(|&nearest| self.fs(nearest));
        let build = |new: &Path| {
            make_root(&new.join("fs"), below.as_deref(), options)?;
            match access {
                Access::ReadWrite => make_dir(&new.join("work"), 0o711),
                Access::ReadOnly => Ok(()),
            }
        };
        self.home
            .make(id, build)
            .map_err(|source| Error::Prepare { id, source })
    }

    /// Every parent's content is there, and there are not too many.
    fn check_parents(&self, id: Id, parents: &[Id]) -> Result<()> {
        if parents.len() > MAX_LAYERS {
            return Err(Error::TooManyLayers {
                id,
                count: parents.len(),
                most: MAX_LAYERS,
            });
        }
        match parents.iter().find(|&&parent| !self.fs(parent).is_dir()) {
            Some(&parent) => Err(Error::ParentMissing { id, parent }),
            None => Ok(()),
        }
    }

    fn check(&self, id: Id) -> Result<()> {
        if self.fs(id).is_dir() {
            Ok(())
        } else {
            Err(Error::Missing { snapshotter: NAME, id })
        }
    }

    fn overlay(&self, id: Id, parents: &[Id], access: Access, options: &Options) -> Mount {
        let mut words = Vec::new();
        if access == Access::ReadWrite {
            words.push(format!("workdir={}", text(&self.work(id))));
            words.push(format!("upperdir={}", text(&self.fs(id))));
        }
        let layers: Vec<String> = parents.iter().map(|&parent| text(&self.fs(parent))).collect();
        words.push(format!("lowerdir={}", layers.join(":")));
        words.extend(self.kernel.options());
        words.extend(id_map_options(options));
        Mount {
            kind: "overlay".into(),
            source: "overlay".into(),
            target: String::new(),
            options: words,
        }
    }
}

impl Snapshotter for Overlayfs {
    fn name(&self) -> &'static str {
        NAME
    }

    fn root(&self) -> &Path {
        self.home.root()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            rebase: true,
            ..Capabilities::default()
        }
    }

    fn prepare(&self, id: Id, parents: &[Id], options: &Options) -> Result<()> {
        self.make(id, parents, options, Access::ReadWrite)
    }

    fn view(&self, id: Id, parents: &[Id], options: &Options) -> Result<()> {
        self.make(id, parents, options, Access::ReadOnly)
    }

    fn mounts(&self, id: Id, parents: &[Id], access: Access, options: &Options) -> Result<Vec<Mount>> {
        self.check(id)?;
        self.check_parents(id, parents)?;
        let one = match (parents, access) {
            ([], Access::ReadWrite) => bind(&self.fs(id), "rw", options),
            ([], Access::ReadOnly) => bind(&self.fs(id), "ro", options),
            (&[only], Access::ReadOnly) => bind(&self.fs(only), "ro", options),
            ([_, ..], Access::ReadOnly | Access::ReadWrite) => self.overlay(id, parents, access, options),
        };
        Ok(vec![one])
    }

    fn commit(&self, id: Id, parents: &[Id]) -> Result<Usage> {
        self.check(id)?;
        self.check_parents(id, parents)?;
        self.home.settle(id, "fs").map_err(|source| Error::Sync { id, source })
    }

    fn refuse_mounted(&self, id: Id) -> Result<()> {
        self.home
            .refuse_mounted(id)
            .map_err(|source| Error::Remove { id, source })
    }

    fn remove(&self, id: Id) -> Result<Removed> {
        self.home.remove(id).map_err(|source| Error::Remove { id, source })
    }

    fn usage(&self, id: Id) -> Result<Usage> {
        self.check(id)?;
        measure(&self.fs(id)).map_err(|source| Error::Measure { id, source })
    }

    fn exists(&self, id: Id) -> Result<bool> {
        self.home.exists(id).map_err(|source| Error::List { source })
    }

    fn list(&self) -> Result<Vec<Id>> {
        self.home.list().map_err(|source| Error::List { source })
    }

    fn apply_target(&self, id: Id, parents: &[Id]) -> Result<ApplyTarget> {
        self.check(id)?;
        self.check_parents(id, parents)?;
        Ok(ApplyTarget {
            dir: self.fs(id),
            whiteouts: Whiteouts::Overlay,
            lower: parents.iter().map(|&parent| self.fs(parent)).collect(),
        })
    }

    fn changes(&self, id: Id, parents: &[Id], visit: &mut ChangeVisitor<'_>) -> Result<()> {
        self.check(id)?;
        self.check_parents(id, parents)?;
        let layers = parents.iter().map(|&parent| self.fs(parent)).collect();
        changes::compare(&self.fs(id), layers, visit).map_err(|source| Error::Compare { id, source })
    }

    fn cleanup(&self) -> Result<usize> {
        self.home.cleanup().map_err(|source| Error::Cleanup { source })
    }
}

/// The root of a snapshot: with mode and owner of the one below, since the upper root is what a mount shows.
fn make_root(dir: &Path, below: Option<&Path>, options: &Options) -> Result<(), PathError> {
    make_dir(dir, 0o755)?;
    let zero = |maps: &[IdMap]| maps.iter().find_map(|map| map.host_id(0));
    let (mut user, mut group) = (zero(&options.uid_map), zero(&options.gid_map));
    if let Some(below) = below {
        let like = fs::symlink_metadata(below).map_err(PathError::of("look at", below))?;
        user = user.or(Some(like.uid()));
        group = group.or(Some(like.gid()));
        set_mode(dir, like.mode() & 0o7777)?;
    }
    if user.is_some() || group.is_some() {
        chown(dir, user, group).map_err(PathError::of("change the owner of", dir))?;
    }
    Ok(())
}

fn make_dir(dir: &Path, mode: u32) -> Result<(), PathError> {
    fs::create_dir(dir).map_err(PathError::of("create", dir))?;
    set_mode(dir, mode)
}

fn set_mode(dir: &Path, mode: u32) -> Result<(), PathError> {
    fs::set_permissions(dir, Permissions::from_mode(mode)).map_err(PathError::of("set the mode of", dir))
}

fn bind(source: &Path, access: &str, options: &Options) -> Mount {
    let mut words = vec![access.to_owned(), "rbind".to_owned()];
    words.extend(id_map_options(options));
    Mount {
        kind: "bind".into(),
        source: text(source),
        target: String::new(),
        options: words,
    }
}

fn id_map_options(options: &Options) -> impl Iterator<Item = String> {
    let word = |key: &str, maps: &[IdMap]| (!maps.is_empty()).then(|| format!("{key}={}", IdMap::format_list(maps)));
    [word("uidmap", &options.uid_map), word("gidmap", &options.gid_map)]
        .into_iter()
        .flatten()
}

fn text(path: &Path) -> String {
    path.to_str()
        .expect("the root was checked to be UTF-8 and what follows is ours")
        .to_owned()
}
