//! Values with rules of their own: sizes, limits, pairs.

use crate::error::{Error, Result};
use gantry_core::container::Ulimit;
use gantry_engine::NamedRuntime;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Services outside that take part like built-in ones: the key in `daemon.json`, and in containerd's `config.toml`.
pub const PROXY_PLUGINS: (&str, &str) = ("proxy-plugins", "proxy_plugins");
/// Snapshotters that are built in.
const BUILT_IN: [&str; 7] = ["overlayfs", "overlay2", "overlay", "native", "vfs", "erofs", "proxy"];

/// A snapshots service outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyPlugin {
    pub name: String,
    /// What the service calls it.
    pub told: String,
    /// Path of its socket.
    pub address: String,
    /// As in `linux/amd64`; `None` = this machine's.
    pub platform: Option<String>,
    /// Shown to clients.
    pub exports: BTreeMap<String, String>,
    pub capabilities: Vec<String>,
}

/// Names of limits (getrlimit(2)), as Docker spells them.
const ULIMITS: &[&str] = &[
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// `name=value,name=value`.
pub fn fields(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split(',')
        .map(|field| field.split_once('=').unwrap_or((field, "")))
}

/// Bytes: a number, with `b`, `k`, `m`, `g` or `t` (1024 each), an `i` and a `b` after it allowed.
pub fn size(text: &str) -> Option<i64> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.find(|c: char| !c.is_ascii_digit()).unwrap_or(lower.len());
    let number: i64 = lower[..digits].parse().ok()?;
    let shift = match lower[digits..].trim() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return None,
    };
    number.checked_mul(1 << shift)
}

/// `default-ulimits` in either form: `["nofile=1:2"]` from flags, `{"nofile": {"Name": .., "Soft": .., "Hard": ..}}` from the file.
pub fn ulimits(value: Value) -> Result<Vec<Ulimit>> {
    let limits = match value {
        Value::Array(list) => list.iter().map(ulimit_text).collect::<Result<Vec<_>>>()?,
        Value::Object(map) => map
            .into_iter()
            .map(|(name, value)| ulimit_object(name, value))
            .collect::<Result<Vec<_>>>()?,
        _ => return Err(Error::bad("default-ulimits", "an object of limits by name is expected")),
    };
    for limit in &limits {
        check(limit)?;
    }
    Ok(limits)
}

fn check(limit: &Ulimit) -> Result<()> {
    if !ULIMITS.contains(&limit.name.as_str()) {
        let known = ULIMITS.join(", ");
        return Err(Error::bad(
            "default-ulimits",
            format!("no limit is called {:?}; known are {known}", limit.name),
        ));
    }
    if limit.hard != -1 && (limit.soft == -1 || limit.soft > limit.hard) {
        let text = format!(
            "{}: the soft limit {} is above the hard limit {}",
            limit.name, limit.soft, limit.hard
        );
        return Err(Error::bad("default-ulimits", text));
    }
    Ok(())
}

fn ulimit_text(value: &Value) -> Result<Ulimit> {
    let text = value.as_str().unwrap_or_default();
    let wrong = || Error::bad("default-ulimits", format!("{text:?}: NAME=SOFT[:HARD] is expected"));
    let (name, limits) = text.split_once('=').ok_or_else(wrong)?;
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let number = |text: &str| match text {
        "unlimited" => Some(-1),
        text => text.parse::<i64>().ok().filter(|number| *number >= -1),
    };
    let (soft, hard) = number(soft).zip(number(hard)).ok_or_else(wrong)?;
    Ok(Ulimit {
        name: name.to_owned(),
        soft,
        hard,
    })
}

fn ulimit_object(name: String, value: Value) -> Result<Ulimit> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase", deny_unknown_fields)]
    struct Wire {
        #[serde(default)]
        name: Option<String>,
        soft: i64,
        hard: i64,
    }
    let wire: Wire =
        serde_json::from_value(value).map_err(|error| Error::bad("default-ulimits", format!("{name}: {error}")))?;
    if wire.name.as_ref().is_some_and(|inner| *inner != name) {
        return Err(Error::bad(
            "default-ulimits",
            format!("{name}: the name within it differs"),
        ));
    }
    Ok(Ulimit {
        name,
        soft: wire.soft,
        hard: wire.hard,
    })
}

/// `runtimes`: name to program or shim.
pub fn runtimes(value: Value) -> Result<BTreeMap<String, NamedRuntime>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Wire {
        #[serde(default)]
        path: String,
        #[serde(default)]
        runtime_args: Vec<String>,
        #[serde(default)]
        runtime_type: String,
        #[serde(default)]
        options: serde_json::Map<String, Value>,
    }
    let table: BTreeMap<String, Wire> =
        serde_json::from_value(value).map_err(|error| Error::bad("runtimes", error.to_string()))?;
    let mut runtimes = BTreeMap::new();
    for (name, wire) in table {
        let bad = |reason: &str| Error::bad(format!("runtimes.{name}"), reason);
        let shim = !wire.runtime_type.is_empty();
        let runtime = match (name.is_empty(), wire.path.is_empty(), shim) {
            (true, ..) => return Err(bad("a name is expected")),
            (_, true, false) => return Err(bad("a path (NAME=PATH) or a runtimeType is expected")),
            (_, false, true) => return Err(bad("a path and a runtimeType exclude each other")),
            (_, true, true) if !wire.runtime_args.is_empty() => return Err(bad("runtimeArgs are for a path only")),
            (_, false, false) if !wire.options.is_empty() => return Err(bad("options are for a runtimeType only")),
            (_, true, true) => NamedRuntime::Shim {
                name: wire.runtime_type,
                options: wire.options,
            },
            (_, false, false) => NamedRuntime::Program {
                path: PathBuf::from(wire.path),
                args: wire.runtime_args,
            },
        };
        runtimes.insert(name, runtime);
    }
    Ok(runtimes)
}

/// One of `proxy-plugins`, in containerd's words. The error is the reason.
pub fn proxy(name: &str, value: Value) -> Result<ProxyPlugin, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Wire {
        r#type: String,
        address: String,
        /// Ours: containerd tells the service its own name of it.
        #[serde(default)]
        snapshotter: String,
        #[serde(default)]
        platform: String,
        #[serde(default)]
        exports: BTreeMap<String, String>,
        #[serde(default)]
        capabilities: Vec<String>,
    }
    let wire: Wire = serde_json::from_value(value).map_err(|error| error.to_string())?;
    match wire.r#type.as_str() {
        "snapshot" | "io.containerd.snapshotter.v1" => {}
        known @ ("content" | "diff" | "sandbox") => {
            return Err(format!("type {known:?} is not built; \"snapshot\" is"));
        }
        other => return Err(format!("type {other:?} is not known; \"snapshot\" is")),
    }
    let is_word = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if name.len() > 76 || !name.split(['.', '_', '-']).all(is_word) {
        return Err(format!(
            "{name:?} is no name: letters and digits joined by single . _ or - are"
        ));
    }
    if BUILT_IN.contains(&name) {
        return Err(format!("{name:?} is the name of a snapshotter that is built in"));
    }
    let path = wire.address.strip_prefix("unix://").unwrap_or(&wire.address);
    if !path.starts_with('/') {
        return Err(format!(
            "address {:?} is no absolute path of a unix socket",
            wire.address
        ));
    }
    Ok(ProxyPlugin {
        name: name.to_owned(),
        address: path.to_owned(),
        told: match wire.snapshotter {
            same if same.is_empty() => name.to_owned(),
            other => other,
        },
        platform: Some(wire.platform).filter(|text| !text.is_empty()),
        exports: wire.exports,
        capabilities: wire.capabilities,
    })
}

/// `proxy-plugins`: by name.
pub fn proxies(table: BTreeMap<String, Value>) -> Result<Vec<ProxyPlugin>> {
    let one = |(name, value): (String, Value)| {
        proxy(&name, value).map_err(|reason| Error::bad(format!("{}.{name}", PROXY_PLUGINS.0), reason))
    };
    table.into_iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("64m", 64 << 20),
            ("1g", 1 << 30),
            ("10", 10),
            ("2KiB", 2048),
            ("3 mb", 3 << 20),
        ] {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for text in ["", "m", "-1", "1x", "99999999999t"] {
            assert_eq!(size(text), None, "{text}");
        }
    }

    #[test]
    fn limits_in_both_forms() {
        let expected = vec![Ulimit {
            name: "nofile".into(),
            soft: 10,
            hard: 20,
        }];
        assert_eq!(ulimits(json!(["nofile=10:20"])).unwrap(), expected);
        assert_eq!(
            ulimits(json!({ "nofile": { "Name": "nofile", "Soft": 10, "Hard": 20 } })).unwrap(),
            expected
        );
        for bad in [
            json!(["nofile"]),
            json!(["nofile=2:1"]),
            json!(["nonsense=1"]),
            json!(["core=-2"]),
            json!({ "core": 1 }),
        ] {
            assert!(ulimits(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn runtimes_are_programs_or_shims() {
        let asked = json!({
            "crun": { "path": "/usr/bin/crun", "runtimeArgs": ["--debug"] },
            "kata": { "runtimeType": "io.containerd.kata.v2", "options": { "ConfigPath": "/k" } },
        });
        let found = runtimes(asked).unwrap();
        assert_eq!(
            found["crun"],
            NamedRuntime::Program {
                path: "/usr/bin/crun".into(),
                args: vec!["--debug".to_owned()]
            }
        );
        let NamedRuntime::Shim { name, options } = &found["kata"] else {
            panic!("{found:?}")
        };
        assert_eq!(
            (name.as_str(), &options["ConfigPath"]),
            ("io.containerd.kata.v2", &json!("/k"))
        );
        for bad in [
            json!({ "path": "" }),
            json!({ "path": "/x", "runtimeType": "io.containerd.x.v1" }),
            json!({ "runtimeType": "io.containerd.x.v1", "runtimeArgs": ["-x"] }),
            json!({ "path": "/x", "options": { "Root": "/r" } }),
        ] {
            assert!(runtimes(json!({ "x": bad.clone() })).is_err(), "{bad}");
        }
    }

    #[test]
    fn services_outside_are_snapshotters_by_socket() {
        let stargz = proxy(
            "stargz",
            json!({ "type": "snapshot", "address": "unix:///run/s.sock", "exports": { "root": "/r" } }),
        );
        let stargz = stargz.unwrap();
        assert_eq!(
            (stargz.address.as_str(), &stargz.exports["root"]),
            ("/run/s.sock", &"/r".to_owned())
        );
        for (name, value, word) in [
            ("c", json!({ "type": "content", "address": "/s" }), "content"),
            ("d", json!({ "type": "diff", "address": "/s" }), "diff"),
            ("s", json!({ "type": "sandbox", "address": "/s" }), "sandbox"),
            ("x", json!({ "type": "snapshot", "address": "tcp://h:1" }), "tcp://h:1"),
            ("x", json!({ "type": "snapshot" }), "address"),
            (
                "x",
                json!({ "type": "snapshot", "address": "/s", "adress": "/s" }),
                "adress",
            ),
            ("native", json!({ "type": "snapshot", "address": "/s" }), "built in"),
            ("a/b", json!({ "type": "snapshot", "address": "/s" }), "a/b"),
        ] {
            let reason = proxy(name, value).unwrap_err();
            assert!(reason.contains(word), "{word} in {reason}");
        }
    }
}
