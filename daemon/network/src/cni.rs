//! The Container Network Interface (github.com/containernetworking/cni, SPEC.md 0.3 to 1.1): networks made by programs from outside, as a
//! chain of plugins says that a configuration names.
//!
//! [`Chain`] is such a configuration. [`Chain::add`] runs its plugins for one interface of one sandbox, [`Chain::del`] takes that back in
//! whatever state it is, [`Chain::check`] asks whether it still holds. Nothing is kept here: who adds keeps the result for later.

mod config;
mod outcome;
mod program;

pub use config::Chain;
pub use outcome::Outcome;

use crate::{Error, Result};
use program::Plugin;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// One interface of one sandbox.
#[derive(Debug, Clone, Default)]
pub struct Attachment<'a> {
    pub container: &'a str,
    /// The namespace's file; `None` = it is gone.
    pub netns: Option<&'a Path>,
    pub interface: &'a str,
    /// `KEY=VALUE` of `CNI_ARGS`.
    pub args: Vec<(&'a str, String)>,
    /// What plugins get that say they are capable of it: `portMappings`, `mac`, ...
    pub capabilities: Map<String, Value>,
}

/// Where plugins are.
#[derive(Debug, Clone)]
pub struct Programs(pub Vec<PathBuf>);

impl Chain {
    /// Whether every plugin is there.
    pub fn look(&self, programs: &Programs) -> Result<()> {
        self.plugins()
            .iter()
            .try_for_each(|one| programs.find(kind(one)).map(drop))
    }

    /// Runs the chain; what failed half way is taken back.
    pub fn add(&self, programs: &Programs, to: &Attachment<'_>) -> Result<Value> {
        let mut result = Value::Null;
        for plugin in self.plugins() {
            let asked = self.asked(plugin, to, &result);
            match programs.run("ADD", plugin, to, &asked) {
                Ok(answer) => result = answer,
                Err(error) => {
                    if let Err(more) = self.del(programs, to, &result) {
                        tracing::warn!(network = self.name(), err = %more, "what plugins made before one failed is not gone altogether");
                    }
                    return Err(error);
                }
            }
        }
        match result {
            Value::Null => Err(Error::Program {
                program: format!("CNI network {}", self.name()),
                output: "its plugins gave no result".to_owned(),
            }),
            result => Ok(result),
        }
    }

    /// Runs the chain backwards. It goes on after a failure and answers the first. `result`: what [`Chain::add`] gave, if it is known.
    pub fn del(&self, programs: &Programs, to: &Attachment<'_>, result: &Value) -> Result<()> {
        let mut failure = None;
        for plugin in self.plugins().iter().rev() {
            // Before 0.4 a removal knew nothing of the result.
            let known = if self.is_at_least(0, 4) { result } else { &Value::Null };
            let asked = self.asked(plugin, to, known);
            if let Err(error) = programs.run("DEL", plugin, to, &asked) {
                failure.get_or_insert(error);
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// Asks whether everything is as the result says; an error says what is not. False: chains of before 0.4, or with `disableCheck`,
    /// cannot be asked.
    pub fn check(&self, programs: &Programs, to: &Attachment<'_>, result: &Value) -> Result<bool> {
        if !self.is_at_least(0, 4) || self.is_unchecked() {
            return Ok(false);
        }
        let mut each = self.plugins().iter();
        each.try_for_each(|plugin| {
            let asked = self.asked(plugin, to, result);
            programs.run("CHECK", plugin, to, &asked).map(drop)
        })?;
        Ok(true)
    }

    /// What one plugin reads.
    fn asked(&self, plugin: &Map<String, Value>, to: &Attachment<'_>, result: &Value) -> Value {
        let mut asked = plugin.clone();
        asked.insert("cniVersion".to_owned(), json!(self.version()));
        asked.insert("name".to_owned(), json!(self.name()));
        let capabilities = plugin.get("capabilities");
        let capable = |name: &str| capabilities.and_then(|all| all.get(name)) == Some(&Value::Bool(true));
        let given: Map<String, Value> = to
            .capabilities
            .iter()
            .filter(|(name, _)| capable(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        asked.remove("capabilities");
        if !given.is_empty() {
            asked.insert("runtimeConfig".to_owned(), Value::Object(given));
        }
        if !result.is_null() {
            asked.insert("prevResult".to_owned(), result.clone());
        }
        Value::Object(asked)
    }
}

fn kind(plugin: &Map<String, Value>) -> &str {
    plugin.get("type").and_then(Value::as_str).unwrap_or_default()
}

impl Programs {
    fn find(&self, kind: &str) -> Result<PathBuf> {
        let places = self.0.iter().map(|dir| dir.join(kind));
        let found = places.into_iter().find(|path| path.is_file());
        found.ok_or_else(|| {
            let dirs: Vec<String> = self.0.iter().map(|dir| dir.display().to_string()).collect();
            gantry_core::Error::precondition(format!("there is no CNI plugin \"{kind}\" in {}", dirs.join(", "))).into()
        })
    }

    fn run(&self, command: &str, plugin: &Map<String, Value>, to: &Attachment<'_>, asked: &Value) -> Result<Value> {
        let path = self.find(kind(plugin))?;
        let dirs = std::env::join_paths(&self.0)
            .map_err(|error| Error::Asked(gantry_core::Error::invalid(format!("cni-bin-dir: {error}"))))?;
        let plugin = Plugin {
            path: &path,
            command,
            dirs: &dirs,
        };
        plugin.run(to, asked)
    }
}

#[cfg(test)]
mod tests;
