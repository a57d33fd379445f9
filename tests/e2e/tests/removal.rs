//! A removed container is forgotten at once and its files go in the background; whatever happens meanwhile, they do go.

use gantry_e2e::{House, PATIENCE, eventually};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::path::{Path, PathBuf};

/// Entries of a directory; none if it is not there.
fn entries(dir: &Path) -> Vec<PathBuf> {
    let all = std::fs::read_dir(dir).into_iter().flatten().flatten();
    all.map(|entry| entry.path()).collect()
}

/// Where writable layers are, busybox's own among them.
fn layers(house: &House) -> PathBuf {
    house.data_root().join("snapshotters/overlayfs/snapshots")
}

/// Everything that containers have on disk.
fn files(house: &House) -> Vec<PathBuf> {
    let mut all = entries(&layers(house));
    all.extend(entries(&house.data_root().join("containers")));
    all.extend(entries(&house.exec_root().join("gantry")));
    all.sort();
    all
}

#[test]
fn a_kill_right_after_a_removal_leaves_no_files() {
    let mut house = House::new();
    let gantry = house.gantry();
    let before = files(&house);
    for _ in 0..5 {
        for name in ["one", "two", "three"] {
            gantry.ok(&[
                "run",
                "-d",
                "--name",
                name,
                "busybox",
                "sh",
                "-c",
                "echo x >/file; sleep 1000",
            ]);
        }
        gantry.ok(&["rm", "-f", "one", "two", "three"]);
        house.restart_hard();
        assert_eq!(
            gantry.ok(&["ps", "-aq"]),
            "",
            "what was acknowledged is true after the kill"
        );
    }
    eventually("every file is gone", PATIENCE, || files(&house) == before);
}

#[test]
fn an_orderly_end_waits_for_the_files() {
    let mut house = House::new();
    let gantry = house.gantry();
    let before = files(&house);
    for _ in 0..8 {
        gantry.ok(&["run", "--rm", "busybox", "touch", "/file"]);
    }
    house.stop_daemon();
    assert_eq!(files(&house), before);
}

#[test]
fn a_mount_in_the_root_filesystem_is_noticed_before_anything_is_touched() {
    let house = House::new();
    let gantry = house.gantry();
    let known = entries(&layers(&house));
    gantry.ok(&["create", "--name", "box", "busybox", "true"]);
    let all = entries(&layers(&house));
    let layer = all.iter().find(|path| !known.contains(path)).expect("a layer was made");
    let held = layer.join("fs/held");
    std::fs::create_dir(&held).expect("a directory");
    mount(Some("none"), &held, Some("tmpfs"), MsFlags::empty(), None::<&str>).expect("a tmpfs");
    std::fs::write(held.join("precious"), "").expect("a file");
    let removed = gantry.run(&["rm", "box"]);
    let state = gantry.run(&["inspect", "-f", "{{.State.Status}}", "box"]);
    let there = held.join("precious").exists();
    umount2(&held, MntFlags::MNT_DETACH).expect("it can be unmounted");
    assert!(there, "what is mounted is not emptied");
    removed.exits(1).says("busy").says("held");
    assert_eq!(state.exits(0).line(), "dead");
    eventually("it is removed in the background", PATIENCE, || {
        gantry.run(&["inspect", "box"]).code == 1 && !layer.exists()
    });
}

#[test]
fn the_bundle_of_a_start_that_no_record_knows_is_in_nobodys_way() {
    let mut house = House::new();
    let gantry = house.gantry();
    let id = gantry.ok(&["create", "--name", "box", "busybox", "echo", "hello"]);
    house.stop_daemon();
    // As after a loss of power between the two, with an exec root on a disk.
    let bundle = house.exec_root().join("gantry").join(id);
    std::fs::create_dir_all(bundle.join("rootfs")).expect("a bundle");
    std::fs::write(bundle.join("config.json"), "{}").expect("its spec");
    house.start();
    assert_eq!(gantry.ok(&["start", "-a", "box"]), "hello");
}
