//! The bench, beside the peers that are installed.

use crate::{prepare, sh};
use anyhow::{Result, bail};
use std::process::Command;

pub fn run(args: &[String]) -> Result<()> {
    if !sh::is_root() {
        bail!("the bench starts daemons and containers: run as root");
    }
    prepare::packages(&[prepare::BUILD, prepare::BENCH])?;
    sh::build()?;
    sh::run(
        Command::new(sh::program("gantry-bench")?)
            .args(args)
            .current_dir(sh::root()),
    )
}
