//! What the kernel shows in a running container is none of its files: a copy has the empty directories on which it is mounted, as one of
//! the stopped container would have.

use super::Place;
use gantry_core::{Error, Result};
use rustix::fs::{AtFlags, Mode, OFlags};
use std::os::fd::{AsFd, BorrowedFd};

/// `f_type` of statfs(2) and the name, from linux/magic.h.
const KINDS: [(u64, &str); 16] = [
    (0x9fa0, "proc"),
    (0x6265_6572, "sysfs"),
    (0x0027_e0eb, "cgroup"),
    (0x6367_7270, "cgroup2"),
    (0x1980_0202, "mqueue"),
    (0x1cd1, "devpts"),
    (0x6462_6720, "debugfs"),
    (0x7472_6163, "tracefs"),
    (0x7363_6673, "securityfs"),
    (0xcafe_4a11, "bpf"),
    (0x6165_676c, "pstore"),
    (0xde5e_81e4, "efivarfs"),
    (0x6265_6570, "configfs"),
    (0x4249_4e4d, "binfmt_misc"),
    (0x6573_5543, "fusectl"),
    (0xf97c_ff8c, "selinuxfs"),
];
const TMPFS: u64 = 0x0102_1994;

/// The kernel's filesystem that `fd` lies on, if it is one.
pub(super) fn holds(fd: impl AsFd) -> Option<&'static str> {
    let kind = kind(fd)?;
    KINDS.iter().find(|(magic, _)| *magic == kind).map(|(_, name)| *name)
}

fn kind(fd: impl AsFd) -> Option<u64> {
    let stat = rustix::fs::fstatfs(fd).ok()?;
    // Some architectures give 32 bits with a sign.
    Some(stat.f_type as u64 & 0xffff_ffff)
}

/// Device and inode of `/dev`, if that is the one made for the container: what is in it are doors to the kernel.
pub(super) fn nodes(root: BorrowedFd<'_>) -> Option<(u64, u64)> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dev = rustix::fs::openat(root, "dev", flags, Mode::empty()).ok()?;
    let (stat, above) = (
        rustix::fs::fstat(&dev).ok()?,
        rustix::fs::statat(root, "", AtFlags::EMPTY_PATH).ok()?,
    );
    let mounted = stat.st_dev != above.st_dev;
    (mounted && kind(&dev) == Some(TMPFS)).then_some((stat.st_dev, stat.st_ino))
}

/// Something inside of a kernel's filesystem was asked for by name.
pub(super) fn refuse(place: &Place, path: &str) -> Result<()> {
    let inside = if place.name.is_empty() {
        // The directory itself: its mount point is fine, what lies below is not.
        let above = rustix::fs::openat(&place.parent, "..", OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        holds(&place.parent).filter(|_| above.is_ok_and(|above| holds(above).is_some()))
    } else {
        holds(&place.parent)
    };
    inside.map_or(Ok(()), |name| {
        Err(Error::not_found(format!(
            "Could not find the file {path} in the container: it is shown by the kernel ({name}) and no file to copy, read it with exec"
        )))
    })
}
