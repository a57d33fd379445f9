//! Calls to the service from code that blocks. A thread of its own runs the connection, so that whoever calls may stand in
//! a runtime or in none. Every call has a deadline.

use gantry_core::ErrorKind;
use gantry_proto_containerd::{MAX_MESSAGE, services::snapshots::v1 as wire, types};
use gantry_snapshots_api::{Error, Options, Result, Usage};
use std::future::Future;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use wire::snapshots_client::SnapshotsClient;

/// For what reads a record.
const QUICK: Duration = Duration::from_secs(30);
/// For what may copy, fetch or delete a whole layer.
const LONG: Duration = Duration::from_secs(600);
/// For a list, which is what a daemon asks for first: a service that takes longer counts as not there.
const LIST: Duration = Duration::from_secs(10);
/// For the socket to answer.
const CONNECT: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub struct Link {
    name: &'static str,
    /// The service's own name of it.
    told: String,
    namespace: MetadataValue<Ascii>,
    client: SnapshotsClient<Channel>,
    handle: Handle,
    /// The thread ends when this is dropped.
    _stop: oneshot::Sender<()>,
}

impl Link {
    /// Connects with the first call. The error is the reason in words.
    pub fn open(name: &'static str, told: &str, address: &str, namespace: &str) -> Result<Self, String> {
        let path = address.strip_prefix("unix://").unwrap_or(address);
        if !path.starts_with('/') {
            return Err(format!("address {address:?} is not the absolute path of a socket"));
        }
        let endpoint =
            Endpoint::from_shared(format!("unix://{path}")).map_err(|err| format!("address {address:?}: {err}"))?;
        let namespace = namespace.parse().map_err(|err| format!("scope {namespace:?}: {err}"))?;
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|err| format!("no runtime for its connection: {err}"))?;
        let handle = runtime.handle().clone();
        let channel = {
            let _inside = handle.enter();
            endpoint.connect_timeout(CONNECT).connect_lazy()
        };
        let (stop, stopped) = oneshot::channel::<()>();
        thread::Builder::new()
            .name("snapshots-proxy".into())
            .spawn(move || {
                // Ends by the sender's drop, which is all that it is told by.
                let _ = runtime.block_on(stopped);
            })
            .map_err(|err| format!("no thread for its connection: {err}"))?;
        let client = SnapshotsClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE);
        Ok(Self {
            name,
            told: told.to_owned(),
            namespace,
            client,
            handle,
            _stop: stop,
        })
    }

    fn ask<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request
            .metadata_mut()
            .insert("containerd-namespace", self.namespace.clone());
        request
    }

    fn call<T, F>(
        &self,
        deed: &'static str,
        limit: Duration,
        work: impl FnOnce(SnapshotsClient<Channel>) -> F,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Status>> + Send + 'static,
    {
        let (done, answer) = mpsc::sync_channel(1);
        let work = work(self.client.clone());
        self.handle.spawn(async move {
            let outcome = tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
                let text = format!("no answer within {} s", limit.as_secs());
                Err(match limit {
                    LIST => Status::unavailable(text),
                    _ => Status::deadline_exceeded(text),
                })
            });
            // The caller waits for as long as this runs.
            let _ = done.send(outcome);
        });
        answer
            .recv()
            .unwrap_or_else(|_| Err(Status::unavailable("its connection is shut down")))
            .map_err(|status| self.failed(deed, &status))
    }

    fn failed(&self, deed: &'static str, status: &Status) -> Error {
        Error::Service {
            snapshotter: self.name,
            deed,
            kind: kind(status),
            message: status.message().to_owned(),
        }
    }

    pub fn prepare(&self, key: String, parent: String, options: &Options) -> Result<Vec<types::Mount>> {
        let request = self.ask(wire::PrepareSnapshotRequest {
            snapshotter: self.told.clone(),
            key,
            parent,
            labels: options.labels.clone(),
        });
        self.call("prepare a snapshot", LONG, |mut client| async move {
            Ok(client.prepare(request).await?.into_inner().mounts)
        })
    }

    pub fn view(&self, key: String, parent: String, options: &Options) -> Result<Vec<types::Mount>> {
        let request = self.ask(wire::ViewSnapshotRequest {
            snapshotter: self.told.clone(),
            key,
            parent,
            labels: options.labels.clone(),
        });
        self.call("view a snapshot", LONG, |mut client| async move {
            Ok(client.view(request).await?.into_inner().mounts)
        })
    }

    pub fn mounts(&self, key: String) -> Result<Vec<types::Mount>> {
        let request = self.ask(wire::MountsRequest {
            snapshotter: self.told.clone(),
            key,
        });
        self.call("get the mounts of a snapshot", QUICK, |mut client| async move {
            Ok(client.mounts(request).await?.into_inner().mounts)
        })
    }

    pub fn commit(&self, name: String, key: String, parent: String, options: &Options) -> Result<()> {
        let request = self.ask(wire::CommitSnapshotRequest {
            snapshotter: self.told.clone(),
            name,
            key,
            labels: options.labels.clone(),
            parent,
        });
        self.call("commit a snapshot", LONG, |mut client| async move {
            client.commit(request).await.map(drop)
        })
    }

    pub fn remove(&self, key: String) -> Result<()> {
        let request = self.ask(wire::RemoveSnapshotRequest {
            snapshotter: self.told.clone(),
            key,
        });
        self.call("remove a snapshot", LONG, |mut client| async move {
            client.remove(request).await.map(drop)
        })
    }

    pub fn stat(&self, key: String) -> Result<wire::Info> {
        let request = self.ask(wire::StatSnapshotRequest {
            snapshotter: self.told.clone(),
            key,
        });
        self.call("look up a snapshot", QUICK, |mut client| async move {
            let info = client.stat(request).await?.into_inner().info;
            info.ok_or_else(|| Status::internal("the answer says nothing of the snapshot"))
        })
    }

    pub fn usage(&self, key: String) -> Result<Usage> {
        let request = self.ask(wire::UsageRequest {
            snapshotter: self.told.clone(),
            key,
        });
        self.call("measure a snapshot", LONG, |mut client| async move {
            let usage = client.usage(request).await?.into_inner();
            Ok(Usage {
                size: u64::try_from(usage.size).unwrap_or_default(),
                inodes: u64::try_from(usage.inodes).unwrap_or_default(),
            })
        })
    }

    pub fn list(&self, filters: Vec<String>) -> Result<Vec<wire::Info>> {
        let request = self.ask(wire::ListSnapshotsRequest {
            snapshotter: self.told.clone(),
            filters,
        });
        self.call("list snapshots", LIST, |mut client| async move {
            let mut pages = client.list(request).await?.into_inner();
            let mut all = Vec::new();
            while let Some(page) = pages.message().await? {
                all.extend(page.info);
            }
            Ok(all)
        })
    }

    pub fn cleanup(&self) -> Result<()> {
        let request = self.ask(wire::CleanupRequest {
            snapshotter: self.told.clone(),
        });
        self.call("clean up", LONG, |mut client| async move {
            client.cleanup(request).await.map(drop)
        })
    }
}

/// What a connection that breaks under a call comes to has another cause than the service's word: nobody is there.
fn kind(status: &Status) -> ErrorKind {
    let broken = std::error::Error::source(status).is_some();
    match status.code() {
        Code::Unknown | Code::Cancelled | Code::Internal if broken => ErrorKind::Unavailable,
        Code::Cancelled => ErrorKind::Cancelled,
        Code::Ok | Code::Unknown => ErrorKind::Unknown,
        Code::InvalidArgument => ErrorKind::InvalidArgument,
        Code::DeadlineExceeded => ErrorKind::DeadlineExceeded,
        Code::NotFound => ErrorKind::NotFound,
        Code::AlreadyExists => ErrorKind::AlreadyExists,
        Code::PermissionDenied => ErrorKind::PermissionDenied,
        Code::ResourceExhausted => ErrorKind::ResourceExhausted,
        Code::FailedPrecondition => ErrorKind::FailedPrecondition,
        Code::Aborted => ErrorKind::Aborted,
        Code::OutOfRange => ErrorKind::OutOfRange,
        Code::Unimplemented => ErrorKind::Unimplemented,
        Code::Internal => ErrorKind::Internal,
        Code::Unavailable => ErrorKind::Unavailable,
        Code::DataLoss => ErrorKind::DataLoss,
        Code::Unauthenticated => ErrorKind::Unauthenticated,
    }
}
