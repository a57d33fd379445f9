//! Opaque messages on their way through.

use gantry_core::meta::Any;
use gantry_proto_containerd::prost_types;
use std::collections::BTreeMap;

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

/// Extensions of a record, by name.
pub fn all_from_wire(given: BTreeMap<String, prost_types::Any>) -> BTreeMap<String, Any> {
    let each = given.into_iter();
    each.map(|(name, value)| (name, from_wire(value))).collect()
}

pub fn all_to_wire(kept: BTreeMap<String, Any>) -> BTreeMap<String, prost_types::Any> {
    let each = kept.into_iter();
    each.map(|(name, value)| (name, to_wire(value))).collect()
}
