//! The content service as a content store.

use crate::remote::{Place, Remote, mask, time};
use gantry_core::content::{BlobInfo, BlobReader, ContentStore, Ingest, IngestRequest, IngestStatus};
use gantry_core::{Digest, Error, ErrorKind, Labels, Namespace, Result};
use gantry_e2e::client::Caller;
use gantry_proto_containerd::services::content::v1 as pb;
use std::sync::Mutex;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

/// Most bytes of one message, as containerd's clients send them.
const CHUNK: usize = 8 << 20;

pub struct RemoteBlobs {
    remote: Remote,
    /// Before each namespace of the suite, so that its checks do not meet.
    prefix: String,
}

impl RemoteBlobs {
    pub fn new(place: &Place, prefix: &str) -> Self {
        Self {
            remote: place.remote(),
            prefix: prefix.to_owned(),
        }
    }

    fn caller(&self, ns: &Namespace) -> Caller {
        let ns = Namespace::new(format!("{}{ns}", self.prefix)).unwrap();
        self.remote.caller(&ns)
    }
}

fn info(info: pb::Info) -> BlobInfo {
    BlobInfo {
        digest: info.digest.parse().unwrap(),
        size: info.size.try_into().unwrap(),
        created_at: time(info.created_at),
        updated_at: time(info.updated_at),
        labels: info.labels,
    }
}

fn status(status: pb::Status) -> IngestStatus {
    IngestStatus {
        reference: status.r#ref,
        offset: status.offset.try_into().unwrap(),
        total: status.total.try_into().unwrap(),
        expected: (!status.expected.is_empty()).then(|| status.expected.parse().unwrap()),
        started_at: time(status.started_at),
        updated_at: time(status.updated_at),
    }
}

impl ContentStore for RemoteBlobs {
    fn info(&self, ns: &Namespace, digest: &Digest) -> Result<BlobInfo> {
        look(&self.remote, &self.caller(ns), digest)
    }

    fn reader(&self, ns: &Namespace, digest: &Digest) -> Result<Box<dyn BlobReader>> {
        let caller = self.caller(ns);
        let size = look(&self.remote, &caller, digest)?.size;
        Ok(Box::new(RemoteReader::open(&self.remote, caller, digest, size)?))
    }

    fn ingest(&self, ns: &Namespace, request: IngestRequest) -> Result<Box<dyn Ingest>> {
        Ok(Box::new(Writing::open(&self.remote, self.caller(ns), request)?))
    }

    fn label(&self, ns: &Namespace, digest: &Digest, labels: &Labels) -> Result<BlobInfo> {
        let request = pb::UpdateRequest {
            info: Some(pb::Info {
                digest: digest.to_string(),
                labels: labels.clone(),
                ..pb::Info::default()
            }),
            update_mask: mask(labels.keys()),
        };
        let answer = self.remote.run(self.caller(ns).content().update(request))?;
        Ok(info(answer.into_inner().info.unwrap()))
    }

    fn list(&self, ns: &Namespace) -> Result<Vec<BlobInfo>> {
        let mut client = self.caller(ns).content();
        self.remote.run(async {
            let mut pages = client.list(pb::ListContentRequest::default()).await?.into_inner();
            let mut found = Vec::new();
            while let Some(page) = pages.message().await? {
                found.extend(page.info.into_iter().map(info));
            }
            Ok(found)
        })
    }

    fn ingests(&self, ns: &Namespace) -> Result<Vec<IngestStatus>> {
        let request = pb::ListStatusesRequest::default();
        let answer = self.remote.run(self.caller(ns).content().list_statuses(request))?;
        Ok(answer.into_inner().statuses.into_iter().map(status).collect())
    }

    fn delete(&self, ns: &Namespace, digest: &Digest) -> Result<()> {
        let request = pb::DeleteContentRequest {
            digest: digest.to_string(),
        };
        self.remote.run(self.caller(ns).content().delete(request)).map(drop)
    }

    fn abort(&self, ns: &Namespace, reference: &str) -> Result<()> {
        abort(&self.remote, &self.caller(ns), reference)
    }
}

fn look(remote: &Remote, caller: &Caller, digest: &Digest) -> Result<BlobInfo> {
    let request = pb::InfoRequest {
        digest: digest.to_string(),
    };
    let answer = remote.run(caller.content().info(request))?;
    Ok(info(answer.into_inner().info.unwrap()))
}

fn abort(remote: &Remote, caller: &Caller, reference: &str) -> Result<()> {
    let request = pb::AbortRequest {
        r#ref: reference.to_owned(),
    };
    remote.run(caller.content().abort(request)).map(drop)
}

/// A read that began when it was opened, and goes on whatever becomes of the blob; what is not asked for in order is asked
/// for anew.
struct RemoteReader {
    remote: Remote,
    caller: Caller,
    digest: String,
    size: u64,
    begun: Mutex<Begun>,
}

struct Begun {
    parts: Streaming<pb::ReadContentResponse>,
    /// Read and not yet asked for.
    ready: Vec<u8>,
    /// Where `ready` begins.
    at: u64,
}

impl RemoteReader {
    fn open(remote: &Remote, caller: Caller, digest: &Digest, size: u64) -> Result<Self> {
        let digest = digest.to_string();
        let parts = remote.run(read(&caller, &digest, 0, 0))?;
        Ok(Self {
            remote: remote.clone(),
            caller,
            digest,
            size,
            begun: Mutex::new(Begun {
                parts,
                ready: Vec::new(),
                at: 0,
            }),
        })
    }
}

async fn read(
    caller: &Caller,
    digest: &str,
    offset: i64,
    size: i64,
) -> std::result::Result<Streaming<pb::ReadContentResponse>, Status> {
    let request = pb::ReadContentRequest {
        digest: digest.to_owned(),
        offset,
        size,
    };
    Ok(caller.content().read(request).await?.into_inner())
}

/// Reads on until there are as many, or no more.
async fn fill(
    parts: &mut Streaming<pb::ReadContentResponse>,
    into: &mut Vec<u8>,
    wanted: usize,
) -> std::result::Result<(), Status> {
    while into.len() < wanted {
        match parts.message().await? {
            Some(part) => into.extend_from_slice(&part.data),
            None => break,
        }
    }
    Ok(())
}

impl BlobReader for RemoteReader {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        if offset >= self.size || buffer.is_empty() {
            return Ok(0);
        }
        let mut begun = self.begun.lock().unwrap();
        let begun = &mut *begun;
        if begun.at == offset {
            self.remote
                .run(fill(&mut begun.parts, &mut begun.ready, buffer.len()))?;
            let count = begun.ready.len().min(buffer.len());
            buffer[..count].copy_from_slice(&begun.ready[..count]);
            begun.ready.drain(..count);
            begun.at += count as u64;
            return Ok(count);
        }
        let mut found = Vec::new();
        self.remote.run(async {
            let (offset, size) = (offset.try_into().unwrap(), buffer.len().try_into().unwrap());
            let mut parts = read(&self.caller, &self.digest, offset, size).await?;
            fill(&mut parts, &mut found, usize::MAX).await
        })?;
        buffer[..found.len()].copy_from_slice(&found);
        Ok(found.len())
    }
}

/// A write that is open: one stream, each message answered once.
struct Writing {
    remote: Remote,
    caller: Caller,
    request: IngestRequest,
    ends: Mutex<Option<Ends>>,
}

struct Ends {
    to: mpsc::Sender<pb::WriteContentRequest>,
    from: Streaming<pb::WriteContentResponse>,
}

impl Writing {
    fn open(remote: &Remote, caller: Caller, request: IngestRequest) -> Result<Self> {
        let (to, messages) = mpsc::channel(1);
        let mut client = caller.content();
        let from = remote
            .run(async { client.write(ReceiverStream::new(messages)).await })?
            .into_inner();
        let writing = Self {
            remote: remote.clone(),
            caller,
            ends: Mutex::new(Some(Ends { to, from })),
            request,
        };
        let first = pb::WriteContentRequest {
            r#ref: writing.request.reference.clone(),
            total: writing.request.total.try_into().unwrap(),
            expected: writing
                .request
                .expected
                .as_ref()
                .map(Digest::to_string)
                .unwrap_or_default(),
            ..pb::WriteContentRequest::default()
        };
        writing.send(first, pb::WriteAction::Stat)?;
        Ok(writing)
    }

    fn send(&self, mut message: pb::WriteContentRequest, action: pb::WriteAction) -> Result<pb::WriteContentResponse> {
        message.set_action(action);
        let mut ends = self.ends.lock().unwrap();
        let Some(open) = ends.as_mut() else {
            return Err(Error::new(ErrorKind::FailedPrecondition, "the write has ended"));
        };
        let answer = self.remote.run(async {
            // One that is gone says why in its answer.
            let _ = open.to.send(message).await;
            let answer = open.from.message().await?;
            answer.ok_or_else(|| Status::unavailable("no answer"))
        });
        if answer.is_err() {
            *ends = None;
        }
        answer
    }

    fn stat(&self) -> pb::WriteContentResponse {
        let asked = self.send(pb::WriteContentRequest::default(), pb::WriteAction::Stat);
        asked.expect("an open write answers")
    }

    fn put(&self, offset: u64, data: &[u8]) -> Result<()> {
        let message = pb::WriteContentRequest {
            offset: offset.try_into().unwrap(),
            data: data.to_vec().into(),
            ..pb::WriteContentRequest::default()
        };
        self.send(message, pb::WriteAction::Write).map(drop)
    }

    /// Ends the stream, and waits until the daemon has let go of the reference.
    fn close(&self) {
        if let Some(mut ends) = self.ends.lock().unwrap().take() {
            drop(ends.to);
            let _ = self.remote.run(async {
                while ends.from.message().await?.is_some() {}
                Ok(())
            });
        }
    }
}

impl Ingest for Writing {
    fn status(&self) -> IngestStatus {
        let now = self.stat();
        IngestStatus {
            reference: self.request.reference.clone(),
            offset: now.offset.try_into().unwrap(),
            total: now.total.try_into().unwrap(),
            expected: self.request.expected.clone(),
            started_at: time(now.started_at),
            updated_at: time(now.updated_at),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        for chunk in bytes.chunks(CHUNK) {
            self.put(self.status().offset, chunk)?;
        }
        Ok(())
    }

    /// A client can only begin anew.
    fn truncate(&mut self, size: u64) -> Result<()> {
        match size {
            0 => self.put(0, &[]),
            _ => Err(Error::new(
                ErrorKind::Unimplemented,
                "a client cannot cut an ingest anywhere",
            )),
        }
    }

    fn digest(&self) -> Digest {
        self.stat().digest.parse().unwrap()
    }

    fn commit(self: Box<Self>, size: Option<u64>, expected: Option<&Digest>, labels: Labels) -> Result<BlobInfo> {
        let message = pb::WriteContentRequest {
            offset: self.stat().offset,
            total: size.unwrap_or(0).try_into().unwrap(),
            expected: expected.map(Digest::to_string).unwrap_or_default(),
            labels,
            ..pb::WriteContentRequest::default()
        };
        let done = self.send(message, pb::WriteAction::Commit)?;
        look(&self.remote, &self.caller, &done.digest.parse().unwrap())
    }

    fn abort(self: Box<Self>) -> Result<()> {
        self.close();
        abort(&self.remote, &self.caller, &self.request.reference)
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.close();
    }
}
