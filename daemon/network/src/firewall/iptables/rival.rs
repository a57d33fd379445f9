//! A dockerd that runs where we would write into its chains.

use super::super::xtables::Xtables;
use super::lines::Names;
use crate::{Error, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// Refuses if a dockerd is alive in this network namespace and has chains of the names that we would use.
pub(super) fn refuse(tables: &Xtables, names: &Names) -> Result<()> {
    let Some(pid) = dockerd() else { return Ok(()) };
    let saved = tables.saved(Some("nat"))?;
    let has = |chain: &str| saved.get("nat").is_some_and(|table| table.chains.contains_key(chain));
    // Without the chains it was told to leave iptables alone; with those that only we make, they are ours.
    if !has(&names.main) || has(&names.hairpin) {
        return Ok(());
    }
    Err(Error::Asked(gantry_core::Error::new(
        gantry_core::ErrorKind::FailedPrecondition,
        format!(
            "the iptables backend cannot be used beside dockerd (pid {pid}), whose chains have the same names: \
             use the nftables backend, or stop dockerd"
        ),
    )))
}

/// Its pid, if it is in the namespace of this thread.
fn dockerd() -> Option<u32> {
    let here = fs::read_link("/proc/thread-self/ns/net").ok()?;
    let there = |process: &PathBuf| {
        fs::read_to_string(process.join("comm")).is_ok_and(|name| name.trim_end() == "dockerd")
            && fs::read_link(process.join("ns/net")).is_ok_and(|netns| netns == here)
    };
    let processes = fs::read_dir(Path::new("/proc")).ok()?;
    let mut processes = processes.filter_map(|entry| Some(entry.ok()?.path()));
    let found = processes.find(|path| path.file_name().is_some_and(is_pid) && there(path))?;
    found.file_name()?.to_str()?.parse().ok()
}

fn is_pid(name: &std::ffi::OsStr) -> bool {
    name.as_encoded_bytes().iter().all(u8::is_ascii_digit)
}
