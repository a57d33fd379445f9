//! What of gantry's is on this machine: taken before and after, so that only what is new counts.

use crate::sh;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long processes may take to be reaped and mounts to go.
const GRACE: Duration = Duration::from_secs(15);
/// Deeper than any cgroup of ours.
const DEPTH: u32 = 4;

pub struct Snapshot(BTreeSet<String>);

impl Snapshot {
    pub fn take() -> Self {
        let mut found = BTreeSet::new();
        mounts(&mut found);
        processes(&mut found);
        cgroups(Path::new("/sys/fs/cgroup"), DEPTH, &mut found);
        entries("network namespace", "/run/netns", is_namespace, &mut found);
        entries(
            "link",
            "/sys/class/net",
            |name| name.contains("gantry") || name.starts_with("veth"),
            &mut found,
        );
        entries("directory", "/run", |name| name.starts_with("gantry"), &mut found);
        for dir in ["/tmp", "/var/tmp"] {
            entries(
                "temporary",
                dir,
                |name| name.contains("gantry") || name.starts_with(".tmp"),
                &mut found,
            );
        }
        tables(&mut found);
        loops(&mut found);
        Self(found)
    }

    /// What is there now and was not then, once it has had time to go.
    pub fn settled(&self) -> Vec<String> {
        let deadline = Instant::now() + GRACE;
        loop {
            let left: Vec<String> = Self::take().0.difference(&self.0).cloned().collect();
            if left.is_empty() || Instant::now() > deadline {
                return left;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Those of the end-to-end tests and of the benchmarks, with the number of the process that made them. Daemons have theirs elsewhere.
fn is_namespace(name: &str) -> bool {
    let number = ["gt", "gb"].iter().find_map(|prefix| name.strip_prefix(prefix));
    number.is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
}

fn mounts(found: &mut BTreeSet<String>) {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    for line in table
        .lines()
        .filter(|line| line.contains("gantry") || line.contains("/.tmp"))
    {
        let target = line.split(' ').nth(4).unwrap_or(line);
        found.insert(format!("mount {target}"));
    }
}

fn processes(found: &mut BTreeSet<String>) {
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_string_lossy().into_owned();
        if !pid.bytes().all(|b| b.is_ascii_digit()) {
            continue;
        }
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let first = command.split(|b| *b == 0).next().unwrap_or_default();
        let first = String::from_utf8_lossy(first);
        let name = first.rsplit('/').next().unwrap_or_default();
        if name == "gantryd" || name.starts_with("containerd-shim-gantry") || name == "gantry" {
            found.insert(format!(
                "process {pid} {}",
                String::from_utf8_lossy(&command).replace('\0', " ").trim_end()
            ));
        }
    }
}

fn cgroups(dir: &Path, depth: u32, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let path = entry.path();
        let ours = |dir: &Path| {
            dir.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("gantry"))
        };
        if ours(&path) || ours(dir) {
            found.insert(format!("cgroup {}", path.display()));
        }
        if depth > 0 {
            cgroups(&path, depth - 1, found);
        }
    }
}

fn entries(what: &str, dir: &str, ours: impl Fn(&str) -> bool, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if ours(&name) {
            found.insert(format!("{what} {dir}/{name}"));
        }
    }
}

fn tables(found: &mut BTreeSet<String>) {
    let text = sh::output("nft", &["list", "tables"]).unwrap_or_default();
    found.extend(text.lines().filter(|line| line.contains("gantry")).map(str::to_owned));
}

fn loops(found: &mut BTreeSet<String>) {
    for entry in fs::read_dir("/sys/block").into_iter().flatten().flatten() {
        if let Ok(file) = fs::read_to_string(entry.path().join("loop/backing_file")) {
            let file = file.trim();
            if file.contains("gantry") || file.contains("/.tmp") {
                found.insert(format!("loop device {} of {file}", entry.file_name().to_string_lossy()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_directory_is_seen() {
        let before = Snapshot::take();
        let dir = std::env::temp_dir().join(format!("gantry-leftover-test-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        let name = dir.display().to_string();
        let seen = Snapshot::take()
            .0
            .difference(&before.0)
            .any(|what| what.ends_with(&name));
        fs::remove_dir(&dir).unwrap();
        let gone = !Snapshot::take().0.iter().any(|what| what.ends_with(&name));
        assert!(seen && gone);
    }
}
