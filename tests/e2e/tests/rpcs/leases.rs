//! The leases service.

use crate::bed::{Bed, Entry, labels};
use futures::future::BoxFuture;
use gantry_proto_containerd::services::content::v1 as content;
use gantry_proto_containerd::services::leases::v1 as pb;
use tonic::{Code, Status};

const SERVICE: &str = "containerd.services.leases.v1.Leases";

pub fn entries() -> Vec<Entry> {
    let name = |method: &str| format!("{SERVICE}/{method}");
    vec![
        Entry::new(
            &name("Create"),
            |bed| {
                Box::pin(async move {
                    let made = create(bed, "").await.unwrap();
                    assert!(!made.id.is_empty() && made.created_at.is_some(), "{made:?}");
                    assert_eq!(made.labels, labels(&[("walk", "lease")]));
                })
            },
            Code::AlreadyExists,
            "already exists",
            |bed| {
                Box::pin(async move {
                    let made = create(bed, &bed.fresh("lease")).await.unwrap();
                    create(bed, &made.id).await.map(drop)
                })
            },
        ),
        Entry::new(
            &name("Delete"),
            delete_well,
            Code::NotFound,
            "lease \"nobody\": not found",
            |bed| Box::pin(async move { delete(bed, "nobody", true).await }),
        ),
        Entry::new(
            &name("List"),
            |bed| {
                Box::pin(async move {
                    let made = create(bed, &bed.fresh("lease")).await.unwrap();
                    let filters = vec![format!("id=={},labels.walk==lease", made.id)];
                    let found = bed
                        .walk
                        .leases()
                        .list(pb::ListRequest { filters })
                        .await
                        .unwrap()
                        .into_inner()
                        .leases;
                    assert_eq!(found, [made]);
                })
            },
            Code::InvalidArgument,
            "id==",
            |bed| {
                Box::pin(async move {
                    let filters = vec!["id==\"open".to_owned()];
                    bed.walk.leases().list(pb::ListRequest { filters }).await.map(drop)
                })
            },
        ),
        Entry::new(
            &name("AddResource"),
            |bed| {
                Box::pin(async move {
                    let lease = create(bed, "").await.unwrap().id;
                    for (kind, id) in RESOURCES {
                        add(bed, &lease, kind, id).await.unwrap();
                    }
                    assert_eq!(held(bed, &lease).await.unwrap().len(), RESOURCES.len());
                })
            },
            Code::Unimplemented,
            "resource type volumes not supported yet",
            |bed| {
                Box::pin(async move {
                    let lease = create(bed, "").await.unwrap().id;
                    add(bed, &lease, "volumes", "x").await
                })
            },
        ),
        Entry::new(
            &name("DeleteResource"),
            |bed| {
                Box::pin(async move {
                    let lease = create(bed, "").await.unwrap().id;
                    for (kind, id) in RESOURCES {
                        add(bed, &lease, kind, id).await.unwrap();
                        remove(bed, &lease, kind, id).await.unwrap();
                    }
                    assert!(held(bed, &lease).await.unwrap().is_empty());
                })
            },
            Code::InvalidArgument,
            "invalid snapshot resource type snapshots",
            |bed| {
                Box::pin(async move {
                    let lease = create(bed, "").await.unwrap().id;
                    remove(bed, &lease, "snapshots", "x").await
                })
            },
        ),
        Entry::new(
            &name("ListResources"),
            |bed| {
                Box::pin(async move {
                    let lease = create(bed, "").await.unwrap().id;
                    add(bed, &lease, "snapshots/overlayfs", "held").await.unwrap();
                    let found = held(bed, &lease).await.unwrap();
                    assert_eq!(
                        (found[0].r#type.as_str(), found[0].id.as_str()),
                        ("snapshots/overlayfs", "held")
                    );
                })
            },
            Code::NotFound,
            "lease \"nobody\"",
            |bed| Box::pin(async move { held(bed, "nobody").await.map(drop) }),
        ),
    ]
}

const RESOURCES: [(&str, &str); 4] = [
    (
        "content",
        "sha256:1111111111111111111111111111111111111111111111111111111111111111",
    ),
    ("ingests", "some-ref"),
    ("images", "docker.io/library/none:1"),
    ("snapshots/native", "key"),
];

pub async fn create(bed: &Bed, id: &str) -> Result<pb::Lease, Status> {
    let request = pb::CreateRequest {
        id: id.to_owned(),
        labels: labels(&[("walk", "lease")]),
    };
    Ok(bed.walk.leases().create(request).await?.into_inner().lease.unwrap())
}

async fn delete(bed: &Bed, id: &str, sync: bool) -> Result<(), Status> {
    let request = pb::DeleteRequest {
        id: id.to_owned(),
        sync,
    };
    bed.walk.leases().delete(request).await.map(drop)
}

fn resource(kind: &str, id: &str) -> Option<pb::Resource> {
    Some(pb::Resource {
        id: id.to_owned(),
        r#type: kind.to_owned(),
    })
}

async fn add(bed: &Bed, lease: &str, kind: &str, id: &str) -> Result<(), Status> {
    let request = pb::AddResourceRequest {
        id: lease.to_owned(),
        resource: resource(kind, id),
    };
    bed.walk.leases().add_resource(request).await.map(drop)
}

async fn remove(bed: &Bed, lease: &str, kind: &str, id: &str) -> Result<(), Status> {
    let request = pb::DeleteResourceRequest {
        id: lease.to_owned(),
        resource: resource(kind, id),
    };
    bed.walk.leases().delete_resource(request).await.map(drop)
}

async fn held(bed: &Bed, lease: &str) -> Result<Vec<pb::Resource>, Status> {
    let request = pb::ListResourcesRequest { id: lease.to_owned() };
    Ok(bed.walk.leases().list_resources(request).await?.into_inner().resources)
}

/// What only the lease held is gone when a synchronous delete is answered.
fn delete_well(bed: &Bed) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let lease = create(bed, "").await.unwrap().id;
        let caller = bed.walk.under(&lease);
        let digest = crate::bed::put(&caller, &bed.fresh("leased"), b"held by a lease")
            .await
            .unwrap()
            .digest;
        let info = || {
            let request = content::InfoRequest { digest: digest.clone() };
            async { bed.walk.content().info(request).await }
        };
        let other = create(bed, "").await.unwrap().id;
        delete(bed, &other, true).await.unwrap();
        info().await.unwrap();
        delete(bed, &lease, true).await.unwrap();
        assert_eq!(info().await.unwrap_err().code(), Code::NotFound);
    })
}
