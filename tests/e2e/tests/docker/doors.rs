//! The sockets: who may come in by them, and who not.

use crate::shapes::ask;
use gantry_e2e::{House, HouseOptions, Output, PATIENCE, eventually, port};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

fn docker(home: &Path, args: &[&str]) -> Output {
    let mut command = Command::new("docker");
    command
        .env_remove("DOCKER_HOST")
        .env("HOME", home)
        .env("DOCKER_API_VERSION", "1.41");
    let output = command.args(args).stdin(Stdio::null()).output().expect("docker starts");
    Output {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        bytes: output.stdout,
    }
}

fn bare(flags: &[&str]) -> House {
    House::with(HouseOptions {
        bare: true,
        flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
        ..HouseOptions::default()
    })
}

/// `ca.pem`, and for each name a certificate and a key.
struct Papers {
    dir: TempDir,
}

impl Papers {
    fn new(names: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let ca = params.self_signed(&key).expect("a certificate");
        std::fs::write(dir.path().join("ca.pem"), ca.pem()).expect("a file");
        let issuer = Issuer::new(params, key);
        for name in names {
            let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("parameters");
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
            let key = KeyPair::generate().expect("a key");
            let signed = params.signed_by(&key, &issuer).expect("a certificate");
            std::fs::write(dir.path().join(format!("{name}.pem")), signed.pem()).expect("a file");
            std::fs::write(dir.path().join(format!("{name}.key")), key.serialize_pem()).expect("a file");
        }
        Self { dir }
    }

    fn at(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }
}

#[test]
fn the_socket_is_for_root_and_its_group() {
    let house = bare(&[]);
    let socket = house.exec_root().join("docker.sock");
    let meta = std::fs::metadata(&socket).expect("the socket is there");
    assert_eq!(meta.permissions().mode() & 0o777, 0o660);
    let group = nix::unistd::Group::from_name("docker").ok().flatten();
    assert_eq!(
        (meta.uid(), meta.gid()),
        (0, group.map_or(0, |group| group.gid.as_raw()))
    );
}

#[test]
fn several_sockets_at_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let other = dir.path().join("other.sock");
    let address = format!("127.0.0.1:{}", port());
    let (unix, tcp) = (format!("unix://{}", other.display()), format!("tcp://{address}"));
    let house = bare(&["-H", &unix, "-H", &tcp, "--tls=false"]);
    assert!(house.log().contains("root on this host"), "{}", house.log());
    assert_eq!(ask(&other, "GET", "/_ping", &[], b"").body, "OK");
    let plain = docker(dir.path(), &["-H", &tcp, "version", "-f", "{{.Server.Os}}"]).exits(0);
    assert_eq!(plain.line(), "linux");
    assert!(
        !house.exec_root().join("docker.sock").exists(),
        "none but those that were named"
    );
    drop(house);
    assert!(!other.exists(), "it goes with its daemon");
}

/// Without TLS a TCP socket must be asked for.
#[test]
fn plain_tcp_is_refused() {
    let house = bare(&[]);
    let mut command = house.daemon_command();
    command.args(["-H", "tcp://127.0.0.1:0", "--validate"]);
    let output = command.output().expect("gantryd starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("--tls=false") && said.contains("--tlsverify"), "{said}");
}

#[test]
fn only_clients_with_papers_come_in() {
    let (ours, strange) = (Papers::new(&["server", "client"]), Papers::new(&["client"]));
    let address = format!("127.0.0.1:{}", port());
    let tcp = format!("tcp://{address}");
    let (ca, cert, key) = (ours.at("ca.pem"), ours.at("server.pem"), ours.at("server.key"));
    let house = bare(&[
        "-H",
        &tcp,
        "--tlsverify",
        "--tlscacert",
        &ca,
        "--tlscert",
        &cert,
        "--tlskey",
        &key,
    ]);
    eventually("the socket answers", PATIENCE, || TcpStream::connect(&address).is_ok());
    let home = house.root().to_owned();
    let asked = |papers: &Papers| {
        let args: Vec<String> = [
            "-H",
            &tcp,
            "--tlsverify",
            "--tlscacert",
            &ca,
            "--tlscert",
            &papers.at("client.pem"),
            "--tlskey",
            &papers.at("client.key"),
            "info",
            "-f",
            "{{.OSType}}",
        ]
        .map(str::to_owned)
        .to_vec();
        docker(&home, &args.iter().map(String::as_str).collect::<Vec<_>>())
    };
    assert_eq!(asked(&ours).exits(0).line(), "linux");
    let refused = asked(&strange);
    assert_ne!(refused.code, 0);
    assert!(!refused.stdout.contains("linux"), "{refused:?}");
    let none = docker(&home, &["-H", &tcp, "--tls", "info", "-f", "{{.OSType}}"]);
    assert!(none.code != 0 && !none.stdout.contains("linux"), "{none:?}");
}

/// Sockets that whoever starts the daemon has bound.
#[test]
fn inherited_sockets_are_served() {
    let house = bare(&[]);
    let dir = tempfile::tempdir().expect("a directory");
    let socket: PathBuf = dir.path().join("handed.sock");
    let at = |name: &str| dir.path().join(name).display().to_string();
    std::fs::write(at("daemon.json"), "{}").expect("a file");
    let mut command = Command::new("systemd-socket-activate");
    command.arg("-l").arg(&socket).arg(house.daemon_command().get_program());
    for (flag, value) in [
        ("--data-root", at("data")),
        ("--exec-root", at("exec")),
        ("--pidfile", at("pid")),
        ("--config-file", at("daemon.json")),
        ("--host", "fd://".to_owned()),
    ] {
        command.arg(flag).arg(value);
    }
    let mut daemon = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("systemd-socket-activate, of Debian's systemd, starts");
    // The first client starts the daemon.
    eventually("the socket answers", PATIENCE, || {
        std::os::unix::net::UnixStream::connect(&socket).is_ok()
    });
    assert_eq!(ask(&socket, "GET", "/_ping", &[], b"").body, "OK");
    gantry_e2e::peers::end(&mut daemon);
}
