//! Containers and their tasks.

use crate::side::{IMAGE, Sides};

/// Waits until it was read: what is written right before the end the peer's client may lose.
const LAST: &str = "stty -echo; echo \"got $line\"; read end";
/// A client sets the size of a terminal once the process runs, and that is a matter of time.
const SIZE: &str = "until size=$(stty size 2>/dev/null) && [ -n \"$size\" ]; do sleep 0.05; done; echo \"$size\"";

pub fn script(s: &Sides) {
    s.import();
    whole_runs(s);
    terminals(s);
    records(s);
    one_that_runs(s);
    one_that_ends(s);
    made_only(s);
}

fn whole_runs(s: &Sides) {
    s.same(&["run", "--rm", IMAGE, "one", "echo", "hello"]);
    s.same(&["run", "--rm", IMAGE, "one", "sh", "-c", "echo wrong >&2; exit 7"]);
    s.same(&["run", "--rm", IMAGE, "one", "/no/such/program"]);
    s.same(&["run", "--rm", IMAGE, "one", "no-such-program"]);
    s.same(&["run", "--rm", IMAGE, "one", "/etc/passwd"]);
    s.same(&["run", "--rm", IMAGE, "one", "/etc"]);
    s.same(&["run", "--rm", "--cwd", "/no/such/dir", IMAGE, "one", "pwd"]);
    s.same(&["run", "--rm", "--cwd", "/etc/passwd", IMAGE, "one", "pwd"]);
    s.same(&["run", "--rm", "--user", "nobody", IMAGE, "one", "id"]);
    s.same(&["run", "--rm", "--user", "no-such-user", IMAGE, "one", "id"]);
    s.same(&["run", "--rm", "--read-only", IMAGE, "one", "touch", "/file"]);
    let missing = "type=bind,src=/no/such/place,dst=/mnt,options=rbind:ro";
    s.same(&["run", "--rm", "--mount", missing, IMAGE, "one", "true"]);
    s.same(&["run", "--rm", "--memory-limit", "1000000000", IMAGE, "one", "true"]);
    s.same(&["run", "--rm", "docker.io/library/none:latest", "one", "true"]);
    let script = "echo $A; pwd";
    s.same(&[
        "run", "--rm", "--env", "A=b", "--cwd", "/tmp", IMAGE, "one", "sh", "-c", script,
    ]);
}

fn terminals(s: &Sides) {
    s.same_screen(
        &["run", "--rm", "-t", IMAGE, "one", "sh", "-c", "test -t 1; exit 5"],
        &[],
    );
    let script = format!("echo ready; read line; {SIZE}; {LAST}");
    s.same_screen(
        &["run", "--rm", "-t", IMAGE, "one", "sh", "-c", &script],
        &[("ready", "some text\n"), ("got", "\n")],
    );
}

fn records(s: &Sides) {
    s.same(&["run", "-d", IMAGE, "two", "sleep", "1000"]);
    s.same(&["run", "-d", IMAGE, "two", "sleep", "1000"]);
    s.same(&["containers", "ls"]);
    s.same(&["containers", "ls", "-q"]);
    s.same_record(&["containers", "info", "two"]);
    s.same(&["containers", "info", "none"]);
    s.same(&["containers", "label", "two", "colour=red"]);
    s.same(&["containers", "ls", "labels.colour==red"]);
    s.same(&["containers", "ls", "labels.colour==blue"]);
    s.same(&["containers", "ls", "labels.colour==blue=="]);
    s.same(&["tasks", "ls"]);
    s.same(&["tasks", "ls", "-q"]);
}

fn one_that_runs(s: &Sides) {
    let exec = |args: &[&str]| {
        let mut all = vec!["tasks", "exec", "--exec-id", "e1"];
        all.extend(args);
        s.same(&all);
    };
    exec(&["two", "echo", "from an exec"]);
    exec(&["two", "sh", "-c", "exit 9"]);
    exec(&["two", "/no/such/program"]);
    exec(&["two", "no-such-program"]);
    exec(&["--cwd", "/no/such/dir", "two", "pwd"]);
    exec(&["--cwd", "/etc/passwd", "two", "pwd"]);
    exec(&["two", "/etc/passwd"]);
    exec(&["two", "/etc"]);
    exec(&["two", "/etc/passwd/below"]);
    exec(&["--user", "65534", "two", "id", "-u"]);
    exec(&["none", "true"]);
    s.same(&["tasks", "exec", "--exec-id", "", "two", "true"]);
    let script = format!("test -t 0 && echo ready; read line; {SIZE}; {LAST}");
    s.same_screen(
        &["tasks", "exec", "-t", "--exec-id", "e1", "two", "sh", "-c", &script],
        &[("ready", "some text\n"), ("got", "\n")],
    );
    s.same(&["tasks", "ps", "two"]);
    s.same(&["tasks", "ps", "none"]);
    s.same(&["tasks", "pause", "two"]);
    s.same(&["tasks", "pause", "two"]);
    s.same(&["tasks", "ls"]);
    exec(&["two", "true"]);
    s.same(&["tasks", "delete", "two"]);
    s.same(&["tasks", "resume", "two"]);
    s.same(&["tasks", "ls"]);
    s.same(&["tasks", "pause", "none"]);
    s.same(&["tasks", "resume", "two"]);
    s.same(&["tasks", "metrics", "none"]);
    s.same_names(&["tasks", "metrics", "two"]);
    s.same(&["tasks", "checkpoint", "two"]);
    s.same(&["tasks", "kill", "--exec-id", "none", "two"]);
    s.same(&["tasks", "kill", "-s", "NONSENSE", "two"]);
    s.same(&["tasks", "kill", "-s", "99", "two"]);
    one_exec(s);
    s.same(&["tasks", "start", "two"]);
    s.same(&["tasks", "delete", "two"]);
    s.same(&["containers", "delete", "two"]);
}

/// An exec from its beginning to its end, with what cannot be done to it meanwhile.
fn one_exec(s: &Sides) {
    s.same(&["tasks", "exec", "-d", "--exec-id", "long", "two", "sleep", "1000"]);
    s.same(&["tasks", "exec", "-d", "--exec-id", "long", "two", "sleep", "1000"]);
    s.same(&["tasks", "delete", "--exec-id", "long", "two"]);
    s.same(&["tasks", "kill", "--exec-id", "long", "-s", "99", "two"]);
    s.same(&["tasks", "kill", "--exec-id", "long", "-s", "KILL", "two"]);
    s.settle_exec("long", "two");
    s.same(&["tasks", "kill", "--exec-id", "long", "-s", "KILL", "two"]);
    s.same(&["tasks", "delete", "--exec-id", "long", "two"]);
    s.same(&["tasks", "delete", "--exec-id", "long", "two"]);
}

fn one_that_ends(s: &Sides) {
    s.same(&["tasks", "kill", "-s", "SIGKILL", "two"]);
    s.settle("two");
    s.same(&["tasks", "ls"]);
    s.same(&["tasks", "kill", "-s", "SIGKILL", "two"]);
    s.same(&["tasks", "exec", "--exec-id", "e2", "two", "true"]);
    s.same(&["tasks", "pause", "two"]);
    s.same(&["tasks", "resume", "two"]);
    s.same(&["tasks", "checkpoint", "two"]);
    s.same(&["tasks", "start", "two"]);
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
}

fn made_only(s: &Sides) {
    s.same(&["containers", "create", IMAGE, "three", "true"]);
    s.same(&["containers", "create", IMAGE, "three", "true"]);
    s.same(&["containers", "create", IMAGE, "bad/id", "true"]);
    s.same(&["tasks", "kill", "three"]);
    s.same(&["tasks", "start", "three"]);
    s.same(&["tasks", "delete", "three"]);
    s.same(&["containers", "rm", "three"]);
}
