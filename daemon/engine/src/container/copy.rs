//! Copy between a container and a tar stream. Nothing else waits for it (P21).

mod kernel;
mod read;
mod write;

use super::rootfs;
use crate::Engine;
use crate::difference::place::Place as Shown;
use bytes::Bytes;
use gantry_core::container::ContainerRecord;
use gantry_core::volume::MountPoint;
use gantry_core::{Error, ErrorKind, Labels, Result};
use rustix::fs::{AtFlags, FileType, OFlags, Stat};
use rustix::io::Errno;
use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, oneshot};

/// Chunks of a tar stream under way; a full channel holds the reader of the disk back.
const CHUNKS: usize = 8;

/// As many links in a row as Linux follows, and some.
const MAX_LINKS: usize = 255;
/// What a file may do beyond its owner's rights: the one attribute that Docker carries out, as it stands in archives.
const CAPABILITY: &str = "security.capability";
/// In front of the names of attributes in archives.
const ATTRIBUTE: &str = "SCHILY.xattr.";

/// What a path in a container is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathStat {
    pub name: String,
    /// Bytes.
    pub size: i64,
    /// As stat(2) gives it.
    pub mode: u32,
    pub modified_at: SystemTime,
    pub link_target: String,
}

pub type TarStream = mpsc::Receiver<Result<Bytes>>;

impl Engine {
    pub async fn stat_path(&self, name: &str, path: &str) -> Result<PathStat> {
        let keeper = self.find(name)?;
        let (path, missing) = (path.to_owned(), missing(name, path));
        self.in_rootfs(&keeper, move |root| {
            Ok(locate(root, &path, false).map_err(missing)?.stat)
        })
        .await
    }

    /// The stat of a path and a tar stream of it; entries begin with the path's last component.
    pub async fn copy_from(&self, name: &str, path: &str, follow_link: bool) -> Result<(PathStat, TarStream)> {
        let keeper = self.find(name)?;
        let (chunks, stream) = mpsc::channel(CHUNKS);
        let (found, stat) = oneshot::channel();
        let (engine, record) = (self.clone(), keeper.record());
        let (path, missing) = (path.to_owned(), missing(name, path));
        tokio::spawn(async move {
            let failure = chunks.clone();
            let work = move |root: BorrowedFd<'_>| {
                let located = locate(root, &path, follow_link).map_err(missing).and_then(|place| {
                    kernel::refuse(&place, &path)?;
                    Ok(place)
                });
                let place = match located {
                    Ok(place) => place,
                    Err(error) => {
                        let _ = found.send(Err(error));
                        return Ok(());
                    }
                };
                if found.send(Ok(place.stat.clone())).is_err() {
                    return Ok(());
                }
                read::archive(root, &place, chunks)
            };
            if let Err(error) = engine.in_rootfs(&keeper, work).await {
                let _ = failure.send(Err(error)).await;
            }
        });
        match stat.await {
            Ok(stat) => {
                let stat = stat?;
                self.tell_of(&record, "archive-path").await;
                Ok((stat, stream))
            }
            Err(_) => {
                let mut stream = stream;
                let error = stream.recv().await.and_then(Result::err);
                Err(error.unwrap_or_else(|| Error::internal("the container's files could not be read")))
            }
        }
    }

    /// The whole tree of a container as a tar stream, without what is mounted in it.
    pub async fn export(&self, name: &str) -> Result<TarStream> {
        let keeper = self.find(name)?;
        let record = keeper.record();
        let mounts = self.mounts_of(&record).await?;
        let at = self.context.mount_point();
        let (chunks, stream) = mpsc::channel(CHUNKS);
        self.tell_of(&record, "export").await;
        tokio::spawn(async move {
            let failure = chunks.clone();
            let work = move |root: BorrowedFd<'_>| read::archive(root, &locate(root, "/", false)?, chunks);
            let written = crate::gate::paced(move || match Shown::to_read(&mounts) {
                Shown::Mounts(mounts) => rootfs::with(&at, &mounts, work),
                Shown::Directory(dir) | Shown::Overlay { upper: dir, .. } => {
                    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                    let root = rustix::fs::openat(rustix::fs::CWD, &dir, flags, rustix::fs::Mode::empty())
                        .map_err(|errno| Error::internal(format!("open {}: {errno}", dir.display())))?;
                    work(root.as_fd())
                }
            });
            if let Err(error) = written.await {
                let _ = failure.send(Err(error)).await;
            }
        });
        Ok(stream)
    }

    /// Extracts a tar stream into an existing directory of the container; bytes of file content written.
    pub async fn copy_to(&self, name: &str, path: &str, options: CopyTo, tar: mpsc::Receiver<Bytes>) -> Result<u64> {
        let keeper = self.find(name)?;
        let record = keeper.record();
        let owner = self.owner(&record, options.owners).await?;
        let (path, missing) = (path.to_owned(), missing(name, path));
        let work = move |root: BorrowedFd<'_>| {
            let dir = write::open_dir(root, &path).map_err(missing)?;
            // What the links on the way lead to is what is written to.
            refuse_read_only(&record.mounts, record.host.readonly_rootfs, &resolve(root, &path)?)?;
            write::extract(root, &dir, options, owner, tar)
        };
        let written = self.in_rootfs(&keeper, work).await?;
        self.tell_of(&keeper.record(), "extract-to-dir").await;
        Ok(written)
    }

    /// Tells that somebody has looked into a container or has put something there.
    pub(super) async fn tell_of(&self, record: &ContainerRecord, action: &str) {
        let told = self.context.container_event(record, action, Labels::new());
        self.context.tell(vec![told]).await;
    }

    /// Uid and gid that all is given to; `None` = each its own.
    async fn owner(&self, record: &std::sync::Arc<ContainerRecord>, owners: Owners) -> Result<Option<(u32, u32)>> {
        let user = record.config.user.clone();
        match owners {
            Owners::Root => Ok(Some((0, 0))),
            Owners::Container if !user.is_empty() => {
                let (context, mounts) = (self.context.clone(), self.mounts_of(record).await?);
                let found = move || crate::files::accounts(&context, &mounts)?.resolve(&user);
                let user = crate::gate::blocking(found).await?;
                Ok(Some((user.uid, user.gid)))
            }
            Owners::Archive | Owners::Container => Ok(None),
        }
    }
}

/// What is not there is told as it was asked for.
fn missing(container: &str, path: &str) -> impl FnOnce(Error) -> Error + Send + 'static {
    let text = format!("Could not find the file {path} in container {container}");
    move |error| match error.kind() {
        ErrorKind::NotFound => Error::not_found(text),
        _ => error,
    }
}

/// Of a path that no link is in.
fn refuse_read_only(mounts: &[MountPoint], readonly_rootfs: bool, path: &str) -> Result<()> {
    let holding = mounts
        .iter()
        .filter(|point| Path::new(path).starts_with(&point.target))
        .max_by_key(|point| point.target.len());
    let refused = |why: &str| Err(Error::new(ErrorKind::PermissionDenied, why));
    match holding {
        Some(point) if point.read_only => refused("mounted volume is marked read-only"),
        None if readonly_rootfs => refused("container rootfs is marked read-only"),
        Some(_) | None => Ok(()),
    }
}

/// How a tar stream is extracted.
#[derive(Debug, Clone, Copy, Default)]
pub struct CopyTo {
    /// Refuse to put a directory over a file or the other way round.
    pub no_overwrite_dir_non_dir: bool,
    pub owners: Owners,
}

/// Whose files become that are copied in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Owners {
    #[default]
    Root,
    /// Those of the archive.
    Archive,
    /// The user that the container runs as; those of the archive if it names none.
    Container,
}

/// A path found in a container.
pub(super) struct Place {
    /// The directory that holds it, and its name there; the name is empty for the root itself.
    pub parent: OwnedFd,
    pub name: OsString,
    /// Under which name it goes into an archive.
    pub base: String,
    pub stat: PathStat,
}

/// Finds a path; its last component is not followed unless asked (or unless the path ends in `/` or `/.`).
fn locate(root: BorrowedFd<'_>, path: &str, follow: bool) -> Result<Place> {
    let contents = path.ends_with("/.") || path == ".";
    let trimmed = path.trim_end_matches("/.").trim_matches('/');
    let must_be_dir = contents || path.ends_with('/');
    let (dir, last) = trimmed.rsplit_once('/').unwrap_or(("", trimmed));
    let base = if contents { ".".to_owned() } else { last.to_owned() };
    if last.is_empty() || last == ".." || last == "." || must_be_dir {
        let fd = rootfs::open(root, trimmed, OFlags::PATH | OFlags::DIRECTORY)?;
        let stat = rustix::fs::fstat(&fd).map_err(|errno| Error::internal(format!("stat {path}: {errno}")))?;
        let name = if last.is_empty() {
            "/".to_owned()
        } else {
            last.to_owned()
        };
        let base = if base.is_empty() { "/".to_owned() } else { base };
        return Ok(Place {
            stat: describe(name, &stat, String::new()),
            parent: fd,
            name: OsString::new(),
            base,
        });
    }
    let parent = rootfs::open(root, dir, OFlags::PATH | OFlags::DIRECTORY)?;
    let stat =
        rustix::fs::statat(&parent, last, AtFlags::SYMLINK_NOFOLLOW).map_err(|errno| rootfs::unseen(path, errno))?;
    let mut target = String::new();
    if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
        // As Docker tells it: where it leads in the end, seen from the container's root.
        target = resolve(root, path)?;
        if follow {
            return Ok(Place {
                base,
                ..locate(root, &target, false)?
            });
        }
    }
    Ok(Place {
        stat: describe(last.to_owned(), &stat, target),
        parent,
        name: last.into(),
        base,
    })
}

/// The path without links, as far as there is something: what is missing stays as it was written.
fn resolve(root: BorrowedFd<'_>, path: &str) -> Result<String> {
    let mut real: Vec<String> = Vec::new();
    let mut rest: Vec<String> = parts(path).rev().collect();
    let mut links = 0;
    while let Some(part) = rest.pop() {
        if part == ".." {
            real.pop();
            continue;
        }
        match link_of(root, &real, &part)? {
            None => real.push(part),
            Some(target) => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(Error::invalid(format!("{path}: too many links lead to it")));
                }
                if target.starts_with('/') {
                    real.clear();
                }
                rest.extend(parts(&target).rev());
            }
        }
    }
    Ok(format!("/{}", real.join("/")))
}

fn parts(path: &str) -> impl DoubleEndedIterator<Item = String> + '_ {
    let parts = path.split('/').filter(|part| !part.is_empty() && *part != ".");
    parts.map(str::to_owned)
}

/// Where `name` leads if it is a link.
fn link_of(root: BorrowedFd<'_>, dir: &[String], name: &str) -> Result<Option<String>> {
    let Ok(parent) = rootfs::open(root, &dir.join("/"), OFlags::PATH | OFlags::DIRECTORY) else {
        return Ok(None);
    };
    match rustix::fs::readlinkat(&parent, name, Vec::new()) {
        Ok(target) => Ok(Some(target.to_string_lossy().into_owned())),
        Err(Errno::INVAL | Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(Error::internal(format!("read the link {name}: {errno}"))),
    }
}

fn describe(name: String, stat: &Stat, link_target: String) -> PathStat {
    let seconds = u64::try_from(stat.st_mtime).unwrap_or(0);
    let modified_at = UNIX_EPOCH + Duration::new(seconds, u32::try_from(stat.st_mtime_nsec).unwrap_or(0));
    PathStat {
        name,
        size: stat.st_size,
        mode: stat.st_mode,
        modified_at,
        link_target,
    }
}

/// The directory itself, or the entry in it, opened for reading.
pub(super) fn open_place(place: &Place, flags: OFlags) -> Result<OwnedFd> {
    let name = if place.name.is_empty() {
        OsString::from_vec(b".".to_vec())
    } else {
        place.name.clone()
    };
    rustix::fs::openat(
        place.parent.as_fd(),
        &name,
        flags | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )
    .map_err(|errno| {
        Error::new(
            gantry_core::error::io_kind(&errno.into()),
            format!("open {}: {errno}", place.base),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_are_followed_to_their_end_within_the_root() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        for (target, name) in [
            ("b/c", "a/chain"),
            ("../../../a/file", "a/b/c"),
            ("/missing/../gone", "a/broken"),
            ("loop", "loop"),
            ("/a", "dir"),
        ] {
            symlink(target, dir.path().join(name)).unwrap();
        }
        let root = rustix::fs::open(dir.path(), OFlags::PATH, rustix::fs::Mode::empty()).unwrap();
        for (path, real) in [
            ("/a/chain", "/a/file"),
            ("dir/b/./c", "/a/file"),
            ("/a/broken", "/gone"),
            ("/a/nothing/x", "/a/nothing/x"),
            ("/../..", "/"),
        ] {
            assert_eq!(resolve(root.as_fd(), path).unwrap(), real, "{path}");
        }
        assert!(resolve(root.as_fd(), "/loop").is_err());
        let stat = locate(root.as_fd(), "/dir/chain", false).unwrap().stat;
        assert_eq!((stat.name.as_str(), stat.link_target.as_str()), ("chain", "/a/file"));
    }

    #[test]
    fn what_is_read_only_is_told_by_the_nearest_mount() {
        let point = |target: &str, read_only| MountPoint {
            target: target.to_owned(),
            read_only,
            ..MountPoint::default()
        };
        let refused = |path: &str, readonly_rootfs| {
            let mounts = vec![point("/rw", false), point("/rw/ro", true)];
            refuse_read_only(&mounts, readonly_rootfs, path).is_err()
        };
        assert!(refused("/", true) && !refused("/", false));
        assert!(!refused("/rw/x", true) && refused("/rw/ro/x", false) && refused("/rwx", true));
    }
}
