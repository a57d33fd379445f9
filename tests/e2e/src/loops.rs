//! Loop devices.

use std::fs;
use std::path::{Path, PathBuf};

/// Names of loop devices, and the files behind them that are below `root`.
fn all(root: &Path) -> Vec<(String, PathBuf)> {
    let blocks = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let found = blocks.filter_map(|block| {
        let text = fs::read_to_string(block.path().join("loop/backing_file")).ok()?;
        let file = PathBuf::from(text.trim_end().trim_end_matches(" (deleted)"));
        Some((block.file_name().to_string_lossy().into_owned(), file))
    });
    found.filter(|(_, file)| file.starts_with(root)).collect()
}

/// The files below `root` that are behind loop devices, as often as there are devices.
pub fn behind(root: &Path) -> Vec<PathBuf> {
    all(root).into_iter().map(|(_, file)| file).collect()
}

/// After a failed test: lets go of the devices that it left.
pub fn let_go(root: &Path) {
    for (name, _) in all(root) {
        let _ = std::process::Command::new("losetup")
            .args(["-d", &format!("/dev/{name}")])
            .output();
    }
}
