//! Directories that are made before a mount that needs them: `X-containerd.mkdir.path=DIR[:MODE[:UID:GID]]`.

use super::failed;
use super::inside::{Root, place};
use gantry_core::{Error, Mount, Result};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid, fchmod, fchown, mkdirat, openat, statat};
use rustix::io::Errno;
use std::path::Path;

const PREFIX: &str = "X-containerd.mkdir.";
/// Of a directory of which nothing is said.
const PLAIN: u32 = 0o700;

/// What is asked for. One that is there is made so only where it is said.
#[derive(Debug, PartialEq, Eq)]
struct Wanted<'a> {
    dir: &'a Path,
    mode: Option<u32>,
    owner: Option<(u32, u32)>,
}

/// Makes the directories, and takes the options away.
pub fn make(mut mount: Mount, roots: &[Root]) -> Result<Mount> {
    for option in &mount.options {
        if let Some(said) = option.strip_prefix(PREFIX) {
            let wanted = parse(said).ok_or_else(|| {
                Error::invalid(format!(
                    "invalid mkdir option {option:?}: it is {PREFIX}path=DIR[:MODE[:UID:GID]]"
                ))
            })?;
            make_one(&wanted, roots)?;
        }
    }
    mount.options.retain(|option| !option.starts_with(PREFIX));
    Ok(mount)
}

fn parse(said: &str) -> Option<Wanted<'_>> {
    let parts: Vec<&str> = said.strip_prefix("path=")?.splitn(4, ':').collect();
    let mode = |text: &str| u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
    let (dir, mode, owner) = match parts[..] {
        [dir] => (dir, None, None),
        [dir, bits] => (dir, Some(mode(bits)?), None),
        [dir, bits, uid, gid] => (dir, Some(mode(bits)?), Some((uid.parse().ok()?, gid.parse().ok()?))),
        _ => return None,
    };
    Some(Wanted {
        dir: Path::new(dir),
        mode,
        owner,
    })
}

fn make_one(wanted: &Wanted<'_>, roots: &[Root]) -> Result<()> {
    let place = place(roots, wanted.dir, "mkdir")?;
    let failed = |errno: Errno| failed("make directory", wanted.dir)(errno.into());
    let made = match mkdirat(&place.dir, place.name, Mode::from_raw_mode(PLAIN)) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(errno) => return Err(failed(errno)),
    };
    let there = statat(&place.dir, place.name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
    if FileType::from_raw_mode(there.st_mode) != FileType::Directory {
        return Err(failed(Errno::EXIST));
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = openat(&place.dir, place.name, flags, Mode::empty()).map_err(failed)?;
    if let Some((uid, gid)) = wanted.owner {
        fchown(&dir, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).map_err(failed)?;
    }
    // Not by mkdir(2): what the umask takes away is meant.
    if let Some(mode) = wanted.mode.or(made.then_some(PLAIN)) {
        fchmod(&dir, Mode::from_raw_mode(mode)).map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_core::ErrorKind;
    use std::os::unix::fs::MetadataExt;

    fn mount(options: &[String]) -> Mount {
        Mount {
            kind: "overlay".to_owned(),
            source: "overlay".to_owned(),
            target: String::new(),
            options: options.to_vec(),
        }
    }

    #[test]
    fn directories_are_as_they_are_said_to_be() {
        let dir = tempfile::tempdir().unwrap();
        let roots = [Root::new(dir.path())];
        let at = |name: &str| dir.path().join(name);
        let ask = |said: &str| {
            let option = format!("X-containerd.mkdir.path={}/{said}", dir.path().display());
            make(mount(&[option, "ro".to_owned()]), &roots)
        };
        let shape = |name: &str| {
            let meta = std::fs::metadata(at(name)).unwrap();
            (meta.mode() & 0o7777, meta.uid(), meta.gid())
        };
        assert_eq!(ask("a").unwrap().options, ["ro"]);
        assert_eq!(shape("a"), (0o700, 0, 0));
        ask("a/b:0757").unwrap();
        assert_eq!(shape("a/b"), (0o757, 0, 0));
        ask("a/b").unwrap();
        assert_eq!(shape("a/b"), (0o757, 0, 0), "nothing is said of it");
        ask("a/b:755:1000:2000").unwrap();
        assert_eq!(shape("a/b"), (0o755, 1000, 2000));
        std::fs::write(at("file"), "").unwrap();
        assert_eq!(ask("file").unwrap_err().kind(), ErrorKind::AlreadyExists);
        for bad in ["c:rwx", "c:1777", "c:755:0", "c:755:a:b"] {
            assert_eq!(ask(bad).unwrap_err().kind(), ErrorKind::InvalidArgument, "{bad}");
        }
        assert!(!at("c").exists());
        let odd = make(mount(&["X-containerd.mkdir.mode=1".to_owned()]), &roots);
        assert_eq!(odd.unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
}
