//! Reads the plan of this workspace.

use crate::plan::{Crate, Dependency, Kind, Package, Plan};
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The oldest and most common of the platforms served; the graph is the same on the others but for assembly.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<MetaPackage>,
    workspace_members: Vec<String>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct MetaPackage {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    manifest_path: PathBuf,
    dependencies: Vec<MetaDependency>,
}

#[derive(Deserialize)]
struct MetaDependency {
    name: String,
    kind: Option<String>,
    features: Vec<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<NodeDep>,
}

#[derive(Deserialize)]
struct NodeDep {
    pkg: String,
    dep_kinds: Vec<DepKind>,
}

#[derive(Deserialize)]
struct DepKind {
    kind: Option<String>,
}

/// The root of this workspace.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

pub fn read(root: &Path) -> Result<Plan> {
    let metadata = metadata(root)?;
    let names: HashMap<&str, &str> = metadata
        .packages
        .iter()
        .map(|p| (p.id.as_str(), p.name.as_str()))
        .collect();
    let used: BTreeSet<&str> = metadata.resolve.nodes.iter().map(|node| node.id.as_str()).collect();
    let ours: BTreeSet<&str> = metadata.workspace_members.iter().map(String::as_str).collect();
    let mut plan = Plan {
        root_manifest: text(&root.join("Cargo.toml"))?,
        architecture: text(&root.join("docs/ARCHITECTURE.md"))?,
        ..Plan::default()
    };
    for package in metadata
        .packages
        .iter()
        .filter(|package| used.contains(package.id.as_str()))
    {
        plan.packages.push(Package {
            name: package.name.clone(),
            version: package.version.clone(),
            licence: package.license.clone(),
            ours: ours.contains(package.id.as_str()),
        });
        if ours.contains(package.id.as_str()) {
            plan.crates.push(member(root, package)?);
            plan.reach
                .insert(package.name.clone(), reach(&package.id, &metadata.resolve, &names));
        }
    }
    Ok(plan)
}

fn metadata(root: &Path) -> Result<Metadata> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--filter-platform", PLATFORM])
        .current_dir(root)
        .output()
        .context("run cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    }
    serde_json::from_slice(&output.stdout).context("read the answer of cargo metadata")
}

fn text(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}

fn member(root: &Path, package: &MetaPackage) -> Result<Crate> {
    let dir = package
        .manifest_path
        .parent()
        .and_then(|dir| dir.strip_prefix(root).ok());
    let dir = dir.with_context(|| format!("{} lies outside the workspace", package.name))?;
    let dependencies = package.dependencies.iter().map(|dependency| Dependency {
        name: dependency.name.clone(),
        kind: match dependency.kind.as_deref() {
            Some("dev") => Kind::Dev,
            Some("build") => Kind::Build,
            _ => Kind::Normal,
        },
        features: dependency.features.clone(),
    });
    Ok(Crate {
        name: package.name.clone(),
        dir: dir.to_string_lossy().into_owned(),
        dependencies: dependencies.collect(),
        manifest: text(&package.manifest_path)?,
    })
}

/// Names of all packages that normal dependencies lead to.
fn reach(from: &str, resolve: &Resolve, names: &HashMap<&str, &str>) -> BTreeSet<String> {
    let nodes: BTreeMap<&str, &Node> = resolve.nodes.iter().map(|node| (node.id.as_str(), node)).collect();
    let mut seen = BTreeSet::new();
    let mut next = vec![from];
    while let Some(id) = next.pop() {
        for dep in nodes.get(id).iter().flat_map(|node| &node.deps) {
            let normal = dep.dep_kinds.iter().any(|kind| kind.kind.is_none());
            if normal && seen.insert(dep.pkg.as_str()) {
                next.push(&dep.pkg);
            }
        }
    }
    seen.into_iter()
        .filter_map(|id| names.get(id).map(|name| (*name).to_owned()))
        .collect()
}
