//! Volumes: directories with names that outlive containers, and everything else that is mounted in containers at a user's wish.
//!
//! The flow: at its creation a container's mounts are [planned](plan), volumes that are missing are written down as being made, made
//! and [filled](fill), and recorded in the batch of the container. At each start [`Volumes::enter`] answers where they are on the
//! host; [`Volumes::leave`] takes down what was mounted for them. A removed volume is written down as such, put aside under
//! another name, and deleted in the background.
//!
//! All of it blocks and is called from the gate. A volume's name is claimed by whoever makes, fills, removes or enters it.

mod define;
mod enter;
mod fill;
mod list;
pub(crate) mod plan;
mod records;
mod remove;
mod settle;

pub(crate) use define::Brought;
pub use list::VolumeView;
pub(crate) use remove::Going;
pub use remove::Pruned;

use crate::background::Job;
use crate::events::Event;
use gantry_core::error::io_kind;
use gantry_core::volume::{MountPoint, VolumeRecord};
use gantry_core::{ContainerId, Error, Labels, Result};
use gantry_store::{Claim, Store};
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long a claim of a name may wait: another container's creation may be filling the volume.
const CLAIM: Duration = Duration::from_secs(120);
/// What is put aside to be deleted is called so; no volume can be.
const GONE: &str = ".gone-";
/// What is being filled, in the directory of its volume.
const FILL: &str = ".fill-";
/// Where a volume's files are.
const DATA: &str = "_data";

/// Every volume of this daemon.
pub(crate) struct Volumes {
    store: Arc<Store>,
    /// `<data-root>/volumes`.
    dir: PathBuf,
    /// Where single directories of volumes are bound for containers, and shared memory is mounted.
    places: PathBuf,
    known: RwLock<BTreeMap<String, Arc<VolumeRecord>>>,
    /// Containers that run or may run, by volumes that are mounted while they are used.
    active: Mutex<HashMap<String, BTreeSet<ContainerId>>>,
}

impl Volumes {
    /// Reads what is written down, finishes what a former daemon began, and takes up directories that no record names.
    pub fn open(store: Arc<Store>, data_root: &Path, exec_root: &Path) -> Result<Self> {
        let volumes = Self {
            store,
            dir: data_root.join("volumes"),
            places: exec_root.join("places"),
            known: RwLock::default(),
            active: Mutex::default(),
        };
        make_dir(&volumes.dir, 0o701)?;
        volumes.settle()?;
        Ok(volumes)
    }

    fn claim(&self, name: &str) -> Result<Claim> {
        Ok(self.store.claim(format!("volume/{name}"), CLAIM)?)
    }

    /// Several at once, in one order for everybody.
    fn claim_each<'a>(&self, names: impl Iterator<Item = &'a str>) -> Result<Vec<Claim>> {
        let names: BTreeSet<&str> = names.collect();
        names.into_iter().map(|name| self.claim(name)).collect()
    }

    pub fn get(&self, name: &str) -> Option<Arc<VolumeRecord>> {
        self.known.read().get(name).cloned()
    }

    pub fn find(&self, name: &str) -> Result<Arc<VolumeRecord>> {
        self.get(name)
            .ok_or_else(|| Error::not_found(format!("get {name}: no such volume")))
    }

    fn all(&self) -> Vec<Arc<VolumeRecord>> {
        self.known.read().values().cloned().collect()
    }

    fn know(&self, record: VolumeRecord) -> Arc<VolumeRecord> {
        let record = Arc::new(record);
        self.known.write().insert(record.name.clone(), record.clone());
        record
    }

    /// The directory of a volume's files.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name).join(DATA)
    }

    /// Where a container's mount is on the host, as `inspect` shows it.
    pub fn source(&self, point: &MountPoint) -> String {
        match point.volume() {
            Some(name) => self.path(name).to_string_lossy().into_owned(),
            None => point.source.clone(),
        }
    }

    /// Deletes what was put aside.
    fn burial(&self, aside: PathBuf) -> Job {
        let what = format!("deleting the files of a volume in {}", aside.display());
        Job::new(what, move || {
            crate::failpoint!("engine::volume::remove::files");
            crate::container::teardown::remove_tree(&aside)
        })
    }
}

fn make_dir(path: &Path, mode: u32) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(failed("make", path))
}

fn failed<'a>(deed: &'a str, path: &'a Path) -> impl FnOnce(std::io::Error) -> Error + 'a {
    move |error| Error::new(io_kind(&error), format!("{deed} {}: {error}", path.display()))
}

fn event(record: &VolumeRecord, action: &str, extra: Labels) -> Event {
    let mut attributes = Labels::from([("driver".to_owned(), record.driver.clone())]);
    attributes.extend(extra);
    Event::new("volume", action, record.name.as_str(), attributes)
}
