//! containerd.services.content.v1.

mod write;

use crate::Door;
use crate::call::{Answer, blocking, lease, namespace, refuse};
use crate::mask;
use crate::page::{Pages, pages};
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use gantry_core::content::{BlobInfo, BlobReader, ContentStore, IngestStatus};
use gantry_core::filter;
use gantry_core::meta::Change;
use gantry_core::{Digest, Error, ErrorKind};
use gantry_proto_containerd::services::content::v1 as pb;
use gantry_proto_containerd::time::timestamp;
use std::sync::Arc;
use tonic::{Request, Response, Status, Streaming};

/// Bytes of one message of a read.
const CHUNK: u64 = 1 << 20;

pub fn digest(text: &str) -> Result<Digest, Error> {
    text.parse()
        .map_err(|_| Error::invalid(format!("{text:?} failed validation")))
}

fn info(info: BlobInfo) -> pb::Info {
    pb::Info {
        digest: info.digest.to_string(),
        size: info.size.cast_signed(),
        created_at: Some(timestamp(Some(info.created_at))),
        updated_at: Some(timestamp(Some(info.updated_at))),
        labels: info.labels,
    }
}

fn status(status: IngestStatus) -> pb::Status {
    pb::Status {
        started_at: Some(timestamp(Some(status.started_at))),
        updated_at: Some(timestamp(Some(status.updated_at))),
        r#ref: status.reference,
        offset: status.offset.cast_signed(),
        total: status.total.cast_signed(),
        expected: status.expected.map(|digest| digest.to_string()).unwrap_or_default(),
    }
}

#[tonic::async_trait]
impl pb::content_server::Content for Door {
    async fn info(&self, request: Request<pb::InfoRequest>) -> Answer<pb::InfoResponse> {
        let ns = namespace(&request)?;
        let content = self.rooms.content.clone();
        let digest = digest(&request.get_ref().digest).map_err(refuse)?;
        let found = blocking(move || content.info(&ns, &digest)).await?;
        Ok(Response::new(pb::InfoResponse {
            info: Some(info(found)),
        }))
    }

    async fn update(&self, request: Request<pb::UpdateRequest>) -> Answer<pb::UpdateResponse> {
        let ns = namespace(&request)?;
        let request = request.into_inner();
        let given = request
            .info
            .ok_or_else(|| refuse(Error::invalid("an update needs the info to update")))?;
        let digest = digest(&given.digest).map_err(refuse)?;
        let paths = request.update_mask.unwrap_or_default().paths;
        let change = mask::labels(&paths, &given.labels, |path| {
            Error::invalid(format!(
                "cannot update {path:?} field on content info {:?}",
                given.digest
            ))
        });
        let change = change.map_err(refuse)?;
        let content = self.rooms.content.clone();
        let updated = blocking(move || match change {
            Change::Replace(labels) => Ok(content.replace_labels(&ns, &digest, &labels)?),
            Change::Merge(labels) => content.label(&ns, &digest, &labels),
        });
        Ok(Response::new(pb::UpdateResponse {
            info: Some(info(updated.await?)),
        }))
    }

    type ListStream = Pages<pb::ListContentResponse>;

    async fn list(&self, request: Request<pb::ListContentRequest>) -> Answer<Self::ListStream> {
        let ns = namespace(&request)?;
        let filter = filter::parse_all(&request.get_ref().filters).map_err(refuse)?;
        let content = self.rooms.content.clone();
        let mut found = blocking(move || content.list(&ns)).await?;
        found.retain(|one| filter.matches(one));
        let found = found.into_iter().map(info).collect();
        Ok(Response::new(pages(found, |info| pb::ListContentResponse { info })))
    }

    async fn delete(&self, request: Request<pb::DeleteContentRequest>) -> Answer<()> {
        let ns = namespace(&request)?;
        let digest = digest(&request.get_ref().digest).map_err(refuse)?;
        let content = self.rooms.content.clone();
        blocking(move || content.delete(&ns, &digest)).await.map(Response::new)
    }

    type ReadStream = BoxStream<'static, Result<pb::ReadContentResponse, Status>>;

    async fn read(&self, request: Request<pb::ReadContentRequest>) -> Answer<Self::ReadStream> {
        let ns = namespace(&request)?;
        let request = request.into_inner();
        let digest = digest(&request.digest).map_err(refuse)?;
        let content = self.rooms.content.clone();
        let reader: Arc<dyn BlobReader> = blocking(move || content.reader(&ns, &digest)).await?.into();
        let whole = reader.size();
        let offset = u64::try_from(request.offset).unwrap_or(0);
        if offset > whole {
            let text = format!("read past object length {whole} bytes");
            return Err(refuse(Error::new(ErrorKind::OutOfRange, text)));
        }
        let wanted = u64::try_from(request.size).ok().filter(|size| *size > 0);
        let end = wanted.map_or(whole, |size| offset.saturating_add(size).min(whole));
        Ok(Response::new(read(reader, offset, end)))
    }

    async fn status(&self, request: Request<pb::StatusRequest>) -> Answer<pb::StatusResponse> {
        let ns = namespace(&request)?;
        let wanted = request.into_inner().r#ref;
        let content = self.rooms.content.clone();
        let ingests = blocking(move || content.ingests(&ns)).await?;
        let found = ingests.into_iter().find(|one| one.reference == wanted);
        let found = found.ok_or_else(|| {
            refuse(Error::not_found(format!(
                "could not get status for ref {wanted:?}: reference {wanted:?}: not found"
            )))
        })?;
        Ok(Response::new(pb::StatusResponse {
            status: Some(status(found)),
        }))
    }

    async fn list_statuses(&self, request: Request<pb::ListStatusesRequest>) -> Answer<pb::ListStatusesResponse> {
        let ns = namespace(&request)?;
        let filter = filter::parse_all(&request.get_ref().filters).map_err(refuse)?;
        let content = self.rooms.content.clone();
        let mut found = blocking(move || content.ingests(&ns)).await?;
        found.retain(|one| filter.matches(one));
        Ok(Response::new(pb::ListStatusesResponse {
            statuses: found.into_iter().map(status).collect(),
        }))
    }

    type WriteStream = BoxStream<'static, Result<pb::WriteContentResponse, Status>>;

    async fn write(&self, request: Request<Streaming<pb::WriteContentRequest>>) -> Answer<Self::WriteStream> {
        let (ns, lease) = (namespace(&request)?, lease(&request));
        let session = write::Session::new(self.rooms.content.clone(), ns, lease);
        Ok(Response::new(session.serve(request.into_inner())))
    }

    async fn abort(&self, request: Request<pb::AbortRequest>) -> Answer<()> {
        let ns = namespace(&request)?;
        let reference = request.into_inner().r#ref;
        let content = self.rooms.content.clone();
        blocking(move || content.abort(&ns, &reference))
            .await
            .map(Response::new)
    }
}

/// The bytes from `offset` to `end`. Offsets in the messages count from the start of the read, as containerd's do.
fn read(
    reader: Arc<dyn BlobReader>,
    offset: u64,
    end: u64,
) -> BoxStream<'static, Result<pb::ReadContentResponse, Status>> {
    let step = move |at: u64| {
        let reader = reader.clone();
        async move {
            if at >= end {
                return None;
            }
            let size = (end - at).min(CHUNK);
            let read = blocking(move || {
                let mut buffer = vec![0; usize::try_from(size).unwrap_or(usize::MAX)];
                let count = reader.read_at(&mut buffer, at)?;
                buffer.truncate(count);
                Ok(buffer)
            });
            match read.await {
                Ok(data) if data.is_empty() => {
                    let lost = Error::new(ErrorKind::DataLoss, format!("the blob ends at {at} and not at {end}"));
                    Some((Err(refuse(lost)), end))
                }
                Ok(data) => {
                    let next = at + data.len() as u64;
                    let message = pb::ReadContentResponse {
                        offset: (at - offset).cast_signed(),
                        data: Bytes::from(data),
                    };
                    Some((Ok(message), next))
                }
                Err(status) => Some((Err(status), end)),
            }
        }
    };
    stream::unfold(offset, step).boxed()
}
