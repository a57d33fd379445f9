//! A house whose daemon knows the stops.

use gantry_e2e::{House, HouseOptions};
use std::path::PathBuf;
use std::time::Duration;

/// For whatever a loaded machine may be slow at.
pub const LIMIT: Duration = Duration::from_secs(120);

/// A house with busybox, whose daemon writes down the stops it passes.
pub fn house() -> (House, Passed) {
    watched(HouseOptions::default())
}

/// The same, with a network namespace of its own.
pub fn house_apart() -> (House, Passed) {
    watched(HouseOptions {
        netns: true,
        ..HouseOptions::default()
    })
}

fn watched(options: HouseOptions) -> (House, Passed) {
    let mut house = House::with(HouseOptions {
        programs: Some(programs()),
        ..options
    });
    let passed = Passed(house.root().join("stops.log"));
    house.stop_daemon();
    house.set_env(vec![passed.env()]);
    house.start();
    (house, passed)
}

/// The environment of a daemon that dies at the stop.
pub fn deadly(stop: &str, passed: &Passed) -> Vec<(String, String)> {
    vec![("GANTRY_FAILPOINT".to_owned(), stop.to_owned()), passed.env()]
}

/// The environment of a daemon that is slow at the stop.
pub fn slow(stop: &str, passed: &Passed) -> Vec<(String, String)> {
    vec![("GANTRY_FAILPOINT_SLOW".to_owned(), stop.to_owned()), passed.env()]
}

/// The stops that a house's daemons have passed.
pub struct Passed(PathBuf);

impl Passed {
    pub fn all(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.0).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Forgets them; the daemon appends what it passes next.
    pub fn forget(&self) {
        std::fs::write(&self.0, "").expect("the list of stops can be emptied");
    }

    fn env(&self) -> (String, String) {
        ("GANTRY_FAILPOINT_LOG".to_owned(), self.0.display().to_string())
    }
}

/// The directory of the daemon with failpoints in it and of its shim.
fn programs() -> PathBuf {
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

/// How much of everything there is on the disk: with busybox alone, what a house begins and must end with.
pub fn holdings(house: &House) -> [(&'static str, usize); 4] {
    [
        "snapshotters/overlayfs/snapshots",
        "containers",
        "content/blobs/sha256",
        "volumes",
    ]
    .map(|dir| (dir, count(house, dir)))
}

/// Blobs that were cut short in their making, kept for whoever takes them up again.
pub fn unfinished(house: &House) -> usize {
    count(house, "content/ingest")
}

fn count(house: &House, dir: &str) -> usize {
    std::fs::read_dir(house.data_root().join(dir)).map_or(0, |entries| entries.flatten().count())
}
