//! What the trait promises below the names, and reflinks on a filesystem that has them.

#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

use gantry_core::{ErrorKind, Mount};
use gantry_snapshots_api::{Access, ChangeKind, Id, IdMap, Options, Removed, Snapshotter, Whiteouts};
use gantry_snapshots_mount::with_mounted;
use gantry_snapshots_native::Native;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn backend() -> (tempfile::TempDir, Native) {
    let dir = tempfile::tempdir().unwrap();
    let backend = Native::open(&dir.path().join("root")).unwrap();
    (dir, backend)
}

/// Prepares `id` and gives the directory to write in.
fn prepare(backend: &Native, id: Id, parents: &[Id]) -> PathBuf {
    backend.prepare(id, parents, &Options::default()).unwrap();
    let target = backend.apply_target(id, parents).unwrap();
    assert_eq!((target.whiteouts, target.lower.len()), (Whiteouts::Plain, 0));
    target.dir
}

fn changes(backend: &Native, id: Id, parents: &[Id]) -> Vec<String> {
    let mut told = Vec::new();
    backend
        .changes(id, parents, &mut |change| {
            let letter = match change.kind {
                ChangeKind::Add => 'A',
                ChangeKind::Modify => 'C',
                ChangeKind::Delete => 'D',
            };
            told.push(format!("{letter} {}", change.path.display()));
            Ok(())
        })
        .unwrap();
    told
}

#[test]
fn differences_are_told_in_order_with_the_directories_they_are_in() {
    let (_dir, backend) = backend();
    let first = prepare(&backend, 1, &[]);
    for name in ["quiet/deep", "to-file", "gone/in"] {
        fs::create_dir_all(first.join(name)).unwrap();
    }
    for name in ["quiet/deep/f", "quiet/same", "mode", "to-dir", "second"] {
        fs::write(first.join(name), "1").unwrap();
        // As from an archive: whole seconds.
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        fs::File::options()
            .write(true)
            .open(first.join(name))
            .unwrap()
            .set_modified(time)
            .unwrap();
    }
    std::os::unix::fs::symlink("a", first.join("link")).unwrap();
    backend.commit(1, &[]).unwrap();
    let next = prepare(&backend, 2, &[1]);
    assert!(changes(&backend, 2, &[1]).is_empty(), "a copy is no change");
    // Written within the second, with nothing to tell it but the bytes.
    let deep = next.join("quiet/deep/f");
    let before = fs::metadata(&deep).unwrap().modified().unwrap();
    fs::write(&deep, "2").unwrap();
    fs::File::options()
        .write(true)
        .open(&deep)
        .unwrap()
        .set_modified(before)
        .unwrap();
    fs::remove_dir_all(next.join("gone")).unwrap();
    fs::remove_dir(next.join("to-file")).unwrap();
    fs::write(next.join("to-file"), "2").unwrap();
    fs::remove_file(next.join("to-dir")).unwrap();
    fs::create_dir(next.join("to-dir")).unwrap();
    fs::write(next.join("to-dir/in"), "2").unwrap();
    fs::set_permissions(next.join("mode"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    fs::remove_file(next.join("link")).unwrap();
    std::os::unix::fs::symlink("b", next.join("link")).unwrap();
    let wanted = [
        "D gone",
        "C link",
        "C mode",
        "C quiet",
        "C quiet/deep",
        "C quiet/deep/f",
        "C to-dir",
        "A to-dir/in",
        "C to-file",
    ];
    assert_eq!(changes(&backend, 2, &[1]), wanted);
    let all = changes(&backend, 1, &[]);
    assert!(
        all.iter().all(|line| line.starts_with("A ")) && all.len() == 11,
        "{all:?}"
    );
}

#[test]
fn every_call_can_be_made_again_after_a_kill() {
    let (_dir, backend) = backend();
    let first = prepare(&backend, 1, &[]);
    fs::write(first.join("f"), "x").unwrap();
    backend.commit(1, &[]).unwrap();
    let snapshots = backend.root().join("snapshots");
    // Killed in the middle of a copy.
    fs::create_dir_all(snapshots.join("new-2/fs/half")).unwrap();
    assert!(!backend.exists(2).unwrap());
    let second = prepare(&backend, 2, &[1]);
    assert_eq!(fs::read_dir(&second).unwrap().count(), 1);
    fs::write(second.join("own"), "x").unwrap();
    assert_eq!(prepare(&backend, 2, &[1]), second);
    assert!(second.join("own").exists());
    fs::create_dir_all(snapshots.join("rm-3/fs")).unwrap();
    assert_eq!(backend.list().unwrap(), [1, 2]);
    assert_eq!(backend.cleanup().unwrap(), 1);
    assert_eq!(backend.remove(1).unwrap(), Removed::Now);
    assert_eq!(backend.remove(1).unwrap(), Removed::AlreadyGone);
    assert!(second.join("f").exists(), "a copy stands alone");
}

#[test]
fn what_it_cannot_do_is_refused_by_name() {
    let (_dir, backend) = backend();
    let map = IdMap {
        container: 0,
        host: 1,
        size: 1,
    };
    let mapped = Options {
        uid_map: vec![map],
        ..Options::default()
    };
    let error = backend.prepare(1, &[], &mapped).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unimplemented);
    assert_eq!(error.to_string(), "an id map is not supported by snapshotter native");
    assert!(!backend.capabilities().rebase);
    let orphan = backend.view(2, &[5], &Options::default()).unwrap_err();
    assert_eq!(orphan.to_string(), "parent 5 of snapshot 2 does not exist on disk");
    assert!(backend.list().unwrap().is_empty());
}

#[test]
fn views_bind_their_parent_and_copy_nothing() {
    let (_dir, backend) = backend();
    let first = prepare(&backend, 1, &[]);
    fs::write(first.join("f"), "x").unwrap();
    backend.commit(1, &[]).unwrap();
    backend.view(2, &[1], &Options::default()).unwrap();
    let mounts = backend.mounts(2, &[1], Access::ReadOnly, &Options::default()).unwrap();
    let options = ["rbind", "ro"].map(str::to_owned).into();
    let source = first.display().to_string();
    assert_eq!(
        mounts,
        [Mount {
            kind: "bind".into(),
            source,
            target: String::new(),
            options
        }]
    );
    assert_eq!(backend.usage(2).unwrap().inodes, 1);
}

/// A filesystem of `kind` in a file, mounted for `work` alone; false if this machine has no tool or driver for it.
fn on_filesystem(kind: &str, work: impl FnOnce(&Path) + Send) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    fs::File::create(&image).unwrap().set_len(512 << 20).unwrap();
    let made = Command::new(format!("mkfs.{kind}")).arg("-q").arg(&image).output();
    if !made.is_ok_and(|output| output.status.success()) {
        return false;
    }
    let loops = Command::new("losetup")
        .args(["--find", "--show"])
        .arg(&image)
        .output()
        .unwrap();
    assert!(loops.status.success(), "{}", String::from_utf8_lossy(&loops.stderr));
    let device = String::from_utf8(loops.stdout).unwrap().trim().to_owned();
    let mount = Mount {
        kind: kind.into(),
        source: device.clone(),
        target: String::new(),
        options: Vec::new(),
    };
    let done = with_mounted(&dir.path().join("at"), &[mount], |at| {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(at)))
    });
    assert!(
        Command::new("losetup")
            .args(["--detach", &device])
            .status()
            .unwrap()
            .success()
    );
    match done {
        Ok(outcome) => outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
        Err(error) => panic!("mount {kind}: {error:?}"),
    }
    true
}

#[test]
fn copies_share_their_bytes_where_the_filesystem_can() {
    let share = |at: &Path| {
        let backend = Native::open(&at.join("root")).unwrap();
        assert!(backend.capabilities().share);
        let free = || {
            let stat = rustix::fs::statvfs(at).unwrap();
            stat.f_bfree * stat.f_frsize
        };
        let first = prepare(&backend, 1, &[]);
        fs::write(first.join("big"), vec![7; 64 << 20]).unwrap();
        backend.commit(1, &[]).unwrap();
        let before = free();
        let second = prepare(&backend, 2, &[1]);
        backend.commit(2, &[1]).unwrap();
        let taken = before.saturating_sub(free());
        assert!(taken < 8 << 20, "a copy of 64 MiB took {taken} bytes");
        fs::write(second.join("big"), "other").unwrap();
        assert_eq!(fs::metadata(first.join("big")).unwrap().len(), 64 << 20);
        assert_eq!(fs::read(first.join("big")).unwrap()[12345], 7);
    };
    let tried = ["xfs", "btrfs"].map(|kind| on_filesystem(kind, share));
    assert!(
        tried.contains(&true),
        "neither mkfs.xfs nor mkfs.btrfs is here; install xfsprogs"
    );
}
