//! The mounts service: each method once; what becomes of activations is `tests/mounts`.

use crate::bed::{Bed, Entry, labels, mask};
use crate::{bed, records, tasks};
use futures::future::BoxFuture;
use gantry_e2e::client::Caller;
use gantry_proto_containerd::services::mounts::v1 as pb;
use gantry_proto_containerd::services::tasks::v1::{CreateTaskRequest, StartRequest};
use gantry_proto_containerd::types::{ActivationInfo, Mount};
use std::fs;
use tonic::{Code, Status};

pub fn entries() -> Vec<Entry> {
    let name = |method: &str| format!("containerd.services.mounts.v1.Mounts/{method}");
    vec![
        Entry::new(
            &name("Activate"),
            activate_well,
            Code::AlreadyExists,
            "already exists",
            |bed| {
                Box::pin(async move {
                    let made = made(bed, &[]).await;
                    let again = activate(&bed.held, &made.name, bed.rootfs(), &[]).await.map(drop);
                    deactivate(bed, &made.name).await.unwrap();
                    again
                })
            },
        ),
        Entry::new(
            &name("Deactivate"),
            |bed| {
                Box::pin(async move {
                    let made = made(bed, &[]).await;
                    let point = &made.active[0].mount_point;
                    assert!(is_mounted(point));
                    deactivate(bed, &made.name).await.unwrap();
                    assert!(!is_mounted(point));
                    let refused = info(bed, &made.name).await.unwrap_err();
                    assert_eq!(refused.code(), Code::NotFound);
                })
            },
            Code::NotFound,
            "mount \"nobody\" in namespace \"walk\": not found",
            |bed| Box::pin(async move { deactivate(bed, "nobody").await }),
        ),
        Entry::new(
            &name("Info"),
            |bed| {
                Box::pin(async move {
                    let made = made(bed, &[("a", "1")]).await;
                    assert_eq!(info(bed, &made.name).await.unwrap(), made);
                    deactivate(bed, &made.name).await.unwrap();
                })
            },
            Code::NotFound,
            "mount \"nobody\" in namespace \"walk\": not found",
            |bed| Box::pin(async move { info(bed, "nobody").await.map(drop) }),
        ),
        Entry::new(
            &name("Update"),
            update_well,
            Code::InvalidArgument,
            "cannot update \"name\" field on mount",
            |bed| Box::pin(async move { update(bed, "any", &[], &["name"]).await.map(drop) }),
        ),
        Entry::new(&name("List"), list_well, Code::InvalidArgument, "name==", |bed| {
            Box::pin(async move { list(bed, &["name==\"open"]).await.map(drop) })
        }),
    ]
}

fn is_mounted(point: &str) -> bool {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    table.lines().any(|line| line.split(' ').nth(4) == Some(point))
}

pub async fn activate(
    caller: &Caller,
    name: &str,
    mounts: Vec<Mount>,
    given: &[(&str, &str)],
) -> Result<ActivationInfo, Status> {
    let request = pb::ActivateRequest {
        name: name.to_owned(),
        mounts,
        labels: labels(given),
        temporary: true,
    };
    Ok(caller.mounts().activate(request).await?.into_inner().info.unwrap())
}

/// One bind mount, under a name of its own.
async fn made(bed: &Bed, given: &[(&str, &str)]) -> ActivationInfo {
    activate(&bed.held, &bed.fresh("mount"), bed.rootfs(), given)
        .await
        .unwrap()
}

async fn deactivate(bed: &Bed, name: &str) -> Result<(), Status> {
    let request = pb::DeactivateRequest { name: name.to_owned() };
    bed.walk.mounts().deactivate(request).await.map(drop)
}

async fn info(bed: &Bed, name: &str) -> Result<ActivationInfo, Status> {
    let request = pb::InfoRequest { name: name.to_owned() };
    Ok(bed.walk.mounts().info(request).await?.into_inner().info.unwrap())
}

async fn update(bed: &Bed, name: &str, given: &[(&str, &str)], paths: &[&str]) -> Result<ActivationInfo, Status> {
    let info = ActivationInfo {
        name: name.to_owned(),
        labels: labels(given),
        ..ActivationInfo::default()
    };
    let request = pb::UpdateRequest {
        info: Some(info),
        update_mask: mask(paths),
    };
    Ok(bed.walk.mounts().update(request).await?.into_inner().info.unwrap())
}

async fn list(bed: &Bed, filters: &[&str]) -> Result<Vec<String>, Status> {
    let request = pb::ListRequest {
        filters: filters.iter().map(|&filter| filter.to_owned()).collect(),
    };
    let mut stream = bed.walk.mounts().list(request).await?.into_inner();
    let mut names = Vec::new();
    while let Some(message) = stream.message().await? {
        names.push(message.info.unwrap().name);
    }
    Ok(names)
}

fn activate_well(bed: &Bed) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let made = made(bed, &[("a", "1"), ("none", "")]).await;
        assert_eq!(made.labels, labels(&[("a", "1")]));
        let [active] = &made.active[..] else {
            panic!("one is mounted: {made:?}");
        };
        assert_eq!(active.mount, bed.rootfs().pop());
        assert!(active.mounted_at.is_some_and(|at| at.seconds > 1_600_000_000));
        assert!(fs::exists(format!("{}/bin/busybox", active.mount_point)).unwrap());
        let left = Mount {
            r#type: "bind".to_owned(),
            source: active.mount_point.clone(),
            target: String::new(),
            options: vec!["rbind".to_owned()],
        };
        assert_eq!(made.system, [left]);
        deactivate(bed, &made.name).await.unwrap();
    })
}

fn update_well(bed: &Bed) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let made = made(bed, &[("a", "1"), ("b", "2")]).await;
        let given = [("a", "3"), ("c", "4")];
        let after = update(bed, &made.name, &given, &["labels.c", "labels.b"])
            .await
            .unwrap();
        assert_eq!(after.labels, labels(&[("a", "1"), ("c", "4")]));
        assert_eq!((&after.active, &after.system), (&made.active, &made.system));
        let after = update(bed, &made.name, &given, &[]).await.unwrap();
        assert_eq!(after.labels, labels(&given));
        assert_eq!(info(bed, &made.name).await.unwrap(), after);
        deactivate(bed, &made.name).await.unwrap();
        let refused = update(bed, &made.name, &given, &[]).await.unwrap_err();
        assert_eq!(refused.code(), Code::NotFound);
    })
}

fn list_well(bed: &Bed) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        let one = made(bed, &[("kind", "listed"), ("number", "1")]).await.name;
        let other = made(bed, &[("kind", "listed")]).await.name;
        let all = list(bed, &[]).await.unwrap();
        assert!(all.contains(&one) && all.contains(&other), "{all:?}");
        let name = format!("name=={one}");
        for (filters, expected) in [
            (vec!["labels.kind==listed"], vec![&one, &other]),
            (vec!["labels.kind==listed,labels.number"], vec![&one]),
            (vec![name.as_str()], vec![&one]),
            (vec!["labels.kind==other"], vec![]),
        ] {
            let found = list(bed, &filters).await.unwrap();
            assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{filters:?}");
        }
        for name in [one, other] {
            deactivate(bed, &name).await.unwrap();
        }
    })
}

/// A root that only the daemon can put together: an overlay of what is mounted before it.
#[test]
fn what_a_task_needs_is_mounted_for_it_and_taken_down_after_it() {
    let (house, runtime) = bed::start();
    runtime.block_on(async {
        let bed = Bed::new(&house).await;
        let id = bed.fresh(&format!("t{}", std::process::id()));
        let upper = house.data_root().join(&id);
        let mount = |kind: &str, options: Vec<String>| Mount {
            r#type: kind.to_owned(),
            source: "overlay".to_owned(),
            target: String::new(),
            options,
        };
        let made = |name: &str| format!("X-containerd.mkdir.path={}{name}", upper.display());
        let mut rootfs = bed.rootfs();
        rootfs.push(mount(
            "format/mkdir/overlay",
            vec![
                made(":755"),
                made("/upper:755"),
                made("/work"),
                "lowerdir={{ mount 0 }}".to_owned(),
                format!("upperdir={}/upper", upper.display()),
                format!("workdir={}/work", upper.display()),
            ],
        ));
        let script = "echo written > /tmp/file && exec sleep 100";
        records::create_container(&bed, records::container(&id, script))
            .await
            .unwrap();
        let request = CreateTaskRequest {
            container_id: id.clone(),
            rootfs,
            ..CreateTaskRequest::default()
        };
        tasks::create(&bed, request).await.unwrap();
        let kept = info(&bed, &id).await.unwrap();
        assert_eq!(kept.labels, labels(&[("containerd.io/gc.bref.container", &id)]));
        assert!(is_mounted(&kept.active[0].mount_point));
        let request = StartRequest {
            container_id: id.clone(),
            ..StartRequest::default()
        };
        tasks::start(&bed, request).await.unwrap();
        gantry_e2e::eventually("it has written", gantry_e2e::PATIENCE, || {
            fs::read_to_string(upper.join("upper/tmp/file")).is_ok_and(|text| text == "written\n")
        });
        tasks::end(&bed, &id).await;
        assert_eq!(info(&bed, &id).await.unwrap_err().code(), Code::NotFound);
        assert!(!is_mounted(&kept.active[0].mount_point));
        // One that cannot be mounted leaves nothing.
        let id = bed.fresh(&format!("t{}", std::process::id()));
        records::create_container(&bed, records::container(&id, script))
            .await
            .unwrap();
        let mut rootfs = bed.rootfs();
        rootfs.push(mount("format/overlay", vec!["lowerdir={{ mount 7 }}".to_owned()]));
        let request = CreateTaskRequest {
            container_id: id.clone(),
            rootfs,
            ..CreateTaskRequest::default()
        };
        let refused = tasks::create(&bed, request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        assert_eq!(list(&bed, &[]).await.unwrap(), [""; 0]);
        bed.clear().await;
    });
    drop(runtime);
    drop(house);
}
