//! A volume as `docker volume inspect` shows it.

use std::collections::HashMap;

use gantry_proto::gantry::v1 as pb;

use crate::format::time;
use crate::template::{Struct, Value};

pub(super) fn value(it: &pb::Volume) -> Value {
    let created = time::from_wire(it.created_at.as_ref());
    Struct::new("volume.Volume")
        .with(
            "CreatedAt",
            created.map(|at| at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)),
        )
        .with("Driver", &it.driver)
        .with("Labels", map(&it.labels))
        .with("Mountpoint", &it.mountpoint)
        .with("Name", &it.name)
        .with("Options", map(&it.options))
        .with("Scope", &it.scope)
        .into()
}

fn map(pairs: &HashMap<String, String>) -> Value {
    match pairs.is_empty() {
        true => Value::Null,
        false => pairs.iter().collect(),
    }
}
