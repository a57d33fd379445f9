//! Nothing may be left: mounts, processes, cgroups and network namespaces of a house.

use crate::Netns;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What was on the machine before the house; only what is named after the house counts against it.
pub struct Before {
    links: BTreeSet<String>,
}

impl Before {
    pub fn now(netns: Option<&Netns>) -> Self {
        Self { links: links(netns) }
    }
}

/// Fails with the list of what is left after a few seconds of grace for processes to be reaped.
pub fn check(root: &Path, netns: Option<&Netns>, before: &Before) {
    let deadline = Instant::now() + crate::PATIENCE;
    loop {
        let left = leftovers(root, netns, before);
        if left.is_empty() {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "left by the house {}:\n{}",
            root.display(),
            left.join("\n")
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn leftovers(root: &Path, netns: Option<&Netns>, before: &Before) -> Vec<String> {
    let mut left = Vec::new();
    let text = root.to_string_lossy().into_owned();
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    left.extend(
        table
            .lines()
            .filter(|line| line.contains(&text))
            .map(|line| format!("mount: {line}")),
    );
    left.extend(
        processes(root)
            .into_iter()
            .map(|(pid, what)| format!("process: {pid} {what}")),
    );
    left.extend(
        cgroups(root)
            .into_iter()
            .map(|path| format!("cgroup: {}", path.display())),
    );
    left.extend(
        crate::loops::behind(root)
            .into_iter()
            .map(|file| format!("loop device of {}", file.display())),
    );
    let bridge = bridge(root);
    // In a namespace of the house's own all but the tests' cables is the daemon's.
    let ours = |name: &String| match netns {
        Some(_) => !name.starts_with("out"),
        None => *name == bridge || of_bridge(name, &bridge),
    };
    left.extend(
        links(netns)
            .into_iter()
            .filter(|name| !before.links.contains(name) && ours(name))
            .map(|name| format!("link: {name}")),
    );
    left.extend(
        tables(root, netns)
            .into_iter()
            .map(|table| format!("nft table: {table}")),
    );
    left.extend(netns.into_iter().flat_map(|netns| chains(root, netns)));
    left.extend(
        files_in(&root.join("exec/netns"))
            .into_iter()
            .map(|path| format!("network namespace: {}", path.display())),
    );
    let exec = root.join("exec");
    left.extend(
        files_in(&exec.join("gantry"))
            .into_iter()
            .map(|path| format!("bundle: {}", path.display())),
    );
    left.extend(
        files_in(&exec.join("s"))
            .into_iter()
            .map(|path| format!("socket: {}", path.display())),
    );
    left.extend(
        files_in(&root.join("data/containers"))
            .into_iter()
            .map(|path| format!("directory: {}", path.display())),
    );
    left
}

fn names(dir: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

fn files_in(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect()
}

/// Processes whose command line, working directory or root is in the house; zombies do not count.
fn processes(root: &Path) -> Vec<(i32, String)> {
    let mut found = Vec::new();
    let text = root.to_string_lossy().into_owned();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        if pid == std::process::id() as i32 {
            continue;
        }
        let dir = entry.path();
        let command = fs::read(dir.join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        let stat = fs::read_to_string(dir.join("stat")).unwrap_or_default();
        let zombie = stat
            .rsplit(')')
            .next()
            .is_some_and(|rest| rest.trim_start().starts_with('Z'));
        let here = |link: &str| fs::read_link(dir.join(link)).is_ok_and(|target| target.starts_with(root));
        let ours = command.contains(&text) && (command.contains("gantryd") || command.contains("containerd-shim"))
            || here("cwd")
            || here("root");
        if ours && !zombie {
            found.push((pid, command));
        }
    }
    found
}

/// The house's own cgroup in every hierarchy, and what is in it: the daemon's clean exit takes even the empty parent away.
fn cgroups(root: &Path) -> Vec<PathBuf> {
    let name = instance(root);
    let base = PathBuf::from("/sys/fs/cgroup");
    let mut found = Vec::new();
    for hierarchy in files_in(&base).into_iter().chain([base]) {
        let group = hierarchy.join(&name);
        if group.is_dir() {
            found.extend(files_in(&group).into_iter().filter(|path| path.is_dir()));
            found.push(group);
        }
    }
    found
}

/// The cgroup parent of this house's daemon, and its tables: `gantry-` and the first 8 hex digits of the exec root's sha256.
pub fn instance(root: &Path) -> String {
    let digest = Sha256::digest(root.join("exec").as_os_str().as_encoded_bytes());
    format!("gantry-{}", hex::encode(&digest[..4]))
}

/// The default bridge of this house's daemon.
fn bridge(root: &Path) -> String {
    instance(root).replace("gantry-", "gtry-")
}

fn of_bridge(name: &str, bridge: &str) -> bool {
    fs::read_link(format!("/sys/class/net/{name}/master")).is_ok_and(|master| master.ends_with(bridge))
}

fn links(netns: Option<&Netns>) -> BTreeSet<String> {
    match netns {
        Some(netns) => netns.links().into_iter().collect(),
        None => names("/sys/class/net"),
    }
}

/// Tables of nftables that bear the house's name, as `family name`.
fn tables(root: &Path, netns: Option<&Netns>) -> Vec<String> {
    let name = instance(root);
    let text = match netns {
        Some(netns) => netns.run("nft list tables").stdout,
        None => {
            let output = std::process::Command::new("nft").args(["list", "tables"]).output();
            let text = output.map(|output| output.stdout).unwrap_or_default();
            String::from_utf8_lossy(&text).into_owned()
        }
    };
    let tables = text.lines().filter_map(|line| line.strip_prefix("table "));
    tables
        .filter(|table| table.ends_with(&name))
        .map(str::to_owned)
        .collect()
}

/// Lines of iptables that name the house.
fn chains(root: &Path, netns: &Netns) -> Vec<String> {
    let name = instance(root).replace("gantry", "");
    let mut found = Vec::new();
    for program in ["iptables-save", "ip6tables-save"] {
        let text = netns.run(program).stdout;
        found.extend(
            text.lines()
                .filter(|line| line.contains(&name))
                .map(|line| format!("{program}: {line}")),
        );
    }
    found
}

/// After a failed test: kill what runs and unmount what is mounted, so that the next test begins clean.
pub fn force_clean(root: &Path) {
    for (pid, _) in processes(root) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    for group in cgroups(root) {
        for pid in fs::read_to_string(group.join("cgroup.procs"))
            .unwrap_or_default()
            .lines()
            .filter_map(|line| line.parse().ok())
        {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
    std::thread::sleep(Duration::from_millis(200));
    for group in cgroups(root) {
        let _ = fs::remove_dir(group);
    }
    let bridge = bridge(root);
    let links = names("/sys/class/net");
    for link in links.iter().filter(|name| **name == bridge || of_bridge(name, &bridge)) {
        let _ = std::process::Command::new("ip").args(["link", "del", link]).output();
    }
    for table in tables(root, None) {
        let mut words = vec!["delete", "table"];
        words.extend(table.split(' '));
        let _ = std::process::Command::new("nft").args(words).output();
    }
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let text = root.to_string_lossy();
    for line in table.lines().rev() {
        if let Some(target) = line.split(' ').nth(4).filter(|target| target.contains(&*text)) {
            let _ = nix::mount::umount2(target, nix::mount::MntFlags::MNT_DETACH);
        }
    }
    crate::loops::let_go(root);
}
