//! One directory per snapshot id.

use crate::reaper::Reaper;
use crate::{Result, measure, refuse_mounted, remove_tree, sync_dir, sync_tree};
use gantry_snapshots_api::{Id, PathError, Removed, Usage};
use rustix::io::Errno;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

const NEW: &str = "new-";
const GONE: &str = "rm-";

/// The directories of one snapshotter.
#[derive(Debug)]
pub struct Home {
    root: PathBuf,
    snapshots: PathBuf,
    /// Ids that are being made or removed right now; a clean-up leaves them alone.
    busy: Mutex<HashSet<Id>>,
    reaper: Reaper,
}

impl Home {
    /// Opens the home below `root`, making it if it is not there. Only root can look inside: layers hold setuid programs.
    pub fn open(root: &Path) -> Result<Self> {
        let root = std::path::absolute(root).map_err(PathError::of("find", root))?;
        let snapshots = root.join("snapshots");
        fs::create_dir_all(&snapshots).map_err(PathError::of("create", &snapshots))?;
        for dir in [&root, &snapshots] {
            fs::set_permissions(dir, Permissions::from_mode(0o700)).map_err(PathError::of("set the mode of", dir))?;
        }
        sync_dir(&root)?;
        Ok(Self {
            root,
            snapshots,
            busy: Mutex::default(),
            reaper: Reaper::default(),
        })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where all snapshots are.
    pub fn snapshots(&self) -> &Path {
        &self.snapshots
    }

    pub fn path(&self, id: Id) -> PathBuf {
        self.snapshots.join(id.to_string())
    }

    pub fn exists(&self, id: Id) -> Result<bool> {
        let path = self.path(id);
        path.try_exists().map_err(PathError::of("look for", &path))
    }

    /// Makes the directory of `id` with what `build` puts into it, on disk when this returns. One that is there is kept.
    pub fn make(&self, id: Id, build: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let path = self.path(id);
        let _busy = self.claim(id, &path)?;
        if !self.exists(id)? {
            self.build(id, &path, build)?;
        }
        // What is in it and then its name: both after the rename, so that a journal is written once.
        sync_dir(&path)?;
        sync_dir(&self.snapshots)
    }

    fn build(&self, id: Id, path: &Path, build: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let new = self.snapshots.join(format!("{NEW}{id}"));
        remove_tree(&new)?;
        fs::create_dir(&new).map_err(PathError::of("create", &new))?;
        let built = fs::set_permissions(&new, Permissions::from_mode(0o700))
            .map_err(PathError::of("set the mode of", &new))
            .and_then(|()| build(&new))
            .and_then(|()| fs::rename(&new, path).map_err(PathError::of("rename to", path)));
        if let Err(error) = built {
            // The first error is the one to tell; what stays is for the clean-up.
            let _ = remove_tree(&new);
            return Err(error);
        }
        Ok(())
    }

    /// Refuses if something is mounted in the directory of `id`, so that it could not be removed.
    pub fn refuse_mounted(&self, id: Id) -> Result<()> {
        refuse_mounted(&self.path(id))
    }

    /// Removes the directory of `id` and what an earlier call left of it: it is out of its place when this returns, and what
    /// is in it goes soon. Nothing of this is synced: whoever asks has recorded that it goes, and asks again after a loss of power.
    pub fn remove(&self, id: Id) -> Result<Removed> {
        let path = self.path(id);
        let _busy = self.claim(id, &path)?;
        if self.reaper.has(id) {
            self.reaper.rest();
        }
        let gone = self.snapshots.join(format!("{GONE}{id}"));
        remove_tree(&gone)?;
        remove_tree(&self.snapshots.join(format!("{NEW}{id}")))?;
        refuse_mounted(&path)?;
        match fs::rename(&path, &gone) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Removed::AlreadyGone),
            Err(error) => return Err(PathError::of("rename", &path)(error)),
        }
        self.reaper.take(id, gone)?;
        Ok(Removed::Now)
    }

    /// Brings the content of `id` to disk and measures the directory `sub` in it.
    pub fn settle(&self, id: Id, sub: &str) -> Result<Usage> {
        let path = self.path(id);
        sync_tree(&path)?;
        measure(&path.join(sub))
    }

    /// Ids of all complete directories, ascending.
    pub fn list(&self) -> Result<Vec<Id>> {
        let mut ids: Vec<Id> = self.names()?.iter().filter_map(number).collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// Removes what kills left half made or half removed, and waits for what is on its way out.
    pub fn cleanup(&self) -> Result<usize> {
        self.reaper.rest();
        let mut removed = 0;
        for name in self.names()? {
            let Some(id) = name.strip_prefix(NEW).or(name.strip_prefix(GONE)).and_then(number) else {
                continue;
            };
            let path = self.snapshots.join(&name);
            // A busy id is being worked on by this process and is no left-over.
            let Ok(_busy) = self.claim(id, &path) else { continue };
            if !self.reaper.has(id) && path.exists() {
                remove_tree(&path)?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    fn names(&self) -> Result<Vec<String>> {
        let failed = || PathError::of("read", &self.snapshots);
        fs::read_dir(&self.snapshots)
            .map_err(failed())?
            .filter_map(|entry| match entry {
                Ok(entry) => entry.file_name().to_str().map(|name| Ok(name.to_owned())),
                Err(error) => Some(Err(failed()(error))),
            })
            .collect()
    }

    fn claim(&self, id: Id, path: &Path) -> Result<Claim<'_>> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        if !busy.insert(id) {
            return Err(PathError::of("work on", path)(Errno::BUSY));
        }
        Ok(Claim { home: self, id })
    }
}

/// An id in work, until it is dropped.
struct Claim<'a> {
    home: &'a Home,
    id: Id,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut busy = self.home.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.remove(&self.id);
    }
}

/// An id as we write it: no sign, no leading zero.
fn number(name: impl AsRef<OsStr>) -> Option<Id> {
    let name = name.as_ref().to_str()?;
    let id: Id = name.parse().ok()?;
    (id.to_string() == name).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home() -> (tempfile::TempDir, Home) {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(dir.path()).unwrap();
        (dir, home)
    }

    #[test]
    fn made_once_and_kept() {
        let (_dir, home) = home();
        home.make(3, |new| {
            fs::write(new.join("a"), "1").map_err(PathError::of("write", new))
        })
        .unwrap();
        home.make(3, |_| panic!("it is there")).unwrap();
        assert_eq!(fs::read(home.path(3).join("a")).unwrap(), b"1");
        assert_eq!(home.list().unwrap(), [3]);
    }

    #[test]
    fn a_failed_build_leaves_nothing() {
        let (_dir, home) = home();
        let error = home
            .make(3, |new| {
                fs::write(new.join("a"), "1").unwrap();
                Err(PathError::of("write", new)(Errno::NOSPC))
            })
            .unwrap_err();
        assert!(error.to_string().contains("new-3"), "{error}");
        assert_eq!(fs::read_dir(home.snapshots()).unwrap().count(), 0);
    }

    #[test]
    fn what_a_kill_left_is_made_anew_or_cleaned() {
        let (_dir, home) = home();
        for left in ["new-1", "new-2", "rm-3", "stranger", "007"] {
            fs::create_dir_all(home.snapshots().join(left).join("deep/er")).unwrap();
        }
        home.make(1, |new| {
            assert_eq!(fs::read_dir(new).unwrap().count(), 0);
            assert_eq!(home.cleanup().unwrap(), 2, "1 is in work and not touched");
            Ok(())
        })
        .unwrap();
        assert_eq!(home.list().unwrap(), [1]);
        let mut names = home.names().unwrap();
        names.sort();
        assert_eq!(names, ["007", "1", "stranger"]);
    }

    #[test]
    fn removal_ends_what_it_began() {
        let (_dir, home) = home();
        home.make(1, |_| Ok(())).unwrap();
        assert_eq!(home.remove(1).unwrap(), Removed::Now);
        assert_eq!(home.remove(1).unwrap(), Removed::AlreadyGone);
        fs::create_dir_all(home.snapshots().join("rm-1/x")).unwrap();
        assert_eq!(home.remove(1).unwrap(), Removed::AlreadyGone);
        assert_eq!(fs::read_dir(home.snapshots()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_removed_is_out_of_place_at_once_and_gone_after_a_clean_up() {
        let (_dir, home) = home();
        for id in 1..=3 {
            home.make(id, |new| {
                let write = |number| fs::write(new.join(format!("{number}")), "").map_err(PathError::of("write", new));
                (0..1000).try_for_each(write)
            })
            .unwrap();
        }
        for id in 1..=3 {
            assert_eq!(home.remove(id).unwrap(), Removed::Now);
            assert!(!home.exists(id).unwrap() && !home.list().unwrap().contains(&id));
        }
        assert_eq!(home.cleanup().unwrap(), 0, "nothing was left behind");
        assert_eq!(fs::read_dir(home.snapshots()).unwrap().count(), 0);
    }
}
