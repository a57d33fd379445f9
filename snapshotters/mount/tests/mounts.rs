//! Real mounts, in namespaces of their own.

#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

use gantry_core::{ErrorKind, Mount};
use gantry_snapshots_mount::{
    Loop, LoopOptions, Way, bears, perform, release, unmount, unmount_within, with_mounted, with_mounted_by,
};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn bind(source: &Path, options: &[&str]) -> Mount {
    Mount {
        kind: "bind".into(),
        source: source.display().to_string(),
        target: String::new(),
        options: options.iter().map(|&option| option.into()).collect(),
    }
}

fn overlay(lower: &[String], dir: &Path) -> Mount {
    for name in ["upper", "work"] {
        fs::create_dir_all(dir.join(name)).unwrap();
    }
    let place = |name: &str| format!("{name}dir={}", dir.join(name).display());
    Mount {
        kind: "overlay".into(),
        source: "overlay".into(),
        target: String::new(),
        options: vec![
            place("upper"),
            place("work"),
            format!("lowerdir={}", lower.join(":")),
            "index=off".into(),
        ],
    }
}

/// Layers `0..count` below `dir`, each with a file of its number, nearest (highest) first.
fn layers(dir: &Path, count: usize) -> Vec<String> {
    (0..count)
        .rev()
        .map(|number| {
            let layer = dir.join(number.to_string()).join("fs");
            fs::create_dir_all(&layer).unwrap();
            fs::write(layer.join(format!("f{number}")), "").unwrap();
            fs::write(layer.join("top"), number.to_string()).unwrap();
            layer.display().to_string()
        })
        .collect()
}

fn visible(at: &Path) -> bool {
    fs::read_to_string("/proc/self/mountinfo")
        .unwrap()
        .contains(at.to_str().unwrap())
}

#[test]
fn a_tree_is_there_for_the_closure_and_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let (source, at) = (dir.path().join("source"), dir.path().join("at"));
    fs::create_dir(&source).unwrap();
    fs::write(source.join("f"), "x").unwrap();
    let read = with_mounted(&at, &[bind(&source, &["rbind", "ro"])], |tree| {
        assert!(
            fs::read_to_string("/proc/thread-self/mountinfo")
                .unwrap()
                .contains(at.to_str().unwrap())
        );
        assert!(!visible(&at), "the process itself sees nothing");
        let refused = fs::write(tree.join("f"), "y").unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
        fs::read_to_string(tree.join("f")).unwrap()
    });
    assert_eq!(read.unwrap(), "x");
    assert_eq!(fs::read_dir(&at).unwrap().count(), 0);
    fs::remove_dir(&at).unwrap();
}

#[test]
fn a_panic_comes_through_and_leaves_no_mount() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("at");
    let caught = catch_unwind(AssertUnwindSafe(|| {
        with_mounted(&at, &[bind(dir.path(), &["rbind"])], |_| panic!("as told"))
    }));
    assert_eq!(caught.unwrap_err().downcast_ref::<&str>(), Some(&"as told"));
    fs::remove_dir(&at).unwrap();
}

const AT: &str = "GANTRY_TEST_MOUNT_AT";

/// Not a test: the process that the next one kills.
#[test]
#[ignore = "run by a_killed_process_leaves_no_mount"]
fn mounts_and_waits() {
    let at = std::path::PathBuf::from(std::env::var(AT).unwrap());
    with_mounted(&at.join("at"), &[bind(&at, &["rbind"])], |tree| {
        fs::write(tree.join("mounted"), "").unwrap();
        std::thread::sleep(Duration::from_secs(60));
    })
    .unwrap();
}

#[test]
fn a_killed_process_leaves_no_mount() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "mounts_and_waits", "--ignored"])
        .env(AT, dir.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while !dir.path().join("mounted").exists() {
        assert!(Instant::now() < deadline, "the child does not mount");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!visible(&dir.path().join("at")));
    // A mount point anywhere could not be removed.
    fs::remove_dir(dir.path().join("at")).unwrap();
}

#[test]
fn many_layers_by_every_way() {
    for way in [Way::Auto, Way::NewApi, Way::Relative] {
        let dir = tempfile::tempdir().unwrap();
        let mount = overlay(&layers(dir.path(), 300), dir.path());
        assert!(mount.options.iter().map(String::len).sum::<usize>() > 4096);
        with_mounted_by(way, &dir.path().join("at"), &[mount], |tree| {
            assert_eq!(fs::read_to_string(tree.join("top")).unwrap(), "299", "{way:?}");
            assert_eq!(fs::read_dir(tree).unwrap().count(), 301, "{way:?}");
            fs::write(tree.join("new"), "").unwrap();
        })
        .unwrap();
        assert!(dir.path().join("upper/new").exists());
    }
}

#[test]
fn paths_longer_than_one_value_of_the_new_api() {
    for way in [Way::NewApi, Way::Relative] {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("d".repeat(200)).join("e".repeat(200));
        fs::create_dir_all(&deep).unwrap();
        let mount = overlay(&layers(&deep, 20), &deep);
        let top = with_mounted_by(way, &dir.path().join("at"), &[mount], |tree| {
            fs::read_to_string(tree.join("top"))
        });
        assert_eq!(top.unwrap().unwrap(), "19", "{way:?}");
    }
}

#[test]
fn too_many_for_an_old_kernel_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..400)
        .map(|n| format!("{}/layer-{n:08}/fs", dir.path().display()))
        .collect();
    let mount = overlay(&names, dir.path());
    let error = with_mounted_by(Way::Relative, &dir.path().join("at"), &[mount], |_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
    assert!(error.to_string().starts_with("overlay of 400 layers needs "), "{error}");
}

#[test]
fn a_missing_layer_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut lower = layers(dir.path(), 2);
    lower.insert(1, dir.path().join("nowhere").display().to_string());
    let mount = overlay(&lower, dir.path());
    let error = with_mounted_by(Way::NewApi, &dir.path().join("at"), &[mount], |_| ()).unwrap_err();
    assert!(error.to_string().contains("nowhere"), "{error}");
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn targets_stay_inside_and_failures_take_the_rest_back() {
    let dir = tempfile::tempdir().unwrap();
    let (tree, other, at) = (dir.path().join("tree"), dir.path().join("other"), dir.path().join("at"));
    for one in [&tree.join("sub"), &other] {
        fs::create_dir_all(one).unwrap();
    }
    fs::write(other.join("f"), "other").unwrap();
    std::os::unix::fs::symlink("/sub", tree.join("link")).unwrap();
    let below = |target: &str| Mount {
        target: target.into(),
        ..bind(&other, &["rbind"])
    };
    for target in ["sub", "/sub", "link", "../../sub"] {
        let read = with_mounted(&at, &[bind(&tree, &["rbind"]), below(target)], |root| {
            fs::read_to_string(root.join("sub/f"))
        });
        assert_eq!(read.unwrap().unwrap(), "other", "{target}");
    }
    let unused = dir.path().join("unused");
    fs::create_dir(&unused).unwrap();
    with_mounted(&at, &[bind(&tree, &["rbind"])], |_| {
        perform(
            &[bind(&other, &["rbind"]), bind(Path::new("/no/such"), &["rbind"])],
            &unused,
        )
        .unwrap_err();
        assert_eq!(
            fs::read_dir(&unused).unwrap().count(),
            0,
            "the first mount is gone again"
        );
        perform(&[bind(&other, &["rbind", "ro", "nosuid"])], &unused).unwrap();
        assert!(unused.join("f").exists());
        unmount(&unused).unwrap();
        unmount(&unused).unwrap();
        assert!(!unused.join("f").exists());
    })
    .unwrap();
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < end, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_file_is_a_device_for_as_long_as_it_is_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    fs::write(&image, vec![0; 1 << 20]).unwrap();
    let name = format!("gantry-test-{}", std::process::id());
    let options = LoopOptions {
        name: name.clone(),
        ..LoopOptions::default()
    };
    let attached = Loop::attach(&image, &options).unwrap();
    let device = attached.path().to_path_buf();
    assert!(bears(&device, &name) && !bears(&device, "another"));
    attached.keep().unwrap();
    drop(attached);
    assert!(bears(&device, &name), "it is kept");
    assert!(!release(&device, "another").unwrap());
    assert!(release(&device, &name).unwrap());
    until("it is released", || !bears(&device, &name));
    let attached = Loop::attach(&image, &options).unwrap();
    let device = attached.path().to_path_buf();
    drop(attached);
    until("it was never kept", || !bears(&device, &name));
    assert!(!release(&device, &name).unwrap());
    let error = Loop::attach(dir.path(), &options).unwrap_err();
    assert!(error.to_string().contains("over a loop device"), "{error}");
    let error = Loop::attach(&dir.path().join("missing"), &options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn a_busy_mount_is_waited_for_and_then_told() {
    let dir = tempfile::tempdir().unwrap();
    let (source, target) = (dir.path().join("source"), dir.path().join("target"));
    for made in [&source, &target] {
        fs::create_dir(made).unwrap();
    }
    perform(&[bind(&source, &["rbind"]), bind(&source, &["rbind"])], &target).unwrap();
    let held = fs::File::open(&target).unwrap();
    let error = unmount_within(&target, Duration::from_millis(50)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition, "{error}");
    drop(held);
    unmount_within(&target, Duration::from_secs(10)).unwrap();
    assert!(!visible(&target), "all of it");
    unmount_within(&target, Duration::ZERO).unwrap();
    unmount_within(&dir.path().join("missing"), Duration::ZERO).unwrap();
}
