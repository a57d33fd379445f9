//! The daemon killed at every named stop, over real containers.
//!
//! A stop is reached by [`life`], which passes through every deed of the daemon: import, load, create, start, exec, stop,
//! remove, and the collection after them. The daemon kills itself there; it is started again, the deeds must then
//! all succeed under the same names, and in the end nothing may be left. The daemon of these tests is built with its feature
//! `failpoints`; the plain one knows no stops.

mod deeds;

pub use deeds::{archive, life, repeat};

use std::path::{Path, PathBuf};

/// The directory of the daemon with failpoints in it and of its shim.
pub fn programs() -> PathBuf {
    let dir = match std::env::var_os("GANTRY_FAILPOINTS_BIN") {
        Some(dir) => PathBuf::from(dir),
        None => gantry_e2e::target_dir().join("failpoints"),
    };
    for name in ["gantryd", "containerd-shim-gantry-v1"] {
        assert!(
            dir.join(name).is_file(),
            "{} is not built: `cargo xtask test` does it, or build gantryd with --features failpoints and copy it there",
            dir.join(name).display()
        );
    }
    dir
}

/// The names in a room's list of stops, read from its source: the tests do not link the rooms.
pub fn stops(source: &str) -> Vec<String> {
    let list = source
        .split_once("FAILPOINTS: &[&str] = &[")
        .expect("a list of stops")
        .1;
    let list = list.split_once("];").expect("its end").0;
    list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// How many entries a directory has; none if it is not there.
pub fn entries(dir: &Path) -> usize {
    std::fs::read_dir(dir).map_or(0, |entries| entries.flatten().count())
}
