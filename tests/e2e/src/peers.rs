//! Programs that are not ours, on roots of their own: Debian's containerd, and its registry.

use crate::{Netns, eventually, port, target_dir};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::ffi::OsString;
use std::fs::File;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(30);

/// Without CRI, which would look for networks. It finds our shim beside the tests.
pub struct Containerd {
    root: PathBuf,
    child: Option<Child>,
    pub socket: PathBuf,
}

impl Containerd {
    pub fn start(root: &Path) -> Self {
        let mut peer = Self {
            root: root.to_owned(),
            child: None,
            socket: root.join("containerd.sock"),
        };
        peer.up();
        peer
    }

    /// Starts it again after [`Containerd::kill`].
    pub fn up(&mut self) {
        let root = &self.root;
        let config = root.join("containerd.toml");
        let text = "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n";
        std::fs::write(&config, text).expect("a file");
        let log = File::options()
            .create(true)
            .append(true)
            .open(root.join("containerd.log"))
            .expect("a log file");
        let mut command = Command::new("containerd");
        command.arg("--config").arg(config).arg("--address").arg(&self.socket);
        command
            .arg("--root")
            .arg(root.join("root"))
            .arg("--state")
            .arg(root.join("state"));
        command.env("PATH", path_with_ours());
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        self.child = Some(child.expect("containerd, of Debian's package of that name, starts"));
        let socket = &self.socket;
        eventually("containerd answers", LIMIT, || UnixStream::connect(socket).is_ok());
    }

    /// SIGKILL; its shims go on.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("containerd can be killed");
            child.wait().expect("containerd ends");
        }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.root.join("containerd.log")).unwrap_or_default()
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            end(child);
        }
    }
}

/// PATH, and before it the directory of our programs.
fn path_with_ours() -> OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::iter::once(target_dir()).chain(std::env::split_paths(&path));
    std::env::join_paths(dirs).expect("directories without colons")
}

/// Debian's registry on a loopback port.
pub struct Registry {
    child: Child,
    pub host: String,
}

impl Registry {
    pub fn start(root: &Path) -> Self {
        let peer = Self::begin(root, &format!("127.0.0.1:{}", port()), None);
        eventually("the registry answers", LIMIT, || TcpStream::connect(&peer.host).is_ok());
        peer
    }

    /// In a network namespace, at an address that is there.
    pub fn inside(netns: &Netns, root: &Path, host: &str) -> Self {
        let peer = Self::begin(root, host, Some(netns));
        eventually("the registry answers", LIMIT, || {
            netns.enter(|| TcpStream::connect(host).is_ok())
        });
        peer
    }

    /// Brings in an image of an archive that `docker save` wrote, from the network namespace of the registry.
    #[track_caller]
    pub fn fill(&self, netns: &Netns, archive: &str, name: &str) {
        let to = format!("docker-archive:{archive} docker://{}/{name}", self.host);
        netns.ok(&format!(
            "skopeo copy -q --insecure-policy --dest-tls-verify=false {to}"
        ));
    }

    fn begin(root: &Path, host: &str, netns: Option<&Netns>) -> Self {
        let config = root.join("registry.yml");
        let text = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {host}\n",
            root.join("registry").display()
        );
        std::fs::write(&config, text).expect("a file");
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(config);
        if let Some(netns) = netns {
            netns.put(&mut command);
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let child = child.expect("docker-registry, of Debian's package of that name, starts");
        Self {
            child,
            host: host.to_owned(),
        }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// SIGTERM, and SIGKILL to one that does not heed it.
pub fn end(child: &mut Child) {
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
    // It may have ended by itself; then there is nobody to tell.
    let _ = kill(pid, Signal::SIGTERM);
    let deadline = Instant::now() + LIMIT;
    while matches!(child.try_wait(), Ok(None)) {
        if Instant::now() > deadline {
            let _ = child.kill();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
