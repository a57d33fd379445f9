//! The diff service.

use crate::bed::{Bed, Entry};
use crate::snapshots::{layer, prepare, view};
use futures::future::BoxFuture;
use gantry_e2e::digest;
use gantry_proto_containerd::services::content::v1 as content;
use gantry_proto_containerd::services::diff::v1 as pb;
use gantry_proto_containerd::types::{Descriptor, Mount};
use tonic::{Code, Status};

const TAR: &str = "application/vnd.oci.image.layer.v1.tar";

pub fn entries() -> Vec<Entry> {
    vec![
        Entry::new(
            "containerd.services.diff.v1.Diff/Apply",
            apply_well,
            Code::Unimplemented,
            "no processor for media-type",
            |bed| {
                Box::pin(async move {
                    let mut blob = bed.blob(b"of a type nobody knows").await;
                    blob.media_type = "application/x-nobody".to_owned();
                    let mounts = prepare(bed, &bed.fresh("key"), "").await.unwrap();
                    apply(bed, blob, mounts).await.map(drop)
                })
            },
        ),
        Entry::new(
            "containerd.services.diff.v1.Diff/Diff",
            diff_well,
            Code::Unimplemented,
            "unsupported diff media type",
            |bed| {
                Box::pin(async move {
                    let mounts = prepare(bed, &bed.fresh("key"), "").await.unwrap();
                    diff(bed, Vec::new(), mounts, "application/x-nobody").await.map(drop)
                })
            },
        ),
    ]
}

async fn apply(bed: &Bed, layer: Descriptor, mounts: Vec<Mount>) -> Result<Descriptor, Status> {
    let request = pb::ApplyRequest {
        diff: Some(layer),
        mounts,
        ..pb::ApplyRequest::default()
    };
    Ok(bed.walk.diff().apply(request).await?.into_inner().applied.unwrap())
}

async fn diff(bed: &Bed, left: Vec<Mount>, right: Vec<Mount>, media_type: &str) -> Result<Descriptor, Status> {
    let request = pb::DiffRequest {
        left,
        right,
        media_type: media_type.to_owned(),
        ..pb::DiffRequest::default()
    };
    Ok(bed.walk.diff().diff(request).await?.into_inner().diff.unwrap())
}

fn archive(name: &str, text: &[u8]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(text.len().try_into().unwrap());
    header.set_mode(0o640);
    tar.append_data(&mut header, name, text).unwrap();
    tar.into_inner().unwrap()
}

fn apply_well(bed: &Bed) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let bytes = archive("dir/file", b"applied");
        let mut blob = bed.blob(&bytes).await;
        blob.media_type = TAR.to_owned();
        let mounts = prepare(bed, &bed.fresh("key"), "").await.unwrap();
        let applied = apply(bed, blob, mounts.clone()).await.unwrap();
        assert_eq!((applied.digest, applied.media_type.as_str()), (digest(&bytes), TAR));
        assert_eq!(applied.size, i64::try_from(bytes.len()).unwrap());
        assert_eq!(
            std::fs::read(format!("{}/dir/file", mounts[0].source)).unwrap(),
            b"applied"
        );
    })
}

/// What lies between a layer and what was written above it, and how it says what it is uncompressed.
fn diff_well(bed: &Bed) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let below = layer(bed, "").await;
        let right = prepare(bed, &bed.fresh("key"), &below).await.unwrap();
        let left = view(bed, &bed.fresh("view"), &below).await.unwrap();
        let upper = right[0]
            .options
            .iter()
            .find_map(|option| option.strip_prefix("upperdir="))
            .unwrap();
        std::fs::write(format!("{upper}/new"), "written").unwrap();
        let plain = diff(bed, left.clone(), right.clone(), TAR).await.unwrap();
        let request = content::ReadContentRequest {
            digest: plain.digest.clone(),
            ..content::ReadContentRequest::default()
        };
        let mut parts = bed.walk.content().read(request).await.unwrap().into_inner();
        let mut bytes = Vec::new();
        while let Some(part) = parts.message().await.unwrap() {
            bytes.extend_from_slice(&part.data);
        }
        let mut found = tar::Archive::new(bytes.as_slice());
        let names = found
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string());
        assert!(names.collect::<Vec<_>>().contains(&"new".to_owned()));
        let packed = diff(bed, left, right, "").await.unwrap();
        assert_eq!(packed.media_type, "application/vnd.oci.image.layer.v1.tar+gzip");
        let request = content::InfoRequest { digest: packed.digest };
        let info = bed
            .walk
            .content()
            .info(request)
            .await
            .unwrap()
            .into_inner()
            .info
            .unwrap();
        assert_eq!(info.labels["containerd.io/uncompressed"], plain.digest);
    })
}
