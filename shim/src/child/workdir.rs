//! The working directory of a process: made for a container that lacks it, as runc does, and demanded of an exec.
//!
//! The built-in runtime only changes to it, and says no more than `ENOENT` if it cannot.

use crate::failure::{Failure, Kind, Result};
use libcontainer::oci_spec::runtime::{LinuxIdMapping, Mount, Spec};
use rustix::{
    fs::{AtFlags, CWD, Gid, Mode, OFlags, ResolveFlags, Uid},
    io::Errno,
};
use std::{
    os::fd::OwnedFd,
    path::{Component, Path, PathBuf},
};

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Makes a container's working directory where the root filesystem, or what is bound into it, lacks it.
pub fn make(spec: &Spec, rootfs: &Path) -> Result<()> {
    let Some(process) = spec.process() else { return Ok(()) };
    let cwd = plain(process.cwd());
    let mount = spec.mounts().iter().flatten().rev().find(|mount| covers(mount, &cwd));
    let inner = mount.map_or(cwd.clone(), |mount| below(&cwd, mount));
    let there = match mount.map_or(Under::Ours(rootfs), under) {
        Under::Ours(base) => at(base).and_then(|base| make_in(&base, &inner, owner(spec))),
        Under::ReadOnly(base) => at(base).and_then(|base| open(&base, &inner).map(drop)),
        // Empty when the container begins.
        Under::Tmpfs if !inner.as_os_str().is_empty() => Err(Errno::NOENT),
        Under::Tmpfs | Under::Kernel => Ok(()),
    };
    match there {
        Ok(()) => Ok(()),
        // A file that is bound in is no directory to make others in: the change of directory will say so.
        Err(Errno::NOTDIR) if inner.as_os_str().is_empty() => Ok(()),
        Err(errno) => {
            let words = format!(
                "error during container init: mkdir {}: {}",
                process.cwd().display(),
                why(errno)
            );
            Err(unusable(process.cwd(), errno).with_peer(words))
        }
    }
}

/// An exec's working directory is there, or the failure says so.
pub fn demand(init: u32, cwd: &Path) -> Result<()> {
    let root = rustix::fs::openat(CWD, format!("/proc/{init}/root"), DIRECTORY, Mode::empty());
    match root.and_then(|root| open(&root, &plain(cwd))) {
        Err(errno @ (Errno::NOENT | Errno::NOTDIR | Errno::LOOP)) => {
            let words = format!("chdir to cwd ({cwd:?}) set in config.json failed: {}", why(errno));
            Err(unusable(cwd, errno).with_peer(words))
        }
        // Anything else (a link of /proc, a right that root lacks) is for the change of directory itself to find out.
        Ok(_) | Err(_) => Ok(()),
    }
}

fn unusable(cwd: &Path, errno: Errno) -> Failure {
    let kind = match errno {
        Errno::NOENT => Kind::CommandNotFound,
        Errno::NOTDIR | Errno::ACCESS | Errno::LOOP => Kind::CommandNotExecutable,
        _ => Kind::Runtime,
    };
    let why = why(errno);
    let text = format!("chdir to cwd ({cwd:?}) failed: {why}: make the directory, or name another by --workdir");
    Failure::new(kind, text)
}

/// As the C library says it, in small letters.
fn why(errno: Errno) -> String {
    let text = std::io::Error::from(errno).to_string().to_lowercase();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// Relative, without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => plain.push(name),
            Component::ParentDir => {
                plain.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    plain
}

fn covers(mount: &Mount, path: &Path) -> bool {
    let target = plain(mount.destination());
    !target.as_os_str().is_empty() && path.starts_with(target)
}

fn below(path: &Path, mount: &Mount) -> PathBuf {
    let inner = path.strip_prefix(plain(mount.destination()));
    inner.unwrap_or(Path::new("")).to_owned()
}

/// What a directory lies on.
enum Under<'a> {
    /// Files that may be added to.
    Ours(&'a Path),
    ReadOnly(&'a Path),
    Tmpfs,
    /// It appears only with the container: /proc, /dev and their like.
    Kernel,
}

fn under(mount: &Mount) -> Under<'_> {
    let options = mount.options().as_deref().unwrap_or_default();
    let has = |names: &[&str]| options.iter().any(|option| names.contains(&option.as_str()));
    let kind = mount.typ().as_deref().unwrap_or_default();
    match mount.source().as_deref() {
        Some(source) if kind == "bind" || has(&["bind", "rbind"]) => match has(&["ro", "rro"]) {
            true => Under::ReadOnly(source),
            false => Under::Ours(source),
        },
        _ if kind == "tmpfs" && !has(&["tmpcopyup"]) && plain(mount.destination()) != Path::new("dev") => Under::Tmpfs,
        _ => Under::Kernel,
    }
}

fn at(dir: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(CWD, dir, DIRECTORY, Mode::empty())
}

fn open(root: &OwnedFd, path: &Path) -> Result<OwnedFd, Errno> {
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(root, path, DIRECTORY, Mode::empty(), resolve)
}

/// The container's root, as the host numbers it.
fn owner(spec: &Spec) -> (u32, u32) {
    let linux = spec.linux().as_ref();
    let host = |mappings: Option<&Vec<LinuxIdMapping>>| {
        let of_root = mappings.into_iter().flatten().find(|one| one.container_id() == 0);
        of_root.map_or(0, LinuxIdMapping::host_id)
    };
    (
        host(linux.and_then(|linux| linux.uid_mappings().as_ref())),
        host(linux.and_then(|linux| linux.gid_mappings().as_ref())),
    )
}

/// Makes what is missing of `path`, below `root` whatever links say, and gives it to `owner`.
fn make_in(root: &OwnedFd, path: &Path, owner: (u32, u32)) -> Result<(), Errno> {
    if open(root, path).is_ok() {
        return Ok(());
    }
    let mut above = open(root, Path::new(""))?;
    let mut current = PathBuf::new();
    for part in path.components() {
        current.push(part);
        above = match open(root, &current) {
            Err(Errno::NOENT) => {
                match rustix::fs::mkdirat(&above, part.as_os_str(), Mode::from_raw_mode(0o755)) {
                    // A link that leads nowhere.
                    Err(Errno::EXIST) => return Err(Errno::NOENT),
                    done => done?,
                }
                if owner != (0, 0) {
                    let (user, group) = (Uid::from_raw(owner.0), Gid::from_raw(owner.1));
                    let flags = AtFlags::SYMLINK_NOFOLLOW;
                    rustix::fs::chownat(&above, part.as_os_str(), Some(user), Some(group), flags)?;
                }
                open(root, &current)?
            }
            found => found?,
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::symlink};

    fn root() -> (tempfile::TempDir, OwnedFd) {
        let dir = tempfile::tempdir().unwrap();
        let fd = rustix::fs::openat(CWD, dir.path(), DIRECTORY, Mode::empty()).unwrap();
        (dir, fd)
    }

    #[test]
    fn what_is_missing_is_made_and_links_stay_inside() {
        let (dir, fd) = root();
        fs::create_dir(dir.path().join("real")).unwrap();
        symlink("/real", dir.path().join("link")).unwrap();
        symlink("/nowhere", dir.path().join("dangling")).unwrap();
        symlink("../../../..", dir.path().join("out")).unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        for path in ["a/b/c", "real", "link/new", "out/top", ""] {
            assert_eq!(make_in(&fd, Path::new(path), (0, 0)), Ok(()), "{path}");
        }
        for made in ["a/b/c", "real/new", "top"] {
            assert!(dir.path().join(made).is_dir(), "{made}");
        }
        assert_eq!(make_in(&fd, Path::new("file/x"), (0, 0)), Err(Errno::NOTDIR));
        assert_eq!(make_in(&fd, Path::new("dangling/x"), (0, 0)), Err(Errno::NOENT));
        let mapped = serde_json::json!({"ociVersion": "1.0.2", "root": {"path": "r"}, "linux": {
            "uidMappings": [{"containerID": 0, "hostID": 1234, "size": 9}], "gidMappings": [{"containerID": 0, "hostID": 77, "size": 9}]
        }});
        let mapped: Spec = serde_json::from_value(mapped).unwrap();
        assert_eq!(make_in(&fd, Path::new("a/theirs"), owner(&mapped)), Ok(()));
        let made = std::os::unix::fs::MetadataExt::uid(&fs::metadata(dir.path().join("a/theirs")).unwrap());
        assert_eq!((made, owner(&mapped).1), (1234, 77));
    }

    #[test]
    fn an_exec_is_told_what_is_wrong_with_its_directory() {
        let me = std::process::id();
        assert_eq!(demand(me, Path::new("/proc/..//")), Ok(()));
        let failure = demand(me, Path::new("/no/such")).unwrap_err();
        assert_eq!(failure.exit_code(), 127);
        let said = "chdir to cwd (\"/no/such\") failed: no such file or directory";
        assert!(failure.message.starts_with(said), "{failure}");
        assert_eq!(demand(me, Path::new("/etc/passwd")).unwrap_err().exit_code(), 126);
    }

    #[test]
    fn paths_are_made_plain() {
        assert_eq!(plain(Path::new("/a/./b//../c/")), Path::new("a/c"));
        assert_eq!(plain(Path::new("/..")), Path::new(""));
    }
}
