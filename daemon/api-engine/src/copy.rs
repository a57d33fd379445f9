//! Copying between a container and a client: tar streams whose first message is not tar.

use crate::status::{Answer, finish, refuse};
use crate::stream::{Outgoing, incoming};
use crate::{check, view};
use futures::StreamExt;
use gantry_core::{Error, Result};
use gantry_engine::{CopyTo, Engine, Owners};
use gantry_proto::gantry::v1 as wire;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use wire::copy_from_response::Part as FromPart;
use wire::copy_to_request::Part as ToPart;

/// Chunks that wait for the disk.
const CHUNKS: usize = 8;

pub async fn from(engine: &Engine, request: wire::CopyFromRequest) -> Result<Outgoing<wire::CopyFromResponse>> {
    let path = check::filled("path", request.path)?;
    let (stat, tar) = engine.copy_from(&request.container, &path, request.follow_link).await?;
    let message = |part| wire::CopyFromResponse { part: Some(part) };
    let first = futures::stream::once(async move { Ok::<_, Status>(message(FromPart::Stat(view::path_stat(stat)))) });
    let rest = ReceiverStream::new(tar).map(move |chunk| match chunk {
        Ok(bytes) => Ok(message(FromPart::Tar(bytes.to_vec()))),
        Err(error) => Err(refuse(error)),
    });
    Ok(Box::pin(first.chain(rest)))
}

/// A client that breaks off ends the tar early, which the extraction notices.
pub async fn to(engine: Engine, mut messages: Streaming<wire::CopyToRequest>) -> Answer<wire::CopyToResponse> {
    let header = match messages.message().await?.and_then(|message| message.part) {
        Some(ToPart::Header(header)) => header,
        Some(ToPart::Tar(_)) | None => return Err(refuse(Error::invalid("header: the first message must carry it"))),
    };
    let path = check::filled("header.path", header.path).map_err(refuse)?;
    let mut chunks = incoming(messages, |message| match message.part {
        Some(ToPart::Tar(bytes)) => Some(bytes),
        Some(ToPart::Header(_)) => None,
        None => Some(Vec::new()),
    });
    let (sender, tar) = mpsc::channel(CHUNKS);
    let feeding = tokio::spawn(async move {
        while let Some(chunk) = chunks.recv().await {
            if sender.send(chunk?).await.is_err() {
                break;
            }
        }
        Ok::<(), Error>(())
    });
    let options = CopyTo {
        no_overwrite_dir_non_dir: header.no_overwrite_dir_non_dir,
        owners: match header.copy_uid_gid {
            true => Owners::Archive,
            false => Owners::Root,
        },
    };
    let written = finish(async move {
        let bytes = engine.copy_to(&header.container, &path, options, tar).await?;
        Ok(wire::CopyToResponse { bytes })
    })
    .await;
    match feeding.await {
        Ok(Err(broken)) => Err(refuse(broken)),
        Ok(Ok(())) | Err(_) => written,
    }
}
