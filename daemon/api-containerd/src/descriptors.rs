//! Descriptors on the wire.

use gantry_core::{Digest, Error, Result};
use gantry_image::Descriptor;
use gantry_proto_containerd::types as pb;

pub fn to_wire(descriptor: Descriptor) -> pb::Descriptor {
    pb::Descriptor {
        media_type: descriptor.media_type,
        digest: descriptor.digest.to_string(),
        size: descriptor.size.cast_signed(),
        annotations: descriptor.annotations,
    }
}

/// `what` names its place in messages.
pub fn from_wire(descriptor: pb::Descriptor, what: &str) -> Result<Descriptor> {
    let digest: Digest = descriptor
        .digest
        .parse()
        .map_err(|_| Error::invalid(format!("{what} digest {:?} is malformed", descriptor.digest)))?;
    let size = u64::try_from(descriptor.size)
        .map_err(|_| Error::invalid(format!("{what} size {} makes no sense", descriptor.size)))?;
    let mut found = Descriptor::new(&descriptor.media_type, digest, size);
    found.annotations = descriptor.annotations;
    Ok(found)
}
