//! The everyday commands, from `run` to `rm`, against the real daemon.

use gantry_e2e::{Gantry, House, PATIENCE, eventually};
use std::fs;
use std::time::{Duration, Instant};

/// A container that does nothing until it is killed, gone at once when asked to.
fn idle(gantry: &Gantry, name: &str, more: &[&str]) -> String {
    let script = "trap 'exit 0' TERM; echo up; while :; do sleep 1 & wait $!; done";
    let mut args = vec!["run", "-d", "--name", name];
    args.extend(more);
    args.extend(["busybox", "sh", "-c", script]);
    let id = gantry.ok(&args);
    eventually("the container runs its trap", PATIENCE, || {
        gantry.ok(&["logs", name]).contains("up")
    });
    id
}

fn status(gantry: &Gantry, name: &str) -> String {
    gantry.ok(&["inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", name])
}

#[test]
fn run_passes_on_exit_codes_and_streams() {
    let house = House::new();
    let gantry = house.gantry();
    gantry.run(&["run", "--rm", "busybox", "sh", "-c", "exit 7"]).exits(7);
    gantry
        .run(&["run", "--rm", "busybox", "sh", "-c", "sh -c 'kill -9 $$'; exit $?"])
        .exits(137);
    let both = gantry
        .run(&["run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2"])
        .exits(0);
    assert_eq!((both.stdout.as_str(), both.stderr.as_str()), ("out\n", "err\n"));
    let input: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    let cat = gantry.feed(&["run", "-i", "--rm", "busybox", "cat"], &input).exits(0);
    assert!(
        cat.bytes == input,
        "{} bytes came back of {}",
        cat.bytes.len(),
        input.len()
    );
    assert_eq!(gantry.ok(&["ps", "-aq"]), "", "--rm removes");
}

#[test]
fn run_says_who_failed_by_its_exit_code() {
    let house = House::new();
    let gantry = house.gantry();
    gantry
        .run(&["run", "--rm", "busybox", "/nonexistent"])
        .exits(127)
        .says("no such file");
    gantry
        .run(&["run", "--rm", "busybox", "nonexistent"])
        .exits(127)
        .says("not found");
    gantry
        .run(&["run", "--rm", "busybox", "/etc/passwd"])
        .exits(126)
        .says("permission denied");
    gantry
        .run(&["run", "--no-such-flag", "busybox"])
        .exits(125)
        .says("unknown flag");
    gantry
        .run(&["run", "--rm", "--pull", "never", "nosuch", "true"])
        .exits(125)
        .says("No such image: nosuch:latest");
    gantry
        .run(&["run", "--rm", "--cap-add", "NONSENSE", "busybox", "true"])
        .exits(125)
        .says("NONSENSE");
    assert_eq!(gantry.ok(&["ps", "-aq"]), "", "what never ran is not left under --rm");
}

#[test]
fn what_is_not_there_is_said_to_be_missing() {
    let house = House::new();
    let gantry = house.gantry();
    let commands: &[&[&str]] = &[
        &["start", "nosuch"],
        &["stop", "nosuch"],
        &["kill", "nosuch"],
        &["rm", "nosuch"],
        &["logs", "nosuch"],
        &["exec", "nosuch", "true"],
        &["wait", "nosuch"],
        &["attach", "nosuch"],
        &["top", "nosuch"],
        &["diff", "nosuch"],
        &["pause", "nosuch"],
        &["rename", "nosuch", "other"],
        &["cp", "nosuch:/etc/passwd", "-"],
    ];
    for command in commands {
        gantry.run(command).exits(1).says("No such container: nosuch");
    }
    gantry
        .run(&["inspect", "nosuch"])
        .exits(1)
        .says("No such object: nosuch");
    gantry.run(&["rmi", "nosuch"]).exits(1).says("No such image: nosuch");
    gantry
        .run(&["history", "nosuch"])
        .exits(1)
        .says("No such image: nosuch");
}

#[test]
fn detached_containers_are_logged_and_waited_for() {
    let house = House::new();
    let gantry = house.gantry();
    let id = gantry.ok(&[
        "run",
        "-d",
        "--name",
        "job",
        "busybox",
        "sh",
        "-c",
        "echo one; echo two >&2; exit 3",
    ]);
    assert_eq!(id.len(), 64, "{id}");
    assert_eq!(gantry.ok(&["wait", "job"]), "3");
    let logs = gantry.run(&["logs", "job"]).exits(0);
    assert_eq!((logs.stdout.as_str(), logs.stderr.as_str()), ("one\n", "two\n"));
    assert_eq!(status(&gantry, "job"), "exited 3");
    assert_eq!(gantry.ok(&["ps", "-q"]), "");
    assert_eq!(gantry.ok(&["ps", "-aq", "--no-trunc"]), id);
    gantry
        .run(&["run", "--name", "job", "busybox", "true"])
        .exits(125)
        .says("already in use");
    assert_eq!(gantry.run(&["start", "-a", "job"]).exits(3).stdout, "one\n");
    assert_eq!(gantry.ok(&["rm", "job"]), "job");
    gantry.run(&["inspect", "job"]).exits(1);
}

#[test]
fn exec_runs_beside_the_container() {
    let house = House::new();
    let gantry = house.gantry();
    idle(&gantry, "box", &["-e", "COLOUR=red", "-w", "/tmp"]);
    assert_eq!(gantry.ok(&["exec", "box", "pwd"]), "/tmp");
    assert_eq!(
        gantry.ok(&["exec", "-e", "SIZE=5", "box", "sh", "-c", "echo $COLOUR $SIZE"]),
        "red 5"
    );
    assert_eq!(
        gantry.ok(&["exec", "-u", "app", "-w", "/var", "box", "sh", "-c", "id -u; pwd"]),
        "1000\n/var"
    );
    gantry.run(&["exec", "box", "sh", "-c", "exit 9"]).exits(9);
    gantry.run(&["exec", "box", "/nonexistent"]).exits(127);
    gantry.run(&["exec", "box", "/etc/passwd"]).exits(126);
    assert_eq!(
        gantry
            .feed(&["exec", "-i", "box", "cat"], b"in and out")
            .exits(0)
            .stdout,
        "in and out"
    );
    gantry.ok(&["exec", "-d", "box", "touch", "/tmp/later"]);
    eventually("the detached exec has run", PATIENCE, || {
        gantry.run(&["exec", "box", "test", "-e", "/tmp/later"]).code == 0
    });
}

#[test]
fn a_container_goes_through_its_states() {
    let house = House::new();
    let gantry = house.gantry();
    gantry.ok(&[
        "create",
        "--name",
        "box",
        "busybox",
        "sh",
        "-c",
        "trap 'exit 4' TERM; echo up; while :; do sleep 1 & wait $!; done",
    ]);
    assert_eq!(status(&gantry, "box"), "created 0");
    assert_eq!(gantry.ok(&["start", "box"]), "box");
    assert_eq!(status(&gantry, "box"), "running 0");
    gantry.run(&["rm", "box"]).exits(1).says("running");
    eventually("the shell has set its trap", PATIENCE, || {
        gantry.ok(&["logs", "box"]) == "up"
    });
    gantry.ok(&["pause", "box"]);
    assert_eq!(status(&gantry, "box"), "paused 0");
    gantry.run(&["exec", "box", "true"]).exits(1).says("is paused");
    gantry.ok(&["unpause", "box"]);
    gantry.ok(&["rename", "box", "crate"]);
    gantry.run(&["inspect", "box"]).exits(1);
    let pid = |name: &str| gantry.ok(&["inspect", "-f", "{{.State.Pid}}", name]);
    let first = pid("crate");
    gantry.ok(&["restart", "-t", "5", "crate"]);
    assert_ne!(pid("crate"), first, "a new process");
    eventually("the shell has set its trap again", PATIENCE, || {
        gantry.ok(&["logs", "crate"]) == "up\nup"
    });
    gantry.ok(&["stop", "-t", "60", "crate"]);
    assert_eq!(status(&gantry, "crate"), "exited 4");
    gantry.ok(&["start", "crate"]);
    gantry.ok(&["kill", "crate"]);
    assert_eq!(gantry.ok(&["wait", "crate"]), "137");
    gantry.run(&["kill", "crate"]).exits(1).says("is not running");
    gantry.ok(&["rm", "crate"]);
}

#[test]
fn stop_kills_what_ignores_it() {
    let house = House::new();
    let gantry = house.gantry();
    gantry.ok(&[
        "run",
        "-d",
        "--name",
        "deaf",
        "busybox",
        "sh",
        "-c",
        "trap '' TERM; sleep 100; sleep 100",
    ]);
    let began = Instant::now();
    gantry.ok(&["stop", "-t", "1", "deaf"]);
    let took = began.elapsed();
    assert!(
        took >= Duration::from_secs(1) && took < Duration::from_secs(30),
        "{took:?}"
    );
    assert_eq!(status(&gantry, "deaf"), "exited 137");
    gantry.ok(&["start", "deaf"]);
    gantry.ok(&["rm", "-f", "deaf"]);
    assert_eq!(gantry.ok(&["ps", "-aq"]), "");
}

#[test]
fn a_running_container_can_be_looked_into() {
    let house = House::new();
    let gantry = house.gantry();
    let id = idle(&gantry, "box", &["--label", "tier=web"]);
    let top = gantry.ok(&["top", "box"]);
    assert!(top.starts_with("UID") && top.contains("sleep 1"), "{top}");
    let stats = gantry.ok(&[
        "stats",
        "--no-stream",
        "--format",
        "{{.Name}} {{.MemUsage}} {{.PIDs}}",
        "box",
    ]);
    assert!(stats.starts_with("box ") && stats.contains("iB / "), "{stats}");
    gantry.ok(&["exec", "box", "sh", "-c", "echo text > /tmp/new; rm /etc/group"]);
    let diff = gantry.ok(&["diff", "box"]);
    for line in ["C /tmp", "A /tmp/new", "D /etc/group"] {
        assert!(diff.lines().any(|seen| seen == line), "{line} in {diff}");
    }
    let format = "{{.Id}} {{.Name}} {{.State.Running}} {{index .Config.Labels \"tier\"}}";
    assert_eq!(
        gantry.ok(&["inspect", "-f", format, "box"]),
        format!("{id} /box true web")
    );
    let listed: serde_json::Value = serde_json::from_str(&gantry.ok(&["inspect", "box"])).expect("JSON");
    assert_eq!(listed[0]["Id"], id.as_str());
    assert_eq!(gantry.ok(&["ps", "-q", "--filter", "label=tier=web"]), id[..12]);
    assert_eq!(gantry.ok(&["ps", "-q", "--filter", "label=tier=db"]), "");
    assert_eq!(
        gantry.ok(&["inspect", "-f", "{{.Id}}", &id[..8]]),
        id,
        "a prefix is enough"
    );
}

#[test]
fn files_are_copied_in_and_out() {
    let house = House::new();
    let gantry = house.gantry();
    gantry.ok(&["create", "--name", "box", "busybox", "cat", "/tmp/into/a"]);
    let dir = house.root().join("files");
    fs::create_dir(&dir).expect("a directory");
    fs::write(dir.join("a"), "alpha").expect("a file");
    let into = dir.display().to_string();
    gantry.ok(&["cp", &into, "box:/tmp/into"]);
    assert_eq!(gantry.run(&["start", "-a", "box"]).exits(0).stdout, "alpha");
    gantry.ok(&["wait", "box"]);
    let back = house.root().join("back");
    gantry.ok(&["cp", "box:/tmp/into/a", &back.display().to_string()]);
    assert_eq!(fs::read_to_string(&back).expect("copied"), "alpha");
    let archive = gantry.run(&["cp", "box:/tmp/into", "-"]).exits(0);
    let mut tar = tar::Archive::new(archive.bytes.as_slice());
    let names: Vec<String> = tar
        .entries()
        .expect("a tar")
        .map(|entry| entry.expect("an entry").path().expect("a path").display().to_string())
        .collect();
    assert!(names.iter().any(|name| name == "into/a"), "{names:?}");
    gantry
        .run(&["cp", "box:/nonexistent", "-"])
        .exits(1)
        .says("/nonexistent");
}

#[test]
fn events_tell_a_life_in_order() {
    let house = House::new();
    let gantry = house.gantry();
    gantry
        .run(&["run", "--rm", "--name", "brief", "busybox", "sh", "-c", "exit 5"])
        .exits(5);
    let format = "{{.Action}} {{.Actor.Attributes.name}} {{.Actor.Attributes.exitCode}}";
    let args = [
        "events",
        "--since",
        "1h",
        "--until",
        "0s",
        "--filter",
        "type=container",
        "--format",
        format,
    ];
    let events = gantry.ok(&args);
    let actions: Vec<&str> = events.lines().filter_map(|line| line.split(' ').next()).collect();
    let kept: Vec<&&str> = actions
        .iter()
        .filter(|action| ["create", "start", "die", "destroy"].contains(action))
        .collect();
    assert_eq!(kept, [&"create", &"start", &"die", &"destroy"], "{events}");
    assert!(events.contains("die brief 5"), "{events}");
}

#[test]
fn another_runtime_runs_it_too() {
    let house = House::new();
    let gantry = house.gantry();
    let run = gantry.run(&[
        "run",
        "--rm",
        "--runtime",
        "runc",
        "busybox",
        "sh",
        "-c",
        "echo by runc; exit 6",
    ]);
    assert_eq!(run.exits(6).stdout, "by runc\n");
    idle(&gantry, "box", &["--runtime", "runc"]);
    assert_eq!(gantry.ok(&["inspect", "-f", "{{.HostConfig.Runtime}}", "box"]), "runc");
    assert_eq!(gantry.ok(&["exec", "box", "echo", "also"]), "also");
    gantry.ok(&["pause", "box"]);
    gantry.ok(&["unpause", "box"]);
    gantry.ok(&["stop", "box"]);
    assert_eq!(status(&gantry, "box"), "exited 0");
    gantry
        .run(&["run", "--rm", "--runtime", "nosuch", "busybox", "true"])
        .exits(125)
        .says("nosuch");
}

#[test]
fn privileges_are_few_unless_asked_for() {
    let house = House::new();
    let gantry = house.gantry();
    let mount = ["busybox", "mount", "-t", "tmpfs", "none", "/tmp"];
    let with = |flags: &[&str]| gantry.run(&[&["run", "--rm"], flags, &mount].concat());
    assert_ne!(with(&[]).code, 0, "a plain container cannot mount");
    with(&["--privileged"]).exits(0);
    let script = "touch /x; echo $?; touch /tmp/y; echo $?";
    let read_only = gantry.run(&[
        "run",
        "--rm",
        "--read-only",
        "--tmpfs",
        "/tmp",
        "busybox",
        "sh",
        "-c",
        script,
    ]);
    assert_eq!(read_only.says("Read-only file system").stdout, "1\n0\n");
    let no_caps = gantry.ok(&[
        "run",
        "--rm",
        "--cap-drop",
        "ALL",
        "busybox",
        "grep",
        "CapEff",
        "/proc/self/status",
    ]);
    assert!(no_caps.ends_with("0000000000000000"), "{no_caps}");
    let user = [
        "run",
        "--rm",
        "-u",
        "app",
        "--security-opt",
        "no-new-privileges",
        "busybox",
        "sh",
        "-c",
    ];
    let seen = gantry.ok(&[user.as_slice(), &["id -u; grep NoNewPrivs /proc/self/status"]].concat());
    assert_eq!(seen, "1000\nNoNewPrivs:\t1");
}

#[test]
fn limits_are_in_the_kernel() {
    let house = House::new();
    let gantry = house.gantry();
    let script = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null; ulimit -n";
    let flags = [
        "run",
        "--rm",
        "--memory",
        "64m",
        "--ulimit",
        "nofile=100:100",
        "busybox",
        "sh",
        "-c",
        script,
    ];
    assert_eq!(gantry.run(&flags).stdout, "67108864\n100\n");
    let script = "head -c 200m /dev/zero | tail -c 100m | wc -c";
    let args = [
        "run",
        "--name",
        "greedy",
        "--memory",
        "20m",
        "--memory-swap",
        "20m",
        "busybox",
        "sh",
        "-c",
        script,
    ];
    let greedy = gantry.run(&args);
    assert_ne!(greedy.stdout, "104857600\n", "100 MB do not fit in 20");
    gantry.ok(&["wait", "greedy"]);
    assert_eq!(gantry.ok(&["inspect", "-f", "{{.State.OOMKilled}}", "greedy"]), "true");
}

/// Of a memory kill that its container outlives is told at once, also when no daemon saw it, and once.
#[test]
fn a_memory_kill_is_told_while_the_container_goes_on() {
    let mut house = House::new();
    let (gantry, shared) = (house.gantry(), house.root().join("shared"));
    fs::create_dir(&shared).expect("a directory");
    let eat = "until [ -e /shared/$turn ]; do sleep 0.1; done; head -c 200m /dev/zero | tail -c 100m >/dev/null";
    let script = format!("for turn in first second; do {eat}; touch /shared/after-$turn; done; exec sleep 1000");
    let volume = format!("{}:/shared", shared.display());
    let memory = ["--memory", "20m", "--memory-swap", "20m"];
    let run = [&["run", "-d", "--name", "parent", "-v", &volume][..], &memory].concat();
    gantry.ok(&[&run[..], &["busybox", "sh", "-c", &script]].concat());
    let killed = |turn: &str| {
        fs::write(shared.join(turn), "").expect("a file");
        let after = shared.join(format!("after-{turn}"));
        eventually("the child is killed", PATIENCE, || after.exists());
    };
    let told = || {
        let all = [
            "events",
            "--since",
            "1h",
            "--until",
            "0s",
            "--filter",
            "container=parent",
        ];
        let told = gantry.ok(&[&all[..], &["--format", "{{.Action}}"]].concat());
        let mut told: Vec<_> = told.lines().map(str::to_owned).collect();
        told.retain(|action| ["oom", "die"].contains(&action.as_str()));
        told
    };
    let state = || gantry.ok(&["inspect", "-f", "{{.State.Status}} {{.State.OOMKilled}}", "parent"]);
    assert_eq!(state(), "running false");
    killed("first");
    eventually("it is told", PATIENCE, || told() == ["oom"]);
    assert_eq!(state(), "running true");
    house.kill_daemon();
    killed("second");
    house.start();
    eventually("it is told afterwards", PATIENCE, || told() == ["oom", "oom"]);
    assert_eq!(state(), "running true");
    gantry.ok(&["kill", "parent"]);
    gantry.ok(&["wait", "parent"]);
    assert_eq!(
        (told(), state().as_str()),
        (vec!["oom".into(), "oom".into(), "die".into()], "exited true")
    );
    fs::remove_file(shared.join("first")).expect("it can be removed");
    gantry.ok(&["start", "parent"]);
    assert_eq!(state(), "running false", "another run");
}

#[test]
fn a_failing_hook_is_heard() {
    use std::os::unix::fs::PermissionsExt;
    let house = House::new();
    let gantry = house.gantry();
    let dir = house.data_root().join("hooks");
    fs::create_dir_all(&dir).expect("the hooks' directory");
    let hook = dir.join("no");
    fs::write(&hook, "#!/bin/sh\necho the hook says no >&2\nexit 3\n").expect("a hook");
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).expect("executable");
    let spec = house.root().join("spec.json");
    let path = spec.display().to_string();
    let run = |kind: &str, runtime: &[&str]| {
        let entry = serde_json::json!({"path": hook, "args": ["no"], "env": [], "timeout": 5});
        fs::write(&spec, serde_json::json!({kind: [entry]}).to_string()).expect("a spec");
        let flags: &[&str] = &["run", "--rm", "--hook-spec", &path];
        // A brief program may end before its poststart hook does, and then its end is the answer.
        let program: &[&str] = if kind == "poststop" {
            &["echo", "ran"]
        } else {
            &["sleep", "30"]
        };
        gantry.run(&[flags, runtime, &["busybox"], program].concat())
    };
    for kind in ["prestart", "createRuntime", "createContainer", "poststart"] {
        for runtime in [&[] as &[&str], &["--runtime", "runc"]] {
            run(kind, runtime).exits(125).says("the hook says no");
        }
    }
    assert_eq!(run("poststop", &[]).exits(0).stdout, "ran\n", "too late to fail it");
    assert_eq!(gantry.ok(&["ps", "-aq"]), "");
}
