//! An image as `docker image inspect` shows it.

use gantry_proto::gantry::v1 as pb;

use super::inspect_container::container_config;
use crate::format::time;
use crate::template::{Struct, Value};

pub(super) fn value(it: &pb::Image) -> Value {
    let root = Struct::new("image.RootFS")
        .with("Type", "layers")
        .omit_empty("Layers", it.layers.as_slice());
    let tagged = time::rfc3339_nano(time::from_wire(it.last_tagged_at.as_ref()));
    let mut out = Struct::new("*image.InspectResponse")
        .json_as("ID", Some("Id"), it.id.as_str())
        .with("RepoTags", it.repo_tags.as_slice())
        .with("RepoDigests", it.repo_digests.as_slice())
        .with("Parent", &it.parent)
        .with("Comment", &it.comment)
        .with("Created", time::rfc3339_nano(time::from_wire(it.created_at.as_ref())))
        .with("DockerVersion", "")
        .with("Author", &it.author)
        .with("Config", container_config(&it.config.clone().unwrap_or_default()))
        .with("Architecture", &it.architecture)
        .omit_empty("Variant", &it.variant)
        .with("Os", &it.os)
        .with("Size", it.size)
        .with(
            "GraphDriver",
            Struct::new("storage.DriverData")
                .with("Data", Value::Null)
                .with("Name", &it.snapshotter),
        )
        .with("RootFS", root)
        .with("Metadata", Struct::new("image.Metadata").with("LastTagTime", tagged));
    if !it.target_digest.is_empty() {
        let descriptor = Struct::new("*ocispec.Descriptor")
            .json_as("MediaType", Some("mediaType"), it.target_media_type.as_str())
            .json_as("Digest", Some("digest"), it.target_digest.as_str());
        out = out.with("Descriptor", descriptor);
    }
    out.into()
}
