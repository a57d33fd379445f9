//! Network namespaces: sandboxes that live as long as their file is mounted.
//!
//! A namespace is bound to its file by a plain bind mount, made last, so that a file which is a namespace is a whole one.
//! The mount has its directory's propagation: where that is shared (the usual `/run`), other mount namespaces
//! lose their copy together with ours, and nobody's copy keeps a namespace alive.

use crate::netlink::{Batch, Change, Netlink, Route, Statistics};
use crate::sysctl::{self, Family};
use crate::{Error, Result};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::statfs::{NSFS_MAGIC, fstatfs};
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread;

/// A file is mounted on as often as it was made; nobody makes it more often than this.
const LAYERS: usize = 64;

/// What holds in a new sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Names and values as in sysctl(8).
    pub sysctls: Vec<(String, String)>,
}

impl Default for Settings {
    /// Anyone may bind low ports and ping (the Docker Engine's defaults since 20.10).
    fn default() -> Self {
        let sysctl = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        Self {
            sysctls: vec![
                sysctl("net.ipv4.ip_unprivileged_port_start", "0"),
                sysctl("net.ipv4.ping_group_range", "0 2147483647"),
            ],
        }
    }
}

/// Makes a namespace bound to the file at `path`, whose directory is there, or opens the one that is there.
pub fn make(path: &Path, settings: &Settings) -> Result<OwnedFd> {
    match open(path) {
        Ok(namespace) => return Ok(namespace),
        Err(Error::Namespace { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    File::create(path).map_err(|source| failed("make", path, source))?;
    in_thread(|| {
        unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| failed("make", path, errno.into()))?;
        furnish(settings)?;
        // By number: an old /proc may have no thread-self.
        let own = format!("/proc/self/task/{}/ns/net", nix::unistd::gettid());
        mount(Some(own.as_str()), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .map_err(|errno| failed("bind", path, errno.into()))
    })?;
    open(path)
}

/// The calling thread's new namespace gets what every sandbox has.
fn furnish(settings: &Settings) -> Result<()> {
    if sysctl::has(Family::Ipv6) {
        for setting in ["accept_ra", "autoconf", "accept_dad"] {
            sysctl::set_device(Family::Ipv6, "default", setting, "0")?;
        }
        sysctl::set_device(Family::Ipv6, "default", "ndisc_notify", "1")?;
    }
    // An address that was another container's a moment ago is announced.
    sysctl::set_device(Family::Ipv4, "default", "arp_notify", "1")?;
    loopback_up()?;
    settings
        .sysctls
        .iter()
        .try_for_each(|(name, value)| sysctl::set(name, value))
}

/// In the calling thread's namespace.
pub(crate) fn loopback_up() -> Result<()> {
    let mut batch = Batch::new();
    batch.set_link("lo", &UP);
    Netlink::open()?.run(batch)
}

const UP: Change<'static> = Change {
    up: Some(true),
    master: None,
    mac: None,
    mtu: 0,
    name: None,
    alias: None,
    namespace: None,
    plain_ipv6: false,
};

/// Opens the namespace bound to a file. A file that none is bound to is as good as no file: its kind is not-found.
pub fn open(path: &Path) -> Result<OwnedFd> {
    let file = File::open(path).map_err(|source| failed("open", path, source))?;
    let kind = fstatfs(&file).map_err(|errno| failed("look at", path, errno.into()))?;
    if kind.filesystem_type() != NSFS_MAGIC {
        return Err(failed("open", path, io::ErrorKind::NotFound.into()));
    }
    Ok(file.into())
}

/// Unbinds a namespace, which ends when nothing is left in it, and removes its file. It may be gone already.
pub fn remove(path: &Path) -> Result<()> {
    for _ in 0..LAYERS {
        match umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) => {}
            // Nothing is mounted there.
            Err(Errno::EINVAL) => break,
            Err(Errno::ENOENT) => return Ok(()),
            Err(errno) => return Err(failed("unbind", path, errno.into())),
        }
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path, error)),
        _ => Ok(()),
    }
}

/// The files of a directory, those that a kill left half made included; no directory has none.
pub fn list(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|source| failed("list", dir, source))?,
    };
    entries
        .map(|entry| {
            entry
                .map(|entry| entry.path())
                .map_err(|source| failed("list", dir, source))
        })
        .collect()
}

/// Does something inside a namespace, on a thread of its own, and waits for it.
pub fn enter<T: Send>(namespace: BorrowedFd<'_>, deed: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    in_thread(|| {
        setns(namespace, CloneFlags::CLONE_NEWNET).map_err(|errno| failed("enter", &shown(namespace), errno.into()))?;
        deed()
    })
}

/// A thread that changes its namespace ends with what it did, whatever comes of it.
pub(crate) fn in_thread<T: Send>(deed: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name("netns".to_owned())
            .spawn_scoped(scope, deed)
            .map_err(|source| Error::File {
                what: "start a thread".to_owned(),
                source,
            })?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Where a sandbox sends what is for none of its subnets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DefaultRoute<'a, A> {
    pub interface: &'a str,
    /// `None` = everyone is a neighbour (ipvlan in the L3 modes).
    pub gateway: Option<A>,
}

/// Makes these the default routes, and takes all others away. One that changes is replaced: at no time is there none.
pub fn set_default_routes(
    namespace: BorrowedFd<'_>,
    ipv4: Option<DefaultRoute<'_, Ipv4Addr>>,
    ipv6: Option<DefaultRoute<'_, Ipv6Addr>>,
) -> Result<()> {
    let mut netlink = Netlink::open_in(namespace)?;
    let mut wanted = Vec::with_capacity(2);
    if let Some(route) = ipv4 {
        wanted.push(Route::default4(route.gateway, netlink.index(route.interface)?));
    }
    if let Some(route) = ipv6 {
        wanted.push(Route::default6(route.gateway, netlink.index(route.interface)?));
    }
    let mut batch = Batch::new();
    for route in &wanted {
        batch.set_route(route);
    }
    netlink.run(batch)?;
    let mut batch = Batch::new();
    let same = |one: &Route, other: &Route| {
        (one.destination, one.gateway, one.device) == (other.destination, other.gateway, other.device)
    };
    for route in netlink.routes()?.iter().filter(|route| route.is_default()) {
        if !wanted.iter().any(|kept| same(kept, route)) {
            batch.delete_route(route);
        }
    }
    netlink.run(batch)
}

/// What went through the interfaces of a namespace, by name, without the loopback.
pub fn statistics(namespace: BorrowedFd<'_>) -> Result<Vec<(String, Statistics)>> {
    let links = Netlink::open_in(namespace)?.links()?;
    let inside = links.into_iter().filter(|link| !link.loopback);
    Ok(inside.map(|link| (link.name, link.statistics)).collect())
}

fn shown(namespace: BorrowedFd<'_>) -> PathBuf {
    fs::read_link(format!("/proc/self/fd/{}", namespace.as_raw_fd())).unwrap_or_default()
}

fn failed(deed: &'static str, path: &Path, source: io::Error) -> Error {
    Error::Namespace {
        deed,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
