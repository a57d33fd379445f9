//! What is done to the daemon before it dies, and again afterwards.

use crate::doubles::kill_shim;
use crate::{LIMIT, Props, runs_once};
use gantry_e2e::{House, busybox_tar};
use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

const CONTAINER: &str = "victim";
const IMPORTED: &str = "imported:1";
pub(crate) const LOADED: &str = "loaded:1";
/// A run whose shim is killed.
const ORPHANED: [&str; 7] = ["run", "-d", "--name", CONTAINER, "busybox", "sleep", "2000"];

/// A volume that is mounted while it is used.
const MEMORY: [&str; 9] = [
    "volume",
    "create",
    "-o",
    "type=tmpfs",
    "-o",
    "device=tmpfs",
    "-o",
    "o=size=1m",
    "memory",
];
/// A run with volumes of every kind: one that is filled, a part of it, one that is mounted, one without a name.
const LADEN: [&str; 13] = [
    "run",
    "-d",
    "--name",
    CONTAINER,
    "--mount",
    "type=volume,source=cargo,target=/etc",
    "--mount",
    "type=volume,source=cargo,target=/part,volume-subpath=passwd",
    "--volume=memory:/memory",
    "--volume=/anonymous",
    "busybox",
    "sleep",
    "1000",
];

/// Everything, with no mind to what fails; ends as soon as the daemon has. Whether it has.
pub fn life(house: &mut House, props: &Props) -> bool {
    let steps: [(&[&str], &[u8]); 18] = [
        (&["import", "-", IMPORTED], busybox_tar()),
        (&["load"], &props.archive),
        (&["pull", &props.remote], b""),
        (&["create", "--name", CONTAINER, "busybox", "sleep", "1000"], b""),
        (&["start", CONTAINER], b""),
        (&["exec", CONTAINER, "true"], b""),
        (&["stop", "-t", "0", CONTAINER], b""),
        (&["rm", CONTAINER], b""),
        (&["run", "-d", "--name", CONTAINER, "busybox", "sleep", "1000"], b""),
        (&["rm", "-f", CONTAINER], b""),
        (&ORPHANED, b""),
        (&["rm", "-f", CONTAINER], b""),
        (&MEMORY, b""),
        (&LADEN, b""),
        (&["rm", "-fv", CONTAINER], b""),
        (&["volume", "rm", "cargo"], b""),
        (&["volume", "rm", "memory"], b""),
        (&["rmi", IMPORTED, LOADED, &props.remote], b""),
    ];
    for (args, input) in steps {
        if cut_short(house, args, input) {
            return true;
        }
        if args == ORPHANED {
            kill_shim(house, CONTAINER);
        }
    }
    // What the daemon does by itself after the last removal.
    house.wait_daemon(Duration::from_secs(2))
}

/// Runs a command whose client is killed as soon as the daemon has ended, as it may wait for another. Whether the daemon has.
pub fn cut_short(house: &mut House, args: &[&str], input: &[u8]) -> bool {
    let mut command = house.gantry().command(args);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut client = command.spawn().expect("gantry starts");
    let mut stdin = client.stdin.take().expect("piped");
    std::thread::scope(|scope| {
        // A command that does not read is not our failure.
        scope.spawn(move || stdin.write_all(input));
        let deadline = Instant::now() + LIMIT;
        while house.daemon_alive() && client.try_wait().expect("a child can be waited for").is_none() {
            if Instant::now() > deadline {
                // Its end lets the writer end too.
                client.kill().expect("a client can be killed");
                panic!("gantry {args:?} has not ended after {LIMIT:?}");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        if !house.daemon_alive() {
            client.kill().expect("a client can be killed");
        }
        client.wait().expect("the client ends");
    });
    !house.daemon_alive()
}

/// Every deed once more, under the same names, upon what the first life left. All of it must succeed.
pub fn repeat(house: &House, props: &Props) {
    let gantry = house.gantry();
    if gantry.run(&["container", "inspect", CONTAINER]).code == 0 {
        // P11: what was made and not started starts; what was being removed goes.
        let started = gantry.run(&["start", CONTAINER]);
        let gone = started.stderr.contains("No such container") || started.stderr.contains("removal");
        assert!(started.code == 0 || gone, "start after the kill: {}", started.stderr);
        if started.code == 0 {
            runs_once(house, CONTAINER);
            gantry.ok(&["stop", "-t", "0", CONTAINER]);
        }
        gantry.ok(&["rm", "-fv", CONTAINER]);
    }
    gantry.ok(&["create", "--name", CONTAINER, "busybox", "sleep", "1000"]);
    gantry.ok(&["start", CONTAINER]);
    runs_once(house, CONTAINER);
    gantry.ok(&["stop", "-t", "0", CONTAINER]);
    gantry.ok(&["rm", CONTAINER]);
    gantry.ok(&MEMORY);
    gantry.ok(&LADEN);
    gantry.ok(&["rm", "-fv", CONTAINER]);
    gantry.ok(&["volume", "rm", "cargo", "memory"]);
    gantry.feed(&["import", "-", IMPORTED], busybox_tar()).exits(0);
    gantry.feed(&["load"], &props.archive).exits(0);
    gantry.ok(&["pull", &props.remote]);
    for image in [IMPORTED, LOADED, &props.remote] {
        assert_eq!(gantry.ok(&["run", "--rm", image, "/bin/echo", image]), image);
    }
    gantry.ok(&["rmi", IMPORTED, LOADED, &props.remote]);
    // An import into a name that the first life had given makes that one's image nameless, and keeps it.
    for id in gantry
        .ok(&["images", "-q", "--no-trunc", "-f", "dangling=true"])
        .split_whitespace()
    {
        gantry.ok(&["rmi", id]);
    }
}

/// An archive of an image of this name, which has the files of busybox in another layer than any other `kind`.
pub(crate) fn imported(house: &House, name: &str, kind: usize) -> Vec<u8> {
    let gantry = house.gantry();
    let mut tar = busybox_tar().to_vec();
    // More zeros after the archive's end.
    tar.resize(tar.len() + kind * 10240, 0);
    gantry.feed(&["import", "-", name], &tar).exits(0);
    let saved = gantry.run(&["save", name]).exits(0).bytes;
    gantry.ok(&["rmi", name]);
    saved
}
