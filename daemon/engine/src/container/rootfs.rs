//! The root filesystem of a container, running or not, as a directory that nothing leads out of.

use crate::Engine;
use crate::gate::paced;
use crate::keeper::Keeper;
use gantry_core::container::{BindMount, ContainerRecord};
use gantry_core::error::io_kind;
use gantry_core::{Error, Mount, Result};
use gantry_task::Shim;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

/// Largest text file read whole, in bytes.
const TEXT: u64 = 1 << 20;

/// Opens `path` below `root` as if `root` were `/`: links are followed but cannot lead out.
pub(crate) fn open(root: BorrowedFd<'_>, path: &str, flags: OFlags) -> Result<OwnedFd> {
    let relative = path.trim_start_matches('/');
    let relative = if relative.is_empty() { "." } else { relative };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(root, relative, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
        .map_err(|errno| unseen(path, errno))
}

/// Why a path of the container cannot be looked at.
pub(crate) fn unseen(path: &str, errno: Errno) -> Error {
    match errno {
        Errno::NOENT => Error::not_found(format!("there is no {path} in the container")),
        Errno::NOTDIR => Error::invalid(format!("{path}: a part of it is not a directory")),
        Errno::NAMETOOLONG => Error::invalid(format!("{path}: a part of it is longer than names can be")),
        _ => {
            let error = std::io::Error::from(errno);
            Error::new(io_kind(&error), format!("open {path} in the container: {error}"))
        }
    }
}

/// Reads a small text file; `None` if there is none.
pub(crate) fn read_text(root: BorrowedFd<'_>, path: &str) -> Result<Option<String>> {
    let fd = match open(root, path, OFlags::RDONLY | OFlags::NONBLOCK) {
        Ok(fd) => fd,
        Err(error) if error.kind() == gantry_core::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    File::from(fd)
        .take(TEXT)
        .read_to_end(&mut bytes)
        .map_err(|error| Error::internal(format!("read {path}: {error}")))?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// Runs `work` on the tree that `mounts` make, mounted on `at` where only the worker sees it.
pub(crate) fn with<T, F>(at: &Path, mounts: &[Mount], work: F) -> Result<T>
where
    T: Send + 'static,
    F: FnOnce(BorrowedFd<'_>) -> Result<T> + Send + 'static,
{
    let outcome = gantry_snapshots_mount::with_mounted(at, mounts, move |dir: &Path| {
        let root = rustix::fs::openat(
            CWD,
            dir,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        );
        root.map_err(|errno| Error::internal(format!("open {}: {errno}", dir.display())))
            .and_then(|root| work(root.as_fd()))
    });
    outcome.map_err(Error::from)?
}

impl Engine {
    /// Runs `work`, which may go at a client's pace, on a container's root filesystem: the living one with its mounts, else the layers
    /// and the binds.
    pub(crate) async fn in_rootfs<T, F>(&self, keeper: &Arc<Keeper>, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(BorrowedFd<'_>) -> Result<T> + Send + 'static,
    {
        if keeper.state().is_running() {
            // One that a former daemon left is found again first: its pid may be of a former boot.
            match (keeper.shim().await, keeper.pid()) {
                (Ok(shim), Some(pid)) => return paced(move || work(living(&shim, pid)?.as_fd())).await,
                (Err(error), _) if keeper.state().is_running() => return Err(error),
                // It has ended meanwhile.
                (Ok(_) | Err(_), _) => {}
            }
        }
        let record = keeper.record();
        let mut mounts = self.mounts_of(&record).await?;
        let mut binds = self.context.volumes.shown(&record);
        binds.extend(self.etc_of(&record));
        binds.retain(|bind| Path::new(&bind.source).exists());
        let at = self.context.mount_point();
        paced(move || {
            // What lies within another comes after it.
            binds.sort_by(|a, b| a.target.cmp(&b.target));
            let bare = mounts.len();
            mounts.extend(binds.iter().map(bound));
            let (inner, outer): (Vec<_>, Vec<_>) = binds
                .iter()
                .cloned()
                .enumerate()
                .partition(|(number, bind)| binds[..*number].iter().any(|other| lies_in(bind, other)));
            if !outer.is_empty() {
                with(&at, &mounts[..bare], move |root| {
                    outer.iter().try_for_each(|(_, bind)| make_point(root, bind))
                })?;
            }
            for (number, bind) in inner {
                with(&at, &mounts[..bare + number], move |root| make_point(root, &bind))?;
            }
            with(&at, &mounts, work)
        })
        .await
    }
}

fn lies_in(bind: &BindMount, other: &BindMount) -> bool {
    Path::new(&bind.target).starts_with(&other.target)
}

impl Engine {
    /// The files of `/etc` that a run of the container had, where it has none of its own.
    fn etc_of(&self, record: &ContainerRecord) -> Vec<BindMount> {
        let dir = self.context.state_dir(&record.id);
        let one = |name: &str| BindMount {
            source: dir.join(name).to_string_lossy().into_owned(),
            target: format!("/etc/{name}"),
            ..BindMount::default()
        };
        let files = ["hostname", "hosts", "resolv.conf"].map(one).into_iter();
        files
            .filter(|file| record.mounts.iter().all(|mount| mount.target != file.target))
            .collect()
    }
}

/// Makes a directory and those above it, where they are missing.
pub(crate) fn make_dir(root: BorrowedFd<'_>, path: &str) -> Result<()> {
    make(root, path, false)
}

/// The root of a process of a container, as that process sees it.
fn living(shim: &Shim, pid: u32) -> Result<OwnedFd> {
    let path = format!("/proc/{pid}/root");
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(CWD, &path, flags, Mode::empty())
        .map_err(|errno| Error::conflict(format!("the container ended meanwhile: open {path}: {errno}")))?;
    // It is held now: had the pid gone to another process before, its mark would tell.
    match shim.is_process(pid) {
        true => Ok(root),
        false => Err(Error::conflict("the container ended meanwhile")),
    }
}

fn bound(bind: &BindMount) -> Mount {
    let access = if bind.read_only { "ro" } else { "rw" };
    Mount {
        kind: "bind".to_owned(),
        source: bind.source.clone(),
        target: bind.target.clone(),
        options: vec!["rbind".to_owned(), access.to_owned()],
    }
}

/// Makes the place that something is bound on, as the first start would.
fn make_point(root: BorrowedFd<'_>, bind: &BindMount) -> Result<()> {
    make(root, &bind.target, !Path::new(&bind.source).is_dir())
}

/// Makes an empty file or a directory, and the directories above it, where they are missing.
fn make(root: BorrowedFd<'_>, path: &str, is_file: bool) -> Result<()> {
    let failed = |errno: rustix::io::Errno| {
        let error = std::io::Error::from(errno);
        Error::new(io_kind(&error), format!("make {path} in the container: {error}"))
    };
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    for (depth, name) in parts.iter().enumerate() {
        match open(root, &parts[..=depth].join("/"), OFlags::PATH) {
            Ok(_) => continue,
            Err(error) if error.kind() == gantry_core::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let within = open(root, &parts[..depth].join("/"), OFlags::PATH | OFlags::DIRECTORY)?;
        let made = match is_file && depth + 1 == parts.len() {
            true => {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
                rustix::fs::openat(&within, *name, flags, Mode::from(0o644)).map(drop)
            }
            false => rustix::fs::mkdirat(&within, *name, Mode::from(0o755)),
        };
        match made {
            // Somebody who looks at the same container was faster.
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(errno) => return Err(failed(errno)),
        }
    }
    Ok(())
}
