//! `daemon.json`, with dockerd's keys.

use super::settings::KEYS;
use super::{cluster, containers, doors, networks, unbuilt};
use crate::error::{Error, Result};
use serde_json::{Map, Value};
use std::io::ErrorKind;
use std::path::Path;

/// The file as a map; empty if it is not there and nobody named it.
pub fn read(path: &Path, must_exist: bool) -> Result<Map<String, Value>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound && !must_exist => return Ok(Map::new()),
        Err(source) => {
            return Err(Error::ReadFile {
                path: path.to_owned(),
                source,
            });
        }
    };
    if text.trim().is_empty() {
        return Ok(Map::new());
    }
    let value: Value = serde_json::from_str(text.trim_start_matches('\u{feff}')).map_err(|source| Error::Json {
        path: path.to_owned(),
        source,
    })?;
    let Value::Object(map) = value else {
        return Err(Error::File {
            path: path.to_owned(),
            reason: "an object is expected".to_owned(),
        });
    };
    let is_known = |key: &str| {
        KEYS.contains(&key)
            || networks::is_key(key)
            || cluster::is_key(key)
            || doors::is_key(key)
            || containers::is_key(key)
            || unbuilt::ALL.iter().any(|row| row.key == key)
    };
    let unknown: Vec<String> = map.keys().filter(|key| !is_known(key)).cloned().collect();
    match unknown.is_empty() {
        true => Ok(map),
        false => Err(Error::UnknownKeys {
            path: path.to_owned(),
            keys: unknown,
        }),
    }
}
