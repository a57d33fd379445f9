//! The container's place among the cgroups: made, entered and limited before its first process exists.
//!
//! Under v1 this is ours. libcgroups looks up every controller by itself (5 ms for a container) and moves a process by `cgroup.procs`,
//! for which the kernel waits out an RCU grace period (10 ms); a thread that moves itself, by writing 0 to `tasks`, waits for nothing
//! (`cgroup_procs_write_start` in kernel/cgroup/cgroup.c). The helper that moves has one thread, so nothing is left behind.
//! Under v2 libcgroups does it.

use super::limits;
use crate::{
    cgroup::{self, Dir, Version},
    failure::{Kind, Result, failed},
};
use libcgroups::common::{CgroupConfig, CgroupManager, ControllerOpt, create_cgroup_manager};
use libcontainer::oci_spec::runtime::LinuxResources;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Where the processes of one container belong.
pub struct Place {
    path: PathBuf,
    name: String,
    /// v1 hierarchies with controllers: their mount points. Empty where all controllers are v2's.
    hierarchies: Vec<Dir>,
}

impl Place {
    /// The place of this cgroup path on this host.
    pub fn of(path: &Path, name: &str) -> Self {
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
        Self {
            path: path.to_owned(),
            name: name.to_owned(),
            hierarchies,
        }
    }

    /// How the runtime's own library is told of it.
    pub fn config(&self) -> CgroupConfig {
        CgroupConfig {
            cgroup_path: self.path.clone(),
            systemd_cgroup: false,
            container_name: self.name.clone(),
        }
    }

    /// Makes the directories and moves this process there.
    pub fn enter(&self) -> Result<()> {
        if self.hierarchies.is_empty() {
            let me = nix_libcontainer::unistd::Pid::this();
            let manager = create_cgroup_manager(self.config()).map_err(failed(Kind::Runtime, "finding the cgroup"))?;
            return manager.add_task(me).map_err(failed(
                Kind::Runtime,
                format_args!("entering cgroup {}", self.path.display()),
            ));
        }
        for hierarchy in &self.hierarchies {
            let dir = self.below(hierarchy);
            enter_v1(hierarchy, &dir)
                .map_err(failed(Kind::Runtime, format_args!("entering cgroup {}", dir.display())))?;
        }
        Ok(())
    }

    /// Sets limits; of a new place, or changed ones of a place in use.
    pub fn limit(&self, resources: &LinuxResources) -> Result<()> {
        if self.hierarchies.is_empty() {
            let options = ControllerOpt {
                resources,
                freezer_state: None,
                oom_score_adj: None,
                disable_oom_killer: false,
            };
            let manager = create_cgroup_manager(self.config()).map_err(failed(Kind::Runtime, "finding the cgroup"))?;
            return manager.apply(&options).map_err(failed(Kind::Runtime, "setting limits"));
        }
        let find = |controller: &str| {
            let mut all = self.hierarchies.iter();
            let found = all.find(|dir| dir.controllers.split(',').any(|one| one == controller));
            found.map(|hierarchy| self.below(hierarchy))
        };
        limits::apply(&find, resources)
    }

    fn below(&self, hierarchy: &Dir) -> PathBuf {
        hierarchy.path.join(self.path.strip_prefix("/").unwrap_or(&self.path))
    }
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
