//! Debian's `ctr` against gantryd and against Debian's containerd, side by side: each command's exit code, stdout and stderr are the
//! same once what differs by nature (times, pids, random ids, roots) is made alike.

mod images;
mod side;

use side::Sides;

#[test]
fn images_and_content_answer_alike() {
    let sides = Sides::new();
    images::script(&sides);
}

#[test]
fn snapshots_answer_alike() {
    let sides = Sides::new();
    sides.import();
    let s = &sides;
    s.same(&["snapshots", "ls"]);
    let top = sides.chain_id();
    a_view(s, &top);
    s.same(&["snapshots", "prepare", "work", &top]);
    s.same(&["snapshots", "prepare", "work", &top]);
    s.same(&["snapshots", "prepare", "orphan", "sha256:none"]);
    s.same(&["snapshots", "ls"]);
    s.same(&["snapshots", "info", "work"]);
    s.same(&["snapshots", "info", "nothing"]);
    s.same(&["snapshots", "mounts", "/mnt/target", "work"]);
    // The peer's message shows a number of its backend.
    s.same_code(&["snapshots", "mounts", "/mnt/target", &top]);
    s.same(&["snapshots", "usage", "-b", &top]);
    s.same(&["snapshots", "label", "work", "colour=red"]);
    s.same(&["snapshots", "info", "work"]);
    // A compressed archive, which no two programs write alike.
    s.same_code(&["snapshots", "diff", "work"]);
    s.collect();
    s.same(&["snapshots", "ls"]);
    s.same(&["snapshots", "rm", &top]);
    s.same(&["snapshots", "commit", "layer", "work"]);
    s.same(&["snapshots", "commit", "layer", "work"]);
    s.same(&["snapshots", "tree"]);
    s.same(&["snapshots", "ls"]);
    s.same(&["snapshots", "rm", "layer"]);
    s.same(&["snapshots", "rm", "layer"]);
    s.same(&["snapshots", "--snapshotter", "none", "ls"]);
    s.same(&["snapshots", "--snapshotter", "native", "ls"]);
    s.same(&["snapshots", "unpack", &sides.manifest()]);
}

/// A view that nothing refers to may be collected at any time, so it is made a root.
fn a_view(s: &Sides, top: &str) {
    s.collect();
    s.same(&["snapshots", "view", "look", top]);
    s.same(&["snapshots", "label", "look", "containerd.io/gc.root=kept"]);
    s.same(&["snapshots", "ls"]);
    s.same(&["snapshots", "mounts", "/mnt/target", "look"]);
    s.same(&["snapshots", "usage", "-b", "look"]);
    s.same(&["snapshots", "rm", top]);
    s.same(&["snapshots", "rm", "look"]);
}

#[test]
fn containers_and_tasks_answer_alike() {
    let sides = Sides::new();
    sides.import();
    let s = &sides;
    let image = side::IMAGE;
    s.same(&["run", "--rm", image, "one", "echo", "hello"]);
    s.same(&["run", "--rm", image, "one", "sh", "-c", "echo wrong >&2; exit 7"]);
    s.same(&["run", "--rm", image, "one", "/no/such/program"]);
    s.same(&["run", "--rm", "docker.io/library/none:latest", "one", "true"]);
    s.same(&[
        "run",
        "--rm",
        "--env",
        "A=b",
        "--cwd",
        "/tmp",
        image,
        "one",
        "sh",
        "-c",
        "echo $A; pwd",
    ]);
    s.same(&["run", "-d", image, "two", "sleep", "1000"]);
    s.same(&["run", "-d", image, "two", "sleep", "1000"]);
    s.same(&["containers", "ls"]);
    s.same(&["containers", "ls", "-q"]);
    s.same(&["containers", "info", "two"]);
    s.same(&["containers", "info", "none"]);
    s.same(&["containers", "label", "two", "colour=red"]);
    s.same(&["containers", "ls", "labels.colour==red"]);
    s.same(&["containers", "ls", "labels.colour==blue"]);
    s.same(&["containers", "ls", "labels.colour==blue=="]);
    s.same(&["tasks", "ls"]);
    s.same(&["tasks", "ls", "-q"]);
    s.same(&["tasks", "exec", "--exec-id", "e1", "two", "echo", "from an exec"]);
    s.same(&["tasks", "exec", "--exec-id", "e1", "two", "sh", "-c", "exit 9"]);
    s.same(&["tasks", "exec", "--exec-id", "e1", "two", "/no/such/program"]);
    s.same(&["tasks", "exec", "--exec-id", "e1", "none", "true"]);
    s.same(&["tasks", "exec", "--exec-id", "", "two", "true"]);
    s.same(&["tasks", "ps", "two"]);
    s.same(&["tasks", "pause", "two"]);
    s.same(&["tasks", "ls"]);
    s.same(&["tasks", "resume", "two"]);
    s.same(&["tasks", "ls"]);
    s.same(&["tasks", "metrics", "none"]);
    s.same_code(&["tasks", "metrics", "two"]);
    s.same_code(&["tasks", "checkpoint", "two"]);
    s.same(&["tasks", "start", "two"]);
    s.same(&["tasks", "delete", "two"]);
    s.same(&["tasks", "kill", "-s", "SIGKILL", "two"]);
    s.settle("two");
    s.same(&["tasks", "ls"]);
    s.same(&["tasks", "kill", "-s", "SIGKILL", "two"]);
    s.same(&["tasks", "exec", "--exec-id", "e2", "two", "true"]);
    s.same(&["tasks", "delete", "two"]);
    s.same(&["tasks", "ls"]);
    s.same(&["tasks", "start", "-d", "two"]);
    s.same(&["tasks", "ls"]);
    s.same(&["containers", "delete", "two"]);
    s.same(&["tasks", "kill", "--all", "-s", "9", "two"]);
    s.settle("two");
    s.same(&["tasks", "delete", "two"]);
    s.same(&["containers", "delete", "two"]);
    s.same(&["containers", "delete", "two"]);
    s.same(&["containers", "ls"]);
    s.same(&["snapshots", "ls"]);
    s.same(&["containers", "create", image, "three", "true"]);
    s.same(&["containers", "create", image, "three", "true"]);
    s.same(&["containers", "create", image, "bad/id", "true"]);
    s.same(&["tasks", "start", "three"]);
    s.same(&["tasks", "delete", "three"]);
    s.same(&["containers", "rm", "three"]);
}

#[test]
fn namespaces_leases_and_the_rest_answer_alike() {
    let sides = Sides::new();
    let s = &sides;
    s.same(&["namespaces", "ls"]);
    s.same(&["namespaces", "create", "mine", "a=b"]);
    s.same(&["namespaces", "create", "mine"]);
    s.same(&["namespaces", "create", "bad/name"]);
    s.same(&["namespaces", "label", "mine", "c=d", "a="]);
    s.same(&["namespaces", "ls"]);
    s.same(&["namespaces", "ls", "-q"]);
    s.same(&["-n", "bad/name", "images", "ls"]);
    s.import();
    s.same_each(|side| vec!["namespaces".into(), "rm".into(), side.namespace()]);
    s.same(&["namespaces", "rm", "none"]);
    s.same(&["namespaces", "rm", "mine"]);
    s.same(&["namespaces", "ls"]);
    s.same(&["leases", "ls"]);
    s.same(&["leases", "create", "--id", "held", "x=y"]);
    s.same(&["leases", "create", "--id", "held"]);
    s.same(&["leases", "ls"]);
    s.same(&["leases", "ls", "-q"]);
    s.same(&["leases", "delete", "held"]);
    s.same(&["leases", "delete", "held"]);
    s.same(&["leases", "delete", "--sync", "none"]);
    s.same(&["leases", "ls"]);
    s.same_code(&["version"]);
    s.same_code(&["plugins", "ls"]);
    s.same_code(&["plugins", "ls", "type==io.containerd.snapshotter.v1"]);
}
