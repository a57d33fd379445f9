//! Snapshots by name.

use super::{held, lease, pairs, refused};
use crate::remote::Place;
use gantry_e2e::client::Caller;
use gantry_proto_containerd::services::snapshots::v1 as snapshots;
use gantry_proto_containerd::types::Mount;
use tonic::{Code, Status};

async fn prepare(caller: &Caller, key: &str, parent: &str, labels: &[(&str, &str)]) -> Result<Vec<Mount>, Status> {
    let request = snapshots::PrepareSnapshotRequest {
        snapshotter: "overlayfs".to_owned(),
        key: key.to_owned(),
        parent: parent.to_owned(),
        labels: pairs(labels),
    };
    Ok(caller.snapshots().prepare(request).await?.into_inner().mounts)
}

async fn commit(caller: &Caller, name: &str, key: &str) {
    let request = snapshots::CommitSnapshotRequest {
        snapshotter: "overlayfs".to_owned(),
        name: name.to_owned(),
        key: key.to_owned(),
        labels: pairs(&[("layer", name)]),
        parent: String::new(),
    };
    caller.snapshots().commit(request).await.unwrap();
}

async fn stat(caller: &Caller, key: &str) -> Result<snapshots::Info, Status> {
    let request = snapshots::StatSnapshotRequest {
        snapshotter: "overlayfs".to_owned(),
        key: key.to_owned(),
    };
    Ok(caller.snapshots().stat(request).await?.into_inner().info.unwrap())
}

pub fn existing_key_is_leased(place: &mut Place) {
    place.run(async {
        let caller = place.connection.of("keys");
        let first = lease(&caller, "first").await;
        prepare(&first, "key", "", &[]).await.unwrap();
        let second = lease(&caller, "second").await;
        refused(prepare(&second, "key", "", &[]).await, Code::AlreadyExists, "key");
        assert_eq!(held(&caller, "second").await, ["snapshots/overlayfs key"]);
    });
}

pub fn target_there(place: &mut Place) {
    place.run(async {
        let caller = lease(&place.connection.of("targets"), "first").await;
        prepare(&caller, "work", "", &[]).await.unwrap();
        commit(&caller, "sha256:target", "work").await;
        let second = lease(&caller, "second").await;
        let aimed = [("containerd.io/snapshot.ref", "sha256:target")];
        refused(
            prepare(&second, "extract", "", &aimed).await,
            Code::AlreadyExists,
            "sha256:target",
        );
        assert_eq!(held(&caller, "second").await, ["snapshots/overlayfs sha256:target"]);
        assert_eq!(
            stat(&caller, "sha256:target").await.unwrap().kind(),
            snapshots::Kind::Committed
        );
        refused(stat(&caller, "extract").await, Code::NotFound, "extract");
    });
}

pub fn filters(place: &mut Place) {
    place.run(async {
        let caller = lease(&place.connection.of("filters"), "holder").await;
        prepare(&caller, "work", "", &[]).await.unwrap();
        commit(&caller, "base", "work").await;
        prepare(&caller, "top", "base", &[("colour", "red"), ("a.b", "c")])
            .await
            .unwrap();
        let view = snapshots::ViewSnapshotRequest {
            snapshotter: "overlayfs".to_owned(),
            key: "shown".to_owned(),
            parent: "base".to_owned(),
            ..snapshots::ViewSnapshotRequest::default()
        };
        caller.snapshots().view(view).await.unwrap();
        let list = |filters: &[&str]| {
            let request = snapshots::ListSnapshotsRequest {
                snapshotter: "overlayfs".to_owned(),
                filters: filters.iter().map(|one| (*one).to_owned()).collect(),
            };
            let caller = &caller;
            async move {
                let mut pages = caller.snapshots().list(request).await?.into_inner();
                let mut names = Vec::new();
                while let Some(page) = pages.message().await? {
                    names.extend(page.info.into_iter().map(|one| one.name));
                }
                names.sort();
                Ok::<_, Status>(names)
            }
        };
        let cases: [(&[&str], &[&str]); 9] = [
            (&[], &["base", "shown", "top"]),
            (&[""], &["base", "shown", "top"]),
            (&["kind==committed"], &["base"]),
            (&["kind==view", "kind==active"], &["shown", "top"]),
            (&["parent==base, kind==active"], &["top"]),
            (&["name~=/^s/"], &["shown"]),
            (&["labels.colour==red"], &["top"]),
            (&["labels.\"a.b\"==c"], &["top"]),
            (&["labels.a.b!=c,labels.layer"], &["base"]),
        ];
        for (given, wanted) in cases {
            assert_eq!(list(given).await.unwrap(), wanted, "{given:?}");
        }
        for bad in ["kind=active", "name==\"open", ",", "==x"] {
            refused(list(&[bad]).await, Code::InvalidArgument, "filters: parse error");
        }
    });
}

pub fn masks(place: &mut Place) {
    place.run(async {
        let caller = lease(&place.connection.of("masks"), "holder").await;
        prepare(&caller, "work", "", &[]).await.unwrap();
        commit(&caller, "base", "work").await;
        let update = |labels: &[(&str, &str)], paths: &[&str]| {
            let request = snapshots::UpdateSnapshotRequest {
                snapshotter: "overlayfs".to_owned(),
                info: Some(snapshots::Info {
                    name: "base".to_owned(),
                    labels: pairs(labels),
                    ..snapshots::Info::default()
                }),
                update_mask: Some(gantry_proto_containerd::prost_types::FieldMask {
                    paths: paths.iter().map(|path| (*path).to_owned()).collect(),
                }),
            };
            let caller = &caller;
            async move {
                Ok::<_, Status>(
                    caller
                        .snapshots()
                        .update(request)
                        .await?
                        .into_inner()
                        .info
                        .unwrap()
                        .labels,
                )
            }
        };
        assert_eq!(
            update(&[("a", "1"), ("b", "2")], &["labels.a"]).await.unwrap(),
            pairs(&[("a", "1"), ("layer", "base")])
        );
        assert_eq!(
            update(&[], &["labels.layer"]).await.unwrap(),
            pairs(&[("a", "1")]),
            "an empty value takes it away"
        );
        assert_eq!(
            update(&[("c", "3")], &[]).await.unwrap(),
            pairs(&[("c", "3")]),
            "no mask is all of them"
        );
        refused(
            update(&[], &["kind"]).await,
            Code::InvalidArgument,
            "cannot update \"kind\" field",
        );
        let long = "v".repeat(4096);
        refused(
            update(&[("k", &long)], &["labels.k"]).await,
            Code::InvalidArgument,
            "4096 bytes",
        );
        assert_eq!(
            stat(&caller, "base").await.unwrap().labels,
            pairs(&[("c", "3")]),
            "nothing is half done"
        );
    });
}

pub fn unknown_lease_of_snapshot(place: &mut Place) {
    place.run(async {
        let caller = place.connection.of("no-lease");
        refused(
            prepare(&caller.under("nobody"), "key", "", &[]).await,
            Code::NotFound,
            "lease does not exist",
        );
        refused(stat(&caller, "key").await, Code::NotFound, "key");
    });
}
