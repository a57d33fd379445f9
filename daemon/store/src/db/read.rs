//! Typed reads, from the newest state or from a snapshot of it.

use super::{Store, options};
use crate::error::{Error, Result};
use crate::key::Key;
use crate::record::{DecodeError, Record, decode};
use rocksdb::{ReadOptions, Snapshot};
use std::ops::ControlFlow;

/// The state of one moment; writers go on.
pub struct View<'a> {
    store: &'a Store,
    snapshot: Snapshot<'a>,
}

impl Store {
    pub fn view(&self) -> View<'_> {
        View {
            store: self,
            snapshot: self.db.snapshot(),
        }
    }

    /// The record, if it is there. One that does not decode goes into quarantine and is an error this once.
    pub fn get<R: Record>(&self, key: &R::Key) -> Result<Option<R>> {
        let bytes = key.to_bytes();
        let cf = self.cf(R::TABLE)?;
        let value = self
            .db
            .get_pinned_cf(cf, &bytes)
            .map_err(|source| failed::<R>(source))?;
        let Some(value) = value else { return Ok(None) };
        match read_value::<R>(&bytes, &value)? {
            Ok(record) => Ok(Some(record)),
            Err(reason) => {
                self.quarantine(R::TABLE, &bytes, &value, &reason)?;
                Err(Error::Quarantined {
                    table: R::TABLE,
                    key: hex::encode(&bytes),
                    reason,
                })
            }
        }
    }

    pub fn contains<R: Record>(&self, key: &R::Key) -> Result<bool> {
        let value = self.db.get_pinned_cf(self.cf(R::TABLE)?, key.to_bytes());
        Ok(value.map_err(|source| failed::<R>(source))?.is_some())
    }

    /// Whether there is a row, whoever's record it is.
    pub(crate) fn contains_row(&self, table: &'static str, key: &[u8]) -> Result<bool> {
        let value = self.db.get_pinned_cf(self.cf(table)?, key);
        Ok(value.map_err(|source| Error::Read { table, source })?.is_some())
    }

    /// Every record of the table, in key order. Those that do not decode go into quarantine and are left out.
    pub fn list<R: Record>(&self) -> Result<Vec<(R::Key, R)>> {
        self.scan(&())
    }

    /// Every record whose key begins with `prefix`.
    pub fn scan<R: Record>(&self, prefix: &impl Key) -> Result<Vec<(R::Key, R)>> {
        let mut found = Vec::new();
        self.visit::<R>(prefix, |key, record| {
            found.push((key, record));
            ControlFlow::Continue(())
        })?;
        Ok(found)
    }

    /// Shows the records under `prefix` one by one.
    pub fn visit<R: Record>(&self, prefix: &impl Key, visit: impl FnMut(R::Key, R) -> ControlFlow<()>) -> Result<()> {
        let prefix = prefix.to_bytes();
        self.walk(ReadOptions::default(), &prefix, &prefix, visit)
    }

    /// Shows the records from `start` on one by one.
    pub fn visit_from<R: Record>(&self, start: &R::Key, visit: impl FnMut(R::Key, R) -> ControlFlow<()>) -> Result<()> {
        self.walk(ReadOptions::default(), &start.to_bytes(), &[], visit)
    }

    /// Shows the keys of `table` that begin with `prefix`, whoever's records they are. One of another shape is left out.
    pub fn visit_keys<K: Key>(
        &self,
        table: &'static str,
        prefix: &impl Key,
        mut visit: impl FnMut(K) -> ControlFlow<()>,
    ) -> Result<()> {
        let prefix = prefix.to_bytes();
        let mut rows = self.db.raw_iterator_cf(self.cf(table)?);
        rows.seek(&prefix);
        while let Some(key) = rows.key() {
            if !key.starts_with(&prefix) {
                break;
            }
            if let Some(key) = K::from_bytes(key)
                && visit(key).is_break()
            {
                break;
            }
            rows.next();
        }
        rows.status().map_err(|source| Error::Read { table, source })
    }

    fn walk<R: Record>(
        &self,
        read: ReadOptions,
        start: &[u8],
        prefix: &[u8],
        mut visit: impl FnMut(R::Key, R) -> ControlFlow<()>,
    ) -> Result<()> {
        let mut bad = Vec::new();
        let mut rows = self.db.raw_iterator_cf_opt(self.cf(R::TABLE)?, read);
        rows.seek(start);
        while let Some((key, value)) = rows.item() {
            if !key.starts_with(prefix) {
                break;
            }
            let shown = read_value::<R>(key, value)?
                .and_then(|record| Ok((R::Key::from_bytes(key).ok_or(DecodeError::Key.to_string())?, record)));
            match shown {
                Ok((parsed, record)) => {
                    if visit(parsed, record).is_break() {
                        break;
                    }
                }
                Err(reason) => bad.push((key.to_vec(), value.to_vec(), reason)),
            }
            rows.next();
        }
        rows.status().map_err(|source| failed::<R>(source))?;
        for (key, value, reason) in bad {
            self.quarantine(R::TABLE, &key, &value, &reason)?;
        }
        Ok(())
    }
}

impl View<'_> {
    /// Every record of the table at that moment.
    pub fn list<R: Record>(&self) -> Result<Vec<(R::Key, R)>> {
        let mut read = options::scan(true);
        read.set_snapshot(&self.snapshot);
        let mut found = Vec::new();
        self.store.walk::<R>(read, &[], &[], |key, record| {
            found.push((key, record));
            ControlFlow::Continue(())
        })?;
        Ok(found)
    }
}

/// The record, or why the value is damaged. A newer version is an error of another kind: it is left alone.
fn read_value<R: Record>(key: &[u8], value: &[u8]) -> Result<Result<R, String>> {
    match decode::<R>(key, value) {
        Ok(record) => Ok(Ok(record)),
        Err(DecodeError::Newer { version, known }) => Err(Error::Newer {
            table: R::TABLE,
            key: hex::encode(key),
            version,
            known,
        }),
        Err(damage) => Ok(Err(damage.to_string())),
    }
}

fn failed<R: Record>(source: rocksdb::Error) -> Error {
    let table = R::TABLE;
    match source.kind() {
        rocksdb::ErrorKind::Corruption => Error::TableDamaged { table, source },
        _ => Error::Read { table, source },
    }
}
