//! Mounts on the wire.

use gantry_core::Mount;
use gantry_proto_containerd::types as pb;

pub fn to_wire(mounts: Vec<Mount>) -> Vec<pb::Mount> {
    let one = |mount: Mount| pb::Mount {
        r#type: mount.kind,
        source: mount.source,
        target: mount.target,
        options: mount.options,
    };
    mounts.into_iter().map(one).collect()
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
