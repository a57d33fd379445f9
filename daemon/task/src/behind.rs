//! A shim that stands behind ours is ended with it: when ours is dead, it is found by what ours wrote down of it, or by where it works.

use crate::bundle::Bundle;
use crate::cleanup::Leftover;
use crate::error::Result;
use crate::process::ProcessMark;
use crate::shims::Shims;
use crate::spawn::Invocation;
use gantry_shim_protocol::{ForeignShim, bundle as file, socket};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long its program may take to clear what it left.
const DELETE: Duration = Duration::from_secs(5);

impl Shims {
    /// Kills it, and has its program clear what it made. What the program does not know of is the caller's to clear. Blocks.
    pub(crate) fn end_behind(&self, bundle: &Bundle, leftover: &Leftover, deadline: Instant) -> Result<()> {
        let home = bundle.path().join(file::FOREIGN);
        let Some(known) = known(&home) else { return Ok(()) };
        let id = leftover.id.as_str();
        let own = home.join(id);
        let mut marks: Vec<ProcessMark> = workers(&own);
        marks.push(ProcessMark {
            pid: known.pid,
            start_time: known.start_time,
            boot_id: known.boot_id,
        });
        for mark in &marks {
            if mark.kill()? {
                mark.wait_gone(deadline.saturating_duration_since(Instant::now()));
            }
        }
        let config = self.config();
        let program = PathBuf::from(known.program);
        let cleared = Invocation {
            exe: &self.exe,
            program: &program,
            bundle: &own,
            namespace: leftover.namespace.as_str(),
            id,
            grpc_address: &config.grpc_address,
            ttrpc_address: "",
            publish_binary: &config.shim,
            socket_dir: Path::new(socket::DEFAULT_DIR),
            debug: config.debug,
            stdin: Vec::new(),
        }
        .delete(DELETE);
        if let Err(error) = cleared {
            tracing::warn!(container = id, err = %error, "a dead shim's program could not clear after it");
        }
        let namespace = leftover.namespace.as_str();
        let named = socket::foreign_socket(&config.grpc_address, namespace, id);
        // Most are gone with their shim, and some have other names.
        let _ = fs::remove_file(named);
        Ok(())
    }
}

fn known(home: &Path) -> Option<ForeignShim> {
    serde_json::from_slice(&fs::read(home.join(file::FOREIGN_SHIM)).ok()?).ok()
}

/// Shims and runtimes that were started in a bundle.
fn workers(bundle: &Path) -> Vec<ProcessMark> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let here = entries.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        // The mark first: who bears the pid later is not killed for what its predecessor was.
        let mark = ProcessMark::of(pid)?;
        let cwd = fs::read_link(entry.path().join("cwd")).ok()?;
        (cwd == bundle).then_some(mark)
    });
    here.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn who_works_in_a_bundle_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let dir_path = dir.path().canonicalize().unwrap();
        let mut child = Command::new("sleep").arg("60").current_dir(&dir_path).spawn().unwrap();
        let found = workers(&dir_path);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(found.iter().map(|mark| mark.pid).collect::<Vec<_>>(), [child.id()]);
    }
}
