//! Configurations of networks, as administrators write them.

use crate::{Error, Result};
use gantry_core::Error as Fault;
use serde_json::{Map, Value, json};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The versions of the specification whose plugins are spoken to.
const VERSIONS: [(u32, u32); 4] = [(0, 3), (0, 4), (1, 0), (1, 1)];

/// Names of networks are part of files' names (SPEC, "Network configuration format").
const LONGEST: usize = 128;

/// A network: plugins in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Chain {
    version: String,
    name: String,
    unchecked: bool,
    plugins: Vec<Map<String, Value>>,
}

fn bad(reason: impl std::fmt::Display) -> Error {
    Fault::invalid(format!("CNI configuration: {reason}")).into()
}

impl Chain {
    /// A list (`*.conflist`), or one plugin's configuration (`*.conf`), which is a list of one.
    pub fn parse(text: &str) -> Result<Self> {
        let value: Value = serde_json::from_str(text).map_err(bad)?;
        let Value::Object(all) = value else {
            return Err(bad("an object is expected"));
        };
        let word = |key: &str| all.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let plugins = match all.get("plugins") {
            Some(Value::Array(plugins)) => plugins.iter().map(object).collect::<Result<Vec<_>>>()?,
            Some(_) => return Err(bad("\"plugins\" is a list")),
            None => vec![all.clone()],
        };
        let chain = Self {
            version: word("cniVersion"),
            name: word("name"),
            unchecked: all
                .get("disableCheck")
                .is_some_and(|value| *value == true || *value == "true"),
            plugins,
        };
        chain.checked()
    }

    fn checked(self) -> Result<Self> {
        let version = numbers(&self.version);
        if !version.is_some_and(|version| VERSIONS.contains(&version)) {
            let version = &self.version;
            return Err(bad(format!(
                "cniVersion \"{version}\" is not spoken: 0.3.0 to 1.1.0 are"
            )));
        }
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
        let first = self
            .name
            .bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_alphanumeric());
        if !first || !self.name.bytes().all(plain) || self.name.len() > LONGEST {
            return Err(bad(format!("invalid name \"{}\"", self.name)));
        }
        if self.plugins.is_empty() {
            return Err(bad(format!("network {} has no plugins", self.name)));
        }
        for plugin in &self.plugins {
            let kind = super::kind(plugin);
            if kind.is_empty() || kind.contains('/') || kind.starts_with('.') {
                return Err(bad(format!(
                    "a plugin of network {} has no proper type: \"{kind}\"",
                    self.name
                )));
            }
        }
        Ok(self)
    }

    /// The network of this name in a directory. Files that cannot be read are passed over, and named if none is it.
    pub fn find(dir: &Path, name: &str) -> Result<Self> {
        let mut complaints = Vec::new();
        for path in files(dir)? {
            let read = fs::read_to_string(&path).map_err(|error| error.to_string());
            let chain = read.and_then(|text| Self::parse(&text).map_err(|error| error.to_string()));
            match chain {
                Ok(chain) if chain.name == name => return Ok(chain),
                Ok(_) => {}
                Err(error) => complaints.push(format!("{}: {error}", path.display())),
            }
        }
        let mut text = format!("no CNI configuration in {} has the name \"{name}\"", dir.display());
        if !complaints.is_empty() {
            text = format!("{text} ({})", complaints.join("; "));
        }
        Err(Fault::not_found(text).into())
    }

    /// As a configuration says it.
    pub fn text(&self) -> String {
        let mut all = json!({"cniVersion": self.version, "name": self.name, "plugins": self.plugins});
        if self.unchecked {
            all["disableCheck"] = true.into();
        }
        all.to_string()
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn version(&self) -> &str {
        &self.version
    }

    /// Whether a plugin of it says that it is capable of that.
    pub fn is_capable(&self, of: &str) -> bool {
        let capable = |plugin: &Map<String, Value>| {
            let capabilities = plugin.get("capabilities");
            capabilities.and_then(|all| all.get(of)) == Some(&Value::Bool(true))
        };
        self.plugins.iter().any(capable)
    }

    pub(super) fn plugins(&self) -> &[Map<String, Value>] {
        &self.plugins
    }

    pub(super) fn is_unchecked(&self) -> bool {
        self.unchecked
    }

    pub(super) fn is_at_least(&self, major: u32, minor: u32) -> bool {
        numbers(&self.version).is_some_and(|version| version >= (major, minor))
    }
}

fn object(value: &Value) -> Result<Map<String, Value>> {
    match value {
        Value::Object(map) => Ok(map.clone()),
        _ => Err(bad("a plugin is an object")),
    }
}

fn numbers(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.').map(|part| part.parse::<u32>().ok());
    let found = (parts.next()??, parts.next()??);
    // The last one says nothing about the words that are spoken.
    match (parts.next(), parts.next()) {
        (Some(Some(_)), None) => Some(found),
        _ => None,
    }
}

/// Configurations in the order of their names.
fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|source| Error::File {
            what: format!("list {}", dir.display()),
            source,
        })?,
    };
    let paths = entries.flatten().map(|entry| entry.path());
    let is_one = |path: &PathBuf| {
        path.extension()
            .is_some_and(|extension| extension == "conflist" || extension == "conf" || extension == "json")
    };
    let mut paths: Vec<PathBuf> = paths.filter(is_one).collect();
    paths.sort();
    Ok(paths)
}
