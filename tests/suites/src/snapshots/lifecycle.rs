//! Checks of what may follow what.

use super::{Subject, dir, expected, file, refusal};
use gantry_core::ErrorKind;
use gantry_core::snapshot::{CommitOptions, SnapshotKind, SnapshotOptions};
use gantry_core::{Labels, Mount};
use std::fs;

/// Two layers, committed one on the other, show their content together; the key is gone, the name is there.
pub fn basic(s: &Subject) {
    let mounts = s.prepare("one", None).unwrap();
    assert!(!mounts.is_empty(), "a snapshot is mounted somehow");
    s.on(&mounts, |at| {
        file(&at.join("foo"), 0o644, "foo\n")?;
        dir(&at.join("a"), 0o755)?;
        dir(&at.join("a/b"), 0o755)?;
        file(&at.join("a/b/c"), 0o600, "c")
    })
    .unwrap();
    s.commit("committed-one", "one").unwrap();
    assert_eq!(s.stat("committed-one").unwrap().parent, None);
    assert_eq!(refusal(s.stat("one")), ErrorKind::NotFound);
    assert_eq!(refusal(s.mounts("one")), ErrorKind::NotFound);

    let mounts = s.prepare("two", Some("committed-one")).unwrap();
    s.on(&mounts, |at| {
        file(&at.join("bar"), 0o644, "bar\n")?;
        file(&at.join("foo"), 0o777, "foo changed\n")?;
        fs::remove_file(at.join("a/b/c"))
    })
    .unwrap();
    s.commit("committed-two", "two").unwrap();
    assert_eq!(
        s.stat("committed-two").unwrap().parent.as_deref(),
        Some("committed-one")
    );

    let second = [
        ("foo", "777:0:0 foo changed\n"),
        ("bar", "644:0:0 bar\n"),
        ("a", "755:0:0/"),
        ("a/b", "755:0:0/"),
    ];
    assert_eq!(s.tree("committed-two"), expected(&second));
    let first = [
        ("foo", "644:0:0 foo\n"),
        ("a", "755:0:0/"),
        ("a/b", "755:0:0/"),
        ("a/b/c", "600:0:0 c"),
    ];
    assert_eq!(
        s.tree("committed-one"),
        expected(&first),
        "a layer does not change once committed"
    );
}

/// An active snapshot says so, with its parent and labels.
pub fn stat_active(s: &Subject) {
    s.layer("base", None, |_| Ok(()));
    let labels = Labels::from([("gantry.test/a".to_owned(), "b".to_owned())]);
    let options = SnapshotOptions {
        labels: labels.clone(),
        lease: None,
    };
    let prepared = s
        .service
        .prepare(&s.ns, &s.snapshotter, "active", Some("base"), options)
        .unwrap();
    let info = s.stat("active").unwrap();
    assert_eq!((info.kind, info.name.as_str()), (SnapshotKind::Active, "active"));
    assert_eq!(info.parent.as_deref(), Some("base"));
    assert_eq!(info.labels, labels);
    assert!(info.updated_at >= info.created_at);
    assert_eq!(
        s.mounts("active").unwrap(),
        prepared,
        "mounts are the same whenever asked for"
    );
}

/// A committed snapshot says so; labels given at commit are its own.
pub fn stat_committed(s: &Subject) {
    s.prepare("active", None).unwrap();
    let labels = Labels::from([("gantry.test/c".to_owned(), "d".to_owned())]);
    let options = CommitOptions {
        labels: labels.clone(),
        ..CommitOptions::default()
    };
    s.service
        .commit(&s.ns, &s.snapshotter, "committed", "active", options)
        .unwrap();
    let info = s.stat("committed").unwrap();
    assert_eq!((info.kind, info.name.as_str()), (SnapshotKind::Committed, "committed"));
    assert_eq!((info.parent, info.labels), (None, labels));
}

/// Parents of parents keep their place.
pub fn transitivity(s: &Subject) {
    s.layer("one", None, |at| file(&at.join("1"), 0o644, "1"));
    s.layer("two", Some("one"), |at| file(&at.join("2"), 0o644, "2"));
    s.prepare("active", Some("two")).unwrap();
    s.view("view", Some("two")).unwrap();
    let parent = |key: &str| s.stat(key).unwrap().parent;
    assert_eq!(parent("active").as_deref(), Some("two"));
    assert_eq!(parent("view").as_deref(), Some("two"));
    assert_eq!(parent("two").as_deref(), Some("one"));
    assert_eq!(parent("one"), None);
    assert_eq!(s.stat("view").unwrap().kind, SnapshotKind::View);
}

/// Neither an active snapshot nor a view nor nothing can be a parent.
pub fn only_committed_parents(s: &Subject) {
    s.prepare("active", None).unwrap();
    s.view("view", None).unwrap();
    for parent in ["active", "view"] {
        assert_eq!(
            refusal(s.prepare("child", Some(parent))),
            ErrorKind::InvalidArgument,
            "{parent}"
        );
        assert_eq!(
            refusal(s.view("child", Some(parent))),
            ErrorKind::InvalidArgument,
            "{parent}"
        );
    }
    assert_eq!(refusal(s.prepare("child", Some("nobody"))), ErrorKind::NotFound);
    assert_eq!(refusal(s.view("child", Some("nobody"))), ErrorKind::NotFound);
    assert_eq!(
        refusal(s.stat("child")),
        ErrorKind::NotFound,
        "a refusal leaves nothing"
    );
}

/// Children go before their parents, and what is gone is gone.
pub fn remove_in_order(s: &Subject) {
    s.layer("one", None, |at| file(&at.join("1"), 0o644, "1"));
    s.layer("two", Some("one"), |at| file(&at.join("2"), 0o644, "2"));
    s.prepare("active", Some("two")).unwrap();
    s.view("view", Some("one")).unwrap();
    assert_eq!(refusal(s.remove("one")), ErrorKind::FailedPrecondition);
    assert_eq!(refusal(s.remove("two")), ErrorKind::FailedPrecondition);
    s.remove("active").unwrap();
    s.remove("two").unwrap();
    assert_eq!(
        refusal(s.remove("one")),
        ErrorKind::FailedPrecondition,
        "a view is a child too"
    );
    s.remove("view").unwrap();
    s.remove("one").unwrap();
    assert_eq!(refusal(s.remove("one")), ErrorKind::NotFound);
    assert!(s.service.list(&s.ns, &s.snapshotter).unwrap().is_empty());
}

/// A parent with two children outlives the first of them only as long as the second is there.
pub fn remove_intermediate(s: &Subject) {
    s.layer("base", None, |at| file(&at.join("f"), 0o644, "base"));
    s.layer("middle", Some("base"), |at| file(&at.join("f"), 0o644, "middle"));
    s.layer("left", Some("middle"), |at| file(&at.join("f"), 0o644, "left"));
    s.prepare("right", Some("middle")).unwrap();
    assert_eq!(refusal(s.remove("middle")), ErrorKind::FailedPrecondition);
    s.remove("left").unwrap();
    assert_eq!(refusal(s.remove("middle")), ErrorKind::FailedPrecondition);
    let mounts = s.mounts("right").unwrap();
    let seen = s.on(&mounts, |at| fs::read_to_string(at.join("f")));
    assert_eq!(seen.unwrap(), "middle");
    s.remove("right").unwrap();
    s.remove("middle").unwrap();
    s.remove("base").unwrap();
}

/// A key can be committed once, and a name taken once.
pub fn close_twice(s: &Subject) {
    s.layer("name", None, |at| file(&at.join("f"), 0o644, "first"));
    assert_eq!(refusal(s.commit("other", "name-key")), ErrorKind::NotFound);
    s.prepare("again", None).unwrap();
    assert_eq!(refusal(s.commit("name", "again")), ErrorKind::AlreadyExists);
    assert_eq!(
        s.stat("again").unwrap().kind,
        SnapshotKind::Active,
        "a refused commit keeps the active snapshot"
    );
    assert_eq!(s.tree("name"), expected(&[("f", "644:0:0 first")]));
    s.commit("other", "again").unwrap();
}

/// A key in use is refused, by prepare and view alike, and stays what it was.
pub fn existing_keys(s: &Subject) {
    s.layer("base", None, |_| Ok(()));
    s.prepare("active", Some("base")).unwrap();
    s.view("view", Some("base")).unwrap();
    for key in ["active", "view", "base"] {
        assert_eq!(refusal(s.prepare(key, Some("base"))), ErrorKind::AlreadyExists, "{key}");
        assert_eq!(refusal(s.view(key, Some("base"))), ErrorKind::AlreadyExists, "{key}");
    }
    assert_eq!(s.stat("active").unwrap().kind, SnapshotKind::Active);
    assert_eq!(s.stat("view").unwrap().kind, SnapshotKind::View);
}

/// What does not exist is not found, whatever is asked of it.
pub fn unknown_names(s: &Subject) {
    let ask = |snapshotter: &str| s.service.stat(&s.ns, snapshotter, "nobody");
    assert_eq!(refusal(s.stat("nobody")), ErrorKind::NotFound);
    assert_eq!(refusal(s.mounts("nobody")), ErrorKind::NotFound);
    assert_eq!(refusal(s.commit("name", "nobody")), ErrorKind::NotFound);
    assert_eq!(refusal(s.remove("nobody")), ErrorKind::NotFound);
    assert_eq!(
        refusal(s.service.usage(&s.ns, &s.snapshotter, "nobody")),
        ErrorKind::NotFound
    );
    let labels = Labels::new();
    assert_eq!(
        refusal(s.service.label(&s.ns, &s.snapshotter, "nobody", &labels)),
        ErrorKind::NotFound
    );
    assert_eq!(refusal(ask("no-such-snapshotter")), ErrorKind::InvalidArgument);
}

/// A view is not content and cannot be committed.
pub fn commit_of_a_view(s: &Subject) {
    s.layer("base", None, |_| Ok(()));
    s.view("view", Some("base")).unwrap();
    assert_eq!(refusal(s.commit("name", "view")), ErrorKind::FailedPrecondition);
    assert_eq!(refusal(s.commit("name", "base")), ErrorKind::FailedPrecondition);
    assert_eq!(refusal(s.stat("name")), ErrorKind::NotFound);
}

/// Committed content is mounted through a snapshot of one's own only.
pub fn mounts_of_committed(s: &Subject) {
    s.layer("base", None, |_| Ok(()));
    let refused: Result<Vec<Mount>, _> = s.mounts("base");
    assert_eq!(refusal(refused), ErrorKind::FailedPrecondition);
}
