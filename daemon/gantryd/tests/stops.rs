//! The lists of stops by which fault tests end the daemon are what the rooms' sources name, each name once.

#![allow(clippy::unwrap_used, reason = "a test may give up")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The end of both ways to write a stop.
const MARK: &str = concat!("point!", "(\"");

#[test]
fn every_stop_in_the_code_is_named_once_in_the_list() {
    for (room, list) in [
        ("engine", gantry_engine::FAILPOINTS),
        ("image", gantry_image::FAILPOINTS),
        ("network", gantry_network::FAILPOINTS),
        ("store", gantry_store::FAILPOINTS),
        ("task", gantry_task::FAILPOINTS),
    ] {
        let mut found = Vec::new();
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(room).join("src");
        gather(&sources, &mut found);
        let set: BTreeSet<&str> = found.iter().map(String::as_str).collect();
        assert_eq!(set.len(), found.len(), "{room}: a name stands twice");
        assert_eq!(set, list.iter().copied().collect(), "{room}");
    }
}

fn gather(dir: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            gather(&path, found);
            continue;
        }
        let text = fs::read_to_string(path).unwrap();
        let names = text.split(MARK).skip(1).filter_map(|rest| rest.split('"').next());
        found.extend(names.map(str::to_owned));
    }
}
