//! What happened, as the payloads of containerd's events.

use crate::any;
use gantry_core::meta::{Happening, RuntimeChoice};
use gantry_proto_containerd::any::{is_named, pack};
use gantry_proto_containerd::events as pb;
use gantry_proto_containerd::prost::{Message, Name};
use gantry_proto_containerd::prost_types::Any;
use gantry_proto_containerd::services::images::v1 as images;
use gantry_proto_containerd::time::timestamp;

pub fn to_wire(what: Happening) -> Any {
    match what {
        Happening::Opaque(any) => any::to_wire(any),
        Happening::NamespaceCreate { name, labels } => pack(&pb::NamespaceCreate { name, labels }),
        Happening::NamespaceUpdate { name, labels } => pack(&pb::NamespaceUpdate { name, labels }),
        Happening::NamespaceDelete { name } => pack(&pb::NamespaceDelete { name }),
        Happening::ContainerCreate { id, image, runtime } => pack(&pb::ContainerCreate {
            id,
            image,
            runtime: Some(choice(runtime)),
        }),
        Happening::ContainerUpdate {
            id,
            image,
            labels,
            snapshot_key,
        } => pack(&pb::ContainerUpdate {
            id,
            image,
            labels,
            snapshot_key,
        }),
        Happening::ContainerDelete { id } => pack(&pb::ContainerDelete { id }),
        Happening::ContentCreate { digest, size } => pack(&pb::ContentCreate {
            digest,
            size,
            ..pb::ContentCreate::default()
        }),
        Happening::ContentDelete { digest } => pack(&pb::ContentDelete { digest }),
        Happening::ImageCreate { name, labels } => pack(&images::ImageCreate { name, labels }),
        Happening::ImageUpdate { name, labels } => pack(&images::ImageUpdate { name, labels }),
        Happening::ImageDelete { name } => pack(&images::ImageDelete { name }),
        Happening::SnapshotPrepare {
            key,
            parent,
            snapshotter,
        } => pack(&pb::SnapshotPrepare {
            key,
            parent,
            snapshotter,
        }),
        Happening::SnapshotCommit { key, name, snapshotter } => pack(&pb::SnapshotCommit { key, name, snapshotter }),
        Happening::SnapshotRemove { key, snapshotter } => pack(&pb::SnapshotRemove { key, snapshotter }),
        Happening::TaskExit {
            container,
            id,
            pid,
            status,
            at,
        } => pack(&pb::TaskExit {
            container_id: container,
            id,
            pid,
            exit_status: status,
            exited_at: Some(timestamp(Some(at))),
        }),
        Happening::TaskDelete {
            container,
            id,
            pid,
            status,
            at,
        } => pack(&pb::TaskDelete {
            container_id: container,
            id,
            pid,
            exit_status: status,
            exited_at: Some(timestamp(Some(at))),
        }),
        Happening::SandboxCreate { id } => pack(&pb::SandboxCreate { sandbox_id: id }),
        Happening::SandboxStart { id } => pack(&pb::SandboxStart { sandbox_id: id }),
        Happening::SandboxExit { id, status, at } => pack(&pb::SandboxExit {
            sandbox_id: id,
            exit_status: status,
            exited_at: Some(timestamp(Some(at))),
        }),
    }
}

fn choice(runtime: RuntimeChoice) -> pb::container_create::Runtime {
    pb::container_create::Runtime {
        name: runtime.name,
        options: runtime.options.map(any::to_wire),
    }
}

/// A field of a payload by its name on the wire. As in containerd only the fields that are text can be asked for; those of
/// payloads that it does not know are absent.
pub fn field(event: &Any, path: &[&str]) -> Option<String> {
    macro_rules! texts {
        ($($message:ty { $($name:literal = $field:ident),* })*) => {
            $(if is_named(event, &<$message>::full_name()) {
                let message = <$message>::decode(event.value.as_slice()).ok()?;
                return match path {
                    $([$name, ..] => Some(message.$field).filter(|text| !text.is_empty()),)*
                    _ => None,
                };
            })*
        };
    }
    texts! {
        pb::ContainerCreate { "id" = id, "image" = image }
        pb::ContainerUpdate { "id" = id, "image" = image, "snapshot_key" = snapshot_key }
        pb::ContainerDelete { "id" = id }
        pb::ContentCreate { "digest" = digest }
        pb::ContentDelete { "digest" = digest }
        images::ImageCreate { "name" = name }
        images::ImageUpdate { "name" = name }
        images::ImageDelete { "name" = name }
        pb::NamespaceCreate { "name" = name }
        pb::NamespaceUpdate { "name" = name }
        pb::NamespaceDelete { "name" = name }
        pb::SandboxCreate { "sandbox_id" = sandbox_id }
        pb::SandboxStart { "sandbox_id" = sandbox_id }
        pb::SandboxExit { "sandbox_id" = sandbox_id }
        pb::SnapshotPrepare { "key" = key, "parent" = parent, "snapshotter" = snapshotter }
        pb::SnapshotCommit { "key" = key, "name" = name, "snapshotter" = snapshotter }
        pb::SnapshotRemove { "key" = key, "snapshotter" = snapshotter }
        pb::TaskCreate { "container_id" = container_id, "bundle" = bundle, "checkpoint" = checkpoint }
        pb::TaskStart { "container_id" = container_id }
        pb::TaskDelete { "container_id" = container_id, "id" = id }
        pb::TaskExit { "container_id" = container_id, "id" = id }
        pb::TaskOom { "container_id" = container_id }
        pb::TaskExecAdded { "container_id" = container_id, "exec_id" = exec_id }
        pb::TaskExecStarted { "container_id" = container_id, "exec_id" = exec_id }
        pb::TaskPaused { "container_id" = container_id }
        pb::TaskResumed { "container_id" = container_id }
        pb::TaskCheckpointed { "container_id" = container_id, "checkpoint" = checkpoint }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_bear_bare_names_and_are_looked_into() {
        let event = to_wire(Happening::ImageCreate {
            name: "docker.io/library/busybox:latest".to_owned(),
            labels: gantry_core::Labels::new(),
        });
        assert_eq!(event.type_url, "containerd.services.images.v1.ImageCreate");
        assert_eq!(
            field(&event, &["name"]).as_deref(),
            Some("docker.io/library/busybox:latest")
        );
        assert_eq!(field(&event, &["none"]), None);
        let odd = Any {
            type_url: "com.example.Odd".to_owned(),
            value: vec![1, 2],
        };
        assert_eq!(field(&odd, &["name"]), None);
    }
}
