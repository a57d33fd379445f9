//! What the administrator wants: flags, `daemon.json`, containerd's `config.toml`, made into one checked [`Settings`].
//!
//! The flow: each source becomes a map by `daemon.json`'s keys; a key that both a flag and the file give is a conflict; what is
//! not built yet is refused by name; the rest is read into types, key by key, so that an error names its key.

mod cluster;
mod containerd;
mod containers;
mod doors;
mod file;
mod flags;
mod networks;
mod settings;
mod unbuilt;
mod values;

pub use containerd::{SNAPSHOTTER, default_text, dump};
pub use doors::{Doors, Host, Tls};
pub use flags::{CommandLine, Deed, PublishDeed, StoreDeed, parse};
pub use settings::{Driver, LogFormat, Settings};
pub use values::ProxyPlugin;

use crate::error::{Error, Result};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// Where the configuration file is looked for; it need not be there.
pub const DEFAULT_FILE: &str = "/etc/gantry/daemon.json";
pub const DEFAULT_DATA_ROOT: &str = "/var/lib/gantry";
pub const DEFAULT_EXEC_ROOT: &str = "/run/gantry";

/// Where everything is when nobody says.
#[derive(Debug)]
pub struct Places {
    pub data_root: &'static str,
    pub exec_root: &'static str,
    /// The gRPC socket; `None` = in the exec root.
    pub address: Option<&'static str>,
    /// Where clients install programs; `None` = in the data root.
    opt: Option<&'static str>,
    /// Whether there is a default network, and a door of the Docker API: containerd has neither.
    docker: bool,
}

pub const PLACES: Places = Places {
    data_root: DEFAULT_DATA_ROOT,
    exec_root: DEFAULT_EXEC_ROOT,
    address: None,
    opt: None,
    docker: true,
};

/// Of a daemon that is called containerd.
pub const CONTAINERD_PLACES: Places = Places {
    data_root: "/var/lib/containerd",
    exec_root: "/run/containerd",
    address: Some("/run/containerd/containerd.sock"),
    opt: Some("/opt/containerd"),
    docker: false,
};
/// Where such a one has the bundles of clients' tasks, below its exec root.
const CONTAINERD_BUNDLES: &str = "io.containerd.runtime.v2.task";
/// Where such a one looks for its configuration; it need not be there.
pub const CONTAINERD_FILE: &str = "/etc/containerd/config.toml";

/// Reads the files that the flags name and joins everything.
pub fn load(line: &CommandLine) -> Result<Settings> {
    let named = line.flags.config_file.as_path();
    let from_file = file::read(named, named != Path::new(DEFAULT_FILE))?;
    let mut joined = join(&line.given, from_file, named)?;
    let mut said = containerd::Given::default();
    if let Some(path) = &line.flags.config {
        said = containerd::read(path)?;
        add_containerd(&mut joined, std::mem::take(&mut said.given), path, line, named)?;
    }
    let in_line = |key: &str| line.given.contains_key(key);
    unbuilt::refuse(&mut joined, |key| {
        if in_line(key) {
            flag_name(key)
        } else {
            format!("\"{key}\"")
        }
    })?;
    Settings::read(joined, said.tuning, said.warnings, &PLACES)
}

/// The settings of a daemon called containerd: its `config.toml`, and flags (by the keys of `daemon.json`), which win.
pub fn load_containerd(flags: Map<String, Value>, file: Option<&Path>) -> Result<Settings> {
    let mut said = file.map_or_else(|| Ok(containerd::Given::default()), containerd::read)?;
    said.given.extend(flags);
    said.tuning.opt = said.tuning.opt.or(CONTAINERD_PLACES.opt.map(PathBuf::from));
    said.tuning.bundles = Some(CONTAINERD_BUNDLES);
    Settings::read(said.given, said.tuning, said.warnings, &CONTAINERD_PLACES)
}

/// Flags and file together; what both say is a conflict.
fn join(flags: &Map<String, Value>, file: Map<String, Value>, path: &Path) -> Result<Map<String, Value>> {
    let twice: Vec<String> = flags
        .iter()
        .filter_map(|(key, flag)| {
            let other = file.get(key)?;
            Some(format!(
                "{key} (from flag {}: {flag}, from file: {other})",
                flag_name(key)
            ))
        })
        .collect();
    if !twice.is_empty() {
        return Err(Error::Conflict {
            first: "as a flag".to_owned(),
            second: format!("in the configuration file {}", path.display()),
            options: twice,
        });
    }
    let mut joined = flags.clone();
    joined.extend(file);
    Ok(joined)
}

/// Under containerd's rule a flag wins over `config.toml`; `daemon.json` and `config.toml` must not both say a thing.
fn add_containerd(
    joined: &mut Map<String, Value>,
    given: Map<String, Value>,
    path: &Path,
    line: &CommandLine,
    file: &Path,
) -> Result<()> {
    for (key, value) in given {
        match joined.get(&key) {
            Some(_) if line.given.contains_key(&key) => {}
            Some(other) => {
                return Err(Error::Conflict {
                    first: format!("in {}", path.display()),
                    second: format!("in {}", file.display()),
                    options: vec![format!("{key} ({value} and {other})")],
                });
            }
            None => {
                joined.insert(key, value);
            }
        }
    }
    Ok(())
}

/// How the command line spells a key of the file.
fn flag_name(key: &str) -> String {
    let name = match key {
        "runtimes" => "add-runtime",
        "exec-opts" => "exec-opt",
        "insecure-registries" => "insecure-registry",
        "log-opts" => "log-opt",
        "default-ulimits" => "default-ulimit",
        "labels" => "label",
        other => networks::flag_of(other)
            .or_else(|| cluster::flag_of(other))
            .or_else(|| doors::flag_of(other))
            .or_else(|| unbuilt::flag_of(other))
            .unwrap_or(other),
    };
    format!("--{name}")
}

#[cfg(test)]
mod tests;
