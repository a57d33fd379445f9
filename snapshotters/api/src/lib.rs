//! What a snapshotter is: directory work by numeric id.
//!
//! A snapshotter turns ids into directories, mounts and disk usage. It never keeps metadata: names, parents, kinds and
//! labels live in `daemon/store`, which passes the chain of parents with every call, nearest first. It never mounts
//! anything itself either; it answers [`Mount`]s as data.
//!
//! The one flow: `prepare` makes a directory, somebody mounts and writes it (or writes it through `apply_target`),
//! `commit` makes its bytes durable and measures them, later ids name it among their parents, `remove` takes it away.
//!
//! Every method may be called again after a kill at any instruction: what is half made is made anew, what is made is
//! kept, what is gone stays gone. The caller records its intent first and calls [`Snapshotter::cleanup`] and
//! [`Snapshotter::list`] on start to compare.

mod error;
mod idmap;

pub use error::{Error, PathError, Result};
pub use gantry_core::snapshot::{ApplyTarget, Usage, Whiteouts};
pub use gantry_core::{Labels, Mount};
pub use idmap::IdMap;

use std::path::{Path, PathBuf};

/// Label that names the committed snapshot which a client means to end up with.
pub const TARGET: &str = "containerd.io/snapshot.ref";
/// What labels for a backend begin with.
pub const INHERITED: &str = "containerd.io/snapshot/";

/// Number of a snapshot; given once, never again.
pub type Id = u64;

/// What a backend can do beyond the trait's basics. Shown to clients in containerd's words, see [`Capabilities::words`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// A snapshot prepared without parents may get them at commit.
    pub rebase: bool,
    /// Mounts carry id maps, so that a layer is not copied to change its owners.
    pub remap_ids: bool,
    /// Copies share their bytes until they are written (reflink).
    pub share: bool,
}

impl Capabilities {
    /// As containerd's plugin list spells them.
    pub fn words(&self) -> Vec<&'static str> {
        [
            (self.rebase, "rebase"),
            (self.remap_ids, "remap-ids"),
            (self.share, "reflink"),
        ]
        .into_iter()
        .filter_map(|(has, word)| has.then_some(word))
        .collect()
    }
}

/// What a caller wants of one snapshot beyond its parents; the same value goes to `prepare` or `view` and to `mounts`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Container ids to host ids, users. Empty = as they are.
    pub uid_map: Vec<IdMap>,
    /// The same for groups.
    pub gid_map: Vec<IdMap>,
    /// What a client tells the backend: its labels [`TARGET`] and `containerd.io/snapshot/*`. Only a service outside looks.
    pub labels: Labels,
}

impl Options {
    pub fn is_mapped(&self) -> bool {
        !(self.uid_map.is_empty() && self.gid_map.is_empty())
    }
}

/// How a snapshot is mounted: an active one to write, a view (or the content of a committed one) to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    ReadWrite,
    ReadOnly,
}

/// What a snapshot is that was asked for under a [`TARGET`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prepared {
    /// Active, as any other.
    Active,
    /// The backend had the target's content or can get it by itself: the snapshot is committed already.
    Committed(Usage),
}

/// The outcome of a removal; both are success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    Now,
    AlreadyGone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChangeKind {
    Add,
    Modify,
    Delete,
}

/// One difference of a snapshot from its parents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Relative to the snapshot's root, without a leading slash.
    pub path: PathBuf,
    pub kind: ChangeKind,
    /// Where the new content can be read (do not follow it if it is a symbolic link); none for [`ChangeKind::Delete`].
    pub source: Option<PathBuf>,
}

/// Receives changes in path order, a directory before what is in it; an error ends the comparison.
pub type ChangeVisitor<'a> = dyn FnMut(Change) -> std::io::Result<()> + 'a;

/// Directory work by numeric id. All methods block.
pub trait Snapshotter: Send + Sync {
    /// The name clients choose it by.
    fn name(&self) -> &'static str;

    /// Everything it keeps is below this directory.
    fn root(&self) -> &Path;

    fn capabilities(&self) -> Capabilities;

    /// Makes a writable snapshot on top of `parents`, durable when this returns. One that exists already is kept.
    fn prepare(&self, id: Id, parents: &[Id], options: &Options) -> Result<()>;

    /// [`Snapshotter::prepare`] for a backend that may know the content by itself (containerd's remote snapshots): if it
    /// has what the label [`TARGET`] names on these very parents, `id` stands for that, committed.
    fn prepare_or_find(&self, id: Id, parents: &[Id], options: &Options) -> Result<Prepared> {
        self.prepare(id, parents, options).map(|()| Prepared::Active)
    }

    /// Makes a read-only snapshot of `parents`; of an empty root if there are none.
    fn view(&self, id: Id, parents: &[Id], options: &Options) -> Result<()>;

    /// How to mount it. `access` is read-only for a view.
    fn mounts(&self, id: Id, parents: &[Id], access: Access, options: &Options) -> Result<Vec<Mount>>;

    /// Brings the content of an active snapshot to disk and measures it. After this nobody writes it.
    fn commit(&self, id: Id, parents: &[Id]) -> Result<Usage>;

    /// [`Snapshotter::commit`] for a backend that wants the labels of the committed snapshot too.
    fn commit_with(&self, id: Id, parents: &[Id], _options: &Options) -> Result<Usage> {
        self.commit(id, parents)
    }

    /// Refuses if something is mounted in it, so that [`Snapshotter::remove`] would stop half way. Quick.
    fn refuse_mounted(&self, id: Id) -> Result<()>;

    /// Takes it away: it is out of its place when this returns, and all its content goes soon, never across a mount point.
    fn remove(&self, id: Id) -> Result<Removed>;

    /// What it takes on disk by itself, parents not counted.
    fn usage(&self, id: Id) -> Result<Usage>;

    fn exists(&self, id: Id) -> Result<bool>;

    /// Every complete snapshot, in ascending order.
    fn list(&self) -> Result<Vec<Id>>;

    /// Where the content of an active snapshot may be written directly.
    fn apply_target(&self, id: Id, parents: &[Id]) -> Result<ApplyTarget>;

    /// Tells every difference from the parents. A directory in which something changed comes as modified itself.
    fn changes(&self, id: Id, parents: &[Id], visit: &mut ChangeVisitor<'_>) -> Result<()>;

    /// Removes what kills left half made or half removed; answers how many directories that were.
    fn cleanup(&self) -> Result<usize>;
}
