//! Commands that work on containers, and the flags only they have.

use crate::stage::{Case, DONE, IMAGE, LIMIT, Stage, UP, bad, good};
use gantry_e2e::eventually;
use gantry_e2e::pty::Terminal;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::process::Child;
use std::time::{Duration, Instant};

const BOOL: &str = "strconv.ParseBool: parsing \"x\": invalid syntax";
const INT: &str = "strconv.ParseInt: parsing \"x\": invalid syntax";
const NONE: &str = "No such container: nope";
const OPEN: &str = "unclosed action";
/// A loop that says when it is there and that a signal ends with 9.
const TRAP: &str = "trap 'exit 9' TERM; trap 'exit 8' INT; echo up; while :; do sleep 0.1; done";

pub fn cases() -> Vec<Case> {
    let mut cases = run();
    cases.extend(attach());
    cases.extend(exec());
    cases.extend(copy());
    cases.extend(ends());
    cases.extend(listing());
    cases.extend(logs());
    cases
}

fn run() -> Vec<Case> {
    vec![
        good("create", "", |s| {
            let id = s.gantry.ok(&["create", IMAGE, "true"]);
            assert_eq!(s.look(&id, "{{.State.Status}}"), "created");
            s.gone(&id);
        }),
        bad(
            "create",
            "",
            &["create", "--pull", "never", "nope"],
            1,
            "No such image: nope:latest",
        ),
        good("run", "", |s| {
            let output = s
                .gantry
                .run(&["run", "--rm", IMAGE, "sh", "-c", "echo o; echo e >&2; exit 7"])
                .exits(7);
            assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("o\n", "e\n"));
        }),
        bad(
            "run",
            "",
            &["run", "--rm", IMAGE, "nope"],
            127,
            "executable file not found",
        ),
        good("run", "detach", |s| {
            let id = s.gantry.ok(&["run", "-d", IMAGE, "sleep", "1000"]);
            assert_eq!(s.look(&id, "{{.State.Status}} {{.Id}}"), format!("running {id}"));
            s.gone(&id);
        }),
        bad(
            "run",
            "detach",
            &["run", "-d", "-a", "stdout", IMAGE],
            1,
            "cannot specify both --attach and --detach",
        ),
        good("run", "detach-keys", |s| {
            let name = s.name();
            let args = ["run", "-it", "--detach-keys", "ctrl-x,q", "--name", &name, IMAGE, "sh"];
            leaves(s, &name, &args, "\u{18}q");
            s.gone(&name);
        }),
        bad(
            "run",
            "detach-keys",
            &["run", "--detach-keys", "zz-z", IMAGE],
            125,
            "invalid detach keys (zz-z)",
        ),
        good("run", "sig-proxy", |s| {
            let name = s.name();
            let args = ["run", "--name", &name, IMAGE, "sh", "-c", TRAP];
            assert_eq!(signalled(s, &name, &args, Signal::SIGTERM), Some(9));
            s.gone(&name);
            let args = ["run", "--sig-proxy=false", "--name", &name, IMAGE, "sh", "-c", TRAP];
            assert_ne!(signalled(s, &name, &args, Signal::SIGTERM), Some(9));
            assert_eq!(s.look(&name, "{{.State.Status}}"), "running");
            s.gone(&name);
        }),
        bad("run", "sig-proxy", &["run", "--sig-proxy=x", IMAGE], 125, BOOL),
    ]
}

/// The command on a terminal shows a shell, is left with the keys, and the container goes on.
fn leaves(stage: &Stage, name: &str, args: &[&str], keys: &str) {
    let mut terminal = Terminal::spawn(on_terminal(stage, args), 24, 80);
    terminal.send("echo $((40+2))\r");
    terminal.expect("42", LIMIT);
    terminal.send(keys);
    terminal.exit(LIMIT);
    assert_eq!(stage.look(name, "{{.State.Status}}"), "running");
}

fn on_terminal(stage: &Stage, args: &[&str]) -> std::process::Command {
    let mut command = stage.gantry.command(args);
    command.env("TERM", "xterm");
    command
}

/// What the client ends with after a signal to it, once the container has said `up`.
fn signalled(stage: &Stage, name: &str, args: &[&str], signal: Signal) -> Option<i32> {
    let mut client = stage.gantry.spawn(stage.gantry.command(args));
    eventually("the container has set its traps", LIMIT, || {
        stage.gantry.run(&["logs", name]).stdout.contains("up")
    });
    // An attached client that is not there yet would have nothing to pass on.
    eventually("the client is attached", LIMIT, || {
        let seen = stage.gantry.run(&["inspect", "-f", "{{len .Attached}}", name]);
        seen.line() == "1"
    });
    // One that passes nothing on does not catch it.
    if args.contains(&"--sig-proxy=false") {
        std::thread::sleep(Duration::from_millis(200));
    } else {
        eventually("the client catches signals", LIMIT, || catches(&client, signal));
    }
    kill(Pid::from_raw(client.id() as i32), signal).expect("the client can be signalled");
    ended(&mut client)
}

/// By the kernel's own account.
fn catches(client: &Child, signal: Signal) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{}/status", client.id())).expect("the client is there");
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    (mask.expect("a mask of signals") >> (signal as i32 - 1)) & 1 == 1
}

fn ended(client: &mut Child) -> Option<i32> {
    let deadline = Instant::now() + LIMIT;
    while Instant::now() < deadline {
        if let Some(status) = client.try_wait().expect("the client can be waited for") {
            return status.code();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    client.kill().expect("the client can be killed");
    panic!("the client does not end");
}

fn attach() -> Vec<Case> {
    vec![
        good("attach", "", |s| {
            let name = s.up(&["-i"], "read line; echo got $line; exit 5");
            let output = s.gantry.feed(&["attach", &name], b"a line\n").exits(5);
            assert_eq!(output.stdout, "got a line\n");
            s.gone(&name);
        }),
        bad(
            "attach",
            "",
            &["attach", DONE],
            1,
            "You cannot attach to a stopped container",
        ),
        good("attach", "no-stdin", |s| {
            let name = s.up(&["-i"], "sleep 5; timeout 1 cat; echo end");
            let output = s.gantry.feed(&["attach", "--no-stdin", &name], b"not for it\n");
            assert!(!output.stdout.contains("not for it"), "{}", output.stdout);
            assert!(output.stdout.contains("end"), "{}", output.stdout);
            s.gone(&name);
        }),
        bad("attach", "no-stdin", &["attach", "--no-stdin=x", UP], 125, BOOL),
        good("attach", "sig-proxy", |s| {
            let name = s.up(&[], TRAP);
            assert_eq!(signalled(s, &name, &["attach", &name], Signal::SIGTERM), Some(9));
            s.gone(&name);
            let name = s.up(&[], TRAP);
            let args = ["attach", "--sig-proxy=false", &name];
            assert_ne!(signalled(s, &name, &args, Signal::SIGTERM), Some(9));
            assert_eq!(s.look(&name, "{{.State.Status}}"), "running");
            s.gone(&name);
        }),
        bad("attach", "sig-proxy", &["attach", "--sig-proxy=x", UP], 125, BOOL),
        good("attach", "detach-keys", |s| {
            let name = s.up(&["-it"], "sh");
            leaves(s, &name, &["attach", "--detach-keys", "ctrl-x,q", &name], "\u{18}q");
            s.gone(&name);
        }),
        bad(
            "attach",
            "detach-keys",
            &["attach", "--detach-keys", "zz-z", UP],
            1,
            "invalid detach keys (zz-z)",
        ),
        good("start", "", |s| {
            let name = s.kept("create", &[]);
            assert_eq!(s.gantry.ok(&["start", &name]), name);
            s.gantry.ok(&["wait", &name]);
            assert_eq!(s.look(&name, "{{.State.Status}}"), "exited");
            s.gone(&name);
        }),
        bad("start", "", &["start", "nope"], 1, NONE),
        good("start", "attach", |s| {
            let name = s.name();
            s.gantry
                .ok(&["create", "--name", &name, IMAGE, "sh", "-c", "echo seen; exit 4"]);
            let output = s.gantry.run(&["start", "-a", &name]).exits(4);
            assert_eq!(output.stdout, "seen\n");
            s.gone(&name);
        }),
        bad("start", "attach", &["start", "-a", "nope"], 1, NONE),
        good("start", "interactive", |s| {
            let name = s.name();
            s.gantry.ok(&["create", "-i", "--name", &name, IMAGE, "cat"]);
            let output = s.gantry.feed(&["start", "-ai", &name], b"fed\n").exits(0);
            assert_eq!(output.stdout, "fed\n");
            s.gone(&name);
        }),
        bad("start", "interactive", &["start", "-i=x", DONE], 125, BOOL),
        good("start", "detach-keys", |s| {
            let name = s.name();
            s.gantry.ok(&["create", "-it", "--name", &name, IMAGE, "sh"]);
            leaves(
                s,
                &name,
                &["start", "-ai", "--detach-keys", "ctrl-x,q", &name],
                "\u{18}q",
            );
            s.gone(&name);
        }),
        bad(
            "start",
            "detach-keys",
            &["start", "-a", "--detach-keys", "zz-z", DONE],
            1,
            "invalid detach keys (zz-z)",
        ),
    ]
}

fn says(stage: &Stage, args: &[&str], expected: &str) {
    let output = stage.gantry.run(args);
    assert_eq!(output.code, 0, "{args:?}: {}", output.stderr);
    assert_eq!(output.stdout.trim(), expected, "{args:?}");
}

fn exec() -> Vec<Case> {
    vec![
        good("exec", "", |s| {
            let output = s
                .gantry
                .run(&["exec", UP, "sh", "-c", "echo o; echo e >&2; exit 6"])
                .exits(6);
            assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("o\n", "e\n"));
        }),
        bad("exec", "", &["exec", UP, "nope"], 127, "executable file not found"),
        good("exec", "detach", |s| {
            let mark = format!("/tmp/{}", s.name());
            says(
                s,
                &["exec", "-d", UP, "sh", "-c", &format!("sleep 0.2; touch {mark}")],
                "",
            );
            eventually("the detached process has worked", LIMIT, || {
                s.gantry.run(&["exec", UP, "test", "-e", &mark]).code == 0
            });
        }),
        bad("exec", "detach", &["exec", "-d", DONE, "true"], 1, "is not running"),
        good("exec", "detach-keys", |s| {
            let args = ["exec", "-it", "--detach-keys", "ctrl-x,q", UP, "sh"];
            leaves(s, UP, &args, "\u{18}q");
        }),
        bad(
            "exec",
            "detach-keys",
            &["exec", "--detach-keys", "zz-z", UP, "true"],
            1,
            "invalid detach keys (zz-z)",
        ),
        good("exec", "env", |s| {
            says(s, &["exec", "-e", "A=1 2", UP, "sh", "-c", "echo $A"], "1 2")
        }),
        bad(
            "exec",
            "env",
            &["exec", "-e", "=x", UP, "env"],
            125,
            "invalid environment variable: =x",
        ),
        good("exec", "env-file", |s| {
            let file = s.file("env", "A=filed\n");
            says(s, &["exec", "--env-file", &file, UP, "sh", "-c", "echo $A"], "filed");
        }),
        bad(
            "exec",
            "env-file",
            &["exec", "--env-file", "/nope", UP, "env"],
            1,
            "open /nope: no such file",
        ),
        good("exec", "interactive", |s| {
            let output = s.gantry.feed(&["exec", "-i", UP, "cat"], b"fed\n").exits(0);
            assert_eq!(output.stdout, "fed\n");
        }),
        bad(
            "exec",
            "interactive",
            &["exec", "-it", UP, "sh"],
            1,
            "the input device is not a TTY",
        ),
        good("exec", "privileged", |s| {
            let caps = |flags: &[&str]| {
                let mut args = vec!["exec"];
                args.extend(flags);
                args.extend([UP, "grep", "CapEff", "/proc/self/status"]);
                s.gantry.ok(&args)
            };
            assert!(caps(&[]).ends_with("00000000a80425fb"));
            assert!(caps(&["--privileged"]).contains("000001ff"));
        }),
        bad("exec", "privileged", &["exec", "--privileged=x", UP, "true"], 125, BOOL),
        good("exec", "tty", |s| {
            says(s, &["exec", "-t", UP, "sh", "-c", "test -t 1 && echo yes"], "yes")
        }),
        bad("exec", "tty", &["exec", "-t=x", UP, "true"], 125, BOOL),
        good("exec", "user", |s| {
            says(s, &["exec", "-u", "app", UP, "id", "-u"], "1000")
        }),
        bad(
            "exec",
            "user",
            &["exec", "-u", "nope", UP, "id"],
            1,
            "unable to find user nope",
        ),
        good("exec", "workdir", |s| {
            says(s, &["exec", "-w", "/home", UP, "pwd"], "/home")
        }),
        bad(
            "exec",
            "workdir",
            &["exec", "-w", "rel", UP, "pwd"],
            1,
            "it needs to be an absolute path",
        ),
        bad(
            "exec",
            "workdir",
            &["exec", "-w", "/nope", UP, "pwd"],
            127,
            "chdir to cwd (\"/nope\") failed: no such file or directory",
        ),
        bad(
            "exec",
            "workdir",
            &["exec", "-w", "/file", UP, "pwd"],
            126,
            "chdir to cwd (\"/file\") failed: not a directory",
        ),
    ]
}

fn copy() -> Vec<Case> {
    let text = |path: &std::path::Path| path.to_str().expect("ASCII").to_owned();
    vec![
        good("cp", "", |s| {
            let name = s.up(&[], "exec sleep 1000");
            let file = s.file("in", "carried\n");
            s.gantry.ok(&["cp", &file, &format!("{name}:/home/in")]);
            says(s, &["exec", &name, "cat", "/home/in"], "carried");
            let back = s.path(&s.name());
            s.gantry
                .ok(&["cp", &format!("{name}:/home/in"), back.to_str().expect("ASCII")]);
            assert_eq!(std::fs::read_to_string(back).expect("the copy"), "carried\n");
            s.gone(&name);
        }),
        good("cp", "", move |s| {
            let whole = s.path(&s.name());
            s.gantry.ok(&["cp", &format!("{UP}:/"), &text(&whole)]);
            assert!(whole.join("file").exists() && whole.join("etc/hosts").exists());
            for shown in ["proc", "sys", "dev"] {
                let mut inside = std::fs::read_dir(whole.join(shown)).expect("a directory");
                assert!(inside.next().is_none(), "what the kernel shows in /{shown} was copied");
            }
        }),
        bad(
            "cp",
            "",
            &["cp", "up-right:/proc/version", "/tmp/x"],
            1,
            "it is shown by the kernel (proc)",
        ),
        bad(
            "cp",
            "",
            &["cp", "up-right:/nope", "/tmp/x"],
            1,
            "Could not find the file /nope",
        ),
        good("cp", "archive", move |s| {
            use std::os::unix::fs::MetadataExt;
            let name = s.up(&[], "echo x >/owned; chown 1000:2000 /owned; echo up; exec sleep 1000");
            eventually("the file is owned", LIMIT, || s.gantry.ok(&["logs", &name]) == "up");
            let from = format!("{name}:/owned");
            let owner = |flags: &[&str]| {
                let to = s.path(&s.name());
                let mut args = vec!["cp"];
                args.extend(flags);
                let path = text(&to);
                args.extend([from.as_str(), path.as_str()]);
                s.gantry.ok(&args);
                let meta = std::fs::metadata(&to).expect("the copy");
                (meta.uid(), meta.gid())
            };
            assert_eq!(owner(&["-a"]), (1000, 2000));
            assert_eq!(owner(&[]), (0, 0));
            s.gone(&name);
        }),
        bad("cp", "archive", &["cp", "-a", "nope:/x", "/tmp/x"], 1, NONE),
        good("cp", "follow-link", move |s| {
            let (link, file) = (s.path(&s.name()), s.path(&s.name()));
            s.gantry.ok(&["cp", &format!("{UP}:/link"), &text(&link)]);
            s.gantry.ok(&["cp", "-L", &format!("{UP}:/link"), &text(&file)]);
            assert!(link.is_symlink() && !file.is_symlink());
            assert_eq!(std::fs::read_to_string(file).expect("the copy"), "x\n");
        }),
        bad(
            "cp",
            "follow-link",
            &["cp", "-L=x", "up-right:/link", "/tmp/x"],
            125,
            BOOL,
        ),
        good("cp", "quiet", move |s| {
            let to = s.path(&s.name());
            let from = format!("{UP}:/file");
            let output = s.gantry.run(&["cp", "-q", &from, &text(&to)]).exits(0);
            assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("", ""));
            // On a terminal it says what it copies, unless it is quiet.
            let shown = |quiet: &[&str]| {
                let mut args = vec!["cp"];
                args.extend(quiet);
                let path = text(&s.path(&s.name()));
                args.extend([from.as_str(), path.as_str()]);
                let mut terminal = Terminal::spawn(on_terminal(s, &args), 24, 80);
                assert_eq!(terminal.exit(LIMIT), 0);
                terminal.rest(LIMIT)
            };
            assert_eq!(shown(&["-q"]), "");
            assert!(shown(&[]).contains("Success"), "{}", shown(&[]));
        }),
        bad("cp", "quiet", &["cp", "-q=x", "up-right:/file", "/tmp/x"], 125, BOOL),
        good("diff", "", |s| {
            let name = s.up(&[], "touch /made; rm /etc/group; echo up; exec sleep 1000");
            eventually("the changes are made", LIMIT, || s.gantry.ok(&["logs", &name]) == "up");
            let changes = s.gantry.ok(&["diff", &name]);
            for change in ["A /made", "C /etc", "D /etc/group"] {
                assert!(changes.lines().any(|line| line == change), "{change}: {changes}");
            }
            s.gone(&name);
        }),
        bad("diff", "", &["diff", "nope"], 1, NONE),
    ]
}

/// How long a command took, in milliseconds.
fn timed(stage: &Stage, args: &[&str]) -> u128 {
    let begun = Instant::now();
    stage.gantry.ok(args);
    begun.elapsed().as_millis()
}

fn trapped(stage: &Stage) -> String {
    let name = stage.up(&[], TRAP);
    eventually("the traps are set", LIMIT, || stage.gantry.ok(&["logs", &name]) == "up");
    name
}

fn ends() -> Vec<Case> {
    vec![
        good("stop", "", |s| {
            let name = trapped(s);
            assert_eq!(s.gantry.ok(&["stop", &name]), name);
            assert_eq!(s.look(&name, "{{.State.Status}} {{.State.ExitCode}}"), "exited 9");
            s.gone(&name);
        }),
        bad("stop", "", &["stop", "nope"], 1, NONE),
        good("stop", "signal", |s| {
            let name = trapped(s);
            s.gantry.ok(&["stop", "-s", "INT", &name]);
            assert_eq!(s.look(&name, "{{.State.ExitCode}}"), "8");
            s.gone(&name);
        }),
        bad("stop", "signal", &["stop", "-s", "zz", UP], 1, "invalid signal: zz"),
        good("stop", "timeout", |s| {
            let name = s.up(&[], "exec sleep 1000");
            let took = timed(s, &["stop", "-t", "1", &name]);
            assert!((900..9_500).contains(&took), "{took} ms");
            assert_eq!(s.look(&name, "{{.State.ExitCode}}"), "137");
            s.gone(&name);
        }),
        bad("stop", "timeout", &["stop", "-t", "x", UP], 125, INT),
        good("restart", "", |s| {
            let name = trapped(s);
            let before = s.look(&name, "{{.State.Pid}}");
            s.gantry.ok(&["restart", &name]);
            assert_eq!(s.look(&name, "{{.State.Status}}"), "running");
            assert_ne!(s.look(&name, "{{.State.Pid}}"), before);
            s.gone(&name);
        }),
        bad("restart", "", &["restart", "nope"], 1, NONE),
        good("restart", "signal", |s| {
            let name = s.up(
                &[],
                "trap 'echo heard; exit' USR1; echo up; while :; do sleep 0.1; done",
            );
            eventually("the trap is set", LIMIT, || s.gantry.ok(&["logs", &name]) == "up");
            s.gantry.ok(&["restart", "-s", "USR1", "-t", "8", &name]);
            eventually("it heard the signal", LIMIT, || {
                s.gantry.ok(&["logs", &name]).contains("heard")
            });
            s.gone(&name);
        }),
        bad(
            "restart",
            "signal",
            &["restart", "-s", "zz", UP],
            1,
            "invalid signal: zz",
        ),
        good("restart", "timeout", |s| {
            let name = s.up(&[], "exec sleep 1000");
            let took = timed(s, &["restart", "-t", "1", &name]);
            assert!((900..9_500).contains(&took), "{took} ms");
            s.gone(&name);
        }),
        bad("restart", "timeout", &["restart", "-t", "x", UP], 125, INT),
        good("kill", "", |s| {
            let name = s.up(&[], "exec sleep 1000");
            assert_eq!(s.gantry.ok(&["kill", &name]), name);
            says(s, &["wait", &name], "137");
            s.gone(&name);
        }),
        bad("kill", "", &["kill", DONE], 1, "is not running"),
        good("kill", "signal", |s| {
            let name = trapped(s);
            s.gantry.ok(&["kill", "-s", "INT", &name]);
            says(s, &["wait", &name], "8");
            s.gone(&name);
        }),
        bad("kill", "signal", &["kill", "-s", "zz", UP], 1, "invalid signal: zz"),
        good("pause", "", |s| {
            let name = s.up(&[], "exec sleep 1000");
            s.gantry.ok(&["pause", &name]);
            assert_eq!(s.look(&name, "{{.State.Status}}"), "paused");
            s.gone(&name);
        }),
        bad("pause", "", &["pause", DONE], 1, "is not running"),
        good("unpause", "", |s| {
            let name = s.up(&[], "exec sleep 1000");
            s.gantry.ok(&["pause", &name]);
            s.gantry.ok(&["unpause", &name]);
            assert_eq!(s.look(&name, "{{.State.Status}}"), "running");
            says(s, &["exec", &name, "echo", "thawed"], "thawed");
            s.gone(&name);
        }),
        bad("unpause", "", &["unpause", UP], 1, "is not paused"),
        good("wait", "", |s| says(s, &["wait", DONE], "3")),
        bad("wait", "", &["wait", "nope"], 1, NONE),
        good("rename", "", |s| {
            let (old, new) = (s.kept("create", &[]), s.name());
            s.gantry.ok(&["rename", &old, &new]);
            assert_eq!(s.look(&new, "{{.Name}}"), format!("/{new}"));
            s.gantry.run(&["container", "inspect", &old]).exits(1);
            s.gone(&new);
        }),
        bad("rename", "", &["rename", UP, DONE], 1, "is already in use"),
        good("rm", "", |s| {
            let name = s.kept("create", &[]);
            assert_eq!(s.gantry.ok(&["rm", &name]), name);
            s.gantry.run(&["container", "inspect", &name]).exits(1);
        }),
        bad("rm", "", &["rm", UP], 1, "container is running"),
        good("rm", "force", |s| {
            let name = s.up(&[], "exec sleep 1000");
            s.gantry.ok(&["rm", "-f", &name]);
            s.gantry.run(&["container", "inspect", &name]).exits(1);
        }),
        bad("rm", "force", &["rm", "-f=x", UP], 125, BOOL),
        good("rm", "volumes", |s| {
            let name = s.kept("create", &[]);
            s.gantry.ok(&["rm", "-v", &name]);
            s.gantry.run(&["container", "inspect", &name]).exits(1);
        }),
        bad("rm", "volumes", &["rm", "-v", "nope"], 1, NONE),
        good("rm", "link", |s| {
            let name = s.kept("create", &["--link", &format!("{UP}:db")]);
            assert_eq!(s.look(&name, "{{.HostConfig.Links}}"), format!("[/{UP}:/{name}/db]"));
            s.gantry.ok(&["rm", "--link", &format!("{name}/db")]);
            assert_eq!(s.look(&name, "{{json .HostConfig.Links}}"), "null");
            assert_eq!(s.look(UP, "{{.State.Running}}"), "true");
            s.gone(&name);
        }),
        bad(
            "rm",
            "link",
            &["rm", "--link", UP],
            1,
            "cannot remove the default link name",
        ),
    ]
}

fn lines(stage: &Stage, args: &[&str]) -> Vec<String> {
    stage.gantry.ok(args).lines().map(str::to_owned).collect()
}

fn listing() -> Vec<Case> {
    let mut cases = vec![
        good("ps", "", |s| {
            let table = s.gantry.ok(&["ps"]);
            assert!(table.starts_with("CONTAINER ID   IMAGE"), "{table}");
            assert!(table.contains(UP) && !table.contains(DONE), "{table}");
            let named = format!("name=^{DONE}$");
            let args = ["ps", "-a", "--no-trunc", "--format", "{{.Command}}", "--filter", &named];
            assert_eq!(s.gantry.ok(&args), r#""sh -c 'exit 3'""#);
        }),
        bad("ps", "", &["ps", "more"], 1, "accepts no arguments"),
        good("ps", "all", |s| assert!(s.gantry.ok(&["ps", "-a"]).contains(DONE))),
        bad("ps", "all", &["ps", "-a=x"], 125, BOOL),
        good("ps", "filter", |s| {
            says(
                s,
                &["ps", "--filter", "label=kind=up-right", "--format", "{{.Names}}"],
                UP,
            );
        }),
        bad("ps", "filter", &["ps", "--filter", "zz=1"], 1, "invalid filter 'zz'"),
        good("ps", "format", |s| {
            let name = format!("name=^{UP}$");
            says(
                s,
                &["ps", "--filter", &name, "--format", "{{.Names}}|{{.Image}}"],
                "up-right|busybox",
            );
        }),
        bad("ps", "format", &["ps", "--format", "{{"], 1, OPEN),
        good("ps", "last", |s| {
            assert_eq!(lines(s, &["ps", "-q", "-n", "2"]).len(), 2)
        }),
        bad("ps", "last", &["ps", "-n", "x"], 125, INT),
        good("ps", "latest", |s| assert_eq!(lines(s, &["ps", "-q", "-l"]).len(), 1)),
        bad("ps", "latest", &["ps", "-l=x"], 125, BOOL),
        good("ps", "no-trunc", |s| {
            let id = s.look(UP, "{{.Id}}");
            assert!(s.gantry.ok(&["ps", "--no-trunc"]).contains(&id));
            assert!(!s.gantry.ok(&["ps"]).contains(&id));
        }),
        bad("ps", "no-trunc", &["ps", "--no-trunc=x"], 125, BOOL),
        good("ps", "quiet", |s| {
            let short = s.look(UP, "{{.Id}}")[..12].to_owned();
            says(s, &["ps", "-q", "--filter", &format!("name=^{UP}$")], &short);
        }),
        bad("ps", "quiet", &["ps", "-q=x"], 125, BOOL),
        good("ps", "size", |s| {
            let table = s.gantry.ok(&["ps", "-s", "--filter", &format!("name=^{UP}$")]);
            assert!(table.contains("SIZE") && table.contains("(virtual "), "{table}");
        }),
        bad("ps", "size", &["ps", "-s=x"], 125, BOOL),
        good("top", "", |s| assert!(s.gantry.ok(&["top", UP]).contains("sleep 1000"))),
        bad("top", "", &["top", DONE], 1, "is not running"),
        good("port", "", |s| says(s, &["port", UP], "")),
        bad(
            "port",
            "",
            &["port", UP, "80"],
            1,
            "public port '80' published for up-right",
        ),
        good("stats", "", |s| {
            let mut client = s.gantry.spawn(s.gantry.command(["stats", UP]));
            let mut out = client.stdout.take().expect("piped");
            let mut seen = [0; 4096];
            let read = std::io::Read::read(&mut out, &mut seen).expect("statistics");
            assert!(String::from_utf8_lossy(&seen[..read]).contains("CONTAINER ID"));
            client.kill().expect("it goes on");
            client.wait().expect("it ends");
        }),
        bad("stats", "", &["stats", "--no-stream", "nope"], 1, NONE),
        good("stats", "all", |s| {
            let list = |flags: &[&str]| {
                let mut args = vec!["stats", "--no-stream", "--format", "{{.Name}}"];
                args.extend(flags);
                lines(s, &args)
            };
            assert!(list(&["-a"]).contains(&DONE.to_owned()));
            assert!(!list(&[]).contains(&DONE.to_owned()));
        }),
        bad("stats", "all", &["stats", "-a=x"], 125, BOOL),
        good("stats", "format", |s| {
            says(
                s,
                &["stats", "--no-stream", "--format", "<{{.Name}}>", UP],
                "<up-right>",
            )
        }),
        bad(
            "stats",
            "format",
            &["stats", "--no-stream", "--format", "{{", UP],
            1,
            OPEN,
        ),
        good("stats", "no-stream", |s| {
            assert_eq!(lines(s, &["stats", "--no-stream", UP]).len(), 2)
        }),
        bad("stats", "no-stream", &["stats", "--no-stream=x"], 125, BOOL),
        good("stats", "no-trunc", |s| {
            let id = s.look(UP, "{{.Id}}");
            says(
                s,
                &["stats", "--no-stream", "--no-trunc", "--format", "{{.ID}}", UP],
                &id,
            );
            says(s, &["stats", "--no-stream", "--format", "{{.ID}}", UP], &id[..12]);
        }),
        bad("stats", "no-trunc", &["stats", "--no-trunc=x"], 125, BOOL),
        good("container inspect", "", |s| {
            assert!(
                s.gantry
                    .ok(&["container", "inspect", UP])
                    .contains("\"Name\": \"/up-right\"")
            );
        }),
        bad(
            "container inspect",
            "",
            &["container", "inspect", IMAGE],
            1,
            "No such container: busybox",
        ),
        good("container inspect", "format", |s| {
            says(s, &["container", "inspect", "-f", "{{.Name}}", UP], "/up-right")
        }),
        bad(
            "container inspect",
            "format",
            &["container", "inspect", "-f", "{{", UP],
            1,
            OPEN,
        ),
        good("inspect", "", |s| {
            let both = s.gantry.ok(&["inspect", UP, IMAGE]);
            assert!(
                both.contains("\"Name\": \"/up-right\"") && both.contains("\"RepoTags\""),
                "{both}"
            );
        }),
        bad("inspect", "", &["inspect", "nope"], 1, "No such object: nope"),
        good("inspect", "format", |s| {
            says(s, &["inspect", "-f", "{{.Name}}", UP], "/up-right")
        }),
        bad("inspect", "format", &["inspect", "-f", "{{", UP], 1, OPEN),
        good("inspect", "type", |s| {
            says(
                s,
                &["inspect", "--type", "container", "-f", "{{.Name}}", UP],
                "/up-right",
            );
            s.gantry
                .run(&["inspect", "--type", "image", UP])
                .exits(1)
                .says("No such image");
        }),
        bad(
            "inspect",
            "type",
            &["inspect", "--type", "zz", UP],
            1,
            "unknown type: \"zz\"",
        ),
    ];
    for (command, args) in [
        ("inspect", &["inspect"][..]),
        ("container inspect", &["container", "inspect"]),
    ] {
        cases.push(good(command, "size", move |s| {
            let mut sized = args.to_vec();
            sized.extend(["-s", "-f", "{{.SizeRootFs}}", UP]);
            let size: u64 = s.gantry.ok(&sized).parse().expect("a size");
            assert!(size > 1_000_000, "{size}");
            sized.retain(|arg| *arg != "-s");
            s.gantry.run(&sized).exits(1).says("map has no entry");
        }));
        let mut wrong = args.to_vec();
        wrong.extend(["-s=x", UP]);
        cases.push(bad(command, "size", &wrong, 125, BOOL));
    }
    cases
}

fn logs() -> Vec<Case> {
    vec![
        good("logs", "", |s| {
            let output = s.gantry.run(&["logs", UP]).exits(0);
            assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("out\n", "err\n"));
        }),
        bad("logs", "", &["logs", "nope"], 1, NONE),
        good("logs", "follow", |s| {
            let name = s.up(&[], "echo one; sleep 1; echo two");
            says(s, &["logs", "-f", &name], "one\ntwo");
            s.gone(&name);
        }),
        bad("logs", "follow", &["logs", "-f", "nope"], 1, NONE),
        good("logs", "since", |s| {
            let name = s.up(&[], "echo old; sleep 1.2; echo new");
            s.gantry.ok(&["wait", &name]);
            let all = lines(s, &["logs", "-t", &name]);
            let (first, _) = all[1].split_once(' ').expect("a time");
            says(s, &["logs", "--since", first, &name], "new");
            s.gone(&name);
        }),
        bad(
            "logs",
            "since",
            &["logs", "--since", "zz", UP],
            1,
            "failed to parse value as time or duration",
        ),
        good("logs", "tail", |s| {
            let name = s.up(&[], "seq 10");
            s.gantry.ok(&["wait", &name]);
            says(s, &["logs", "-n", "2", &name], "9\n10");
            s.gone(&name);
        }),
        bad(
            "logs",
            "tail",
            &["logs", UP, "--tail"],
            125,
            "flag needs an argument: --tail",
        ),
        good("logs", "timestamps", |s| {
            let line = s.gantry.ok(&["logs", "-t", UP]);
            let (time, rest) = line.split_once(' ').expect("a time and a line");
            assert!(time.len() == 30 && time.ends_with('Z') && rest == "out", "{line}");
        }),
        bad("logs", "timestamps", &["logs", "-t=x", UP], 125, BOOL),
        good("logs", "until", |s| {
            let name = s.up(&[], "echo old; sleep 1.2; echo new");
            s.gantry.ok(&["wait", &name]);
            let all = lines(s, &["logs", "-t", &name]);
            let (first, _) = all[0].split_once(' ').expect("a time");
            says(s, &["logs", "--until", first, &name], "old");
            s.gone(&name);
        }),
        bad(
            "logs",
            "until",
            &["logs", "--until", "zz", UP],
            1,
            "failed to parse value as time or duration",
        ),
    ]
}
