//! The snapshots service.

use crate::bed::{Bed, Entry, labels, mask};
use futures::future::BoxFuture;
use gantry_proto_containerd::services::snapshots::v1 as pb;
use gantry_proto_containerd::types::Mount;
use tonic::{Code, Status};

const SERVICE: &str = "containerd.services.snapshots.v1.Snapshots";
const SN: &str = "overlayfs";

pub fn entries() -> Vec<Entry> {
    let name = |method: &str| format!("{SERVICE}/{method}");
    vec![
        Entry::new(
            &name("Prepare"),
            prepare_well,
            Code::InvalidArgument,
            "snapshotter not loaded: none",
            |bed| {
                Box::pin(async move {
                    let request = pb::PrepareSnapshotRequest {
                        snapshotter: "none".to_owned(),
                        key: bed.fresh("key"),
                        ..pb::PrepareSnapshotRequest::default()
                    };
                    bed.walk.snapshots().prepare(request).await.map(drop)
                })
            },
        ),
        Entry::new(
            &name("View"),
            view_well,
            Code::NotFound,
            "parent snapshot nobody does not exist",
            |bed| Box::pin(async move { view(bed, &bed.fresh("view"), "nobody").await.map(drop) }),
        ),
        Entry::new(
            &name("Mounts"),
            |bed| {
                Box::pin(async move {
                    let key = bed.fresh("key");
                    let made = prepare(bed, &key, "").await.unwrap();
                    assert_eq!(mounts(bed, &key).await.unwrap(), made);
                })
            },
            Code::FailedPrecondition,
            "not active or view",
            |bed| {
                Box::pin(async move {
                    let layer = layer(bed, "").await;
                    mounts(bed, &layer).await.map(drop)
                })
            },
        ),
        Entry::new(
            &name("Commit"),
            commit_well,
            Code::FailedPrecondition,
            "is not active",
            |bed| {
                Box::pin(async move {
                    let key = bed.fresh("view");
                    view(bed, &key, "").await.unwrap();
                    commit(bed, &bed.fresh("layer"), &key, "").await
                })
            },
        ),
        Entry::new(
            &name("Remove"),
            |bed| {
                Box::pin(async move {
                    let layer = layer(bed, "").await;
                    remove(bed, &layer).await.unwrap();
                    assert_eq!(stat(bed, &layer).await.unwrap_err().code(), Code::NotFound);
                })
            },
            Code::FailedPrecondition,
            "cannot remove snapshot with child",
            |bed| {
                Box::pin(async move {
                    let layer = layer(bed, "").await;
                    prepare(bed, &bed.fresh("key"), &layer).await.unwrap();
                    remove(bed, &layer).await
                })
            },
        ),
        Entry::new(
            &name("Stat"),
            |bed| {
                Box::pin(async move {
                    let (below, key) = (layer(bed, "").await, bed.fresh("key"));
                    prepare(bed, &key, &below).await.unwrap();
                    let found = stat(bed, &key).await.unwrap();
                    assert_eq!(
                        (found.name.as_str(), found.parent.as_str(), found.kind()),
                        (key.as_str(), below.as_str(), pb::Kind::Active)
                    );
                    assert_eq!(stat(bed, &below).await.unwrap().kind(), pb::Kind::Committed);
                })
            },
            Code::NotFound,
            "snapshot nobody does not exist",
            |bed| Box::pin(async move { stat(bed, "nobody").await.map(drop) }),
        ),
        Entry::new(
            &name("Update"),
            update_well,
            Code::InvalidArgument,
            "cannot update \"parent\" field",
            |bed| {
                Box::pin(async move {
                    let layer = layer(bed, "").await;
                    update(bed, &layer, &[], &["parent"]).await.map(drop)
                })
            },
        ),
        Entry::new(
            &name("List"),
            list_well,
            Code::InvalidArgument,
            "unsupported operator",
            |bed| Box::pin(async move { list(bed, "kind=active").await.map(drop) }),
        ),
        Entry::new(
            &name("Usage"),
            |bed| {
                Box::pin(async move {
                    let key = bed.fresh("key");
                    let made = prepare(bed, &key, "").await.unwrap();
                    let empty = usage(bed, &key).await.unwrap();
                    std::fs::write(format!("{}/file", made[0].source), [1; 100_000]).unwrap();
                    let full = usage(bed, &key).await.unwrap();
                    assert!(
                        full.size >= empty.size + 100_000 && full.inodes == empty.inodes + 1,
                        "{empty:?} {full:?}"
                    );
                })
            },
            Code::NotFound,
            "snapshot nobody does not exist",
            |bed| Box::pin(async move { usage(bed, "nobody").await.map(drop) }),
        ),
        Entry::new(
            &name("Cleanup"),
            |bed| Box::pin(async move { cleanup(bed, SN).await.unwrap() }),
            Code::InvalidArgument,
            "snapshotter argument missing",
            |bed| Box::pin(async move { cleanup(bed, "").await }),
        ),
    ]
}

pub async fn prepare(bed: &Bed, key: &str, parent: &str) -> Result<Vec<Mount>, Status> {
    let request = pb::PrepareSnapshotRequest {
        snapshotter: SN.to_owned(),
        key: key.to_owned(),
        parent: parent.to_owned(),
        // Nothing else keeps it.
        labels: labels(&[("containerd.io/gc.root", "walk")]),
    };
    Ok(bed.walk.snapshots().prepare(request).await?.into_inner().mounts)
}

pub async fn view(bed: &Bed, key: &str, parent: &str) -> Result<Vec<Mount>, Status> {
    let request = pb::ViewSnapshotRequest {
        snapshotter: SN.to_owned(),
        key: key.to_owned(),
        parent: parent.to_owned(),
        labels: labels(&[("containerd.io/gc.root", "walk")]),
    };
    Ok(bed.walk.snapshots().view(request).await?.into_inner().mounts)
}

pub async fn commit(bed: &Bed, name: &str, key: &str, parent: &str) -> Result<(), Status> {
    let request = pb::CommitSnapshotRequest {
        snapshotter: SN.to_owned(),
        name: name.to_owned(),
        key: key.to_owned(),
        labels: labels(&[("containerd.io/gc.root", "walk")]),
        parent: parent.to_owned(),
    };
    bed.walk.snapshots().commit(request).await.map(drop)
}

/// A committed layer with one file.
pub async fn layer(bed: &Bed, parent: &str) -> String {
    let (key, name) = (bed.fresh("key"), bed.fresh("layer"));
    prepare(bed, &key, parent).await.unwrap();
    commit(bed, &name, &key, "").await.unwrap();
    name
}

async fn mounts(bed: &Bed, key: &str) -> Result<Vec<Mount>, Status> {
    let request = pb::MountsRequest {
        snapshotter: SN.to_owned(),
        key: key.to_owned(),
    };
    Ok(bed.walk.snapshots().mounts(request).await?.into_inner().mounts)
}

async fn remove(bed: &Bed, key: &str) -> Result<(), Status> {
    let request = pb::RemoveSnapshotRequest {
        snapshotter: SN.to_owned(),
        key: key.to_owned(),
    };
    bed.walk.snapshots().remove(request).await.map(drop)
}

async fn stat(bed: &Bed, key: &str) -> Result<pb::Info, Status> {
    let request = pb::StatSnapshotRequest {
        snapshotter: SN.to_owned(),
        key: key.to_owned(),
    };
    Ok(bed.walk.snapshots().stat(request).await?.into_inner().info.unwrap())
}

async fn update(bed: &Bed, name: &str, pairs: &[(&str, &str)], paths: &[&str]) -> Result<pb::Info, Status> {
    let info = pb::Info {
        name: name.to_owned(),
        labels: labels(pairs),
        ..pb::Info::default()
    };
    let request = pb::UpdateSnapshotRequest {
        snapshotter: SN.to_owned(),
        info: Some(info),
        update_mask: mask(paths),
    };
    Ok(bed.walk.snapshots().update(request).await?.into_inner().info.unwrap())
}

async fn list(bed: &Bed, filter: &str) -> Result<Vec<pb::Info>, Status> {
    let request = pb::ListSnapshotsRequest {
        snapshotter: SN.to_owned(),
        filters: vec![filter.to_owned()],
    };
    let mut pages = bed.walk.snapshots().list(request).await?.into_inner();
    let mut found = Vec::new();
    while let Some(page) = pages.message().await? {
        found.extend(page.info);
    }
    Ok(found)
}

async fn usage(bed: &Bed, key: &str) -> Result<pb::UsageResponse, Status> {
    let request = pb::UsageRequest {
        snapshotter: SN.to_owned(),
        key: key.to_owned(),
    };
    Ok(bed.walk.snapshots().usage(request).await?.into_inner())
}

async fn cleanup(bed: &Bed, snapshotter: &str) -> Result<(), Status> {
    let request = pb::CleanupRequest {
        snapshotter: snapshotter.to_owned(),
    };
    bed.walk.snapshots().cleanup(request).await.map(drop)
}

fn prepare_well(bed: &Bed) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let key = bed.fresh("key");
        let alone = prepare(bed, &key, "").await.unwrap();
        assert_eq!((alone.len(), alone[0].r#type.as_str()), (1, "bind"));
        assert!(alone[0].options.iter().any(|one| one == "rw"), "{alone:?}");
        assert_eq!(prepare(bed, &key, "").await.unwrap_err().code(), Code::AlreadyExists);
        let below = layer(bed, "").await;
        let above = prepare(bed, &bed.fresh("key"), &below).await.unwrap();
        assert_eq!(above[0].r#type, "overlay");
        for option in ["workdir=", "upperdir=", "lowerdir="] {
            assert!(above[0].options.iter().any(|one| one.starts_with(option)), "{above:?}");
        }
    })
}

fn view_well(bed: &Bed) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let one = layer(bed, "").await;
        let two = layer(bed, &one).await;
        let shown = view(bed, &bed.fresh("view"), &one).await.unwrap();
        assert_eq!(shown[0].r#type, "bind");
        assert!(shown[0].options.iter().any(|option| option == "ro"), "{shown:?}");
        let shown = view(bed, &bed.fresh("view"), &two).await.unwrap();
        assert_eq!(shown[0].r#type, "overlay");
        assert!(
            !shown[0].options.iter().any(|option| option.starts_with("upperdir")),
            "{shown:?}"
        );
    })
}

/// With a parent that is given only now, too.
fn commit_well(bed: &Bed) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let (key, name) = (bed.fresh("key"), bed.fresh("layer"));
        prepare(bed, &key, "").await.unwrap();
        commit(bed, &name, &key, "").await.unwrap();
        assert_eq!(stat(bed, &key).await.unwrap_err().code(), Code::NotFound);
        let (other, above) = (bed.fresh("key"), bed.fresh("layer"));
        prepare(bed, &other, "").await.unwrap();
        assert_eq!(
            commit(bed, &name, &other, "").await.unwrap_err().code(),
            Code::AlreadyExists
        );
        commit(bed, &above, &other, &name).await.unwrap();
        assert_eq!(stat(bed, &above).await.unwrap().parent, name);
    })
}

fn update_well(bed: &Bed) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let layer = layer(bed, "").await;
        let after = update(
            bed,
            &layer,
            &[("a", "1"), ("b", "2"), ("other", "not named")],
            &["labels.a", "labels.b"],
        )
        .await;
        assert_eq!(
            after.unwrap().labels,
            labels(&[("a", "1"), ("b", "2"), ("containerd.io/gc.root", "walk")])
        );
        let after = update(bed, &layer, &[("c", "3"), ("containerd.io/gc.root", "x")], &["labels"])
            .await
            .unwrap();
        assert_eq!(after.labels, labels(&[("c", "3"), ("containerd.io/gc.root", "x")]));
    })
}

fn list_well(bed: &Bed) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let below = layer(bed, "").await;
        let key = bed.fresh("key");
        prepare(bed, &key, &below).await.unwrap();
        view(bed, &bed.fresh("view"), &below).await.unwrap();
        let found = list(bed, &format!("kind==active,parent=={below}")).await.unwrap();
        assert_eq!(
            found.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(),
            [key.as_str()]
        );
        let all = list(bed, "").await.unwrap();
        assert!(all.len() >= 3);
    })
}
