//! Flows against a daemon and a shim made up here: what is asked in which order, and what comes back.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use gantry_proto::gantry::v1 as pb;
use gantry_proto_attach::{self as wire, Exit, HEADER_LEN, Kind, Ready};
use tonic::{Request, Response, Status};

use crate::cli::verb::Parsed;
use crate::cli::{self, Outcome};
use crate::client::Daemon;

type Answer<T> = Result<Response<T>, Status>;

/// Notes each call, and answers as a daemon with one image after it was pulled.
#[derive(Clone, Default)]
struct Fake {
    calls: Arc<Mutex<Vec<String>>>,
    socket: PathBuf,
    status: u32,
    start_fails_with: Option<&'static str>,
}

impl Fake {
    fn note(&self, call: impl Into<String>) {
        self.calls.lock().unwrap().push(call.into());
    }
}

fn refuse(kind: &'static str, message: &str) -> Status {
    let mut status = Status::not_found(message);
    status.metadata_mut().insert("gantry-error-kind", kind.parse().unwrap());
    status
}

macro_rules! not_asked {
    ($($name:ident($ask:ty) -> $answer:ty;)*) => {
        // Spelled out, since async_trait does not look into macros.
        $(fn $name<'a, 'b>(&'a self, _: Request<$ask>) -> Pin<Box<dyn Future<Output = Answer<$answer>> + Send + 'b>>
        where
            'a: 'b,
            Self: 'b,
        {
            Box::pin(async { Err(Status::unimplemented(stringify!($name))) })
        })*
    };
}

#[tonic::async_trait]
impl pb::containers_server::Containers for Fake {
    type LogsStream = tokio_stream::Iter<std::vec::IntoIter<Result<pb::LogEntry, Status>>>;
    type StatsStream = tokio_stream::Iter<std::vec::IntoIter<Result<pb::StatsSample, Status>>>;
    type CopyFromStream = tokio_stream::Iter<std::vec::IntoIter<Result<pb::CopyFromResponse, Status>>>;
    type ExportStream = tokio_stream::Iter<std::vec::IntoIter<Result<pb::ExportChunk, Status>>>;

    async fn create(&self, request: Request<pb::CreateContainerRequest>) -> Answer<pb::CreateContainerResponse> {
        let image = request.into_inner().config.unwrap_or_default().image;
        let pulled = self.calls.lock().unwrap().iter().any(|call| call.starts_with("pull"));
        self.note(format!("create {image}"));
        if !pulled && image == "far" {
            return Err(refuse("not-found", "No such image: far:latest"));
        }
        Ok(Response::new(pb::CreateContainerResponse {
            id: "c1".into(),
            warnings: vec![],
        }))
    }

    async fn prepare(&self, _: Request<pb::PrepareContainerRequest>) -> Answer<pb::AttachEndpoint> {
        self.note("prepare");
        let socket = self.socket.display().to_string();
        Ok(Response::new(pb::AttachEndpoint {
            socket,
            container: "c1".into(),
            ..Default::default()
        }))
    }

    async fn start(&self, _: Request<pb::StartContainerRequest>) -> Answer<pb::StartContainerResponse> {
        self.note("start");
        match self.start_fails_with {
            Some(kind) => Err(refuse(kind, "exec: \"nope\": executable file not found in $PATH")),
            None => Ok(Response::new(pb::StartContainerResponse::default())),
        }
    }

    async fn wait(&self, request: Request<pb::WaitContainerRequest>) -> Answer<pb::WaitContainerResponse> {
        self.note(format!("wait {:?}", request.into_inner().condition()));
        Ok(Response::new(pb::WaitContainerResponse {
            exit_code: 9,
            error: String::new(),
        }))
    }

    async fn remove(&self, _: Request<pb::RemoveContainerRequest>) -> Answer<pb::RemoveContainerResponse> {
        self.note("remove");
        Ok(Response::new(pb::RemoveContainerResponse {}))
    }

    async fn logs(&self, _: Request<pb::LogsRequest>) -> Answer<Self::LogsStream> {
        Err(refuse("not-found", "No such container: x"))
    }

    async fn stats(&self, _: Request<pb::StatsRequest>) -> Answer<Self::StatsStream> {
        Err(Status::unimplemented("stats"))
    }

    async fn export(&self, _: Request<pb::ExportContainerRequest>) -> Answer<Self::ExportStream> {
        Err(Status::unimplemented("export"))
    }

    async fn copy_from(&self, _: Request<pb::CopyFromRequest>) -> Answer<Self::CopyFromStream> {
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(2);
        header.set_mode(0o644);
        archive.append_data(&mut header, "hosts", "hi".as_bytes()).unwrap();
        let stat = pb::PathStat {
            name: "hosts".into(),
            size: 2,
            mode: 0o100_644,
            ..Default::default()
        };
        let parts = [
            pb::copy_from_response::Part::Stat(stat),
            pb::copy_from_response::Part::Tar(archive.into_inner().unwrap()),
        ];
        let parts: Vec<_> = parts
            .into_iter()
            .map(|part| Ok(pb::CopyFromResponse { part: Some(part) }))
            .collect();
        Ok(Response::new(tokio_stream::iter(parts)))
    }

    not_asked! {
        attach(pb::AttachContainerRequest) -> pb::AttachEndpoint;
        stop(pb::StopContainerRequest) -> pb::StopContainerResponse;
        kill(pb::KillContainerRequest) -> pb::KillContainerResponse;
        restart(pb::RestartContainerRequest) -> pb::RestartContainerResponse;
        pause(pb::PauseContainerRequest) -> pb::PauseContainerResponse;
        unpause(pb::UnpauseContainerRequest) -> pb::UnpauseContainerResponse;
        rename(pb::RenameContainerRequest) -> pb::RenameContainerResponse;
        list(pb::ListContainersRequest) -> pb::ListContainersResponse;
        inspect(pb::InspectContainerRequest) -> pb::InspectContainerResponse;
        top(pb::TopRequest) -> pb::TopResponse;
        changes(pb::ChangesRequest) -> pb::ChangesResponse;
        ports(pb::PortsRequest) -> pb::PortsResponse;
        stat_path(pb::StatPathRequest) -> pb::PathStat;
        copy_to(tonic::Streaming<pb::CopyToRequest>) -> pb::CopyToResponse;
        update(pb::UpdateContainerRequest) -> pb::UpdateContainerResponse;
        commit(pb::CommitContainerRequest) -> pb::CommitContainerResponse;
        prune(pb::PruneContainersRequest) -> pb::Pruned;
    }
}

#[tonic::async_trait]
impl pb::images_server::Images for Fake {
    type PullStream = tokio_stream::Iter<std::vec::IntoIter<Result<pb::PullProgress, Status>>>;
    type LoadStream = tokio_stream::Iter<std::vec::IntoIter<Result<pb::LoadProgress, Status>>>;
    type SaveStream = tokio_stream::Iter<std::vec::IntoIter<Result<pb::SaveChunk, Status>>>;

    async fn pull(&self, request: Request<pb::PullRequest>) -> Answer<Self::PullStream> {
        self.note(format!("pull {}", request.into_inner().reference));
        let result = pb::PullResult {
            reference: "docker.io/library/far:latest".into(),
            ..Default::default()
        };
        let last = pb::PullProgress {
            result: Some(result),
            ..Default::default()
        };
        Ok(Response::new(tokio_stream::iter(vec![Ok(last)])))
    }

    async fn load(&self, _: Request<tonic::Streaming<pb::LoadRequest>>) -> Answer<Self::LoadStream> {
        Err(Status::unimplemented("load"))
    }

    async fn save(&self, _: Request<pb::SaveRequest>) -> Answer<Self::SaveStream> {
        let chunks = vec![
            Ok(pb::SaveChunk {
                chunk: b"half".to_vec(),
            }),
            Err(refuse("internal", "disk on fire")),
        ];
        Ok(Response::new(tokio_stream::iter(chunks)))
    }

    async fn import(&self, request: Request<tonic::Streaming<pb::ImportRequest>>) -> Answer<pb::ImportResponse> {
        let mut parts = request.into_inner();
        let mut bytes = 0;
        while let Some(part) = parts.message().await? {
            match part.part {
                Some(pb::import_request::Part::Header(header)) => {
                    self.note(format!("import {} {:?}", header.reference, header.changes))
                }
                Some(pb::import_request::Part::Tar(tar)) => bytes += tar.len(),
                None => {}
            }
        }
        self.note(format!("{bytes} bytes"));
        Ok(Response::new(pb::ImportResponse { id: "sha256:aa".into() }))
    }

    not_asked! {
        list(pb::ListImagesRequest) -> pb::ListImagesResponse;
        inspect(pb::InspectImageRequest) -> pb::Image;
        history(pb::HistoryRequest) -> pb::HistoryResponse;
        tag(pb::TagImageRequest) -> pb::TagImageResponse;
        remove(pb::RemoveImageRequest) -> pb::RemoveImageResponse;
        prune(pb::PruneImagesRequest) -> pb::PruneImagesResponse;
    }
}

#[tonic::async_trait]
impl pb::networks_server::Networks for Fake {
    async fn create(&self, request: Request<pb::CreateNetworkRequest>) -> Answer<pb::CreateNetworkResponse> {
        let asked = request.into_inner();
        let pools = asked.ipam.unwrap_or_default().pools;
        self.note(format!(
            "network create {} {} {:?} {:?} {}",
            asked.name,
            asked.driver,
            asked.ipv4,
            asked.ipv6,
            pools.len()
        ));
        Ok(Response::new(pb::CreateNetworkResponse { id: "n1".into() }))
    }

    async fn remove(&self, request: Request<pb::RemoveNetworkRequest>) -> Answer<pb::RemoveNetworkResponse> {
        let network = request.into_inner().network;
        self.note(format!("network remove {network}"));
        match network.as_str() {
            "gone" => Err(refuse("not-found", "network gone not found")),
            _ => Ok(Response::new(pb::RemoveNetworkResponse {})),
        }
    }

    async fn prune(&self, _: Request<pb::PruneNetworksRequest>) -> Answer<pb::PruneNetworksResponse> {
        self.note("network prune");
        Ok(Response::new(pb::PruneNetworksResponse {
            removed: vec!["old".into()],
        }))
    }

    async fn join(&self, request: Request<pb::ConnectNetworkRequest>) -> Answer<pb::ConnectNetworkResponse> {
        let asked = request.into_inner();
        let settings = asked.settings.unwrap_or_default();
        self.note(format!(
            "join {} {} {} {:?}",
            asked.network, asked.container, settings.ipv4_address, settings.aliases
        ));
        Ok(Response::new(pb::ConnectNetworkResponse {}))
    }

    async fn leave(&self, request: Request<pb::DisconnectNetworkRequest>) -> Answer<pb::DisconnectNetworkResponse> {
        let asked = request.into_inner();
        self.note(format!("leave {} {} {}", asked.network, asked.container, asked.force));
        Ok(Response::new(pb::DisconnectNetworkResponse {}))
    }

    not_asked! {
        list(pb::ListNetworksRequest) -> pb::ListNetworksResponse;
        inspect(pb::InspectNetworkRequest) -> pb::Network;
    }
}

/// A daemon and a shim in a directory of their own.
struct World {
    dir: tempfile::TempDir,
    fake: Fake,
    daemon: Daemon,
}

impl World {
    fn new(make: impl FnOnce(&mut Fake)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut fake = Fake {
            socket: dir.path().join("attach"),
            ..Fake::default()
        };
        make(&mut fake);
        shim(&fake);
        let path = dir.path().join("gantry.sock");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let incoming = tokio_stream::wrappers::UnixListenerStream::new(listener);
        let server = tonic::transport::Server::builder()
            .add_service(pb::containers_server::ContainersServer::new(fake.clone()))
            .add_service(pb::images_server::ImagesServer::new(fake.clone()))
            .add_service(pb::networks_server::NetworksServer::new(fake.clone()));
        tokio::spawn(server.serve_with_incoming(incoming));
        let daemon = Daemon::new(&format!("unix://{}", path.display())).unwrap();
        Self { dir, fake, daemon }
    }

    async fn run(&self, line: &str) -> crate::error::Result<i32> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let (verb, parsed): (_, Parsed) = match cli::parse(&words, None, 80) {
            Outcome::Run { verb, parsed, .. } => (verb, parsed),
            _ => panic!("{line}"),
        };
        (verb.run)(self.daemon.clone(), parsed).await
    }

    fn calls(&self) -> Vec<String> {
        self.fake.calls.lock().unwrap().clone()
    }
}

/// Answers one client: ready, and when the daemon was told to start, the exit.
fn shim(fake: &Fake) {
    let listener = UnixListener::bind(&fake.socket).unwrap();
    let (calls, status) = (fake.calls.clone(), fake.status);
    std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut head = [0; HEADER_LEN];
        socket.read_exact(&mut head).unwrap();
        let (_, _, len) = wire::decode_header(&head).unwrap();
        socket.read_exact(&mut vec![0; len]).unwrap();
        calls.lock().unwrap().push("hello".into());
        socket
            .write_all(&wire::encode_json(Kind::Ready, &Ready::default()))
            .unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while !calls.lock().unwrap().iter().any(|call| call == "start") && std::time::Instant::now() < deadline {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let _ = socket.write_all(&wire::encode_json(
            Kind::Exit,
            &Exit {
                status,
                ..Exit::default()
            },
        ));
    });
}

#[tokio::test]
async fn run_attaches_before_it_starts_and_gives_the_exit_code() {
    let world = World::new(|fake| fake.status = 7);
    assert_eq!(world.run("run x sh -c true").await.unwrap(), 7);
    assert_eq!(
        world.calls(),
        ["create x", "prepare", "hello", "start", "wait NotRunning"]
    );
}

#[tokio::test]
async fn run_pulls_what_is_missing_and_waits_for_removal() {
    let world = World::new(|_| {});
    assert_eq!(world.run("run --rm -q far").await.unwrap(), 0);
    let calls = world.calls();
    assert_eq!(calls[..3], ["create far", "pull far", "create far"]);
    assert!(calls.contains(&"wait Removed".to_owned()), "{calls:?}");
}

#[tokio::test]
async fn what_cannot_be_started_is_removed_and_has_its_code() {
    let world = World::new(|fake| fake.start_fails_with = Some("command-not-found"));
    assert_eq!(world.run("run --rm x nope").await.unwrap(), 127);
    assert!(world.calls().contains(&"remove".to_owned()));
    let world = World::new(|fake| fake.start_fails_with = Some("command-not-executable"));
    assert_eq!(world.run("run x nope").await.unwrap(), 126);
    assert!(!world.calls().contains(&"remove".to_owned()));
    let world = World::new(|_| {});
    assert_eq!(world.run("run --pull never far").await.unwrap(), 125);
}

#[tokio::test]
async fn import_sends_its_header_first() {
    let world = World::new(|_| {});
    let file = world.dir.path().join("root.tar");
    std::fs::write(&file, vec![0; 600_000]).unwrap();
    assert_eq!(
        world
            .run(&format!("import -c CMD {} mine:1", file.display()))
            .await
            .unwrap(),
        0
    );
    assert_eq!(world.calls(), ["import mine:1 [\"CMD\"]", "600000 bytes"]);
}

#[tokio::test]
async fn a_save_that_breaks_off_leaves_no_file() {
    let world = World::new(|_| {});
    let target = world.dir.path().join("out.tar");
    let err = world.run(&format!("save -o {} x", target.display())).await.unwrap_err();
    assert_eq!(err.to_string(), "Error response from daemon: disk on fire");
    assert!(!target.exists());
}

#[tokio::test]
async fn cp_writes_a_file_under_the_name_given() {
    let world = World::new(|_| {});
    let target = world.dir.path().join("mine");
    assert_eq!(
        world
            .run(&format!("cp c:/etc/hosts {}", target.display()))
            .await
            .unwrap(),
        0
    );
    assert_eq!(std::fs::read_to_string(target).unwrap(), "hi");
    let err = world
        .run("cp c:/etc/hosts /no/such/dir/x")
        .await
        .unwrap_err()
        .to_string();
    assert_eq!(err, "invalid output path: directory \"/no/such/dir\" does not exist");
}

#[tokio::test]
async fn networks_are_made_joined_left_and_removed() {
    let world = World::new(|_| {});
    for line in [
        "network create -d macvlan --ipv6 --subnet 10.0.0.0/24 web",
        "network connect --ip 10.0.0.9 --alias a web c",
        "network disconnect -f web c",
        "network rm -f web gone",
        "network prune -f",
    ] {
        assert_eq!(world.run(line).await.unwrap(), 0, "{line}");
    }
    assert_eq!(
        world.calls(),
        [
            "network create web macvlan None Some(true) 1",
            "join web c 10.0.0.9 [\"a\"]",
            "leave web c true",
            "network remove web",
            "network remove gone",
            "network prune"
        ]
    );
    let err = world.run("network rm gone").await.unwrap_err();
    assert_eq!(err.to_string(), "Error response from daemon: network gone not found");
}

#[tokio::test]
async fn errors_say_who_said_so() {
    let world = World::new(|_| {});
    let err = world.run("logs x").await.unwrap_err();
    assert_eq!(err.to_string(), "Error response from daemon: No such container: x");
    let nobody = Daemon::new("unix:///no/such/gantry.sock").unwrap();
    let err = nobody
        .take(nobody.containers().list(pb::ListContainersRequest::default()).await)
        .unwrap_err();
    assert_eq!(
        err.to_string(),
        "Cannot connect to the gantry daemon at unix:///no/such/gantry.sock. Is the gantryd running?"
    );
    assert!(Daemon::new("nonsense").is_err());
}
