//! What containers share with one another and the host, and what becomes of a container: limits, images, archives.

use gantry_e2e::{House, PATIENCE, eventually};
use std::collections::BTreeMap;
use std::io::Read;

#[test]
fn containers_join_one_anothers_namespaces() {
    let house = House::new();
    let gantry = house.gantry();
    gantry.ok(&[
        "run",
        "-d",
        "--name",
        "donor",
        "--ipc",
        "shareable",
        "busybox",
        "sh",
        "-c",
        "echo kept >/dev/shm/file; exec sleep 4321",
    ]);
    let join = |flags: &[&str], script: &str| {
        let mut args = vec!["run", "--rm"];
        args.extend(flags);
        args.extend(["busybox", "sh", "-c", script]);
        gantry.run(&args)
    };
    let seen = join(&["--pid", "container:donor"], "ps | grep -c '[s]leep 4321'").exits(0);
    assert_eq!(seen.line(), "1");
    eventually("the donor has written", PATIENCE, || {
        gantry.run(&["exec", "donor", "test", "-s", "/dev/shm/file"]).code == 0
    });
    assert_eq!(join(&["--ipc", "container:donor"], "cat /dev/shm/file").line(), "kept");
    let (own, other) = (
        "stat -L -c %i /proc/self/ns/ipc",
        gantry.ok(&["exec", "donor", "stat", "-L", "-c", "%i", "/proc/self/ns/ipc"]),
    );
    assert_eq!(join(&["--ipc", "container:donor"], own).line(), other);
    assert_ne!(join(&[], own).line(), other);
    gantry.ok(&["run", "-d", "--name", "private", "busybox", "sleep", "1000"]);
    join(&["--ipc", "container:private"], "true")
        .exits(125)
        .says("non-shareable IPC (hint: use IpcMode:shareable for the donor container)");
    gantry.ok(&["stop", "-t", "0", "donor"]);
    join(&["--pid", "container:donor"], "true")
        .exits(125)
        .says("cannot join PID of a non running container");
    join(&["--pid", "container:nobody"], "true")
        .exits(125)
        .says("No such container: nobody");
}

#[test]
fn an_init_reaps_and_passes_signals_on() {
    let house = House::new();
    let gantry = house.gantry();
    let script = "trap 'echo caught; exit 7' TERM; (sleep 0.1 & ); echo up; while :; do sleep 0.1; done";
    gantry.ok(&["run", "-d", "--name", "kept", "--init", "busybox", "sh", "-c", script]);
    eventually("it is up", PATIENCE, || gantry.ok(&["logs", "kept"]).contains("up"));
    gantry.ok(&["stop", "kept"]);
    assert_eq!(gantry.ok(&["inspect", "-f", "{{.State.ExitCode}}", "kept"]), "7");
    assert!(gantry.ok(&["logs", "kept"]).contains("caught"));
}

#[test]
fn limits_change_under_a_running_container_and_stay() {
    let mut house = House::new();
    let gantry = house.gantry();
    gantry.ok(&[
        "run",
        "-d",
        "--name",
        "tight",
        "-m",
        "64m",
        "--memory-swap",
        "64m",
        "busybox",
        "sleep",
        "1000",
    ]);
    let limit = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max";
    let read = || gantry.ok(&["exec", "tight", "sh", "-c", limit]);
    assert_eq!(read(), (64 << 20).to_string());
    gantry
        .run(&["update", "-m", "128m", "tight"])
        .exits(1)
        .says("Memory limit should be smaller than already set memoryswap limit");
    gantry
        .run(&["update", "-m", "1m", "tight"])
        .exits(1)
        .says("Minimum memory limit allowed is 6MB");
    assert_eq!(read(), (64 << 20).to_string());
    gantry.ok(&["update", "-m", "96m", "--memory-swap", "192m", "tight"]);
    assert_eq!(read(), (96 << 20).to_string());
    house.restart_hard();
    assert_eq!(
        gantry.ok(&["inspect", "-f", "{{.HostConfig.Memory}}", "tight"]),
        (96 << 20).to_string()
    );
    gantry.ok(&["restart", "-t", "0", "tight"]);
    assert_eq!(read(), (96 << 20).to_string());
    let told = gantry.ok(&[
        "events",
        "--since",
        "10m",
        "--until",
        "0s",
        "--filter",
        "event=update",
        "--format",
        "{{.Action}}",
    ]);
    assert_eq!(told, "update");
}

#[test]
fn a_container_becomes_an_image_and_an_archive() {
    let house = House::new();
    let gantry = house.gantry();
    let script = "echo mine >/mine; rm /etc/group; ln -s /mine /link; echo up; exec sleep 1000";
    gantry.ok(&[
        "run", "-d", "--name", "source", "-v", "/volume", "-e", "A=b", "busybox", "sh", "-c", script,
    ]);
    eventually("it has changed its files", PATIENCE, || {
        gantry.ok(&["logs", "source"]) == "up"
    });
    gantry.ok(&[
        "commit",
        "-m",
        "why",
        "-c",
        "CMD [\"cat\", \"/link\"]",
        "source",
        "made:1",
    ]);
    assert_eq!(gantry.ok(&["inspect", "-f", "{{.State.Status}}", "source"]), "running");
    assert_eq!(gantry.ok(&["run", "--rm", "made:1"]), "mine");
    assert_eq!(
        gantry.ok(&[
            "run",
            "--rm",
            "made:1",
            "sh",
            "-c",
            "echo $A; test -e /etc/group || echo gone"
        ]),
        "b\ngone"
    );
    assert_eq!(
        gantry
            .ok(&["history", "--format", "{{.Comment}}", "made:1"])
            .lines()
            .next(),
        Some("why")
    );
    // It can be saved, loaded and run again.
    let archive = house.root().join("made.tar");
    let path = archive.to_str().expect("text");
    gantry.ok(&["save", "-o", path, "made:1"]);
    gantry.ok(&["rmi", "made:1"]);
    gantry.ok(&["load", "-i", path]);
    assert_eq!(gantry.ok(&["run", "--rm", "made:1"]), "mine");

    let tar = gantry.run(&["export", "source"]).exits(0).bytes;
    let mut found = BTreeMap::new();
    for entry in tar::Archive::new(tar.as_slice()).entries().expect("a tar") {
        let mut entry = entry.expect("an entry");
        let name = entry
            .path()
            .expect("a path")
            .to_string_lossy()
            .trim_start_matches("./")
            .to_owned();
        let mut text = String::new();
        // Programs are no text.
        let _ = entry.read_to_string(&mut text);
        found.insert(name, text);
    }
    assert_eq!(
        found.get("mine").map(String::as_str),
        Some("mine\n"),
        "{:?}",
        found.keys()
    );
    assert!(!found.contains_key("etc/group") && found.contains_key("bin/busybox"));
    gantry.ok(&["exec", "source", "touch", "/still-writable"]);
    gantry.ok(&["rm", "-fv", "source"]);
    gantry.ok(&["rmi", "made:1"]);
}

#[test]
fn a_container_that_ends_meanwhile_is_committed_too() {
    let house = House::new();
    let gantry = house.gantry();
    for pause in [0, 1, 2, 4, 8, 16, 32, 64] {
        let script = format!("usleep {}; touch /made", pause * 1000);
        let id = gantry.ok(&["run", "-d", "busybox", "sh", "-c", &script]);
        gantry.ok(&["commit", &id, "made:1"]);
        gantry.ok(&["wait", &id]);
        gantry.ok(&["rm", &id]);
        gantry.ok(&["rmi", "made:1"]);
    }
}

#[test]
fn output_is_kept_by_the_local_driver_too() {
    let house = House::new();
    let gantry = house.gantry();
    gantry.ok(&[
        "run",
        "--name",
        "talks",
        "--log-driver",
        "local",
        "--log-opt",
        "max-size=10k",
        "busybox",
        "sh",
        "-c",
        "echo one; echo two >&2",
    ]);
    let read = gantry.run(&["logs", "talks"]).exits(0);
    assert_eq!((read.stdout.as_str(), read.stderr.as_str()), ("one\n", "two\n"));
    assert_eq!(gantry.ok(&["inspect", "-f", "{{.LogPath}}", "talks"]), "");
}
