//! Snapshots as full copies, for filesystems that overlayfs cannot write on.
//!
//! A snapshot is `<root>/snapshots/<id>/fs` and holds everything, its parents' content too. It never mounts, and shares
//! bytes between copies only where the filesystem does that itself (reflink: btrfs, xfs).
//!
//! The one flow: `prepare` copies the nearest parent's `fs`, the mount is a bind of the copy, `commit` syncs it, and
//! `changes` walks copy and original side by side. A view copies nothing: it binds its parent read-only.

mod changes;
mod copy;

pub use changes::compare;

use gantry_snapshots_api::{
    Access, ApplyTarget, Capabilities, ChangeVisitor, Error, Id, Mount, Options, PathError, Removed, Result,
    Snapshotter, Usage, Whiteouts,
};
use gantry_snapshots_dirs::{Home, measure};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

pub const NAME: &str = "native";

/// The native snapshotter.
#[derive(Debug)]
pub struct Native {
    home: Home,
    shares: bool,
}

impl Native {
    /// Opens it below `root`, which is made if it is not there.
    pub fn open(root: &Path) -> Result<Self> {
        if root.to_str().is_none() {
            return Err(Error::Root {
                snapshotter: NAME,
                root: root.to_path_buf(),
                reason: "it is not UTF-8, as mount sources have to be".to_owned(),
            });
        }
        let open = |source| Error::Open {
            snapshotter: NAME,
            source,
        };
        let home = Home::open(root).map_err(open)?;
        let shares = copy::can_share(home.root()).map_err(open)?;
        Ok(Self { home, shares })
    }

    fn fs(&self, id: Id) -> PathBuf {
        self.home.path(id).join("fs")
    }

    fn check(&self, id: Id) -> Result<()> {
        if self.fs(id).is_dir() {
            Ok(())
        } else {
            Err(Error::Missing { snapshotter: NAME, id })
        }
    }

    /// The content that a snapshot begins with, if it has parents. Only the nearest has to be there.
    fn below(&self, id: Id, parents: &[Id]) -> Result<Option<PathBuf>> {
        let Some(&parent) = parents.first() else {
            return Ok(None);
        };
        let below = self.fs(parent);
        if below.is_dir() {
            Ok(Some(below))
        } else {
            Err(Error::ParentMissing { id, parent })
        }
    }

    fn make(&self, id: Id, options: &Options, original: Option<&Path>) -> Result<()> {
        refuse_id_maps(options)?;
        let build = |new: &Path| {
            let content = new.join("fs");
            fs::create_dir(&content).map_err(PathError::of("create", &content))?;
            match original {
                Some(original) => copy::copy_tree(original, &content, self.shares),
                None => fs::set_permissions(&content, Permissions::from_mode(0o755))
                    .map_err(PathError::of("set the mode of", &content)),
            }
        };
        self.home
            .make(id, build)
            .map_err(|source| Error::Prepare { id, source })
    }
}

impl Snapshotter for Native {
    fn name(&self) -> &'static str {
        NAME
    }

    fn root(&self) -> &Path {
        self.home.root()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            share: self.shares,
            ..Capabilities::default()
        }
    }

    fn prepare(&self, id: Id, parents: &[Id], options: &Options) -> Result<()> {
        let original = self.below(id, parents)?;
        self.make(id, options, original.as_deref())
    }

    fn view(&self, id: Id, parents: &[Id], options: &Options) -> Result<()> {
        self.below(id, parents)?;
        self.make(id, options, None)
    }

    fn mounts(&self, id: Id, parents: &[Id], access: Access, options: &Options) -> Result<Vec<Mount>> {
        refuse_id_maps(options)?;
        self.check(id)?;
        let (source, word) = match access {
            Access::ReadWrite => (self.fs(id), "rw"),
            Access::ReadOnly => (self.below(id, parents)?.unwrap_or_else(|| self.fs(id)), "ro"),
        };
        Ok(vec![Mount {
            kind: "bind".into(),
            source: source
                .to_str()
                .expect("the root was checked to be UTF-8 and what follows is ours")
                .into(),
            target: String::new(),
            options: vec!["rbind".into(), word.into()],
        }])
    }

    fn commit(&self, id: Id, _parents: &[Id]) -> Result<Usage> {
        self.check(id)?;
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

    fn apply_target(&self, id: Id, _parents: &[Id]) -> Result<ApplyTarget> {
        self.check(id)?;
        Ok(ApplyTarget {
            dir: self.fs(id),
            whiteouts: Whiteouts::Plain,
            lower: Vec::new(),
        })
    }

    fn changes(&self, id: Id, parents: &[Id], visit: &mut ChangeVisitor<'_>) -> Result<()> {
        self.check(id)?;
        let original = self.below(id, parents)?;
        changes::compare(&self.fs(id), original.as_deref(), visit).map_err(|source| Error::Compare { id, source })
    }

    fn cleanup(&self) -> Result<usize> {
        self.home.cleanup().map_err(|source| Error::Cleanup { source })
    }
}

fn refuse_id_maps(options: &Options) -> Result<()> {
    if options.is_mapped() {
        return Err(Error::Unsupported {
            snapshotter: NAME,
            what: "an id map",
        });
    }
    Ok(())
}
