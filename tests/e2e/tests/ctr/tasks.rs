//! Containers and their tasks.

use crate::side::{IMAGE, Sides};

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
    s.same_but_words(&["run", "--rm", IMAGE, "one", "/no/such/program"]);
    s.same_but_words(&["run", "--rm", IMAGE, "one", "no-such-program"]);
    s.same_but_words(&["run", "--rm", IMAGE, "one", "/etc/passwd"]);
    s.same(&["run", "--rm", "--cwd", "/no/such/dir", IMAGE, "one", "pwd"]);
    s.same(&["run", "--rm", "--user", "nobody", IMAGE, "one", "id"]);
    s.same(&["run", "--rm", "--user", "no-such-user", IMAGE, "one", "id"]);
    s.same(&["run", "--rm", "--read-only", IMAGE, "one", "touch", "/file"]);
    let missing = "type=bind,src=/no/such/place,dst=/mnt,options=rbind:ro";
    s.same_but_words(&["run", "--rm", "--mount", missing, IMAGE, "one", "true"]);
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
    let script = "echo ready; read line; stty size; echo \"got $line\"";
    s.same_screen(
        &["run", "--rm", "-t", IMAGE, "one", "sh", "-c", script],
        &[("ready", "some text\n")],
    );
}

fn records(s: &Sides) {
    s.same(&["run", "-d", IMAGE, "two", "sleep", "1000"]);
    s.same(&["run", "-d", IMAGE, "two", "sleep", "1000"]);
    s.same(&["containers", "ls"]);
    s.same(&["containers", "ls", "-q"]);
    if s.runc() {
        s.same(&["containers", "info", "two"]);
    } else {
        // `ctr` puts runc's options into runc's containers.
        s.same_code(&["containers", "info", "two"]);
    }
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
        s.same_but_words(&all);
    };
    exec(&["two", "echo", "from an exec"]);
    exec(&["two", "sh", "-c", "exit 9"]);
    exec(&["two", "/no/such/program"]);
    exec(&["two", "no-such-program"]);
    exec(&["--cwd", "/no/such/dir", "two", "pwd"]);
    exec(&["--user", "65534", "two", "id", "-u"]);
    exec(&["none", "true"]);
    s.same(&["tasks", "exec", "--exec-id", "", "two", "true"]);
    let script = "test -t 0 && echo ready; read line; stty size; echo \"got $line\"";
    s.same_screen(
        &["tasks", "exec", "-t", "--exec-id", "e1", "two", "sh", "-c", script],
        &[("ready", "some text\n")],
    );
    s.same(&["tasks", "ps", "two"]);
    s.same(&["tasks", "ps", "none"]);
    s.same(&["tasks", "pause", "two"]);
    s.same(&["tasks", "ls"]);
    s.same(&["tasks", "resume", "two"]);
    s.same(&["tasks", "ls"]);
    s.same(&["tasks", "pause", "none"]);
    s.same_but_words(&["tasks", "resume", "two"]);
    s.same(&["tasks", "metrics", "none"]);
    s.same_names(&["tasks", "metrics", "two"]);
    if s.runc() {
        s.same(&["tasks", "checkpoint", "two"]);
    } else {
        // Ours makes none without runc, and says so.
        s.same_code(&["tasks", "checkpoint", "two"]);
    }
    s.same_but_words(&["tasks", "kill", "--exec-id", "none", "two"]);
    s.same(&["tasks", "kill", "-s", "NONSENSE", "two"]);
    s.same(&["tasks", "start", "two"]);
    s.same(&["tasks", "delete", "two"]);
    s.same(&["containers", "delete", "two"]);
}

fn one_that_ends(s: &Sides) {
    s.same(&["tasks", "kill", "-s", "SIGKILL", "two"]);
    s.settle("two");
    s.same(&["tasks", "ls"]);
    s.same_but_words(&["tasks", "kill", "-s", "SIGKILL", "two"]);
    s.same_but_words(&["tasks", "exec", "--exec-id", "e2", "two", "true"]);
    s.same_but_words(&["tasks", "pause", "two"]);
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
