//! Debian's `dockerd --containerd <gantryd's socket>`, the hardest client: it runs, stops, joins and removes containers, and lives
//! through the death of either daemon.

use gantry_e2e::{House, HouseOptions, Output, busybox_tar, digest, eventually, peers};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(60);
const IMAGE: &str = "small:latest";
/// A container that ends at SIGTERM, with 4.
const POLITE: &str = "trap 'exit 4' TERM; echo started; while :; do sleep 0.05; done";

struct Dockerd {
    root: TempDir,
    containerd: PathBuf,
    child: Option<Child>,
}

impl Dockerd {
    fn start(containerd: &Path) -> Self {
        let root = tempfile::Builder::new().prefix("gantry-dockerd-").tempdir();
        let root = root.expect("a directory");
        std::fs::write(root.path().join("daemon.json"), "{}").expect("a file");
        let mut dockerd = Self {
            root,
            containerd: containerd.to_owned(),
            child: None,
        };
        dockerd.up();
        dockerd
    }

    fn at(&self, name: &str) -> String {
        self.root.path().join(name).display().to_string()
    }

    /// Its parent of containers' cgroups, which no other dockerd has.
    fn group(&self) -> String {
        let name = self.root.path().file_name().expect("a name");
        name.to_string_lossy().into_owned()
    }

    /// In a network namespace of its own, without networks.
    fn up(&mut self) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.at("log"))
            .expect("a log file");
        let mut command = Command::new("unshare");
        command.args([
            "--net",
            "dockerd",
            "--iptables=false",
            "--bridge=none",
            "--live-restore",
        ]);
        command.arg("--containerd").arg(&self.containerd);
        for (flag, value) in [
            ("--config-file", self.at("daemon.json")),
            ("--data-root", self.at("data")),
            ("--exec-root", self.at("exec")),
            ("--pidfile", self.at("pid")),
            ("--host", format!("unix://{}", self.at("docker.sock"))),
            ("--cgroup-parent", format!("/{}", self.group())),
            ("--storage-driver", "overlay2".to_owned()),
        ] {
            command.arg(flag).arg(value);
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        self.child = Some(child.expect("dockerd, of Debian's docker.io, starts"));
        eventually("dockerd answers", LIMIT, || self.run(&["ps", "-q"]).code == 0);
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("dockerd can be killed");
            child.wait().expect("dockerd ends");
        }
    }

    /// A line that takes longer than a minute hangs.
    fn command(&self, args: &[&str]) -> Command {
        self.within("60", args)
    }

    /// A line that is ended after so many seconds.
    fn within(&self, seconds: &str, args: &[&str]) -> Command {
        let mut command = Command::new("timeout");
        // Debian's own client, whatever others are on PATH.
        command.args([seconds, "/usr/bin/docker"]);
        command.env("DOCKER_HOST", format!("unix://{}", self.at("docker.sock")));
        command.env("HOME", self.root.path()).args(args).stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        let output = self
            .command(args)
            .output()
            .expect("docker, of Debian's docker.io, starts");
        Output {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            bytes: output.stdout,
        }
    }

    #[track_caller]
    fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args).exits(0);
        output.line().to_owned()
    }

    /// Runs a container of this name in the background.
    #[track_caller]
    fn hold(&self, name: &str, more: &[&str], script: &str) -> String {
        let mut args = vec!["run", "-d", "--name", name, "--network", "none"];
        args.extend(more);
        args.extend([IMAGE, "sh", "-c", script]);
        self.ok(&args)
    }

    #[track_caller]
    fn state(&self, name: &str) -> Value {
        let text = self.ok(&["inspect", "-f", "{{json .State}}", name]);
        serde_json::from_str(&text).expect("a state")
    }

    #[track_caller]
    fn becomes(&self, name: &str, status: &str) {
        eventually(&format!("{name} is {status}"), LIMIT, || {
            self.state(name)["Status"] == status
        });
    }

    /// Ends it; nothing of its containers may be left.
    fn close(mut self) {
        if let Some(mut child) = self.child.take() {
            peers::end(&mut child);
        }
        let containerd = self.containerd.display().to_string();
        eventually("its shims are gone", LIMIT, || shims(&containerd).is_empty());
        assert_eq!(groups(&self.group()), Vec::<PathBuf>::new(), "cgroups are left");
        unmount(self.root.path());
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        eprintln!("{}", std::fs::read_to_string(self.at("log")).unwrap_or_default());
        let all = self.run(&["ps", "-aq"]);
        for id in all.stdout.split_whitespace() {
            self.run(&["rm", "-f", id]);
        }
        peers::end(&mut child);
        unmount(self.root.path());
    }
}

/// Shims that answer to this daemon, in dockerd's namespace.
fn shims(containerd: &str) -> Vec<String> {
    let lines = std::fs::read_dir("/proc")
        .expect("proc is there")
        .flatten()
        .map(|entry| {
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).replace('\0', " ")
        });
    let ours = lines.filter(|line| line.contains("containerd-shim") && line.contains(containerd));
    ours.collect()
}

/// What is left in this parent's cgroups; the parents themselves go.
fn groups(parent: &str) -> Vec<PathBuf> {
    let base = PathBuf::from("/sys/fs/cgroup");
    let children = |dir: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
    };
    let mut left = Vec::new();
    for hierarchy in children(&base).into_iter().chain([base]) {
        let group = hierarchy.join(parent);
        let inside = children(&group);
        if inside.is_empty() {
            // dockerd leaves its parent behind, where it has one.
            let _ = std::fs::remove_dir(&group);
        }
        left.extend(inside);
    }
    left
}

/// dockerd keeps its network namespace mounted.
fn unmount(root: &Path) {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let targets = table.lines().rev().filter_map(|line| line.split(' ').nth(4));
    for target in targets.filter(|target| Path::new(target).starts_with(root)) {
        let _ = nix::mount::umount2(target, nix::mount::MntFlags::MNT_DETACH);
    }
}

/// What `docker save` would write of an image of one layer.
fn archive(path: &Path) {
    let layer = busybox_tar();
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {"Env": ["PATH=/bin"], "Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": [digest(layer)]},
    });
    let manifest = json!([{"Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"]}]);
    let mut tar = tar::Builder::new(std::fs::File::create(path).expect("a file"));
    let files = [
        ("config.json", config.to_string().into_bytes()),
        ("manifest.json", manifest.to_string().into_bytes()),
        ("layer.tar", layer.to_vec()),
    ];
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        let put = tar.append_data(&mut header, name, bytes.as_slice());
        put.expect("the archive takes it");
    }
    tar.finish().expect("the archive is whole");
}

#[test]
fn dockerd_on_gantryd() {
    let mut house = House::with(HouseOptions {
        bare: true,
        ..HouseOptions::default()
    });
    let mut dockerd = Dockerd::start(&house.socket());
    let image = dockerd.at("image.tar");
    archive(Path::new(&image));
    let loaded = dockerd.ok(&["load", "-i", &image]);
    assert!(loaded.contains(IMAGE), "{loaded}");
    runs(&dockerd);
    joins(&dockerd);
    stops(&dockerd);
    limits(&dockerd);
    gantryd_dies(&dockerd, &mut house);
    dockerd_dies(&mut dockerd);
    assert_eq!(dockerd.ok(&["ps", "-aq"]), "");
    dockerd.close();
    let moby = std::fs::read_dir(house.exec_root().join("moby"));
    assert_eq!(moby.map_or(0, Iterator::count), 0, "bundles are left");
}

fn runs(dockerd: &Dockerd) {
    let run = |script: &str| dockerd.run(&["run", "--rm", "--network", "none", IMAGE, "sh", "-c", script]);
    let said = run("echo out; echo err >&2; exit 7").exits(7);
    assert_eq!((said.stdout.as_str(), said.stderr.as_str()), ("out\n", "err\n"));
    dockerd
        .run(&["run", "--rm", "--network", "none", IMAGE, "/no/such/program"])
        .exits(127)
        .says("no such file or directory");
    let mut child = dockerd
        .command(&["run", "-i", "--rm", "--network", "none", IMAGE, "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("docker starts");
    let mut stdin = child.stdin.take().expect("piped");
    std::io::Write::write_all(&mut stdin, b"through a pipe\n").expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("docker ends");
    assert_eq!(output.stdout, b"through a pipe\n");
    let said = dockerd.ok(&[
        "run",
        "-t",
        "--rm",
        "--network",
        "none",
        IMAGE,
        "sh",
        "-c",
        "test -t 0 && echo tty",
    ]);
    assert_eq!(said.trim(), "tty");
}

fn joins(dockerd: &Dockerd) {
    let id = dockerd.hold("held", &[], POLITE);
    let state = dockerd.state("held");
    assert_eq!(state["Running"], true, "{state}");
    assert!(state["Pid"].as_u64().is_some_and(|pid| pid > 1), "{state}");
    assert_eq!(dockerd.ok(&["ps", "-q", "--no-trunc"]), id);
    assert_eq!(dockerd.ok(&["exec", "held", "echo", "joined"]), "joined");
    dockerd.run(&["exec", "held", "sh", "-c", "exit 5"]).exits(5);
    dockerd.run(&["exec", "held", "/no/such/program"]).exits(126);
    eventually("what it printed is kept", LIMIT, || {
        dockerd.ok(&["logs", "held"]) == "started"
    });
    let top = dockerd.ok(&["top", "held"]);
    assert!(top.contains("while :"), "{top}");
    // The client waits two seconds for a sample, which takes one.
    eventually("its processes are counted", LIMIT, || {
        let stats = dockerd.ok(&["stats", "--no-stream", "--format", "{{.PIDs}}", "held"]);
        stats.parse::<u32>().is_ok_and(|pids| pids >= 1)
    });
    dockerd.ok(&["pause", "held"]);
    assert_eq!(dockerd.state("held")["Status"], "paused");
    dockerd.ok(&["unpause", "held"]);
    assert_eq!(dockerd.state("held")["Status"], "running");
}

fn stops(dockerd: &Dockerd) {
    dockerd.ok(&["stop", "held"]);
    let state = dockerd.state("held");
    assert_eq!(
        (&state["Status"], &state["ExitCode"]),
        (&json!("exited"), &json!(4)),
        "{state}"
    );
    assert_eq!(dockerd.ok(&["ps", "-q"]), "");
    dockerd.ok(&["start", "held"]);
    let first = dockerd.state("held")["Pid"].clone();
    dockerd.ok(&["restart", "held"]);
    let state = dockerd.state("held");
    assert!(state["Running"] == true && state["Pid"] != first, "{state}");
    dockerd
        .run(&["rm", "held"])
        .exits(1)
        .says("cannot remove a running container");
    dockerd.ok(&["kill", "held"]);
    dockerd.becomes("held", "exited");
    assert_eq!(dockerd.state("held")["ExitCode"], 137);
    assert_eq!(dockerd.ok(&["wait", "held"]), "137");
    dockerd.ok(&["rm", "held"]);
    dockerd.hold("again", &["--restart", "always"], "sleep 0.1; exit 3");
    eventually("it is restarted", LIMIT, || {
        let count = dockerd.ok(&["inspect", "-f", "{{.RestartCount}}", "again"]);
        count.parse::<u32>().is_ok_and(|count| count >= 2)
    });
    dockerd.ok(&["rm", "-f", "again"]);
}

fn limits(dockerd: &Dockerd) {
    let hungry = ["dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1"];
    let mut args = vec!["run", "--name", "hungry", "--network", "none", "-m", "24m", IMAGE];
    args.extend(hungry);
    // Debian's shim does not always hear of the kill before the end, and dockerd never shows it then.
    eventually("the memory kill is seen", LIMIT, || {
        dockerd.run(&args).exits(137);
        let seen = dockerd.state("hungry")["OOMKilled"] == true;
        dockerd.ok(&["rm", "hungry"]);
        seen
    });
    dockerd.hold("limited", &["-m", "64m"], POLITE);
    dockerd.ok(&["update", "--pids-limit", "44", "limited"]);
    dockerd.ok(&["rm", "-f", "limited"]);
}

/// Containers run on while gantryd is away, and one ends after its return; dockerd hears of it.
fn gantryd_dies(dockerd: &Dockerd, house: &mut House) {
    dockerd.hold("stays", &[], POLITE);
    dockerd.hold("goes", &[], "while test ! -e /tmp/end; do sleep 0.05; done; exit 6");
    let pid = dockerd.state("goes")["Pid"].as_u64().expect("a pid");
    house.kill_daemon();
    assert_eq!(dockerd.state("stays")["Running"], true);
    assert_ne!(
        dockerd.run(&["exec", "stays", "true"]).code,
        0,
        "nobody is there to do it"
    );
    house.start();
    // One whose end is told before dockerd listens again never ends.
    eventually("dockerd has found gantryd again", LIMIT, || {
        let done = dockerd.within("10", &["exec", "stays", "echo", "back"]).output();
        done.expect("docker starts").stdout == b"back\n"
    });
    // Not before: containerd's events are told from now on, and dockerd asks for nothing that it missed.
    std::fs::write(format!("/proc/{pid}/root/tmp/end"), "").expect("a file in its root");
    dockerd.becomes("goes", "exited");
    assert_eq!(dockerd.state("goes")["ExitCode"], 6);
    dockerd.ok(&["rm", "goes"]);
    let said = dockerd.ok(&["run", "--rm", "--network", "none", IMAGE, "echo", "new"]);
    assert_eq!(said, "new");
    dockerd.ok(&["stop", "stays"]);
    assert_eq!(dockerd.state("stays")["ExitCode"], 4);
    dockerd.ok(&["rm", "stays"]);
}

/// The other way round: dockerd is killed, and finds its containers in gantryd.
fn dockerd_dies(dockerd: &mut Dockerd) {
    dockerd.hold("kept", &[], POLITE);
    let pid = dockerd.state("kept")["Pid"].clone();
    dockerd.kill();
    dockerd.up();
    let state = dockerd.state("kept");
    assert!(state["Running"] == true && state["Pid"] == pid, "{state}");
    assert_eq!(dockerd.ok(&["exec", "kept", "echo", "still"]), "still");
    dockerd.ok(&["stop", "kept"]);
    assert_eq!(dockerd.state("kept")["ExitCode"], 4);
    dockerd.ok(&["rm", "kept"]);
}
