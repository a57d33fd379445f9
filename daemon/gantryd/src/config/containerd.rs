//! containerd's `config.toml`, versions 2 and 3 (containerd docs/man/containerd-config.toml.5): known keys are honoured, others warned of.

use crate::error::{Error, Result};
use serde_json::{Map, Value, json};
use std::path::Path;
use toml::Table;

/// What the file says, by the keys of `daemon.json`.
pub struct Given {
    pub given: Map<String, Value>,
    pub warnings: Vec<String>,
}

/// Sections and keys that say something we heed, and the key it becomes.
const HEEDED: &[(&str, &str)] = &[
    ("root", "data-root"),
    ("state", "exec-root"),
    ("grpc.address", "address"),
    ("grpc.uid", "address-uid"),
    ("grpc.gid", "address-gid"),
    ("debug.level", "log-level"),
    ("debug.format", "log-format"),
];

/// Keys that ask for what gantry does in any case, or that hold no wish while empty or zero.
const INDIFFERENT: &[&str] = &[
    "version",
    "imports",
    "temp",
    "disabled_plugins",
    "required_plugins",
    "oom_score",
    "plugin_dir",
    "cgroup",
    "debug",
    "grpc",
    "ttrpc",
    "metrics",
    "timeouts",
    "proxy_plugins",
    "stream_processors",
    "plugins",
];

pub fn read(path: &Path) -> Result<Given> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::ReadFile {
        path: path.to_owned(),
        source,
    })?;
    let table: Table = toml::from_str(&text).map_err(|source| Error::Toml {
        path: path.to_owned(),
        source: Box::new(source),
    })?;
    match table.get("version").and_then(toml::Value::as_integer) {
        Some(2 | 3) => {}
        found => {
            let found = found.map_or("none".to_owned(), |version| version.to_string());
            let reason = format!("version 2 or 3 is expected, found {found}");
            return Err(Error::File {
                path: path.to_owned(),
                reason,
            });
        }
    }
    let mut result = Given {
        given: Map::new(),
        warnings: Vec::new(),
    };
    walk(&table, "", path, &mut result)?;
    Ok(result)
}

fn walk(table: &Table, prefix: &str, path: &Path, result: &mut Given) -> Result<()> {
    for (name, value) in table {
        let key = if prefix.is_empty() {
            name.clone()
        } else {
            format!("{prefix}.{name}")
        };
        if let Some((_, ours)) = HEEDED.iter().find(|(theirs, _)| *theirs == key) {
            if let Some(value) = heeded(value, &key, path)? {
                result.given.insert((*ours).to_owned(), value);
            }
            continue;
        }
        match value {
            toml::Value::Table(inner) if matches!(key.as_str(), "grpc" | "debug") => walk(inner, &key, path, result)?,
            value if INDIFFERENT.contains(&key.as_str()) && says_nothing(value) => {}
            _ if key == "version" => {}
            toml::Value::Table(inner) => {
                let keys = inner
                    .iter()
                    .filter(|(_, value)| !says_nothing(value))
                    .map(|(name, _)| format!("{key}.{name}"));
                result.warnings.extend(keys.map(|key| ignored(path, &key)));
            }
            value if says_nothing(value) => {}
            _ => result.warnings.push(ignored(path, &key)),
        }
    }
    Ok(())
}

fn ignored(path: &Path, key: &str) -> String {
    format!("{}: key {key} is not known here and does nothing", path.display())
}

fn says_nothing(value: &toml::Value) -> bool {
    match value {
        toml::Value::String(text) => text.is_empty(),
        toml::Value::Integer(number) => *number == 0,
        toml::Value::Float(number) => *number == 0.0,
        toml::Value::Boolean(truth) => !truth,
        toml::Value::Datetime(_) => false,
        toml::Value::Array(list) => list.is_empty(),
        toml::Value::Table(table) => table.values().all(says_nothing),
    }
}

/// A text or a number; an empty text or the root's id is no wish.
fn heeded(value: &toml::Value, key: &str, path: &Path) -> Result<Option<Value>> {
    match value {
        toml::Value::String(text) if text.is_empty() => Ok(None),
        toml::Value::String(text) if !key.ends_with("id") => Ok(Some(json!(text))),
        toml::Value::Integer(number) if key.ends_with("id") => Ok(Some(json!(number))),
        other => Err(Error::File {
            path: path.to_owned(),
            reason: format!("key {key}: {} was not expected", other.type_str()),
        }),
    }
}
