//! What is done to the daemon before it dies, and again afterwards.

use gantry_e2e::{Gantry, House, busybox_tar};
use std::time::Duration;

const CONTAINER: &str = "victim";
const IMPORTED: &str = "imported:1";
const LOADED: &str = "loaded:1";

/// Everything, with no mind to what fails; ends as soon as the daemon has. Whether it has.
pub fn life(house: &mut House, archive: &[u8]) -> bool {
    let gantry = house.gantry();
    let steps: [&dyn Fn(&Gantry); 10] = [
        &|gantry| drop(gantry.feed(&["import", "-", IMPORTED], busybox_tar())),
        &|gantry| drop(gantry.feed(&["load"], archive)),
        &|gantry| drop(gantry.run(&["create", "--name", CONTAINER, "busybox", "sleep", "1000"])),
        &|gantry| drop(gantry.run(&["start", CONTAINER])),
        &|gantry| drop(gantry.run(&["exec", CONTAINER, "true"])),
        &|gantry| drop(gantry.run(&["stop", "-t", "0", CONTAINER])),
        &|gantry| drop(gantry.run(&["rm", CONTAINER])),
        &|gantry| drop(gantry.run(&["run", "-d", "--name", CONTAINER, "busybox", "sleep", "1000"])),
        &|gantry| drop(gantry.run(&["rm", "-f", CONTAINER])),
        &|gantry| drop(gantry.run(&["rmi", IMPORTED, LOADED])),
    ];
    for step in steps {
        step(&gantry);
        if !house.daemon_alive() {
            return true;
        }
    }
    // What the daemon does by itself after the last removal.
    house.wait_daemon(Duration::from_secs(2))
}

/// Every deed once more, under the same names, upon what the first life left. All of it must succeed.
pub fn repeat(house: &House, archive: &[u8]) {
    let gantry = house.gantry();
    if gantry.run(&["container", "inspect", CONTAINER]).code == 0 {
        // P11: what was made and not started starts; what was being removed goes.
        let started = gantry.run(&["start", CONTAINER]);
        let gone = started.stderr.contains("No such container") || started.stderr.contains("removal");
        assert!(started.code == 0 || gone, "start after the kill: {}", started.stderr);
        if started.code == 0 {
            gantry.ok(&["exec", CONTAINER, "true"]);
            gantry.ok(&["stop", "-t", "0", CONTAINER]);
        }
        gantry.ok(&["rm", "-f", CONTAINER]);
    }
    gantry.ok(&["create", "--name", CONTAINER, "busybox", "sleep", "1000"]);
    gantry.ok(&["start", CONTAINER]);
    assert_eq!(gantry.ok(&["exec", CONTAINER, "echo", "alive"]), "alive");
    gantry.ok(&["stop", "-t", "0", CONTAINER]);
    gantry.ok(&["rm", CONTAINER]);
    gantry.feed(&["import", "-", IMPORTED], busybox_tar()).exits(0);
    assert_eq!(
        gantry.ok(&["run", "--rm", IMPORTED, "/bin/echo", "imported"]),
        "imported"
    );
    gantry.feed(&["load"], archive).exits(0);
    assert_eq!(gantry.ok(&["run", "--rm", LOADED, "/bin/echo", "loaded"]), "loaded");
    gantry.ok(&["rmi", IMPORTED, LOADED]);
}

/// An archive of [`LOADED`], whose layer the house does not have otherwise.
pub fn archive(house: &House) -> Vec<u8> {
    let gantry = house.gantry();
    let mut tar = busybox_tar().to_vec();
    // More zeros after the archive's end make another layer of the same files.
    tar.extend([0; 10240]);
    gantry.feed(&["import", "-", LOADED], &tar).exits(0);
    let saved = gantry.run(&["save", LOADED]).exits(0).bytes;
    gantry.ok(&["rmi", LOADED]);
    saved
}
