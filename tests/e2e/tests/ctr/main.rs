//! Debian's `ctr` against gantryd and against Debian's containerd, side by side: each command's exit code, stdout and stderr are the
//! same once what differs by nature (times, pids, random ids, roots) is made alike.

mod answer;
mod images;
mod layout;
mod side;
mod tasks;
mod watch;

use side::Sides;

/// Those that clients ask for before they begin.
const PLUGINS: &[(&str, &str)] = &[
    ("io.containerd.content.v1", "content"),
    ("io.containerd.snapshotter.v1", "overlayfs"),
    ("io.containerd.snapshotter.v1", "native"),
    ("io.containerd.differ.v1", "walking"),
    ("io.containerd.event.v1", "exchange"),
    ("io.containerd.gc.v1", "scheduler"),
    ("io.containerd.runtime.v2", "task"),
    ("io.containerd.service.v1", "containers-service"),
    ("io.containerd.service.v1", "content-service"),
    ("io.containerd.service.v1", "diff-service"),
    ("io.containerd.service.v1", "images-service"),
    ("io.containerd.service.v1", "introspection-service"),
    ("io.containerd.service.v1", "leases-service"),
    ("io.containerd.service.v1", "namespaces-service"),
    ("io.containerd.service.v1", "snapshots-service"),
    ("io.containerd.service.v1", "tasks-service"),
    ("io.containerd.grpc.v1", "containers"),
    ("io.containerd.grpc.v1", "content"),
    ("io.containerd.grpc.v1", "diff"),
    ("io.containerd.grpc.v1", "events"),
    ("io.containerd.grpc.v1", "healthcheck"),
    ("io.containerd.grpc.v1", "images"),
    ("io.containerd.grpc.v1", "introspection"),
    ("io.containerd.grpc.v1", "leases"),
    ("io.containerd.grpc.v1", "namespaces"),
    ("io.containerd.grpc.v1", "snapshots"),
    ("io.containerd.grpc.v1", "tasks"),
    ("io.containerd.grpc.v1", "version"),
    ("io.containerd.internal.v1", "opt"),
];

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
    s.same(&["snapshots", "mounts", "/mnt/target", &top]);
    s.same(&["snapshots", "usage", "-b", &top]);
    s.same(&["snapshots", "label", "work", "colour=red"]);
    s.same(&["snapshots", "info", "work"]);
    s.same_archive(&["snapshots", "diff", "work"]);
    s.same_archive(&["snapshots", "diff", &top]);
    s.same(&["snapshots", "diff", "none"]);
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

/// Under runc's shim on both sides.
#[test]
fn containers_and_tasks_answer_alike() {
    tasks::script(&Sides::new());
}

/// Ours says what runc's says.
#[test]
fn containers_and_tasks_of_our_shim_answer_alike() {
    tasks::script(&Sides::with_our_shim());
}

#[test]
fn events_are_told_alike() {
    let sides = Sides::new();
    sides.same_events(
        |ctr| {
            ctr(&["images", "import", &sides.archive()]);
            ctr(&["run", "--rm", side::IMAGE, "one", "sh", "-c", "exit 3"]);
            ctr(&["run", "-d", side::IMAGE, "two", "sleep", "1000"]);
            ctr(&["tasks", "exec", "--exec-id", "e1", "two", "sh", "-c", "exit 4"]);
            ctr(&["tasks", "pause", "two"]);
            ctr(&["tasks", "resume", "two"]);
            ctr(&["containers", "label", "two", "colour=red"]);
            ctr(&["tasks", "delete", "--force", "two"]);
            ctr(&["containers", "rm", "two"]);
            ctr(&["images", "tag", side::IMAGE, "docker.io/library/busybox:second"]);
            ctr(&["images", "rm", "docker.io/library/busybox:second"]);
            ctr(&["namespaces", "create", "last"]);
            ctr(&["namespaces", "rm", "last"]);
        },
        "/namespaces/delete {\"name\":\"last\"}",
    );
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
    s.same_versions();
    s.plugins(PLUGINS);
    s.same(&["plugins", "ls", "type==io.containerd.runtime.v2"]);
    s.same(&["plugins", "ls", "type==io.containerd.snapshotter.v1,id==overlayfs"]);
    s.same(&["plugins", "ls", "type==io.containerd.none.v1"]);
    s.same(&["plugins", "ls", "type==="]);
}
