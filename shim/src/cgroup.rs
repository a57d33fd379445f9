//! A container's own cgroups, found from its first process, and what the shim does with them by plain reads and writes:
//! list, freeze, kill, count memory kills, remove. Making them and setting limits is the work of `child::place` or of a runtime by name.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

/// The hierarchy a directory belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    One,
    Two,
}

/// One cgroup directory of the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dir {
    pub version: Version,
    /// Controllers of a v1 hierarchy, comma separated; empty for v2 and named ones.
    pub controllers: String,
    pub path: PathBuf,
}

/// Every directory that is the container's own.
#[derive(Clone, Debug, Default)]
pub struct Cgroups(pub Box<[Dir]>);

impl Cgroups {
    /// Finds the directories of `pid` whose path within their hierarchy ends with `wanted` (the container's cgroup path), so that
    /// a hierarchy the runtime did not touch is never taken for the container's own.
    pub fn of(pid: u32, wanted: &str) -> Self {
        let wanted = wanted.trim_matches('/');
        let Ok(memberships) = fs::read_to_string(format!("/proc/{pid}/cgroup")) else {
            return Self::default();
        };
        let mounts = mount_points();
        let dirs = memberships.lines().filter_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (controllers, path) = (parts.next()?, parts.next()?.trim_matches('/'));
            let own = !wanted.is_empty() && (path == wanted || path.ends_with(&format!("/{wanted}")));
            let (_, mount) = own.then(|| mounts.iter().find(|(of, _)| of == controllers))??;
            let version = if controllers.is_empty() {
                Version::Two
            } else {
                Version::One
            };
            Some(Dir {
                version,
                controllers: controllers.to_owned(),
                path: mount.join(path),
            })
        });
        Self(dirs.collect())
    }

    /// The same from stored paths (after the shim that made them died).
    pub fn from_paths(paths: &[String]) -> Self {
        let dirs = paths.iter().map(|path| {
            let version = if Path::new(path).join("cgroup.controllers").exists() {
                Version::Two
            } else {
                Version::One
            };
            let controllers = path
                .strip_prefix("/sys/fs/cgroup/")
                .and_then(|rest| rest.split('/').next())
                .unwrap_or_default();
            Dir {
                version,
                controllers: controllers.to_owned(),
                path: path.into(),
            }
        });
        Self(dirs.collect())
    }

    /// The directories a container of this cgroup path has, as far as they exist: for what a killed creation left.
    pub fn named(path: &str) -> Self {
        let path = path.trim_matches('/');
        if path.is_empty() || path.split('/').any(|part| part == "..") {
            return Self::default();
        }
        let dirs = mount_points().into_iter().map(|(controllers, mount)| {
            let version = if controllers.is_empty() {
                Version::Two
            } else {
                Version::One
            };
            Dir {
                version,
                controllers,
                path: mount.join(path),
            }
        });
        Self(dirs.filter(|dir| dir.path.is_dir()).collect())
    }

    pub fn paths(&self) -> Vec<String> {
        self.0
            .iter()
            .map(|dir| dir.path.to_string_lossy().into_owned())
            .collect()
    }

    /// The directory of a v1 controller, or the v2 directory.
    pub fn controller(&self, name: &str) -> Option<&Dir> {
        let v1 = self
            .0
            .iter()
            .find(|dir| dir.version == Version::One && dir.controllers.split(',').any(|one| one == name));
        v1.or_else(|| self.unified())
    }

    /// The v2 directory; beside v1's it carries few controllers or none.
    pub fn unified(&self) -> Option<&Dir> {
        self.0.iter().find(|dir| dir.version == Version::Two)
    }

    /// Processes in the container, those in cgroups below included.
    pub fn pids(&self) -> Vec<u32> {
        let dir = self
            .controller("pids")
            .or_else(|| self.controller("freezer"))
            .or_else(|| self.0.first());
        let mut pids = Vec::new();
        if let Some(dir) = dir {
            collect_pids(&dir.path, &mut pids);
        }
        pids
    }

    /// Kills everything in the container. One pass; call again until `pids` is empty.
    pub fn kill_all(&self) {
        if let Some(dir) = self.unified()
            && fs::write(dir.path.join("cgroup.kill"), "1").is_ok()
        {
            return;
        }
        for pid in self.pids() {
            kill(pid, libc::SIGKILL);
        }
        self.thaw();
    }

    /// Asks for the freezer's state; it comes when it comes. Without a freezer this is an error.
    pub fn set_frozen(&self, frozen: bool) -> io::Result<()> {
        let dir = self
            .controller("freezer")
            .ok_or_else(|| io::Error::other("the container has no freezer cgroup"))?;
        match dir.version {
            Version::One => fs::write(dir.path.join("freezer.state"), if frozen { "FROZEN" } else { "THAWED" }),
            Version::Two => fs::write(dir.path.join("cgroup.freeze"), if frozen { "1" } else { "0" }),
        }
    }

    /// Lets the container run, if it has a freezer at all.
    pub fn thaw(&self) {
        let _ = self.set_frozen(false);
    }

    /// Whether every process stands still.
    pub fn is_frozen(&self) -> bool {
        let Some(dir) = self.controller("freezer") else {
            return false;
        };
        match dir.version {
            Version::One => {
                fs::read_to_string(dir.path.join("freezer.state")).is_ok_and(|state| state.trim() == "FROZEN")
            }
            Version::Two => read_key(&dir.path.join("cgroup.events"), "frozen") == Some(1),
        }
    }

    /// How many processes the kernel's memory killer took here.
    pub fn oom_kills(&self) -> u64 {
        let Some(dir) = self.controller("memory") else { return 0 };
        let file = match dir.version {
            Version::One => "memory.oom_control",
            Version::Two => "memory.events",
        };
        read_key(&dir.path.join(file), "oom_kill").unwrap_or(0)
    }

    /// Removes the directories, innermost first. A busy one is tried again until the deadline.
    pub fn remove(&self, deadline: Duration) -> io::Result<()> {
        let end = std::time::Instant::now() + deadline;
        for dir in &self.0 {
            let mut pause = Duration::from_millis(1);
            while let Err(err) = remove_tree(&dir.path) {
                if std::time::Instant::now() >= end {
                    return Err(io::Error::new(
                        err.kind(),
                        format!("removing cgroup {}: {err}", dir.path.display()),
                    ));
                }
                self.kill_all();
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(50));
            }
        }
        Ok(())
    }
}

/// Sends a signal; one that is gone is as good as signalled.
pub fn kill(pid: u32, signal: i32) {
    if pid > 1 {
        let _ = nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(pid as i32),
            nix::sys::signal::Signal::try_from(signal).ok(),
        );
    }
}

fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir(path) {
        Ok(()) => return Ok(()),
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(_) => {}
    }
    for entry in fs::read_dir(path)?
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
    {
        remove_tree(&entry.path())?;
    }
    fs::remove_dir(path)
}

fn collect_pids(path: &Path, pids: &mut Vec<u32>) {
    if let Ok(list) = fs::read_to_string(path.join("cgroup.procs")) {
        pids.extend(list.lines().filter_map(|line| line.parse::<u32>().ok()));
    }
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect_pids(&entry.path(), pids);
        }
    }
}

/// The value of `key` in a file of `key value` lines.
pub fn read_key(path: &Path, key: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// (controllers, mount point) of every cgroup hierarchy; v2's controllers are the empty string.
pub fn mount_points() -> Vec<(String, PathBuf)> {
    let Ok(text) = fs::read_to_string("/proc/self/mountinfo") else {
        return Vec::new();
    };
    let parse = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        let point = PathBuf::from(left.split(' ').nth(4)?);
        let mut right = right.split(' ');
        match right.next()? {
            "cgroup2" => Some((String::new(), point)),
            "cgroup" => {
                let last = point.file_name()?.to_str()?.to_owned();
                let options = right.nth(1)?;
                let named = options.split(',').find(|option| option.starts_with("name="));
                let controllers: Vec<&str> = options.split(',').filter(|one| is_controller(one)).collect();
                let name = named.map_or_else(|| controllers.join(","), str::to_owned);
                Some((if name.is_empty() { last } else { name }, point))
            }
            _ => None,
        }
    };
    text.lines().filter_map(parse).collect()
}

/// Where v2 is mounted, on a host whose containers are controlled by it: it stands at the root of all (a hierarchy of v1 that somebody
/// mounted beside it is his own), or nothing of v1 controls anything.
pub fn unified_host() -> Option<PathBuf> {
    unified_of(&mount_points())
}

fn unified_of(points: &[(String, PathBuf)]) -> Option<PathBuf> {
    let (_, mount) = points.iter().find(|(controllers, _)| controllers.is_empty())?;
    let old = points
        .iter()
        .any(|(controllers, _)| !controllers.is_empty() && !controllers.contains('='));
    (!old || mount == Path::new("/sys/fs/cgroup")).then(|| mount.clone())
}

/// The v2 cgroup of a process, within its hierarchy.
pub fn unified_path(pid: u32) -> Option<PathBuf> {
    let memberships = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    memberships
        .lines()
        .find_map(|line| line.strip_prefix("0::"))
        .map(PathBuf::from)
}

fn is_controller(option: &str) -> bool {
    const OTHERS: [&str; 5] = ["rw", "ro", "xattr", "clone_children", "noprefix"];
    !OTHERS.contains(&option) && !option.contains('=')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_cgroups_are_never_taken() {
        let me = std::process::id();
        assert!(Cgroups::of(me, "no-such-container-of-mine").0.is_empty());
        assert!(Cgroups::of(me, "").0.is_empty());
        assert!(Cgroups::of(me, "/").0.is_empty());
        assert!(Cgroups::named("/").0.is_empty() && Cgroups::named("../..").0.is_empty());
    }

    #[test]
    fn v2_at_the_root_of_all_is_what_controls() {
        let points = |all: &[(&str, &str)]| -> Vec<(String, PathBuf)> {
            let all = all.iter().map(|(name, at)| ((*name).to_owned(), PathBuf::from(at)));
            all.collect()
        };
        let (root, apart) = (("", "/sys/fs/cgroup"), ("", "/sys/fs/cgroup/unified"));
        let classes = ("net_cls", "/sys/fs/cgroup/net_cls");
        assert_eq!(unified_of(&points(&[root, classes])), Some(root.1.into()));
        assert_eq!(unified_of(&points(&[apart, classes])), None);
        assert_eq!(
            unified_of(&points(&[apart, ("name=systemd", "/x")])),
            Some(apart.1.into())
        );
        assert_eq!(unified_of(&points(&[classes])), None);
    }

    #[test]
    fn keys_are_read_whole() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("memory.events");
        fs::write(&file, "oom 3\noom_kill 2\noom_group_kill 1\n").unwrap();
        assert_eq!(read_key(&file, "oom_kill"), Some(2));
        assert_eq!(read_key(&file, "none"), None);
    }
}
