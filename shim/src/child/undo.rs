//! What create made is unmade: after the end of a container, after a creation that failed or was killed, and without a shim.

use super::{
    builtin::state,
    hooks::{self, Stage},
    mounts,
    spec::load_spec,
};
use crate::{
    cgroup::Cgroups,
    durable,
    failure::{Kind, Result, failed},
};
use libcontainer::container::ContainerStatus;
use serde::Deserialize;
use std::{fs, path::Path, time::Duration};

/// Undoes what create made, once every process is gone: hooks, cgroups, directory.
pub fn delete(id: &str, bundle: &Path, dir: &Path, cgroups: &Cgroups) -> Result<()> {
    cgroups.kill_all();
    let removed = cgroups
        .remove(Duration::from_secs(5))
        .map_err(failed(Kind::Runtime, "deleting the container"));
    let hooked = match load_spec(bundle, id) {
        Ok(spec) => state(id, bundle, bundle, ContainerStatus::Stopped, None, &spec)
            .and_then(|state| hooks::run(&spec, Stage::Poststop, &state)),
        Err(_) => Ok(()),
    };
    mounts::unmount_all(&bundle.join("rootfs"));
    let _ = fs::remove_dir_all(dir);
    removed.and(hooked)
}

/// The same where nothing is to be waited for: no hooks, no processes left, nothing mounted. False if it is not so after all. The
/// directory goes with the bundle.
pub fn delete_at_once(cgroups: &Cgroups) -> bool {
    cgroups.remove(Duration::ZERO).is_ok()
}

/// Undoes what a failed or killed creation left, as far as it came.
pub fn undo(id: &str, bundle: &Path, dir: &Path) -> Result<()> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Part {
        linux: Linux,
    }
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Linux {
        cgroups_path: String,
    }
    let part: Part = fs::read(bundle.join("config.json"))
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok())
        .unwrap_or_default();
    let path = if part.linux.cgroups_path.is_empty() {
        format!("/{id}")
    } else {
        part.linux.cgroups_path
    };
    let cgroups = Cgroups::named(&path);
    cgroups.kill_all();
    let removed = cgroups
        .remove(Duration::from_secs(5))
        .map_err(failed(Kind::Runtime, "undoing the creation"));
    let _ = fs::remove_dir_all(dir);
    removed
}

/// Ends what a bundle names, without its shim: used by `delete`.
pub fn kill_leftovers(pid: u32, start_time: u64, cgroups: &Cgroups) {
    let same = pid > 1 && start_time != 0 && durable::start_time(pid) == start_time;
    let end = std::time::Instant::now() + Duration::from_secs(5);
    loop {
        if same && durable::start_time(pid) == start_time {
            crate::cgroup::kill(pid, libc::SIGKILL);
        }
        cgroups.kill_all();
        let gone = cgroups.pids().is_empty()
            && !(same && durable::start_time(pid) == start_time && durable::state_of(pid) != Some('Z'));
        if gone || std::time::Instant::now() > end {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
