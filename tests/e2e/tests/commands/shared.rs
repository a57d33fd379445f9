//! The flags that `create` and `run` share: every case is run through both.

use crate::stage::{Case, IMAGE, LIMIT, Stage, bad, good};
use crate::{lent, limits};
use gantry_e2e::eventually;

/// What a flag's effect is seen by.
pub enum See {
    /// The script in the container prints this.
    Inside(&'static str, &'static str),
    /// The template says this of the container.
    Told(&'static str, &'static str),
    By(fn(&Stage, &str)),
}
use See::{By, Inside, Told};

pub struct Row {
    flag: &'static str,
    set: &'static [&'static str],
    see: See,
    wrong: &'static [&'static str],
    says: &'static str,
}

pub const fn row(
    flag: &'static str,
    set: &'static [&'static str],
    see: See,
    wrong: &'static [&'static str],
    says: &'static str,
) -> Row {
    Row {
        flag,
        set,
        see,
        wrong,
        says,
    }
}

const CAPS: &str = "grep CapEff /proc/self/status | tr -d ' \\t'";
pub const BOOL: &str = "strconv.ParseBool: parsing \"x\": invalid syntax";
pub const INT: &str = "strconv.ParseInt: parsing \"x\": invalid syntax";
const SIZE: &str = "invalid size: 'x'";

static ROWS: &[Row] = &[
    row(
        "attach",
        &[],
        By(attach),
        &["-a", "nope"],
        "valid streams are STDIN, STDOUT and STDERR",
    ),
    row(
        "annotation",
        &["--annotation", "a.b=c"],
        Told("{{json .HostConfig.Annotations}}", "{\"a.b\":\"c\"}"),
        &[],
        "flag needs an argument: --annotation",
    ),
    row(
        "cap-add",
        &["--cap-add", "net_admin"],
        Inside(CAPS, "CapEff:00000000a80435fb"),
        &["--cap-add", "bogus"],
        "unknown capability: \"CAP_BOGUS\"",
    ),
    row(
        "cap-drop",
        &["--cap-drop", "ALL"],
        Inside(CAPS, "CapEff:0000000000000000"),
        &["--cap-drop", "bogus"],
        "unknown capability: \"CAP_BOGUS\"",
    ),
    row(
        "cgroupns",
        &["--cgroupns", "private"],
        Inside("grep -q gantry /proc/self/cgroup || echo apart", "apart"),
        &["--cgroupns", "x"],
        "invalid CGROUP mode",
    ),
    row(
        "cgroupns",
        &["--cgroupns", "host"],
        Inside("grep -q gantry /proc/self/cgroup && echo shared", "shared"),
        &["--cgroupns", "x"],
        "invalid CGROUP mode",
    ),
    row(
        "cidfile",
        &[],
        By(cidfile),
        &["--cidfile", "{taken}"],
        "container ID file found",
    ),
    row(
        "cpu-shares",
        &["-c", "512"],
        Inside(
            "cat /sys/fs/cgroup/cpu/cpu.shares 2>/dev/null || { [ $(cat /sys/fs/cgroup/cpu.weight) -lt 100 ] && echo 512; }",
            "512",
        ),
        &["-c", "x"],
        INT,
    ),
    row(
        "cpus",
        &["--cpus", "0.5"],
        Inside(
            "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null || cut -d' ' -f1 /sys/fs/cgroup/cpu.max",
            "50000",
        ),
        &["--cpus", "x"],
        "failed to parse x as a rational number",
    ),
    row(
        "cpuset-cpus",
        &["--cpuset-cpus", "0"],
        Inside("grep Cpus_allowed_list /proc/self/status | cut -f2", "0"),
        &["--cpuset-cpus", "999"],
        "Requested CPUs are not available",
    ),
    row(
        "cpuset-mems",
        &["--cpuset-mems", "0"],
        Inside(
            "cat /sys/fs/cgroup/cpuset/cpuset.mems 2>/dev/null || cat /sys/fs/cgroup/cpuset.mems",
            "0",
        ),
        &["--cpuset-mems", "999"],
        "Requested memory nodes are not available",
    ),
    row(
        "domainname",
        &["--domainname", "dom.test"],
        Inside("cat /proc/sys/kernel/domainname", "dom.test"),
        &[],
        "flag needs an argument: --domainname",
    ),
    row(
        "entrypoint",
        &[],
        By(entrypoint),
        &[],
        "flag needs an argument: --entrypoint",
    ),
    row(
        "env",
        &["-e", "A=1 2"],
        Inside("echo \"$A\"", "1 2"),
        &["-e", "=x"],
        "invalid environment variable: =x",
    ),
    row(
        "env-file",
        &[],
        By(env_file),
        &["--env-file", "/nope"],
        "open /nope: no such file or directory",
    ),
    row(
        "hook-spec",
        &[],
        By(hook_spec),
        &[],
        "flag needs an argument: --hook-spec",
    ),
    row(
        "hostname",
        &["--hostname", "host.test"],
        Inside("hostname", "host.test"),
        &[],
        "flag needs an argument: --hostname",
    ),
    row("interactive", &[], By(interactive), &["-i=x"], BOOL),
    row(
        "label",
        &["-l", "k=v w"],
        Told("{{index .Config.Labels \"k\"}}", "v w"),
        &["-l", "=x"],
        "invalid label '=x': empty name",
    ),
    row(
        "label-file",
        &[],
        By(label_file),
        &["--label-file", "/nope"],
        "open /nope: no such file or directory",
    ),
    row(
        "log-driver",
        &[],
        By(log_driver),
        &["--log-driver", "nope"],
        "no log driver named 'nope'",
    ),
    row(
        "log-opt",
        &[],
        By(log_opt),
        &["--log-opt", "nope=1"],
        "unknown log opt 'nope'",
    ),
    row(
        "memory",
        &["-m", "64m"],
        Inside(
            "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max",
            "67108864",
        ),
        &["-m", "x"],
        SIZE,
    ),
    row(
        "kernel-memory",
        &["--kernel-memory", "50m"],
        Told("{{.HostConfig.KernelMemory}}", "52428800"),
        &["--kernel-memory", "x"],
        SIZE,
    ),
    row(
        "memory-reservation",
        &["--memory-reservation", "32m"],
        Inside(
            "cat /sys/fs/cgroup/memory/memory.soft_limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.low",
            "33554432",
        ),
        &["--memory-reservation", "x"],
        SIZE,
    ),
    row(
        "memory-swap",
        &["-m", "64m", "--memory-swap", "64m"],
        Inside(
            "if [ -d /sys/fs/cgroup/memory ]; then cat /sys/fs/cgroup/memory/memory.memsw.limit_in_bytes; else \
             echo $((67108864 + $(cat /sys/fs/cgroup/memory.swap.max))); fi",
            "67108864",
        ),
        &["-m", "64m", "--memory-swap", "10m"],
        "Minimum memoryswap limit should be larger than memory limit",
    ),
    row(
        "name",
        &[],
        By(name),
        &["--name", "a b"],
        "Invalid container name (a b)",
    ),
    row("network", &[], By(network), &["--network", "name=web,nope=1"], "nope"),
    row(
        "oom-score-adj",
        &["--oom-score-adj", "300"],
        Inside("cat /proc/self/oom_score_adj", "300"),
        &["--oom-score-adj", "3000"],
        "the range is -1000 to 1000",
    ),
    row(
        "pids-limit",
        &["--pids-limit", "33"],
        Inside(
            "cat /sys/fs/cgroup/pids/pids.max 2>/dev/null || cat /sys/fs/cgroup/pids.max",
            "33",
        ),
        &["--pids-limit", "x"],
        INT,
    ),
    row(
        "privileged",
        &["--privileged"],
        Inside("mount -t tmpfs t /tmp && echo mounted", "mounted"),
        &["--privileged=x"],
        BOOL,
    ),
    row("pull", &[], By(pull), &["--pull", "x"], "invalid pull option: 'x'"),
    row("quiet", &[], By(quiet), &["-q=x"], BOOL),
    row(
        "read-only",
        &["--read-only"],
        Inside("touch /x 2>/dev/null || echo closed", "closed"),
        &["--read-only=x"],
        BOOL,
    ),
    row("rm", &[], By(rm), &["--rm=x"], BOOL),
    row(
        "runtime",
        &["--runtime", "runc"],
        Told("{{.HostConfig.Runtime}}", "runc"),
        &["--runtime", "nope"],
        "unknown or invalid runtime name: nope",
    ),
    row(
        "runtime",
        &["--runtime", "runc"],
        Inside("echo here", "here"),
        &["--runtime", "nope"],
        "invalid runtime name",
    ),
    row(
        "security-opt",
        &["--security-opt", "no-new-privileges"],
        Inside("grep NoNewPrivs /proc/self/status | cut -f2", "1"),
        &["--security-opt", "nope=1"],
        "Invalid --security-opt: \"nope=1\"",
    ),
    row(
        "security-opt",
        &["--security-opt", "seccomp=unconfined"],
        Inside("grep Seccomp: /proc/self/status | cut -f2", "0"),
        &["--security-opt", "seccomp=/nope"],
        "/nope",
    ),
    row(
        "shm-size",
        &["--shm-size", "8m"],
        Inside("grep -o 'size=[0-9]*k' /proc/mounts | grep -x size=8192k", "size=8192k"),
        &["--shm-size", "x"],
        SIZE,
    ),
    row(
        "stop-signal",
        &[],
        By(stop_signal),
        &["--stop-signal", "NOPE"],
        "invalid signal: NOPE",
    ),
    row("stop-timeout", &[], By(stop_timeout), &["--stop-timeout", "x"], INT),
    row(
        "tmpfs",
        &["--tmpfs", "/t:size=1m"],
        Inside("grep ' /t ' /proc/mounts | grep -o 'size=1024k'", "size=1024k"),
        &["--tmpfs", "t"],
        "the mount path must be absolute",
    ),
    row(
        "tty",
        &["-t"],
        Inside("test -t 1 && echo terminal", "terminal"),
        &["-t=x"],
        BOOL,
    ),
    row(
        "ulimit",
        &[],
        By(ulimit),
        &["--ulimit", "nope=1"],
        "invalid ulimit type: nope",
    ),
    row(
        "user",
        &["-u", "app"],
        Inside("echo $(id -u) $(id -G)", "1000 1000 2000"),
        &[],
        "flag needs an argument: --user",
    ),
    row("volume", &[], By(volume), &["-v", "/tmp:/v:zz"], "invalid mode: zz"),
    row(
        "workdir",
        &["-w", "/home"],
        Inside("pwd", "/home"),
        &["-w", "rel"],
        "the working directory 'rel' is invalid",
    ),
    row(
        "workdir",
        &["-u", "app", "-w", "/made/for/it"],
        Inside("pwd; stat -c %u%a .", "/made/for/it\n0755"),
        &["-w", "rel/too"],
        "the working directory 'rel/too' is invalid",
    ),
];

/// Flags whose wrong value the command refuses before it asks the daemon.
const PARSED: &[&str] = &[
    "attach",
    "cgroupns",
    "env-file",
    "label-file",
    "network",
    "oom-score-adj",
    "security-opt",
    "tmpfs",
    "volume",
    "cpu-shares",
    "cpus",
    "env",
    "interactive",
    "kernel-memory",
    "label",
    "memory",
    "memory-reservation",
    "pids-limit",
    "privileged",
    "quiet",
    "read-only",
    "rm",
    "shm-size",
    "stop-timeout",
    "tty",
    "ulimit",
];

const VERBS: [&str; 2] = ["create", "run"];

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for verb in VERBS {
        for row in ROWS.iter().chain(lent::ROWS).chain(limits::ROWS) {
            cases.push(good(verb, row.flag, move |stage| sees(stage, verb, row)));
            cases.push(wrong(verb, row));
        }
    }
    cases.push(bad(
        "run",
        "user",
        &["run", "--rm", "-u", "nope", IMAGE, "true"],
        125,
        "unable to find user nope",
    ));
    cases
}

fn sees(stage: &Stage, verb: &str, row: &Row) {
    match row.see {
        Inside(script, expected) => {
            let output = stage.made(verb, row.set, script);
            let seen = output.stdout.trim();
            assert_eq!(seen, expected, "{verb} {:?}: {}", row.set, output.stderr);
        }
        Told(template, expected) => {
            let name = stage.kept(verb, row.set);
            assert_eq!(stage.look(&name, template), expected, "{verb} {:?}", row.set);
            stage.gone(&name);
        }
        By(check) => check(stage, verb),
    }
}

/// A flag that takes anything fails only without a value.
fn wrong(verb: &'static str, row: &'static Row) -> Case {
    if row.wrong.is_empty() {
        let lone = format!("--{}", row.flag);
        return bad(verb, row.flag, &[verb, &lone], 125, row.says);
    }
    let mut args = vec![verb];
    args.extend(row.wrong);
    args.extend([IMAGE, "true"]);
    // What is no value at all: 125 for both; what the daemon refuses: 125 for `run` and 1 for `create`, as docker.
    let code = if verb == "run"
        || (PARSED.contains(&row.flag) || lent::PARSED.contains(&row.flag) || limits::PARSED.contains(&row.flag))
    {
        125
    } else {
        1
    };
    bad(verb, row.flag, &args, code, row.says)
}

fn attach(stage: &Stage, verb: &str) {
    if verb == "run" {
        let output = stage.made(verb, &["-a", "stdout"], "echo out; echo err >&2");
        assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("out\n", ""));
        return;
    }
    let name = stage.kept(verb, &["-a", "stdout"]);
    let told = stage.look(&name, "{{.Config.AttachStdout}} {{.Config.AttachStderr}}");
    assert_eq!(told, "true false");
    stage.gone(&name);
}

fn cidfile(stage: &Stage, verb: &str) {
    let path = stage.path(&stage.name());
    let name = stage.kept(verb, &["--cidfile", path.to_str().expect("ASCII")]);
    let id = std::fs::read_to_string(&path).expect("the file with the id");
    assert_eq!(id.trim(), stage.look(&name, "{{.Id}}"));
    stage.gone(&name);
}

fn entrypoint(stage: &Stage, verb: &str) {
    let output = stage.made(verb, &["--entrypoint", "echo"], "said");
    assert_eq!(output.line(), "sh -c said");
}

fn env_file(stage: &Stage, verb: &str) {
    let file = stage.file("env", "# a comment\nA=from the file\n\nB=2\n");
    let output = stage.made(verb, &["--env-file", &file], "echo $A $B");
    assert_eq!(output.line(), "from the file 2");
}

fn label_file(stage: &Stage, verb: &str) {
    let file = stage.file("labels", "a=1\nb=2 3\n");
    let name = stage.kept(verb, &["--label-file", &file]);
    assert_eq!(stage.look(&name, "{{.Config.Labels.a}} {{.Config.Labels.b}}"), "1 2 3");
    stage.gone(&name);
}

/// Hooks are programs in the data root's own directory of them.
fn hook_spec(stage: &Stage, verb: &str) {
    use std::os::unix::fs::PermissionsExt;
    let (mark, dir) = (stage.path(&stage.name()), stage.house.data_root().join("hooks"));
    std::fs::create_dir_all(&dir).expect("the directory of hooks");
    let program = dir.join(stage.name());
    std::fs::write(&program, "#!/bin/sh\ntouch \"$1\"\n").expect("a hook");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("a program");
    let hook = format!("{{\"prestart\": [{{\"path\": {program:?}, \"args\": [\"hook\", {mark:?}], \"env\": []}}]}}");
    let file = stage.file("hooks.json", &hook);
    let output = stage.made(verb, &["--hook-spec", &file], "echo ran");
    assert_eq!(output.line(), "ran", "{}", output.stderr);
    assert!(mark.exists(), "the hook did not run");
}

fn interactive(stage: &Stage, verb: &str) {
    let name = stage.name();
    let mut args = vec![verb, "-i", "--name", &name, IMAGE, "cat"];
    if verb == "create" {
        stage.gantry.ok(&args);
        args = vec!["start", "-ai", &name];
    }
    let output = stage.gantry.feed(&args, b"from stdin\n").exits(0);
    assert_eq!(output.stdout, "from stdin\n");
    stage.gone(&name);
}

fn log_driver(stage: &Stage, verb: &str) {
    let name = stage.kept(verb, &["--log-driver", "none"]);
    stage
        .gantry
        .run(&["logs", &name])
        .exits(1)
        .says("does not support reading");
    stage.gone(&name);
}

/// A log of two files of 1 kB each does not hold what was printed.
fn log_opt(stage: &Stage, verb: &str) {
    let name = stage.name();
    let flags = ["--log-opt", "max-size=1k", "--log-opt", "max-file=2"];
    let mut args = vec![verb, "--name", &name];
    args.extend(flags);
    args.extend([IMAGE, "seq", "1000"]);
    stage.gantry.ok(&args);
    if verb == "create" {
        stage.gantry.ok(&["start", "-a", &name]);
    }
    let mut kept = String::new();
    eventually("the log's last line is there", LIMIT, || {
        kept = stage.gantry.ok(&["logs", &name]);
        kept.ends_with("1000")
    });
    let lines = kept.lines().count();
    assert!(
        (1..200).contains(&lines),
        "{lines} lines of 1000 are in two files of 1 kB"
    );
    stage.gone(&name);
}

fn name(stage: &Stage, verb: &str) {
    let name = stage.kept(verb, &[]);
    let named = format!("name=^{name}$");
    let listed = stage
        .gantry
        .ok(&["ps", "-a", "--format", "{{.Names}}", "--filter", &named]);
    assert_eq!(listed, name);
    stage
        .gantry
        .run(&["create", "--name", &name, IMAGE])
        .exits(1)
        .says("is already in use");
    stage.gone(&name);
}

fn network(stage: &Stage, verb: &str) {
    let host = std::fs::read_link("/proc/self/ns/net").expect("our network namespace");
    let shared = stage.made(verb, &["--network", "host"], "ls -l /proc/self/ns/net");
    assert!(
        shared.stdout.contains(host.to_str().expect("ASCII")),
        "{}",
        shared.stdout
    );
    let apart = stage.made(
        verb,
        &["--network", "none"],
        "ls -l /proc/self/ns/net; ls /sys/class/net",
    );
    assert!(
        !apart.stdout.contains(host.to_str().expect("ASCII")),
        "{}",
        apart.stdout
    );
    assert!(apart.stdout.ends_with("\nlo\n"), "{}", apart.stdout);
}

fn pull(stage: &Stage, verb: &str) {
    let image = stage.registry().image("box:latest");
    let refused = stage.gantry.run(&[verb, "--pull", "never", "127.0.0.1:1/none", "true"]);
    assert!(refused.stderr.contains("No such image"), "{}", refused.stderr);
    assert!(!refused.stderr.contains("Unable to find"), "{}", refused.stderr);
    let name = stage.name();
    let always = stage
        .gantry
        .run(&[verb, "--pull", "always", "--name", &name, &image, "true"])
        .exits(0);
    assert!(always.stderr.contains("Pulling from"), "{}", always.stderr);
    stage.gone(&name);
}

/// The same pull, without a word.
fn quiet(stage: &Stage, verb: &str) {
    let image = stage.registry().image("box:latest");
    let name = stage.name();
    let output = stage
        .gantry
        .run(&[verb, "-q", "--pull", "always", "--name", &name, &image, "true"])
        .exits(0);
    assert!(!output.stderr.contains("Pulling from"), "{}", output.stderr);
    stage.gone(&name);
}

fn rm(stage: &Stage, verb: &str) {
    let name = stage.kept(verb, &["--rm"]);
    if verb == "create" {
        stage.gantry.ok(&["start", "-a", &name]);
    }
    eventually("the container is removed", LIMIT, || {
        stage.gantry.run(&["container", "inspect", &name]).code == 1
    });
}

/// A container made with the verb that runs.
fn running(stage: &Stage, verb: &str, flags: &[&str], script: &str) -> String {
    let name = stage.name();
    let mut args = vec![verb, "--name", &name];
    if verb == "run" {
        args.push("-d");
    }
    args.extend(flags);
    args.extend([IMAGE, "sh", "-c", script]);
    stage.gantry.ok(&args);
    if verb == "create" {
        stage.gantry.ok(&["start", &name]);
    }
    name
}

fn stop_signal(stage: &Stage, verb: &str) {
    let script = "trap 'exit 7' USR1; echo up; while :; do sleep 0.1; done";
    let name = running(stage, verb, &["--stop-signal", "USR1"], script);
    eventually("the trap is set", LIMIT, || stage.gantry.ok(&["logs", &name]) == "up");
    stage.gantry.ok(&["stop", "-t", "8", &name]);
    assert_eq!(stage.look(&name, "{{.State.ExitCode}}"), "7");
    stage.gone(&name);
}

fn stop_timeout(stage: &Stage, verb: &str) {
    // The first process of a container does not hear SIGTERM unless it asks to.
    let name = running(stage, verb, &["--stop-timeout", "1"], "exec sleep 1000");
    let begun = std::time::Instant::now();
    stage.gantry.ok(&["stop", &name]);
    let took = begun.elapsed().as_millis();
    assert!((900..9_500).contains(&took), "{took} ms");
    assert_eq!(stage.look(&name, "{{.State.ExitCode}}"), "137");
    stage.gone(&name);
}

/// The container's program has the limits, and what is run in it later.
fn ulimit(stage: &Stage, verb: &str) {
    let shown = "echo $(ulimit -Sn) $(ulimit -Hn)";
    let flags = ["--ulimit", "nofile=55:66"];
    assert_eq!(stage.made(verb, &flags, shown).line(), "55 66");
    for runtime in ["gantry", "runc"] {
        let flags = ["--runtime", runtime, flags[0], flags[1]];
        let name = running(stage, verb, &flags, "exec sleep 1000");
        let limits = stage.gantry.ok(&["exec", &name, "sh", "-c", shown]);
        // Debian's runc is a Go program that raises its own soft limit, and does not always put it back before the program runs.
        let known = runtime == "runc" && limits == "66 66";
        assert!(limits == "55 66" || known, "{runtime}: {limits}");
        stage.gone(&name);
    }
}

fn volume(stage: &Stage, verb: &str) {
    let file = stage.file("bound", "seen inside\n");
    let bind = format!("{file}:/bound:ro");
    let output = stage.made(verb, &["-v", &bind], "cat /bound; echo no >/bound || echo closed");
    assert_eq!(output.stdout, "seen inside\nclosed\n", "{}", output.stderr);
}
