//! Opaque messages on their way through.

use gantry_core::meta::Any;
use gantry_proto_containerd::prost_types;

pub fn from_wire(any: prost_types::Any) -> Any {
    Any {
        type_url: any.type_url,
        value: any.value,
    }
}

pub fn to_wire(any: Any) -> prost_types::Any {
    prost_types::Any {
        type_url: any.type_url,
        value: any.value,
    }
}
