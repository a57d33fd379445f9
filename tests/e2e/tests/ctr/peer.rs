//! Debian's containerd on a root of its own, and a registry.

use gantry_e2e::eventually;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

pub struct Containerd {
    child: Child,
    pub socket: PathBuf,
}

impl Containerd {
    pub fn start(root: &Path) -> Self {
        let config = root.join("containerd.toml");
        std::fs::write(
            &config,
            "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n",
        )
        .expect("a file");
        let socket = root.join("containerd.sock");
        let log = std::fs::File::create(root.join("containerd.log")).expect("a log file");
        let mut command = Command::new("containerd");
        command.arg("--config").arg(config).arg("--address").arg(&socket);
        command
            .arg("--root")
            .arg(root.join("root"))
            .arg("--state")
            .arg(root.join("state"));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        let child = child.expect("containerd, of Debian's package of that name, starts");
        eventually("containerd answers", LIMIT, || UnixStream::connect(&socket).is_ok());
        Self { child, socket }
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Debian's registry on a loopback port.
pub struct Registry {
    child: Child,
    pub host: String,
}

impl Registry {
    pub fn start(root: &Path) -> Self {
        let port = {
            let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
            free.local_addr().expect("it is bound").port()
        };
        let host = format!("127.0.0.1:{port}");
        let config = root.join("registry.yml");
        let text = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {host}\n",
            root.join("registry").display()
        );
        std::fs::write(&config, text).expect("a file");
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(config);
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let child = child.expect("docker-registry, of Debian's package of that name, starts");
        eventually("the registry answers", LIMIT, || TcpStream::connect(&host).is_ok());
        Self { child, host }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

fn end(child: &mut Child) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
    // It may have ended by itself; then there is nobody to tell.
    let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
    let deadline = std::time::Instant::now() + LIMIT;
    while matches!(child.try_wait(), Ok(None)) {
        if std::time::Instant::now() > deadline {
            let _ = child.kill();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
