//! A daemon on roots of its own.

use crate::leak::Before;
use crate::{Gantry, Netns, PATIENCE, busybox_tar, eventually, leak, program};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// Name of the image every house begins with.
pub const BUSYBOX: &str = "busybox:latest";

/// What differs from a plain house.
#[derive(Debug, Clone, Default)]
pub struct HouseOptions {
    /// More flags for the daemon.
    pub flags: Vec<String>,
    /// More environment for the daemon.
    pub env: Vec<(String, String)>,
    /// Directory of the programs, when not the ones built beside the test.
    pub programs: Option<PathBuf>,
    /// Do not import busybox.
    pub bare: bool,
    /// The daemon has a network namespace of its own.
    pub netns: bool,
}

pub struct House {
    root: Option<TempDir>,
    daemon: Option<Child>,
    options: HouseOptions,
    netns: Option<Netns>,
    before: Before,
    /// A test that breaks things on purpose may say that the end is not clean.
    pub forgive: bool,
}

impl House {
    /// A running daemon with `busybox:latest`.
    pub fn new() -> Self {
        Self::with(HouseOptions::default())
    }

    pub fn with(options: HouseOptions) -> Self {
        let netns = options.netns.then(Netns::new);
        let before = Before::now(netns.as_ref());
        let root = tempfile::Builder::new()
            .prefix("gantry-e2e-")
            .tempdir()
            .expect("a temporary directory");
        std::fs::write(root.path().join("daemon.json"), "{}").expect("a configuration file");
        let mut house = Self {
            root: Some(root),
            daemon: None,
            options,
            netns,
            before,
            forgive: false,
        };
        house.start();
        if !house.options.bare {
            house.import_busybox();
        }
        house
    }

    /// A house whose daemon has a network namespace of its own.
    pub fn apart(flags: &[&str]) -> Self {
        Self::with(HouseOptions {
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            netns: true,
            ..HouseOptions::default()
        })
    }

    /// The daemon's network namespace.
    pub fn netns(&self) -> &Netns {
        self.netns
            .as_ref()
            .expect("the house has a network namespace of its own")
    }

    /// The network namespace of a container that runs.
    #[track_caller]
    pub fn inside(&self, container: &str) -> Netns {
        let key = self
            .gantry()
            .ok(&["inspect", "-f", "{{.NetworkSettings.SandboxKey}}", container]);
        Netns::open(Path::new(&key))
    }

    /// What the tables and devices of this house's daemon are named for.
    pub fn instance(&self) -> String {
        leak::instance(self.root())
    }

    fn import_busybox(&self) {
        let command = self.gantry().command(["import", "-", BUSYBOX]);
        crate::image::pipe(command, busybox_tar());
    }

    pub fn root(&self) -> &Path {
        self.root.as_ref().expect("the house stands").path()
    }

    pub fn data_root(&self) -> PathBuf {
        self.root().join("data")
    }

    pub fn exec_root(&self) -> PathBuf {
        self.root().join("exec")
    }

    pub fn socket(&self) -> PathBuf {
        self.exec_root().join("gantry.sock")
    }

    pub fn log_path(&self) -> PathBuf {
        self.root().join("gantryd.log")
    }

    /// What the daemon has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    pub fn gantry(&self) -> Gantry {
        Gantry {
            socket: self.socket(),
            home: self.root().to_owned(),
        }
    }

    pub fn daemon_pid(&self) -> Option<i32> {
        self.daemon
            .as_ref()
            .map(|daemon| i32::try_from(daemon.id()).expect("a pid"))
    }

    /// The daemon's command line, for tests that start it themselves.
    pub fn daemon_command(&self) -> Command {
        let path = match &self.options.programs {
            Some(dir) => dir.join("gantryd"),
            None => program("gantryd"),
        };
        let mut command = Command::new(path);
        command
            .arg("--data-root")
            .arg(self.data_root())
            .arg("--exec-root")
            .arg(self.exec_root());
        command
            .arg("--address")
            .arg(format!("unix://{}", self.socket().display()));
        command
            .arg("--pidfile")
            .arg(self.root().join("gantryd.pid"))
            .arg("--config-file")
            .arg(self.root().join("daemon.json"));
        command.args(&self.options.flags).envs(self.options.env.iter().cloned());
        command
    }

    /// Starts the daemon and waits until it answers.
    pub fn start(&mut self) {
        self.launch();
        self.ready();
    }

    /// Starts the daemon without waiting.
    pub fn launch(&mut self) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path())
            .expect("a log file");
        let mut command = self.daemon_command();
        if let Some(netns) = &self.netns {
            netns.put(&mut command);
        }
        let daemon = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("gantryd starts");
        self.daemon = Some(daemon);
    }

    pub fn ready(&mut self) {
        let socket = self.socket();
        let log = self.log_path();
        let daemon = self.daemon.as_mut().expect("the daemon was started");
        eventually("the daemon's socket answers", PATIENCE, || {
            if let Ok(Some(status)) = daemon.try_wait() {
                panic!(
                    "gantryd ended: {status}\n{}",
                    std::fs::read_to_string(&log).unwrap_or_default()
                );
            }
            UnixStream::connect(&socket).is_ok()
        });
    }

    /// SIGKILL; containers go on.
    pub fn kill_daemon(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill().expect("the daemon can be killed");
            daemon.wait().expect("the daemon ends");
        }
    }

    /// Waits for a daemon that ends by itself (a failpoint); whether it did in time.
    pub fn wait_daemon(&mut self, limit: Duration) -> bool {
        let Some(daemon) = self.daemon.as_mut() else {
            return true;
        };
        let deadline = std::time::Instant::now() + limit;
        while std::time::Instant::now() < deadline {
            if let Ok(Some(_)) = daemon.try_wait() {
                self.daemon = None;
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }

    /// Whether the daemon still runs.
    pub fn daemon_alive(&mut self) -> bool {
        self.daemon
            .as_mut()
            .is_some_and(|daemon| matches!(daemon.try_wait(), Ok(None)))
    }

    /// SIGTERM, and waits for the end.
    pub fn stop_daemon(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let pid = Pid::from_raw(i32::try_from(daemon.id()).expect("a pid"));
            kill(pid, Signal::SIGTERM).expect("the daemon can be signalled");
            daemon.wait().expect("the daemon ends");
        }
    }

    /// Kills and starts again.
    pub fn restart_hard(&mut self) {
        self.kill_daemon();
        self.start();
    }

    /// Changes the flags of later starts.
    pub fn set_flags(&mut self, flags: &[&str]) {
        self.options.flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
    }

    /// Changes the environment of later starts.
    pub fn set_env(&mut self, env: Vec<(String, String)>) {
        self.options.env = env;
    }

    /// Removes all containers through the front door.
    pub fn clear(&self) {
        let ids = self.gantry().ok(&["ps", "-aq", "--no-trunc"]);
        for id in ids.split_whitespace() {
            let removed = self.gantry().run(&["rm", "-f", id]);
            let gone = removed.code == 0 || removed.stderr.contains("No such container");
            assert!(gone, "rm -f {id}: {}", removed.stderr);
        }
    }

    /// Removes all networks that are not always there.
    pub fn clear_networks(&self) {
        if self.netns.is_some() {
            let ids = self
                .gantry()
                .ok(&["network", "ls", "-q", "--no-trunc", "-f", "type=custom"]);
            for id in ids.split_whitespace() {
                self.gantry().ok(&["network", "rm", id]);
            }
        }
    }

    fn close(&mut self) {
        if self.daemon.is_none() {
            self.start();
        }
        self.clear();
        self.clear_networks();
        self.stop_daemon();
        leak::check(self.root(), self.netns.as_ref(), &self.before);
        let root = self.root.take().expect("the house stands");
        root.close().expect("the house's directory can be removed");
    }
}

impl Default for House {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if std::thread::panicking() || self.forgive {
            eprintln!("--- gantryd's log ---\n{}", tail(&self.log(), 60));
            self.kill_daemon();
            leak::force_clean(self.root());
            return;
        }
        self.close();
    }
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
