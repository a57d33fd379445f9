//! Checks of what is told about snapshots.

use super::{Subject, file, refusal};
use gantry_core::snapshot::{SnapshotKind, Usage};
use gantry_core::{ErrorKind, Labels, Namespace};
use std::collections::BTreeMap;

/// Labels are set, kept, replaced, and deleted by an empty value; nothing else changes.
pub fn labels_update(s: &Subject) {
    s.layer("base", None, |_| Ok(()));
    let set = |pairs: &[(&str, &str)]| {
        let labels: Labels = pairs
            .iter()
            .map(|&(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        s.service.label(&s.ns, &s.snapshotter, "base", &labels).unwrap()
    };
    let before = s.stat("base").unwrap();
    set(&[("gantry.test/a", "1"), ("gantry.test/b", "2")]);
    let after = set(&[("gantry.test/a", ""), ("gantry.test/b", "3"), ("gantry.test/c", "4")]);
    let wanted =
        [("gantry.test/b", "3"), ("gantry.test/c", "4")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(after.labels, Labels::from(wanted));
    assert_eq!(s.stat("base").unwrap(), after);
    assert_eq!(
        (after.kind, after.parent, after.created_at),
        (before.kind, before.parent, before.created_at)
    );
    assert!(after.updated_at >= before.updated_at);
}

/// A list holds every snapshot once, of every kind.
pub fn list_all(s: &Subject) {
    s.layer("one", None, |_| Ok(()));
    s.layer("two", Some("one"), |_| Ok(()));
    s.prepare("active", Some("two")).unwrap();
    s.view("view", Some("one")).unwrap();
    let listed: Vec<_> = s.service.list(&s.ns, &s.snapshotter).unwrap();
    let kinds: BTreeMap<_, _> = listed.iter().map(|info| (info.name.as_str(), info.kind)).collect();
    let wanted = [
        ("active", SnapshotKind::Active),
        ("one", SnapshotKind::Committed),
        ("two", SnapshotKind::Committed),
        ("view", SnapshotKind::View),
    ];
    assert_eq!(kinds, BTreeMap::from(wanted));
    assert_eq!(listed.len(), wanted.len());
}

/// What a list says and what a look at one says is the same, and one may be had while working on the other.
pub fn stat_while_listing(s: &Subject) {
    s.layer("one", None, |_| Ok(()));
    s.prepare("active", Some("one")).unwrap();
    for info in s.service.list(&s.ns, &s.snapshotter).unwrap() {
        assert_eq!(s.stat(&info.name).unwrap(), info);
    }
}

/// A key and a name cannot be the same at a time, but one after the other.
pub fn kinds_share_one_namespace(s: &Subject) {
    s.prepare("x", None).unwrap();
    assert_eq!(refusal(s.commit("x", "x")), ErrorKind::AlreadyExists);
    s.commit("y", "x").unwrap();
    s.prepare("x", Some("y")).unwrap();
    s.remove("x").unwrap();
    s.remove("y").unwrap();
}

/// Another namespace neither sees nor disturbs.
pub fn namespaces_are_apart(s: &Subject) {
    let other = Namespace::new(format!("{}-other", s.ns)).unwrap();
    s.layer("base", None, |_| Ok(()));
    assert_eq!(
        refusal(s.service.stat(&other, &s.snapshotter, "base")),
        ErrorKind::NotFound
    );
    let options = gantry_core::snapshot::SnapshotOptions::default;
    let child = s
        .service
        .prepare(&other, &s.snapshotter, "child", Some("base"), options());
    assert_eq!(refusal(child), ErrorKind::NotFound);
    s.service
        .prepare(&other, &s.snapshotter, "base", None, options())
        .unwrap();
    assert_eq!(s.service.list(&other, &s.snapshotter).unwrap().len(), 1);
    assert_eq!(s.stat("base").unwrap().kind, SnapshotKind::Committed);
    s.service.remove(&other, &s.snapshotter, "base").unwrap();
}

/// Usage is what was written: of an active snapshot now, of a committed one then, of a view nothing.
pub fn usage(s: &Subject) {
    const WRITTEN: u64 = 1 << 20;
    let of = |key: &str| s.service.usage(&s.ns, &s.snapshotter, key).unwrap();
    let mounts = s.prepare("active", None).unwrap();
    let empty = of("active");
    assert!(empty.size < WRITTEN / 8, "{empty:?}");
    let fill = "x".repeat(WRITTEN as usize);
    s.on(&mounts, |at| {
        file(&at.join("big"), 0o644, &fill)?;
        std::fs::hard_link(at.join("big"), at.join("same"))?;
        std::fs::File::open(at.join("big"))?.sync_all()
    })
    .unwrap();
    let full = of("active");
    assert!(
        (WRITTEN..WRITTEN + WRITTEN / 8).contains(&(full.size - empty.size)),
        "{empty:?} {full:?}"
    );
    assert_eq!(full.inodes, empty.inodes + 1, "a hard link is no second file");
    s.commit("committed", "active").unwrap();
    let committed = of("committed");
    assert_eq!(committed, full);
    s.view("view", Some("committed")).unwrap();
    assert_eq!(of("view"), Usage::default());
    s.remove("view").unwrap();
    assert_eq!(of("committed"), committed);
}
