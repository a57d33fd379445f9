//! An engine: a daemon on roots of its own and the command that talks to it.

use anyhow::{Context, Result, bail, ensure};
use std::fs::File;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

pub struct Engine {
    pub name: &'static str,
    /// Everything of this engine lies below; its processes are known by it.
    pub root: PathBuf,
    daemon_line: Vec<String>,
    client_line: Vec<String>,
    socket: PathBuf,
    /// Where it serves Docker's API.
    docker_socket: PathBuf,
    daemon: Option<Child>,
    /// What the daemon leans on and does not start itself.
    helper_line: Option<Vec<String>>,
    helper: Option<Child>,
}

impl Engine {
    /// The programs built beside this one; in the network namespace, if one is given.
    pub fn gantry(root: &Path, netns: Option<&Path>) -> Result<Self> {
        let beside = std::env::current_exe()?;
        let beside = beside.parent().context("this program lies in a directory")?;
        let program = |name: &str| -> Result<String> {
            let path = beside.join(name);
            ensure!(path.is_file(), "{} is not built", path.display());
            Ok(path.display().to_string())
        };
        let root = root.join("gantry");
        let at = |name: &str| root.join(name).display().to_string();
        let socket = root.join("exec/gantry.sock");
        let host = format!("unix://{}", socket.display());
        let flags = [
            ("--data-root", at("data")),
            ("--exec-root", at("exec")),
            ("--address", host.clone()),
            ("--pidfile", at("pid")),
            ("--config-file", at("daemon.json")),
        ];
        let daemon_line = inside(netns, line(program("gantryd")?, &flags, &[]));
        let client_line = vec![program("gantry")?, "-H".to_owned(), host];
        Ok(Self {
            name: "gantry",
            docker_socket: root.join("exec/docker.sock"),
            root,
            daemon_line,
            client_line,
            socket,
            daemon: None,
            helper_line: None,
            helper: None,
        })
    }

    /// Debian's, if it is installed, with a containerd that outlives it, as systemd would run them. It keeps its containers
    /// over a restart, as gantry does. It has networks where it has a namespace for them.
    pub fn dockerd(root: &Path, netns: Option<&Path>) -> Option<Self> {
        let found = |name: &str| {
            ["/usr/bin", "/usr/sbin", "/usr/local/bin"]
                .iter()
                .map(|dir| format!("{dir}/{name}"))
                .find(|path| Path::new(path).is_file())
        };
        let (daemon, client, containerd) = (found("dockerd")?, found("docker")?, found("containerd")?);
        let root = root.join("docker");
        let at = |name: &str| root.join(name).display().to_string();
        let socket = root.join("docker.sock");
        let host = format!("unix://{}", socket.display());
        let flags = [
            ("--data-root", at("data")),
            ("--exec-root", at("exec")),
            ("--host", host.clone()),
            ("--pidfile", at("pid")),
            ("--config-file", at("daemon.json")),
            ("--containerd", at("containerd.sock")),
        ];
        let mut more = vec!["--live-restore", "--storage-driver=overlay2"];
        if netns.is_none() {
            more.extend(["--bridge=none", "--iptables=false"]);
        }
        let daemon_line = inside(netns, line(daemon, &flags, &more));
        let client_line = vec![client, "-H".to_owned(), host];
        let helper_flags = [
            ("--config", at("containerd.toml")),
            ("--root", at("containerd/root")),
            ("--state", at("containerd/state")),
            ("--address", at("containerd.sock")),
        ];
        let helper_line = line(containerd, &helper_flags, &[]);
        Some(Self {
            name: "dockerd",
            root,
            daemon_line,
            client_line,
            docker_socket: socket.clone(),
            socket,
            daemon: None,
            helper_line: Some(helper_line),
            helper: None,
        })
    }

    /// Starts it; answers how long until it answered a `ps`.
    pub fn start(&mut self) -> Result<Duration> {
        std::fs::create_dir_all(&self.root)?;
        self.start_helper()?;
        let log = File::options().create(true).append(true).open(self.log())?;
        let start = Instant::now();
        let mut command = Command::new(&self.daemon_line[0]);
        command
            .args(&self.daemon_line[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        self.daemon = Some(command.spawn().with_context(|| format!("start {}", self.name))?);
        loop {
            let ended = self.daemon.as_mut().map(Child::try_wait).transpose()?.flatten();
            if let Some(status) = ended {
                let log = std::fs::read_to_string(self.root.join("log")).unwrap_or_default();
                let last: Vec<&str> = log.lines().rev().take(5).collect();
                self.daemon = None;
                bail!("{} ended: {status}\n{}", self.name, last.join("\n"));
            }
            // A socket that accepts may be the last daemon's, or open before anything answers.
            if UnixStream::connect(&self.socket).is_ok() && self.answers()? {
                return Ok(start.elapsed());
            }
            ensure!(start.elapsed() < PATIENCE, "{} does not answer", self.name);
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn start_helper(&mut self) -> Result<()> {
        std::fs::write(self.root.join("daemon.json"), "{}")?;
        let Some(line) = self.helper_line.as_ref().filter(|_| self.helper.is_none()) else {
            return Ok(());
        };
        // Without CRI, which would look for networks.
        let config = "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n";
        std::fs::write(self.root.join("containerd.toml"), config)?;
        let mut command = Command::new(&line[0]);
        command.args(&line[1..]).stdin(Stdio::null()).stdout(Stdio::null());
        // It finds our shim, too.
        let path = std::env::var_os("PATH").unwrap_or_default();
        let beside = std::env::current_exe()?.parent().map(Path::to_owned);
        command.env(
            "PATH",
            std::env::join_paths(beside.into_iter().chain(std::env::split_paths(&path)))?,
        );
        let child = command
            .stderr(File::create(self.root.join("containerd.log"))?)
            .spawn()?;
        self.helper = Some(child);
        let start = Instant::now();
        while UnixStream::connect(self.root.join("containerd.sock")).is_err() {
            ensure!(start.elapsed() < PATIENCE, "containerd does not answer");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    fn answers(&self) -> Result<bool> {
        let mut ps = self.command(&["ps", "-q"]);
        Ok(ps.stdout(Stdio::null()).stderr(Stdio::null()).status()?.success())
    }

    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill()?;
            daemon.wait()?;
        }
        Ok(())
    }

    fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.client_line[0]);
        command.args(&self.client_line[1..]).args(args).stdin(Stdio::null());
        command.env("HOME", &self.root);
        command
    }

    pub fn must(&self, args: &[&str]) -> Result<String> {
        self.checked(self.command(args), args)
    }

    /// By the real `docker` client, whichever engine it is, at the version of the API that both speak.
    pub fn docker(&self, args: &[&str]) -> Result<String> {
        self.checked(self.docker_command(args), args)
    }

    /// The same, and nobody reads what it prints: a reader on the other end of a pipe takes time of the processors that belongs to
    /// neither the client nor the daemon.
    pub fn docker_unread(&self, args: &[&str]) -> Result<()> {
        let status = self.docker_command(args).stdout(Stdio::null()).status()?;
        ensure!(status.success(), "{} {}: {status}", self.name, args.join(" "));
        Ok(())
    }

    fn docker_command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command
            .env("DOCKER_HOST", format!("unix://{}", self.docker_socket.display()))
            .env("DOCKER_API_VERSION", "1.41")
            .env("HOME", &self.root)
            .args(args)
            .stdin(Stdio::null());
        command
    }

    pub fn docker_socket(&self) -> &Path {
        &self.docker_socket
    }

    fn checked(&self, mut command: Command, args: &[&str]) -> Result<String> {
        let output = command
            .output()
            .with_context(|| format!("run {}", command.get_program().to_string_lossy()))?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "{} {}: {}: {}",
            self.name,
            args.join(" "),
            output.status,
            error.trim()
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Removes all its containers, a few at a time.
    pub fn clear(&self) -> Result<()> {
        let all = self.must(&["ps", "-aq"])?;
        let ids: Vec<&str> = all.lines().collect();
        for some in ids.chunks(20) {
            let mut args = vec!["rm", "-f"];
            args.extend(some);
            self.must(&args)?;
        }
        Ok(())
    }

    /// Removes what is in it and ends it.
    pub fn end(mut self) -> Result<()> {
        if self.daemon.is_none() {
            self.start()?;
        }
        self.clear()?;
        if let Some(mut daemon) = self.daemon.take() {
            let term = format!("kill -TERM {}", daemon.id());
            Command::new("sh").arg("-c").arg(term).status()?;
            let start = Instant::now();
            while daemon.try_wait()?.is_none() {
                ensure!(start.elapsed() < PATIENCE, "{} does not end", self.name);
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        // Its containers are gone, so nothing is left below it; `drop` ends the helper.
        Ok(())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        for mut child in [self.daemon.take(), self.helper.take()].into_iter().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The same begun in a network namespace. `ip netns exec` would hide the cgroups.
fn inside(netns: Option<&Path>, line: Vec<String>) -> Vec<String> {
    let Some(netns) = netns else { return line };
    let mut all = vec!["nsenter".to_owned(), format!("--net={}", netns.display())];
    all.extend(line);
    all
}

fn line(program: String, flags: &[(&str, String)], more: &[&str]) -> Vec<String> {
    let mut line = vec![program];
    for (flag, value) in flags {
        line.push((*flag).to_owned());
        line.push(value.clone());
    }
    line.extend(more.iter().map(|flag| (*flag).to_owned()));
    line
}
