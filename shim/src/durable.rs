//! Files that must be there after a power cut, and small facts read from /proc.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

/// Writes a file so that it is either whole or not there: temporary name, fsync, rename, fsync of the directory.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(".tmp");
    let temporary = dir.join(name);
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(dir)?.sync_all()
}

/// Writes a small file that need not outlive the machine, whole or not at all.
pub fn write_volatile(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    fs::write(&temporary, bytes)?;
    fs::rename(&temporary, path)
}

/// This boot's id.
pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim().to_owned())
        .unwrap_or_default()
}

/// When a process began, in ticks since boot (field 22 of /proc/pid/stat); 0 if it is gone.
pub fn start_time(pid: u32) -> u64 {
    stat_field(pid, 19).unwrap_or(0)
}

/// Parent of a process.
pub fn parent_of(pid: u32) -> Option<u32> {
    stat_field(pid, 1).map(|parent| parent as u32)
}

/// A numeric field of /proc/pid/stat, counted from the one after the name (0 is the state).
fn stat_field(pid: u32, field: usize) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(field)?.parse().ok()
}

/// One letter: R, S, D, T, Z...
pub fn state_of(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Every process under `root`, nearest first, found by walking /proc.
pub fn descendants(root: u32) -> Vec<u32> {
    let all: Vec<(u32, u32)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, parent_of(pid)?)))
        .collect();
    let mut found = vec![root];
    let mut next = 0;
    while next < found.len() {
        let parent = found[next];
        found.extend(all.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found.remove(0);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_whole_or_absent() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("exit.json");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn proc_is_read() {
        let me = std::process::id();
        assert!(start_time(me) > 0);
        assert!(parent_of(me).is_some());
        assert!(state_of(me).is_some());
        assert_eq!(start_time(u32::MAX), 0);
        assert!(!boot_id().is_empty());
    }
}
