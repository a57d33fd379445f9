//! Repair on a copy: the damaged database is copied, the copy is read record by record into a new one, and the new one
//! takes its place. The original stays beside it under `db.damaged-N`.
//!
//! A kill at any instruction leaves either the original or the new database in place: `db.copy` and `db.new` are
//! scratch, `db.repaired` is whole, and the swap is finished on the next start.

use super::{options, quarantine, wal};
use crate::error::{Error, Result};
use crate::frame;
use rocksdb::{DB, Options, WriteBatch};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// What a repair did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepairReport {
    /// Where the damaged original is.
    pub kept: PathBuf,
    /// Records carried over.
    pub records: usize,
    /// Values that do not decode, now in the quarantine table.
    pub quarantined: usize,
    /// What could not be read at all, a line each.
    pub lost: Vec<String>,
}

pub fn db_dir(dir: &Path) -> PathBuf {
    dir.join("db")
}

/// Finishes or forgets what a killed repair left.
pub fn settle(dir: &Path) -> Result<()> {
    let (db, repaired) = (db_dir(dir), dir.join("db.repaired"));
    if repaired.exists() && !db.exists() {
        fs::rename(&repaired, &db).map_err(Error::path("rename", &repaired))?;
        sync_dir(dir)?;
    }
    for scratch in ["db.copy", "db.new", "db.repaired"] {
        remove_tree(&dir.join(scratch))?;
    }
    Ok(())
}

/// Repairs the database of `dir`. The caller holds the store's lock and has no database open.
pub fn repair(dir: &Path, tables: &[&'static str]) -> Result<RepairReport> {
    settle(dir)?;
    let (db, copy, new, repaired) = (
        db_dir(dir),
        dir.join("db.copy"),
        dir.join("db.new"),
        dir.join("db.repaired"),
    );
    copy_tree(&db, &copy)?;
    let mut report = RepairReport {
        kept: kept_name(dir),
        records: 0,
        quarantined: 0,
        lost: Vec::new(),
    };
    for (file, bytes) in wal::salvage(&copy)? {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        report.lost.push(format!("{bytes} bytes of log {name}"));
    }
    carry_over(dir, &copy, &new, tables, &mut report)?;
    fs::rename(&new, &repaired).map_err(Error::path("rename", &new))?;
    sync_dir(dir)?;
    fs::rename(&db, &report.kept).map_err(Error::path("rename", &db))?;
    sync_dir(dir)?;
    fs::rename(&repaired, &db).map_err(Error::path("rename", &repaired))?;
    sync_dir(dir)?;
    remove_tree(&copy)?;
    Ok(report)
}

fn kept_name(dir: &Path) -> PathBuf {
    (1u32..)
        .map(|number| dir.join(format!("db.damaged-{number}")))
        .find(|path| !path.exists())
        .expect("numbers do not end before directories do")
}

fn carry_over(dir: &Path, copy: &Path, new: &Path, tables: &[&'static str], report: &mut RepairReport) -> Result<()> {
    let failed = |source: rocksdb::Error| Error::Repair {
        dir: dir.to_path_buf(),
        reason: source.into_string(),
    };
    let source = open_damaged(copy, report).map_err(failed)?;
    let names = DB::list_cf(&options::database(), copy).map_err(failed)?;
    let target = super::open_with(new, &names, tables).map_err(failed)?;
    for name in names.iter().filter(|name| *name != "default") {
        let mut sink = Sink {
            target: &target,
            table: name,
            checked: tables.contains(&name.as_str()),
            batch: WriteBatch::default(),
            report,
        };
        read_table(&source, name, &mut sink).map_err(failed)?;
        sink.write().map_err(failed)?;
    }
    Ok(())
}

/// Opens a damaged copy; if even its directory of tables is unreadable, lets RocksDB find the tables again.
fn open_damaged(copy: &Path, report: &mut RepairReport) -> Result<DB, rocksdb::Error> {
    let open = || {
        let mut database = options::database();
        database.create_if_missing(false);
        let mut table = options::table(&options::cache());
        table.set_disable_auto_compactions(true);
        let names = DB::list_cf(&database, copy)?;
        DB::open_cf_with_opts(&database, copy, names.into_iter().map(|name| (name, table.clone())))
    };
    open().or_else(|error| {
        report
            .lost
            .push(format!("the list of tables was rebuilt: {}", error.as_ref()));
        let mut options: Options = options::database();
        options.set_paranoid_checks(false);
        DB::repair(&options, copy)?;
        let archived = fs::read_dir(copy.join("lost")).into_iter().flatten().flatten();
        for entry in archived {
            report
                .lost
                .push(format!("file {} of the original", entry.file_name().to_string_lossy()));
        }
        open()
    })
}

struct Sink<'a> {
    target: &'a DB,
    table: &'a str,
    checked: bool,
    batch: WriteBatch,
    report: &'a mut RepairReport,
}

impl Sink<'_> {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), rocksdb::Error> {
        match frame::open(self.table, key, value) {
            Err(reason) if self.checked => {
                let (kept_key, kept) = quarantine::sealed(self.table, key, value, &reason.to_string());
                let cf = self
                    .target
                    .cf_handle(quarantine::TABLE)
                    .expect("opened with every table");
                self.batch.put_cf(cf, kept_key, kept);
                self.report.quarantined += 1;
            }
            Ok(_) | Err(_) => {
                let cf = self.target.cf_handle(self.table).expect("opened with every table");
                self.batch.put_cf(cf, key, value);
                self.report.records += 1;
            }
        }
        if self.batch.size_in_bytes() > 256 * 1024 {
            self.write()?;
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), rocksdb::Error> {
        self.target
            .write_opt(std::mem::take(&mut self.batch), &options::synced())
    }
}

/// Reads from both ends up to the bad blocks, then between them without block checksums: our own frames tell good
/// values from bad ones there.
fn read_table(source: &DB, name: &str, sink: &mut Sink<'_>) -> Result<(), rocksdb::Error> {
    let cf = source.cf_handle(name).expect("opened with every table");
    let mut last: Option<Vec<u8>> = None;
    let mut forward = source.raw_iterator_cf_opt(cf, options::scan(true));
    forward.seek_to_first();
    while let Some((key, value)) = forward.item() {
        sink.put(key, value)?;
        last = Some(key.to_vec());
        forward.next();
    }
    if forward.status().is_ok() {
        return Ok(());
    }
    let mut first: Option<Vec<u8>> = None;
    let mut backward = source.raw_iterator_cf_opt(cf, options::scan(true));
    backward.seek_to_last();
    while let Some((key, value)) = backward.item() {
        if last.as_deref().is_some_and(|last| key <= last) {
            break;
        }
        sink.put(key, value)?;
        first = Some(key.to_vec());
        backward.prev();
    }
    let mut between = source.raw_iterator_cf_opt(cf, options::scan(false));
    match &last {
        Some(last) => between.seek(last),
        None => between.seek_to_first(),
    }
    while let Some((key, value)) = between.item() {
        if first.as_deref().is_some_and(|first| key >= first) {
            return Ok(());
        }
        if last.as_deref().is_none_or(|last| key > last) {
            sink.put(key, value)?;
        }
        between.next();
    }
    if let Err(error) = between.status() {
        sink.report.lost.push(format!(
            "records of table {name} between {} and {}: {}",
            last.map_or("its beginning".into(), hex::encode),
            first.map_or("its end".into(), hex::encode),
            error.as_ref()
        ));
    }
    Ok(())
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).map_err(Error::path("create", to))?;
    for entry in fs::read_dir(from).map_err(Error::path("list", from))? {
        let entry = entry.map_err(Error::path("list", from))?;
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target).map_err(Error::path("copy", &entry.path()))?;
        }
    }
    Ok(())
}

fn remove_tree(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::path("remove", path)(error)),
        _ => Ok(()),
    }
}

pub fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir)
        .and_then(|file| file.sync_all())
        .map_err(Error::path("sync", dir))
}
