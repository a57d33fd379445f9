//! The proxy against a service that is not ours: Debian's containerd, whose own snapshotters stand for those outside.

#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

use gantry_core::{ErrorKind, Labels, Namespace};
use gantry_proto_containerd::services::snapshots::v1::{
    CommitSnapshotRequest, PrepareSnapshotRequest, snapshots_client::SnapshotsClient,
};
use gantry_snapshots_api::{Access, Capabilities, ChangeKind, Options, Prepared, Removed, Snapshotter, TARGET};
use gantry_snapshots_mount::Way;
use gantry_snapshots_proxy::{Proxy, Settings};
use gantry_suites::snapshots::memory::Memory;
use gantry_suites::snapshots::{CHECKS, Subject};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};
use tempfile::TempDir;
use tonic::transport::Endpoint;

/// A containerd on a root of its own that collects nothing.
struct Service {
    child: Child,
    dir: TempDir,
}

impl Service {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().display();
        let config = format!(
            r#"version = 2
root = "{at}/root"
state = "{at}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "{at}/sock"
[ttrpc]
address = "{at}/sock.ttrpc"
[plugins."io.containerd.gc.v1.scheduler"]
pause_threshold = 0.0
deletion_threshold = 0
mutation_threshold = 0
schedule_delay = "1h"
startup_delay = "1h"
"#
        );
        fs::write(dir.path().join("config.toml"), config).unwrap();
        let child = Command::new("containerd")
            .arg("-c")
            .arg(dir.path().join("config.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the package containerd is installed");
        Self { child, dir }
    }

    fn proxy(&self, name: &str, scope: &str) -> Proxy {
        let proxy = Proxy::open(Settings {
            name: name.to_owned(),
            told: name.to_owned(),
            address: self.dir.path().join("sock").display().to_string(),
            root: self.dir.path().join(format!("proxy-{scope}")),
            scope: scope.to_owned(),
            capabilities: Capabilities::default(),
        })
        .unwrap();
        let end = Instant::now() + Duration::from_secs(20);
        while let Err(error) = proxy.list() {
            assert!(Instant::now() < end, "containerd does not come: {error}");
            thread::sleep(Duration::from_millis(20));
        }
        proxy
    }
}

impl Service {
    /// Commits a snapshot that bears its name as its target, as a remote snapshotter does by itself.
    fn bring(&self, namespace: &str, target: &str) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let address = format!("unix://{}", self.dir.path().join("sock").display());
        runtime.block_on(async {
            let channel = Endpoint::from_shared(address).unwrap().connect().await.unwrap();
            let mut client = SnapshotsClient::with_interceptor(channel, |mut request: tonic::Request<()>| {
                let namespace = namespace.parse().unwrap();
                request.metadata_mut().insert("containerd-namespace", namespace);
                Ok(request)
            });
            let prepare = PrepareSnapshotRequest {
                snapshotter: "overlayfs".into(),
                key: "key".into(),
                ..Default::default()
            };
            client.prepare(prepare).await.unwrap();
            let commit = CommitSnapshotRequest {
                snapshotter: "overlayfs".into(),
                key: "key".into(),
                name: target.into(),
                labels: labelled(target).labels,
                ..Default::default()
            };
            client.commit(commit).await.unwrap();
        });
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended by itself, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The checks of the suite that the service behind the proxy passes itself.
fn suite(snapshotter: &str, but: &[&str]) {
    let service = Service::start();
    for (number, (name, check)) in CHECKS.iter().enumerate().filter(|(_, (name, _))| !but.contains(name)) {
        println!("snapshots: {name}");
        let dir = tempfile::tempdir().unwrap();
        check(&Subject {
            service: Box::new(Memory::new(service.proxy(snapshotter, &format!("suite-{number}")))),
            snapshotter: snapshotter.to_owned(),
            ns: Namespace::new("suite").unwrap(),
            at: dir.path().join("at"),
            way: Way::Auto,
            holds: Box::new(dir),
        });
    }
}

#[test]
fn the_suite_over_its_overlayfs() {
    // containerd 1.6 gives the root of every snapshot the mode 0755.
    suite("overlayfs", &["root_permission"]);
}

#[test]
fn the_suite_over_its_native() {
    suite("native", &[]);
}

fn labelled(target: &str) -> Options {
    Options {
        labels: Labels::from([(TARGET.to_owned(), target.to_owned())]),
        ..Options::default()
    }
}

fn write(proxy: &Proxy, id: u64, parents: &[u64], name: &str) {
    let target = proxy.apply_target(id, parents).unwrap();
    fs::write(target.dir.join(name), name).unwrap();
}

/// What a remote snapshotter does: the content of a target is there, so nobody has to bring it.
#[test]
fn content_that_the_service_has_is_found() {
    let service = Service::start();
    let proxy = service.proxy("overlayfs", "one");
    service.bring("one", "sha256:base");
    let first = proxy.prepare_or_find(2, &[], &labelled("sha256:base")).unwrap();
    assert!(
        matches!(first, Prepared::Committed(usage) if usage.inodes > 0),
        "{first:?}"
    );
    assert_eq!(proxy.prepare_or_find(3, &[], &labelled("sha256:base")).unwrap(), first);
    // It is a parent like any other.
    proxy.prepare(4, &[2], &Options::default()).unwrap();
    write(&proxy, 4, &[2], "more");
    let mounts = proxy.mounts(4, &[2], Access::ReadWrite, &Options::default()).unwrap();
    assert_eq!(mounts[0].kind, "overlay");
    assert_eq!(proxy.list().unwrap(), [2, 3, 4]);
    // On another parent the same target is another thing: its content is to be brought.
    let other = proxy.prepare_or_find(5, &[2], &labelled("sha256:base")).unwrap();
    assert_eq!(other, Prepared::Active);
    let unknown = proxy.prepare_or_find(6, &[], &labelled("sha256:other")).unwrap();
    assert_eq!(unknown, Prepared::Active);
    for id in [4, 5, 6] {
        assert_eq!(proxy.remove(id).unwrap(), Removed::Now);
    }
    // It goes with the last number that stands for it.
    assert_eq!(proxy.remove(2).unwrap(), Removed::Now);
    assert!(proxy.exists(3).unwrap() && !proxy.exists(2).unwrap());
    assert_eq!(proxy.remove(3).unwrap(), Removed::Now);
    assert_eq!(proxy.remove(3).unwrap(), Removed::AlreadyGone);
    assert_eq!(
        proxy.prepare_or_find(7, &[], &labelled("sha256:base")).unwrap(),
        Prepared::Active,
        "the service has it no more"
    );
}

#[test]
fn changes_of_active_and_committed() {
    let service = Service::start();
    for (number, name) in ["overlayfs", "native"].into_iter().enumerate() {
        let proxy = service.proxy(name, &format!("changes-{number}"));
        proxy.prepare(1, &[], &Options::default()).unwrap();
        write(&proxy, 1, &[], "below");
        proxy.commit(1, &[]).unwrap();
        proxy.prepare(2, &[1], &Options::default()).unwrap();
        write(&proxy, 2, &[1], "above");
        let changes = || {
            let mut seen = Vec::new();
            proxy
                .changes(2, &[1], &mut |change| {
                    seen.push((change.path, change.kind));
                    Ok(())
                })
                .unwrap();
            seen
        };
        let wanted = [(Path::new("above").to_path_buf(), ChangeKind::Add)];
        assert_eq!(changes(), wanted, "{name}");
        proxy.commit(2, &[1]).unwrap();
        assert_eq!(changes(), wanted, "{name}, committed");
        assert_eq!(proxy.list().unwrap(), [1, 2], "the views to look with are gone");
        // All of it once more, as after a kill.
        proxy.commit(2, &[1]).unwrap();
        proxy.view(3, &[2], &Options::default()).unwrap();
        proxy.view(3, &[2], &Options::default()).unwrap();
        assert_eq!(proxy.cleanup().unwrap(), 0);
    }
}

#[test]
fn a_service_that_goes_and_comes() {
    let mut service = Service::start();
    let proxy = service.proxy("native", "gone");
    proxy.prepare(1, &[], &Options::default()).unwrap();
    service.child.kill().unwrap();
    service.child.wait().unwrap();
    assert_eq!(proxy.list().unwrap_err().kind(), ErrorKind::Unavailable);
    let error = proxy.prepare(2, &[], &Options::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("native"), "{error}");
    service.child = Command::new("containerd")
        .arg("-c")
        .arg(service.dir.path().join("config.toml"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    while proxy.list().is_err() {
        assert!(Instant::now() < end);
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(proxy.list().unwrap(), [1]);
}
