//! Performs mounts that snapshotters describe.
//!
//! It turns [`Mount`]s into mounted trees: [`perform`] in the caller's mount namespace, [`with_mounted`] in one of its own
//! for as long as a closure runs. It never decides what is mounted, and keeps no state.
//!
//! The one flow: options are read into flags and data ([`options`]), a mount whose data fits a page goes by `mount(2)`, a
//! longer overlay by the new mount API ([`fsapi`]), and where the kernel lacks that, by `mount(2)` again with paths
//! relative to the directory that all layers share ([`relative`]). A file that is mounted with option `loop` goes behind a
//! loop device for as long as it is mounted ([`loopback`]).

mod erofs;
mod error;
mod fsapi;
mod loop_unsafe;
mod loopback;
mod options;
mod private;
mod relative;

pub use error::{Error, Result};
pub use loopback::{Loop, LoopOptions, bears, release};
pub use private::{with_mounted, with_mounted_by};

use gantry_core::Mount;
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use options::Parsed;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Longest data that goes to `mount(2)` whole: a page, less room for what the kernel adds to it.
const DATA_LIMIT: usize = 4096 - 512;

/// How an overlay is mounted whose options do not fit a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Way {
    /// By the new mount API if the kernel can append layers (6.7), else relative.
    #[default]
    Auto,
    /// `fsopen`, `fsconfig(lowerdir+)`, `fsmount`, `move_mount`; whatever the length.
    NewApi,
    /// `mount(2)` from a thread whose working directory is the layers' common one; whatever the length.
    Relative,
}

/// Mounts all of `mounts`, in order, on `target`, which exists. If one fails, those before it are taken back.
pub fn perform(mounts: &[Mount], target: &Path) -> Result<()> {
    perform_by(Way::Auto, mounts, target)
}

/// [`perform`], by a chosen way.
pub fn perform_by(way: Way, mounts: &[Mount], target: &Path) -> Result<()> {
    let target = std::path::absolute(target).map_err(Error::place(target))?;
    let mut done = 0;
    for one in mounts {
        if let Err(error) = attach(way, one, &target) {
            for _ in 0..done {
                // The first error is the one to tell; a detach of what we mounted ourselves has no other outcome.
                let _ = umount2(&target, MntFlags::MNT_DETACH);
            }
            return Err(error);
        }
        done += usize::from(one.target.is_empty());
    }
    Ok(())
}

/// Takes away what is mounted on `target`. If something still uses it, it is detached: gone from here at once, and for
/// good when the last user lets go. Nothing mounted there is success.
pub fn unmount(target: &Path) -> Result<()> {
    let failed = |errno: Errno| Error::Unmount {
        target: target.to_path_buf(),
        source: errno.into(),
    };
    match umount2(target, MntFlags::UMOUNT_NOFOLLOW) {
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => Ok(()),
        Err(Errno::EBUSY) => umount2(target, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW).map_err(failed),
        Err(other) => Err(failed(other)),
    }
}

/// Takes away what is mounted on `target`, all of it, waiting that long for others to let go of it. Nothing mounted there is success.
pub fn unmount_within(target: &Path, patience: Duration) -> Result<()> {
    const LOOK_AGAIN: Duration = Duration::from_millis(20);
    let until = Instant::now() + patience;
    loop {
        match umount2(target, MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) => {}
            Err(Errno::EINVAL | Errno::ENOENT) => return Ok(()),
            Err(Errno::EBUSY) if Instant::now() < until => std::thread::sleep(LOOK_AGAIN),
            Err(errno) => {
                return Err(Error::Unmount {
                    target: target.to_path_buf(),
                    source: errno.into(),
                });
            }
        }
    }
}

fn attach(way: Way, one: &Mount, target: &Path) -> Result<()> {
    let parsed = Parsed::of(one)?;
    let top = target;
    let (mut _inside, mut target) = inside(top, &one.target)?;
    if one.kind == "overlay" && (way != Way::Auto || parsed.data_len() > DATA_LIMIT) {
        long_overlay(way, one, &parsed, &target)?;
    } else if one.kind == "erofs" {
        erofs::attach(one, &parsed, &target)?;
    } else {
        let device = parsed.behind_loop.then(|| loop_of(one, &parsed)).transpose()?;
        let source = device.as_ref().map_or(Path::new(&one.source), Loop::path);
        let failed = |errno: Errno| Error::failed(one, &target, errno);
        let data = parsed.data.join(",");
        let kind = (!parsed.flags.contains(MsFlags::MS_BIND)).then_some(one.kind.as_str());
        mount(Some(source), &target, kind, parsed.flags, Some(data.as_str())).map_err(failed)?;
        // What was found there is beneath the mount now.
        if !one.target.is_empty() {
            (_inside, target) = inside(top, &one.target)?;
        }
        // A bind takes its other flags only from a second call.
        let bound = MsFlags::MS_BIND | MsFlags::MS_REC;
        if parsed.flags.contains(MsFlags::MS_BIND) && !(parsed.flags & !bound).is_empty() {
            let again = (parsed.flags & !MsFlags::MS_REC) | MsFlags::MS_REMOUNT;
            if let Err(errno) = mount(None::<&str>, &target, None::<&str>, again, None::<&str>) {
                let _ = umount2(&target, MntFlags::MNT_DETACH);
                return Err(Error::failed(one, &target, errno));
            }
        }
    }
    propagate(one, &parsed, &target)
}

/// The device is let go when the mount holds it.
fn loop_of(one: &Mount, parsed: &Parsed) -> Result<Loop> {
    let options = LoopOptions {
        read_only: parsed.flags.contains(MsFlags::MS_RDONLY),
        direct_io: parsed.direct_io,
        ..LoopOptions::default()
    };
    Loop::attach(Path::new(&one.source), &options)
}

fn propagate(one: &Mount, parsed: &Parsed, target: &Path) -> Result<()> {
    for &flag in &parsed.propagation {
        mount(None::<&str>, target, None::<&str>, flag, None::<&str>)
            .map_err(|errno| Error::failed(one, target, errno))?;
    }
    Ok(())
}

fn long_overlay(way: Way, one: &Mount, parsed: &Parsed, target: &Path) -> Result<()> {
    match way {
        Way::NewApi => fsapi::overlay(one, parsed, target),
        Way::Relative => relative::overlay(one, parsed, target),
        Way::Auto => match fsapi::overlay(one, parsed, target) {
            Err(error) if error.means_old_kernel() => relative::overlay(one, parsed, target),
            other => other,
        },
    }
}

/// The place below `target` that a mount names, found without leaving `target`; the descriptor keeps the path valid.
fn inside(target: &Path, sub: &str) -> Result<(Option<OwnedFd>, PathBuf)> {
    if sub.is_empty() {
        return Ok((None, target.to_path_buf()));
    }
    let root =
        rustix::fs::openat(CWD, target, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(Error::place(target))?;
    let place = openat2(
        root,
        sub,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::IN_ROOT,
    )
    .map_err(Error::place(&target.join(sub)))?;
    let path = PathBuf::from(format!("/proc/self/fd/{}", place.as_raw_fd()));
    Ok((Some(place), path))
}
