//! Damage at its three levels, and writers at once.

use super::*;
use crate::events::EventQuery;
use gantry_core::Namespace;
use serde::{Deserialize, Serialize};
use std::time::SystemTime;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Thing {
    text: String,
}

impl Record for Thing {
    type Key = (Namespace, String);
    const TABLE: &'static str = "names";
    const VERSION: u16 = 1;
}

fn key(name: impl ToString) -> (Namespace, String) {
    (Namespace::engine(), name.to_string())
}

fn thing(text: impl ToString) -> Thing {
    Thing { text: text.to_string() }
}

fn put(store: &Store, name: impl ToString) {
    let mut batch = Batch::new();
    batch.put(&key(name.to_string()), &thing(name.to_string())).unwrap();
    store.commit(batch).unwrap();
}

fn open(dir: &Path) -> Result<Arc<Store>> {
    Store::open(
        dir,
        &StoreOptions {
            patience: Duration::ZERO,
        },
    )
}

/// The only file with this ending, or the biggest of them.
fn file(dir: &Path, ending: &str) -> PathBuf {
    let files = fs::read_dir(dir.join("db")).unwrap().map(|entry| entry.unwrap().path());
    let found = files.filter(|path| path.to_string_lossy().ends_with(ending));
    found.max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap()
}

fn flip(path: &Path, needle: &str) {
    let mut bytes = fs::read(path).unwrap();
    let at = bytes
        .windows(needle.len())
        .position(|window| window == needle.as_bytes())
        .unwrap_or_else(|| panic!("{needle} is in {}", path.display()));
    bytes[at + needle.len() - 1] ^= 0x08;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_damaged_value_is_quarantined_and_the_others_go_on() {
    let dir = tempfile::tempdir().unwrap();
    {
        let store = open(dir.path()).unwrap();
        put(&store, "a");
        put(&store, "b");
        let cf = store.cf(Thing::TABLE).unwrap();
        let mut value = store.db.get_cf(cf, key("a").to_bytes()).unwrap().unwrap();
        *value.last_mut().unwrap() ^= 1;
        store.db.put_cf(cf, key("a").to_bytes(), &value).unwrap();
        // Met while it runs.
        assert!(matches!(store.get::<Thing>(&key("a")), Err(Error::Quarantined { .. })));
        assert_eq!(store.get::<Thing>(&key("a")).unwrap(), None);
        assert_eq!(store.quarantined().unwrap()[0].value, hex::encode(&value));
        // A sound frame round nonsense shows in a scan.
        let bytes = key("c").to_bytes();
        let nonsense = frame::seal(Thing::TABLE, &bytes, 1, b"[]");
        store.db.put_cf(cf, &bytes, nonsense).unwrap();
        assert_eq!(store.list::<Thing>().unwrap(), [(key("b"), thing("b"))]);
        assert_eq!(store.damage().len(), 2);
        store.db.put_cf(cf, key("d").to_bytes(), b"x").unwrap();
    }
    let store = open(dir.path()).unwrap();
    assert_eq!(store.damage().len(), 1, "met at the start");
    assert_eq!(store.list::<Thing>().unwrap().len(), 1);
    let kept = store.quarantined().unwrap();
    assert_eq!(kept.len(), 3);
    store.forget_quarantined(&kept[0]).unwrap();
    assert_eq!(store.quarantined().unwrap(), kept[1..]);
}

#[test]
fn a_bad_table_block_is_repaired_on_a_copy() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    for number in 0..600 {
        put(&store, format!("thing-{number:04}"));
    }
    store.db.flush_cf(store.cf(Thing::TABLE).unwrap()).unwrap();
    put(&store, "in the log");
    drop(store);
    flip(&file(dir.path(), ".sst"), "{\"text\":\"thing-0300");
    let store = open(dir.path()).unwrap();
    let [Damage::Table(report)] = &store.damage()[..] else {
        panic!("{:?}", store.damage());
    };
    assert_eq!(
        (report.records, report.quarantined, report.lost.len()),
        (600, 1, 0),
        "{report:?}"
    );
    assert!(report.kept.join("CURRENT").exists(), "the original is kept");
    assert_eq!(store.get::<Thing>(&key("thing-0300")).unwrap(), None);
    assert_eq!(store.list::<Thing>().unwrap().len(), 600);
    let kept = store.quarantined().unwrap();
    assert_eq!(kept[0].key, hex::encode(key("thing-0300").to_bytes()));
    put(&store, "later");
    drop(store);
    assert!(open(dir.path()).unwrap().damage().is_empty());
}

#[test]
fn a_bad_index_is_repaired_on_a_copy_too() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    for number in 0..100 {
        put(&store, number);
    }
    store.db.flush_cf(store.cf(Thing::TABLE).unwrap()).unwrap();
    drop(store);
    let table = file(dir.path(), ".sst");
    let mut bytes = fs::read(&table).unwrap();
    let end = bytes.len();
    bytes[end - 60..].fill(0x5a);
    fs::write(&table, &bytes).unwrap();
    let store = open(dir.path()).unwrap();
    let [Damage::Table(report)] = &store.damage()[..] else {
        panic!("{:?}", store.damage());
    };
    assert!(!report.lost.is_empty(), "what cannot be read is said");
    let kept = report.kept.join(table.file_name().unwrap());
    assert_eq!(fs::read(kept).unwrap(), bytes);
    put(&store, "works");
}

#[test]
fn a_torn_or_flipped_tail_is_accepted_and_kept() {
    for torn in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path()).unwrap();
        for name in ["first", "second", "third"] {
            put(&store, name);
        }
        drop(store);
        let log = file(dir.path(), ".log");
        if torn {
            let length = fs::metadata(&log).unwrap().len();
            fs::OpenOptions::new()
                .write(true)
                .open(&log)
                .unwrap()
                .set_len(length - 5)
                .unwrap();
        } else {
            flip(&log, "{\"text\":\"third");
        }
        let store = open(dir.path()).unwrap();
        let [Damage::TornLog { kept }] = &store.damage()[..] else {
            panic!("{:?}", store.damage());
        };
        assert!(kept.exists());
        assert_eq!(store.list::<Thing>().unwrap().len(), 2);
        put(&store, "fourth");
        drop(store);
        let store = open(dir.path()).unwrap();
        assert!(store.damage().is_empty());
        assert_eq!(store.list::<Thing>().unwrap().len(), 3);
    }
}

#[test]
fn what_nobody_waited_for_may_be_spoiled_anywhere() {
    for synced_after in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path()).unwrap();
        put(&store, "first");
        for name in ["second", "third", "fourth"] {
            let mut batch = Batch::new();
            batch.put(&key(name), &thing(name)).unwrap();
            store.commit_unsynced(batch).unwrap();
        }
        if synced_after {
            put(&store, "fifth");
        }
        drop(store);
        flip(&file(dir.path(), ".log"), "{\"text\":\"second");
        if synced_after {
            assert!(open(dir.path()).is_err(), "a synced batch follows: this is damage");
            continue;
        }
        let store = open(dir.path()).unwrap();
        assert!(matches!(store.damage()[..], [Damage::TornLog { .. }]));
        let left = store.list::<Thing>().unwrap();
        assert_eq!(left, [(key("first"), thing("first"))]);
    }
}

#[test]
fn a_value_written_anew_is_not_quarantined() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    put(&store, "a");
    let bytes = key("a").to_bytes();
    store
        .quarantine(Thing::TABLE, &bytes, b"what was read before", "bad")
        .unwrap();
    assert_eq!(store.get::<Thing>(&key("a")).unwrap(), Some(thing("a")));
    assert!(store.quarantined().unwrap().is_empty());
}

#[test]
fn damage_in_the_middle_of_the_log_refuses_until_repaired() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    for number in 0..50 {
        put(&store, format!("thing-{number:02}"));
    }
    drop(store);
    let log = file(dir.path(), ".log");
    flip(&log, "{\"text\":\"thing-20");
    let damaged = fs::read(&log).unwrap();
    for _ in 0..2 {
        let Err(error) = open(dir.path()) else {
            panic!("opened over a damaged log");
        };
        assert_eq!(error.kind(), gantry_core::ErrorKind::DataLoss);
        assert!(error.to_string().contains("gantryd store repair"), "{error}");
        assert_eq!(fs::read(&log).unwrap(), damaged, "nothing was changed");
    }
    let report = Store::repair(dir.path()).unwrap();
    assert_eq!(report.lost.len(), 1);
    assert_eq!(fs::read(report.kept.join(log.file_name().unwrap())).unwrap(), damaged);
    let store = open(dir.path()).unwrap();
    let left = store.list::<Thing>().unwrap();
    assert_eq!(left.len(), 49);
    assert!(left.iter().all(|(_, thing)| thing.text != "thing-20"));
}

#[test]
fn a_swap_that_was_cut_short_is_finished() {
    let dir = tempfile::tempdir().unwrap();
    put(&open(dir.path()).unwrap(), "a");
    fs::rename(dir.path().join("db"), dir.path().join("db.repaired")).unwrap();
    fs::create_dir(dir.path().join("db.copy")).unwrap();
    let store = open(dir.path()).unwrap();
    assert!(store.contains::<Thing>(&key("a")).unwrap());
    assert!(!dir.path().join("db.copy").exists());
}

#[test]
fn tables_of_another_version_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("db")).unwrap();
    let path = repair::db_dir(dir.path());
    let db = DB::open_cf(&options::database(), &path, ["of_the_future"]).unwrap();
    db.put_cf(db.cf_handle("of_the_future").unwrap(), "k", "v").unwrap();
    drop(db);
    drop(open(dir.path()).unwrap());
    Store::repair(dir.path()).unwrap();
    let store = open(dir.path()).unwrap();
    let cf = store.db.cf_handle("of_the_future").unwrap();
    assert_eq!(store.db.get_cf(cf, "k").unwrap().unwrap(), b"v");
}

#[test]
fn one_store_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let _store = open(dir.path()).unwrap();
    let error = open(dir.path()).err().unwrap();
    assert!(matches!(error, Error::Locked { .. }), "{error}");
}

#[test]
fn many_writers_share_syncs_and_events_keep_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let (writers, each) = (16, 100);
    let watcher = store.watch_events();
    std::thread::scope(|scope| {
        for writer in 0..writers {
            let store = &store;
            scope.spawn(move || {
                for number in 0..each {
                    let name = format!("{writer}-{number}");
                    let mut batch = Batch::new();
                    batch.put(&key(&name), &thing(&name)).unwrap();
                    batch.event(Event {
                        ns: Namespace::engine(),
                        topic: "/test".into(),
                        at: SystemTime::now(),
                        payload: name.into(),
                    });
                    store.commit(batch).unwrap();
                }
            });
        }
        // A reader that goes from number to number while they write.
        let mut seen = 0;
        while seen < (writers * each) as u64 {
            let query = EventQuery {
                after: seen,
                limit: Some(50),
                ..EventQuery::default()
            };
            for (number, event) in store.events(&query).unwrap() {
                assert_eq!(number, seen + 1, "no number is skipped");
                let name = event.payload.as_str().unwrap().to_owned();
                assert!(store.contains::<Thing>(&key(name)).unwrap(), "state and event together");
                seen = number;
            }
        }
    });
    assert_eq!(*watcher.borrow(), (writers * each) as u64);
    assert_eq!(store.list::<Thing>().unwrap().len(), writers * each);
    drop(store);
    assert_eq!(open(dir.path()).unwrap().list::<Thing>().unwrap().len(), writers * each);
}

#[test]
fn old_events_are_trimmed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let event = Event {
        ns: Namespace::engine(),
        topic: "/test".into(),
        at: SystemTime::now(),
        payload: serde_json::Value::Null,
    };
    let mut last = 0;
    for _ in 0..24 {
        let mut batch = Batch::new();
        (0..500).for_each(|_| batch.event(event.clone()));
        last = *store.commit(batch).unwrap().last().unwrap();
    }
    assert_eq!(last, 12_000);
    let kept = store.events(&EventQuery::default()).unwrap();
    assert!((10_000..10_200).contains(&kept.len()), "{}", kept.len());
    assert_eq!(kept.last().unwrap().0, last);
    drop(store);
    let store = open(dir.path()).unwrap();
    let mut batch = Batch::new();
    batch.event(event);
    assert_eq!(store.commit(batch).unwrap(), [last + 1]);
}
