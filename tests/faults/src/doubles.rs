//! Who runs for a container, and that it is nobody twice.

use crate::LIMIT;
use gantry_e2e::{House, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::path::Path;

const SHIM: &str = "containerd-shim-gantry-v1";

/// Fails unless the container of one process answers, has one shim, and the process the daemon names is the only one.
pub fn runs_once(house: &House, container: &str) {
    let gantry = house.gantry();
    assert_eq!(gantry.ok(&["exec", container, "echo", "alive"]), "alive");
    let seen = gantry.ok(&["inspect", "-f", "{{.Id}} {{.State.Pid}} {{.State.Running}}", container]);
    let words: Vec<&str> = seen.split(' ').collect();
    let [id, pid, "true"] = words[..] else {
        panic!("it answers and yet is not running: {seen}");
    };
    let mut there = Default::default();
    let once = || {
        there = of(id);
        there.0.len() == 1 && there.1 == [pid]
    };
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| eventually("it runs once", LIMIT, once)));
    assert!(result.is_ok(), "not one shim and process {pid} alone, but {there:?}");
}

/// Kills the shim of the container, if there is one: what is left of its run is then cleaned up without it.
pub(crate) fn kill_shim(house: &House, container: &str) {
    let seen = house.gantry().run(&["inspect", "-f", "{{.Id}}", container]);
    if seen.code != 0 {
        return;
    }
    for pid in of(seen.line()).0 {
        // Gone already at worst.
        let _ = kill(Pid::from_raw(pid.parse().expect("a pid")), Signal::SIGKILL);
    }
}

/// The pids of the container's shims and of the processes in its cgroup.
fn of(id: &str) -> (Vec<String>, Vec<String>) {
    let (mut shims, mut processes) = (Vec::new(), Vec::new());
    for entry in fs::read_dir("/proc").expect("proc is mounted").flatten() {
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        if !name.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let read = |file: &str| fs::read_to_string(entry.path().join(file)).unwrap_or_default();
        if is_shim(&read("cmdline"), id) {
            shims.push(name);
        } else if read("cgroup").contains(id) && !is_zombie(&read("stat")) {
            processes.push(name);
        }
    }
    (shims, processes)
}

/// Also a child of a shim that never came to run something else: it has the shim's command line.
fn is_shim(cmdline: &str, id: &str) -> bool {
    let mut words = cmdline.split('\0');
    let program = words.next().and_then(|path| Path::new(path).file_name());
    program.is_some_and(|name| name == SHIM) && words.any(|word| word == id)
}

fn is_zombie(stat: &str) -> bool {
    let rest = stat.rsplit(')').next().unwrap_or_default();
    rest.trim_start().starts_with('Z')
}
