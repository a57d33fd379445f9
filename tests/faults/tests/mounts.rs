//! The daemon killed at every stop between the mounts that it keeps for clients of containerd's API.

use gantry_e2e::client::{Caller, Connection};
use gantry_e2e::{House, erofs, eventually, loops};
use gantry_faults::{LIMIT, deadly, house, is_activation, stops, walk};
use gantry_proto_containerd::services::leases::v1::CreateRequest;
use gantry_proto_containerd::services::mounts::v1::{ActivateRequest, DeactivateRequest, InfoRequest};
use gantry_proto_containerd::types::Mount;
use tokio::runtime::Runtime;
use tonic::{Code, Status};

const NAME: &str = "victim";

/// A device, file systems of two kinds, and an overlay that is left to the client.
fn mounts(house: &House) -> Vec<Mount> {
    let image = house.root().join("image");
    std::fs::write(&image, erofs::image("file", "text")).expect("an image");
    let disk = house.data_root().join("disk.img");
    let mount = |kind: &str, source: String, options: &[&str]| Mount {
        r#type: kind.to_owned(),
        source,
        target: String::new(),
        options: options.iter().map(|&option| option.to_owned()).collect(),
    };
    vec![
        mount(
            "mkfs/loop",
            disk.display().to_string(),
            &["X-containerd.mkfs.size=8MiB"],
        ),
        mount("format/ext4", "{{ mount 0 }}".to_owned(), &[]),
        mount("erofs", image.display().to_string(), &["ro"]),
        mount("format/overlay", "overlay".to_owned(), &["lowerdir={{ overlay 2 1 }}"]),
    ]
}

/// A caller under a lease: what nothing refers to may be collected at any time.
async fn caller(house: &House) -> Caller {
    let caller = Connection::dial(&house.socket()).await.of("walk");
    let request = CreateRequest {
        id: NAME.to_owned(),
        ..CreateRequest::default()
    };
    match caller.leases().create(request).await {
        Err(status) if status.code() != Code::AlreadyExists => panic!("no lease: {status}"),
        _ => caller.under(NAME),
    }
}

async fn activate(caller: &Caller, mounts: Vec<Mount>) -> Result<(), Status> {
    let request = ActivateRequest {
        name: NAME.to_owned(),
        mounts,
        ..ActivateRequest::default()
    };
    caller.mounts().activate(request).await.map(drop)
}

async fn deactivate(caller: &Caller) -> Result<(), Status> {
    let name = NAME.to_owned();
    caller.mounts().deactivate(DeactivateRequest { name }).await.map(drop)
}

/// What is mounted, or was: places, devices.
fn traces(house: &House) -> Vec<String> {
    let places = std::fs::read_dir(house.exec_root().join("mounts"))
        .into_iter()
        .flatten()
        .flatten();
    let mut all: Vec<String> = places.map(|place| place.path().display().to_string()).collect();
    all.extend(
        loops::behind(house.root())
            .iter()
            .map(|file| file.display().to_string()),
    );
    all
}

#[track_caller]
fn is_clean(house: &House) {
    let mut left = Vec::new();
    let clean = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        eventually("nothing is left", LIMIT, || {
            left = traces(house);
            left.is_empty()
        });
    }));
    assert!(clean.is_ok(), "left: {left:#?}");
}

/// Whether the daemon died at the stop. Either way an activation is there whole or not at all, and can be made again.
fn dies_at(stop: &str) -> bool {
    let runtime = Runtime::new().expect("a runtime");
    let (mut house, passed) = house();
    house.stop_daemon();
    passed.forget();
    house.set_env(deadly(stop, &passed));
    house.start();
    let mounts = mounts(&house);
    let before = runtime.block_on(caller(&house));
    // What fails because of the daemon's death is of no interest.
    let _ = runtime.block_on(async {
        activate(&before, mounts.clone()).await?;
        deactivate(&before).await
    });
    let died = house.wait_daemon(LIMIT);
    if !died {
        house.stop_daemon();
    }
    let hit = died && passed.all().last().is_some_and(|last| last == stop);
    house.set_env(Vec::new());
    house.start();
    let after = runtime.block_on(caller(&house));
    runtime.block_on(async {
        let found = after.mounts().info(InfoRequest { name: NAME.to_owned() }).await;
        let status = found.expect_err("it was never made whole, or was being ended");
        assert_eq!(status.code(), Code::NotFound, "{status}");
    });
    is_clean(&house);
    runtime.block_on(async {
        activate(&after, mounts).await.expect("it is made again");
        assert!(!traces(&house).is_empty());
        deactivate(&after).await.expect("it is ended again");
    });
    is_clean(&house);
    hit
}

#[test]
fn a_kill_at_every_stop_of_an_activation_leaves_nothing() {
    let mut stops = stops();
    stops.retain(|stop| is_activation(stop));
    assert!(stops.len() > 4, "{stops:?}");
    let seen = walk(&stops, dies_at);
    seen.judge(" of activations", &stops);
}
