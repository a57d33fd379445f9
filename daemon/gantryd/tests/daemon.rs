//! The real daemon on roots of its own: it starts, answers, is killed and comes back, and does not share its roots.

#![allow(clippy::unwrap_used, reason = "a test may give up")]

use gantry_proto::gantry::v1::system_client::SystemClient;
use gantry_proto::gantry::v1::{InfoRequest, VersionRequest};
use hyper_util::rt::TokioIo;
use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint, Uri};

const DEADLINE: Duration = Duration::from_secs(20);

/// A daemon's roots; short, for the socket's sake.
struct Roots(TempDir);

impl Roots {
    fn new() -> Self {
        Self(tempfile::Builder::new().prefix("gd").tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn socket(&self) -> PathBuf {
        self.path("run/gantry.sock")
    }

    fn command(&self) -> Command {
        let config = self.path("daemon.json");
        if !config.exists() {
            fs::write(&config, "{}").unwrap();
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_gantryd"));
        command.arg("--config-file").arg(config);
        command
            .arg("--data-root")
            .arg(self.path("data"))
            .arg("--exec-root")
            .arg(self.path("run"));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn start(&self) -> Daemon {
        let child = self.command().stderr(Stdio::inherit()).spawn().unwrap();
        Daemon(child)
    }

    /// A start that must fail.
    fn refused(&self, arguments: &[&str]) -> String {
        let output: Output = self.command().args(arguments).output().unwrap();
        assert!(!output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

struct Daemon(Child);

impl Daemon {
    fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.0.id()).unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    fn exit(&mut self) -> std::process::ExitStatus {
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "the daemon does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn dial(socket: &Path) -> Channel {
    let socket = socket.to_owned();
    let end = Instant::now() + DEADLINE;
    loop {
        let path = socket.clone();
        let connector = tower::service_fn(move |_: Uri| {
            let path = path.clone();
            async move { tokio::net::UnixStream::connect(path).await.map(TokioIo::new) }
        });
        match Endpoint::from_static("http://gantry")
            .connect_with_connector(connector)
            .await
        {
            Ok(channel) => return channel,
            Err(error) => assert!(Instant::now() < end, "nobody answers: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn version(socket: &Path) -> String {
    let mut client = SystemClient::new(dial(socket).await);
    client.version(VersionRequest {}).await.unwrap().into_inner().version
}

#[tokio::test]
async fn starts_answers_and_ends_without_a_trace() {
    let roots = Roots::new();
    let mut daemon = roots.start();
    assert_eq!(version(&roots.socket()).await, env!("CARGO_PKG_VERSION"));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&roots.socket()), 0o660);
    assert_eq!((mode(&roots.path("data")), mode(&roots.path("run"))), (0o711, 0o711));
    let pid = fs::read_to_string(roots.path("run/gantryd.pid")).unwrap();
    assert_eq!(pid.trim(), daemon.0.id().to_string());

    let channel = dial(&roots.socket()).await;
    let info = SystemClient::new(channel.clone())
        .info(InfoRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(info.data_root, roots.path("data").to_str().unwrap());
    assert!(info.live_restore && info.containers == 0);
    assert_eq!(info.id.len(), 36, "a number of its own: {}", info.id);
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel);
    for service in ["", "gantry.v1.Containers"] {
        let request = tonic_health::pb::HealthCheckRequest {
            service: service.to_owned(),
        };
        let status = health.check(request).await.unwrap().into_inner().status;
        assert_eq!(status, tonic_health::ServingStatus::Serving as i32, "{service:?}");
    }

    daemon.signal(nix::sys::signal::Signal::SIGHUP);
    assert_eq!(version(&roots.socket()).await, env!("CARGO_PKG_VERSION"));
    let began = Instant::now();
    daemon.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(daemon.exit().success());
    assert!(began.elapsed() < Duration::from_secs(5));
    assert!(!roots.socket().exists() && !roots.path("run/gantryd.pid").exists());
}

#[tokio::test]
async fn comes_back_after_kill_9() {
    let roots = Roots::new();
    for _ in 0..3 {
        let mut daemon = roots.start();
        version(&roots.socket()).await;
        daemon.0.kill().unwrap();
        daemon.exit();
        assert!(
            roots.socket().exists() && roots.path("run/gantryd.pid").exists(),
            "both are stale now"
        );
    }
    // Another process has the pid of the stale file now: it does not matter.
    fs::write(roots.path("run/gantryd.pid"), "1\n").unwrap();
    let _daemon = roots.start();
    version(&roots.socket()).await;
}

#[tokio::test]
async fn roots_are_not_shared() {
    let roots = Roots::new();
    let daemon = roots.start();
    version(&roots.socket()).await;
    let pid = format!("pid {}", daemon.0.id());
    let text = roots.refused(&[]);
    assert!(text.contains("data root") && text.contains(&pid), "{text}");

    let other = Roots::new();
    let run = roots.path("run");
    let mut command = Command::new(env!("CARGO_BIN_EXE_gantryd"));
    command
        .arg("--data-root")
        .arg(other.path("data"))
        .arg("--exec-root")
        .arg(&run);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && text.contains("exec root") && text.contains(&pid),
        "{text}"
    );

    let text = other.refused(&["--address", roots.socket().to_str().unwrap()]);
    assert!(text.contains("somebody answers"), "{text}");
    assert_eq!(
        version(&roots.socket()).await,
        env!("CARGO_PKG_VERSION"),
        "the first one is unharmed"
    );
}

#[tokio::test]
async fn tells_the_service_manager() {
    let roots = Roots::new();
    let name = format!("gantryd-test-{}", std::process::id());
    let manager = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    manager.set_read_timeout(Some(DEADLINE)).unwrap();
    let child = roots
        .command()
        .env("NOTIFY_SOCKET", format!("@{name}"))
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let daemon = Daemon(child);
    let mut buffer = [0; 64];
    let read = manager.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..read], b"READY=1");
    std::os::unix::net::UnixStream::connect(roots.socket()).expect("ready means that the socket answers");
    daemon.signal(nix::sys::signal::Signal::SIGINT);
    let read = manager.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..read], b"STOPPING=1");
}

/// P27: whoever reads the log goes away, and the daemon goes on.
#[tokio::test]
async fn logging_never_ends_the_daemon() {
    let roots = Roots::new();
    let mut child = roots
        .command()
        .args(["--debug", "--log-format", "json"])
        .spawn()
        .unwrap();
    drop(child.stderr.take());
    let mut daemon = Daemon(child);
    for _ in 0..20 {
        assert_eq!(version(&roots.socket()).await, env!("CARGO_PKG_VERSION"));
    }
    assert!(daemon.0.try_wait().unwrap().is_none());
}

#[test]
fn configurations_are_checked() {
    let roots = Roots::new();
    fs::write(roots.path("daemon.json"), r#"{"debug": true, "labels": ["a=b"]}"#).unwrap();
    let output = roots.command().arg("--validate").output().unwrap();
    assert!(
        output.status.success() && String::from_utf8_lossy(&output.stdout).contains("configuration OK"),
        "{output:?}"
    );
    assert!(!roots.path("data").exists(), "a check makes nothing");
    let text = roots.refused(&["--validate", "--label", "c=d"]);
    assert!(text.contains("--label") && text.contains("daemon.json"), "{text}");
    let text = roots.refused(&["--selinux-enabled"]);
    assert!(
        text.contains("--selinux-enabled") && text.contains("not built yet"),
        "{text}"
    );
    let text = roots.refused(&["--no-such-flag"]);
    assert!(text.contains("--no-such-flag"), "{text}");
    let version = Command::new(env!("CARGO_BIN_EXE_gantryd"))
        .arg("--version")
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&version.stdout).contains(env!("CARGO_PKG_VERSION")));
}

#[tokio::test]
async fn the_store_can_be_checked_and_repaired() {
    let roots = Roots::new();
    let mut daemon = roots.start();
    version(&roots.socket()).await;
    daemon.0.kill().unwrap();
    daemon.exit();
    let run = |deed: &str, root: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gantryd"));
        command.args(["store", deed, "--data-root"]).arg(root).output().unwrap()
    };
    let output = run("check", &roots.path("data"));
    assert!(
        output.status.success() && String::from_utf8_lossy(&output.stdout).contains("sound"),
        "{output:?}"
    );
    let output = run("repair", &roots.path("data"));
    assert!(
        output.status.success() && String::from_utf8_lossy(&output.stdout).contains("carried over"),
        "{output:?}"
    );
    assert!(!run("check", &roots.path("nonexistent")).status.success());
    let _daemon = roots.start();
    version(&roots.socket()).await;
}
