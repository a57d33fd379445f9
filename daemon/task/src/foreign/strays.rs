//! Shims that came up when nobody waited for them any more: nothing but their command line tells whose they are.

use crate::bundle::BundleName;
use crate::process::ProcessMark;
use std::fs;

/// Kills every shim that was started for this task by this daemon. Blocks.
pub(super) fn end(grpc_address: &str, name: &BundleName) {
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|text| text.parse().ok()) else {
            continue;
        };
        // The mark first: who bears the pid later is not killed for what its predecessor was.
        let Some(mark) = ProcessMark::of(pid) else { continue };
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if !is_stray(&line, grpc_address, name) {
            continue;
        }
        match mark.kill() {
            Ok(_) => {
                tracing::warn!(ns = %name.namespace, container = %name.id, pid, "a shim that nobody knew was killed")
            }
            Err(error) => tracing::warn!(pid, err = %error, "a shim that nobody knows cannot be killed"),
        }
    }
}

fn is_stray(line: &[u8], grpc_address: &str, name: &BundleName) -> bool {
    let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
    let follows = |flag: &str, value: &str| words.windows(2).any(|pair| pair == [flag.as_bytes(), value.as_bytes()]);
    let program = words
        .first()
        .map(|word| String::from_utf8_lossy(word))
        .unwrap_or_default();
    program.contains("containerd-shim-")
        && follows("-address", grpc_address)
        && follows("-namespace", name.namespace.as_str())
        && follows("-id", name.id.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_core::{ContainerId, Namespace};

    #[test]
    fn only_this_daemons_shim_of_this_task_is_meant() {
        let name = BundleName {
            namespace: Namespace::new("n").unwrap(),
            id: ContainerId::new("c1").unwrap(),
        };
        let line = |text: &str| text.replace(' ', "\0").into_bytes();
        let own = "/usr/bin/containerd-shim-runc-v2 -namespace n -id c1 -address /g.sock";
        assert!(is_stray(&line(own), "/g.sock", &name));
        for other in [
            own.replace("c1", "c11"),
            own.replace(" n ", " m "),
            own.replace("/g.sock", "/h.sock"),
            own.replace("containerd-shim-", "tail-"),
        ] {
            assert!(!is_stray(&line(&other), "/g.sock", &name), "{other}");
        }
    }
}
