//! An etcd of a test's own.

use super::LONG;
use crate::overlay::Settings;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// One etcd on loopback, with a directory of its own; killed when dropped.
pub struct Server {
    pub dir: tempfile::TempDir,
    pub client: u16,
    peer: u16,
    secure: bool,
    /// Which cluster a fresh one founds: with another number it is another cluster.
    pub token: u32,
    child: Option<Child>,
}

impl Server {
    pub fn new() -> Self {
        Self::with(tempfile::tempdir().unwrap(), false)
    }

    pub fn with(dir: tempfile::TempDir, secure: bool) -> Self {
        let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = Self {
            dir,
            client: free(),
            peer: free(),
            secure,
            token: 0,
            child: None,
        };
        server.start();
        server
    }

    pub fn start(&mut self) {
        let scheme = if self.secure { "https" } else { "http" };
        let client = format!("{scheme}://127.0.0.1:{}", self.client);
        let peer = format!("http://127.0.0.1:{}", self.peer);
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
        while TcpStream::connect(("127.0.0.1", self.client)).is_err() {
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
        let mut settings = Settings::plain(format!("{scheme}://127.0.0.1:{}", self.client), host, vtep);
        settings.lease = Duration::from_secs(2);
        settings
    }

    /// The JSON way of etcd's, for what only tests do.
    pub fn post(&self, path: &str, body: &str) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.client)).unwrap();
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

/// A CA, a server certificate for 127.0.0.1 and a client certificate, as files.
pub fn certificates(dir: &Path) {
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
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.extended_key_usages = purposes;
        write(&format!("{name}.pem"), params.signed_by(&key, &issuer).unwrap().pem());
        write(&format!("{name}.key"), key.serialize_pem());
    }
}
