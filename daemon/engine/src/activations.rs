//! Mounts that are kept under a name: what a client needs mounted before it, or its runtime, can mount the rest.
//!
//! Of a row of mounts the first ones are performed here, one place each below `<exec-root>/mounts/<id>`: those of types that no
//! kernel has ([`plan`]: `loop`, `erofs`), and all that stand before one whose parts are to be filled in from what is mounted
//! ([`format`]) or made first ([`mkdir`], [`mkfs`]). The rest is answered for the caller to perform.
//!
//! The flow: the activation is written down as being made, its places are mounted in order, and it is written down as made. One
//! that is over is moved to the deactivations in one batch, whatever is mounted in its directory is taken down, and it is
//! forgotten. Of that which is busy, the removal is tried again until it is free. What a kill cut short, and what a former boot
//! left, is over at the next start.
//!
//! All of it blocks and is called from the gate. A name is claimed by whoever makes or ends its activation.

mod activate;
mod format;
mod inside;
mod keep;
mod lend;
mod mkdir;
mod mkfs;
mod plan;
mod records;

pub(crate) use plan::needs_more;
pub use records::{Activation, ActiveMount};

use crate::failpoint;
use gantry_core::error::io_kind;
use gantry_core::filter::{self, Adaptor, Filters};
use gantry_core::gc::{Kind, Node};
use gantry_core::meta::Change;
use gantry_core::{Error, Labels, LeaseId, Mount, Namespace, Result, label};
use gantry_store::{Batch, Claim, Collector, Leases, Resource, Store};
use inside::Root;
use records::{Ending, Record, State};
use std::borrow::Cow;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::Notify;

/// How long a claim of a name may wait: its former activation may be on its way out.
const CLAIM: Duration = Duration::from_secs(30);
/// How long others may hold on to what is unmounted, before it is called busy.
const PATIENCE: Duration = Duration::from_secs(2);
/// Mounts of one activation.
const MOST: usize = 255;

/// Tells the collector what keeps mounts.
pub(crate) fn sources(collector: &Collector) {
    collector.read::<Record>();
}

/// What is to be kept mounted.
#[derive(Debug, Clone, Default)]
pub struct NewActivation {
    pub name: String,
    pub mounts: Vec<Mount>,
    pub labels: Labels,
    /// All of it is mounted here, and one bind mount answered.
    pub temporary: bool,
    /// Types that the caller mounts itself (`loop`), and changes that it makes itself (`format/*`).
    pub allowed: Vec<String>,
    pub lease: Option<LeaseId>,
}

/// Every activation of this daemon.
pub struct Activations {
    store: Arc<Store>,
    leases: Leases,
    /// `<exec-root>/mounts`.
    dir: PathBuf,
    /// Where directories and images may be made.
    roots: Vec<Root>,
    /// Something could not be taken down yet.
    busy: Notify,
}

impl Adaptor for Activation {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        match path {
            ["name", ..] => Some(self.name.as_str().into()),
            ["labels", key @ ..] => filter::label(&self.labels, key),
            _ => None,
        }
    }
}

impl Activations {
    /// Ends what a former daemon left half made, and what a former boot left.
    pub(crate) fn open(store: Arc<Store>, data_root: &Path, exec_root: &Path) -> Result<Self> {
        let dir = exec_root.join("mounts");
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)
            .map_err(failed("make", &dir))?;
        // The kernel's table of mounts knows no symbolic links.
        let dir = fs::canonicalize(&dir).map_err(failed("find", &dir))?;
        let activations = Self {
            leases: Leases::new(store.clone()),
            store,
            roots: vec![Root::new(&dir), Root::new(data_root)],
            dir,
            busy: Notify::new(),
        };
        activations.settle()?;
        Ok(activations)
    }

    pub fn info(&self, ns: &Namespace, name: &str) -> Result<Activation> {
        Ok(self.find(ns, name)?.shown(name))
    }

    /// Those that the filter takes, by name.
    pub fn list(&self, ns: &Namespace, filter: &Filters) -> Result<Vec<Activation>> {
        let all = self.store.scan::<Record>(ns)?.into_iter();
        let made = all.filter(|(_, record)| record.state == State::Active);
        let mut shown: Vec<Activation> = made.map(|((_, name), record)| record.shown(&name)).collect();
        shown.retain(|activation| filter.matches(activation));
        Ok(shown)
    }

    /// Changes its labels, answers it as it is afterwards.
    pub fn update(&self, ns: &Namespace, name: &str, change: Change<Labels>) -> Result<Activation> {
        let _claim = self.claim(ns, name)?;
        let mut record = self.find(ns, name)?;
        match change {
            Change::Replace(labels) => {
                label::validate(&labels)?;
                record.labels = labels;
                record.labels.retain(|_, value| !value.is_empty());
            }
            Change::Merge(some) => {
                label::validate(&some)?;
                label::merge(&mut record.labels, &some);
            }
        }
        record.updated_at = SystemTime::now();
        let mut batch = Batch::new();
        batch.put(&(ns.clone(), name.to_owned()), &record)?;
        self.store.commit_unsynced(batch)?;
        Ok(record.shown(name))
    }

    /// Its name is free afterwards. What is busy is told, and taken down when it no longer is.
    pub fn deactivate(&self, ns: &Namespace, name: &str) -> Result<()> {
        let ending = {
            let _claim = self.claim(ns, name)?;
            let record = self.find(ns, name)?;
            let mut batch = Batch::new();
            let ending = self.end_in(&mut batch, ns, name, &record)?;
            self.store.commit_unsynced(batch)?;
            ending
        };
        failpoint!("engine::deactivate::recorded");
        self.take_down(&ending, PATIENCE).map_err(|error| {
            self.busy.notify_one();
            error.context(format!(
                "mount {name:?} is deactivated, but still in use; it is unmounted when nobody uses it"
            ))
        })
    }

    fn find(&self, ns: &Namespace, name: &str) -> Result<Record> {
        let found = self.store.get::<Record>(&(ns.clone(), name.to_owned()))?;
        found
            .filter(|record| record.state == State::Active)
            .ok_or_else(|| Error::not_found(format!("mount {name:?} in namespace \"{ns}\": not found")))
    }

    fn claim(&self, ns: &Namespace, name: &str) -> Result<Claim> {
        let node = Node::new(ns, Kind::Mount, name);
        Ok(self.store.claim(Collector::claim_key(&node), CLAIM)?)
    }

    /// Moves it to those that are over.
    fn end_in(&self, batch: &mut Batch, ns: &Namespace, name: &str, record: &Record) -> Result<String> {
        batch.delete::<Record>(&(ns.clone(), name.to_owned()));
        let held = Resource::Mount(name.to_owned());
        self.leases.remove_in(batch, ns, record.lease.as_ref(), &held);
        batch.put(&record.id, &Ending {})?;
        Ok(record.id.clone())
    }
}

fn failed<'a>(deed: &'a str, path: &'a Path) -> impl FnOnce(std::io::Error) -> Error + 'a {
    move |error| Error::new(io_kind(&error), format!("{deed} {}: {error}", path.display()))
}
