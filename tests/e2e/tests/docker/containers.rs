//! Containers: made, run, looked at, changed, removed.

use crate::sides::{IMAGE, Sides};
use gantry_e2e::{PATIENCE, eventually};

#[test]
fn a_run_answers_alike() {
    let s = &Sides::new();
    s.same(&["run", "--rm", IMAGE, "echo", "hello"]);
    s.same(&["run", "--rm", IMAGE, "sh", "-c", "echo out; echo err >&2; exit 7"]);
    s.same(&["run", "--rm", IMAGE, "false"]);
    s.same(&["run", "--rm", IMAGE]);
    s.code(&["run", "--rm", "nothing-there:1", "true"]);
    s.code(&["run", "--rm", IMAGE, "no-such-program"]);
    s.code(&["run", "--rm", IMAGE, "/etc"]);
    s.same(&[
        "run",
        "--rm",
        "-e",
        "A=1",
        "-e",
        "B=x y",
        IMAGE,
        "sh",
        "-c",
        "echo $A $B",
    ]);
    s.same(&["run", "--rm", "-w", "/tmp", IMAGE, "pwd"]);
    s.same(&["run", "--rm", "-u", "1000:1000", IMAGE, "id"]);
    s.same(&["run", "--rm", "-h", "box", IMAGE, "hostname"]);
    s.same(&["run", "--rm", "--entrypoint", "echo", IMAGE, "a", "b"]);
    s.same(&["run", "--rm", "--network", "none", IMAGE, "ip", "-o", "link"]);
    s.same(&["run", "--rm", "--read-only", IMAGE, "touch", "/x"]);
    s.same(&[
        "run",
        "--rm",
        "--tmpfs",
        "/t:size=1m",
        IMAGE,
        "sh",
        "-c",
        "echo a > /t/a && cat /t/a",
    ]);
    s.same(&[
        "run",
        "--rm",
        "--ulimit",
        "nofile=100:200",
        IMAGE,
        "sh",
        "-c",
        "ulimit -n; ulimit -Hn",
    ]);
    s.same(&[
        "run",
        "--rm",
        "--cap-drop",
        "ALL",
        IMAGE,
        "grep",
        "CapEff",
        "/proc/self/status",
    ]);
    s.same(&[
        "run",
        "--rm",
        "--cap-add",
        "NET_ADMIN",
        IMAGE,
        "grep",
        "CapEff",
        "/proc/self/status",
    ]);
    s.same(&[
        "run",
        "--rm",
        "--shm-size",
        "1m",
        IMAGE,
        "sh",
        "-c",
        "grep -c /dev/shm /proc/mounts",
    ]);
    s.same(&["run", "--rm", "--name", "bad name", IMAGE, "true"]);
    s.same(&["run", "--rm", "--name", "a", IMAGE, "true"]);
    s.fed(&["run", "--rm", "-i", IMAGE, "cat"], b"one\ntwo\n");
    s.fed(&["run", "--rm", "-i", IMAGE, "wc", "-c"], &[b'x'; 300_000]);
    s.fed(&["run", "--rm", IMAGE, "cat"], b"nobody reads this");
    s.same(&[
        "run",
        "-a",
        "stdout",
        "--rm",
        IMAGE,
        "sh",
        "-c",
        "echo out; echo err >&2",
    ]);
    s.same(&[
        "run",
        "-a",
        "stderr",
        "--rm",
        IMAGE,
        "sh",
        "-c",
        "echo out; echo err >&2",
    ]);
    s.same(&["run", "-d", "--name", "held", IMAGE, "sleep", "1000"]);
    s.same(&["run", "-d", "--name", "held", IMAGE, "sleep", "1000"]);
    s.same(&["run", "--cidfile", "id", "--rm", IMAGE, "true"]);
}

#[test]
fn lives_answer_alike() {
    let s = &Sides::new();
    s.same(&[
        "create",
        "--name",
        "one",
        "-l",
        "colour=red",
        IMAGE,
        "sh",
        "-c",
        "echo hi; exit 3",
    ]);
    s.same(&["ps", "-a", "--format", "{{.Names}} {{.Status}} {{.Command}} {{.Image}}"]);
    s.same(&[
        "inspect",
        "-f",
        "{{.State.Status}} {{.State.Running}} {{.State.ExitCode}}",
        "one",
    ]);
    s.same(&["start", "-a", "one"]);
    s.same(&["ps", "-a", "--format", "{{.Names}} {{.State}} {{.Labels}}"]);
    s.same(&["wait", "one"]);
    s.same(&["logs", "one"]);
    s.same(&["start", "nothing"]);
    s.same(&["stop", "nothing"]);
    s.same(&["rm", "nothing"]);
    s.same(&["rm", "-f", "nothing"]);
    s.same(&["kill", "nothing"]);
    s.same(&["wait", "nothing"]);
    s.same(&["logs", "nothing"]);
    s.same(&["inspect", "nothing"]);
    s.same(&["top", "nothing"]);
    s.same(&["pause", "nothing"]);
    s.same(&["rename", "nothing", "other"]);
    s.same(&[
        "run",
        "-d",
        "--name",
        "two",
        IMAGE,
        "sh",
        "-c",
        "trap 'exit 5' TERM; while :; do sleep 0.1; done",
    ]);
    s.same(&["start", "two"]);
    s.same(&["ps"]);
    s.same(&["ps", "-q"]);
    s.same(&["ps", "--filter", "name=two", "--format", "{{.Names}}"]);
    s.same(&["ps", "-a", "--filter", "label=colour=red", "--format", "{{.Names}}"]);
    s.same(&["ps", "-a", "--filter", "exited=3", "--format", "{{.Names}}"]);
    s.same(&["ps", "-a", "--filter", "status=running", "--format", "{{.Names}}"]);
    s.same(&["ps", "-a", "--filter", "ancestor=busybox", "--format", "{{.Names}}"]);
    s.same(&["ps", "--filter", "odd=1"]);
    s.same(&["ps", "-n", "1", "--format", "{{.Names}}"]);
    s.same(&["ps", "-l", "--format", "{{.Names}}"]);
    s.same(&["pause", "two"]);
    s.same(&["ps", "--format", "{{.Names}} {{.Status}}"]);
    s.code(&["pause", "two"]);
    s.same(&["unpause", "two"]);
    s.code(&["unpause", "two"]);
    s.code(&["rm", "two"]);
    s.same(&["rename", "two", "three"]);
    s.same(&["rename", "three", "three"]);
    s.same(&["rename", "three", "one"]);
    s.same(&["kill", "-s", "FOO", "three"]);
    s.same(&["stop", "three"]);
    s.same(&["stop", "three"]);
    s.same(&[
        "inspect",
        "-f",
        "{{.State.ExitCode}} {{.State.Status}} {{.State.OOMKilled}}",
        "three",
    ]);
    s.code(&["kill", "three"]);
    s.same(&["restart", "-t", "0", "three"]);
    s.same(&["kill", "three"]);
    s.same(&["wait", "three"]);
    s.same(&["rm", "one", "three"]);
    s.same(&["ps", "-aq"]);
}

#[test]
fn looking_in_answers_alike() {
    let s = &Sides::new();
    s.same(&[
        "run",
        "-d",
        "--name",
        "box",
        "-e",
        "A=1",
        "-l",
        "x=y",
        "-v",
        "/usr:/mnt:ro",
        IMAGE,
        "sleep",
        "1000",
    ]);
    s.json(&["inspect", "box"]);
    s.json(&["inspect", "--type", "container", "-f", "{{json .HostConfig}}", "box"]);
    s.json(&["inspect", "-f", "{{json .Config}}", "box"]);
    s.json(&["inspect", "-f", "{{json .State}}", "box"]);
    s.json(&["inspect", "-f", "{{json .Mounts}}", "box"]);
    s.same(&[
        "create",
        "--name",
        "linked",
        "--link",
        "box:other",
        "--mount",
        "type=tmpfs,dst=/t",
        "--mount",
        "type=volume,src=v,dst=/v,volume-nocopy,volume-driver=local",
        "--mount",
        "type=bind,src=/usr,dst=/u,bind-nonrecursive",
        IMAGE,
    ]);
    s.json(&["inspect", "-f", "{{json .HostConfig.Links}}", "linked"]);
    s.json(&["inspect", "-f", "{{json .HostConfig.Mounts}}", "linked"]);
    s.same(&["cp", "-L", "linked:/bin/sh", "shell"]);
    s.same(&[
        "ps",
        "-a",
        "--no-trunc",
        "--filter",
        "name=box",
        "--format",
        "{{.Names}}",
    ]);
    s.same(&["rm", "--link", "/linked/other"]);
    s.json(&["inspect", "-f", "{{json .HostConfig.Links}}", "linked"]);
    s.same(&["rm", "--link", "linked/other"]);
    s.same(&["rm", "linked"]);
    s.same(&["volume", "rm", "v"]);
    s.same(&["exec", "box", "echo", "hello"]);
    s.same(&["exec", "box", "sh", "-c", "echo out; echo err >&2; exit 9"]);
    s.same(&["exec", "-e", "B=2", "-w", "/tmp", "box", "sh", "-c", "echo $A $B; pwd"]);
    s.same(&["exec", "-u", "7", "box", "id"]);
    s.same(&["exec", "-d", "box", "sleep", "1"]);
    s.fed(&["exec", "-i", "box", "cat"], b"through\n");
    s.code(&["exec", "box", "/etc"]);
    s.same(&["exec", "nothing", "true"]);
    s.same(&["diff", "box"]);
    s.same(&["exec", "box", "sh", "-c", "mkdir /new; echo x > /new/x; rm /bin/yes"]);
    s.sorted(&["diff", "box"]);
    s.same(&["port", "box"]);
    s.code(&["top", "box", "-o", "pid,comm"]);
    s.code(&["top", "box"]);
    s.same(&["cp", "box:/new/x", "copied"]);
    s.same(&["cp", "box:/none", "copied"]);
    s.same(&["cp", "copied", "box:/tmp/back"]);
    s.same(&["exec", "box", "cat", "/tmp/back"]);
    s.same(&["cp", "copied", "box:/none/there"]);
    s.same(&["logs", "--tail", "1", "box"]);
    s.code(&["stats", "--no-stream", "box"]);
    for side in [&s.ours, &s.theirs] {
        // The client waits two seconds for a sample, which takes one.
        eventually("its name is shown", PATIENCE, || {
            let shown = side.run(&["stats", "--no-stream", "--format", "{{.Name}}", "box"]);
            String::from_utf8_lossy(&shown.stdout).trim() == "box"
        });
    }
    s.same(&["export", "-o", "out.tar", "box"]);
    s.same(&["rm", "-f", "box"]);
}

#[test]
fn logs_answer_alike() {
    let s = &Sides::new();
    let script = "for i in 1 2 3 4 5; do echo line $i; done; printf unfinished";
    s.same(&["run", "--name", "talk", IMAGE, "sh", "-c", script]);
    s.both(&["wait", "talk"]);
    s.same(&["logs", "talk"]);
    s.same(&["logs", "--tail", "3", "talk"]);
    s.same(&["logs", "--tail", "0", "talk"]);
    s.same(&["logs", "--tail", "all", "talk"]);
    s.same(&["logs", "-f", "talk"]);
    s.same(&["logs", "-t", "--tail", "1", "talk"]);
    s.same(&["logs", "--since", "1h", "talk"]);
    s.same(&["logs", "--until", "1h", "talk"]);
    s.same(&["logs", "--since", "2030-01-01T00:00:00Z", "talk"]);
    s.same(&["run", "-t", "--name", "screen", IMAGE, "echo", "on a terminal"]);
    s.same(&["logs", "screen"]);
    s.same(&["run", "--log-driver", "none", "--name", "quiet", IMAGE, "echo", "x"]);
    s.code(&["logs", "quiet"]);
    s.code(&["run", "--log-driver", "odd", "--rm", IMAGE, "true"]);
}
