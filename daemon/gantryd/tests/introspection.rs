//! What the daemon tells clients of containerd's API about itself and about runtimes.

#![allow(clippy::unwrap_used, reason = "a test may give up")]

use gantry_proto_containerd::prost::Message;
use gantry_proto_containerd::prost_types::Any;
use gantry_proto_containerd::services::introspection::v1::introspection_client::IntrospectionClient;
use gantry_proto_containerd::services::introspection::v1::{PluginInfoRequest, PluginInfoResponse, PluginsRequest};
use gantry_proto_containerd::types::{RuntimeInfo, RuntimeRequest};
use hyper_util::rt::TokioIo;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Status};

const DEADLINE: Duration = Duration::from_secs(20);
const RUNTIME: (&str, &str) = ("io.containerd.runtime.v2", "task");

struct Daemon {
    child: Child,
    client: IntrospectionClient<Channel>,
}

impl Daemon {
    async fn start(dir: &TempDir) -> Self {
        let at = |name: &str| dir.path().join(name);
        fs::write(at("daemon.json"), "{}").unwrap();
        let toml = "version = 3\n[plugins.\"io.containerd.runtime.v2.task\"]\nplatforms = [\"linux/amd64\", \"linux/arm/v7\"]\n";
        fs::write(at("config.toml"), toml).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_gantryd"));
        command
            .arg("--config-file")
            .arg(at("daemon.json"))
            .arg("--config")
            .arg(at("config.toml"));
        command.arg("--root").arg(at("data")).arg("--state").arg(at("run"));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        let client = IntrospectionClient::new(dial(&at("run/gantry.sock")).await);
        Self { child, client }
    }

    async fn info(&mut self, (kind, id): (&str, &str), options: Option<Any>) -> Result<PluginInfoResponse, Status> {
        let request = PluginInfoRequest {
            r#type: kind.to_owned(),
            id: id.to_owned(),
            options,
        };
        Ok(self.client.plugin_info(request).await?.into_inner())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

async fn dial(socket: &Path) -> Channel {
    let end = Instant::now() + DEADLINE;
    loop {
        let path = socket.to_owned();
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

fn asking(runtime: &str) -> Option<Any> {
    let request = RuntimeRequest {
        runtime_path: runtime.to_owned(),
        options: None,
    };
    Some(Any {
        type_url: "containerd.types.RuntimeRequest".to_owned(),
        value: request.encode_to_vec(),
    })
}

#[tokio::test]
async fn the_list_has_what_clients_look_for() {
    let dir = tempfile::Builder::new().prefix("gi").tempdir().unwrap();
    let mut daemon = Daemon::start(&dir).await;
    let all = daemon
        .client
        .plugins(PluginsRequest::default())
        .await
        .unwrap()
        .into_inner()
        .plugins;
    assert!(all.iter().all(|plugin| plugin.init_err.is_none()));
    let find = |kind: &str, id: &str| all.iter().find(|plugin| plugin.r#type == kind && plugin.id == id);
    for (kind, id) in [
        ("io.containerd.content.v1", "content"),
        ("io.containerd.event.v1", "exchange"),
        ("io.containerd.gc.v1", "scheduler"),
        ("io.containerd.lease.v1", "manager"),
        ("io.containerd.mount-handler.v1", "loop"),
        ("io.containerd.mount-manager.v1", "bolt"),
        ("io.containerd.service.v1", "tasks-service"),
        ("io.containerd.grpc.v1", "introspection"),
        ("io.containerd.internal.v1", "opt"),
    ] {
        assert!(find(kind, id).is_some(), "{kind} {id}");
    }
    for (kind, id) in [
        ("io.containerd.snapshotter.v1", "overlayfs"),
        ("io.containerd.differ.v1", "walking"),
    ] {
        assert!(!find(kind, id).unwrap().platforms.is_empty(), "{kind} {id}");
    }
    let root = &find("io.containerd.snapshotter.v1", "native").unwrap().exports["root"];
    assert!(Path::new(root).is_dir());
    let task = find(RUNTIME.0, RUNTIME.1).unwrap();
    assert!(
        task.exports["log-uri-schemes"]
            .split(',')
            .any(|scheme| scheme == "binary")
    );
    let platforms: Vec<_> = task
        .platforms
        .iter()
        .map(|one| (one.architecture.as_str(), one.variant.as_str()))
        .collect();
    assert_eq!(platforms, [("amd64", ""), ("arm", "v7")]);
    let restart = find("io.containerd.monitor.container.v1", "restart").unwrap();
    assert!(restart.capabilities.iter().any(|policy| policy == "on-failure"));
}

#[tokio::test]
async fn runtimes_are_asked_for_themselves() {
    let dir = tempfile::Builder::new().prefix("gi").tempdir().unwrap();
    let mut daemon = Daemon::start(&dir).await;
    let told = daemon.info(RUNTIME, asking("io.containerd.gantry.v1")).await.unwrap();
    assert_eq!(told.plugin.unwrap().id, "task");
    let extra = told.extra.unwrap();
    assert_eq!(extra.type_url, "containerd.types.RuntimeInfo");
    let info = RuntimeInfo::decode(extra.value.as_slice()).unwrap();
    assert_eq!(info.name, "io.containerd.gantry.v1");
    let features = info.features.unwrap();
    assert!(features.type_url.ends_with("runtime-spec/1/features/Features"));
    assert!(std::str::from_utf8(&features.value).unwrap().contains("ociVersionMax"));
    // Debian's shim does not know the flag.
    let refused = daemon.info(RUNTIME, asking("io.containerd.runc.v2")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unknown);
    for word in [
        "failed to run",
        "containerd-shim-runc-v2 -info",
        "exit status 2",
        "flag provided but not defined",
    ] {
        assert!(refused.message().contains(word), "{word} in {}", refused.message());
    }
    for runtime in ["io.containerd.nosuch.v9", "", "/bin"] {
        let refused = daemon.info(RUNTIME, asking(runtime)).await.unwrap_err();
        assert!(
            refused.message().starts_with("failed to resolve runtime path"),
            "{refused}"
        );
    }
    let other = Some(Any {
        type_url: "x.Other".to_owned(),
        value: Vec::new(),
    });
    assert_eq!(
        daemon.info(RUNTIME, other).await.unwrap_err().code(),
        Code::Unimplemented
    );
    let options = asking("io.containerd.gantry.v1");
    let gc = ("io.containerd.gc.v1", "scheduler");
    assert_eq!(daemon.info(gc, options).await.unwrap_err().code(), Code::Unimplemented);
    assert_eq!(
        daemon
            .info(("io.containerd.gc.v1", "none"), None)
            .await
            .unwrap_err()
            .code(),
        Code::NotFound
    );
}

#[tokio::test]
async fn the_servers_number_stays() {
    let dir = tempfile::Builder::new().prefix("gi").tempdir().unwrap();
    fs::create_dir(dir.path().join("data")).unwrap();
    let number = "8a3f2f6e-0f0e-4d3e-9d3a-111111111111";
    fs::write(dir.path().join("data/uuid"), number).unwrap();
    for _ in 0..2 {
        let mut daemon = Daemon::start(&dir).await;
        let server = daemon.client.server(()).await.unwrap().into_inner();
        assert_eq!(server.uuid, number, "one that a containerd left is kept");
        assert_eq!(server.pid, u64::from(daemon.child.id()));
        assert!(server.pidns > 0 && server.deprecations.is_empty());
    }
}
