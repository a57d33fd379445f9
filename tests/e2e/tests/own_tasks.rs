//! The engine's own containers, seen through the containerd API: watched, signalled, frozen and joined, but changed only by the engine.
//! Debian's `ctr` is the client.

use gantry_e2e::{House, eventually};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);

/// What `ctr` says on both its outputs, and whether it succeeded.
fn ctr(socket: &Path, args: &[&str]) -> (bool, String) {
    let mut command = Command::new("timeout");
    command.args(["30", "ctr", "-n", "gantry", "-a"]).arg(socket).args(args);
    let output = command.stdin(Stdio::null()).output().expect("ctr starts");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn own_containers_are_watched_and_not_changed() {
    let house = House::new();
    let (gantry, socket) = (house.gantry(), house.socket());
    let id = gantry.ok(&[
        "run", "-d", "--name", "mine", "--label", "a=b", "busybox", "sleep", "1000",
    ]);
    let id = id.trim();
    let ok = |args: &[&str]| {
        let (done, text) = ctr(&socket, args);
        assert!(done, "{args:?}: {text}");
        text
    };
    let refused = |args: &[&str]| {
        let (done, text) = ctr(&socket, args);
        assert!(
            !done && text.contains("mine") && text.contains("failed precondition"),
            "{args:?}: {text}"
        );
    };
    let listed = ok(&["containers", "ls"]);
    assert!(
        listed.contains(id) && listed.contains("io.containerd.gantry.v1"),
        "{listed}"
    );
    let told = ok(&["containers", "info", id]);
    assert!(told.contains("\"a\": \"b\"") && told.contains("sleep"), "{told}");
    assert!(ok(&["tasks", "ls"]).contains("RUNNING"));
    assert_eq!(
        ok(&["tasks", "exec", "--exec-id", "e1", id, "echo", "joined"]),
        "joined\n"
    );
    let (_, text) = ctr(&socket, &["tasks", "exec", "--exec-id", "e2", id, "sh", "-c", "exit 7"]);
    assert!(!text.contains("rpc"), "{text}");
    assert!(ok(&["tasks", "metrics", id]).contains(id));
    assert!(ok(&["tasks", "ps", id]).lines().count() > 1);
    ok(&["tasks", "pause", id]);
    assert!(ok(&["tasks", "ls"]).contains("PAUSED"));
    assert!(gantry.ok(&["ps"]).contains("Paused"));
    ok(&["tasks", "resume", id]);
    refused(&["containers", "label", id, "c=d"]);
    refused(&["tasks", "checkpoint", id]);
    // `ctr` itself refuses to delete what runs.
    assert!(!ctr(&socket, &["containers", "rm", id]).0);
    ok(&["tasks", "kill", "-s", "SIGKILL", id]);
    eventually("the container ends", LIMIT, || {
        gantry.ok(&["ps", "-a"]).contains("Exited (137)")
    });
    refused(&["containers", "rm", id]);
    eventually("its task is gone", LIMIT, || !ok(&["tasks", "ls"]).contains(id));
    gantry.ok(&["rm", "mine"]);
    assert!(!ok(&["containers", "ls"]).contains(id));
}
