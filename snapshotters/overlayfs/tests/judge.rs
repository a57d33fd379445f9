//! The judge is judged: a snapshotter that breaks a promise fails the check of that promise.

#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

use gantry_core::{Mount, Namespace};
use gantry_snapshots_api::{
    Access, ApplyTarget, Capabilities, ChangeVisitor, Id, Options, Removed, Result, Snapshotter, Usage,
};
use gantry_snapshots_mount::Way;
use gantry_snapshots_overlayfs::{NAME, Overlayfs};
use gantry_suites::snapshots::memory::Memory;
use gantry_suites::snapshots::{CHECKS, Subject};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Lie {
    None,
    LayersUpsideDown,
    ViewsCanBeWritten,
    NothingIsUsed,
    RootsAreOpen,
}

struct Liar(Overlayfs, Lie);

impl Snapshotter for Liar {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn root(&self) -> &Path {
        self.0.root()
    }

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    fn prepare(&self, id: Id, parents: &[Id], options: &Options) -> Result<()> {
        self.0.prepare(id, parents, options)?;
        if self.1 == Lie::RootsAreOpen {
            let root = self.0.apply_target(id, parents)?.dir;
            std::fs::set_permissions(root, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        }
        Ok(())
    }

    fn view(&self, id: Id, parents: &[Id], options: &Options) -> Result<()> {
        self.0.prepare(id, parents, options)
    }

    fn mounts(&self, id: Id, parents: &[Id], access: Access, options: &Options) -> Result<Vec<Mount>> {
        let mut parents = parents.to_vec();
        let mut access = access;
        match self.1 {
            Lie::LayersUpsideDown => parents.reverse(),
            Lie::ViewsCanBeWritten => access = Access::ReadWrite,
            Lie::None | Lie::NothingIsUsed | Lie::RootsAreOpen => {}
        }
        self.0.mounts(id, &parents, access, options)
    }

    fn commit(&self, id: Id, parents: &[Id]) -> Result<Usage> {
        self.0.commit(id, parents)
    }

    fn refuse_mounted(&self, id: Id) -> Result<()> {
        self.0.refuse_mounted(id)
    }

    fn remove(&self, id: Id) -> Result<Removed> {
        self.0.remove(id)
    }

    fn usage(&self, id: Id) -> Result<Usage> {
        if self.1 == Lie::NothingIsUsed {
            Ok(Usage::default())
        } else {
            self.0.usage(id)
        }
    }

    fn exists(&self, id: Id) -> Result<bool> {
        self.0.exists(id)
    }

    fn list(&self) -> Result<Vec<Id>> {
        self.0.list()
    }

    fn apply_target(&self, id: Id, parents: &[Id]) -> Result<ApplyTarget> {
        self.0.apply_target(id, parents)
    }

    fn changes(&self, id: Id, parents: &[Id], visit: &mut ChangeVisitor<'_>) -> Result<()> {
        self.0.changes(id, parents, visit)
    }

    fn cleanup(&self) -> Result<usize> {
        self.0.cleanup()
    }
}

/// Whether the check of that name accepts a snapshotter with that lie.
fn passes(name: &str, lie: Lie) -> bool {
    let (_, check) = CHECKS.iter().find(|row| row.0 == name).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let backend = Liar(Overlayfs::open(&dir.path().join("root")).unwrap(), lie);
    let subject = Subject {
        service: Box::new(Memory::new(backend)),
        snapshotter: NAME.to_owned(),
        ns: Namespace::new("suite").unwrap(),
        at: dir.path().join("at"),
        way: Way::Auto,
        holds: Box::new(dir),
    };
    catch_unwind(AssertUnwindSafe(|| check(&subject))).is_ok()
}

#[test]
fn broken_promises_are_noticed() {
    for (name, lie) in [
        ("layers_add_up", Lie::LayersUpsideDown),
        ("directory_removed_and_made_again", Lie::LayersUpsideDown),
        ("view_is_read_only", Lie::ViewsCanBeWritten),
        ("usage", Lie::NothingIsUsed),
        ("root_permission", Lie::RootsAreOpen),
    ] {
        assert!(passes(name, Lie::None), "{name} refuses an honest one");
        assert!(!passes(name, lie), "{name} does not notice {lie:?}");
    }
}
