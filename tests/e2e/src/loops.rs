//! Loop devices.

use std::fs;
use std::path::{Path, PathBuf};

/// The files behind loop devices that are below `root`, as often as there are devices.
pub fn behind(root: &Path) -> Vec<PathBuf> {
    let blocks = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let files = blocks.filter_map(|block| fs::read_to_string(block.path().join("loop/backing_file")).ok());
    let files = files.map(|text| PathBuf::from(text.trim_end().trim_end_matches(" (deleted)")));
    files.filter(|file| file.starts_with(root)).collect()
}
