//! What every snapshotter promises, whatever stands between it and the caller.
//!
//! [`run`] takes a factory of [`Subject`]s: a bare backend with names kept in memory ([`memory::Memory`]), the daemon's
//! store, or a client of the daemon's API. Each check gets a subject of its own and mounts in a private namespace. The
//! checks cover those of containerd's `core/snapshots/testsuite`, and what gantry promises beyond.

#[allow(clippy::unwrap_used, reason = "a check that fails panics")]
mod content;
#[allow(clippy::unwrap_used, reason = "a check that fails panics")]
mod lifecycle;
#[allow(clippy::unwrap_used, reason = "a check that fails panics")]
mod listing;
pub mod memory;
#[allow(clippy::unwrap_used, reason = "a check that fails panics")]
mod mounting;

use gantry_core::snapshot::{CommitOptions, SnapshotOptions, SnapshotService};
use gantry_core::{ErrorKind, Mount, Namespace, Result};
use gantry_snapshots_mount::{Way, with_mounted_by};
use std::any::Any;
use std::collections::BTreeMap;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::{fs, io};

/// One snapshotter to be checked.
pub struct Subject {
    pub service: Box<dyn SnapshotService>,
    /// The name by which `service` knows it.
    pub snapshotter: String,
    pub ns: Namespace,
    /// An empty directory to mount on.
    pub at: PathBuf,
    /// How long overlays are mounted.
    pub way: Way,
    /// Lives as long as the subject: temporary directories, a daemon.
    pub holds: Box<dyn Any>,
}

/// A check panics if the promise in its name is broken.
pub type Check = fn(&Subject);

/// All checks by name; the first 21 are containerd's.
pub const CHECKS: &[(&str, Check)] = &[
    ("basic", lifecycle::basic),
    ("stat_active", lifecycle::stat_active),
    ("stat_committed", lifecycle::stat_committed),
    ("transitivity", lifecycle::transitivity),
    ("only_committed_parents", lifecycle::only_committed_parents),
    ("labels_update", listing::labels_update),
    ("remove_in_order", lifecycle::remove_in_order),
    ("list_all", listing::list_all),
    ("stat_while_listing", listing::stat_while_listing),
    ("layers_add_up", content::layers_add_up),
    (
        "directory_removed_and_made_again",
        content::directory_removed_and_made_again,
    ),
    ("chown_in_a_layer", content::chown_in_a_layer),
    (
        "directory_mode_survives_commit",
        content::directory_mode_survives_commit,
    ),
    ("remove_intermediate", lifecycle::remove_intermediate),
    ("deleted_in_child", content::deleted_in_child),
    ("moved_from_lower", content::moved_from_lower),
    ("renames", content::renames),
    ("view_is_read_only", mounting::view_is_read_only),
    ("close_twice", lifecycle::close_twice),
    ("root_permission", mounting::root_permission),
    ("layers_128", mounting::layers_128),
    ("existing_keys", lifecycle::existing_keys),
    ("unknown_names", lifecycle::unknown_names),
    ("commit_of_a_view", lifecycle::commit_of_a_view),
    ("mounts_of_committed", lifecycle::mounts_of_committed),
    ("kinds_share_one_namespace", listing::kinds_share_one_namespace),
    ("namespaces_are_apart", listing::namespaces_are_apart),
    ("usage", listing::usage),
    ("file_permissions_overwritten", content::file_permissions_overwritten),
    ("symlinks", content::symlinks),
    ("siblings_do_not_meet", content::siblings_do_not_meet),
    ("mounted_again", mounting::mounted_again),
    ("written_directly", mounting::written_directly),
    ("rebase", mounting::rebase),
];

/// Runs every check over a subject of its own and panics with the names of those that failed.
pub fn run(factory: &dyn Fn() -> Subject) {
    let mut failed = Vec::new();
    for (name, check) in CHECKS {
        println!("snapshots: {name}");
        if catch_unwind(AssertUnwindSafe(|| check(&factory()))).is_err() {
            failed.push(*name);
        }
    }
    assert!(
        failed.is_empty(),
        "{} of {} checks failed: {failed:?}",
        failed.len(),
        CHECKS.len()
    );
}

impl Subject {
    fn prepare(&self, key: &str, parent: Option<&str>) -> Result<Vec<Mount>> {
        self.service
            .prepare(&self.ns, &self.snapshotter, key, parent, SnapshotOptions::default())
    }

    fn view(&self, key: &str, parent: Option<&str>) -> Result<Vec<Mount>> {
        self.service
            .view(&self.ns, &self.snapshotter, key, parent, SnapshotOptions::default())
    }

    fn mounts(&self, key: &str) -> Result<Vec<Mount>> {
        self.service.mounts(&self.ns, &self.snapshotter, key)
    }

    fn commit(&self, name: &str, key: &str) -> Result<()> {
        self.service
            .commit(&self.ns, &self.snapshotter, name, key, CommitOptions::default())
    }

    fn remove(&self, key: &str) -> Result<()> {
        self.service.remove(&self.ns, &self.snapshotter, key)
    }

    fn stat(&self, key: &str) -> Result<gantry_core::snapshot::SnapshotInfo> {
        self.service.stat(&self.ns, &self.snapshotter, key)
    }

    /// Runs `work` in the mounted tree.
    fn on<T: Send>(&self, mounts: &[Mount], work: impl FnOnce(&Path) -> T + Send) -> T {
        with_mounted_by(self.way, &self.at, mounts, work).unwrap_or_else(|error| panic!("{mounts:?}: {error:?}"))
    }

    /// Commits a layer named `name` on top of `parent` that `work` has written.
    fn layer(&self, name: &str, parent: Option<&str>, work: impl FnOnce(&Path) -> io::Result<()> + Send) {
        let key = format!("{name}-key");
        let mounts = self.prepare(&key, parent).expect("prepare");
        self.on(&mounts, work)
            .unwrap_or_else(|error| panic!("write layer {name}: {error}"));
        self.commit(name, &key).expect("commit");
    }

    /// What a view of `name` shows.
    fn tree(&self, name: &str) -> Tree {
        let key = format!("{name}-look");
        let mounts = self.view(&key, Some(name)).expect("view");
        let tree = self.on(&mounts, tree);
        self.remove(&key).expect("remove view");
        tree
    }
}

/// Everything below a directory: path and, in words, what is there.
type Tree = BTreeMap<String, String>;

/// Files as `mode:owner:group content`, links as `-> target`, directories as `mode:owner:group/`.
fn tree(root: &Path) -> Tree {
    let mut found = Tree::new();
    describe(root, root, &mut found);
    found
}

fn describe(root: &Path, dir: &Path, found: &mut Tree) {
    for entry in fs::read_dir(dir).expect("read directory") {
        let path = entry.expect("read directory").path();
        let meta = fs::symlink_metadata(&path).expect("look at entry");
        let access = format!("{:o}:{}:{}", meta.mode() & 0o7777, meta.uid(), meta.gid());
        let kind = meta.file_type();
        let text = if kind.is_symlink() {
            format!("-> {}", fs::read_link(&path).expect("read link").display())
        } else if kind.is_dir() {
            format!("{access}/")
        } else if kind.is_char_device() {
            format!("{access} device {:x}", meta.rdev())
        } else {
            format!(
                "{access} {}",
                String::from_utf8_lossy(&fs::read(&path).expect("read file"))
            )
        };
        let name = path.strip_prefix(root).expect("it is below").display().to_string();
        found.insert(name, text);
        if kind.is_dir() {
            describe(root, &path, found);
        }
    }
}

/// A [`Tree`] written down.
fn expected(rows: &[(&str, &str)]) -> Tree {
    rows.iter()
        .map(|&(path, text)| (path.to_owned(), text.to_owned()))
        .collect()
}

/// Writes a file with a mode, whatever the umask.
fn file(path: &Path, mode: u32, content: &str) -> io::Result<()> {
    fs::write(path, content)?;
    chmod(path, mode)
}

fn dir(path: &Path, mode: u32) -> io::Result<()> {
    fs::create_dir(path)?;
    chmod(path, mode)
}

fn chmod(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode))
}

/// The error kind of a refusal.
fn refusal<T: std::fmt::Debug>(result: Result<T>) -> ErrorKind {
    result.expect_err("it has to be refused").kind()
}
