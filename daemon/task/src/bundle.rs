//! The directory of one shim: made before it, removed after it.

use crate::error::{Result, TaskError};
use gantry_core::{ContainerId, Namespace};
use gantry_shim_protocol::bundle as file;
use gantry_shim_protocol::{Bootstrap, BundleState};
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// What a bundle on its way out is called until it is gone; no namespace or id begins with a dot.
const LEAVING: &str = ".leaving-";

/// Which shim's bundle.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BundleName {
    pub namespace: Namespace,
    pub id: ContainerId,
}

/// `<namespace>/<id>` in the directory of bundles.
#[derive(Clone, Debug)]
pub struct Bundle {
    parent: PathBuf,
    path: PathBuf,
}

impl Bundle {
    pub(crate) fn new(bundles: &Path, namespace: &Namespace, id: &ContainerId) -> Self {
        let parent = bundles.join(namespace.as_str());
        Self {
            path: parent.join(id.as_str()),
            parent,
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn exists(&self) -> bool {
        self.path.is_dir()
    }

    /// Makes the directory, its empty `rootfs`, and `config.json` with the spec's bytes.
    pub(crate) fn make(&self, spec: &[u8]) -> Result<()> {
        fail::fail_point!("task::bundle::make");
        self.try_make(spec).map_err(|source| TaskError::MakeBundle {
            path: self.path.clone(),
            source,
        })?;
        fail::fail_point!("task::bundle::made");
        Ok(())
    }

    fn try_make(&self, spec: &[u8]) -> io::Result<()> {
        let made = DirBuilder::new().mode(0o700).create(&self.path);
        match made {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                DirBuilder::new().recursive(true).mode(0o711).create(&self.parent)?;
                fs::set_permissions(&self.parent, Permissions::from_mode(0o711))?;
                DirBuilder::new().mode(0o700).create(&self.path)?;
            }
            made => made?,
        }
        DirBuilder::new().mode(0o711).create(self.path.join(file::ROOTFS))?;
        let mut config = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(self.path.join(file::CONFIG))?;
        config.write_all(spec)
    }

    /// Where its shim said it listens; `None` if it did not get so far. What cannot be read is no answer.
    pub(crate) fn bootstrap(&self) -> Result<Option<Bootstrap>> {
        for name in [file::BOOTSTRAP, file::ADDRESS] {
            let path = self.path.join(name);
            let text = match fs::read(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                text => text.map_err(|source| TaskError::ReadRecord { path, source })?,
            };
            if let Ok(bootstrap) = Bootstrap::parse(&text) {
                return Ok(Some(bootstrap));
            }
        }
        Ok(None)
    }

    /// What ran from it, if its process ever existed.
    pub(crate) fn state(&self) -> Option<BundleState> {
        serde_json::from_slice(&fs::read(self.path.join(file::STATE)).ok()?).ok()
    }

    /// Pid of its shim, for what it is worth: a bare number.
    pub(crate) fn shim_pid(&self) -> Option<u32> {
        fs::read_to_string(self.path.join(file::SHIM_PID))
            .ok()?
            .trim()
            .parse()
            .ok()
    }

    /// Path of the attach socket that its shim wrote down.
    pub(crate) fn attach_socket(&self) -> Option<PathBuf> {
        fs::read_to_string(self.path.join(file::ATTACH))
            .ok()
            .map(|text| PathBuf::from(text.trim()))
    }

    /// The last lines of what the shim itself complained about.
    pub(crate) fn shim_log(&self) -> String {
        let text = fs::read(self.path.join(file::SHIM_LOG)).unwrap_or_default();
        let tail = &text[text.len().saturating_sub(2048)..];
        String::from_utf8_lossy(tail).trim().to_owned()
    }

    /// Renames it out of the way, so that a new one can be made, and answers what is to be removed. Absence is fine.
    pub(crate) fn leave(&self) -> Result<Leaving> {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let leaving = Leaving {
            path: self.parent.join(format!("{LEAVING}{name}")),
        };
        let fail = |source| TaskError::RemoveBundle {
            path: self.path.clone(),
            source,
        };
        fail::fail_point!("task::bundle::rename");
        let renamed = match fs::rename(&self.path, &leaving.path) {
            // One of the same name is still leaving.
            Err(error) if matches!(error.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists) => {
                leaving.remove()?;
                fs::rename(&self.path, &leaving.path)
            }
            renamed => renamed,
        };
        match renamed {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(leaving),
            renamed => renamed.map(|()| leaving).map_err(fail),
        }
    }

    /// Renames it out of the way, then removes it, and one that was leaving when a former daemon died.
    pub(crate) fn remove(&self) -> Result<()> {
        self.leave()?.remove()
    }
}

/// A bundle that nobody looks for under its name any more.
#[derive(Debug)]
pub struct Leaving {
    path: PathBuf,
}

impl Leaving {
    /// Removes it; may be called again after a failure. `rootfs` is never emptied: what is in there is not ours. Blocks.
    pub fn remove(&self) -> Result<()> {
        fail::fail_point!("task::bundle::remove");
        remove_tree(&self.path).map_err(|source| TaskError::RemoveBundle {
            path: self.path.clone(),
            source,
        })
    }
}

/// Removes a bundle that left. Its `rootfs` must be empty: a mount left there is an error, never a deletion through it.
fn remove_tree(path: &Path) -> io::Result<()> {
    for remove in [
        |path: &Path| fs::remove_dir(path.join(file::ROOTFS)),
        |path: &Path| fs::remove_dir_all(path),
    ] {
        match remove(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            done => done?,
        }
    }
    Ok(())
}

/// Every bundle in a directory of bundles that a former daemon was removing.
pub(crate) fn leaving(bundles: &Path) -> Result<Vec<Leaving>> {
    let fail = |source| TaskError::ListBundles {
        path: bundles.to_owned(),
        source,
    };
    let mut found = Vec::new();
    for namespace in entries(bundles).map_err(fail)? {
        if Namespace::new(namespace.clone()).is_err() {
            continue;
        }
        let dir = bundles.join(namespace);
        let names = entries(&dir).map_err(fail)?.into_iter();
        let gone = names.filter(|name| name.starts_with(LEAVING));
        found.extend(gone.map(|name| Leaving { path: dir.join(name) }));
    }
    Ok(found)
}

/// Every bundle in a directory of bundles, also those that were leaving. Other directories there are no bundles: they hold no spec.
pub(crate) fn list(bundles: &Path) -> Result<Vec<BundleName>> {
    let fail = |source| TaskError::ListBundles {
        path: bundles.to_owned(),
        source,
    };
    let mut found = Vec::new();
    for namespace in entries(bundles).map_err(fail)? {
        let Ok(name) = Namespace::new(namespace.clone()) else {
            continue;
        };
        for entry in entries(&bundles.join(&namespace)).map_err(fail)? {
            let leaving = entry.starts_with(LEAVING);
            let path = bundles.join(&namespace).join(&entry);
            let Ok(id) = ContainerId::new(entry.strip_prefix(LEAVING).unwrap_or(&entry)) else {
                continue;
            };
            if leaving || path.join(file::CONFIG).exists() || path.join(file::ROOTFS).exists() {
                found.push(BundleName {
                    namespace: name.clone(),
                    id,
                });
            }
        }
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// Names of the directories in a directory; none if it is not there.
fn entries(path: &Path) -> io::Result<Vec<String>> {
    let listing = match fs::read_dir(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        listing => listing?,
    };
    let mut names = Vec::new();
    for entry in listing {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            names.extend(entry.file_name().into_string());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle(root: &Path, id: &str) -> Bundle {
        Bundle::new(root, &Namespace::engine(), &ContainerId::new(id).unwrap())
    }

    #[test]
    fn made_listed_and_removed() {
        let root = tempfile::tempdir().unwrap();
        let one = bundle(root.path(), "one");
        one.make(b"{}").unwrap();
        fs::create_dir(root.path().join("s")).unwrap();
        assert_eq!(fs::read(one.path().join("config.json")).unwrap(), b"{}");
        assert_eq!(fs::metadata(one.path()).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(&one.parent).unwrap().permissions().mode() & 0o777, 0o711);
        let names: Vec<_> = list(root.path())
            .unwrap()
            .into_iter()
            .map(|name| name.id.to_string())
            .collect();
        assert_eq!(names, ["one"]);
        assert_eq!(
            one.make(b"{}").unwrap_err().kind(),
            gantry_core::ErrorKind::AlreadyExists
        );
        one.remove().unwrap();
        one.remove().unwrap();
        assert!(list(root.path()).unwrap().is_empty() && !one.exists());
    }

    #[test]
    fn one_that_leaves_makes_room_at_once() {
        let root = tempfile::tempdir().unwrap();
        let one = bundle(root.path(), "one");
        one.make(b"{}").unwrap();
        let first = one.leave().unwrap();
        one.make(b"{}").unwrap();
        one.leave().unwrap();
        let left = leaving(root.path()).unwrap();
        assert_eq!(left.len(), 1, "two of a name do not pile up");
        left[0].remove().unwrap();
        first.remove().unwrap();
        assert!(list(root.path()).unwrap().is_empty());
    }

    #[test]
    fn what_is_in_rootfs_is_never_deleted() {
        let root = tempfile::tempdir().unwrap();
        let one = bundle(root.path(), "one");
        one.make(b"{}").unwrap();
        fs::write(one.path().join("rootfs/precious"), b"x").unwrap();
        assert!(one.remove().is_err());
        let leaving = root.path().join("gantry/.leaving-one");
        assert!(leaving.join("rootfs/precious").exists());
        assert_eq!(list(root.path()).unwrap().len(), 1, "still to be found");
        fs::remove_file(leaving.join("rootfs/precious")).unwrap();
        one.remove().unwrap();
        assert!(list(root.path()).unwrap().is_empty());
    }
}
