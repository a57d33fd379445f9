//! containerd's `config.toml`, versions 2 and 3 (containerd docs/man/containerd-config.toml.5): known keys are honoured, others warned of.
//!
//! The flow: a [`document`] is read with its imports; a [`reader`] takes out of it what becomes keys of `daemon.json` and what is
//! [`Tuning`]; what is left is warned of, unless it is what containerd says by default.

mod document;
mod reader;
mod tuning;

pub use tuning::{SNAPSHOTTER, Tuning};

use super::values::{self, PROXY_PLUGINS};
use crate::error::{Error, Result};
use document::Document;
use reader::Reader;
use serde_json::{Map, Value, json};
use std::path::Path;
use toml::Table;

/// Printed by `config default`.
const DEFAULT: &str = include_str!("default.toml");
/// Keys without a meaning here, and containerd's own values of them.
const KNOWN: &str = include_str!("known.toml");
const SECTIONS: [&str; 9] = [
    "cgroup",
    "debug",
    "grpc",
    "metrics",
    "plugins",
    "proxy_plugins",
    "stream_processors",
    "timeouts",
    "ttrpc",
];

/// What the file says, by the keys of `daemon.json` and beside them.
#[derive(Default)]
pub struct Given {
    pub given: Map<String, Value>,
    pub tuning: Tuning,
    pub warnings: Vec<String>,
}

/// The file is read with its imports.
pub fn read(path: &Path) -> Result<Given> {
    let document = Document::read(path)?;
    let mut reader = Reader { document };
    reader.check_tables(&SECTIONS)?;
    let given = given(&mut reader)?;
    let tuning = Tuning::take(&mut reader)?;
    let mut document = reader.document;
    let _named_when_parsed = document.table.remove("version");
    let _read = document.table.remove("imports");
    let mut warnings = tuning::unbuilt_sections(&mut document);
    warnings.extend(tuning::stream_processors(&mut document));
    warnings.extend(tuning::left_over(&document, &known()));
    Ok(Given {
        given,
        tuning,
        warnings,
    })
}

/// A file that says all that a daemon called containerd does by itself.
pub fn default_text() -> String {
    let text = DEFAULT.replace("@PLATFORM@", &gantry_api_containerd::platform_text());
    let table: Table = toml::from_str(&text).expect("a test reads it");
    // Written as any other configuration is, so that one that changes nothing reads the same.
    toml::to_string(&table).expect("a test writes it")
}

/// The defaults with a file laid over them, as TOML.
pub fn dump(path: Option<&Path>) -> Result<String> {
    let mut whole = Document::parse(&default_text(), Path::new("default.toml"))?;
    if let Some(path) = path {
        // The file's mistakes are told here as at a start.
        read(path)?;
        whole.merge(Document::read(path)?);
    }
    tuning::one_name(&mut whole.table);
    toml::to_string(&whole.table).map_err(|error| Error::System {
        deed: "write the configuration as TOML",
        source: std::io::Error::other(error),
    })
}

fn known() -> Table {
    toml::from_str(KNOWN).expect("a test reads it")
}

fn given(reader: &mut Reader) -> Result<Map<String, Value>> {
    let mut given = Map::new();
    for (keys, ours) in [
        (&["root"][..], "data-root"),
        (&["state"], "exec-root"),
        (&["grpc", "address"], "address"),
        (&["debug", "level"], "log-level"),
        (&["debug", "format"], "log-format"),
    ] {
        if let Some(text) = reader.text(keys)? {
            super::settings::check_text(ours, &text).map_err(|reason| reader.document.wrong(keys, reason))?;
            given.insert(ours.to_owned(), json!(text));
        }
    }
    for (key, ours) in [("uid", "address-uid"), ("gid", "address-gid")] {
        if let Some(number) = reader.whole::<u32>(&["grpc", key])? {
            given.insert(ours.to_owned(), json!(number));
        }
    }
    if let Some(toml::Value::Table(all)) = reader.take(&[PROXY_PLUGINS.1]) {
        let proxies = proxies(reader, all)?;
        if !proxies.is_empty() {
            given.insert(PROXY_PLUGINS.0.to_owned(), Value::Object(proxies));
        }
    }
    Ok(given)
}

fn proxies(reader: &Reader, all: Table) -> Result<Map<String, Value>> {
    let mut proxies = Map::new();
    for (name, section) in all {
        let wrong = |reason: String| reader.document.wrong(&[PROXY_PLUGINS.1, &name], reason);
        let section = serde_json::to_value(section).map_err(|error| wrong(error.to_string()))?;
        values::proxy(&name, section.clone()).map_err(wrong)?;
        proxies.insert(name, section);
    }
    Ok(proxies)
}

#[cfg(test)]
mod tests;
