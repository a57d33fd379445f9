//! Mounting a container's root, in a forked child: in a mount namespace of the container's own, so that nothing of it is ever
//! seen, or left, on the host; or on the host where the caller wants that.

use crate::failure::{Failure, Kind, Result, failed};
use nix::mount::{MsFlags, mount};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// One mount as the task API gives it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Mount {
    pub kind: String,
    pub source: String,
    pub target: String,
    pub options: Vec<String>,
}

/// mount(2) takes its options in one page.
const PAGE: usize = 4096 - 1;

/// Leaves the host's mount namespace. The one mount that holds `bundle` becomes a slave, so that what is mounted in the bundle
/// stays here; every other mount keeps its propagation, for volumes that want it.
pub fn enter_private_namespace(bundle: &Path) -> Result<()> {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS)
        .map_err(failed(Kind::Mount, "leaving the mount namespace"))?;
    let point = mount_point_of(bundle)?;
    mount(None::<&str>, &point, None::<&str>, MsFlags::MS_SLAVE, None::<&str>).map_err(failed(
        Kind::Mount,
        format_args!("making {} a slave mount", point.display()),
    ))
}

/// Mounts the request's root filesystem at `target`.
pub fn mount_rootfs(mounts: &[Mount], target: &Path) -> Result<()> {
    fs::create_dir_all(target).map_err(failed(Kind::Mount, format_args!("making {}", target.display())))?;
    for one in mounts {
        let at = if one.target.is_empty() {
            target.to_owned()
        } else {
            target.join(one.target.trim_start_matches('/'))
        };
        mount_one(one, &at).map_err(failed(
            Kind::Mount,
            format_args!("mounting {} at {}", one.kind, at.display()),
        ))?;
    }
    Ok(())
}

/// Takes away whatever is mounted at `target`, top first; nothing mounted is fine.
pub fn unmount_all(target: &Path) {
    while nix::mount::umount2(target, nix::mount::MntFlags::MNT_DETACH).is_ok() {}
}

/// What is mounted at `point` and below it takes no writing any more, nor devices and programs. For who is inside already.
pub fn make_readonly(point: &Path) -> Result<()> {
    let table =
        fs::read_to_string("/proc/self/mountinfo").map_err(failed(Kind::Mount, "reading the table of mounts"))?;
    let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(unescape);
    let flags = MsFlags::MS_REMOUNT
        | MsFlags::MS_BIND
        | MsFlags::MS_RDONLY
        | MsFlags::MS_NOSUID
        | MsFlags::MS_NODEV
        | MsFlags::MS_NOEXEC;
    for one in points.filter(|one| one.starts_with(point)) {
        mount(None::<&str>, &one, None::<&str>, flags, None::<&str>)
            .map_err(failed(Kind::Mount, format_args!("making {} read-only", one.display())))?;
    }
    Ok(())
}

fn mount_one(one: &Mount, at: &Path) -> Result<(), std::io::Error> {
    let (flags, propagation, data) = parse_options(&one.options);
    if flags.contains(MsFlags::MS_BIND) || one.kind == "bind" {
        mount(
            Some(one.source.as_str()),
            at,
            None::<&str>,
            MsFlags::MS_BIND | (flags & MsFlags::MS_REC),
            None::<&str>,
        )?;
        let again = flags & !(MsFlags::MS_BIND | MsFlags::MS_REC);
        if !again.is_empty() {
            mount(
                None::<&str>,
                at,
                None::<&str>,
                again | MsFlags::MS_BIND | MsFlags::MS_REMOUNT,
                None::<&str>,
            )?;
        }
    } else {
        let text = data.join(",");
        if text.len() < PAGE {
            mount(
                Some(one.source.as_str()),
                at,
                Some(one.kind.as_str()),
                flags,
                Some(text.as_str()),
            )?;
        } else {
            mount_long_overlay(one, at, flags, &data)?;
        }
    }
    for flag in propagation {
        mount(None::<&str>, at, None::<&str>, flag, None::<&str>)?;
    }
    Ok(())
}

/// An overlay with more options than a page holds: layer by layer through the new mount API (Linux 6.7 and later),
/// else with paths relative to what the layers have in common.
fn mount_long_overlay(one: &Mount, at: &Path, flags: MsFlags, data: &[&str]) -> std::io::Result<()> {
    if one.kind != "overlay" {
        return Err(std::io::Error::other("options longer than a page"));
    }
    let lower = data
        .iter()
        .find_map(|option| option.strip_prefix("lowerdir="))
        .unwrap_or_default();
    let layers: Vec<&str> = lower.split(':').collect();
    let others: Vec<&str> = data
        .iter()
        .filter(|option| !option.starts_with("lowerdir="))
        .copied()
        .collect();
    match mount_by_layers(&layers, &others, at, flags) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => mount_relative(&layers, &others, at, flags),
        Err(err) => Err(err.into()),
    }
}

fn mount_by_layers(layers: &[&str], others: &[&str], at: &Path, flags: MsFlags) -> rustix::io::Result<()> {
    use rustix::mount::{fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount};
    let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for layer in layers {
        fsconfig_set_string(&fs, "lowerdir+", *layer)?;
    }
    for option in others {
        match option.split_once('=') {
            Some((key, value)) => fsconfig_set_string(&fs, key, value)?,
            None => fsconfig_set_flag(&fs, *option)?,
        }
    }
    fsconfig_create(&fs)?;
    let attributes = [
        (MsFlags::MS_RDONLY, MountAttrFlags::MOUNT_ATTR_RDONLY),
        (MsFlags::MS_NOSUID, MountAttrFlags::MOUNT_ATTR_NOSUID),
        (MsFlags::MS_NODEV, MountAttrFlags::MOUNT_ATTR_NODEV),
        (MsFlags::MS_NOEXEC, MountAttrFlags::MOUNT_ATTR_NOEXEC),
    ];
    let wanted = attributes
        .iter()
        .filter(|(flag, _)| flags.contains(*flag))
        .map(|(_, attribute)| *attribute);
    let mounted = fsmount(
        &fs,
        FsMountFlags::FSMOUNT_CLOEXEC,
        wanted.fold(MountAttrFlags::empty(), |all, one| all | one),
    )?;
    move_mount(
        &mounted,
        "",
        rustix::fs::CWD,
        at,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
}

fn mount_relative(layers: &[&str], others: &[&str], at: &Path, flags: MsFlags) -> std::io::Result<()> {
    let parent = common_parent(layers);
    let relative = |path: &str| {
        Path::new(path)
            .strip_prefix(&parent)
            .map_or_else(|_| path.to_owned(), |rest| rest.display().to_string())
    };
    let layers: Vec<String> = layers.iter().map(|layer| relative(layer)).collect();
    let mut text = format!("lowerdir={}", layers.join(":"));
    for option in others {
        text.push(',');
        match option.split_once('=') {
            Some((key @ ("upperdir" | "workdir"), path)) => text.push_str(&format!("{key}={}", relative(path))),
            _ => text.push_str(option),
        }
    }
    if text.len() >= PAGE {
        return Err(std::io::Error::other(format!(
            "{} layers do not fit in one mount on this kernel",
            layers.len()
        )));
    }
    // This is a forked child with a working directory of its own, put back because more follows.
    let before = std::env::current_dir()?;
    std::env::set_current_dir(&parent)?;
    let done = mount(Some("overlay"), at, Some("overlay"), flags, Some(text.as_str()));
    std::env::set_current_dir(before)?;
    Ok(done?)
}

fn common_parent(paths: &[&str]) -> PathBuf {
    let mut parent = PathBuf::from(paths.first().copied().unwrap_or("/"));
    while !paths
        .iter()
        .all(|path| Path::new(path).starts_with(&parent) && Path::new(path) != parent)
    {
        if !parent.pop() {
            return PathBuf::from("/");
        }
    }
    parent
}

/// Flags, propagation changes, and what is left for the filesystem.
fn parse_options(options: &[String]) -> (MsFlags, Vec<MsFlags>, Vec<&str>) {
    let mut flags = MsFlags::empty();
    let (mut propagation, mut data) = (Vec::new(), Vec::new());
    for option in options {
        match option.as_str() {
            "ro" => flags |= MsFlags::MS_RDONLY,
            "rw" | "defaults" => flags -= MsFlags::MS_RDONLY,
            "bind" => flags |= MsFlags::MS_BIND,
            "rbind" => flags |= MsFlags::MS_BIND | MsFlags::MS_REC,
            "nosuid" => flags |= MsFlags::MS_NOSUID,
            "nodev" => flags |= MsFlags::MS_NODEV,
            "noexec" => flags |= MsFlags::MS_NOEXEC,
            "noatime" => flags |= MsFlags::MS_NOATIME,
            "nodiratime" => flags |= MsFlags::MS_NODIRATIME,
            "relatime" => flags |= MsFlags::MS_RELATIME,
            "strictatime" => flags |= MsFlags::MS_STRICTATIME,
            "sync" => flags |= MsFlags::MS_SYNCHRONOUS,
            "private" => propagation.push(MsFlags::MS_PRIVATE),
            "rprivate" => propagation.push(MsFlags::MS_PRIVATE | MsFlags::MS_REC),
            "slave" => propagation.push(MsFlags::MS_SLAVE),
            "rslave" => propagation.push(MsFlags::MS_SLAVE | MsFlags::MS_REC),
            "shared" => propagation.push(MsFlags::MS_SHARED),
            "rshared" => propagation.push(MsFlags::MS_SHARED | MsFlags::MS_REC),
            other => data.push(other),
        }
    }
    (flags, propagation, data)
}

/// The mount point that holds `path`.
fn mount_point_of(path: &Path) -> Result<PathBuf> {
    let path = fs::canonicalize(path).map_err(failed(Kind::Mount, format_args!("finding {}", path.display())))?;
    let table = fs::read_to_string("/proc/self/mountinfo").map_err(failed(Kind::Mount, "reading the mount table"))?;
    let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(unescape);
    let holder = points
        .filter(|point| path.starts_with(point))
        .max_by_key(|point| point.as_os_str().len());
    holder.ok_or_else(|| Failure::new(Kind::Mount, format!("no mount holds {}", path.display())))
}

/// The kernel writes space, tab, newline and backslash as three octal digits.
fn unescape(text: &str) -> PathBuf {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        match rest
            .get(at + 1..at + 4)
            .and_then(|digits| u8::from_str_radix(digits, 8).ok())
        {
            Some(byte) => {
                out.push(char::from(byte));
                rest = &rest[at + 4..];
            }
            None => {
                out.push('\\');
                rest = &rest[at + 1..];
            }
        }
    }
    out.push_str(rest);
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_told_apart() {
        let options: Vec<String> = ["ro", "rbind", "rprivate", "lowerdir=/a:/b", "index=off"]
            .map(String::from)
            .into();
        let (flags, propagation, data) = parse_options(&options);
        assert!(flags.contains(MsFlags::MS_RDONLY | MsFlags::MS_BIND | MsFlags::MS_REC));
        assert_eq!(propagation, [MsFlags::MS_PRIVATE | MsFlags::MS_REC]);
        assert_eq!(data, ["lowerdir=/a:/b", "index=off"]);
    }

    #[test]
    fn layers_share_a_parent() {
        assert_eq!(common_parent(&["/v/s/1/fs", "/v/s/22/fs"]), Path::new("/v/s"));
        assert_eq!(common_parent(&["/a", "/b"]), Path::new("/"));
        assert_eq!(common_parent(&["/a/b", "/a/b"]), Path::new("/a"));
    }

    #[test]
    fn many_layers_are_mounted_both_ways() {
        let dir = tempfile::tempdir().unwrap();
        let name = |number: u32| format!("layer-with-a-name-that-takes-its-place-{number:04}");
        let layers: Vec<String> = (0..130)
            .map(|number| dir.path().join(name(number)).display().to_string())
            .collect();
        for (number, layer) in layers.iter().enumerate() {
            fs::create_dir(layer).unwrap();
            fs::write(Path::new(layer).join(format!("file{number}")), "").unwrap();
        }
        for made in ["upper", "work", "at"] {
            fs::create_dir(dir.path().join(made)).unwrap();
        }
        let at = dir.path().join("at");
        let others = [
            format!("upperdir={}/upper", dir.path().display()),
            format!("workdir={}/work", dir.path().display()),
        ];
        // A thread may have a mount table and a working directory of its own.
        let work = std::thread::spawn(move || {
            use nix::sched::{CloneFlags, unshare};
            unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS).unwrap();
            let private = MsFlags::MS_PRIVATE | MsFlags::MS_REC;
            mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
            let layers: Vec<&str> = layers.iter().map(String::as_str).collect();
            let others: Vec<&str> = others.iter().map(String::as_str).collect();
            let seen = || fs::read_dir(&at).unwrap().count();
            if mount_by_layers(&layers, &others, &at, MsFlags::empty()).is_ok() {
                assert_eq!(seen(), 130);
                unmount_all(&at);
            }
            // What kernels without the new way can take: names relative to what they share, within a page.
            mount_relative(&layers[..70], &others, &at, MsFlags::empty()).unwrap();
            assert_eq!(seen(), 70);
            unmount_all(&at);
            assert!(mount_relative(&layers, &others, &at, MsFlags::empty()).is_err());
        });
        work.join().unwrap();
    }

    #[test]
    fn mount_points_are_unescaped() {
        assert_eq!(unescape("/a\\040b"), Path::new("/a b"));
        assert_eq!(unescape("/plain"), Path::new("/plain"));
        assert!(mount_point_of(Path::new("/proc/self")).is_ok());
    }
}
