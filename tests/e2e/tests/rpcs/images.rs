//! The images service.

use crate::bed::{Bed, Entry, labels, mask, put};
use futures::future::BoxFuture;
use gantry_proto_containerd::prost_types::Timestamp;
use gantry_proto_containerd::services::content::v1 as content;
use gantry_proto_containerd::services::images::v1 as pb;
use gantry_proto_containerd::types::Descriptor;
use tonic::{Code, Status};

const SERVICE: &str = "containerd.services.images.v1.Images";

pub fn entries() -> Vec<Entry> {
    let name = |method: &str| format!("{SERVICE}/{method}");
    vec![
        Entry::new(
            &name("Get"),
            |bed| {
                Box::pin(async move {
                    let name = bed.fresh("image");
                    let target = bed.image(&name).await;
                    assert_eq!(get(bed, &name).await.unwrap().target, Some(target));
                })
            },
            Code::NotFound,
            "nobody",
            |bed| Box::pin(async move { get(bed, "nobody").await.map(drop) }),
        ),
        Entry::new(
            &name("List"),
            |bed| {
                Box::pin(async move {
                    let name = bed.fresh("image");
                    let target = bed.image(&name).await;
                    let found = list(bed, &format!("name=={name},target.digest=={}", target.digest))
                        .await
                        .unwrap();
                    assert_eq!(found.len(), 1);
                })
            },
            Code::InvalidArgument,
            "name",
            |bed| Box::pin(async move { list(bed, "name==a,,").await.map(drop) }),
        ),
        Entry::new(
            &name("Create"),
            create_well,
            Code::InvalidArgument,
            "Target.Size must be greater than zero",
            |bed| {
                Box::pin(async move {
                    let target = Descriptor {
                        size: 0,
                        ..bed.blob(b"sized").await
                    };
                    create(bed, &bed.fresh("image"), target, None).await.map(drop)
                })
            },
        ),
        Entry::new(&name("Update"), update_well, Code::NotFound, "nobody", |bed| {
            Box::pin(async move {
                let image = pb::Image {
                    name: "nobody".to_owned(),
                    ..pb::Image::default()
                };
                update(bed, image, &["labels"]).await.map(drop)
            })
        }),
        Entry::new(
            &name("Delete"),
            delete_well,
            Code::NotFound,
            "has target sha256:",
            |bed| {
                Box::pin(async move {
                    let name = bed.fresh("image");
                    bed.image(&name).await;
                    let other = bed.blob(b"another target").await;
                    delete(bed, &name, Some(other)).await
                })
            },
        ),
    ]
}

async fn get(bed: &Bed, name: &str) -> Result<pb::Image, Status> {
    let request = pb::GetImageRequest { name: name.to_owned() };
    Ok(bed.walk.images().get(request).await?.into_inner().image.unwrap())
}

async fn list(bed: &Bed, filter: &str) -> Result<Vec<pb::Image>, Status> {
    let filters = vec![filter.to_owned()];
    Ok(bed
        .walk
        .images()
        .list(pb::ListImagesRequest { filters })
        .await?
        .into_inner()
        .images)
}

async fn create(bed: &Bed, name: &str, target: Descriptor, at: Option<Timestamp>) -> Result<pb::Image, Status> {
    let image = pb::Image {
        name: name.to_owned(),
        labels: labels(&[("a", "1")]),
        target: Some(target),
        // Not for a client to say.
        created_at: Some(Timestamp { seconds: 5, nanos: 0 }),
        updated_at: None,
    };
    let request = pb::CreateImageRequest {
        image: Some(image),
        source_date_epoch: at,
    };
    Ok(bed.walk.images().create(request).await?.into_inner().image.unwrap())
}

fn create_well(bed: &Bed) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let target = bed.blob(b"a target").await;
        let made = create(bed, &bed.fresh("image"), target.clone(), None).await.unwrap();
        assert!(made.created_at.unwrap().seconds > 1_000_000);
        let then = Timestamp { seconds: 77, nanos: 0 };
        let old = create(bed, &bed.fresh("image"), target.clone(), Some(then))
            .await
            .unwrap();
        assert_eq!(old.created_at, Some(then));
        let again = create(bed, &old.name, target, None).await.unwrap_err();
        assert_eq!(again.code(), Code::AlreadyExists);
    })
}

async fn update(bed: &Bed, image: pb::Image, paths: &[&str]) -> Result<pb::Image, Status> {
    let request = pb::UpdateImageRequest {
        image: Some(image),
        update_mask: mask(paths),
        source_date_epoch: None,
    };
    Ok(bed.walk.images().update(request).await?.into_inner().image.unwrap())
}

fn update_well(bed: &Bed) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let target = bed.blob(b"a target").await;
        let made = create(bed, &bed.fresh("image"), target, None).await.unwrap();
        let mut given = made.clone();
        given.labels = labels(&[("b", "2"), ("other", "not named")]);
        given.target.as_mut().unwrap().annotations = labels(&[("x", "y")]);
        let after = update(bed, given, &["labels.a", "labels.b", "annotations.x"])
            .await
            .unwrap();
        assert_eq!(after.labels, labels(&[("b", "2")]));
        assert_eq!(after.target.unwrap().annotations, labels(&[("x", "y")]));
        let mut given = made;
        given.target = Some(bed.blob(b"another target").await);
        let after = update(bed, given.clone(), &["target"]).await.unwrap();
        assert_eq!((after.target, after.labels), (given.target, labels(&[("b", "2")])));
    })
}

async fn delete(bed: &Bed, name: &str, target: Option<Descriptor>) -> Result<(), Status> {
    let request = pb::DeleteImageRequest {
        name: name.to_owned(),
        sync: true,
        target,
    };
    bed.walk.images().delete(request).await.map(drop)
}

/// What only the image kept is gone when a synchronous delete is answered.
fn delete_well(bed: &Bed) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let bytes = b"kept by its image only";
        // Without a lease.
        let digest = put(&bed.walk, &bed.fresh("blob"), bytes).await.unwrap().digest;
        let target = Descriptor {
            media_type: "application/octet-stream".to_owned(),
            digest,
            size: bytes.len().try_into().unwrap(),
            ..Descriptor::default()
        };
        let name = bed.fresh("image");
        create(bed, &name, target.clone(), None).await.unwrap();
        delete(bed, &name, Some(target.clone())).await.unwrap();
        let request = content::InfoRequest { digest: target.digest };
        assert_eq!(
            bed.walk.content().info(request).await.unwrap_err().code(),
            Code::NotFound
        );
        assert_eq!(get(bed, &name).await.unwrap_err().code(), Code::NotFound);
    })
}
