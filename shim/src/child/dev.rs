//! A bind on `/dev`. libcontainer makes its links and nodes in whatever is mounted there, which would be the host's own: it gets a `/dev`
//! of memory to work in, and what was asked for is put over that from inside, when it is done.

use super::road;
use crate::{
    failure::{Failure, Kind, Result, failed},
    sys,
};
use libcontainer::oci_spec::runtime::{Mount, Spec};
use rustix::{
    fs::CWD,
    mount::{MoveMountFlags, OpenTreeFlags},
};
use std::{
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

const DEV: &str = "/dev";

/// Takes such a bind out of the spec; what it binds is held, mounted nowhere.
pub fn take(spec: &mut Spec) -> Result<Option<OwnedFd>> {
    let mut mounts = spec.mounts().clone().unwrap_or_default();
    let Some(at) = mounts.iter().position(is_bound) else {
        return Ok(None);
    };
    let unsupported = |text: String| Err(Failure::new(Kind::Unsupported, text));
    let below = |mount: &&Mount| mount.destination() != Path::new(DEV) && mount.destination().starts_with(DEV);
    if let Some(other) = mounts.iter().find(below) {
        let other = other.destination().display();
        return unsupported(format!(
            "{other} cannot be mounted in a {DEV} that is bound itself: mount it there on the host"
        ));
    }
    if road::is_rare(spec) {
        return unsupported(format!("{DEV} cannot be bound together with user or time namespaces"));
    }
    let held = hold(&mounts[at])?;
    // Its terminal, if it gets one, comes from a place of its own.
    let own = [
        mount(DEV, "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
    ];
    mounts.splice(at..=at, own);
    spec.set_mounts(Some(mounts));
    Ok(Some(held))
}

/// Puts what was held over the container's `/dev`. For who is inside already.
pub fn put(held: &OwnedFd) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(held.as_fd(), "", CWD, DEV, flags)
        .map_err(failed(Kind::Mount, format_args!("binding on {DEV}")))
}

fn options(mount: &Mount) -> &[String] {
    mount.options().as_deref().unwrap_or_default()
}

fn is_bound(mount: &Mount) -> bool {
    let binds = options(mount)
        .iter()
        .any(|option| option == "bind" || option == "rbind");
    mount.destination() == Path::new(DEV) && (binds || mount.typ().as_deref() == Some("bind"))
}

fn hold(mount: &Mount) -> Result<OwnedFd> {
    let has = |name: &str| options(mount).iter().any(|option| option == name);
    let source = mount.source().clone().unwrap_or_default();
    let deed = |what: &str| format!("{what} {}, to bind it on {DEV}", source.display());
    let recursive = if has("rbind") {
        OpenTreeFlags::AT_RECURSIVE
    } else {
        OpenTreeFlags::empty()
    };
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | recursive;
    let held = rustix::mount::open_tree(CWD, &source, flags).map_err(failed(Kind::Mount, deed("holding")))?;
    let propagation = match () {
        () if has("shared") || has("rshared") => 0,
        () if has("slave") || has("rslave") => libc::MS_SLAVE,
        () => libc::MS_PRIVATE,
    };
    sys::set_mount(held.as_fd(), 0, propagation, true).map_err(failed(Kind::Mount, deed("setting apart")))?;
    let attributes = [
        ("ro", sys::MOUNT_ATTR_RDONLY),
        ("nosuid", sys::MOUNT_ATTR_NOSUID),
        ("nodev", sys::MOUNT_ATTR_NODEV),
        ("noexec", sys::MOUNT_ATTR_NOEXEC),
    ];
    let set = attributes
        .iter()
        .filter(|(name, _)| has(name))
        .fold(0, |set, (_, one)| set | one);
    sys::set_mount(held.as_fd(), set, 0, has("rro")).map_err(failed(Kind::Mount, deed("restricting")))?;
    Ok(held)
}

fn mount(at: &str, kind: &str, options: &[&str]) -> Mount {
    let mut mount = Mount::default();
    mount.set_destination(at.into());
    mount.set_typ(Some(kind.to_owned()));
    mount.set_source(Some(kind.into()));
    mount.set_options(Some(options.iter().map(|option| (*option).to_owned()).collect()));
    mount
}
