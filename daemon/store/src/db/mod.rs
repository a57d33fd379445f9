//! The one database: opened, checked, read and written.

mod claims;
mod lock;
mod options;
pub mod quarantine;
mod read;
pub mod repair;
mod wal;

pub use claims::{Claim, Claims};
pub use read::View;

use crate::error::{Error, Result};
use crate::events::{EventLog, Topic};
use crate::frame;
use crate::key::Key;
use crate::record::{Batch, Event, Record, decode, encode};
use crate::young::{Step, Young};
use gantry_core::gc::Node;
use lock::DirLock;
use parking_lot::Mutex;
use quarantine::Quarantined;
use repair::RepairReport;
use rocksdb::{ColumnFamily, DB, IteratorMode, WriteBatch, WriteOptions};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Every table, a column family each. Tables that a newer gantry made are opened and kept.
pub const TABLES: &[&str] = &[
    "activations",
    "blob_owners",
    "blobs",
    "client_containers",
    "container_states",
    "containers",
    "deactivations",
    "events",
    "execs",
    "images",
    "ingests",
    "layers",
    "lease_resources",
    "leases",
    "meta",
    "names",
    "namespaces",
    "network_sandboxes",
    "networks",
    "quarantine",
    "sandboxes",
    "shared_layers",
    "snapshot_children",
    "snapshot_owners",
    "snapshots",
    "volumes",
];

/// A write that fails with less room than this failed for want of room: RocksDB needs it for its next files.
const LITTLE_ROOM: u64 = 1 << 20;

#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// How long to wait for another daemon to let go of the store.
    pub patience: Duration,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(5),
        }
    }
}

/// Damage that was met, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Damage {
    /// One value did not decode: it is in quarantine.
    Value { table: String, key: String, reason: String },
    /// A table block was bad: the database was repaired on a copy.
    Table(RepairReport),
    /// The log ended in a torn batch; its bytes are kept.
    TornLog { kept: PathBuf },
}

/// All metadata. Reads and writes may come from any number of threads; writers that commit at once share a sync.
pub struct Store {
    dir: PathBuf,
    db: DB,
    claims: Arc<Claims>,
    young: Young,
    log: EventLog,
    damage: Mutex<Vec<Damage>>,
    /// Last, so that it is let go after the database is closed.
    _lock: DirLock,
}

impl Store {
    /// Opens the store of `dir`, made if it is not there. Everything in it is read once: damage shows now, not later.
    pub fn open(dir: &Path, options: &StoreOptions) -> Result<Arc<Self>> {
        fs::create_dir_all(dir).map_err(Error::path("create", dir))?;
        let lock = DirLock::take(dir, options.patience)?;
        repair::settle(dir)?;
        let mut damage = Vec::new();
        accept_torn_log(dir, &mut damage)?;
        let (db, bad) = match open_checked(dir) {
            Err(Trouble::Damaged(_)) => {
                let report = repair::repair(dir, TABLES)?;
                tracing::warn!(kept = %report.kept.display(), lost = ?report.lost, "store repaired on a copy");
                damage.push(Damage::Table(report));
                open_checked(dir)
            }
            other => other,
        }
        .map_err(|trouble| trouble.into_error(dir))?;
        let kept = event_kinds(&db)?;
        let store = Self {
            dir: dir.to_path_buf(),
            db,
            claims: Arc::default(),
            young: Young::default(),
            log: EventLog::new(kept),
            damage: Mutex::new(damage),
            _lock: lock,
        };
        for (table, key, value, reason) in bad {
            store.quarantine(table, &key, &value, &reason)?;
        }
        Ok(Arc::new(store))
    }

    /// Repairs the store of `dir` on a copy, whatever is wrong with it: the deed behind the command that the error of a
    /// damaged log names. No daemon may have it open.
    pub fn repair(dir: &Path) -> Result<RepairReport> {
        let _lock = DirLock::take(dir, StoreOptions::default().patience)?;
        repair::repair(dir, TABLES)
    }

    /// Makes the batch durable, all of it or nothing. Returns when it is synced, with the numbers of its events.
    pub fn commit(&self, batch: Batch) -> Result<Vec<u64>> {
        self.commit_by(batch, WriteBatch::default(), &options::synced())
    }

    /// The same without waiting for the disk: the batch outlives this process, and the machine's next sync takes it along.
    /// For what the next start finds out by itself, and for what is true until the next boot only. It says so in the log, where a
    /// loss of power may leave a hole before it ([`wal`]).
    pub fn commit_unsynced(&self, batch: Batch) -> Result<Vec<u64>> {
        let mut writes = WriteBatch::default();
        writes.put_log_data(wal::UNSYNCED);
        self.commit_by(batch, writes, &options::unsynced())
    }

    fn commit_by(&self, batch: Batch, mut writes: WriteBatch, how: &WriteOptions) -> Result<Vec<u64>> {
        let _step = self.young.step(&batch.touched);
        for op in &batch.ops {
            let cf = self.cf(op.table)?;
            match &op.value {
                Some(value) => writes.put_cf(cf, &op.key, value),
                None => writes.delete_cf(cf, &op.key),
            }
        }
        let mut events = batch.events;
        events.extend(batch.told);
        if events.is_empty() {
            self.write(writes, how)?;
            return Ok(Vec::new());
        }
        let numbered = self.log.number(&events);
        let written = self
            .add_events(&mut writes, numbered.first, &events, &numbered.trim)
            .and_then(|()| self.write(writes, how));
        self.log.landed(&numbered);
        written.map(|()| numbered.numbers().collect())
    }

    fn add_events(&self, writes: &mut WriteBatch, first: u64, events: &[Event], trim: &[u64]) -> Result<()> {
        let cf = self.cf(Event::TABLE)?;
        for (number, event) in (first..).zip(events) {
            let key = number.to_bytes();
            let value = encode(&key, event)?;
            writes.put_cf(cf, key, value);
        }
        for number in trim {
            writes.delete_cf(cf, number.to_bytes());
        }
        Ok(())
    }

    fn write(&self, writes: WriteBatch, how: &WriteOptions) -> Result<()> {
        self.db
            .write_opt(writes, how)
            .map_err(|source| match self.disk_is_full() {
                true => Error::Full {
                    dir: self.dir.clone(),
                    source,
                },
                false => Error::Write { source },
            })
    }

    /// RocksDB tells a full disk by its words only; the disk tells it by numbers.
    fn disk_is_full(&self) -> bool {
        nix::sys::statvfs::statvfs(&self.dir)
            .is_ok_and(|disk| disk.blocks_available() * disk.fragment_size() < LITTLE_ROOM)
    }

    /// Claims something unique; to be held until the batch that writes it is committed.
    pub fn claim(&self, key: impl Into<String>, patience: Duration) -> Result<Claim> {
        self.claims.claim_within(key, patience)
    }

    pub fn claims(&self) -> &Arc<Claims> {
        &self.claims
    }

    /// Makes a collection that runs now keep these; held until what relies on it is committed.
    pub fn step(&self, nodes: &[Node]) -> Step<'_> {
        self.young.step(nodes)
    }

    pub(crate) fn young(&self) -> &Young {
        &self.young
    }

    pub(crate) fn log(&self) -> &EventLog {
        &self.log
    }

    fn cf(&self, table: &str) -> Result<&ColumnFamily> {
        self.db.cf_handle(table).ok_or_else(|| Error::NoTable {
            table: table.to_owned(),
        })
    }

    /// Damage met since the store was opened.
    pub fn damage(&self) -> Vec<Damage> {
        self.damage.lock().clone()
    }

    /// Everything in quarantine.
    pub fn quarantined(&self) -> Result<Vec<Quarantined>> {
        Ok(self
            .list::<Quarantined>()?
            .into_iter()
            .map(|(_, entry)| entry)
            .collect())
    }

    /// While anything is in quarantine nobody knows what it referred to: nothing is collected or swept.
    pub(crate) fn holds_back(&self) -> Result<bool> {
        let mut held = false;
        self.visit::<Quarantined>(&(), |_, _| {
            held = true;
            std::ops::ControlFlow::Break(())
        })?;
        Ok(held)
    }

    /// Whether a table has no records, whoever reads them.
    pub(crate) fn is_empty(&self, table: &'static str) -> Result<bool> {
        let mut rows = self.db.raw_iterator_cf(self.cf(table)?);
        rows.seek_to_first();
        rows.status().map_err(|source| Error::Read { table, source })?;
        Ok(!rows.valid())
    }

    /// Forgets a quarantined value, on somebody's word that it is not needed.
    pub fn forget_quarantined(&self, entry: &Quarantined) -> Result<()> {
        let key = hex::decode(&entry.key).unwrap_or_default();
        let mut batch = Batch::new();
        batch.delete::<Quarantined>(&(entry.table.clone(), key));
        self.commit(batch).map(drop)
    }

    /// Moves a value that does not decode out of its table, bytes and all. What has been written in its place since it was read stays.
    fn quarantine(&self, table: &'static str, key: &[u8], read: &[u8], reason: &str) -> Result<()> {
        let cf = self.cf(table)?;
        let value = self
            .db
            .get_cf(cf, key)
            .map_err(|source| Error::Read { table, source })?;
        let Some(value) = value.filter(|value| value == read) else {
            return Ok(());
        };
        let (kept_key, kept) = quarantine::sealed(table, key, &value, reason);
        let mut writes = WriteBatch::default();
        writes.put_cf(self.cf(quarantine::TABLE)?, kept_key, kept);
        writes.delete_cf(cf, key);
        self.write(writes, &options::synced())?;
        let key = hex::encode(key);
        tracing::warn!(table, key, reason, "a damaged record is in quarantine");
        self.damage.lock().push(Damage::Value {
            table: table.to_owned(),
            key,
            reason: reason.to_owned(),
        });
        Ok(())
    }

    /// Bytes of memory that RocksDB holds for tables and buffers, for the metrics.
    pub fn memory(&self) -> u64 {
        ["rocksdb.cur-size-all-mem-tables", "rocksdb.estimate-table-readers-mem"]
            .iter()
            .flat_map(|property| TABLES.iter().map(move |table| (table, property)))
            .filter_map(|(table, property)| {
                let cf = self.db.cf_handle(table)?;
                self.db.property_int_value_cf(cf, *property).ok().flatten()
            })
            .sum()
    }
}

fn accept_torn_log(dir: &Path, damage: &mut Vec<Damage>) -> Result<()> {
    match wal::inspect(&repair::db_dir(dir))? {
        wal::Verdict::Sound => Ok(()),
        wal::Verdict::Torn { file, offset } => {
            for kept in wal::cut(&repair::db_dir(dir), &file, offset, &dir.join("torn"))? {
                tracing::warn!(kept = %kept.display(), "the store's log ended in a batch that was torn before it was synced");
                damage.push(Damage::TornLog { kept });
            }
            Ok(())
        }
        wal::Verdict::Damaged { file, offset } => Err(Error::LogDamaged {
            dir: dir.to_path_buf(),
            file,
            offset,
        }),
    }
}

enum Trouble {
    Damaged(rocksdb::Error),
    Other(rocksdb::Error),
}

impl From<rocksdb::Error> for Trouble {
    fn from(error: rocksdb::Error) -> Self {
        match error.kind() {
            rocksdb::ErrorKind::Corruption => Self::Damaged(error),
            _ => Self::Other(error),
        }
    }
}

impl Trouble {
    fn into_error(self, dir: &Path) -> Error {
        let (Self::Damaged(source) | Self::Other(source)) = self;
        Error::Open {
            dir: dir.to_path_buf(),
            source,
        }
    }
}

/// A value that does not hold: table, key, value, reason.
type Bad = (&'static str, Vec<u8>, Vec<u8>, String);

/// Opens the database and reads every block and frame of it.
fn open_checked(dir: &Path) -> Result<(DB, Vec<Bad>), Trouble> {
    let path = repair::db_dir(dir);
    let known = if path.join("CURRENT").exists() {
        DB::list_cf(&options::database(), &path)?
    } else {
        Vec::new()
    };
    let db = open_with(&path, &known, TABLES)?;
    let mut bad = Vec::new();
    for table in TABLES {
        let cf = db.cf_handle(table).expect("opened with every table");
        let mut rows = db.raw_iterator_cf_opt(cf, options::scan(true));
        rows.seek_to_first();
        while let Some((key, value)) = rows.item() {
            if let Err(reason) = frame::open(table, key, value) {
                bad.push((*table, key.to_vec(), value.to_vec(), reason.to_string()));
            }
            rows.next();
        }
        rows.status()?;
    }
    Ok((db, bad))
}

/// Opens with the tables found on disk and those named.
fn open_with(path: &Path, found: &[String], tables: &[&'static str]) -> Result<DB, rocksdb::Error> {
    let cache = options::cache();
    let names: BTreeSet<&str> = found
        .iter()
        .map(String::as_str)
        .chain(tables.iter().copied())
        .chain(["default"])
        .collect();
    let families = names.into_iter().map(|name| (name, options::table(&cache)));
    DB::open_cf_with_opts(&options::database(), path, families)
}

/// Numbers of the events that are kept, and whether each is of the daemon's own.
fn event_kinds(db: &DB) -> Result<Vec<(u64, bool)>> {
    let cf = db.cf_handle(Event::TABLE).expect("opened with every table");
    let mut kinds = Vec::new();
    for row in db.iterator_cf_opt(cf, options::scan(false), IteratorMode::Start) {
        let (key, value) = row.map_err(|source| Error::Read {
            table: Event::TABLE,
            source,
        })?;
        // One that cannot be read goes to quarantine.
        if let (Some(number), Ok(topic)) = (u64::from_bytes(&key), decode::<Topic>(&key, &value)) {
            kinds.push((number, topic.is_own()));
        }
    }
    Ok(kinds)
}

#[cfg(test)]
mod tests;
