//! What the rules look at.

use std::collections::{BTreeMap, BTreeSet};

/// For what a dependency is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Normal,
    Build,
    /// For tests only.
    Dev,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    /// The package's own name.
    pub name: String,
    pub kind: Kind,
    /// Features that the manifest or the workspace table asks for.
    pub features: Vec<String>,
}

/// A crate of ours.
#[derive(Debug, Clone)]
pub struct Crate {
    pub name: String,
    /// Below the root: `daemon/core`.
    pub dir: String,
    pub dependencies: Vec<Dependency>,
    /// The manifest's text.
    pub manifest: String,
}

/// A package of the whole graph for Linux, ours or not.
#[derive(Debug, Clone)]
pub struct Package {
    pub name: String,
    pub version: String,
    /// As its manifest says it.
    pub licence: Option<String>,
    pub ours: bool,
}

#[derive(Debug, Clone, Default)]
pub struct Plan {
    pub crates: Vec<Crate>,
    pub packages: Vec<Package>,
    /// A crate of ours to all that ends up in it: what it needs, and what that needs, tests and build scripts left out.
    pub reach: BTreeMap<String, BTreeSet<String>>,
    /// The root manifest's text.
    pub root_manifest: String,
    /// docs/ARCHITECTURE.md.
    pub architecture: String,
}

impl Plan {
    pub fn named(&self, name: &str) -> Option<&Crate> {
        self.crates.iter().find(|member| member.name == name)
    }
}

#[cfg(test)]
pub(crate) mod made_up {
    use super::*;

    /// A crate whose dependencies are `name`, `dev:name` or `name+feature`.
    pub fn member(name: &str, dir: &str, dependencies: &[&str]) -> Crate {
        Crate {
            name: name.to_owned(),
            dir: dir.to_owned(),
            dependencies: dependencies.iter().map(|text| dependency(text)).collect(),
            manifest: String::new(),
        }
    }

    fn dependency(text: &str) -> Dependency {
        let (kind, text) = match text.strip_prefix("dev:") {
            Some(rest) => (Kind::Dev, rest),
            None => (Kind::Normal, text),
        };
        let mut parts = text.split('+').map(str::to_owned);
        Dependency {
            name: parts.next().unwrap_or_default(),
            kind,
            features: parts.collect(),
        }
    }

    pub fn plan(crates: Vec<Crate>) -> Plan {
        Plan {
            crates,
            ..Plan::default()
        }
    }
}
