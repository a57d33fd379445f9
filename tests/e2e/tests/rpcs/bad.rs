//! Bad input, wherever it can come in: each is answered with its code, and nothing is half done.

use crate::bed::{self, Bed, labels};
use crate::telling::{Raw, forward_well};
use crate::{methods, records};
use gantry_e2e::client::Caller;
use gantry_proto_containerd::services::containers::v1 as containers;
use gantry_proto_containerd::services::diff::v1 as diff;
use gantry_proto_containerd::services::images::v1 as images;
use gantry_proto_containerd::services::leases::v1 as leases;
use gantry_proto_containerd::services::namespaces::v1 as namespaces;
use gantry_proto_containerd::services::sandbox::v1 as sandbox;
use gantry_proto_containerd::services::snapshots::v1 as snapshots;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;
use tonic::{Code, Request, Status};

/// Methods that speak of the daemon as a whole, or of all namespaces.
const WITHOUT_NAMESPACE: [&str; 7] = [
    "containerd.services.events.ttrpc.v1.",
    "containerd.services.events.v1.Events/Forward",
    "containerd.services.events.v1.Events/Subscribe",
    "containerd.services.introspection.v1.",
    "containerd.services.namespaces.v1.",
    "containerd.services.version.v1.",
    "grpc.health.v1.",
];

#[test]
fn a_call_of_no_namespace_is_refused_by_every_method() {
    let (house, runtime) = bed::start();
    runtime.block_on(async {
        let bed = Bed::new(&house).await;
        let all = methods();
        let named = |method: &&String| !WITHOUT_NAMESPACE.iter().any(|one| method.starts_with(one));
        let mut count = 0;
        for method in all.iter().filter(named) {
            let refused = empty(&bed, method, None).await.unwrap_err();
            assert_eq!(
                (refused.code(), refused.message()),
                (Code::FailedPrecondition, "namespace is required"),
                "{method}"
            );
            for bad in ["bad/name", "-begin", "end.", "a..b", &"x".repeat(77)] {
                let refused = empty(&bed, method, Some(bad)).await.unwrap_err();
                assert_eq!(refused.code(), Code::InvalidArgument, "{method} in {bad}: {refused}");
                assert!(
                    refused.message().starts_with("namespace validation: "),
                    "{method} in {bad}: {refused}"
                );
            }
            count += 1;
        }
        assert!(count > 60, "{count} methods");
    });
    drop(runtime);
    drop(house);
}

/// Calls a method with an empty message, which every message can be.
async fn empty(bed: &Bed, method: &str, namespace: Option<&str>) -> Result<(), Status> {
    let mut raw = tonic::client::Grpc::new(bed.connection.channel());
    raw.ready().await.unwrap();
    let path = tonic::codegen::http::uri::PathAndQuery::try_from(format!("/{method}")).unwrap();
    let mut request = Request::new(Vec::new());
    if let Some(namespace) = namespace {
        request
            .metadata_mut()
            .insert("containerd-namespace", namespace.parse().unwrap());
    }
    let mut answers = raw.server_streaming(request, path, Raw).await?.into_inner();
    answers.message().await.map(drop)
}

#[test]
fn labels_that_are_too_long_are_refused_wherever_they_come_in() {
    let (house, runtime) = bed::start();
    runtime.block_on(async {
        let bed = Bed::new(&house).await;
        let long = labels(&[("key", &"v".repeat(4094))]);
        for (what, refused) in [
            ("a namespace", long_namespace(&bed, &long).await),
            ("a container", long_container(&bed, &long).await),
            ("an image", long_image(&bed, &bed.walk, &long).await),
            ("a lease", long_lease(&bed, &long).await),
            ("a snapshot", long_snapshot(&bed, &long).await),
            ("a view", long_view(&bed, &long).await),
            ("a sandbox", long_sandbox(&bed, &long).await),
            ("an activation", long_activation(&bed, &long).await),
        ] {
            let refused = refused.err().unwrap_or_else(|| panic!("{what} takes them"));
            assert_eq!(refused.code(), Code::InvalidArgument, "{what}: {refused}");
            assert!(refused.message().contains("4096 bytes"), "{what}: {refused}");
        }
        nothing_is_there(&bed).await;
        // The longest that is allowed.
        let long = labels(&[("key", &"v".repeat(4093))]);
        long_image(&bed, &bed.walk, &long).await.unwrap();
    });
    drop(runtime);
    drop(house);
}

#[test]
fn a_lease_that_is_not_there_is_refused_by_what_it_should_hold() {
    let (house, runtime) = bed::start();
    runtime.block_on(async {
        let bed = Bed::new(&house).await;
        let nobody = bed.walk.under("nobody");
        // Leases hold only images that end by themselves.
        let ending = labels(&[("containerd.io/gc.expire", "2100-01-01T00:00:00Z")]);
        let refused = long_image(&bed, &nobody, &ending).await.unwrap_err();
        assert_eq!(refused.code(), Code::NotFound, "{refused}");
        let mounts = crate::snapshots::prepare(&bed, "work", "").await.unwrap();
        let request = diff::DiffRequest {
            right: mounts,
            ..diff::DiffRequest::default()
        };
        let refused = nobody.diff().diff(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::NotFound, "{refused}");
        let view = snapshots::ViewSnapshotRequest {
            snapshotter: "overlayfs".to_owned(),
            key: "shown".to_owned(),
            ..snapshots::ViewSnapshotRequest::default()
        };
        let refused = nobody.snapshots().view(view).await.unwrap_err();
        assert_eq!(
            (refused.code(), refused.message().contains("lease does not exist")),
            (Code::NotFound, true),
            "{refused}"
        );
        let refused = crate::mounts::activate(&nobody, "held", bed.rootfs(), &[])
            .await
            .unwrap_err();
        assert_eq!(refused.code(), Code::NotFound, "{refused}");
        let found = bed
            .walk
            .images()
            .list(images::ListImagesRequest::default())
            .await
            .unwrap()
            .into_inner()
            .images;
        assert!(found.is_empty(), "{found:?}");
    });
    drop(runtime);
    drop(house);
}

async fn long_namespace(bed: &Bed, labels: &BTreeMap<String, String>) -> Result<(), Status> {
    let namespace = namespaces::Namespace {
        name: "long".to_owned(),
        labels: labels.clone(),
    };
    let request = namespaces::CreateNamespaceRequest {
        namespace: Some(namespace),
    };
    bed.connection.anybody().namespaces().create(request).await.map(drop)
}

async fn long_container(bed: &Bed, labels: &BTreeMap<String, String>) -> Result<(), Status> {
    let container = containers::Container {
        labels: labels.clone(),
        ..records::container("long", "true")
    };
    records::create_container(bed, container).await.map(drop)
}

async fn long_image(bed: &Bed, caller: &Caller, labels: &BTreeMap<String, String>) -> Result<(), Status> {
    let image = images::Image {
        name: "long".to_owned(),
        labels: labels.clone(),
        target: Some(bed.blob(b"the target of an image").await),
        ..images::Image::default()
    };
    let request = images::CreateImageRequest {
        image: Some(image),
        source_date_epoch: None,
    };
    caller.images().create(request).await.map(drop)
}

async fn long_activation(bed: &Bed, labels: &BTreeMap<String, String>) -> Result<(), Status> {
    let labels: Vec<(&str, &str)> = labels
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    crate::mounts::activate(&bed.walk, "long", bed.rootfs(), &labels)
        .await
        .map(drop)
}

async fn long_lease(bed: &Bed, labels: &BTreeMap<String, String>) -> Result<(), Status> {
    let request = leases::CreateRequest {
        id: "long".to_owned(),
        labels: labels.clone(),
    };
    bed.walk.leases().create(request).await.map(drop)
}

async fn long_snapshot(bed: &Bed, labels: &BTreeMap<String, String>) -> Result<(), Status> {
    let request = snapshots::PrepareSnapshotRequest {
        snapshotter: "overlayfs".to_owned(),
        key: "long".to_owned(),
        parent: String::new(),
        labels: labels.clone(),
    };
    bed.walk.snapshots().prepare(request).await.map(drop)
}

async fn long_view(bed: &Bed, labels: &BTreeMap<String, String>) -> Result<(), Status> {
    let request = snapshots::ViewSnapshotRequest {
        snapshotter: "native".to_owned(),
        key: "long".to_owned(),
        parent: String::new(),
        labels: labels.clone(),
    };
    bed.walk.snapshots().view(request).await.map(drop)
}

async fn long_sandbox(bed: &Bed, labels: &BTreeMap<String, String>) -> Result<(), Status> {
    let mut sandbox = records::sandbox("long");
    sandbox.labels = labels.clone();
    records::keep_sandbox(bed, sandbox).await.map(drop)
}

/// No record of the name that every one of these would have had.
async fn nothing_is_there(bed: &Bed) {
    let id = "long".to_owned();
    let missing = |result: Result<(), Status>| assert_eq!(result.unwrap_err().code(), Code::NotFound);
    missing(
        bed.walk
            .containers()
            .get(containers::GetContainerRequest { id: id.clone() })
            .await
            .map(drop),
    );
    missing(
        bed.walk
            .images()
            .get(images::GetImageRequest { name: id.clone() })
            .await
            .map(drop),
    );
    missing(
        bed.walk
            .sandboxes()
            .get(sandbox::StoreGetRequest { sandbox_id: id.clone() })
            .await
            .map(drop),
    );
    missing(
        bed.walk
            .leases()
            .list_resources(leases::ListResourcesRequest { id: id.clone() })
            .await
            .map(drop),
    );
    missing(
        bed.connection
            .anybody()
            .namespaces()
            .delete(namespaces::DeleteNamespaceRequest { name: id.clone() })
            .await
            .map(drop),
    );
    for snapshotter in ["overlayfs", "native"] {
        let request = snapshots::StatSnapshotRequest {
            snapshotter: snapshotter.to_owned(),
            key: id.clone(),
        };
        missing(bed.walk.snapshots().stat(request).await.map(drop));
    }
}

/// Whoever sends what is no message is not answered, or cut off; everybody else goes on.
#[test]
fn garbage_on_the_sockets_harms_nobody_else() {
    let (mut house, runtime) = bed::start();
    let bed = runtime.block_on(Bed::new(&house));
    let ttrpc = format!("{}.ttrpc", bed.socket.display());
    let frame = |length: u32, stream: u32, kind: u8, data: &[u8]| {
        let mut bytes = [length.to_be_bytes(), stream.to_be_bytes()].concat();
        bytes.extend([kind, 0]);
        bytes.extend_from_slice(data);
        bytes
    };
    let noise: Vec<u8> = (0..100_000_u32)
        .map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let cases: [(&str, Vec<u8>); 8] = [
        ("noise", noise),
        ("zeros", vec![0; 4096]),
        ("a frame of four gigabytes", frame(u32::MAX, 1, 1, b"")),
        ("a frame larger than any", frame((4 << 20) + 1, 1, 1, &vec![0; 5 << 20])),
        ("half a frame", frame(100, 1, 1, b"half")),
        ("a request that is no message", frame(4, 1, 1, &[0xff; 4])),
        ("a frame of no known kind", frame(0, 1, 99, b"")),
        ("words of another protocol", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
    ];
    for (what, bytes) in &cases {
        for socket in [Path::new(&ttrpc), bed.socket.as_path()] {
            send(socket, bytes);
            assert!(house.daemon_alive(), "{what}");
        }
        runtime.block_on(forward_well(&bed));
    }
    // Many who say nothing take no place from the others.
    let silent: Vec<_> = (0..200).map(|_| UnixStream::connect(&ttrpc).unwrap()).collect();
    runtime.block_on(forward_well(&bed));
    drop(silent);
    drop(bed);
    drop(runtime);
    drop(house);
}

/// Sends it, and reads for a moment what may come back.
fn send(socket: &Path, bytes: &[u8]) {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
    // It may be cut off while it sends.
    let _ = stream.write_all(bytes);
    let _ = stream.read(&mut [0; 4096]);
}
