//! Images of erofs: mounted as they are by kernels that can (6.12), else over loop devices.

use crate::options::Parsed;
use crate::{Error, Loop, LoopOptions, Result};
use gantry_core::Mount;
use nix::errno::Errno;
use nix::mount::mount;
use std::path::Path;

/// More images that the first one refers to.
const DEVICE: &str = "device=";

pub fn attach(one: &Mount, parsed: &Parsed, target: &Path) -> Result<()> {
    match mounted(&one.source, &parsed.data, parsed, target) {
        Err(Errno::ENOTBLK) => over_loops(one, parsed, target),
        done => done.map_err(|errno| Error::failed(one, target, errno)),
    }
}

fn mounted(source: &str, data: &[String], parsed: &Parsed, target: &Path) -> std::result::Result<(), Errno> {
    let data = data.join(",");
    mount(Some(source), target, Some("erofs"), parsed.flags, Some(data.as_str()))
}

fn over_loops(one: &Mount, parsed: &Parsed, target: &Path) -> Result<()> {
    let options = LoopOptions {
        read_only: true,
        direct_io: parsed.direct_io,
        ..LoopOptions::default()
    };
    // They are let go when the mount holds them.
    let source = Loop::attach(Path::new(&one.source), &options)?;
    let mut held = Vec::new();
    let mut data = parsed.data.clone();
    for option in &mut data {
        if let Some(image) = option.strip_prefix(DEVICE) {
            let device = Loop::attach(Path::new(image), &options)?;
            *option = format!("{DEVICE}{}", device.path().display());
            held.push(device);
        }
    }
    mounted(&source.path().to_string_lossy(), &data, parsed, target).map_err(|errno| Error::failed(one, target, errno))
}
