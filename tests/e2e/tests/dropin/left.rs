//! What clients' containers leave behind that no daemon takes away: the cgroup of a namespace, and runc's directory of it.

use std::fs;
use std::path::{Path, PathBuf};

/// Both are empty when every container is gone; what is not is left, for it shows a fault.
pub fn forget(namespace: &str) {
    let entries = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
    let hierarchies = entries.map(|entry| entry.path().join(namespace));
    let places = [
        Path::new("/sys/fs/cgroup").join(namespace),
        Path::new("/run/containerd/runc").join(namespace),
    ];
    for place in hierarchies.chain(places).collect::<Vec<PathBuf>>() {
        // Most are not there.
        let _ = fs::remove_dir(place);
    }
}
