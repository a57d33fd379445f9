//! What a container has of the host or of other containers: namespaces, memory, devices, the init program.

use super::facts;
use crate::container::runtime::on_path;
use crate::context::Context;
use gantry_core::container::{BlockIo, ContainerRecord, DeviceMapping, HostConfig};
use gantry_core::spec::resources::{device_leave, device_rule};
use gantry_core::spec::{Share, Shared, block};
use gantry_core::{Error, Result};
use oci_spec::runtime::{LinuxDevice, LinuxDeviceType};
use std::collections::BTreeMap;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The program that reaps for the user's, as Docker calls it.
const INIT: &str = "docker-init";
/// Docker's `/dev/shm`.
const SHM_SIZE: i64 = 64 << 20;

/// Checks what is asked for, puts ids for names of containers, and answers what a spec needs to be tried.
pub fn check(context: &Context, record: &mut ContainerRecord) -> Result<Shared> {
    for mode in [&mut record.host.pid_mode, &mut record.host.ipc_mode] {
        if let Some(name) = mode.strip_prefix("container:") {
            // It is no image that is missing, which a client would fetch.
            let found = context.registry.find(name);
            let other = found.map_err(|error| Error::invalid(error.to_string()))?;
            *mode = format!("container:{}", other.id());
        }
    }
    let host = &record.host;
    let mut shared = Shared {
        pid: mode("PID", &host.pid_mode, &["private"])?,
        ipc: mode("IPC", &host.ipc_mode, &["private", "shareable", "none"])?,
        uts: mode("UTS", &host.uts_mode, &[])?,
        no_shm: host.ipc_mode == "none",
        ..Shared::default()
    };
    if matches!(shared.uts, Share::Path(_)) {
        return Err(Error::invalid(format!("invalid UTS mode: {}", host.uts_mode)));
    }
    if shared.uts == Share::Host && !(record.config.hostname.is_empty() && record.config.domainname.is_empty()) {
        return Err(Error::invalid("conflicting options: hostname and the UTS mode"));
    }
    for rule in &host.device_cgroup_rules {
        shared.device_rules.push(device_rule(rule)?);
    }
    for device in &host.devices {
        let permissions = permissions(device);
        if permissions.chars().any(|c| !"rwm".contains(c)) {
            return Err(Error::invalid(format!("invalid device permissions: {permissions}")));
        }
    }
    shared.init = init(context, record, &shared.pid)?;
    check_cgroup(context, host)?;
    shared.block_devices = block_devices(&host.blkio)?;
    if !matches!(host.userns_mode.as_str(), "" | "host") {
        return Err(Error::invalid(format!("invalid USER mode: {}", host.userns_mode)));
    }
    Ok(shared)
}

/// Rules of the daemon's configuration for cgroups that a container names itself.
pub fn check_cgroup(context: &Context, host: &HostConfig) -> Result<()> {
    if host.cgroup_parent.split('/').any(|part| part == "..") {
        return Err(Error::invalid(format!(
            "invalid cgroup parent: {} leads upwards",
            host.cgroup_parent
        )));
    }
    let (runtime, most) = (host.cpu_rt_runtime, context.config.cpu_rt_runtime);
    if runtime > 0 && most == 0 {
        return Err(Error::invalid(
            "the daemon was given no real-time runtime to hand out: start it with --cpu-rt-runtime",
        ));
    }
    if runtime > most {
        return Err(Error::invalid(format!(
            "cpu real-time runtime cannot be higher than the daemon's, which is {most}"
        )));
    }
    Ok(())
}

/// Numbers of the block devices that limits speak of.
pub fn block_devices(asked: &BlockIo) -> Result<BTreeMap<String, (i64, i64)>> {
    let numbers: BTreeMap<String, (i64, i64)> = block_numbers(asked)?;
    for (path, (major, minor)) in asked
        .weight_devices
        .iter()
        .filter_map(|device| numbers.get(&device.path).map(|number| (&device.path, number)))
    {
        let file = format!("/sys/dev/block/{major}:{minor}/queue/scheduler");
        let schedulers = std::fs::read_to_string(file).unwrap_or_default();
        // The one in brackets is at work. A partition has its disk's, which is not looked for.
        let at_work = schedulers.split(['[', ']']).nth(1);
        if at_work.is_some_and(|name| !matches!(name, "bfq" | "cfq")) {
            return Err(Error::invalid(format!(
                "Your kernel does not support Block I/O weight_device for {path}: its schedulers are {}, and only bfq knows weights",
                schedulers.trim()
            )));
        }
    }
    Ok(numbers)
}

fn block_numbers(asked: &BlockIo) -> Result<BTreeMap<String, (i64, i64)>> {
    block::paths(asked)
        .map(|path| {
            let failed = |why: &dyn std::fmt::Display| Error::invalid(format!("block device {path}: {why}"));
            let meta = std::fs::metadata(path).map_err(|error| failed(&error))?;
            if !meta.file_type().is_block_device() {
                return Err(failed(&"not a block device"));
            }
            let number = |number: u64| i64::try_from(number).map_err(|error| failed(&error));
            let (major, minor) = (nix::sys::stat::major(meta.rdev()), nix::sys::stat::minor(meta.rdev()));
            Ok((path.to_owned(), (number(major)?, number(minor)?)))
        })
        .collect()
}

fn mode(what: &str, text: &str, known: &[&str]) -> Result<Share> {
    match text {
        "" => Ok(Share::Private),
        "host" => Ok(Share::Host),
        text if known.contains(&text) => Ok(Share::Private),
        text => match text.strip_prefix("container:") {
            Some(id) if !id.is_empty() => Ok(Share::Path(PathBuf::from(id))),
            _ => Err(Error::invalid(format!("invalid {what} mode: {text}"))),
        },
    }
}

/// What is there at this moment, for a container that is about to be made.
pub fn find(context: &Context, record: &ContainerRecord) -> Result<Shared> {
    let host = &record.host;
    let mut shared = Shared {
        pid: joined(context, "PID", "pid", mode("PID", &host.pid_mode, &["private"])?)?,
        uts: mode("UTS", &host.uts_mode, &[])?,
        no_shm: host.ipc_mode == "none",
        ..Shared::default()
    };
    let ipc = mode("IPC", &host.ipc_mode, &["private", "shareable", "none"])?;
    match (&ipc, host.ipc_mode.as_str()) {
        (Share::Host, _) => shared.shm = Some(PathBuf::from("/dev/shm")),
        (Share::Path(id), _) => shared.shm = Some(memory_of(context, id)?),
        (Share::Private, "shareable") => {
            let size = [host.shm_size, context.config.shm_size, SHM_SIZE]
                .into_iter()
                .find(|size| *size > 0);
            shared.shm = Some(context.volumes.shared_memory(&record.id, size.unwrap_or(SHM_SIZE))?);
        }
        (Share::Private, _) => {}
    }
    shared.ipc = joined(context, "IPC", "ipc", ipc)?;
    for rule in &host.device_cgroup_rules {
        shared.device_rules.push(device_rule(rule)?);
    }
    for mapping in &host.devices {
        for device in devices(mapping)? {
            shared.device_rules.push(device_leave(&device, permissions(mapping))?);
            shared.devices.push(device);
        }
    }
    shared.init = init(context, record, &shared.pid)?;
    shared.block_devices = block_devices(&host.blkio)?;
    Ok(shared)
}

/// The namespace of another container, that must run.
fn joined(context: &Context, what: &str, file: &str, share: Share) -> Result<Share> {
    let Share::Path(id) = share else { return Ok(share) };
    let id = id.to_string_lossy();
    match context.registry.find(&id)?.pid() {
        Some(pid) => Ok(Share::Path(PathBuf::from(format!("/proc/{pid}/ns/{file}")))),
        None => Err(Error::conflict(format!(
            "cannot join {what} of a non running container: {id}"
        ))),
    }
}

fn memory_of(context: &Context, id: &Path) -> Result<PathBuf> {
    let id = id.to_string_lossy();
    let other = context.registry.find(&id)?;
    match other.record().host.ipc_mode.as_str() {
        "host" => return Ok(PathBuf::from("/dev/shm")),
        "shareable" => {}
        _ => {
            return Err(Error::conflict(format!(
                "can't join IPC of container {id}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)"
            )));
        }
    }
    context
        .volumes
        .memory_of(other.id())
        .ok_or_else(|| Error::conflict(format!("cannot join IPC of a non running container: {id}")))
}

fn permissions(mapping: &DeviceMapping) -> &str {
    match mapping.permissions.as_str() {
        "" => "rwm",
        given => given,
    }
}

/// The device that is meant, or all of a directory.
fn devices(mapping: &DeviceMapping) -> Result<Vec<LinuxDevice>> {
    let failed = |why: &dyn std::fmt::Display| {
        Error::invalid(format!(
            "error gathering device information while adding custom device \"{}\": {why}",
            mapping.host
        ))
    };
    let path = std::fs::canonicalize(&mapping.host).map_err(|_| failed(&"no such file or directory"))?;
    let place = match mapping.container.as_str() {
        "" => mapping.host.as_str(),
        other => other,
    };
    let meta = std::fs::symlink_metadata(&path).map_err(|error| failed(&error))?;
    let kind = meta.file_type();
    let found = if kind.is_dir() {
        facts::devices(&path)
    } else {
        let typ = match (kind.is_block_device(), kind.is_char_device()) {
            (true, _) => LinuxDeviceType::B,
            (_, true) => LinuxDeviceType::C,
            _ => return Err(failed(&"not a device node")),
        };
        facts::device(&path, typ, &meta).into_iter().collect()
    };
    if found.is_empty() {
        return Err(failed(&"not a device node"));
    }
    Ok(found
        .into_iter()
        .map(|mut device| {
            let below = device
                .path()
                .strip_prefix(&path)
                .map(Path::to_owned)
                .unwrap_or_default();
            let inside = match below.as_os_str().is_empty() {
                true => PathBuf::from(place),
                false => Path::new(place).join(below),
            };
            device.set_path(inside);
            device
        })
        .collect())
}

/// The program that is to reap, if one is: where the first process is another's there is nothing to do for it.
fn init(context: &Context, record: &ContainerRecord, pid: &Share) -> Result<Option<PathBuf>> {
    let config = &context.config;
    if *pid != Share::Private || !record.host.init.unwrap_or(config.init) {
        return Ok(None);
    }
    match &config.init_path {
        Some(path) => Ok(Some(path.clone())),
        None => found_init().map(Some),
    }
}

fn found_init() -> Result<PathBuf> {
    on_path(INIT).and_then(|path| path.canonicalize().ok()).ok_or_else(|| {
        Error::invalid(format!(
            "no init program: {INIT} is not found on the daemon's PATH; install tini, or leave --init out"
        ))
    })
}
