//! etcd (Debian's `etcd-server`), in a network namespace of a test's.

use crate::{Netns, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);
/// Of clients; others speak at the next one.
pub const PORT: u16 = 2379;

/// One etcd with a directory of its own; killed when dropped.
pub struct Etcd {
    dir: tempfile::TempDir,
    address: IpAddr,
    /// It wants TLS and certificates of its clients.
    secure: bool,
    child: Option<Child>,
}

impl Etcd {
    /// Starts it at an address of the namespace.
    pub fn start(netns: &Netns, address: &str) -> Self {
        let mut etcd = Self {
            dir: tempfile::tempdir().expect("a temporary directory"),
            address: address.parse().expect("an address"),
            secure: false,
            child: None,
        };
        etcd.up(netns);
        etcd
    }

    /// Starts it again after [`Etcd::down`].
    pub fn up(&mut self, netns: &Netns) {
        let scheme = if self.secure { "https" } else { "http" };
        let client = format!("{scheme}://{}", SocketAddr::new(self.address, PORT));
        let peer = format!("http://127.0.0.1:{}", PORT + 1);
        let path = |name: &str| self.path(name).display().to_string();
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.path("log"))
            .expect("a log file");
        let mut command = Command::new("etcd");
        command.args(["--data-dir", &path("data"), "--logger", "zap"]);
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &format!("default={peer}")]);
        if self.secure {
            command.args(["--cert-file", &path("server.pem"), "--key-file", &path("server.key")]);
            command.args(["--client-cert-auth", "--trusted-ca-file", &path("ca.pem")]);
        }
        netns.put(&mut command);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().expect("etcd, of Debian's etcd-server, starts");
        self.child = Some(child);
        let at = SocketAddr::new(self.address, PORT);
        eventually("etcd answers", LIMIT, || {
            netns.enter(|| TcpStream::connect_timeout(&at, Duration::from_secs(1)).is_ok())
        });
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("etcd can be killed");
            child.wait().expect("etcd ends");
        }
    }

    /// Stopped in its tracks, with its connections open; until [`Etcd::thaw`].
    pub fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    pub fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("etcd runs");
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
        kill(pid, signal).expect("etcd can be signalled");
    }

    /// A file of its directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// From its next start on it wants a password and TLS, with certificates on both sides.
    pub fn lock(&mut self, netns: &Netns, password: &str) {
        let user = format!(r#"{{"name":"root","password":"{password}"}}"#);
        for (path, body) in [
            ("/v3/auth/user/add", user.as_str()),
            ("/v3/auth/role/add", r#"{"name":"root"}"#),
            ("/v3/auth/user/grant", r#"{"user":"root","role":"root"}"#),
            ("/v3/auth/enable", "{}"),
        ] {
            self.post(netns, path, body);
        }
        certificates(self.dir.path(), self.address);
        self.secure = true;
    }

    /// How many keys there are of one kind: `networks`, `addresses`, `endpoints`.
    pub fn count(&self, netns: &Netns, kind: &str) -> u64 {
        let (first, end) = (
            format!("/gantry/network/v1/{kind}/"),
            format!("/gantry/network/v1/{kind}0"),
        );
        let body = serde_json::json!({"key": base64(&first), "range_end": base64(&end), "count_only": true});
        let answer = self.post(netns, "/v3/kv/range", &body.to_string());
        let text = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
        // It may come in chunks.
        let (open, close) = (text.find('{').unwrap_or(0), text.rfind('}').map_or(0, |at| at + 1));
        let value: serde_json::Value = serde_json::from_str(&text[open..close]).expect("JSON");
        value["count"]
            .as_str()
            .and_then(|count| count.parse().ok())
            .unwrap_or(0)
    }

    /// The JSON way of etcd's.
    fn post(&self, netns: &Netns, path: &str, body: &str) -> String {
        let at = SocketAddr::new(self.address, PORT);
        let answer = netns.enter(|| {
            let mut stream = TcpStream::connect(at)?;
            stream.set_read_timeout(Some(LIMIT))?;
            let length = body.len();
            stream.write_all(
                format!(
                    "POST {path} HTTP/1.1\r\nHost: etcd\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
                )
                .as_bytes(),
            )?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).map(|_| answer)
        });
        let answer = answer.expect("etcd answers");
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
        answer
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.kill();
    }
}

fn base64(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(text)
}

/// An authority, a certificate for the address and one for clients, as files.
fn certificates(dir: &Path, address: IpAddr) {
    use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
    let write = |name: &str, text: String| std::fs::write(dir.join(name), text).expect("a file");
    let made = (|| {
        let ca_key = KeyPair::generate()?;
        let mut ca = CertificateParams::new(Vec::new())?;
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        write("ca.pem", ca.self_signed(&ca_key)?.pem());
        let issuer = Issuer::new(ca, ca_key);
        for (name, purposes) in [
            // etcd's own gateway is a client of its server.
            (
                "server",
                vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
            ),
            ("client", vec![ExtendedKeyUsagePurpose::ClientAuth]),
        ] {
            let key = KeyPair::generate()?;
            let mut params = CertificateParams::new(vec![address.to_string()])?;
            params.extended_key_usages = purposes;
            write(&format!("{name}.pem"), params.signed_by(&key, &issuer)?.pem());
            write(&format!("{name}.key"), key.serialize_pem());
        }
        Ok::<(), rcgen::Error>(())
    })();
    made.expect("certificates");
}
