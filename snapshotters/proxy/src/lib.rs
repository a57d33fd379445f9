//! A snapshotter that is a service outside: stargz, nydus, SOCI, or another containerd, behind `containerd.services.
//! snapshots.v1` on a unix socket.
//!
//! It keeps no content. Under its root stands one thing only: under which foreign name a snapshot of ours is known, where
//! the service found that by itself ([`found`]); all other names follow from the number ([`keys`]). It never mounts; what
//! the service answers as mounts goes on to whoever performs them, and says where content may be written or compared.
//!
//! The one flow: `prepare` asks the service for `<scope>/<id>/active` with the client's labels; a service that has the
//! content of the label `containerd.io/snapshot.ref` says that it exists already, and is asked which one it means. `commit`
//! turns the key into `<scope>/<id>/layer`, by which later ids name it as their parent.
//!
//! A service that is away makes every call fail as unavailable, and is found again when it is back.

mod found;
mod keys;
mod link;
mod shape;

use found::Found;
use gantry_core::ErrorKind;
use gantry_proto_containerd::services::snapshots::v1 as wire;
use gantry_proto_containerd::types;
use gantry_snapshots_api::{
    Access, ApplyTarget, Capabilities, ChangeVisitor, Error, Id, Mount, Options, Prepared, Removed, Result,
    Snapshotter, TARGET, Usage,
};
use keys::Keys;
use link::Link;
use shape::Shape;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// A service and how to speak to it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The name clients choose it by.
    pub name: String,
    /// What the service calls it; most services take any name.
    pub told: String,
    /// Path of its unix socket, with or without `unix://`.
    pub address: String,
    /// A directory of ours; made if it is not there.
    pub root: PathBuf,
    /// What the names of this daemon's snapshots begin with there, and the namespace that is stated; an identifier.
    pub scope: String,
    /// What the configuration says that the service can do.
    pub capabilities: Capabilities,
}

/// A snapshotter outside.
#[derive(Debug)]
pub struct Proxy {
    name: &'static str,
    root: PathBuf,
    link: Link,
    keys: Keys,
    found: Found,
    capabilities: Capabilities,
    /// Of views made to look at something for a moment.
    looks: AtomicU64,
}

impl Proxy {
    /// Does not wait for the service: it may come later.
    pub fn open(settings: Settings) -> Result<Self> {
        // Lives as long as the daemon, and there is one per line of configuration.
        let name: &'static str = Box::leak(settings.name.into_boxed_str());
        let refuse = |reason: String| Error::Root {
            snapshotter: name,
            root: settings.root.clone(),
            reason,
        };
        if settings.scope.is_empty() || settings.scope.contains('/') {
            return Err(refuse(format!("scope {:?} is not an identifier", settings.scope)));
        }
        let link = Link::open(name, &settings.told, &settings.address, &settings.scope).map_err(refuse)?;
        let found = Found::open(&settings.root).map_err(|source| Error::Open {
            snapshotter: name,
            source,
        })?;
        Ok(Self {
            name,
            link,
            keys: Keys::new(settings.scope),
            found,
            root: settings.root,
            capabilities: settings.capabilities,
            looks: AtomicU64::new(0),
        })
    }

    /// The name of what is committed under a number.
    fn layer(&self, id: Id) -> Result<String> {
        let found = self.found.get(id).map_err(|source| Error::List { source })?;
        Ok(found.unwrap_or_else(|| self.keys.layer(id)))
    }

    /// The name of the nearest parent; empty if there is none.
    fn parent(&self, parents: &[Id]) -> Result<String> {
        parents
            .first()
            .map_or(Ok(String::new()), |&nearest| self.layer(nearest))
    }

    /// What the service knows of a number, whichever of its names it bears now.
    fn info(&self, id: Id) -> Result<Option<wire::Info>> {
        for key in [self.keys.active(id), self.layer(id)?] {
            if let Some(info) = absent(self.link.stat(key))? {
                return Ok(Some(info));
            }
        }
        Ok(None)
    }

    fn known(&self, id: Id) -> Result<wire::Info> {
        self.info(id)?.ok_or(Error::Missing {
            snapshotter: self.name,
            id,
        })
    }

    /// The committed snapshot that the service has for a target on this parent. What we committed ourselves is no find: it
    /// has its number.
    fn find(&self, target: &str, parent: &str) -> Result<Option<wire::Info>> {
        let filter = format!(
            "labels.\"{TARGET}\"=={},parent=={}",
            keys::quote(target),
            keys::quote(parent)
        );
        let infos = self.link.list(vec![filter])?;
        // A service may know no filters.
        Ok(infos.into_iter().find(|info| {
            info.kind() == wire::Kind::Committed
                && self.keys.id(&info.name).is_none()
                && info.parent == parent
                && info.labels.get(TARGET).is_some_and(|known| known == target)
        }))
    }

    /// Runs `work` on the mounts of a view that is gone afterwards.
    fn look<T>(&self, id: Id, layer: String, work: impl FnOnce(Vec<Mount>) -> Result<T>) -> Result<T> {
        let key = self.keys.look(id, self.looks.fetch_add(1, Ordering::Relaxed));
        let mounts = self.link.view(key.clone(), layer, &Options::default())?;
        let outcome = work(mounts.into_iter().map(mount).collect());
        if let Err(error) = self.link.remove(key.clone()) {
            tracing::warn!(err = %error, snapshot = %key, "a view stays until the next start");
        }
        outcome
    }

    fn compare(&self, id: Id, mounts: &[Mount], parents: &[Id], visit: &mut ChangeVisitor<'_>) -> Result<()> {
        let failed = |source| Error::Compare { id, source };
        match (Shape::of(self.name, mounts)?, parents.first()) {
            (Shape::Overlay { upper, lower, .. }, _) => {
                gantry_snapshots_overlayfs::compare(&upper, lower, visit).map_err(failed)
            }
            (Shape::Plain { dir, .. }, None) => gantry_snapshots_native::compare(&dir, None, visit).map_err(failed),
            (Shape::Plain { dir, .. }, Some(&parent)) => {
                self.look(id, self.layer(parent)?, |below| match Shape::of(self.name, &below)? {
                    Shape::Plain { dir: original, .. } => {
                        gantry_snapshots_native::compare(&dir, Some(&original), visit).map_err(failed)
                    }
                    Shape::Overlay { .. } => Err(self.unsupported("a copy of what an overlay shows")),
                })
            }
        }
    }

    fn unsupported(&self, what: &'static str) -> Error {
        Error::Unsupported {
            snapshotter: self.name,
            what,
        }
    }
}

impl Snapshotter for Proxy {
    fn name(&self) -> &'static str {
        self.name
    }

    fn root(&self) -> &Path {
        &self.root
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn prepare(&self, id: Id, parents: &[Id], options: &Options) -> Result<()> {
        let mut options = options.clone();
        options.labels.remove(TARGET);
        match self.link.prepare(self.keys.active(id), self.parent(parents)?, &options) {
            Ok(_) => Ok(()),
            // Ours, asked for once more.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn prepare_or_find(&self, id: Id, parents: &[Id], options: &Options) -> Result<Prepared> {
        let Some(target) = options.labels.get(TARGET) else {
            return self.prepare(id, parents, options).map(|()| Prepared::Active);
        };
        let parent = self.parent(parents)?;
        match self.link.prepare(self.keys.active(id), parent.clone(), options) {
            Ok(_) => return Ok(Prepared::Active),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        match self.find(target, &parent)? {
            Some(info) => {
                self.found
                    .put(id, &info.name)
                    .map_err(|source| Error::Prepare { id, source })?;
                Ok(Prepared::Committed(self.link.usage(info.name)?))
            }
            // It is our key that exists, or the service means something that it does not show: then content is brought.
            None => self.prepare(id, parents, options).map(|()| Prepared::Active),
        }
    }

    fn view(&self, id: Id, parents: &[Id], options: &Options) -> Result<()> {
        let key = self.keys.active(id);
        match self.link.view(key, self.parent(parents)?, options) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn mounts(&self, id: Id, _parents: &[Id], _access: Access, _options: &Options) -> Result<Vec<Mount>> {
        let mounts = self.link.mounts(self.keys.active(id))?;
        Ok(mounts.into_iter().map(mount).collect())
    }

    fn commit(&self, id: Id, parents: &[Id]) -> Result<Usage> {
        self.commit_with(id, parents, &Options::default())
    }

    fn commit_with(&self, id: Id, parents: &[Id], options: &Options) -> Result<Usage> {
        let (key, layer) = (self.keys.active(id), self.keys.layer(id));
        // Only a service that knows how to attach is told; to others the field is new.
        let parent = match self.capabilities.rebase {
            true => self.parent(parents)?,
            false => String::new(),
        };
        match self.link.commit(layer.clone(), key, parent, options) {
            Ok(()) => {}
            // Perhaps a kill came between the commit and its record.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::AlreadyExists) => {
                match absent(self.link.stat(layer.clone()))? {
                    Some(info) if info.kind() == wire::Kind::Committed => {}
                    Some(_) | None => return Err(error),
                }
            }
            Err(error) => return Err(error),
        }
        self.link.usage(layer)
    }

    /// Only the service knows what it has mounted, and it refuses by itself.
    fn refuse_mounted(&self, _id: Id) -> Result<()> {
        Ok(())
    }

    fn remove(&self, id: Id) -> Result<Removed> {
        let failed = |source| Error::Remove { id, source };
        if let Some(name) = self.found.get(id).map_err(failed)? {
            // Other numbers may stand for the same, of other namespaces.
            let shared = self.found.others(id, &name).map_err(failed)?;
            if !shared {
                absent(self.link.remove(name))?;
            }
            self.found.forget(id).map_err(failed)?;
            return Ok(Removed::Now);
        }
        let mut removed = Removed::AlreadyGone;
        for key in [self.keys.active(id), self.keys.layer(id)] {
            if absent(self.link.remove(key))?.is_some() {
                removed = Removed::Now;
            }
        }
        Ok(removed)
    }

    fn usage(&self, id: Id) -> Result<Usage> {
        self.link.usage(self.known(id)?.name)
    }

    fn exists(&self, id: Id) -> Result<bool> {
        self.info(id).map(|info| info.is_some())
    }

    fn list(&self) -> Result<Vec<Id>> {
        let there = self.link.list(Vec::new())?;
        let mut ids: Vec<Id> = there.iter().filter_map(|info| self.keys.id(&info.name)).collect();
        for (id, name) in self.found.all().map_err(|source| Error::List { source })? {
            if there.iter().any(|info| info.name == name) {
                ids.push(id);
            }
        }
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }

    fn apply_target(&self, id: Id, _parents: &[Id]) -> Result<ApplyTarget> {
        let mounts: Vec<Mount> = self.link.mounts(self.keys.active(id))?.into_iter().map(mount).collect();
        Shape::of(self.name, &mounts)?
            .target()
            .ok_or_else(|| self.unsupported("writing into a snapshot without mounting it"))
    }

    fn changes(&self, id: Id, parents: &[Id], visit: &mut ChangeVisitor<'_>) -> Result<()> {
        let info = self.known(id)?;
        match info.kind() {
            wire::Kind::View => Ok(()),
            wire::Kind::Active | wire::Kind::Unknown => {
                let mounts: Vec<Mount> = self.link.mounts(info.name)?.into_iter().map(mount).collect();
                self.compare(id, &mounts, parents, visit)
            }
            wire::Kind::Committed => self.look(id, info.name, |mounts| self.compare(id, &mounts, parents, visit)),
        }
    }

    fn cleanup(&self) -> Result<usize> {
        let mut gone = self.found.cleanup().map_err(|source| Error::Cleanup { source })?;
        for info in self.link.list(Vec::new())? {
            if self.keys.is_look(&info.name) && absent(self.link.remove(info.name))?.is_some() {
                gone += 1;
            }
        }
        match self.link.cleanup() {
            Ok(()) => Ok(gone),
            Err(error) if error.kind() == ErrorKind::Unimplemented => Ok(gone),
            Err(error) => Err(error),
        }
    }
}

/// None for what the service does not know.
fn absent<T>(answer: Result<T>) -> Result<Option<T>> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn mount(wire: types::Mount) -> Mount {
    Mount {
        kind: wire.r#type,
        source: wire.source,
        target: wire.target,
        options: wire.options,
    }
}
