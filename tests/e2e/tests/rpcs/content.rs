//! The content service.

use crate::bed::{Bed, Entry, labels, mask, put};
use futures::future::BoxFuture;
use gantry_e2e::digest;
use gantry_proto_containerd::services::content::v1 as pb;
use tonic::{Code, Status};

const SERVICE: &str = "containerd.services.content.v1.Content";
const NOWHERE: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

pub fn entries() -> Vec<Entry> {
    let name = |method: &str| format!("{SERVICE}/{method}");
    vec![
        Entry::new(
            &name("Info"),
            |bed| {
                Box::pin(async move {
                    let blob = bed.blob(b"to be looked at").await;
                    let found = info(bed, &blob.digest).await.unwrap();
                    assert_eq!((found.digest, found.size), (blob.digest, 15));
                    assert!(found.created_at.is_some() && found.updated_at.is_some());
                })
            },
            Code::NotFound,
            "content digest sha256:0000",
            |bed| Box::pin(async move { info(bed, NOWHERE).await.map(drop) }),
        ),
        Entry::new(
            &name("Update"),
            update,
            Code::InvalidArgument,
            "cannot update \"size\" field",
            |bed| {
                Box::pin(async move {
                    let blob = bed.blob(b"of one size").await;
                    relabel(bed, &blob.digest, &[], &["labels.a", "size"]).await.map(drop)
                })
            },
        ),
        Entry::new(
            &name("List"),
            list,
            Code::InvalidArgument,
            "unsupported operator",
            |bed| Box::pin(async move { listed(bed, "digest=sha256").await.map(drop) }),
        ),
        Entry::new(
            &name("Delete"),
            |bed| {
                Box::pin(async move {
                    let blob = bed.blob(b"to be deleted").await;
                    delete(bed, &blob.digest).await.unwrap();
                    assert_eq!(info(bed, &blob.digest).await.unwrap_err().code(), Code::NotFound);
                })
            },
            Code::InvalidArgument,
            "\"sha256:short\" failed validation",
            |bed| Box::pin(async move { delete(bed, "sha256:short").await }),
        ),
        Entry::new(
            &name("Read"),
            read,
            Code::OutOfRange,
            "past object length 10 bytes",
            |bed| {
                Box::pin(async move {
                    let blob = bed.blob(b"0123456789").await;
                    reading(bed, &blob.digest, 11, 0).await.map(drop)
                })
            },
        ),
        Entry::new(
            &name("Status"),
            |bed| {
                Box::pin(async move {
                    let reference = begun(bed).await;
                    let found = status(bed, &reference).await.unwrap();
                    assert_eq!((found.r#ref, found.offset, found.total), (reference, 4, 10));
                    assert!(found.started_at.is_some() && found.updated_at.is_some());
                })
            },
            Code::NotFound,
            "reference \"nobody\"",
            |bed| Box::pin(async move { status(bed, "nobody").await.map(drop) }),
        ),
        Entry::new(
            &name("ListStatuses"),
            |bed| {
                Box::pin(async move {
                    let reference = begun(bed).await;
                    let filters = vec![format!("ref=={reference}")];
                    let found = bed
                        .walk
                        .content()
                        .list_statuses(pb::ListStatusesRequest { filters })
                        .await
                        .unwrap();
                    let found = found.into_inner().statuses;
                    assert_eq!((found.len(), found[0].r#ref.as_str()), (1, reference.as_str()));
                })
            },
            Code::InvalidArgument,
            "unsupported operator",
            |bed| {
                Box::pin(async move {
                    let filters = vec!["ref=half".to_owned()];
                    bed.walk
                        .content()
                        .list_statuses(pb::ListStatusesRequest { filters })
                        .await
                        .map(drop)
                })
            },
        ),
        Entry::new(
            &name("Write"),
            write,
            Code::InvalidArgument,
            "first message must have a ref",
            |bed| Box::pin(async move { put(&bed.walk, "", b"of no name").await.map(drop) }),
        ),
        Entry::new(
            &name("Abort"),
            |bed| {
                Box::pin(async move {
                    let reference = begun(bed).await;
                    abort(bed, &reference).await.unwrap();
                    assert_eq!(status(bed, &reference).await.unwrap_err().code(), Code::NotFound);
                })
            },
            Code::NotFound,
            "reference nobody: not found",
            |bed| Box::pin(async move { abort(bed, "nobody").await }),
        ),
    ]
}

async fn info(bed: &Bed, digest: &str) -> Result<pb::Info, Status> {
    let request = pb::InfoRequest {
        digest: digest.to_owned(),
    };
    Ok(bed.walk.content().info(request).await?.into_inner().info.unwrap())
}

async fn relabel(bed: &Bed, digest: &str, pairs: &[(&str, &str)], paths: &[&str]) -> Result<pb::Info, Status> {
    let info = pb::Info {
        digest: digest.to_owned(),
        labels: labels(pairs),
        ..pb::Info::default()
    };
    let request = pb::UpdateRequest {
        info: Some(info),
        update_mask: mask(paths),
    };
    Ok(bed.walk.content().update(request).await?.into_inner().info.unwrap())
}

fn update(bed: &Bed) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let digest = bed.blob(b"to be labelled").await.digest;
        let set = relabel(bed, &digest, &[("a.b", "1"), ("c", "2")], &["labels"])
            .await
            .unwrap();
        assert_eq!(set.labels, labels(&[("a.b", "1"), ("c", "2")]));
        let merged = relabel(
            bed,
            &digest,
            &[("d", "3"), ("c", "not named")],
            &["labels.a.b", "labels.d"],
        )
        .await
        .unwrap();
        assert_eq!(merged.labels, labels(&[("c", "2"), ("d", "3")]));
        assert_eq!(info(bed, &digest).await.unwrap(), merged);
    })
}

async fn listed(bed: &Bed, filter: &str) -> Result<Vec<pb::Info>, Status> {
    let filters = vec![filter.to_owned()];
    let mut pages = bed
        .walk
        .content()
        .list(pb::ListContentRequest { filters })
        .await?
        .into_inner();
    let mut found = Vec::new();
    while let Some(page) = pages.message().await? {
        assert!((1..=100).contains(&page.info.len()), "a page of {}", page.info.len());
        found.extend(page.info);
    }
    Ok(found)
}

fn list(bed: &Bed) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        for number in 0..130 {
            bed.blob(format!("one of many: {number}").as_bytes()).await;
        }
        let first = digest(b"one of many: 7");
        relabel(bed, &first, &[("of", "many")], &["labels.of"]).await.unwrap();
        let found = listed(bed, "labels.of==many").await.unwrap();
        assert_eq!(
            found.iter().map(|one| one.digest.as_str()).collect::<Vec<_>>(),
            [first.as_str()]
        );
        assert!(listed(bed, "").await.unwrap().len() >= 130, "in pages");
    })
}

async fn delete(bed: &Bed, digest: &str) -> Result<(), Status> {
    let request = pb::DeleteContentRequest {
        digest: digest.to_owned(),
    };
    bed.walk.content().delete(request).await.map(drop)
}

async fn reading(bed: &Bed, digest: &str, offset: i64, size: i64) -> Result<Vec<u8>, Status> {
    let request = pb::ReadContentRequest {
        digest: digest.to_owned(),
        offset,
        size,
    };
    let mut parts = bed.walk.content().read(request).await?.into_inner();
    let mut all = Vec::new();
    while let Some(part) = parts.message().await? {
        assert_eq!(
            part.offset,
            i64::try_from(all.len()).unwrap(),
            "from the beginning of the read"
        );
        all.extend_from_slice(&part.data);
    }
    Ok(all)
}

fn read(bed: &Bed) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|number| (number >> 4) as u8).collect();
        let digest = bed.blob(&bytes).await.digest;
        assert_eq!(reading(bed, &digest, 0, 0).await.unwrap(), bytes);
        assert_eq!(reading(bed, &digest, 1_000, 5).await.unwrap(), bytes[1_000..1_005]);
        assert_eq!(
            reading(bed, &digest, 2_999_999, 100).await.unwrap(),
            bytes[2_999_999..],
            "past the end is to the end"
        );
        assert!(reading(bed, &digest, 3_000_000, 0).await.unwrap().is_empty());
    })
}

async fn status(bed: &Bed, reference: &str) -> Result<pb::Status, Status> {
    let request = pb::StatusRequest {
        r#ref: reference.to_owned(),
    };
    Ok(bed.walk.content().status(request).await?.into_inner().status.unwrap())
}

async fn abort(bed: &Bed, reference: &str) -> Result<(), Status> {
    let request = pb::AbortRequest {
        r#ref: reference.to_owned(),
    };
    bed.walk.content().abort(request).await.map(drop)
}

fn message(reference: &str, action: pb::WriteAction, offset: i64, data: &'static [u8]) -> pb::WriteContentRequest {
    let mut request = pb::WriteContentRequest {
        r#ref: reference.to_owned(),
        total: 10,
        offset,
        data: data.into(),
        ..pb::WriteContentRequest::default()
    };
    request.set_action(action);
    request
}

/// An ingest that its writer left after four of ten bytes.
async fn begun(bed: &Bed) -> String {
    let reference = bed.fresh("begun");
    let first = message(&reference, pb::WriteAction::Write, 0, b"0123");
    let mut answers = bed
        .walk
        .content()
        .write(tokio_stream::iter([first]))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answers.message().await.unwrap().unwrap().offset, 4);
    assert!(answers.message().await.unwrap().is_none());
    reference
}

fn write(bed: &Bed) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let reference = bed.fresh("written");
        let messages = [
            message(&reference, pb::WriteAction::Stat, 0, b""),
            message("", pb::WriteAction::Write, 0, b"walk-"),
            message("", pb::WriteAction::Write, 5, b"1234"),
            message("", pb::WriteAction::Commit, 9, b"5"),
        ];
        let mut answers = bed
            .walk
            .content()
            .write(tokio_stream::iter(messages))
            .await
            .unwrap()
            .into_inner();
        let mut offsets = Vec::new();
        let mut last = pb::WriteContentResponse::default();
        while let Some(answer) = answers.message().await.unwrap() {
            offsets.push((answer.action(), answer.offset));
            last = answer;
        }
        let each = [
            (pb::WriteAction::Stat, 0),
            (pb::WriteAction::Write, 5),
            (pb::WriteAction::Write, 9),
            (pb::WriteAction::Commit, 10),
        ];
        assert_eq!(offsets, each, "each message is answered once");
        assert_eq!(last.digest, digest(b"walk-12345"));
        assert_eq!(reading(bed, &last.digest, 0, 0).await.unwrap(), b"walk-12345");
    })
}
