//! An etcd of a test's own.

use super::LONG;
use crate::overlay::Settings;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

/// A server's ports.
const CLIENT: u16 = 2379;
const PEER: u16 = 2380;
/// For clients too, but not for those who know it by the other one.
pub const ASIDE: u16 = 2381;

/// One etcd on loopback, with an address and a directory of its own; killed when dropped.
pub struct Server {
    pub dir: tempfile::TempDir,
    pub address: Ipv4Addr,
    pub client: u16,
    secure: bool,
    /// Which cluster a fresh one founds: with another number it is another cluster.
    pub token: u32,
    child: Option<Child>,
}

impl Server {
    pub fn new() -> Self {
        Self::with(false)
    }

    /// With certificates on both sides, which are in its directory.
    pub fn secure() -> Self {
        Self::with(true)
    }

    fn with(secure: bool) -> Self {
        let (dir, address) = (tempfile::tempdir().unwrap(), address());
        if secure {
            certificates(dir.path(), address);
        }
        let mut server = Self {
            dir,
            address,
            client: CLIENT,
            secure,
            token: 0,
            child: None,
        };
        server.start();
        server
    }

    pub fn start(&mut self) {
        let scheme = if self.secure { "https" } else { "http" };
        let client = format!("{scheme}://{}:{}", self.address, self.client);
        let peer = format!("http://{}:{PEER}", self.address);
        let path = |name: &str| self.dir.path().join(name).display().to_string();
        let log = fs::File::create(self.dir.path().join("log")).unwrap();
        let mut command = Command::new("etcd");
        command.args(["--data-dir", &path("data"), "--logger", "zap"]);
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &format!("default={peer}")]);
        command.args(["--initial-cluster-token", &self.token.to_string()]);
        if self.secure {
            command.args(["--cert-file", &path("server.pem"), "--key-file", &path("server.key")]);
            command.args(["--client-cert-auth", "--trusted-ca-file", &path("ca.pem")]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().expect("etcd (Debian's etcd-server) is installed"));
        let begun = Instant::now();
        while TcpStream::connect((self.address, self.client)).is_err() {
            assert!(begun.elapsed() < LONG, "etcd does not start: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    pub fn settings(&self, host: &str) -> Settings {
        let vtep = format!("192.0.2.{}", host.len()).parse().unwrap();
        let scheme = if self.secure { "https" } else { "http" };
        let mut settings = Settings::plain(format!("{scheme}://{}:{}", self.address, self.client), host, vtep);
        settings.lease = Duration::from_secs(5);
        settings
    }

    /// The JSON way of etcd's, for what only tests do.
    pub fn post(&self, path: &str, body: &str) {
        let mut stream = TcpStream::connect((self.address, self.client)).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: etcd\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// On loopback and no other server's, of another process neither: a port that is looked for first may be taken before it is used.
fn address() -> Ipv4Addr {
    static COUNT: AtomicU8 = AtomicU8::new(1);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 128 | high, low, COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A CA, a server certificate for the address and a client certificate, as files.
fn certificates(dir: &Path, address: Ipv4Addr) {
    use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
    let write = |name: &str, text: String| fs::write(dir.join(name), text).unwrap();
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    write("ca.pem", ca.self_signed(&ca_key).unwrap().pem());
    let issuer = Issuer::new(ca, ca_key);
    for (name, purposes) in [
        // etcd's own gateway is a client of its server.
        (
            "server",
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
        ),
        ("client", vec![ExtendedKeyUsagePurpose::ClientAuth]),
    ] {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![address.to_string()]).unwrap();
        params.extended_key_usages = purposes;
        write(&format!("{name}.pem"), params.signed_by(&key, &issuer).unwrap().pem());
        write(&format!("{name}.key"), key.serialize_pem());
    }
}
