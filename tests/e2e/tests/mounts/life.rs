//! How long activations live.

use crate::bed::{Bed, FILE, NS, is_mounted, mount};
use gantry_e2e::{PATIENCE, eventually, loops};
use gantry_proto_containerd::any::{SPEC, json};
use gantry_proto_containerd::services::containers::v1 as containers;
use gantry_proto_containerd::services::leases::v1 as leases;
use gantry_proto_containerd::services::mounts::v1 as pb;
use gantry_proto_containerd::services::snapshots::v1::CleanupRequest;
use std::collections::BTreeMap;
use std::fs;
use std::process::{Child, Command};
use tonic::Code;

#[test]
fn they_outlive_the_daemon() {
    let mut bed = Bed::new();
    let mounts = [
        mount(
            "mkfs/loop",
            bed.house.data_root().join("disk.img"),
            &["X-containerd.mkfs.size=8MiB"],
        ),
        mount("erofs", bed.erofs("image"), &["ro"]),
        mount("format/bind", "{{ mount 1 }}", &["rbind"]),
    ];
    let info = bed.activate("lasting", &mounts).unwrap();
    for hard in [false, true] {
        bed.end(hard);
        bed.begin();
        assert_eq!(bed.info("lasting").unwrap(), info);
        let file = format!("{}/{FILE}", info.active[1].mount_point);
        assert_eq!(fs::read_to_string(file).unwrap(), "image");
        assert_eq!(loops::behind(bed.house.root()).len(), 1);
        let again = bed.activate("lasting", &mounts).unwrap_err();
        assert_eq!(again.code(), Code::AlreadyExists, "{again}");
    }
    bed.deactivate("lasting").unwrap();
    bed.clean();
}

#[test]
fn one_whose_mount_is_gone_is_over_at_the_next_start() {
    let mut bed = Bed::new();
    let info = bed.activate(
        "broken",
        &[
            mount("erofs", bed.erofs("a"), &["ro"]),
            mount("erofs", bed.erofs("b"), &["ro"]),
        ],
    );
    let point = info.unwrap().active[0].mount_point.clone();
    bed.end(true);
    nix::mount::umount(point.as_str()).unwrap();
    bed.begin();
    assert_eq!(bed.info("broken").unwrap_err().code(), Code::NotFound);
    bed.clean();
}

/// Somebody who works in a directory.
struct Worker(Child);

impl Worker {
    fn at(dir: &str) -> Self {
        Self(Command::new("sleep").arg("1000").current_dir(dir).spawn().unwrap())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn what_is_in_use_is_told_and_taken_down_when_it_is_free() {
    let mut bed = Bed::new();
    let mounts = [mount("erofs", bed.erofs("busy"), &["ro"])];
    for restart in [false, true] {
        let point = bed.activate("busy", &mounts).unwrap().active[0].mount_point.clone();
        let worker = Worker::at(&point);
        let refused = bed.deactivate("busy").unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
        assert!(refused.message().contains("still in use"), "{refused}");
        assert!(is_mounted(&point), "nobody's directory is pulled away");
        assert_eq!(bed.info("busy").unwrap_err().code(), Code::NotFound);
        assert_eq!(bed.deactivate("busy").unwrap_err().code(), Code::NotFound);
        let other = bed.activate("busy", &mounts).unwrap().active[0].mount_point.clone();
        assert_ne!(other, point, "the name is free, the place is not");
        bed.deactivate("busy").unwrap();
        if restart {
            bed.end(true);
            bed.begin();
            assert!(is_mounted(&point));
        }
        drop(worker);
        bed.clean();
    }
}

fn end_lease(bed: &Bed, id: &str) {
    let request = leases::DeleteRequest {
        id: id.to_owned(),
        sync: true,
    };
    bed.ask(async { bed.caller.leases().delete(request).await }).unwrap();
}

fn collect(bed: &Bed) {
    let request = CleanupRequest {
        snapshotter: "overlayfs".to_owned(),
    };
    bed.ask(async { bed.caller.snapshots().cleanup(request).await })
        .unwrap();
}

#[test]
fn a_lease_keeps_them_and_its_end_takes_them_down() {
    let bed = Bed::new();
    let (one, other) = (bed.lease(&bed.caller, ""), bed.lease(&bed.caller, ""));
    let request = || pb::ActivateRequest {
        name: "leased".to_owned(),
        mounts: vec![mount("erofs", bed.erofs("leased"), &["ro"])],
        ..pb::ActivateRequest::default()
    };
    let info = bed.request_as(&bed.caller.under(&one), request()).unwrap();
    end_lease(&bed, &other);
    assert_eq!(bed.info("leased").unwrap(), info);
    let held = leases::ListResourcesRequest { id: one.clone() };
    let held = bed
        .ask(async { bed.caller.leases().list_resources(held).await })
        .unwrap();
    assert!(held.into_inner().resources.is_empty(), "the API has no type for them");
    end_lease(&bed, &one);
    assert_eq!(bed.info("leased").unwrap_err().code(), Code::NotFound);
    assert!(bed.is_clean(), "a synchronous delete has waited for it");
    let refused = bed.request_as(&bed.caller.under(&one), request()).unwrap_err();
    assert_eq!(refused.code(), Code::NotFound, "{refused}");
    assert!(bed.is_clean());
}

#[test]
fn they_live_as_long_as_what_their_labels_name() {
    let bed = Bed::new();
    let container = containers::Container {
        id: "owner".to_owned(),
        runtime: Some(containers::container::Runtime {
            name: "io.containerd.gantry.v1".to_owned(),
            options: None,
        }),
        spec: Some(json(SPEC, "{}")),
        ..containers::Container::default()
    };
    let request = containers::CreateContainerRequest {
        container: Some(container),
    };
    bed.ask(async { bed.caller.containers().create(request).await })
        .unwrap();
    let (image, bare) = (bed.erofs("owned"), bed.caller.connection().of(NS));
    for (name, label, value) in [
        ("owned", "containerd.io/gc.bref.container", "owner"),
        ("named", "containerd.io/gc.bref.container.root", "owner"),
        ("others", "containerd.io/gc.bref.container", "nobody"),
        ("unnamed", "plain", "owner"),
    ] {
        let request = pb::ActivateRequest {
            name: name.to_owned(),
            mounts: vec![mount("erofs", &image, &["ro"])],
            labels: BTreeMap::from([(label.to_owned(), value.to_owned())]),
            temporary: false,
        };
        bed.request_as(&bare, request).unwrap();
    }
    collect(&bed);
    for (name, lives) in [("owned", true), ("named", true), ("others", false), ("unnamed", false)] {
        assert_eq!(bed.info(name).is_ok(), lives, "{name}");
    }
    let request = containers::DeleteContainerRequest { id: "owner".to_owned() };
    bed.ask(async { bed.caller.containers().delete(request).await })
        .unwrap();
    collect(&bed);
    assert_eq!(bed.info("owned").unwrap_err().code(), Code::NotFound);
    assert!(bed.is_clean());
}

#[test]
fn of_two_under_one_name_one_is_made() {
    let bed = Bed::new();
    let request = pb::ActivateRequest {
        name: "contested".to_owned(),
        mounts: vec![mount("erofs", bed.erofs("one"), &["ro"])],
        ..pb::ActivateRequest::default()
    };
    let answers = bed.ask(async {
        let one = || {
            let (caller, request) = (bed.caller.clone(), request.clone());
            async move { caller.mounts().activate(request).await }
        };
        futures::future::join_all([one(), one(), one(), one()]).await
    });
    let codes: Vec<Code> = answers
        .iter()
        .filter_map(|answer| Some(answer.as_ref().err()?.code()))
        .collect();
    assert_eq!(codes, [Code::AlreadyExists; 3]);
    // Another namespace has names of its own.
    let other = bed.elsewhere("other");
    bed.request_as(&other, request).unwrap();
    let ended = pb::DeactivateRequest {
        name: "contested".to_owned(),
    };
    bed.ask(async { other.mounts().deactivate(ended).await }).unwrap();
    bed.info("contested").unwrap();
    bed.deactivate("contested").unwrap();
    assert!(bed.is_clean(), "in {NS} and elsewhere");
    eventually("no device is left", PATIENCE, || {
        loops::behind(bed.house.root()).is_empty()
    });
}
