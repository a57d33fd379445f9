//! What the trait promises below the names: shapes of mounts, differences, and calls made again after a kill.

#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

use gantry_core::{ErrorKind, Mount};
use gantry_snapshots_api::{Access, ChangeKind, Id, IdMap, Options, Removed, Snapshotter, Whiteouts};
use gantry_snapshots_mount::with_mounted;
use gantry_snapshots_overlayfs::{Kernel, MAX_LAYERS, Overlayfs};
use std::fs;
use std::path::Path;

fn backend() -> (tempfile::TempDir, Overlayfs) {
    let dir = tempfile::tempdir().unwrap();
    let kernel = Kernel {
        index: true,
        ..Kernel::default()
    };
    let backend = Overlayfs::open_on(&dir.path().join("root"), kernel).unwrap();
    (dir, backend)
}

fn layer(backend: &Overlayfs, at: &Path, id: Id, parents: &[Id], work: impl FnOnce(&Path) + Send) {
    backend.prepare(id, parents, &Options::default()).unwrap();
    let mounts = backend
        .mounts(id, parents, Access::ReadWrite, &Options::default())
        .unwrap();
    with_mounted(at, &mounts, work).unwrap();
    backend.commit(id, parents).unwrap();
}

fn changes(backend: &Overlayfs, id: Id, parents: &[Id]) -> Vec<String> {
    let mut told = Vec::new();
    backend
        .changes(id, parents, &mut |change| {
            let letter = match change.kind {
                ChangeKind::Add => 'A',
                ChangeKind::Modify => 'C',
                ChangeKind::Delete => 'D',
            };
            assert_eq!(
                change.source.is_some_and(|source| fs::symlink_metadata(source).is_ok()),
                letter != 'D'
            );
            told.push(format!("{letter} {}", change.path.display()));
            Ok(())
        })
        .unwrap();
    told
}

#[test]
fn mounts_have_the_shapes_that_clients_know() {
    let (_dir, backend) = backend();
    let none = Options::default();
    for id in [1, 2] {
        backend.prepare(id, &[], &none).unwrap();
    }
    backend.prepare(3, &[2, 1], &none).unwrap();
    backend.view(4, &[2, 1], &none).unwrap();
    let place = |rest: &str| format!("{}/snapshots/{rest}", backend.root().display());
    let mount = |kind: &str, source: String, options: &[String]| Mount {
        kind: kind.to_owned(),
        source,
        target: String::new(),
        options: options.to_vec(),
    };
    let words = |words: [&str; 2]| words.map(str::to_owned);
    let get = |id, parents: &[Id], access| backend.mounts(id, parents, access, &none).unwrap();
    assert_eq!(
        get(1, &[], Access::ReadWrite),
        [mount("bind", place("1/fs"), &words(["rw", "rbind"]))]
    );
    assert_eq!(
        get(1, &[], Access::ReadOnly),
        [mount("bind", place("1/fs"), &words(["ro", "rbind"]))]
    );
    assert_eq!(
        get(4, &[2], Access::ReadOnly),
        [mount("bind", place("2/fs"), &words(["ro", "rbind"]))]
    );
    let lower = format!("lowerdir={}:{}", place("2/fs"), place("1/fs"));
    let read = [lower.clone(), "index=off".to_owned()];
    assert_eq!(
        get(4, &[2, 1], Access::ReadOnly),
        [mount("overlay", "overlay".into(), &read)]
    );
    let (work, upper) = (
        format!("workdir={}", place("3/work")),
        format!("upperdir={}", place("3/fs")),
    );
    let write = [work, upper, lower, "index=off".to_owned()];
    assert_eq!(
        get(3, &[2, 1], Access::ReadWrite),
        [mount("overlay", "overlay".into(), &write)]
    );

    let target = backend.apply_target(3, &[2, 1]).unwrap();
    assert_eq!(target.whiteouts, Whiteouts::Overlay);
    assert_eq!(
        target.lower,
        [place("2/fs"), place("1/fs")].map(std::path::PathBuf::from)
    );
}

#[test]
fn id_maps_are_carried_and_own_the_root() {
    use std::os::unix::fs::MetadataExt;
    let (_dir, backend) = backend();
    let map = IdMap {
        container: 0,
        host: 70_000,
        size: 10,
    };
    let mapped = Options {
        uid_map: vec![map],
        gid_map: vec![map],
        ..Options::default()
    };
    backend.prepare(1, &[], &mapped).unwrap();
    backend.prepare(2, &[1], &mapped).unwrap();
    let mounts = backend.mounts(2, &[1], Access::ReadWrite, &mapped).unwrap();
    assert!(
        mounts[0]
            .options
            .ends_with(&["uidmap=0:70000:10".to_owned(), "gidmap=0:70000:10".to_owned()])
    );
    let root = fs::metadata(backend.apply_target(2, &[1]).unwrap().dir).unwrap();
    assert_eq!((root.uid(), root.gid()), (70_000, 70_000));
}

#[test]
fn roots_that_mount_options_cannot_say_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a:b", "a,b", "a\\b"] {
        let error = Overlayfs::open(&dir.path().join(name)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(!dir.path().join(name).exists());
    }
}

#[test]
fn differences_are_told_in_order_with_the_directories_they_are_in() {
    let (dir, backend) = backend();
    let at = dir.path().join("at");
    layer(&backend, &at, 1, &[], |at| {
        fs::create_dir_all(at.join("quiet/deep")).unwrap();
        fs::create_dir_all(at.join("opaque/sub")).unwrap();
        fs::create_dir_all(at.join("to-file")).unwrap();
        for name in [
            "quiet/deep/f",
            "quiet/same",
            "opaque/old",
            "opaque/both",
            "opaque/sub/x",
            "gone",
            "to-dir",
        ] {
            fs::write(at.join(name), "1").unwrap();
        }
    });
    layer(&backend, &at, 2, &[1], |at| {
        fs::write(at.join("second"), "2").unwrap();
        fs::remove_file(at.join("opaque/old")).unwrap();
        fs::write(at.join("opaque/late"), "2").unwrap();
    });
    layer(&backend, &at, 3, &[2, 1], |at| {
        fs::OpenOptions::new()
            .append(true)
            .open(at.join("quiet/deep/f"))
            .unwrap()
            .set_len(9)
            .unwrap();
        fs::remove_file(at.join("gone")).unwrap();
        fs::remove_file(at.join("second")).unwrap();
        fs::remove_dir_all(at.join("opaque")).unwrap();
        fs::create_dir_all(at.join("opaque/sub")).unwrap();
        fs::write(at.join("opaque/both"), "3").unwrap();
        fs::remove_file(at.join("to-dir")).unwrap();
        fs::create_dir(at.join("to-dir")).unwrap();
        fs::write(at.join("to-dir/in"), "3").unwrap();
        fs::remove_dir(at.join("to-file")).unwrap();
        fs::write(at.join("to-file"), "3").unwrap();
        fs::write(at.join("new"), "3").unwrap();
        // Made and removed again: a whiteout of nothing.
        fs::write(at.join("brief"), "3").unwrap();
        fs::remove_file(at.join("brief")).unwrap();
    });
    let wanted = [
        "D gone",
        "A new",
        "C opaque",
        "C opaque/both",
        "D opaque/late",
        "C opaque/sub",
        "D opaque/sub/x",
        "C quiet",
        "C quiet/deep",
        "C quiet/deep/f",
        "D second",
        "C to-dir",
        "A to-dir/in",
        "C to-file",
    ];
    assert_eq!(changes(&backend, 3, &[2, 1]), wanted);
    assert_eq!(
        changes(&backend, 2, &[1]),
        ["C opaque", "A opaque/late", "D opaque/old", "A second"]
    );
    let first = changes(&backend, 1, &[]);
    assert!(
        first.iter().all(|line| line.starts_with("A ")) && first.len() == 12,
        "{first:?}"
    );
    // Removed below, opaque above: not told, as nothing showed there.
    backend.prepare(4, &[3, 2, 1], &Options::default()).unwrap();
    assert!(changes(&backend, 4, &[3, 2, 1]).is_empty());
}

#[test]
fn every_call_can_be_made_again_after_a_kill() {
    let (_dir, backend) = backend();
    let none = Options::default();
    let snapshots = backend.root().join("snapshots");
    // Killed while preparing 1: half of it is there.
    fs::create_dir_all(snapshots.join("new-1/fs")).unwrap();
    fs::write(snapshots.join("new-1/fs/half"), "").unwrap();
    assert!(!backend.exists(1).unwrap());
    backend.prepare(1, &[], &none).unwrap();
    let target = backend.apply_target(1, &[]).unwrap();
    assert_eq!(fs::read_dir(&target.dir).unwrap().count(), 0);
    fs::write(target.dir.join("kept"), "x").unwrap();
    // Killed after preparing 1, before anybody wrote that down.
    backend.prepare(1, &[], &none).unwrap();
    assert!(target.dir.join("kept").exists());
    assert_eq!(backend.commit(1, &[]).unwrap(), backend.commit(1, &[]).unwrap());
    // Killed while removing 2, and while preparing 3 that nobody wants any more.
    fs::create_dir_all(snapshots.join("rm-2/fs/deep")).unwrap();
    fs::create_dir_all(snapshots.join("new-3/work")).unwrap();
    assert_eq!(backend.list().unwrap(), [1]);
    assert_eq!(backend.cleanup().unwrap(), 2);
    assert_eq!(backend.cleanup().unwrap(), 0);
    assert_eq!(backend.remove(1).unwrap(), Removed::Now);
    assert_eq!(backend.remove(1).unwrap(), Removed::AlreadyGone);
    assert_eq!(fs::read_dir(&snapshots).unwrap().count(), 0);
}

#[test]
fn what_is_missing_is_named() {
    let (_dir, backend) = backend();
    let none = Options::default();
    assert_eq!(backend.usage(9).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(backend.commit(9, &[]).unwrap_err().kind(), ErrorKind::NotFound);
    let orphan = backend.prepare(9, &[5], &none).unwrap_err();
    assert_eq!(orphan.to_string(), "parent 5 of snapshot 9 does not exist on disk");
    backend.prepare(1, &[], &none).unwrap();
    let tall = backend.prepare(2, &[1; MAX_LAYERS + 1], &none).unwrap_err();
    assert_eq!(tall.to_string(), "snapshot 2 has 501 layers, 500 can be mounted");
    assert_eq!(backend.list().unwrap(), [1]);
}

#[test]
fn removal_does_not_enter_what_is_mounted() {
    let (dir, backend) = backend();
    backend.prepare(1, &[], &Options::default()).unwrap();
    let inner = backend.apply_target(1, &[]).unwrap().dir.join("inner");
    fs::create_dir(&inner).unwrap();
    let precious = dir.path().join("precious");
    fs::create_dir(&precious).unwrap();
    fs::write(precious.join("data"), "x").unwrap();
    let bind = Mount {
        kind: "bind".into(),
        source: precious.display().to_string(),
        target: String::new(),
        options: vec!["rbind".into(), "rw".into()],
    };
    let refused = with_mounted(&inner, &[bind], |_| backend.remove(1))
        .unwrap()
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::FailedPrecondition, "{refused:?}");
    assert!(precious.join("data").exists());
    backend.remove(1).unwrap();
}
