//! What clients of the containerd API keep here: namespaces, containers, images and sandboxes as records.
//!
//! Each change is one batch: the record, its namespace if that is new, and the event that tells of it. A record that is read,
//! changed and written is claimed meanwhile, so that nobody's change is lost. The images are the engine's own table:
//! namespace `gantry` shows what `gantry pull` brought, but not the images that have no name.

mod containers;
mod images;
mod namespaces;
mod own;
mod sandboxes;
#[cfg(test)]
pub(crate) mod testing;

pub use containers::ContainerUpdate;
pub use images::{DeleteImage, ImageUpdate, NewImage};
pub use sandboxes::SandboxUpdate;

use crate::exchange;
use crate::gate::blocking;
use gantry_core::meta::{Any, Change, Happening};
use gantry_core::{Error, Labels, Namespace, Result, label};
use gantry_store::{Batch, Claim, Collector, Leases, Store};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// How long a claim of a record may wait for another claimant.
const CLAIM: Duration = Duration::from_secs(10);

/// Records of containerd's clients. Cheap to clone.
#[derive(Clone)]
pub struct Meta {
    store: Arc<Store>,
    leases: Leases,
    collector: Arc<Collector>,
    /// The engine's own containers, where they are shown.
    own: Option<own::Own>,
}

/// Tells the collector which of these records keep things. Images are told by the engine's own.
pub(crate) fn sources(collector: &Collector) {
    collector.read::<containers::Record>();
    collector.read::<sandboxes::Record>();
}

impl Meta {
    pub fn new(store: Arc<Store>, collector: Arc<Collector>) -> Self {
        Self {
            leases: Leases::new(store.clone()),
            store,
            collector,
            own: None,
        }
    }

    /// Shows the engine's own containers, too, with the specs of those that run below this root.
    pub(crate) fn showing(mut self, exec_root: &Path) -> Self {
        self.own = Some(own::Own {
            exec_root: exec_root.to_owned(),
        });
        self
    }

    /// Collects what nothing refers to, and waits for it: what a synchronous delete promises.
    pub async fn collect(&self) -> Result<()> {
        self.run(|meta| Ok(meta.collector.collect().map(drop)?)).await
    }

    async fn run<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Self) -> Result<T> + Send + 'static,
    {
        let meta = self.clone();
        blocking(move || work(&meta)).await
    }

    fn claim(&self, what: &str, ns: &Namespace, key: &str) -> Result<Claim> {
        Ok(self.store.claim(format!("{what}/{ns}/{key}"), CLAIM)?)
    }

    /// Commits a change in a namespace with its event; the namespace is there afterwards, and not deleted meanwhile.
    fn commit(&self, ns: &Namespace, mut batch: Batch, happening: Option<Happening>) -> Result<()> {
        let _kept = self.store.appear(&mut batch, ns)?;
        if let Some(happening) = happening {
            batch.event(exchange::told(ns, SystemTime::now(), &happening)?);
        }
        self.store.commit(batch)?;
        Ok(())
    }
}

/// An empty value is no label.
fn new_labels(labels: Labels) -> Result<Labels> {
    label::validate(&labels)?;
    let mut kept = labels;
    kept.retain(|_, value| !value.is_empty());
    Ok(kept)
}

fn change_labels(labels: &mut Labels, change: Option<Change<Labels>>) -> Result<()> {
    match change {
        None => {}
        Some(Change::Replace(new)) => *labels = new_labels(new)?,
        Some(Change::Merge(some)) => {
            label::validate(&some)?;
            label::merge(labels, &some);
        }
    }
    Ok(())
}

type Extensions = BTreeMap<String, Any>;

/// An extension without type and value is none.
fn change_extensions(extensions: &mut Extensions, change: Option<Change<Extensions>>) -> Result<()> {
    let given = match change {
        None => return Ok(()),
        Some(Change::Replace(new)) => {
            extensions.clear();
            new
        }
        Some(Change::Merge(some)) => some,
    };
    check_extensions(&given)?;
    for (name, value) in given {
        if value == Any::default() {
            extensions.remove(&name);
        } else {
            extensions.insert(name, value);
        }
    }
    Ok(())
}

fn check_extensions(extensions: &Extensions) -> Result<()> {
    match extensions.contains_key("") {
        true => Err(Error::invalid("an extension needs a name")),
        false => Ok(()),
    }
}
