//! What is mounted in a container, and what of it is hidden or read-only.

use super::{Cgroup, HostFacts, INIT, SpecInput};
use crate::container::BindMount;
use crate::{Error, Result};
use oci_spec::runtime::Mount;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Docker's `/dev/shm`.
const SHM_SIZE: i64 = 64 * 1024 * 1024;

pub(super) fn build(input: &SpecInput<'_>, facts: &HostFacts) -> Result<Vec<Mount>> {
    let asked = asked(input, facts)?;
    let taken: BTreeSet<&Path> = asked.iter().map(|mount| mount.destination().as_path()).collect();
    let mut mounts: Vec<Mount> = defaults(input, facts)?
        .into_iter()
        .filter(|mount| !taken.iter().any(|path| hides(path, mount.destination())))
        .collect();
    mounts.extend(asked);
    Ok(mounts)
}

/// A mount of the user's replaces the default one at its place, and one on `/dev` those below it.
fn hides(asked: &Path, default: &Path) -> bool {
    asked == default || (asked == Path::new("/dev") && default.starts_with(asked))
}

fn defaults(input: &SpecInput<'_>, facts: &HostFacts) -> Result<Vec<Mount>> {
    let privileged = input.host.privileged;
    let rw = if privileged { "rw" } else { "ro" };
    if input.host.shm_size < 0 {
        return Err(Error::invalid("SHM size can not be less than 0"));
    }
    let shm = [input.host.shm_size, input.defaults.shm_size, SHM_SIZE]
        .into_iter()
        .find(|size| *size > 0);
    let shm = format!("size={}", shm.unwrap_or(SHM_SIZE));
    let mut cgroup = vec!["nosuid", "noexec", "nodev", rw];
    if facts.cgroup != Cgroup::V2 {
        cgroup.push("relatime");
    }
    let mut mounts = vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount(
            "/dev",
            "tmpfs",
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        ),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", rw]),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &cgroup),
    ];
    // Of whichever IPC namespace it is in.
    mounts.push(mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]));
    match &input.shared.shm {
        _ if input.shared.no_shm => {}
        Some(dir) => mounts.push(mount(
            "/dev/shm",
            "bind",
            &dir.to_string_lossy(),
            &["rbind", "rprivate"],
        )),
        None => mounts.push(mount(
            "/dev/shm",
            "tmpfs",
            "shm",
            &["nosuid", "noexec", "nodev", "mode=1777", &shm],
        )),
    }
    Ok(mounts)
}

fn mount(target: &str, typ: &str, source: &str, options: &[&str]) -> Mount {
    let mut mount = Mount::default();
    mount.set_destination(PathBuf::from(target));
    mount.set_typ(Some(typ.to_owned()));
    mount.set_source(Some(PathBuf::from(source)));
    mount.set_options(Some(options.iter().map(|option| (*option).to_owned()).collect()));
    mount
}

/// Binds, tmpfs and the files of `/etc`, parents before children.
fn asked(input: &SpecInput<'_>, facts: &HostFacts) -> Result<Vec<Mount>> {
    let mut mounts = Vec::new();
    for bind in &input.host.binds {
        mounts.push(bind_mount(bind, facts)?);
    }
    for (target, options) in &input.host.tmpfs {
        check_target("tmpfs", target)?;
        mounts.push(mount(&clean(target), "tmpfs", "tmpfs", &tmpfs_options(options)?));
    }
    if let Some(twice) = duplicate(&mounts) {
        return Err(Error::invalid(format!("Duplicate mount point: {}", twice.display())));
    }
    let etc = [
        ("/etc/resolv.conf", &input.etc.resolv_conf),
        ("/etc/hostname", &input.etc.hostname),
        ("/etc/hosts", &input.etc.hosts),
    ];
    for (target, source) in etc {
        let own = mounts.iter().any(|mount| mount.destination() == Path::new(target));
        if let (Some(source), false) = (source, own) {
            let mut options = vec!["rbind", "rprivate"];
            if input.host.readonly_rootfs {
                options.push("ro");
            }
            mounts.push(mount(target, "bind", &source.to_string_lossy(), &options));
        }
    }
    if let Some(init) = &input.shared.init {
        mounts.push(mount(INIT, "bind", &init.to_string_lossy(), &["bind", "ro"]));
    }
    mounts.sort_by_key(|mount| mount.destination().components().count());
    Ok(mounts)
}

fn duplicate(mounts: &[Mount]) -> Option<&Path> {
    let mut seen = BTreeSet::new();
    mounts
        .iter()
        .map(|mount| mount.destination().as_path())
        .find(|path| !seen.insert(*path))
}

fn bind_mount(bind: &BindMount, facts: &HostFacts) -> Result<Mount> {
    check_target("bind", &bind.target)?;
    if !bind.source.starts_with('/') {
        return Err(Error::invalid(format!(
            "invalid mount config for type \"bind\": invalid mount path: '{}' mount path must be absolute",
            bind.source
        )));
    }
    let propagation = match bind.propagation.as_str() {
        "" => "rprivate",
        known @ ("private" | "rprivate" | "shared" | "rshared" | "slave" | "rslave") => known,
        other => {
            return Err(Error::invalid(format!(
                "invalid mount config for type \"bind\": invalid propagation mode: {other}"
            )));
        }
    };
    let mut options = vec![if bind.non_recursive { "bind" } else { "rbind" }, propagation];
    if bind.read_only {
        options.push("ro");
        // Mounts below it too, where the kernel has mount_setattr(2).
        if facts.kernel_at_least(5, 12) && !bind.non_recursive && !bind.shallow_read_only {
            options.push("rro");
        }
    }
    Ok(mount(&clean(&bind.target), "bind", &bind.source, &options))
}

fn check_target(typ: &str, target: &str) -> Result<()> {
    let invalid = |why: String| {
        Err(Error::invalid(format!(
            "invalid mount config for type \"{typ}\": {why}"
        )))
    };
    if !target.starts_with('/') {
        return invalid(format!("invalid mount path: '{target}' mount path must be absolute"));
    }
    if target.split('/').any(|part| part == "..") || target.contains('\0') {
        return invalid(format!("invalid mount path: '{target}' must not contain \"..\""));
    }
    if clean(target) == "/" {
        return invalid("invalid specification: destination can't be '/'".to_owned());
    }
    Ok(())
}

/// Without doubled slashes, `.` and a slash at the end.
fn clean(target: &str) -> String {
    let parts: Vec<&str> = target
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    format!("/{}", parts.join("/"))
}

/// `noexec,nosuid,nodev` and what the user says, which may take each of them back.
fn tmpfs_options(text: &str) -> Result<Vec<&str>> {
    const FLAGS: [&str; 18] = [
        "exec",
        "noexec",
        "suid",
        "nosuid",
        "dev",
        "nodev",
        "ro",
        "rw",
        "sync",
        "async",
        "dirsync",
        "atime",
        "noatime",
        "diratime",
        "nodiratime",
        "relatime",
        "norelatime",
        "strictatime",
    ];
    const PROPAGATION: [&str; 6] = ["private", "rprivate", "shared", "rshared", "slave", "rslave"];
    const DATA: [&str; 8] = ["size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol", "huge"];
    let mut options = vec!["noexec", "nosuid", "nodev"];
    for option in text.split(',').filter(|option| !option.is_empty()) {
        let opposite =
            |other: &&str| other.strip_prefix("no") != Some(option) && option.strip_prefix("no") != Some(other);
        match option.split_once('=') {
            Some((key, _)) if DATA.contains(&key) => {
                options.retain(|other| other.split_once('=').is_none_or(|(name, _)| name != key));
            }
            None if PROPAGATION.contains(&option) => {}
            None if FLAGS.contains(&option) => options.retain(|other| opposite(other) && *other != option),
            _ => return Err(Error::invalid(format!("invalid tmpfs option [\"{option}\"]"))),
        }
        options.push(option);
    }
    Ok(options)
}

/// A bind that is to hand mounts on needs a root that lets them through.
pub(super) fn rootfs_propagation(binds: &[BindMount]) -> Option<String> {
    let any = |names: [&str; 2]| binds.iter().any(|bind| names.contains(&bind.propagation.as_str()));
    if any(["shared", "rshared"]) {
        Some("shared".to_owned())
    } else if any(["slave", "rslave"]) {
        Some("slave".to_owned())
    } else {
        None
    }
}

/// What is hidden from containers that are not privileged.
pub fn masked_paths(facts: &HostFacts) -> Vec<String> {
    let fixed = [
        "/proc/acpi",
        "/proc/asound",
        "/proc/interrupts",
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/sched_debug",
        "/proc/scsi",
        "/proc/timer_list",
        "/proc/timer_stats",
        "/sys/devices/virtual/powercap",
        "/sys/firmware",
    ];
    fixed
        .map(str::to_owned)
        .into_iter()
        .chain(facts.masked.iter().cloned())
        .collect()
}

/// What they cannot write.
pub fn readonly_paths() -> Vec<String> {
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
        .map(str::to_owned)
        .to_vec()
}
