//! Names, kinds, parents and labels in memory over a bare backend: the smallest thing that can be checked.

use gantry_core::snapshot::{
    ApplyTarget, CommitOptions, SnapshotInfo, SnapshotKind, SnapshotOptions, SnapshotService, Usage,
};
use gantry_core::{Error, ErrorKind, Labels, Mount, Namespace, Result, label};
use gantry_snapshots_api::{Access, Id, Options, Snapshotter};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::SystemTime;

/// A [`SnapshotService`] that forgets everything with its process.
pub struct Memory<S> {
    backend: S,
    state: Mutex<State>,
}

type Key = (String, String);

#[derive(Default)]
struct State {
    last: Id,
    records: BTreeMap<Key, Record>,
}

#[derive(Clone)]
struct Record {
    id: Id,
    info: SnapshotInfo,
    usage: Usage,
}

impl<S: Snapshotter> Memory<S> {
    pub fn new(backend: S) -> Self {
        Self {
            backend,
            state: Mutex::default(),
        }
    }

    fn state(&self, snapshotter: &str) -> Result<MutexGuard<'_, State>> {
        if snapshotter != self.backend.name() {
            return Err(Error::invalid(format!("snapshotter {snapshotter:?} not loaded")));
        }
        Ok(self.state.lock().expect("no check panics with the lock held"))
    }

    fn make(
        &self,
        kind: SnapshotKind,
        (ns, snapshotter): (&Namespace, &str),
        key: &str,
        parent: Option<&str>,
        options: SnapshotOptions,
    ) -> Result<Vec<Mount>> {
        let mut state = self.state(snapshotter)?;
        if state.records.contains_key(&place(ns, key)) {
            return Err(Error::exists(format!("snapshot {key:?} already exists")));
        }
        let parents = state.chain(ns, parent)?;
        state.last += 1;
        let id = state.last;
        let access = access(kind);
        match access {
            Access::ReadWrite => self.backend.prepare(id, &parents, &Options::default())?,
            Access::ReadOnly => self.backend.view(id, &parents, &Options::default())?,
        }
        let now = SystemTime::now();
        let info = SnapshotInfo {
            kind,
            name: key.to_owned(),
            parent: parent.map(str::to_owned),
            labels: options.labels,
            created_at: now,
            updated_at: now,
            verified: false,
        };
        state.records.insert(
            place(ns, key),
            Record {
                id,
                info,
                usage: Usage::default(),
            },
        );
        Ok(self.backend.mounts(id, &parents, access, &Options::default())?)
    }
}

impl State {
    fn find(&self, ns: &Namespace, key: &str) -> Result<&Record> {
        self.records
            .get(&place(ns, key))
            .ok_or_else(|| Error::not_found(format!("snapshot {key:?} not found")))
    }

    /// Ids of `parent` and its parents, nearest first.
    fn chain(&self, ns: &Namespace, parent: Option<&str>) -> Result<Vec<Id>> {
        let mut ids = Vec::new();
        let mut next = parent.map(str::to_owned);
        while let Some(name) = next {
            let record = self.find(ns, &name)?;
            if record.info.kind != SnapshotKind::Committed {
                return Err(Error::invalid(format!("parent {name:?} is not a committed snapshot")));
            }
            ids.push(record.id);
            next = record.info.parent.clone();
        }
        Ok(ids)
    }
}

impl<S: Snapshotter> SnapshotService for Memory<S> {
    fn prepare(
        &self,
        ns: &Namespace,
        snapshotter: &str,
        key: &str,
        parent: Option<&str>,
        options: SnapshotOptions,
    ) -> Result<Vec<Mount>> {
        self.make(SnapshotKind::Active, (ns, snapshotter), key, parent, options)
    }

    fn view(
        &self,
        ns: &Namespace,
        snapshotter: &str,
        key: &str,
        parent: Option<&str>,
        options: SnapshotOptions,
    ) -> Result<Vec<Mount>> {
        self.make(SnapshotKind::View, (ns, snapshotter), key, parent, options)
    }

    fn mounts(&self, ns: &Namespace, snapshotter: &str, key: &str) -> Result<Vec<Mount>> {
        let state = self.state(snapshotter)?;
        let record = state.find(ns, key)?;
        if record.info.kind == SnapshotKind::Committed {
            return Err(Error::precondition(format!(
                "snapshot {key:?} is committed and has no mounts"
            )));
        }
        let parents = state.chain(ns, record.info.parent.as_deref())?;
        Ok(self
            .backend
            .mounts(record.id, &parents, access(record.info.kind), &Options::default())?)
    }

    fn commit(&self, ns: &Namespace, snapshotter: &str, name: &str, key: &str, options: CommitOptions) -> Result<()> {
        let mut state = self.state(snapshotter)?;
        let mut record = state.find(ns, key)?.clone();
        if record.info.kind != SnapshotKind::Active {
            return Err(Error::precondition(format!("snapshot {key:?} is not active")));
        }
        if state.records.contains_key(&place(ns, name)) {
            return Err(Error::exists(format!("snapshot {name:?} already exists")));
        }
        if options.parent.is_some() && options.parent != record.info.parent {
            if record.info.parent.is_some() {
                return Err(Error::invalid(format!("snapshot {key:?} has another parent")));
            }
            if !self.backend.capabilities().rebase {
                return Err(Error::new(
                    ErrorKind::Unimplemented,
                    "snapshots cannot get a parent at commit",
                ));
            }
            record.info.parent = options.parent;
        }
        let parents = state.chain(ns, record.info.parent.as_deref())?;
        record.usage = self.backend.commit(record.id, &parents)?;
        record.info.kind = SnapshotKind::Committed;
        record.info.name = name.to_owned();
        record.info.labels = options.labels;
        record.info.updated_at = SystemTime::now();
        state.records.remove(&place(ns, key));
        state.records.insert(place(ns, name), record);
        Ok(())
    }

    fn remove(&self, ns: &Namespace, snapshotter: &str, key: &str) -> Result<()> {
        let mut state = self.state(snapshotter)?;
        let id = state.find(ns, key)?.id;
        let mut own = state.records.iter().filter(|(place, _)| place.0 == ns.as_str());
        if own.any(|(_, record)| record.info.parent.as_deref() == Some(key)) {
            return Err(Error::precondition(format!("snapshot {key:?} has children")));
        }
        self.backend.remove(id)?;
        state.records.remove(&place(ns, key));
        Ok(())
    }

    fn stat(&self, ns: &Namespace, snapshotter: &str, key: &str) -> Result<SnapshotInfo> {
        Ok(self.state(snapshotter)?.find(ns, key)?.info.clone())
    }

    fn label(&self, ns: &Namespace, snapshotter: &str, key: &str, labels: &Labels) -> Result<SnapshotInfo> {
        let mut state = self.state(snapshotter)?;
        let mut record = state.find(ns, key)?.clone();
        label::merge(&mut record.info.labels, labels);
        record.info.updated_at = SystemTime::now();
        let info = record.info.clone();
        state.records.insert(place(ns, key), record);
        Ok(info)
    }

    fn list(&self, ns: &Namespace, snapshotter: &str) -> Result<Vec<SnapshotInfo>> {
        let state = self.state(snapshotter)?;
        let own = state.records.iter().filter(|(place, _)| place.0 == ns.as_str());
        Ok(own.map(|(_, record)| record.info.clone()).collect())
    }

    fn usage(&self, ns: &Namespace, snapshotter: &str, key: &str) -> Result<Usage> {
        let state = self.state(snapshotter)?;
        let record = state.find(ns, key)?;
        match record.info.kind {
            SnapshotKind::Active => Ok(self.backend.usage(record.id)?),
            SnapshotKind::Committed | SnapshotKind::View => Ok(record.usage),
        }
    }

    fn apply_target(&self, ns: &Namespace, snapshotter: &str, key: &str) -> Result<ApplyTarget> {
        let state = self.state(snapshotter)?;
        let record = state.find(ns, key)?;
        if record.info.kind != SnapshotKind::Active {
            return Err(Error::precondition(format!("snapshot {key:?} is not active")));
        }
        let parents = state.chain(ns, record.info.parent.as_deref())?;
        Ok(self.backend.apply_target(record.id, &parents)?)
    }

    fn can_rebase(&self, snapshotter: &str) -> Result<bool> {
        self.state(snapshotter).map(|_| self.backend.capabilities().rebase)
    }
}

fn place(ns: &Namespace, key: &str) -> Key {
    (ns.as_str().to_owned(), key.to_owned())
}

fn access(kind: SnapshotKind) -> Access {
    match kind {
        SnapshotKind::Active => Access::ReadWrite,
        SnapshotKind::View | SnapshotKind::Committed => Access::ReadOnly,
    }
}
