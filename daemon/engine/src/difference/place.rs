//! What mounts lead to, read from their words.

use gantry_core::Mount;
use std::path::{Path, PathBuf};

/// Where a tree is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// An overlay that can be written by its upper directory; layers nearest first.
    Overlay { upper: PathBuf, lower: Vec<PathBuf> },
    /// A directory as it is.
    Directory(PathBuf),
    /// Only mounting shows it.
    Mounts(Vec<Mount>),
}

impl Place {
    pub fn to_write(mounts: &[Mount]) -> Self {
        let read_only = mounts.iter().any(|one| one.options.iter().any(|option| option == "ro"));
        let found = match mounts {
            // The mount is what says that it cannot be written.
            _ if read_only => None,
            [one] => directory(one).map(Self::Directory).or_else(|| {
                let overlay = Overlay::of(one)?;
                Some(Self::Overlay {
                    upper: overlay.upper?,
                    lower: overlay.lower,
                })
            }),
            _ => None,
        };
        found.unwrap_or_else(|| Self::Mounts(mounts.to_vec()))
    }

    /// Never [`Place::Overlay`]. What is mounted, is so for reading only, so that nobody who writes there meanwhile is disturbed.
    pub fn to_read(mounts: &[Mount]) -> Self {
        match mounts {
            [one] if directory(one).is_some() => Self::Directory(PathBuf::from(&one.source)),
            _ => Self::Mounts(mounts.iter().cloned().map(read_only).collect()),
        }
    }
}

/// The upper directory of `right` and the layers below, if `left` is just those layers.
pub fn above(left: &[Mount], right: &[Mount]) -> Option<(PathBuf, Vec<PathBuf>)> {
    let ([left], [right]) = (left, right) else { return None };
    let right = Overlay::of(right)?;
    let below = match directory(left) {
        Some(dir) => vec![dir],
        None => {
            let left = Overlay::of(left)?;
            left.upper.into_iter().chain(left.lower).collect()
        }
    };
    (below == right.lower).then_some((right.upper?, right.lower))
}

fn directory(mount: &Mount) -> Option<PathBuf> {
    let is_bind = mount.kind == "bind" || mount.options.iter().any(|option| option == "bind" || option == "rbind");
    let dir = Path::new(&mount.source);
    (is_bind && mount.target.is_empty() && dir.is_absolute() && dir.is_dir()).then(|| dir.to_owned())
}

/// An overlay whose directories say all there is: no attributes apart from their files, no renamed directories.
struct Overlay {
    upper: Option<PathBuf>,
    lower: Vec<PathBuf>,
}

impl Overlay {
    fn of(mount: &Mount) -> Option<Self> {
        if mount.kind != "overlay" || !mount.target.is_empty() {
            return None;
        }
        let mut found = Self {
            upper: None,
            lower: Vec::new(),
        };
        for option in &mount.options {
            match option.split_once('=') {
                Some(("upperdir", dir)) => found.upper = Some(absolute(dir)?),
                Some(("lowerdir", dirs)) => found.lower = dirs.split(':').map(absolute).collect::<Option<_>>()?,
                Some(("workdir" | "index" | "nfs_export" | "xino" | "uuid", _)) => {}
                Some(("redirect_dir", "off" | "nofollow") | ("metacopy", "off")) => {}
                None if ["rw", "ro", "volatile", "noatime", "relatime"].contains(&option.as_str()) => {}
                _ => return None,
            }
        }
        (!found.lower.is_empty()).then_some(found)
    }
}

/// A path that is just itself: a colon may be escaped by what stands for nothing else here.
fn absolute(text: &str) -> Option<PathBuf> {
    (text.starts_with('/') && !text.contains('\\')).then(|| PathBuf::from(text))
}

fn read_only(mut mount: Mount) -> Mount {
    if mount.kind != "overlay" {
        mount.options.retain(|option| option != "rw" && option != "ro");
        mount.options.push("ro".to_owned());
        return mount;
    }
    // The upper directory as one more layer below.
    let upper = |option: &String| option.strip_prefix("upperdir=").map(str::to_owned);
    if let Some(upper) = mount.options.iter().find_map(upper) {
        for option in &mut mount.options {
            if let Some(lower) = option.strip_prefix("lowerdir=") {
                *option = format!("lowerdir={upper}:{lower}");
            }
        }
    }
    let gone = ["upperdir=", "workdir=", "uidmap=", "gidmap="];
    let stays = |option: &String| option != "volatile" && !gone.iter().any(|start| option.starts_with(start));
    mount.options.retain(stays);
    mount
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(kind: &str, source: &str, options: &[&str]) -> Mount {
        Mount {
            kind: kind.to_owned(),
            source: source.to_owned(),
            target: String::new(),
            options: options.iter().map(|option| (*option).to_owned()).collect(),
        }
    }

    #[test]
    fn a_snapshot_over_its_parent_needs_no_mount() {
        let both = ["index=off", "workdir=/w", "upperdir=/u", "lowerdir=/b:/a"];
        let right = mount("overlay", "overlay", &both);
        let wanted = Some((PathBuf::from("/u"), vec![PathBuf::from("/b"), PathBuf::from("/a")]));
        let view = mount("overlay", "overlay", &["lowerdir=/b:/a"]);
        assert_eq!(above(std::slice::from_ref(&view), std::slice::from_ref(&right)), wanted);
        let active = mount("overlay", "overlay", &["upperdir=/b", "workdir=/x", "lowerdir=/a"]);
        assert_eq!(above(&[active], std::slice::from_ref(&right)), wanted);
        let other = mount("overlay", "overlay", &["lowerdir=/a"]);
        assert_eq!(above(&[other], std::slice::from_ref(&right)), None);
        assert_eq!(above(&[], &[right]), None);
        // A view has nothing of its own.
        assert_eq!(above(std::slice::from_ref(&view), std::slice::from_ref(&view)), None);
    }

    #[test]
    fn what_the_words_do_not_say_is_mounted() {
        for odd in [
            "userxattr",
            "metacopy=on",
            "redirect_dir=on",
            "lowerdir+=/c",
            "upperdir=/a\\:b",
        ] {
            let given = [mount(
                "overlay",
                "overlay",
                &["upperdir=/u", "workdir=/w", "lowerdir=/a", odd],
            )];
            assert_eq!(Place::to_write(&given), Place::Mounts(given.to_vec()), "{odd}");
        }
        let sealed = [mount("bind", "/", &["rbind", "ro"])];
        assert_eq!(Place::to_write(&sealed), Place::Mounts(sealed.to_vec()));
        assert_eq!(Place::to_read(&sealed), Place::Directory("/".into()));
        let open = [mount("bind", "/", &["rbind", "rw"])];
        assert_eq!(Place::to_write(&open), Place::Directory("/".into()));
        let two = [open[0].clone(), open[0].clone()];
        assert_eq!(Place::to_write(&two), Place::Mounts(two.to_vec()));
    }

    #[test]
    fn reading_disturbs_no_writer() {
        let given = ["workdir=/w", "upperdir=/u", "lowerdir=/b:/a", "userxattr", "volatile"];
        let wanted = mount("overlay", "overlay", &["lowerdir=/u:/b:/a", "userxattr"]);
        assert_eq!(
            Place::to_read(&[mount("overlay", "overlay", &given)]),
            Place::Mounts(vec![wanted])
        );
        let wanted = mount("ext4", "/dev/x", &["noatime", "ro"]);
        assert_eq!(
            Place::to_read(&[mount("ext4", "/dev/x", &["noatime", "rw"])]),
            Place::Mounts(vec![wanted])
        );
    }
}
