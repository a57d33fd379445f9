//! The container's place among the cgroups: made, entered and limited before its first process exists.
//!
//! All of it is ours. Under v1 libcgroups looks up every controller by itself (5 ms for a container) and moves a process by `cgroup.procs`,
//! for which the kernel waits out an RCU grace period (10 ms); a thread that moves itself, by writing 0 to `tasks`, waits for nothing
//! (`cgroup_procs_write_start` in kernel/cgroup/cgroup.c). The helper that moves has one thread, so nothing is left behind.
//! Under v2 libcgroups 0.7 loses a swap limit of nothing, overflows on a weight of the disk, and cannot join a container that has
//! parted its cgroup further.

use super::{limits, unified};
use crate::{
    cgroup::{self, Dir, Version},
    failure::{Failure, Kind, Result, failed},
};
use libcgroups::common::CgroupConfig;
use libcontainer::oci_spec::runtime::LinuxResources;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Where the processes of one container belong.
pub struct Place {
    path: PathBuf,
    name: String,
    tree: Tree,
}

enum Tree {
    /// v1 hierarchies with controllers: their mount points.
    One(Vec<Dir>),
    /// The mount point of the only hierarchy that controls, and the cgroup of the first process if that has moved further down.
    Two { mount: PathBuf, init: Option<PathBuf> },
}

impl Place {
    /// The place of this cgroup path on this host.
    pub fn of(path: &Path, name: &str) -> Self {
        let tree = match cgroup::unified_host() {
            Some(mount) => Tree::Two { mount, init: None },
            None => Tree::One(hierarchies()),
        };
        Self {
            path: path.to_owned(),
            name: name.to_owned(),
            tree,
        }
    }

    /// The same for one more process of a container: an init that manages cgroups (systemd, a daemon in the container) has left the
    /// place for one below, and the kernel lets nobody into a cgroup that hands controllers down.
    pub fn beside(mut self, first: u32) -> Self {
        if let Tree::Two { init, .. } = &mut self.tree {
            let path = cgroup::unified_path(first);
            *init = path.filter(|path| path.starts_with(&self.path) && *path != self.path);
        }
        self
    }

    /// How the runtime's own library is told of it.
    pub fn config(&self) -> CgroupConfig {
        let cgroup_path = match &self.tree {
            Tree::Two {
                mount,
                init: Some(init),
            } if unified::hands_down(&below(mount, &self.path)) => init,
            _ => &self.path,
        };
        CgroupConfig {
            cgroup_path: cgroup_path.clone(),
            systemd_cgroup: false,
            container_name: self.name.clone(),
        }
    }

    /// Under v2, makes and limits it ahead of a road that is not ours and would do it worse. True if it did.
    pub fn prepare(&self, resources: Option<&LinuxResources>) -> Result<bool> {
        let Tree::Two { mount, .. } = &self.tree else {
            return Ok(false);
        };
        let dir = self.make(mount)?;
        resources.map_or(Ok(()), |resources| unified::limit(&dir, resources))?;
        Ok(true)
    }

    /// Makes the directories and moves this process there.
    pub fn enter(&self) -> Result<()> {
        match &self.tree {
            Tree::One(hierarchies) if hierarchies.is_empty() => Err(Failure::new(
                Kind::Runtime,
                "no cgroup hierarchy is mounted on this host",
            )),
            Tree::One(hierarchies) => hierarchies.iter().try_for_each(|hierarchy| {
                let dir = below(&hierarchy.path, &self.path);
                let entered = enter_v1(hierarchy, &dir);
                entered.map_err(failed(Kind::Runtime, format_args!("entering cgroup {}", dir.display())))
            }),
            Tree::Two { mount, init } => {
                let dir = self.make(mount)?;
                let entered = match (unified::enter(&dir), init) {
                    (Err(err), Some(init)) if err.kind() == io::ErrorKind::ResourceBusy => {
                        unified::enter(&below(mount, init))
                    }
                    (entered, _) => entered,
                };
                entered.map_err(failed(Kind::Runtime, format_args!("entering cgroup {}", dir.display())))
            }
        }
    }

    /// Sets limits; of a new place, or changed ones of a place in use.
    pub fn limit(&self, resources: &LinuxResources) -> Result<()> {
        match &self.tree {
            Tree::Two { mount, .. } => unified::limit(&below(mount, &self.path), resources),
            Tree::One(hierarchies) => {
                let find = |controller: &str| {
                    let mut all = hierarchies.iter();
                    let found = all.find(|dir| dir.controllers.split(',').any(|one| one == controller));
                    found.map(|hierarchy| below(&hierarchy.path, &self.path))
                };
                limits::apply(&find, resources)
            }
        }
    }

    fn make(&self, mount: &Path) -> Result<PathBuf> {
        let made = unified::make(mount, &self.path);
        made.map_err(failed(
            Kind::Runtime,
            format_args!("making cgroup {}", below(mount, &self.path).display()),
        ))
    }
}

/// Those of v1 that control anything, each once.
fn hierarchies() -> Vec<Dir> {
    let mut hierarchies: Vec<Dir> = Vec::new();
    for (controllers, mount) in cgroup::mount_points() {
        let known = hierarchies.iter().any(|dir| dir.controllers == controllers);
        if controllers.is_empty() || controllers.contains('=') || known {
            continue;
        }
        hierarchies.push(Dir {
            version: Version::One,
            controllers,
            path: mount,
        });
    }
    hierarchies
}

fn below(mount: &Path, path: &Path) -> PathBuf {
    mount.join(path.strip_prefix("/").unwrap_or(path))
}

fn enter_v1(hierarchy: &Dir, dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    if hierarchy.controllers.split(',').any(|one| one == "cpuset") {
        fill_cpuset(&hierarchy.path, dir)?;
    }
    fs::write(dir.join("tasks"), "0")
}

/// A cpuset without processors or memory takes no process; a new one takes after its parent.
fn fill_cpuset(root: &Path, dir: &Path) -> io::Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let mut current = root.to_owned();
        let mut above = fs::read_to_string(current.join(file))?;
        for part in dir.strip_prefix(root).unwrap_or(dir).components() {
            current.push(part);
            let own = fs::read_to_string(current.join(file))?;
            if own.trim().is_empty() {
                fs::write(current.join(file), above.trim())?;
            } else {
                above = own;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command, Stdio};

    /// A process that goes where it is told by its stdin and then waits for its end.
    fn sleeper() -> Child {
        let mut command = Command::new("sleep");
        command.arg("60").stdout(Stdio::null()).spawn().unwrap()
    }

    /// Runs `enter` in a process of its own; whether it went well, and where it ended up.
    fn enters(place: &Place) -> (bool, Option<PathBuf>) {
        let crate::sys::Forked::Parent { child } = crate::sys::fork().unwrap() else {
            let entered = place.enter().is_ok();
            // Stopped, so that it is still there to be looked at.
            let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGSTOP);
            crate::sys::exit_now(i32::from(!entered));
        };
        let pid = nix::unistd::Pid::from_raw(child);
        let stopped = nix::sys::wait::waitpid(pid, Some(nix::sys::wait::WaitPidFlag::WUNTRACED));
        stopped.unwrap();
        let there = cgroup::unified_path(child as u32);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGCONT).unwrap();
        let ended = nix::sys::wait::waitpid(pid, None).unwrap();
        (matches!(ended, nix::sys::wait::WaitStatus::Exited(_, 0)), there)
    }

    #[test]
    fn one_more_process_follows_an_init_that_moved_down() {
        let points = cgroup::mount_points();
        let Some((_, mount)) = points.into_iter().find(|(controllers, _)| controllers.is_empty()) else {
            return;
        };
        let id = format!("gantry-place-{}", std::process::id());
        let place = |first: Option<u32>| {
            let place = Place {
                path: Path::new("/").join(&id),
                name: id.clone(),
                tree: Tree::Two {
                    mount: mount.clone(),
                    init: None,
                },
            };
            match first {
                Some(first) => place.beside(first),
                None => place,
            }
        };
        let own = Path::new("/").join(&id);
        assert_eq!(enters(&place(None)), (true, Some(own.clone())));
        let dir = mount.join(&id);
        fs::create_dir(dir.join("init.scope")).unwrap();
        let mut init = sleeper();
        fs::write(dir.join("init.scope/cgroup.procs"), init.id().to_string()).unwrap();
        assert_eq!(
            enters(&place(Some(init.id()))),
            (true, Some(own.clone())),
            "while it is open, the container's own is taken"
        );
        let available = fs::read_to_string(mount.join("cgroup.controllers")).unwrap();
        if let Some(one) = available.split_whitespace().next() {
            fs::write(mount.join("cgroup.subtree_control"), format!("+{one}")).unwrap();
            fs::write(dir.join("cgroup.subtree_control"), format!("+{one}")).unwrap();
            assert!(!enters(&place(None)).0, "the kernel lets nobody in");
            let inner = own.join("init.scope");
            assert_eq!(enters(&place(Some(init.id()))), (true, Some(inner.clone())));
            assert_eq!(place(Some(init.id())).config().cgroup_path, inner);
            assert_eq!(place(None).config().cgroup_path, own);
        }
        init.kill().unwrap();
        init.wait().unwrap();
        fs::remove_dir(dir.join("init.scope")).unwrap();
        fs::remove_dir(dir).unwrap();
    }
}
