//! Options of dockerd that are not built yet. One that asks for nothing is let pass, any other is refused by name.

use crate::error::{Error, Result};
use serde_json::{Map, Value};

/// How the command line writes an option.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    Truth,
    Number,
    Text,
    List,
}

pub struct Row {
    /// In the file.
    pub key: &'static str,
    /// On the command line; `None` = the file only.
    pub flag: Option<&'static str>,
    pub shape: Shape,
    /// The value asks for nothing that is missing.
    harmless: fn(&Value) -> bool,
    /// What to do meanwhile.
    instead: &'static str,
}

const NETWORKS: &str = "remove it and give the options to networks when they are made";
const PROXY: &str = "remove it";
const REMOVE: &str = "remove it";

fn empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Number(number) => number.as_i64() == Some(0),
        Value::Bool(truth) => !truth,
    }
}

/// Only switches that turn on what gantry is anyway, or off what it does not have.
fn features(value: &Value) -> bool {
    let known = |(name, value): (&String, &Value)| name == "containerd-snapshotter" || empty(value);
    value.as_object().is_some_and(|map| map.iter().all(known))
}

const fn row(
    key: &'static str,
    flag: &'static str,
    shape: Shape,
    harmless: fn(&Value) -> bool,
    instead: &'static str,
) -> Row {
    Row {
        key,
        flag: Some(flag),
        shape,
        harmless,
        instead,
    }
}

const fn in_file(mut row: Row) -> Row {
    row.flag = None;
    row
}

/// Every one of them.
pub const ALL: &[Row] = &[
    row("storage-opts", "storage-opt", Shape::List, empty, REMOVE),
    row(
        "default-network-opts",
        "default-network-opt",
        Shape::List,
        empty,
        NETWORKS,
    ),
    row(
        "allow-direct-routing",
        "allow-direct-routing",
        Shape::Truth,
        empty,
        NETWORKS,
    ),
    row(
        "userland-proxy-path",
        "userland-proxy-path",
        Shape::Text,
        |_| true,
        REMOVE,
    ),
    row(
        "userns-remap",
        "userns-remap",
        Shape::Text,
        empty,
        "remove it; user namespaces come later",
    ),
    row(
        "selinux-enabled",
        "selinux-enabled",
        Shape::Truth,
        empty,
        "remove it; SELinux labels come later",
    ),
    row(
        "registry-mirrors",
        "registry-mirror",
        Shape::List,
        empty,
        "remove it and pull from the mirror by its name",
    ),
    row(
        "allow-nondistributable-artifacts",
        "allow-nondistributable-artifacts",
        Shape::List,
        empty,
        REMOVE,
    ),
    row(
        "max-concurrent-uploads",
        "max-concurrent-uploads",
        Shape::Number,
        |_| true,
        REMOVE,
    ),
    row(
        "max-download-attempts",
        "max-download-attempts",
        Shape::Number,
        |_| true,
        REMOVE,
    ),
    row(
        "metrics-addr",
        "metrics-addr",
        Shape::Text,
        empty,
        "remove it; metrics come later",
    ),
    row(
        "authorization-plugins",
        "authorization-plugin",
        Shape::List,
        empty,
        REMOVE,
    ),
    row("experimental", "experimental", Shape::Truth, empty, REMOVE),
    row(
        "containerd",
        "containerd",
        Shape::Text,
        empty,
        "remove it; gantry needs no other daemon",
    ),
    row(
        "containerd-namespace",
        "containerd-namespace",
        Shape::Text,
        empty,
        REMOVE,
    ),
    row(
        "containerd-plugins-namespace",
        "containerd-plugins-namespace",
        Shape::Text,
        empty,
        REMOVE,
    ),
    row("cri-containerd", "cri-containerd", Shape::Truth, empty, REMOVE),
    row("api-cors-header", "api-cors-header", Shape::Text, empty, REMOVE),
    row(
        "min-api-version",
        "min-api-version",
        Shape::Text,
        empty,
        "remove it; versions from 1.24 on are served",
    ),
    row("http-proxy", "http-proxy", Shape::Text, empty, PROXY),
    row("https-proxy", "https-proxy", Shape::Text, empty, PROXY),
    row("no-proxy", "no-proxy", Shape::Text, empty, PROXY),
    row(
        "swarm-default-advertise-addr",
        "swarm-default-advertise-addr",
        Shape::Text,
        empty,
        REMOVE,
    ),
    row(
        "node-generic-resources",
        "node-generic-resource",
        Shape::List,
        empty,
        REMOVE,
    ),
    in_file(row("proxies", "", Shape::Text, empty, PROXY)),
    in_file(row("features", "", Shape::Text, features, REMOVE)),
    in_file(row(
        "builder",
        "",
        Shape::Text,
        empty,
        "remove it; building images comes later",
    )),
];

/// Takes every option of this table out of `given`; refuses the first that asks for something.
pub fn refuse(given: &mut Map<String, Value>, origin: impl Fn(&str) -> String) -> Result<()> {
    for row in ALL {
        if let Some(value) = given.remove(row.key)
            && !(row.harmless)(&value)
        {
            return Err(Error::Unbuilt {
                option: origin(row.key),
                value: value.to_string(),
                instead: row.instead.to_owned(),
            });
        }
    }
    Ok(())
}

/// The flag that says what a key says, for messages.
pub fn flag_of(key: &str) -> Option<&'static str> {
    ALL.iter().find(|row| row.key == key).and_then(|row| row.flag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn verdict(key: &str, value: Value) -> Result<()> {
        let mut given = Map::from_iter([(key.to_owned(), value)]);
        refuse(&mut given, |key| key.to_owned())
    }

    #[test]
    fn what_asks_for_nothing_passes_and_the_rest_is_named() {
        assert!(verdict("experimental", json!(false)).is_ok());
        for (key, value) in [
            ("userns-remap", json!("default")),
            ("selinux-enabled", json!(true)),
            ("metrics-addr", json!("127.0.0.1:9323")),
            ("registry-mirrors", json!(["https://m"])),
        ] {
            let text = verdict(key, value).unwrap_err().to_string();
            assert!(text.contains(key) && text.contains("not built yet"), "{text}");
        }
    }
}
