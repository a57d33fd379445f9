//! The descriptors, looked at from outside: what clients of containerd name must be there.

use crate::FILE_DESCRIPTOR_SET;
use prost::Message;
use prost_types::{FileDescriptorProto, FileDescriptorSet};
use std::collections::BTreeMap;

fn files() -> Vec<FileDescriptorProto> {
    FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap().file
}

/// Full name of a service to its methods; `<` marks a stream of requests, `>` one of answers.
fn services() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for file in files() {
        for service in &file.service {
            let methods = service.method.iter().map(|method| {
                let asks = if method.client_streaming() { "<" } else { "" };
                let answers = if method.server_streaming() { ">" } else { "" };
                format!("{asks}{}{answers}", method.name())
            });
            found.insert(
                format!("{}.{}", file.package(), service.name()),
                methods.collect::<Vec<_>>().join(" "),
            );
        }
    }
    found
}

/// Services and methods of containerd's API 1.12, `api/services` in its sources at v2.4.
#[test]
fn every_service_and_method() {
    let wanted = [
        ("containers.v1.Containers", "Get List ListStream> Create Update Delete"),
        (
            "content.v1.Content",
            "Info Update List> Delete Read> Status ListStatuses <Write> Abort",
        ),
        ("diff.v1.Diff", "Apply Diff"),
        ("events.v1.Events", "Publish Forward Subscribe>"),
        ("images.v1.Images", "Get List Create Update Delete"),
        ("introspection.v1.Introspection", "Plugins Server PluginInfo"),
        (
            "leases.v1.Leases",
            "Create Delete List AddResource DeleteResource ListResources",
        ),
        ("mounts.v1.Mounts", "Activate Deactivate Info Update List>"),
        ("namespaces.v1.Namespaces", "Get List Create Update Delete"),
        (
            "sandbox.v1.Controller",
            "Create Start Platform Stop Wait Status Shutdown Metrics Update",
        ),
        ("sandbox.v1.Store", "Create Update Delete List Get"),
        (
            "snapshots.v1.Snapshots",
            "Prepare View Mounts Commit Remove Stat Update List> Usage Cleanup",
        ),
        ("streaming.v1.Streaming", "<Stream>"),
        (
            "tasks.v1.Tasks",
            "Create Start Delete DeleteProcess Get List Kill Exec ResizePty CloseIO Pause Resume ListPids Checkpoint Update Metrics Wait",
        ),
        ("transfer.v1.Transfer", "Transfer"),
        ("version.v1.Version", "Version"),
    ];
    let mut wanted: BTreeMap<String, String> = wanted
        .into_iter()
        .map(|(name, methods)| (format!("containerd.services.{name}"), methods.to_owned()))
        .collect();
    wanted.insert("grpc.health.v1.Health".into(), "Check List Watch>".into());
    assert_eq!(services(), wanted);
}

/// Numbers that are easy to get wrong: those with holes before them.
#[test]
fn numbers_after_holes() {
    let number = |package: &str, message: &str, field: &str| {
        files()
            .iter()
            .filter(|file| file.package() == package)
            .flat_map(|file| file.message_type.clone())
            .find(|found| found.name() == message)
            .and_then(|found| found.field.into_iter().find(|found| found.name() == field))
            .map(|found| found.number())
    };
    for (package, message, field, wanted) in [
        ("containerd.types", "Descriptor", "annotations", 5),
        ("containerd.types", "Sandbox", "sandboxer", 10),
        ("containerd.types.transfer", "ImageStore", "unpacks", 10),
        ("containerd.runc.v1", "Options", "systemd_cgroup", 9),
        ("containerd.services.tasks.v1", "CreateTaskRequest", "rootfs", 3),
        ("containerd.events", "SnapshotPrepare", "snapshotter", 5),
        (
            "containerd.services.sandbox.v1",
            "ControllerStartRequest",
            "sandboxer",
            10,
        ),
        ("containerd.services.diff.v1", "DiffRequest", "source_date_epoch", 6),
    ] {
        assert_eq!(
            number(package, message, field),
            Some(wanted),
            "{package}.{message}.{field}"
        );
    }
}
