//! Which runtime a name means: the built-in one, one of the configuration's, a shim of containerd's world, or a program.

use crate::context::Context;
use crate::{Config, NamedRuntime};
use gantry_core::{Error, ErrorKind, Result};
use gantry_task::{Runtime, is_shim, shim_program};
use serde_json::Map;
use std::path::{Path, PathBuf};

/// Names of the built-in runtime, as users may spell it.
const BUILT_IN: [&str; 4] = ["", "gantry", "io.containerd.gantry.v1", "builtin"];
/// Names of shims begin so.
const SHIMS: &str = "io.containerd.";

impl Context {
    /// The runtime of a name, the daemon's where it is empty. Unknown ones are refused before anything is made.
    pub fn runtime(&self, name: &str) -> Result<Runtime> {
        let name = if name.is_empty() {
            self.config.default_runtime.as_str()
        } else {
            name
        };
        find(&self.config, name).map_err(|error| match error.kind() {
            ErrorKind::InvalidArgument => error,
            _ => {
                let known = self.runtimes().join(", ");
                Error::invalid(format!("unknown or invalid runtime name: {name}; known are {known}"))
            }
        })
    }

    /// Names of runtimes that can be chosen.
    pub fn runtimes(&self) -> Vec<String> {
        let mut names: Vec<String> = vec!["gantry".to_owned()];
        names.extend(self.config.runtimes.keys().cloned());
        let found = ["runc", "crun"].into_iter().filter(|name| on_path(name).is_some());
        names.extend(found.map(str::to_owned));
        names.sort();
        names.dedup();
        names
    }
}

fn find(config: &Config, name: &str) -> Result<Runtime> {
    match config.runtimes.get(name) {
        Some(NamedRuntime::Program { path, args }) => program(path.clone(), args.clone()),
        Some(NamedRuntime::Shim { name, options }) => Runtime::shim(shim_program(name)?, options),
        None if BUILT_IN.contains(&name) => Ok(Runtime::BuiltIn),
        None if name.starts_with(SHIMS) => Runtime::shim(shim_program(name)?, &Map::new()),
        None => match on_path(name) {
            Some(path) => program(path, Vec::new()),
            None => Err(Error::not_found(format!("no program {name}"))),
        },
    }
}

/// A path is an OCI runtime's, or, by its name, a shim's.
fn program(path: PathBuf, args: Vec<String>) -> Result<Runtime> {
    if is_shim(&path) {
        return Runtime::shim(path, &Map::new());
    }
    Ok(Runtime::Program {
        program: path.to_string_lossy().into_owned(),
        args,
    })
}

pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(|path| executable(path));
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|path| executable(path))
}

fn executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
