//! The stops, as the sources name them.

use std::fs;
use std::path::Path;

/// Where a daemon or a shim may stop.
const ROOMS: [&str; 3] = ["daemon", "shim", "snapshotters"];

/// The end of both ways to write a stop.
const MARK: &str = concat!("point!", "(\"");

/// Every stop named in the sources, sorted. Tests do not link the rooms: they read them.
pub fn stops() -> Vec<String> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut found = Vec::new();
    for room in ROOMS {
        read(&top.join(room), &mut found);
    }
    assert!(!found.is_empty(), "no stop in {}", top.display());
    found.sort();
    for pair in found.windows(2) {
        assert_ne!(
            pair[0], pair[1],
            "a stop of one name in two places is hit in one of them only"
        );
    }
    found
}

/// Whether it is passed when networks of this host, or what is in them, come and go.
pub fn is_network(stop: &str) -> bool {
    (stop.starts_with("engine::network::") || stop.starts_with("network::")) && !is_shared(stop)
}

/// Whether it is passed when mounts are kept for clients.
pub fn is_activation(stop: &str) -> bool {
    stop.starts_with("engine::activate::") || stop.starts_with("engine::deactivate::")
}

/// Whether only a daemon that has networks of several hosts, or by plugins, passes the stop.
pub fn is_shared(stop: &str) -> bool {
    stop.starts_with("engine::overlay::") || ["network::vxlan", "network::cni"].contains(&stop)
}

fn read(dir: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(dir).expect("a directory of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            read(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = fs::read_to_string(&path).expect("a source");
            let names = text.split(MARK).skip(1);
            found.extend(names.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
        }
    }
}
