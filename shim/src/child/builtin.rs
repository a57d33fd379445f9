//! The built-in OCI runtime (libcontainer), driven from a forked child: build a container in its own mount namespace, and join
//! one for an exec.

use super::{
    Made, detail, dev,
    hooks::{self, Stage},
    idmap,
    mounts::{self, Mount},
    payload::{Payload, Rights},
    place::Place,
    road, seccomp,
    spec::{cgroup_path, console_size, demand_sources, join_namespaces, load_spec, normalise},
    workdir,
};
use crate::{
    cgroup::Cgroups,
    failure::{Failure, Kind, Result, failed},
};
use libcontainer::{
    container::{Container, ContainerStatus},
    notify_socket::NotifyListener,
    oci_spec::runtime::{Hook, LinuxDeviceCgroup, LinuxResources, Process, Spec},
    process::args::{ContainerArgs, ContainerType},
    syscall::syscall::SyscallType,
};
use std::{
    fs,
    os::{
        fd::{AsRawFd, RawFd},
        unix::net::UnixStream,
    },
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
};

/// Name of the socket on which a built container waits for its start.
const START_SOCKET: &str = "start.sock";

/// What both kinds of process need.
pub struct Build<'a> {
    pub id: &'a str,
    pub bundle: &'a Path,
    /// The runtime's own directory.
    pub dir: &'a Path,
    pub payload: Payload,
    /// Where compiled filters are kept, if it is there.
    pub filters: PathBuf,
    pub console: Option<RawFd>,
    /// The root is moved to and not pivoted to.
    pub no_pivot: bool,
}

/// Builds the container up to the point where it waits for its start.
pub fn create(build: Build<'_>, rootfs: &[Mount], in_host: bool) -> Result<Made> {
    detail::install();
    let target = build.bundle.join("rootfs");
    if !in_host {
        mounts::enter_private_namespace(build.bundle)?;
    }
    if !rootfs.is_empty() {
        mounts::mount_rootfs(rootfs, &target)?;
    }
    let made = create_mounted(build);
    if made.is_err() && in_host && !rootfs.is_empty() {
        mounts::unmount_all(&target);
    }
    made
}

fn create_mounted(build: Build<'_>) -> Result<Made> {
    let mut spec = load_spec(build.bundle, build.id)?;
    let rootfs = spec
        .root()
        .as_ref()
        .ok_or_else(|| Failure::new(Kind::Spec, "the spec has no root"))?
        .path()
        .clone();
    let rootfs = fs::canonicalize(&rootfs).map_err(failed(
        Kind::Spec,
        format_args!("finding the root {}", rootfs.display()),
    ))?;
    demand_sources(&spec)?;
    let mut build = build;
    build.payload.dev = dev::take(&mut spec)?.map(Arc::new);
    workdir::make(&spec, &rootfs)?;
    fs::create_dir_all(build.dir).map_err(failed(Kind::Runtime, format_args!("making {}", build.dir.display())))?;
    let container = state(
        build.id,
        build.bundle,
        build.dir,
        ContainerStatus::Creating,
        None,
        &spec,
    )?;
    let made = run(
        &build,
        spec,
        rootfs,
        container,
        ContainerType::InitContainer,
        START_SOCKET,
        None,
    );
    if made.is_err() {
        let _ = fs::remove_file(build.dir.join(START_SOCKET));
    }
    made
}

/// Lets a built container go. Never waits.
pub fn start(dir: &Path) -> std::io::Result<()> {
    tell_start(dir, START_SOCKET)
}

fn tell_start(dir: &Path, name: &str) -> std::io::Result<()> {
    // Through a descriptor, because a socket's path has 108 bytes and a bundle's may have more.
    let handle = fs::File::open(dir)?;
    let mut stream = UnixStream::connect(format!("/proc/self/fd/{}/{name}", handle.as_raw_fd()))?;
    std::io::Write::write_all(&mut stream, b"start")
}

/// Runs one more process in a running container.
pub fn exec(build: Build<'_>, exec_id: &str, init: u32, process: &[u8]) -> Result<Made> {
    detail::install();
    let process: Process = serde_json::from_slice(process).map_err(failed(Kind::Spec, "reading the process to run"))?;
    workdir::demand(init, process.cwd())?;
    let mut spec = load_spec(build.bundle, build.id)?;
    spec.set_process(Some(process)).set_hooks(None);
    normalise(&mut spec);
    join_namespaces(&mut spec, init)?;
    let container = state(
        build.id,
        build.bundle,
        build.dir,
        ContainerStatus::Running,
        Some(init),
        &spec,
    )?;
    let (read, write) =
        nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(failed(Kind::Runtime, "making a pipe"))?;
    let kind = ContainerType::TenantContainer {
        exec_notify_fd: write.as_raw_fd(),
    };
    let socket = format!("start-{exec_id}.sock");
    let rootfs = PathBuf::from("/");
    let made = run(&build, spec, rootfs, container, kind, &socket, Some(init));
    let told = made.and_then(|made| {
        tell_start(build.dir, &socket).map_err(failed(Kind::Runtime, format_args!("starting exec {exec_id}")))?;
        Ok(made)
    });
    drop((read, write));
    let _ = fs::remove_file(build.dir.join(&socket));
    told
}

/// The common part: give everything to libcontainer's main process and read back the pid. `first` is the container's, for one more.
fn run(
    build: &Build<'_>,
    mut spec: Spec,
    rootfs: PathBuf,
    container: Container,
    kind: ContainerType,
    socket: &str,
    first: Option<u32>,
) -> Result<Made> {
    give_stdio_to_user(&spec, &build.payload)?;
    adjust_oom_score(&spec)?;
    let socket = build.dir.join(socket);
    let _ = fs::remove_file(&socket);
    let notify_listener = NotifyListener::new(&socket).map_err(failed(Kind::Runtime, "making the start socket"))?;
    let user_ns_config = idmap::of(&spec, build.dir)?;
    let cgroup_path = cgroup_path(&spec, build.id);
    let console_size = console_size(&spec);
    let some = |list: &Option<Vec<Hook>>| list.as_ref().is_some_and(|list| !list.is_empty());
    let hooks = spec.hooks().as_ref();
    let poststart = hooks.is_some_and(|hooks| some(hooks.poststart()));
    let poststop = hooks.is_some_and(|hooks| some(hooks.poststop()));
    // Nothing in the namespaces we are about to join may look into this process.
    nix::sys::prctl::set_dumpable(false).map_err(failed(Kind::Runtime, "becoming undumpable"))?;
    let mut payload = build.payload.clone();
    payload.is_first = matches!(kind, ContainerType::InitContainer);
    let devices = device_rules(&spec);
    let place = match first {
        Some(first) => Place::of(&cgroup_path, build.id).beside(first),
        None => Place::of(&cgroup_path, build.id),
    };
    if !road::is_rare(&spec) {
        payload.rights = Some(take_rights(&mut spec, &build.filters)?);
    } else if let Some(linux) = spec.linux_mut()
        && place.prepare(linux.resources().as_ref())?
    {
        linux.set_resources(None);
    }
    let args = ContainerArgs {
        container_type: kind,
        syscall: SyscallType::default(),
        spec: Rc::new(spec),
        rootfs,
        console_socket: build.console,
        notify_listener,
        preserve_fds: 0,
        container: Some(container),
        user_ns_config,
        cgroup_config: place.config(),
        detached: true,
        executor: Box::new(payload),
        no_pivot: build.no_pivot,
        stdin: None,
        stdout: None,
        stderr: None,
        as_sibling: false,
        pid_file: None,
    };
    let pid = road::make(&args, &place)?;
    if matches!(kind, ContainerType::InitContainer)
        && let Err(err) = restrict_devices(pid.as_raw() as u32, &cgroup_path, &devices)
    {
        crate::cgroup::kill(pid.as_raw() as u32, libc::SIGKILL);
        return Err(Failure::new(Kind::Runtime, format!("restricting devices: {err}")));
    }
    Ok(Made {
        pid: pid.as_raw() as u32,
        cgroup_path: cgroup_path.to_string_lossy().into_owned(),
        console_size,
        poststart,
        poststop,
    })
}

/// Where the devices controller is v2's, the container waits for its start already restricted.
fn restrict_devices(pid: u32, cgroup_path: &Path, rules: &[LinuxDeviceCgroup]) -> std::io::Result<()> {
    let cgroups = Cgroups::of(pid, &cgroup_path.to_string_lossy());
    match cgroups
        .controller("devices")
        .filter(|dir| dir.version == crate::cgroup::Version::Two)
    {
        Some(dir) => super::devices::restrict(dir, rules),
        None => Ok(()),
    }
}

fn device_rules(spec: &Spec) -> Vec<LinuxDeviceCgroup> {
    let resources = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
    resources
        .and_then(|resources| resources.devices().clone())
        .unwrap_or_default()
}

/// Runs the hooks that follow a start.
pub fn poststart(id: &str, bundle: &Path, pid: u32) -> Result<()> {
    let spec = load_spec(bundle, id)?;
    let state = state(id, bundle, bundle, ContainerStatus::Running, Some(pid), &spec)?;
    hooks::run(&spec, Stage::Poststart, &state)
}

/// Changes limits of a running container.
pub fn update(id: &str, cgroup_path: &str, resources: &[u8]) -> Result<()> {
    let resources: LinuxResources =
        serde_json::from_slice(resources).map_err(failed(Kind::Spec, "reading the resources"))?;
    Place::of(Path::new(cgroup_path), id).limit(&resources)
}

/// Takes from the spec what the program's process does itself.
fn take_rights(spec: &mut Spec, filters: &Path) -> Result<Rights> {
    let profile = spec.linux().as_ref().and_then(|linux| linux.seccomp().clone());
    let filter = profile.map(|profile| seccomp::filter(&profile, filters)).transpose()?;
    if let Some(linux) = spec.linux_mut() {
        linux.set_seccomp(None);
    }
    let mut rights = Rights {
        filter,
        capabilities: None,
        no_new_privileges: false,
    };
    if let Some(process) = spec.process_mut() {
        rights.capabilities = process.capabilities().clone();
        rights.no_new_privileges = process.no_new_privileges() == Some(true);
        process.set_capabilities(None);
    }
    Ok(rights)
}

pub fn state(
    id: &str,
    bundle: &Path,
    dir: &Path,
    status: ContainerStatus,
    pid: Option<u32>,
    spec: &Spec,
) -> Result<Container> {
    let pid = pid.map(|pid| pid as i32);
    let mut container =
        Container::new(id, status, pid, bundle, dir).map_err(failed(Kind::Runtime, "describing the container"))?;
    container.set_annotations(spec.annotations().clone());
    Ok(container)
}

/// Pipes are made by root; the container's user may want to open them again by /dev/stdout.
fn give_stdio_to_user(spec: &Spec, payload: &Payload) -> Result<()> {
    let Some(process) = spec.process() else { return Ok(()) };
    let uid = process.user().uid();
    let mappings = spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.uid_mappings().clone())
        .unwrap_or_default();
    let mapped = mappings
        .iter()
        .find(|one| (one.container_id()..one.container_id().saturating_add(one.size())).contains(&uid));
    let host = mapped.map_or(uid, |one| one.host_id() + (uid - one.container_id()));
    for fd in payload.stdio.iter().flatten() {
        // SAFETY: the numbers are this child's own copies of the stdio ends, open until the payload execs.
        let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(*fd) };
        let is_pipe = nix::sys::stat::fstat(fd).is_ok_and(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFIFO);
        if is_pipe {
            nix::unistd::fchown(fd, Some(host.into()), None)
                .map_err(failed(Kind::Runtime, "giving stdio to the user"))?;
        }
    }
    Ok(())
}

fn adjust_oom_score(spec: &Spec) -> Result<()> {
    let Some(score) = spec.process().as_ref().and_then(|process| process.oom_score_adj()) else {
        return Ok(());
    };
    fs::write("/proc/self/oom_score_adj", score.to_string())
        .map_err(failed(Kind::Spec, format_args!("setting oom_score_adj to {score}")))
}

/// An error with all that stands behind it.
pub fn with_sources(err: &dyn std::error::Error) -> String {
    let mut text = err.to_string();
    let mut source = err.source();
    while let Some(err) = source {
        let more = err.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = err.source();
    }
    text
}
