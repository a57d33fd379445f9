//! A daemon called containerd on roots of its own, and its client.

use gantry_e2e::{busybox_tar, eventually, program};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

pub const LIMIT: Duration = Duration::from_secs(30);

/// What a program came to, and all that it said.
pub struct Said {
    pub code: i32,
    pub done: bool,
    pub text: String,
}

/// Debian's.
pub fn containerd(args: &[&str]) -> Command {
    let mut command = Command::new("/usr/bin/containerd");
    command.args(args);
    command
}

/// A program that must end by itself.
pub fn run(command: impl std::borrow::BorrowMut<Command>) -> Said {
    feed(command, b"")
}

pub fn feed(mut command: impl std::borrow::BorrowMut<Command>, input: &[u8]) -> Said {
    let command = command.borrow_mut();
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    // One that does not read is not our failure.
    let _ = child.stdin.take().expect("piped").write_all(input);
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
    let (done, ended) = std::sync::mpsc::channel();
    let watch = std::thread::spawn(move || {
        if ended.recv_timeout(LIMIT).is_err() {
            let _ = kill(pid, Signal::SIGKILL);
        }
    });
    let output = child.wait_with_output().expect("the program ends");
    let _ = done.send(());
    watch.join().expect("the watch ends");
    let text = [output.stdout, output.stderr].concat();
    Said {
        code: output.status.code().unwrap_or(-1),
        done: output.status.success(),
        text: String::from_utf8_lossy(&text).into_owned(),
    }
}

pub struct Stand {
    dir: TempDir,
    daemon: Option<Child>,
}

impl Stand {
    /// `more` goes into the `config.toml`; `@` stands for the directory.
    pub fn new(more: &str) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("gantry-drop-")
            .tempdir()
            .expect("a directory");
        let stand = Self { dir, daemon: None };
        fs::create_dir(stand.path("bin")).expect("a directory");
        std::os::unix::fs::symlink(program("gantryd"), stand.path("bin/containerd")).expect("a link");
        stand.clear();
        stand.add(more);
        stand
    }

    /// The plain configuration.
    pub fn clear(&self) {
        let text = "root = \"@/root\"\nstate = \"@/state\"\nversion = 2\n\
            disabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.snapshotter.v1.native\"]\n";
        fs::write(self.path("config.toml"), "").expect("a file");
        self.add(text);
    }

    pub fn add(&self, more: &str) {
        let path = self.path("config.toml");
        let mut text = fs::read_to_string(&path).expect("the file");
        text.push_str(&more.replace('@', self.dir.path().to_str().expect("utf-8")));
        fs::write(path, text).expect("a file");
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        let path = if name.is_empty() {
            self.dir.path().to_owned()
        } else {
            self.path(name)
        };
        path.display().to_string()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Called containerd, with these arguments alone.
    pub fn bare(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.path("bin/containerd"));
        command.args(args);
        command
    }

    /// With the configuration, and a socket unless one is named.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.bare(&["--config", &self.text("config.toml")]);
        if !args.contains(&"--address") {
            command.args(["--address", &self.text("c.sock")]);
        }
        command.args(args);
        command
    }

    pub fn start(&mut self, args: &[&str]) {
        let command = self.command(args);
        let named = args
            .iter()
            .position(|arg| *arg == "--address")
            .map(|at| PathBuf::from(args[at + 1]));
        self.launch(command, &named.unwrap_or_else(|| self.path("c.sock")));
    }

    pub fn start_with(&mut self, command: Command) {
        self.launch(command, &self.path("c.sock"));
    }

    fn launch(&mut self, mut command: Command, socket: &Path) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.path("log"))
            .expect("a log");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let mut daemon = command.spawn().expect("the daemon starts");
        eventually("the daemon answers", LIMIT, || {
            if let Ok(Some(status)) = daemon.try_wait() {
                panic!("the daemon ended: {status}\n{}", self.log());
            }
            UnixStream::connect(socket).is_ok()
        });
        self.daemon = Some(daemon);
    }

    pub fn pid(&self) -> u32 {
        self.daemon.as_ref().expect("a daemon runs").id()
    }

    /// SIGTERM, and its end, which must be a good one.
    pub fn stop(&mut self) {
        let mut daemon = self.daemon.take().expect("a daemon runs");
        let pid = Pid::from_raw(i32::try_from(daemon.id()).expect("a pid"));
        kill(pid, Signal::SIGTERM).expect("the daemon can be signalled");
        let status = gantry_e2e::ended(&mut daemon);
        assert!(status.success(), "{status}\n{}", self.log());
    }

    pub fn kill(&mut self) {
        let mut daemon = self.daemon.take().expect("a daemon runs");
        daemon.kill().expect("the daemon can be killed");
        daemon.wait().expect("the daemon ends");
    }

    pub fn ctr_command(&self, socket: &Path) -> Command {
        let mut command = Command::new("ctr");
        // runc keeps what it knows of all daemons' containers in one place, by namespace and id.
        let namespace = self.dir.path().file_name().expect("a name");
        command.arg("-a").arg(socket).env("CONTAINERD_NAMESPACE", namespace);
        command
    }

    pub fn ctr_at(&self, socket: &Path, args: &[&str]) -> Said {
        let mut command = self.ctr_command(socket);
        command.args(args);
        run(command)
    }

    pub fn ctr(&self, args: &[&str]) -> Said {
        self.ctr_at(&self.path("c.sock"), args)
    }

    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> String {
        let said = self.ctr(args);
        assert!(said.done, "ctr {args:?}: {}\n{}", said.text, self.log());
        said.text
    }

    /// Runs a container of `runtime` beside its client.
    #[track_caller]
    pub fn run(&self, rootfs: &str, runtime: &str, name: &str, program: &[&str]) {
        let first = ["run", "-d", "--runtime", runtime, "--rootfs", rootfs, name];
        self.ok(&[&first[..], program].concat());
    }

    /// Lines of `tasks ls`: name, pid, state.
    pub fn tasks(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.ok(&["tasks", "ls"]).lines().skip(1).map(str::to_owned).collect();
        lines.sort();
        lines
    }

    /// A directory with busybox.
    pub fn rootfs(&self) -> String {
        let place = self.path("rootfs");
        tar::Archive::new(busybox_tar())
            .unpack(&place)
            .expect("the archive is whole");
        place.display().to_string()
    }

    /// `ctr events`, from now on.
    pub fn listen(&self) -> Heard {
        let path = self.path("events");
        let out = File::create(&path).expect("a file");
        let mut command = self.ctr_command(&self.path("c.sock"));
        let child = command
            .arg("events")
            .stdin(Stdio::null())
            .stdout(out)
            .spawn()
            .expect("ctr starts");
        let mut heard = Heard { child, path };
        // It is subscribed when it hears something.
        let mut count = 0;
        eventually("events are heard", LIMIT, || {
            count += 1;
            self.ok(&["namespaces", "create", &format!("probe{count}")]);
            !heard.text().is_empty()
        });
        heard
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- log ---\n{}", self.log());
            self.clean();
        }
        let namespace = self.dir.path().file_name().expect("a name");
        crate::left::forget(&namespace.to_string_lossy());
    }
}

impl Stand {
    /// After a failure: shims and mounts of the state directory.
    fn clean(&self) {
        let text = self.text("");
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            let inside = |link: &str| fs::read_link(entry.path().join(link)).is_ok_and(|to| to.starts_with(&text));
            if inside("cwd") || inside("root") {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        for line in table.lines().rev() {
            if let Some(target) = line.split(' ').nth(4).filter(|target| target.contains(&text)) {
                let _ = nix::mount::umount2(target, nix::mount::MntFlags::MNT_DETACH);
            }
        }
    }
}

pub struct Heard {
    child: Child,
    path: PathBuf,
}

impl Heard {
    pub fn text(&mut self) -> String {
        fs::read_to_string(&self.path).unwrap_or_default()
    }

    pub fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Heard {
    fn drop(&mut self) {
        self.end();
    }
}
