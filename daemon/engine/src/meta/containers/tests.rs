use super::*;
use crate::meta::testing::{any, labels, ns, room};
use gantry_core::ErrorKind;
use gantry_core::label::MAX_LABEL;
use gantry_core::meta::RuntimeChoice;
use gantry_core::snapshot::{SnapshotOptions, SnapshotService};

fn container(id: &str) -> Container {
    Container {
        id: ContainerId::new(id).unwrap(),
        labels: labels(&[("a", "1"), ("none", "")]),
        image: "app".to_owned(),
        runtime: RuntimeChoice {
            name: "io.containerd.runc.v2".to_owned(),
            options: Some(any("options")),
        },
        spec: Some(any("{\"spec\": \u{0}}")),
        snapshotter: "native".to_owned(),
        snapshot_key: id.to_owned(),
        created_at: SystemTime::UNIX_EPOCH,
        updated_at: SystemTime::UNIX_EPOCH,
        extensions: Extensions::from([("e".to_owned(), any("x"))]),
        sandbox: "pod".to_owned(),
    }
}

#[tokio::test]
async fn made_listed_and_deleted_with_their_events() {
    let room = room();
    let (meta, one, two) = (&room.meta, ns("one"), ns("two"));
    let made = meta.create_container(&one, container("web")).await.unwrap();
    assert_eq!(made.labels, labels(&[("a", "1")]));
    assert!(made.created_at > SystemTime::UNIX_EPOCH && made.created_at == made.updated_at);
    assert_eq!(made.spec, container("web").spec, "byte for byte");
    assert_eq!(meta.container(&one, &made.id).await.unwrap(), made);
    let error = meta.create_container(&one, container("web")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    meta.create_container(&one, container("db")).await.unwrap();
    meta.create_container(&two, container("web")).await.unwrap();
    let ids = |all: Vec<Container>| all.into_iter().map(|one| one.id.to_string()).collect::<Vec<_>>();
    assert_eq!(ids(meta.containers(&one).await.unwrap()), ["db", "web"]);
    assert_eq!(ids(meta.containers(&two).await.unwrap()), ["web"]);
    let known = meta.namespaces().await.unwrap();
    assert_eq!(known, [(one.clone(), Labels::new()), (two.clone(), Labels::new())]);
    let error = meta.delete_namespace(&two).await.unwrap_err();
    assert!(error.message().contains("still has containers"), "{error}");

    meta.delete_container(&two, &made.id).await.unwrap();
    for error in [
        meta.delete_container(&two, &made.id).await.unwrap_err(),
        meta.container(&two, &made.id).await.unwrap_err(),
        meta.update_container(&two, &made.id, ContainerUpdate::default())
            .await
            .unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.message().contains("container \"web\" in namespace \"two\""));
    }
    let id = "web".to_owned();
    assert_eq!(
        room.happened(&two),
        [
            (
                "/containers/create".to_owned(),
                Happening::ContainerCreate {
                    id: id.clone(),
                    image: "app".to_owned(),
                    runtime: made.runtime.clone(),
                }
            ),
            ("/containers/delete".to_owned(), Happening::ContainerDelete { id })
        ]
    );
}

#[tokio::test]
async fn what_lacks_something_is_refused() {
    let room = room();
    let one = ns("one");
    let long = "x".repeat(MAX_LABEL);
    type Spoil = fn(&mut Container, &str);
    let wrong: [(&str, Spoil); 5] = [
        ("Runtime.Name", |c, _| c.runtime.name.clear()),
        ("Spec", |c, _| c.spec = None),
        ("Snapshotter", |c, _| c.snapshotter.clear()),
        ("extension", |c, _| {
            c.extensions.insert(String::new(), any("x"));
        }),
        ("label", |c, long| {
            c.labels.insert("k".to_owned(), long.to_owned());
        }),
    ];
    for (what, spoil) in wrong {
        let mut bad = container("web");
        spoil(&mut bad, &long);
        let error = room.meta.create_container(&one, bad).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{what}");
        assert!(error.message().contains(what), "{what}: {error}");
    }
    assert!(room.meta.containers(&one).await.unwrap().is_empty());
    assert!(room.happened(&one).is_empty());
    assert!(room.meta.namespaces().await.unwrap().is_empty(), "nothing is half done");
    let mut bare = container("bare");
    bare.snapshotter.clear();
    bare.snapshot_key.clear();
    room.meta.create_container(&one, bare).await.unwrap();
}

#[tokio::test]
async fn only_what_is_named_changes() {
    let room = room();
    let (meta, one) = (&room.meta, ns("one"));
    let made = meta.create_container(&one, container("web")).await.unwrap();
    let update = ContainerUpdate {
        labels: Some(Change::Merge(labels(&[("a", ""), ("b", "2")]))),
        extensions: Some(Change::Merge(Extensions::from([
            ("e".to_owned(), Any::default()),
            ("f".to_owned(), any("y")),
        ]))),
        ..ContainerUpdate::default()
    };
    let after = meta.update_container(&one, &made.id, update).await.unwrap();
    let expected = Container {
        labels: labels(&[("b", "2")]),
        extensions: Extensions::from([("f".to_owned(), any("y"))]),
        updated_at: after.updated_at,
        ..made.clone()
    };
    assert!(after.updated_at > made.updated_at);
    assert_eq!(after, expected);
    let update = ContainerUpdate {
        labels: Some(Change::Replace(labels(&[("c", "3")]))),
        extensions: Some(Change::Replace(Extensions::new())),
        spec: Some(Some(any("other"))),
        image: Some("new".to_owned()),
        snapshot_key: Some("other".to_owned()),
        snapshotter: Some("native".to_owned()),
        runtime_name: Some(made.runtime.name.clone()),
    };
    let after = meta.update_container(&one, &made.id, update).await.unwrap();
    assert_eq!((after.image.as_str(), after.snapshot_key.as_str()), ("new", "other"));
    assert_eq!(after.labels, labels(&[("c", "3")]));
    assert!(after.extensions.is_empty() && after.spec == Some(any("other")));
    assert_eq!(
        room.happened(&one).last().unwrap().1,
        Happening::ContainerUpdate {
            id: "web".to_owned(),
            image: "new".to_owned(),
            labels: labels(&[("c", "3")]),
            snapshot_key: "other".to_owned(),
        }
    );

    let before = room.happened(&one).len();
    for update in [
        ContainerUpdate {
            snapshotter: Some("overlayfs".to_owned()),
            ..ContainerUpdate::default()
        },
        ContainerUpdate {
            runtime_name: Some("other".to_owned()),
            ..ContainerUpdate::default()
        },
        ContainerUpdate {
            spec: Some(None),
            ..ContainerUpdate::default()
        },
        ContainerUpdate {
            labels: Some(Change::Merge(labels(&[("k", &"x".repeat(MAX_LABEL))]))),
            ..ContainerUpdate::default()
        },
    ] {
        let error = meta.update_container(&one, &made.id, update).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
    assert_eq!(meta.container(&one, &made.id).await.unwrap(), after);
    assert_eq!(room.happened(&one).len(), before);
}

#[tokio::test]
async fn updates_at_once_lose_nothing() {
    let room = room();
    let one = ns("one");
    let made = room.meta.create_container(&one, container("web")).await.unwrap();
    let mut all = tokio::task::JoinSet::new();
    for number in 0..16 {
        let (meta, one, id) = (room.meta.clone(), one.clone(), made.id.clone());
        all.spawn(async move {
            let update = ContainerUpdate {
                labels: Some(Change::Merge(labels(&[(&format!("n{number}"), "1")]))),
                ..ContainerUpdate::default()
            };
            meta.update_container(&one, &id, update).await.unwrap();
        });
    }
    all.join_all().await;
    assert_eq!(room.meta.container(&one, &made.id).await.unwrap().labels.len(), 17);
}

#[tokio::test]
async fn a_container_keeps_its_snapshot_and_what_its_labels_name() {
    let room = room();
    let one = ns("one");
    let kept = room.blob(&one, "kept").digest;
    let stray = room.blob(&one, "stray").digest;
    for key in ["web", "stray"] {
        room.snapshots
            .prepare(&one, "native", key, None, SnapshotOptions::default())
            .unwrap();
    }
    let mut web = container("web");
    web.labels
        .insert("containerd.io/gc.ref.content".to_owned(), kept.to_string());
    let web = room.meta.create_container(&one, web).await.unwrap();
    room.meta.collect().await.unwrap();
    let names = || -> Vec<String> {
        let all = room.snapshots.list(&one, "native").unwrap();
        all.into_iter().map(|info| info.name).collect()
    };
    assert_eq!(names(), ["web"]);
    assert!(room.has_blob(&one, &kept) && !room.has_blob(&one, &stray));
    room.meta.delete_container(&one, &web.id).await.unwrap();
    room.meta.collect().await.unwrap();
    assert!(names().is_empty() && !room.has_blob(&one, &kept));
}
