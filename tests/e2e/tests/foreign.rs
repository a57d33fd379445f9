//! Containers under a shim that is not ours (Debian's `containerd-shim-runc-v2`): logs, attach and all else keep their promises.

use gantry_e2e::{Gantry, House, HouseOptions, PATIENCE, Terminal, ended, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sha2::{Digest, Sha256};
use std::io::{Read, Write};
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const SHIM: &str = "io.containerd.runc.v2";

/// A house whose containers have a foreign shim, unless they name another. When it goes, nothing of that shim may be left either.
struct Foreign(Option<House>);

impl Foreign {
    fn new() -> Self {
        let flags = ["--default-runtime", SHIM].map(str::to_owned).to_vec();
        Self(Some(House::with(HouseOptions {
            flags,
            ..HouseOptions::default()
        })))
    }
}

impl Deref for Foreign {
    type Target = House;
    fn deref(&self) -> &House {
        self.0.as_ref().expect("the house stands")
    }
}

impl DerefMut for Foreign {
    fn deref_mut(&mut self) -> &mut House {
        self.0.as_mut().expect("the house stands")
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let address = self.socket();
        let ids = self.all_ids();
        drop(self.0.take());
        if std::thread::panicking() {
            return;
        }
        for id in ids {
            let state = Path::new("/run/containerd/runc/gantry").join(&id);
            assert!(!state.exists(), "runc's state is left: {}", state.display());
            let socket = shim_socket(&address, &id);
            eventually("the foreign shim's socket goes", PATIENCE, || !socket.exists());
        }
    }
}

impl Foreign {
    /// Every container that the daemon's log names.
    fn all_ids(&self) -> Vec<String> {
        let ids = self.gantry().run(&[
            "events",
            "--since",
            "2020-01-01T00:00:00Z",
            "--until",
            "0s",
            "--filter",
            "event=create",
            "--format",
            "{{.Actor.ID}}",
        ]);
        ids.stdout.lines().map(str::to_owned).collect()
    }
}

/// Where containerd's shims listen: a hash of whose they are.
fn shim_socket(address: &Path, id: &str) -> PathBuf {
    let digest = Sha256::digest(format!("{}/gantry/{id}", address.display()));
    let whole = PathBuf::from("/run/containerd/s").join(hex::encode(digest));
    debug_assert!(whole.is_absolute());
    whole
}

/// The command line of a process's parent, and its pid.
fn parent(pid: i32) -> (i32, String) {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let parent = stat
        .rsplit(") ")
        .next()
        .and_then(|rest| rest.split(' ').nth(1))
        .expect("a parent");
    let line = std::fs::read(format!("/proc/{parent}/cmdline")).unwrap_or_default();
    (
        parent.parse().expect("a pid"),
        String::from_utf8_lossy(&line).replace('\0', " "),
    )
}

/// The foreign shim that has a container, and ours that stands before it.
fn shims(gantry: &Gantry, name: &str) -> (i32, i32) {
    let pid = gantry.ok(&["inspect", "-f", "{{.State.Pid}}", name]);
    let (foreign, line) = parent(pid.parse().expect("a pid"));
    assert!(line.contains("containerd-shim-runc-v2"), "{line}");
    let (ours, line) = parent(foreign);
    assert!(line.contains("containerd-shim-gantry-v1"), "{line}");
    (foreign, ours)
}

fn state(gantry: &Gantry, name: &str, format: &str) -> String {
    gantry.ok(&["inspect", "-f", format, name])
}

#[test]
fn output_input_and_exit_codes() {
    let house = Foreign::new();
    let gantry = house.gantry();
    let output = gantry.run(&["run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("out\n", "err\n"));
    output.exits(7);
    // By path, and told to a house whose default is another.
    for runtime in ["/usr/bin/containerd-shim-runc-v2", SHIM] {
        let said = gantry.ok(&["run", "--rm", "--runtime", runtime, "busybox", "echo", "hello"]);
        assert_eq!(said, "hello", "{runtime}");
    }
    gantry
        .run(&["run", "--rm", "busybox", "nosuch"])
        .exits(127)
        .says("executable file not found");
    gantry.run(&["run", "--rm", "busybox", "/etc"]).exits(126);
    gantry
        .run(&["run", "--rm", "--runtime", "io.containerd.nosuch.v9", "busybox", "true"])
        .exits(125)
        .says("unknown or invalid runtime");
    let lines: String = (0..200_000).map(|number| format!("{number}\n")).collect();
    let fed = gantry.feed(
        &["run", "-i", "--rm", "busybox", "sh", "-c", "cat; echo the end"],
        lines.as_bytes(),
    );
    assert_eq!(fed.code, 0, "{}", fed.stderr);
    assert!(
        fed.stdout == lines + "the end\n",
        "every byte comes back, and the end of input is seen"
    );
    gantry.ok(&["run", "-d", "--name", "box", "busybox", "sleep", "1000"]);
    shims(&gantry, "box");
    assert_eq!(state(&gantry, "box", "{{.State.Status}}"), "running");
    gantry.ok(&["stop", "-t", "0", "box"]);
    assert_eq!(state(&gantry, "box", "{{.State.ExitCode}}"), "137");
    gantry.ok(&["start", "box"]);
    let before = state(&gantry, "box", "{{.State.Pid}}");
    gantry.ok(&["restart", "-t", "0", "box"]);
    assert_ne!(state(&gantry, "box", "{{.State.Pid}}"), before);
    gantry.run(&["rm", "box"]).exits(1);
    gantry.ok(&["rm", "-f", "box"]);
}

#[test]
fn logs_are_written_followed_and_rotated() {
    let house = Foreign::new();
    let gantry = house.gantry();
    let script = "echo one; echo two >&2; while [ ! -e /tmp/go ]; do sleep 0.05; done; echo three; exit 3";
    let id = gantry.ok(&["run", "-d", "--name", "box", "busybox", "sh", "-c", script]);
    let mut follower = gantry.spawn(gantry.command(["logs", "-f", "box"]));
    let mut stdout = follower.stdout.take().expect("piped");
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        stdout.read_to_string(&mut text).map(|_| text)
    });
    gantry.ok(&["exec", "box", "touch", "/tmp/go"]);
    assert_eq!(gantry.ok(&["wait", "box"]), "3");
    assert!(ended(&mut follower).success());
    assert_eq!(reader.join().expect("it ends").expect("text"), "one\nthree\n");
    let logged = gantry.run(&["logs", "box"]);
    assert_eq!(
        (logged.stdout.as_str(), logged.stderr.as_str()),
        ("one\nthree\n", "two\n")
    );
    let exit = std::fs::read_to_string(house.data_root().join("containers").join(id).join("exit.json"));
    assert!(
        exit.expect("a record").contains("\"status\":3"),
        "the end is written down"
    );
    let opts = [
        "--log-opt",
        "max-size=100k",
        "--log-opt",
        "max-file=2",
        "--log-opt",
        "compress=false",
    ];
    let mut command = gantry.command(["run", "-d", "--name", "many"]);
    command.args(opts).args(["busybox", "seq", "100000"]);
    let id = gantry.finish(command).exits(0).line().to_owned();
    gantry.ok(&["wait", "many"]);
    assert_eq!(gantry.ok(&["logs", "--tail", "1", "many"]), "100000");
    let dir = house.data_root().join("containers").join(id);
    let logs = std::fs::read_dir(dir).expect("its directory").flatten();
    let logs = logs
        .filter(|entry| entry.file_name().to_string_lossy().contains("-json.log"))
        .count();
    assert_eq!(logs, 2);
}

#[test]
fn attached_by_a_terminal_and_again() {
    let house = Foreign::new();
    let gantry = house.gantry();
    let command = gantry.command(["run", "-it", "--name", "box", "-e", "PS1=ready> ", "busybox", "sh"]);
    let mut terminal = Terminal::spawn(command, 30, 100);
    terminal.expect("ready> ", PATIENCE);
    terminal.send("until stty size | grep '30 100'; do sleep 0.05; done\n");
    terminal.expect("\n30 100", PATIENCE);
    terminal.resize(41, 123);
    terminal.send("until stty size | grep '41 123'; do sleep 0.05; done; KEPT=kept\n");
    terminal.expect("\n41 123", PATIENCE);
    terminal.send("\x10\x11");
    assert_eq!(terminal.exit(PATIENCE), 0, "{}", terminal.screen());
    assert_eq!(state(&gantry, "box", "{{.State.Status}}"), "running");
    let mut terminal = Terminal::spawn(gantry.command(["attach", "box"]), 24, 80);
    terminal.send("echo still-$KEPT; exit 6\n");
    terminal.expect("still-kept", PATIENCE);
    assert_eq!(terminal.exit(PATIENCE), 6, "{}", terminal.screen());
    assert_eq!(gantry.ok(&["wait", "box"]), "6");
    gantry.ok(&["run", "-d", "--name", "other", "busybox", "sleep", "1000"]);
    let command = gantry.command(["exec", "-it", "-e", "PS1=ready> ", "other", "sh"]);
    let mut terminal = Terminal::spawn(command, 33, 77);
    terminal.expect("ready> ", PATIENCE);
    terminal.send("until stty size | grep '33 77'; do sleep 0.05; done; exit 8\n");
    terminal.expect("\n33 77", PATIENCE);
    assert_eq!(terminal.exit(PATIENCE), 8, "{}", terminal.screen());
}

#[test]
fn execs_have_streams_and_ends_of_their_own() {
    let house = Foreign::new();
    let gantry = house.gantry();
    gantry.ok(&["run", "-d", "--name", "box", "busybox", "sleep", "1000"]);
    let output = gantry.run(&["exec", "box", "sh", "-c", "echo out; echo err >&2; exit 9"]);
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("out\n", "err\n"));
    output.exits(9);
    let fed = gantry.feed(&["exec", "-i", "box", "sh", "-c", "cat; echo the end"], b"fed\n");
    assert_eq!((fed.code, fed.stdout.as_str()), (0, "fed\nthe end\n"));
    // An end of input before the first byte, and one that comes before the start.
    assert_eq!(gantry.feed(&["exec", "-i", "box", "cat"], b"").exits(0).stdout, "");
    gantry.run(&["exec", "box", "nosuch"]).exits(127);
    // Who still holds the other end keeps nobody.
    let begun = Instant::now();
    let output = gantry
        .run(&["exec", "box", "sh", "-c", "sleep 100 & echo begun"])
        .exits(0);
    assert_eq!(output.stdout, "begun\n");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!(state(&gantry, "box", "{{.State.Status}}"), "running");
    // A client of containerd's API has pipes of its own.
    let id = state(&gantry, "box", "{{.Id}}");
    let mut ctr = Command::new("timeout");
    ctr.args(["60", "ctr", "-n", "gantry", "-a"]).arg(house.socket());
    ctr.args([
        "tasks",
        "exec",
        "--exec-id",
        "e1",
        &id,
        "sh",
        "-c",
        "echo joined; exit 4",
    ]);
    let output = ctr.stdin(Stdio::null()).output().expect("ctr starts");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "joined\n");
    assert_eq!(output.status.code(), Some(4));
}

#[test]
fn used_paused_copied_and_killed_for_memory() {
    let house = Foreign::new();
    let gantry = house.gantry();
    gantry.ok(&["run", "-d", "--name", "box", "busybox", "sleep", "1000"]);
    eventually("its program is seen", PATIENCE, || {
        gantry.ok(&["top", "box"]).contains("sleep 1000")
    });
    let stats = gantry.ok(&["stats", "--no-stream", "--format", "{{.PIDs}} {{.MemUsage}}", "box"]);
    assert!(stats.starts_with("1 ") && !stats.contains(" 0B /"), "{stats}");
    gantry.ok(&["pause", "box"]);
    assert_eq!(state(&gantry, "box", "{{.State.Status}}"), "paused");
    gantry.ok(&["unpause", "box"]);
    let file = house.root().join("file");
    std::fs::write(&file, "copied\n").expect("a file");
    gantry.ok(&["cp", &file.to_string_lossy(), "box:/tmp/file"]);
    assert_eq!(gantry.ok(&["exec", "box", "cat", "/tmp/file"]), "copied");
    gantry.ok(&["pause", "box"]);
    gantry.ok(&["kill", "box"]);
    assert_eq!(gantry.ok(&["wait", "box"]), "137");
    let hungry = "x=$(head -c 100000000 /dev/zero | tr '\\0' x); echo $x";
    let output = gantry.run(&["run", "--name", "hungry", "-m", "16m", "busybox", "sh", "-c", hungry]);
    assert_eq!(output.code, 137, "{}", output.stderr);
    assert_eq!(state(&gantry, "hungry", "{{.State.OOMKilled}}"), "true");
    let told = gantry.ok(&[
        "events",
        "--since",
        "2020-01-01T00:00:00Z",
        "--until",
        "0s",
        "--filter",
        "event=oom",
        "--format",
        "{{.Action}}",
    ]);
    assert_eq!(told, "oom");
}

#[test]
fn output_goes_on_while_no_daemon_runs() {
    let mut house = Foreign::new();
    let gantry = house.gantry();
    let script = "i=0; while [ ! -e /tmp/end ]; do echo line $i; i=$((i+1)); sleep 0.01; done; echo the end; exit 42";
    let mut command = gantry.command(["run", "--name", "box"]);
    command.args(["busybox", "sh", "-c", script]);
    let mut client = command.stdout(Stdio::piped()).spawn().expect("gantry starts");
    let mut stdout = client.stdout.take().expect("piped");
    eventually("it runs", PATIENCE, || {
        gantry.run(&["inspect", "-f", "{{.State.Status}}", "box"]).line() == "running"
    });
    gantry.ok(&["run", "-d", "--name", "stays", "busybox", "sleep", "1000"]);
    let stays = state(&gantry, "stays", "{{.State.Pid}}");
    let pid = state(&gantry, "box", "{{.State.Pid}}");
    // Killed and started while it goes on.
    house.restart_hard();
    assert_eq!(gantry.ok(&["exec", "box", "echo", "joined"]), "joined");
    // Killed again, and it ends meanwhile.
    house.kill_daemon();
    std::thread::sleep(Duration::from_millis(200));
    std::fs::write(format!("/proc/{pid}/root/tmp/end"), "").expect("the container's /tmp");
    let mut seen = String::new();
    stdout.read_to_string(&mut seen).expect("text");
    assert_eq!(
        ended(&mut client).code(),
        Some(42),
        "the client has its exit code though no daemon runs"
    );
    let lines: Vec<&str> = seen.lines().collect();
    let (last, lines) = lines.split_last().expect("lines");
    assert_eq!(*last, "the end");
    for (number, line) in lines.iter().enumerate() {
        assert_eq!(*line, format!("line {number}"));
    }
    house.start();
    eventually("the end is known", PATIENCE, || {
        state(&gantry, "box", "{{.State.Status}}") == "exited"
    });
    assert_eq!(state(&gantry, "box", "{{.State.ExitCode}}"), "42");
    assert!(
        gantry.ok(&["logs", "box"]) == seen.trim_end(),
        "the log has what the client has"
    );
    assert_eq!(
        state(&gantry, "stays", "{{.State.Status}} {{.State.Pid}}"),
        format!("running {stays}")
    );
    gantry.ok(&["stop", "-t", "0", "stays"]);
}

#[test]
fn shims_that_die_or_hang_end_their_container_alone() {
    let house = Foreign::new();
    let gantry = house.gantry();
    for name in ["dies", "hangs", "alone", "stays"] {
        gantry.ok(&[
            "run",
            "-d",
            "--name",
            name,
            "busybox",
            "sh",
            "-c",
            "echo begun; exec sleep 1000",
        ]);
    }
    let signal = |pid: i32, signal: Signal| kill(Pid::from_raw(pid), signal).expect("it is there");
    let over = |name: &str| {
        eventually("it ends", PATIENCE, || {
            state(&gantry, name, "{{.State.Status}}") == "exited"
        });
        let code = state(&gantry, name, "{{.State.ExitCode}}");
        assert!(code == "137" || code == "255", "{name}: {code}");
        assert_eq!(gantry.ok(&["logs", name]), "begun");
    };
    // The foreign one.
    signal(shims(&gantry, "dies").0, Signal::SIGKILL);
    over("dies");
    // It stands still: what is asked of it is not waited for.
    signal(shims(&gantry, "hangs").0, Signal::SIGSTOP);
    gantry.run(&["kill", "hangs"]);
    over("hangs");
    // Ours, and with it the other.
    let (foreign, ours) = shims(&gantry, "alone");
    signal(ours, Signal::SIGKILL);
    over("alone");
    eventually("the foreign shim ends", PATIENCE, || {
        !Path::new(&format!("/proc/{foreign}/root/etc")).exists()
    });
    assert_eq!(gantry.ok(&["exec", "stays", "echo", "still here"]), "still here");
    for name in ["dies", "hangs", "alone"] {
        gantry.ok(&["start", name]);
        assert_eq!(state(&gantry, name, "{{.State.Status}}"), "running");
    }
}

#[test]
fn slow_readers_get_every_byte() {
    let house = Foreign::new();
    let gantry = house.gantry();
    let source = house.root().join("random");
    let mut bytes = vec![0; 20 << 20];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .expect("random bytes");
    std::fs::write(&source, &bytes).expect("a file");
    let bind = format!("{}:/random:ro", source.display());
    let mut command = gantry.command([
        "run",
        "-i",
        "--rm",
        "--log-driver",
        "none",
        "-v",
        &bind,
        "busybox",
        "sh",
        "-c",
    ]);
    command.arg("read line; exec cat /random");
    let mut client = gantry.spawn(command);
    client
        .stdin
        .take()
        .expect("piped")
        .write_all(b"go\n")
        .expect("attached");
    let mut stdout = client.stdout.take().expect("piped");
    std::thread::sleep(Duration::from_secs(2));
    let mut seen = Vec::new();
    stdout.read_to_end(&mut seen).expect("bytes");
    assert!(seen == bytes, "{} bytes of {}", seen.len(), bytes.len());
    assert!(ended(&mut client).success());
}

#[test]
fn runtimes_have_names_and_options() {
    let config = r#"{"runtimes": {
        "other": {"runtimeType": "io.containerd.runc.v2", "options": {"BinaryName": "/nosuch/runc"}},
        "loud": {"path": "/usr/sbin/runc", "runtimeArgs": ["--debug"]},
        "shim": {"path": "/usr/bin/containerd-shim-runc-v2"}
    }}"#;
    let mut house = House::new();
    house.stop_daemon();
    std::fs::write(house.root().join("daemon.json"), config).expect("a configuration");
    house.start();
    let gantry = house.gantry();
    for runtime in ["loud", "shim"] {
        assert_eq!(
            gantry.ok(&["run", "--rm", "--runtime", runtime, "busybox", "echo", "hi"]),
            "hi",
            "{runtime}"
        );
    }
    gantry
        .run(&["run", "--rm", "--runtime", "other", "busybox", "true"])
        .says("/nosuch/runc");
    gantry
        .run(&["create", "--runtime", "io.containerd.nosuch.v1", "busybox"])
        .exits(1);
}
