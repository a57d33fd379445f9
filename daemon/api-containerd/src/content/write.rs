//! A write: one ingest, held for as long as the client's stream, each message answered once.

use crate::call::{blocking, refuse};
use futures::stream::{BoxStream, StreamExt};
use gantry_core::content::{ContentStore, Ingest, IngestRequest};
use gantry_core::{Digest, Error, ErrorKind, LeaseId, Namespace, Result};
use gantry_proto_containerd::services::content::v1 as pb;
use gantry_proto_containerd::time::timestamp;
use gantry_store::BlobStore;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use tracing::Instrument;

pub struct Session {
    content: Arc<BlobStore>,
    ns: Namespace,
    lease: Option<LeaseId>,
    ingest: Option<Box<dyn Ingest>>,
    /// Bytes said to come; 0 if nothing was said.
    total: u64,
    expected: Option<Digest>,
}

impl Session {
    pub fn new(content: Arc<BlobStore>, ns: Namespace, lease: Option<LeaseId>) -> Self {
        Self {
            content,
            ns,
            lease,
            ingest: None,
            total: 0,
            expected: None,
        }
    }

    /// Answers each message. A client that goes away without a commit leaves the ingest to be resumed.
    pub fn serve(
        self,
        mut requests: Streaming<pb::WriteContentRequest>,
    ) -> BoxStream<'static, std::result::Result<pb::WriteContentResponse, Status>> {
        let (answers, stream) = mpsc::channel(1);
        let work = async move {
            let mut session = self;
            loop {
                let request = match requests.message().await {
                    Ok(Some(request)) => request,
                    Ok(None) => return,
                    Err(status) => {
                        let _ = answers.send(Err(status)).await;
                        return;
                    }
                };
                let last = request.action() == pb::WriteAction::Commit;
                let done = blocking(move || {
                    let answer = session.take(request);
                    Ok((session, answer))
                });
                let answer = match done.await {
                    Ok((back, answer)) => {
                        session = back;
                        answer.map_err(refuse)
                    }
                    Err(status) => {
                        let _ = answers.send(Err(status)).await;
                        return;
                    }
                };
                let failed = answer.is_err();
                // A client that does not listen any more is as good as gone.
                if answers.send(answer).await.is_err() || failed || last {
                    return;
                }
            }
        };
        tokio::spawn(work.in_current_span());
        ReceiverStream::new(stream).boxed()
    }

    /// One message. Blocks.
    fn take(&mut self, request: pb::WriteContentRequest) -> Result<pb::WriteContentResponse> {
        let expected = (!request.expected.is_empty())
            .then(|| super::digest(&request.expected))
            .transpose()?;
        let total = u64::try_from(request.total)
            .map_err(|_| Error::invalid(format!("a total of {} bytes makes no sense", request.total)))?;
        self.expected = expected.clone().or(self.expected.take());
        if total > 0 {
            self.total = total;
        }
        self.open(&request.r#ref)?;
        if let Some(digest) = &expected
            && self.content.keep(&self.ns, digest, self.lease.as_ref())?
        {
            if let Some(ingest) = self.ingest.take() {
                ingest.abort()?;
            }
            let text = format!("blob with expected digest {digest} exists");
            return Err(Error::new(ErrorKind::AlreadyExists, text));
        }
        self.act(request)
    }

    fn open(&mut self, reference: &str) -> Result<()> {
        if self.ingest.is_some() {
            return Ok(());
        }
        if reference.is_empty() {
            return Err(Error::invalid("first message must have a reference"));
        }
        let request = IngestRequest {
            reference: reference.to_owned(),
            total: self.total,
            expected: self.expected.clone(),
            lease: self.lease.clone(),
            ..IngestRequest::default()
        };
        self.ingest = Some(self.content.ingest(&self.ns, request)?);
        Ok(())
    }

    fn act(&mut self, request: pb::WriteContentRequest) -> Result<pb::WriteContentResponse> {
        let action = request.action();
        let mut ingest = self
            .ingest
            .take()
            .ok_or_else(|| Error::new(ErrorKind::FailedPrecondition, "the write has ended"))?;
        let status = ingest.status();
        let mut answer = pb::WriteContentResponse {
            offset: status.offset.cast_signed(),
            ..pb::WriteContentResponse::default()
        };
        answer.set_action(action);
        if action == pb::WriteAction::Stat {
            answer.digest = ingest.digest().to_string();
            answer.started_at = Some(timestamp(Some(status.started_at)));
            answer.updated_at = Some(timestamp(Some(status.updated_at)));
            // One who resumes may not know what the first writer said.
            answer.total = self.total.max(status.total).cast_signed();
            self.ingest = Some(ingest);
            return Ok(answer);
        }
        if let Err(error) = put(ingest.as_mut(), &request, status.offset) {
            self.ingest = Some(ingest);
            return Err(error);
        }
        answer.offset = ingest.status().offset.cast_signed();
        if action == pb::WriteAction::Commit {
            let size = Some(self.total).filter(|total| *total > 0);
            let blob = ingest.commit(size, self.expected.as_ref(), request.labels)?;
            answer.digest = blob.digest.to_string();
        } else {
            answer.digest = ingest.digest().to_string();
            self.ingest = Some(ingest);
        }
        Ok(answer)
    }
}

/// The bytes of a message at its offset: where the ingest ends, or 0 to begin anew.
fn put(ingest: &mut dyn Ingest, request: &pb::WriteContentRequest, current: u64) -> Result<()> {
    if request.offset > 0 && request.offset.cast_unsigned() != current {
        let text = format!("write @{} must occur at current offset {current}", request.offset);
        return Err(Error::new(ErrorKind::OutOfRange, text));
    }
    if request.offset < 0 {
        let text = format!("write @{} is before the beginning", request.offset);
        return Err(Error::new(ErrorKind::OutOfRange, text));
    }
    if request.offset == 0 && current > 0 {
        ingest.truncate(0)?;
    }
    if request.data.is_empty() {
        return Ok(());
    }
    ingest.write(&request.data)
}
