//! Overlays by the new mount API: each layer its own call, so that their number is not bounded by a page.

use crate::options::Parsed;
use crate::{Error, Result};
use gantry_core::Mount;
use nix::mount::MsFlags;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string,
    fsmount, fsopen, move_mount,
};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

/// Longest value of one `fsconfig` string, without its end (`strndup_user` in fs/fsopen.c).
const VALUE_LIMIT: usize = 255;

/// Mounts an overlay on `target`, layer by layer.
pub fn overlay(one: &Mount, parsed: &Parsed, target: &Path) -> Result<()> {
    let (layers, rest) = parsed.layers();
    let refused = |step: &'static str, value: &str, log: String, source: io::Error| Error::Configure {
        layers: layers.len(),
        step,
        value: value.to_owned(),
        log,
        source,
    };
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)
        .map_err(|errno| refused("fsopen", "overlay", String::new(), errno.into()))?;
    let mut config = Config {
        context,
        held: Vec::new(),
    };
    for layer in &layers {
        config
            .set("lowerdir+", layer)
            .map_err(|error| refused("lowerdir+", layer, config.log(), error))?;
    }
    for option in rest {
        config
            .option(option)
            .map_err(|error| refused("option", option, config.log(), error))?;
    }
    config
        .set("source", &one.source)
        .and_then(|()| Ok(fsconfig_create(&config.context)?))
        .map_err(|error| refused("create", &one.source, config.log(), error))?;
    let tree = fsmount(&config.context, FsMountFlags::FSMOUNT_CLOEXEC, attributes(parsed.flags))
        .map_err(|errno| refused("fsmount", &one.source, config.log(), errno.into()))?;
    let whole = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_SYMLINKS;
    move_mount(&tree, "", CWD, target, whole)
        .map_err(|errno| refused("move_mount", &target.to_string_lossy(), String::new(), errno.into()))
}

/// A filesystem being configured, and the descriptors by which long paths are named until it is made.
struct Config {
    context: OwnedFd,
    held: Vec<OwnedFd>,
}

impl Config {
    fn option(&mut self, option: &str) -> io::Result<()> {
        match option.split_once('=') {
            Some((key, value)) => self.set(key, value),
            None => Ok(fsconfig_set_flag(&self.context, option)?),
        }
    }

    fn set(&mut self, key: &str, value: &str) -> io::Result<()> {
        if value.len() <= VALUE_LIMIT {
            return Ok(fsconfig_set_string(&self.context, key, value)?);
        }
        let place = openat(CWD, value, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        let short = format!("/proc/self/fd/{}", place.as_raw_fd());
        self.held.push(place);
        Ok(fsconfig_set_string(&self.context, key, short)?)
    }

    /// What the kernel wrote about its last refusal: lines that begin with a level letter (`e`, `w`, `i`) and a space.
    fn log(&self) -> String {
        let mut lines = Vec::new();
        let mut buffer = [0; 512];
        while let Ok(length @ 1..) = rustix::io::read(&self.context, &mut buffer) {
            let line = String::from_utf8_lossy(&buffer[..length]);
            lines.push(line.trim_end().get(2..).unwrap_or_default().to_owned());
        }
        lines.join("; ")
    }
}

fn attributes(flags: MsFlags) -> MountAttrFlags {
    [
        (MsFlags::MS_RDONLY, MountAttrFlags::MOUNT_ATTR_RDONLY),
        (MsFlags::MS_NOSUID, MountAttrFlags::MOUNT_ATTR_NOSUID),
        (MsFlags::MS_NODEV, MountAttrFlags::MOUNT_ATTR_NODEV),
        (MsFlags::MS_NOEXEC, MountAttrFlags::MOUNT_ATTR_NOEXEC),
        (MsFlags::MS_NOATIME, MountAttrFlags::MOUNT_ATTR_NOATIME),
        (MsFlags::MS_NODIRATIME, MountAttrFlags::MOUNT_ATTR_NODIRATIME),
        (MsFlags::MS_STRICTATIME, MountAttrFlags::MOUNT_ATTR_STRICTATIME),
    ]
    .into_iter()
    .filter(|(old, _)| flags.contains(*old))
    .fold(MountAttrFlags::empty(), |all, (_, new)| all | new)
}
