//! A daemon, a client of it, and what a client of containerd's does for its transfers.

use gantry_e2e::client::{Caller, Connection};
use gantry_e2e::{House, HouseOptions, PATIENCE};
use gantry_proto_containerd::any::{is, pack, unpack};
use gantry_proto_containerd::prost_types::Any;
use gantry_proto_containerd::services::content::v1 as content;
use gantry_proto_containerd::services::images::v1 as images;
use gantry_proto_containerd::services::snapshots::v1 as snapshots;
use gantry_proto_containerd::services::streaming::v1::StreamInit;
use gantry_proto_containerd::services::transfer::v1 as pb;
use gantry_proto_containerd::types::Platform;
use gantry_proto_containerd::types::transfer as wire;
use std::collections::{BTreeMap, BTreeSet};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

pub type Ends = (mpsc::Sender<Any>, Streaming<Any>);

pub struct Bed {
    pub house: Arc<House>,
    pub caller: Caller,
    next: AtomicU32,
}

/// A daemon without images, for a client in the namespace `one`; the house goes after the runtime.
pub fn with<T: Future<Output = ()>>(test: impl FnOnce(Arc<Bed>) -> T) {
    let house = House::with(HouseOptions {
        bare: true,
        ..HouseOptions::default()
    });
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let bed = runtime.block_on(async {
        let caller = Connection::dial(&house.socket()).await.of("one");
        Arc::new(Bed {
            house: Arc::new(house),
            caller,
            next: AtomicU32::new(0),
        })
    });
    runtime.block_on(test(bed.clone()));
    drop(runtime);
    drop(bed);
}

/// A platform of linux.
pub fn platform(architecture: &str) -> Platform {
    Platform {
        os: "linux".to_owned(),
        architecture: architecture.to_owned(),
        ..Platform::default()
    }
}

pub fn store(name: &str) -> wire::ImageStore {
    wire::ImageStore {
        name: name.to_owned(),
        ..wire::ImageStore::default()
    }
}

pub fn registry(reference: &str) -> wire::OciRegistry {
    wire::OciRegistry {
        reference: reference.to_owned(),
        ..wire::OciRegistry::default()
    }
}

/// What was told, as `event name`, in order.
pub type Told = Vec<wire::Progress>;

impl Bed {
    /// The same daemon, for another client.
    pub fn beside(other: &Self, caller: Caller) -> Self {
        Self {
            house: other.house.clone(),
            caller,
            next: AtomicU32::new(1000),
        }
    }

    pub fn fresh(&self, what: &str) -> String {
        format!("{what}-{}", self.next.fetch_add(1, Ordering::Relaxed))
    }

    pub async fn open(&self, caller: &Caller, id: &str) -> Result<Ends, Status> {
        let (to, messages) = mpsc::channel(16);
        to.send(pack(&StreamInit { id: id.to_owned() })).await.unwrap();
        let answers = caller.streaming().stream(ReceiverStream::new(messages)).await?;
        let mut from = answers.into_inner();
        let first = from.message().await?.unwrap();
        assert!(is::<()>(&first), "{first:?}");
        Ok((to, from))
    }

    pub async fn transfer(&self, source: Any, destination: Any) -> Result<(), Status> {
        transfer(&self.caller, source, destination, "").await
    }

    /// With what is told of it.
    pub async fn told(&self, source: Any, destination: Any) -> (Result<(), Status>, Told) {
        let id = self.fresh("progress");
        let (_to, mut from) = self.open(&self.caller, &id).await.unwrap();
        let listening = tokio::spawn(async move {
            let mut told = Vec::new();
            while let Ok(Some(message)) = from.message().await {
                told.push(unpack::<wire::Progress>(&message).unwrap());
            }
            told
        });
        let done = transfer(&self.caller, source, destination, &id).await;
        let told = tokio::time::timeout(PATIENCE, listening)
            .await
            .expect("the telling ends");
        (done, told.unwrap())
    }

    /// Sends bytes within the windows that are opened, as a source of a transfer.
    pub async fn sending(&self, bytes: Vec<u8>) -> String {
        let id = self.fresh("archive");
        let (to, mut from) = self.open(&self.caller, &id).await.unwrap();
        tokio::spawn(async move {
            let mut window = 0;
            for piece in bytes.chunks(32 << 10) {
                while window < piece.len() {
                    let Ok(Some(message)) = from.message().await else {
                        return;
                    };
                    let update: wire::WindowUpdate = unpack(&message).unwrap();
                    window += usize::try_from(update.update).unwrap();
                }
                window -= piece.len();
                let data = wire::Data {
                    data: piece.to_vec().into(),
                };
                if to.send(pack(&data)).await.is_err() {
                    return;
                }
            }
            drop(to);
            while let Ok(Some(_)) = from.message().await {}
        });
        id
    }

    /// Takes the bytes that a transfer sends.
    pub async fn taking(&self) -> (String, tokio::task::JoinHandle<Vec<u8>>) {
        let id = self.fresh("taken");
        let (to, mut from) = self.open(&self.caller, &id).await.unwrap();
        let taking = tokio::spawn(async move {
            let mut all = Vec::new();
            let update = 64 << 10;
            let _ = to.send(pack(&wire::WindowUpdate { update })).await;
            while let Ok(Some(message)) = from.message().await {
                let data: wire::Data = unpack(&message).unwrap();
                assert!(data.data.len() <= 32 << 10);
                all.extend_from_slice(&data.data);
                let update = i32::try_from(data.data.len()).unwrap();
                // The last piece may have been sent.
                let _ = to.send(pack(&wire::WindowUpdate { update })).await;
            }
            all
        });
        (id, taking)
    }

    /// Imports an archive; answers what was told.
    pub async fn import(&self, archive: Vec<u8>, to: wire::ImageStore) -> Told {
        let source = wire::ImageImportStream {
            stream: self.sending(archive).await,
            ..wire::ImageImportStream::default()
        };
        let (done, told) = self.told(pack(&source), pack(&to)).await;
        done.unwrap();
        told
    }

    /// Exports; answers the archive's members.
    pub async fn export(&self, from: wire::ImageStore, mut to: wire::ImageExportStream) -> BTreeMap<String, Vec<u8>> {
        let (id, taking) = self.taking().await;
        to.stream = id;
        self.transfer(pack(&from), pack(&to)).await.unwrap();
        let archive = taking.await.unwrap();
        let mut members = BTreeMap::new();
        for member in tar::Archive::new(archive.as_slice()).entries().unwrap() {
            let mut member = member.unwrap();
            let name = member.path().unwrap().display().to_string();
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut member, &mut bytes).unwrap();
            members.insert(name, bytes);
        }
        members
    }

    /// Names and digests of a namespace's images.
    pub async fn images(&self, caller: &Caller) -> BTreeMap<String, String> {
        let list = caller
            .images()
            .list(images::ListImagesRequest::default())
            .await
            .unwrap();
        let images = list.into_inner().images.into_iter();
        images.map(|image| (image.name, image.target.unwrap().digest)).collect()
    }

    pub async fn content(&self, caller: &Caller) -> BTreeSet<String> {
        let list = caller
            .content()
            .list(content::ListContentRequest::default())
            .await
            .unwrap();
        let mut messages = list.into_inner();
        let mut all = BTreeSet::new();
        while let Some(message) = messages.message().await.unwrap() {
            all.extend(message.info.into_iter().map(|info| info.digest));
        }
        all
    }

    pub async fn snapshots(&self, caller: &Caller, snapshotter: &str) -> BTreeSet<String> {
        let request = snapshots::ListSnapshotsRequest {
            snapshotter: snapshotter.to_owned(),
            ..Default::default()
        };
        let mut messages = caller.snapshots().list(request).await.unwrap().into_inner();
        let mut all = BTreeSet::new();
        while let Some(message) = messages.message().await.unwrap() {
            all.extend(message.info.into_iter().map(|info| info.name));
        }
        all
    }
}

pub async fn transfer(caller: &Caller, source: Any, destination: Any, progress: &str) -> Result<(), Status> {
    let request = pb::TransferRequest {
        source: Some(source),
        destination: Some(destination),
        options: Some(pb::TransferOptions {
            progress_stream: progress.to_owned(),
        }),
    };
    caller.transfer().transfer(request).await.map(drop)
}

/// The events told of what bears this name, once each, in order.
pub fn events(told: &Told, name: &str) -> Vec<String> {
    let mut events: Vec<String> = Vec::new();
    for one in told.iter().filter(|one| one.name == name) {
        if events.last() != Some(&one.event) {
            events.push(one.event.clone());
        }
    }
    events
}

/// Debian's registry that lets only `me` with `secret` in.
pub struct Closed {
    child: Child,
    pub host: String,
}

impl Closed {
    pub fn start(root: &std::path::Path) -> Self {
        let host = format!("127.0.0.1:{}", gantry_e2e::port());
        let users = root.join("users");
        // bcrypt of "secret".
        std::fs::write(
            &users,
            "me:$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n",
        )
        .unwrap();
        let config = root.join("closed.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: {host}}}\nauth: {{htpasswd: {{realm: here, path: {}}}}}\n",
            root.join("closed").display(),
            users.display()
        );
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(config).stdin(Stdio::null());
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        gantry_e2e::eventually("the registry answers", PATIENCE, || {
            std::net::TcpStream::connect(&host).is_ok()
        });
        Self { child, host }
    }
}

impl Drop for Closed {
    fn drop(&mut self) {
        gantry_e2e::peers::end(&mut self.child);
    }
}
