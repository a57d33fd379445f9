//! Mounts on the wire.

use gantry_core::Mount;
use gantry_proto_containerd::types as pb;

pub fn one_to_wire(mount: Mount) -> pb::Mount {
    pb::Mount {
        r#type: mount.kind,
        source: mount.source,
        target: mount.target,
        options: mount.options,
    }
}

pub fn to_wire(mounts: Vec<Mount>) -> Vec<pb::Mount> {
    mounts.into_iter().map(one_to_wire).collect()
}

pub fn from_wire(mounts: Vec<pb::Mount>) -> Vec<Mount> {
    let one = |mount: pb::Mount| Mount {
        kind: mount.r#type,
        source: mount.source,
        target: mount.target,
        options: mount.options,
    };
    mounts.into_iter().map(one).collect()
}
