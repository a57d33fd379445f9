//! Real-time processes under cgroup v1: a cgroup has only what its parent was given, so the way down to a container's is given it first.

use crate::context::Context;
use gantry_core::container::ContainerRecord;
use gantry_core::error::io_kind;
use gantry_core::{Error, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// The controller that shares out real-time processes.
const CPU: &str = "/sys/fs/cgroup/cpu";

/// Gives every cgroup above the container's the daemon's share, if the container asks for some. The share is the daemon's, not the
/// container's, so it stays.
pub fn hand_out(context: &Context, record: &ContainerRecord) -> Result<()> {
    if record.host.cpu_rt_runtime <= 0 && record.host.cpu_rt_period <= 0 {
        return Ok(());
    }
    let config = &context.config;
    for dir in way(&context.cgroup_parent(&record.host)) {
        let failed = |error: std::io::Error| {
            Error::new(
                io_kind(&error),
                format!("give {} its share of real-time processes: {error}", dir.display()),
            )
        };
        fs::create_dir_all(&dir).map_err(failed)?;
        for (file, value) in [
            ("cpu.rt_period_us", config.cpu_rt_period),
            ("cpu.rt_runtime_us", config.cpu_rt_runtime),
        ] {
            let path = dir.join(file);
            let now = fs::read_to_string(&path).unwrap_or_default();
            if value > 0 && now.trim() != value.to_string() {
                fs::write(&path, value.to_string()).map_err(failed)?;
            }
        }
    }
    Ok(())
}

/// From below the root down to the parent.
fn way(parent: &str) -> Vec<PathBuf> {
    let parts = parent.split('/').filter(|part| !part.is_empty());
    parts
        .scan(Path::new(CPU).to_owned(), |dir, part| {
            dir.push(part);
            Some(dir.clone())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_goes_down() {
        assert_eq!(
            way("/a/b"),
            [
                PathBuf::from("/sys/fs/cgroup/cpu/a"),
                PathBuf::from("/sys/fs/cgroup/cpu/a/b")
            ]
        );
    }
}
