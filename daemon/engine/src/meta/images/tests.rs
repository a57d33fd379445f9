use super::*;
use crate::meta::testing::{Room, labels, ns, room};
use gantry_core::ErrorKind;
use gantry_core::label::MAX_LABEL;
use std::time::Duration;

fn image(name: &str, target: &Descriptor) -> NewImage {
    NewImage {
        name: name.to_owned(),
        target: target.clone(),
        labels: labels(&[("a", "1"), ("none", "")]),
        at: None,
        lease: None,
    }
}

async fn names(room: &Room, ns: &Namespace) -> Vec<String> {
    let all = room.meta.images(ns).await.unwrap();
    all.into_iter().map(|image| image.name).collect()
}

#[tokio::test]
async fn made_changed_and_deleted_with_their_events() {
    let room = room();
    let (meta, one) = (&room.meta, ns("one"));
    let (first, second) = (room.blob(&one, "first"), room.blob(&one, "second"));
    let made = meta.create_image(&one, image("app", &first)).await.unwrap();
    assert_eq!(made.labels, labels(&[("a", "1")]));
    let error = meta.create_image(&one, image("app", &second)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert_eq!(meta.image(&one, "app").await.unwrap(), made);
    assert!(names(&room, &ns("two")).await.is_empty());

    let mut target = second.clone();
    target.annotations = labels(&[("old", "1"), ("gone", "")]);
    let epoch = SystemTime::UNIX_EPOCH + Duration::from_secs(5);
    let update = ImageUpdate {
        target: Some(target),
        labels: Some(Change::Merge(labels(&[("b", "2")]))),
        annotations: Some(Change::Merge(labels(&[("new", "2")]))),
        at: Some(epoch),
        lease: None,
    };
    let after = meta.update_image(&one, "app", update).await.unwrap();
    assert_eq!(after.target.digest, second.digest);
    assert_eq!(after.target.annotations, labels(&[("new", "2"), ("old", "1")]));
    assert_eq!(after.labels, labels(&[("a", "1"), ("b", "2")]));
    assert_eq!((after.created_at, after.updated_at), (made.created_at, epoch));

    let wrong = DeleteImage {
        target: Some(first.digest.clone()),
        ..DeleteImage::default()
    };
    let error = meta.delete_image(&one, "app", wrong).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let right = DeleteImage {
        target: Some(second.digest.clone()),
        ..DeleteImage::default()
    };
    meta.delete_image(&one, "app", right).await.unwrap();
    for error in [
        meta.image(&one, "app").await.unwrap_err(),
        meta.delete_image(&one, "app", DeleteImage::default())
            .await
            .unwrap_err(),
        meta.update_image(&one, "app", ImageUpdate::default())
            .await
            .unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(error.message(), "image \"app\": not found");
    }
    let name = "app".to_owned();
    let events: Vec<_> = room.happened(&one).into_iter().map(|(_, event)| event).collect();
    assert_eq!(
        events,
        [
            Happening::ImageCreate {
                name: name.clone(),
                labels: made.labels,
            },
            Happening::ImageUpdate {
                name: name.clone(),
                labels: after.labels,
            },
            Happening::ImageDelete { name },
        ]
    );
}

#[tokio::test]
async fn what_lacks_something_is_refused() {
    let room = room();
    let one = ns("one");
    let good = room.blob(&one, "bytes");
    let (mut empty, mut untyped) = (good.clone(), good.clone());
    empty.size = 0;
    untyped.media_type.clear();
    let mut long = image("app", &good);
    long.labels = labels(&[("k", &"x".repeat(MAX_LABEL))]);
    for bad in [
        image("", &good),
        image(&format!("gantry-dangling@{}", good.digest), &good),
        image("app", &empty),
        image("app", &untyped),
        long,
    ] {
        let error = room.meta.create_image(&one, bad).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    }
    room.meta.create_image(&one, image("app", &good)).await.unwrap();
    let update = ImageUpdate {
        target: Some(empty),
        ..ImageUpdate::default()
    };
    let error = room.meta.update_image(&one, "app", update).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let error = room.meta.update_image(&one, "", ImageUpdate::default()).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(room.meta.image(&one, "app").await.unwrap().target, good);
}

#[tokio::test]
async fn an_epoch_is_the_time_of_making() {
    let room = room();
    let one = ns("one");
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let mut given = image("app", &room.blob(&one, "bytes"));
    given.at = Some(at);
    let made = room.meta.create_image(&one, given).await.unwrap();
    assert_eq!((made.created_at, made.updated_at), (at, at));
}

#[tokio::test]
async fn a_synchronous_delete_takes_the_bytes_along() {
    let room = room();
    let one = ns("one");
    let target = room.blob(&one, "bytes");
    room.meta.create_image(&one, image("app", &target)).await.unwrap();
    room.meta.collect().await.unwrap();
    assert!(room.has_blob(&one, &target.digest));
    let sync = DeleteImage {
        sync: true,
        ..DeleteImage::default()
    };
    room.meta.delete_image(&one, "app", sync).await.unwrap();
    assert!(!room.has_blob(&one, &target.digest));
}

#[tokio::test]
async fn what_has_expired_goes_unless_a_lease_holds_it() {
    let room = room();
    let (meta, one) = (&room.meta, ns("one"));
    let (lease, _) = meta.leases.create(&one, None, Labels::new()).unwrap();
    let expired = labels(&[(LABEL_EXPIRE, "2001-01-01T00:00:00Z")]);
    let target = room.blob(&one, "bytes");
    for (name, lease) in [("gone", None), ("held", Some(lease.clone()))] {
        let given = NewImage {
            labels: expired.clone(),
            lease,
            ..image(name, &target)
        };
        meta.create_image(&one, given).await.unwrap();
    }
    let plain = NewImage {
        lease: Some(lease.clone()),
        ..image("plain", &target)
    };
    meta.create_image(&one, plain).await.unwrap();
    let held = || meta.leases.resources(&one, &lease).unwrap();
    assert_eq!(held(), [Resource::Image("held".to_owned())], "others need no lease");
    meta.collect().await.unwrap();
    assert_eq!(names(&room, &one).await, ["held", "plain"]);

    let update = ImageUpdate {
        labels: Some(Change::Merge(labels(&[(LABEL_EXPIRE, "")]))),
        lease: Some(lease.clone()),
        ..ImageUpdate::default()
    };
    meta.update_image(&one, "held", update).await.unwrap();
    assert!(held().is_empty());
    meta.collect().await.unwrap();
    assert_eq!(names(&room, &one).await, ["held", "plain"]);

    let unknown = NewImage {
        labels: expired,
        lease: Some(LeaseId("nobody".to_owned())),
        ..image("other", &target)
    };
    let error = meta.create_image(&one, unknown).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn the_engines_images_are_shown_and_the_nameless_not() {
    let room = room();
    let gantry = Namespace::engine();
    let target = room.blob(&gantry, "bytes");
    for record in [
        ImageRecord::new("docker.io/library/app:latest".to_owned(), target.clone()),
        ImageRecord::dangling(target.clone()),
    ] {
        let mut batch = Batch::new();
        batch
            .put(&(gantry.clone(), record.name.clone()), &Image(record))
            .unwrap();
        room.store.commit(batch).unwrap();
    }
    assert_eq!(names(&room, &gantry).await, ["docker.io/library/app:latest"]);
    let nameless = ImageRecord::dangling(target).name;
    let error = room.meta.image(&gantry, &nameless).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let error = room.meta.delete_image(&gantry, &nameless, DeleteImage::default()).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::NotFound);
}
