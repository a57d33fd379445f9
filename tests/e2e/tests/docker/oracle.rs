//! Debian's dockerd on roots of its own, in a network namespace of its own.

use gantry_e2e::{Netns, PATIENCE, eventually, peers};
use std::fs::File;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

pub struct Dockerd {
    root: PathBuf,
    child: Option<Child>,
    pub socket: PathBuf,
    /// Goes with it.
    _netns: Netns,
}

impl Dockerd {
    pub fn start(root: &Path) -> Self {
        std::fs::create_dir_all(root).expect("a directory");
        std::fs::write(root.join("daemon.json"), "{}").expect("a file");
        let netns = Netns::new();
        let socket = root.join("docker.sock");
        let at = |name: &str| root.join(name).display().to_string();
        let group = root
            .parent()
            .and_then(Path::file_name)
            .expect("a name")
            .to_string_lossy();
        let mut command = Command::new("dockerd");
        for (flag, value) in [
            ("--config-file", at("daemon.json")),
            ("--data-root", at("data")),
            ("--exec-root", at("exec")),
            ("--pidfile", at("pid")),
            ("--host", format!("unix://{}", socket.display())),
            ("--cgroup-parent", format!("/{group}")),
            ("--storage-driver", "overlay2".to_owned()),
        ] {
            command.arg(flag).arg(value);
        }
        netns.put(&mut command);
        let log = File::create(root.join("log")).expect("a log file");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        let dockerd = Self {
            root: root.to_owned(),
            child: Some(child.expect("dockerd, of Debian's docker.io, starts")),
            socket,
            _netns: netns,
        };
        eventually("dockerd answers", PATIENCE, || {
            UnixStream::connect(&dockerd.socket).is_ok()
        });
        dockerd
    }

    fn group(&self) -> String {
        let parent = self.root.parent().and_then(Path::file_name).expect("a name");
        parent.to_string_lossy().into_owned()
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            peers::end(child);
        }
        unmount(&self.root);
        // dockerd leaves the parent of its cgroups behind.
        let base = PathBuf::from("/sys/fs/cgroup");
        let hierarchies = std::fs::read_dir(&base).into_iter().flatten().flatten();
        for hierarchy in hierarchies.map(|entry| entry.path()).chain([base]) {
            let _ = std::fs::remove_dir(hierarchy.join(self.group()));
        }
    }
}

/// dockerd keeps its network namespaces mounted.
fn unmount(root: &Path) {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let targets = table.lines().rev().filter_map(|line| line.split(' ').nth(4));
    for target in targets.filter(|target| Path::new(target).starts_with(root)) {
        let _ = nix::mount::umount2(target, nix::mount::MntFlags::MNT_DETACH);
    }
}
