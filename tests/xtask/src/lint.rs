//! Formatting, and clippy with warnings denied. (The house's own rules are a test: `tests/house`.)

use crate::{prepare, sh};
use anyhow::Result;

pub fn run() -> Result<()> {
    prepare::packages(&[prepare::BUILD])?;
    prepare::components()?;
    sh::run(&mut sh::cargo(&["fmt", "--all", "--check"]))?;
    sh::rocksdb_once()?;
    sh::run(&mut sh::cargo(&[
        "clippy",
        "--release",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))
}
