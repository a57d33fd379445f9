//! A container's cgroup on the host: where its directories are, how its processes are ended, how it is removed.
//!
//! Version 1 has one directory per hierarchy, version 2 one in all, a hybrid host both.

use crate::error::{Result, TaskError};
use crate::process::parse_pids;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

/// Which kinds of hierarchy the host has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupMode {
    V1,
    /// Controllers on version 1, an empty version 2 beside them.
    Hybrid,
    V2,
}

/// Where the only hierarchy of a version 2 host stands, and the directory of all of others.
const ROOT: &str = "/sys/fs/cgroup";

/// The host's mounted hierarchies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hierarchies {
    unified: Option<PathBuf>,
    v1: Vec<V1>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct V1 {
    mount: PathBuf,
    /// Controllers, and `name=...` of a named hierarchy.
    controllers: Vec<String>,
}

impl Hierarchies {
    /// Reads this process's mounts.
    pub fn detect() -> Result<Self> {
        let text = fs::read_to_string("/proc/self/mountinfo").map_err(|source| TaskError::CgroupMounts { source })?;
        Ok(Self::parse(&text))
    }

    /// proc(5), mountinfo: `id parent dev root mountpoint options fields... - type source superoptions`.
    fn parse(mountinfo: &str) -> Self {
        let mut found = Self::default();
        for line in mountinfo.lines() {
            let Some((head, tail)) = line.split_once(" - ") else {
                continue;
            };
            let Some(point) = head.split(' ').nth(4) else { continue };
            let mut tail = tail.split(' ');
            let (kind, options) = (tail.next(), tail.nth(1).unwrap_or_default());
            match kind {
                Some("cgroup2") if found.unified.is_none() => found.unified = Some(PathBuf::from(point)),
                Some("cgroup") => found.add(point, options),
                _ => {}
            }
        }
        found
    }

    fn add(&mut self, point: &str, options: &str) {
        const FLAGS: [&str; 5] = ["rw", "ro", "xattr", "clone_children", "noprefix"];
        let words = options
            .split(',')
            .filter(|word| !FLAGS.contains(word) && !word.starts_with("release_agent="));
        let controllers: Vec<String> = words.map(str::to_owned).collect();
        if !self.v1.iter().any(|known| known.controllers == controllers) {
            self.v1.push(V1 {
                mount: PathBuf::from(point),
                controllers,
            });
        }
    }

    pub fn mode(&self) -> CgroupMode {
        let controllers = self
            .v1
            .iter()
            .any(|v1| v1.controllers.iter().any(|name| !name.starts_with("name=")));
        match (self.unified(), controllers) {
            // A hierarchy of version 1 beside it is somebody's own (`net_cls` for a firewall), and controls no container.
            (Some(mount), _) if mount == Path::new(ROOT) => CgroupMode::V2,
            (Some(_), true) => CgroupMode::Hybrid,
            (None, true) => CgroupMode::V1,
            (_, false) => CgroupMode::V2,
        }
    }

    /// Mount point of a version 1 controller.
    pub fn controller(&self, name: &str) -> Option<&Path> {
        self.v1
            .iter()
            .find(|v1| v1.controllers.iter().any(|own| own == name))
            .map(|v1| v1.mount.as_path())
    }

    pub fn unified(&self) -> Option<&Path> {
        self.unified.as_deref()
    }

    /// Mount points of the hierarchies that control anything.
    pub fn controlling(&self) -> impl Iterator<Item = &Path> {
        let is_v2 = self.mode() == CgroupMode::V2;
        let unified = self.unified.as_deref().filter(|_| is_v2);
        let controls = move |v1: &&V1| !is_v2 && v1.controllers.iter().any(|name| !name.starts_with("name="));
        unified
            .into_iter()
            .chain(self.v1.iter().filter(controls).map(|v1| v1.mount.as_path()))
    }

    /// Every mount point.
    pub fn mounts(&self) -> impl Iterator<Item = &Path> {
        self.unified
            .iter()
            .chain(self.v1.iter().map(|v1| &v1.mount))
            .map(PathBuf::as_path)
    }
}

/// One container's cgroup.
#[derive(Clone, Debug)]
pub struct Cgroup {
    /// Its directories, one per hierarchy; they need not exist.
    dirs: Vec<PathBuf>,
    name: String,
}

impl Cgroup {
    /// The cgroup at a path below every hierarchy's mount, as the OCI spec names it (`/gantry/<id>`). It must be a container's own: the
    /// last part bears its id, and a short id does not stand alone, so that a wrong record never names somebody else's tree.
    pub fn at(hierarchies: &Hierarchies, path: &str, id: &str) -> Result<Self> {
        let relative = own_path(path, id).ok_or_else(|| TaskError::CgroupPath { path: path.to_owned() })?;
        let dirs = hierarchies.mounts().map(|mount| mount.join(&relative)).collect();
        Ok(Self {
            dirs,
            name: format!("/{}", relative.display()),
        })
    }

    /// The cgroup made of directories that a shim wrote down; those that are not a container's own below a known mount are left out.
    pub fn of_dirs(hierarchies: &Hierarchies, dirs: &[String], id: &str) -> Self {
        let own = |dir: &&String| {
            let path = Path::new(dir.as_str());
            let relative = hierarchies.mounts().find_map(|mount| path.strip_prefix(mount).ok());
            relative.is_some_and(|relative| own_path(&relative.to_string_lossy(), id).is_some())
        };
        let dirs: Vec<PathBuf> = dirs.iter().filter(own).map(PathBuf::from).collect();
        Self {
            dirs,
            name: id.to_owned(),
        }
    }

    pub fn exists(&self) -> bool {
        self.dirs.iter().any(|dir| dir.is_dir())
    }

    /// Pids in it and below it, in every hierarchy.
    pub fn pids(&self) -> Vec<u32> {
        let mut pids: Vec<u32> = self
            .dirs
            .iter()
            .flat_map(|dir| tree(dir))
            .flat_map(|dir| pids_in(&dir))
            .collect();
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    /// Kills every process in it, frozen or not, until none is left or the deadline has passed. Blocks.
    pub fn kill(&self, deadline: Instant) -> Result<()> {
        let begun = Instant::now();
        let mut pause = Duration::from_millis(1);
        loop {
            let mut left = Vec::new();
            for dir in self.dirs.iter().flat_map(|dir| tree(dir)) {
                let pids = pids_in(&dir);
                // cgroup.kill (since 5.14) reaches a forking crowd at once; each pid is signalled where it is missing.
                if !pids.is_empty() && fs::write(dir.join("cgroup.kill"), "1").is_err() {
                    pids.iter().for_each(|pid| kill_member(*pid, &dir));
                }
                thaw(&dir);
                left.extend(pids);
            }
            left.retain(|pid| !is_zombie(*pid));
            if left.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                left.sort_unstable();
                left.dedup();
                return Err(TaskError::StillAlive {
                    id: self.name.clone(),
                    after: begun.elapsed(),
                    pids: left,
                });
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }

    /// Removes its directories, children first. A process that has only just ended may hold one for a moment. Blocks.
    pub fn remove(&self, deadline: Instant) -> Result<()> {
        for dir in self.dirs.iter().flat_map(|dir| tree(dir)) {
            remove_dir(&dir, deadline).map_err(|source| TaskError::RemoveCgroup {
                path: dir.clone(),
                source,
            })?;
        }
        Ok(())
    }
}

/// The path as parts below a mount, if it can be a container's own.
fn own_path(path: &str, id: &str) -> Option<PathBuf> {
    let relative = Path::new(path.trim_start_matches('/'));
    let plain = relative.components().all(|part| matches!(part, Component::Normal(_)));
    let last = relative.file_name()?.to_str()?;
    let bears = last.strip_suffix(".scope").unwrap_or(last).ends_with(id) && !id.is_empty();
    let deep = relative.components().count() >= 2 || id.len() >= 32;
    (plain && bears && deep).then(|| relative.to_owned())
}

/// A directory and all below it, children before parents. Empty if it is not there.
fn tree(dir: &Path) -> Vec<PathBuf> {
    let Ok(listing) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut dirs = Vec::new();
    for entry in listing.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            dirs.extend(tree(&entry.path()));
        }
    }
    dirs.push(dir.to_owned());
    dirs
}

fn pids_in(dir: &Path) -> Vec<u32> {
    let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    // 0 stands for a process that this pid namespace cannot name.
    parse_pids(&text).filter(|pid| *pid != 0).collect()
}

/// Kills a process through a descriptor taken while it was a member, so that a pid given anew is not hit.
fn kill_member(pid: u32, dir: &Path) {
    let Some(pid_) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return;
    };
    let Ok(fd) = pidfd_open(pid_, PidfdFlags::empty()) else {
        return;
    };
    if pids_in(dir).contains(&pid) {
        // It may have ended by itself; the next round looks again.
        let _ = pidfd_send_signal(&fd, Signal::KILL);
    }
}

/// A frozen process dies only when thawed.
fn thaw(dir: &Path) {
    let state = dir.join("freezer.state");
    if fs::read_to_string(&state).is_ok_and(|text| text.trim() != "THAWED") {
        let _ = fs::write(state, "THAWED");
    }
    let freeze = dir.join("cgroup.freeze");
    if fs::read_to_string(&freeze).is_ok_and(|text| text.trim() == "1") {
        let _ = fs::write(freeze, "0");
    }
}

fn is_zombie(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')')
        .is_none_or(|(_, rest)| matches!(rest.trim_start().as_bytes().first(), Some(b'Z' | b'X')))
}

fn remove_dir(dir: &Path, deadline: Instant) -> io::Result<()> {
    let mut pause = Duration::from_millis(1);
    loop {
        match fs::remove_dir(dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == ErrorKind::ResourceBusy && Instant::now() < deadline => {
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(50));
            }
            removed => return removed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    const HYBRID: &str = "\
30 24 0:26 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:10 - cgroup2 cgroup2 rw,nsdelegate
32 30 0:28 / /sys/fs/cgroup/systemd rw shared:11 - cgroup cgroup rw,xattr,name=systemd
33 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:12 - cgroup cgroup rw,cpu,cpuacct
34 30 0:30 / /sys/fs/cgroup/memory rw shared:13 - cgroup cgroup rw,memory";

    #[test]
    fn hierarchies_are_told_apart() {
        let hybrid = Hierarchies::parse(HYBRID);
        assert_eq!(hybrid.mode(), CgroupMode::Hybrid);
        assert_eq!(
            hybrid.controller("cpuacct"),
            Some(Path::new("/sys/fs/cgroup/cpu,cpuacct"))
        );
        assert_eq!(hybrid.mounts().count(), 4);
        let v2 = Hierarchies::parse("31 30 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw");
        assert_eq!((v2.mode(), v2.controller("cpu")), (CgroupMode::V2, None));
        let beside = "31 30 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n\
                      32 31 0:28 / /sys/fs/cgroup/net_cls rw - cgroup cgroup rw,net_cls";
        let beside = Hierarchies::parse(beside);
        assert_eq!(beside.mode(), CgroupMode::V2);
        assert_eq!(beside.controlling().collect::<Vec<_>>(), [Path::new(ROOT)]);
    }

    #[test]
    fn only_a_containers_own_path_is_taken() {
        for good in [
            "/gantry/abc",
            "gantry/abc",
            "/a/b/gantry-abc",
            "/system.slice/gantry-abc.scope",
        ] {
            assert!(own_path(good, "abc").is_some(), "{good}");
        }
        for bad in [
            "",
            "/",
            "/abc",
            "/gantry",
            "/gantry/../abc",
            "/gantry/abcd",
            "/gantry/abc/x",
        ] {
            assert!(own_path(bad, "abc").is_none(), "{bad}");
        }
        let hierarchies = Hierarchies::parse(HYBRID);
        let dirs = [
            "/sys/fs/cgroup/memory/gantry/abc".to_owned(),
            "/sys/fs/cgroup/memory".to_owned(),
            "/etc/gantry/abc".to_owned(),
        ];
        assert_eq!(Cgroup::of_dirs(&hierarchies, &dirs, "abc").dirs.len(), 1);
    }

    #[test]
    fn processes_are_ended_and_the_directories_go() {
        let hierarchies = Hierarchies::detect().unwrap();
        let id = format!("gantry-task-{}", std::process::id());
        let parent = format!("{id}-p");
        let cgroup = Cgroup::at(&hierarchies, &format!("/{parent}/{id}"), &id).unwrap();
        let freezer = hierarchies
            .controller("freezer")
            .or(hierarchies.unified())
            .unwrap()
            .to_owned();
        let dir = freezer.join(&parent).join(&id);
        fs::create_dir_all(dir.join("below")).unwrap();
        let mut children: Vec<_> = (0..3)
            .map(|_| Command::new("sleep").arg("60").spawn().unwrap())
            .collect();
        for child in &children {
            fs::write(dir.join("below/cgroup.procs"), child.id().to_string()).unwrap();
        }
        let (file, word) = if hierarchies.mode() == CgroupMode::V2 {
            ("cgroup.freeze", "1")
        } else {
            ("freezer.state", "FROZEN")
        };
        fs::write(dir.join("below").join(file), word).unwrap();
        assert_eq!(cgroup.pids().len(), 3);
        let deadline = Instant::now() + Duration::from_secs(10);
        cgroup.kill(deadline).unwrap();
        children
            .iter_mut()
            .for_each(|child| assert!(!child.wait().unwrap().success()));
        cgroup.remove(deadline).unwrap();
        cgroup.remove(deadline).unwrap();
        assert!(!cgroup.exists());
        fs::remove_dir(freezer.join(&parent)).unwrap();
    }
}
