//! Running programs.

use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The workspace's root.
pub fn root() -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let here = PathBuf::from(here);
    here.ancestors().nth(2).map_or_else(|| here.clone(), Path::to_owned)
}

/// Where cargo puts what it builds.
pub fn target_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

/// A program of ours, built.
pub fn program(name: &str) -> Result<PathBuf> {
    let path = target_dir().join("release").join(name);
    if !path.is_file() {
        bail!("{} was not built", path.display());
    }
    Ok(path)
}

/// Cargo in the workspace, without what the cargo that runs us told us.
pub fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).current_dir(root());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") || text == "LD_LIBRARY_PATH" {
            command.env_remove(&name);
        }
    }
    if rocksdb_dir().join("librocksdb.a").is_file() {
        command.env("ROCKSDB_LIB_DIR", rocksdb_dir()).env("ROCKSDB_STATIC", "1");
    }
    command
}

fn words(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let args = command.get_args().map(|arg| arg.to_string_lossy());
    std::iter::once(program.to_string_lossy())
        .chain(args)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Runs it, its output shown; its failure is an error.
pub fn run(command: &mut Command) -> Result<()> {
    let said = words(command);
    eprintln!("xtask: {said}");
    let status = command.status().with_context(|| format!("run {said}"))?;
    if !status.success() {
        bail!("{said}: {status}");
    }
    Ok(())
}

/// Runs it for its output; `None` if it cannot be run or fails.
pub fn output(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether we are root.
pub fn is_root() -> bool {
    output("id", &["-u"]).is_some_and(|id| id.trim() == "0")
}

/// The whole workspace, as users get it.
pub fn build() -> Result<()> {
    rocksdb_once()?;
    run(&mut cargo(&["build", "--release", "--workspace"]))
}

/// Where RocksDB's own library is kept for all builds after the first.
fn rocksdb_dir() -> PathBuf {
    target_dir().join("rocksdb")
}

/// Compiles RocksDB, which takes ten minutes, once and not anew for every selection of packages and features that cargo
/// tells apart. `cargo` below hands the library to the crate's build script (its `ROCKSDB_LIB_DIR`).
pub fn rocksdb_once() -> Result<()> {
    let library = rocksdb_dir().join("librocksdb.a");
    if library.is_file() {
        return Ok(());
    }
    run(&mut cargo(&["build", "--release", "-p", "rocksdb"]))?;
    let Some(built) = newest_library(&target_dir().join("release/build")) else {
        // Linked to one that was given from outside: there is nothing to keep.
        return Ok(());
    };
    let new = rocksdb_dir().join("librocksdb.a.new");
    fs::create_dir_all(rocksdb_dir()).with_context(|| format!("make {}", rocksdb_dir().display()))?;
    fs::copy(&built, &new).with_context(|| format!("copy {}", built.display()))?;
    fs::rename(&new, &library).with_context(|| format!("put {} in place", library.display()))
}

fn newest_library(build: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(build).ok()?.flatten();
    let ours = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("librocksdb-sys-"));
    let libraries = ours
        .map(|entry| entry.path().join("out/librocksdb.a"))
        .filter(|path| path.is_file());
    libraries.max_by_key(|path| path.metadata().and_then(|meta| meta.modified()).ok())
}
