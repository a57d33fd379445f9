//! A `config.toml` with what it imports, as one table that knows where each key was written.

use crate::error::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

/// Files that one may import in all; more is a mistake.
const MOST_FILES: usize = 256;
/// Lists that grow by an import; every other value is replaced by it.
const GROWING: [&str; 3] = ["disabled_plugins", "imports", "required_plugins"];
/// Tables of tables of which an import replaces each as a whole.
const WHOLE: [&str; 3] = ["plugins", "proxy_plugins", "stream_processors"];

pub type Keys = Vec<String>;

/// Where a key was written.
#[derive(Debug, Clone)]
pub struct Place {
    pub file: Arc<Path>,
    pub line: usize,
}

#[derive(Debug, Default)]
pub struct Document {
    pub table: Table,
    places: BTreeMap<Keys, Place>,
}

impl Document {
    /// Reads a file and all that it imports, in order.
    pub fn read(path: &Path) -> Result<Self> {
        let mut whole = Self::default();
        let mut seen = BTreeSet::new();
        whole.load(path, &mut seen)?;
        Ok(whole)
    }

    fn load(&mut self, path: &Path, seen: &mut BTreeSet<PathBuf>) -> Result<()> {
        let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        if !seen.insert(real) {
            return Ok(());
        }
        if seen.len() > MOST_FILES {
            return Err(Error::File {
                path: path.to_owned(),
                reason: format!("more than {MOST_FILES} files are imported"),
            });
        }
        let text = std::fs::read_to_string(path).map_err(|source| Error::ReadFile {
            path: path.to_owned(),
            source,
        })?;
        let one = Self::parse(&text, path)?;
        let imports = one.imports(path)?;
        self.merge(one);
        imports.iter().try_for_each(|import| self.load(import, seen))
    }

    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        let wrong = |source: toml::de::Error| Error::Toml {
            path: path.to_owned(),
            line: source.span().map_or(0, |span| line(text, &span)),
            source: Box::new(source),
        };
        let table: Table = toml::from_str(text).map_err(wrong)?;
        let spans = DeTable::parse(text).map_err(wrong)?;
        let mut one = Self {
            table,
            places: BTreeMap::new(),
        };
        one.note(spans.get_ref(), &mut Vec::new(), &path.into(), text);
        one.check_version(path)?;
        Ok(one)
    }

    fn note(&mut self, table: &DeTable<'_>, above: &mut Keys, file: &Arc<Path>, text: &str) {
        for (name, value) in table {
            above.push(name.get_ref().to_string());
            let place = Place {
                file: file.clone(),
                line: line(text, &Spanned::span(name)),
            };
            self.places.insert(above.clone(), place);
            if let DeValue::Table(inner) = value.get_ref() {
                self.note(inner, above, file, text);
            }
            above.pop();
        }
    }

    /// Version 1 spells plugins in another way; without `plugins` a file that states no version reads the same in both.
    fn check_version(&self, path: &Path) -> Result<()> {
        let reason = match self.table.get("version") {
            Some(Value::Integer(2 | 3)) => return Ok(()),
            None if !self.table.contains_key("plugins") => return Ok(()),
            None => "its shape is that of version 1 (plugins, and no version): name plugins by their full ids, as in \
                 [plugins.\"io.containerd.gc.v1.scheduler\"], and say version = 2"
                .to_owned(),
            Some(Value::Integer(1)) => {
                "version 1 is too old: name plugins by their full ids and say version 2 or 3".to_owned()
            }
            Some(found) => format!("version 2 or 3 is expected, found {found}"),
        };
        match self.places.get(&vec!["version".to_owned()]) {
            Some(_) => Err(self.wrong(&["version"], reason)),
            None => Err(Error::File {
                path: path.to_owned(),
                reason,
            }),
        }
    }

    /// Imported files in order. A path is relative to the file that names it.
    fn imports(&self, path: &Path) -> Result<Vec<PathBuf>> {
        let wrong = |reason: String| self.wrong(&["imports"], reason);
        let Some(value) = self.table.get("imports") else {
            return Ok(Vec::new());
        };
        let list = value.as_array().ok_or_else(|| wrong("a list is expected".to_owned()))?;
        let dir = path.parent().unwrap_or(Path::new("/"));
        let mut found = Vec::new();
        for item in list {
            let pattern = item
                .as_str()
                .ok_or_else(|| wrong("a list of texts is expected".to_owned()))?;
            let full = dir.join(pattern).to_string_lossy().into_owned();
            if !pattern.contains(['*', '?', '[']) {
                found.push(PathBuf::from(full));
                continue;
            }
            let paths = glob::glob(&full).map_err(|error| wrong(format!("pattern {pattern:?}: {error}")))?;
            found.extend(paths.flatten());
        }
        Ok(found)
    }

    /// Lays another over this one; see [`GROWING`] and [`WHOLE`]. An empty text or zero says nothing.
    pub fn merge(&mut self, other: Self) {
        let Self { table, places } = other;
        for (name, value) in table {
            if WHOLE.contains(&name.as_str()) {
                self.merge_whole(&name, value);
            } else if GROWING.contains(&name.as_str()) {
                grow(&mut self.table, name, value);
            } else {
                lay(&mut self.table, name, value);
            }
        }
        self.places.extend(places);
    }

    fn merge_whole(&mut self, name: &str, value: Value) {
        match (self.table.get_mut(name), value) {
            (Some(Value::Table(ours)), Value::Table(theirs)) => {
                for (section, inner) in theirs {
                    let gone = [name.to_owned(), section.clone()];
                    self.places.retain(|keys, _| !keys.starts_with(&gone));
                    ours.insert(section, inner);
                }
            }
            (_, value) => {
                self.table.insert(name.to_owned(), value);
            }
        }
    }

    /// What is wrong with a key, with the place where it, or the nearest table around it, was written.
    pub fn wrong(&self, keys: &[impl AsRef<str>], reason: impl Into<String>) -> Error {
        let keys: Keys = keys.iter().map(|key| key.as_ref().to_owned()).collect();
        let place = (1..=keys.len()).rev().find_map(|count| self.places.get(&keys[..count]));
        Error::Key {
            path: place.map(|place| place.file.to_path_buf()).unwrap_or_default(),
            line: place.map_or(0, |place| place.line),
            key: spell(&keys),
            reason: reason.into(),
        }
    }

    /// For a warning: `file:line: key …`.
    pub fn remark(&self, keys: &[String], what: &str) -> String {
        match (1..=keys.len()).rev().find_map(|count| self.places.get(&keys[..count])) {
            Some(place) => format!("{}:{}: key {} {what}", place.file.display(), place.line, spell(keys)),
            None => format!("key {} {what}", spell(keys)),
        }
    }
}

fn grow(table: &mut Table, name: String, value: Value) {
    match (table.get_mut(&name), value) {
        (Some(Value::Array(ours)), Value::Array(theirs)) => ours.extend(theirs),
        (_, value) => {
            table.insert(name, value);
        }
    }
}

fn lay(table: &mut Table, name: String, value: Value) {
    match (table.get_mut(&name), value) {
        (Some(Value::Table(ours)), Value::Table(theirs)) => {
            for (name, value) in theirs {
                lay(ours, name, value);
            }
        }
        (Some(_), value) if says_nothing(&value) => {}
        (_, value) => {
            table.insert(name, value);
        }
    }
}

pub fn says_nothing(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty(),
        Value::Integer(number) => *number == 0,
        Value::Float(number) => *number == 0.0,
        Value::Boolean(truth) => !truth,
        Value::Datetime(_) => false,
        Value::Array(list) => list.is_empty(),
        Value::Table(table) => table.values().all(says_nothing),
    }
}

fn line(text: &str, span: &Range<usize>) -> usize {
    text.as_bytes()[..span.start.min(text.len())]
        .iter()
        .filter(|byte| **byte == b'\n')
        .count()
        + 1
}

/// As TOML writes a dotted key.
pub fn spell(keys: &[impl AsRef<str>]) -> String {
    let bare = |key: &str| {
        !key.is_empty()
            && key
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    let quoted = keys.iter().map(|key| match key.as_ref() {
        key if bare(key) => key.to_owned(),
        key => format!("{key:?}"),
    });
    quoted.collect::<Vec<_>>().join(".")
}
