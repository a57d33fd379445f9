//! Streams, and transfers that use them.

use crate::bed::{Bed, Entry};
use futures::future::BoxFuture;
use gantry_proto_containerd::any::{is, json, pack, unpack};
use gantry_proto_containerd::prost_types::Any;
use gantry_proto_containerd::services::images::v1 as images;
use gantry_proto_containerd::services::streaming::v1::StreamInit;
use gantry_proto_containerd::services::transfer::v1 as pb;
use gantry_proto_containerd::types::transfer::{
    Data, ImageExportStream, ImageStore, Progress, ReadStream, WindowUpdate,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

pub fn entries() -> Vec<Entry> {
    vec![
        Entry::new(
            "containerd.services.streaming.v1.Streaming/Stream",
            |bed| {
                Box::pin(async move {
                    let (_to, mut from) = open(bed, &bed.fresh("stream")).await.unwrap();
                    let again = tokio::time::timeout(std::time::Duration::from_millis(100), from.message()).await;
                    assert!(again.is_err(), "it is held open: {again:?}");
                })
            },
            Code::InvalidArgument,
            "a stream begins with a StreamInit",
            |bed| {
                Box::pin(async move {
                    let first = tokio_stream::iter([json("walk.Text", "\"no init\"")]);
                    bed.walk.streaming().stream(first).await.map(drop)
                })
            },
        ),
        Entry::new(
            "containerd.services.transfer.v1.Transfer/Transfer",
            |bed| {
                Box::pin(async move {
                    tag(bed).await;
                    export(bed).await;
                })
            },
            Code::Unimplemented,
            "not implemented for containerd.types.transfer.ReadStream",
            |bed| {
                Box::pin(async move {
                    let from = ReadStream::default();
                    transfer(bed, pack(&from), pack(&ImageStore::default()), "").await
                })
            },
        ),
    ]
}

type Ends = (mpsc::Sender<Any>, Streaming<Any>);

/// A stream of this id that the daemon has taken in.
async fn open(bed: &Bed, id: &str) -> Result<Ends, Status> {
    let (to, messages) = mpsc::channel(16);
    to.send(pack(&StreamInit { id: id.to_owned() })).await.unwrap();
    let mut from = bed
        .walk
        .streaming()
        .stream(ReceiverStream::new(messages))
        .await?
        .into_inner();
    let first = from.message().await?.unwrap();
    assert!(is::<()>(&first), "{first:?}");
    Ok((to, from))
}

async fn transfer(bed: &Bed, source: Any, destination: Any, progress: &str) -> Result<(), Status> {
    let request = pb::TransferRequest {
        source: Some(source),
        destination: Some(destination),
        options: Some(pb::TransferOptions {
            progress_stream: progress.to_owned(),
        }),
    };
    bed.walk.transfer().transfer(request).await.map(drop)
}

fn store(name: &str) -> Any {
    pack(&ImageStore {
        name: name.to_owned(),
        ..ImageStore::default()
    })
}

fn tag(bed: &Bed) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let (old, new) = (bed.fresh("example.org/walk/old"), bed.fresh("example.org/walk/new"));
        let target = bed.image(&old).await;
        let progress = bed.fresh("progress");
        let (_to, mut told) = open(bed, &progress).await.unwrap();
        transfer(bed, store(&old), store(&new), &progress).await.unwrap();
        let request = images::GetImageRequest { name: new.clone() };
        let found = bed
            .walk
            .images()
            .get(request)
            .await
            .unwrap()
            .into_inner()
            .image
            .unwrap();
        assert_eq!(found.target, Some(target));
        let saved: Progress = unpack(&told.message().await.unwrap().unwrap()).unwrap();
        assert_eq!((saved.event.as_str(), saved.name.as_str()), ("saved", new.as_str()));
        let missing = transfer(bed, store("example.org/walk/nobody:1"), store(&new), "")
            .await
            .unwrap_err();
        assert_eq!(missing.code(), Code::NotFound);
    })
}

/// An archive comes in pieces as large as the client allows.
fn export(bed: &Bed) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let (name, id) = (bed.fresh("example.org/walk/image"), bed.fresh("archive"));
        bed.image(&name).await;
        let (to, mut from) = open(bed, &id).await.unwrap();
        to.send(pack(&WindowUpdate { update: 64 << 10 })).await.unwrap();
        let reader = tokio::spawn(async move {
            let mut archive = Vec::new();
            while let Ok(Some(message)) = from.message().await {
                let piece: Data = unpack(&message).unwrap();
                assert!(piece.data.len() <= 32 << 10);
                let update = piece.data.len().try_into().unwrap();
                archive.extend_from_slice(&piece.data);
                // The daemon may have sent its last piece by now.
                let _ = to.send(pack(&WindowUpdate { update })).await;
            }
            archive
        });
        let destination = ImageExportStream {
            stream: id,
            ..ImageExportStream::default()
        };
        transfer(bed, store(&name), pack(&destination), "").await.unwrap();
        let archive = reader.await.unwrap();
        let mut found = tar::Archive::new(archive.as_slice());
        let names: Vec<_> = found
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        assert!(names.contains(&"index.json".to_owned()), "{names:?}");
    })
}
