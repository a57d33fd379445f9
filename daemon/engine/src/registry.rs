//! Which containers there are: by id, by name, by unique prefix. Lookups never wait for a container.

use crate::keeper::Keeper;
use crate::network::plan;
use gantry_core::{ContainerId, Error, Result};
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Shortest id prefix that a name must not look like (P02).
const SHORT_ID: usize = 12;

#[derive(Default)]
struct Inner {
    by_id: BTreeMap<ContainerId, Arc<Keeper>>,
    by_name: BTreeMap<String, ContainerId>,
}

impl Inner {
    /// Whom another's legacy link calls so: `linking/alias`.
    fn linked(&self, text: &str) -> Option<Arc<Keeper>> {
        let (linking, alias) = text.split_once('/')?;
        let record = self.by_id.get(self.by_name.get(linking)?)?.record();
        let mut links = record.host.links.iter().map(|link| plan::link(link));
        let (id, _) = links.find(|(_, name)| *name == alias)?;
        let found = self.by_id.iter().find(|(known, _)| known.as_str() == id);
        found.map(|(_, keeper)| keeper.clone())
    }
}

#[derive(Default)]
pub struct Registry {
    inner: RwLock<Inner>,
}

impl Registry {
    pub fn insert(&self, keeper: Arc<Keeper>) {
        let record = keeper.record();
        let mut inner = self.inner.write();
        inner.by_name.insert(record.name.clone(), record.id.clone());
        inner.by_id.insert(record.id.clone(), keeper);
    }

    pub fn remove(&self, id: &ContainerId) {
        let mut inner = self.inner.write();
        if let Some(keeper) = inner.by_id.remove(id) {
            let name = keeper.record().name.clone();
            if inner.by_name.get(&name) == Some(id) {
                inner.by_name.remove(&name);
            }
        }
    }

    pub fn renamed(&self, id: &ContainerId, old: &str, new: &str) {
        let mut inner = self.inner.write();
        if inner.by_name.get(old) == Some(id) {
            inner.by_name.remove(old);
        }
        inner.by_name.insert(new.to_owned(), id.clone());
    }

    pub fn all(&self) -> Vec<Arc<Keeper>> {
        self.inner.read().by_id.values().cloned().collect()
    }

    pub fn get(&self, id: &ContainerId) -> Option<Arc<Keeper>> {
        self.inner.read().by_id.get(id).cloned()
    }

    /// Full id, then name, then unique id prefix; an ambiguous prefix names its candidates.
    pub fn find(&self, text: &str) -> Result<Arc<Keeper>> {
        let text = text.strip_prefix('/').unwrap_or(text);
        if text.is_empty() {
            return Err(Error::invalid("invalid container name or ID: value is empty"));
        }
        let inner = self.inner.read();
        if let Some(id) = inner
            .by_name
            .get(text)
            .filter(|_| !inner.by_id.keys().any(|id| id.as_str() == text))
        {
            return Ok(inner.by_id[id].clone());
        }
        let mut matches: Vec<&Arc<Keeper>> = Vec::new();
        for (id, keeper) in &inner.by_id {
            if id.as_str() == text {
                return Ok(keeper.clone());
            }
            if id.as_str().starts_with(text) {
                matches.push(keeper);
            }
        }
        match matches.as_slice() {
            [] if text.contains('/') => inner
                .linked(text)
                .ok_or_else(|| Error::not_found(format!("No such container: {text}"))),
            [] => Err(Error::not_found(format!("No such container: {text}"))),
            [one] => Ok((*one).clone()),
            several => {
                let ids: Vec<&str> = several.iter().map(|keeper| keeper.id().short()).collect();
                Err(Error::invalid(format!(
                    "ambiguous container id prefix \"{text}\": it may be {}; give more digits",
                    ids.join(", ")
                )))
            }
        }
    }

    /// Whose name it is.
    pub fn by_name(&self, name: &str) -> Option<ContainerId> {
        self.inner.read().by_name.get(name).cloned()
    }

    /// The container whose id a name equals or abbreviates (12 or more hex digits), so that the name would be mistaken
    /// for it.
    pub fn id_like(&self, name: &str) -> Option<ContainerId> {
        if name.len() < SHORT_ID || !name.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        self.inner
            .read()
            .by_id
            .keys()
            .find(|id| id.as_str().starts_with(name))
            .cloned()
    }
}
