//! From the helper child to the container's process: a go-between enters the cgroups and clones the process as its own sibling, which
//! then makes itself a container (libcontainer's init) and waits for its start.
//!
//! What is rare (user and time namespaces, network devices, notifying filters, processor affinity) goes libcontainer's own road,
//! which is slower: see `place`.

use super::{
    hooks::{self, Stage},
    place::Place,
};
use crate::{
    failure::{Failure, Kind, Result, failed},
    sys::{self, Forked},
};
use libcontainer::{
    namespaces::Namespaces,
    oci_spec::runtime::{LinuxNamespaceType, LinuxSeccompAction, Spec},
    process::{
        args::{ContainerArgs, ContainerType},
        channel::{self, InitReceiver, InitSender, MainReceiver, MainSender},
        container_main_process::{ProcessError, container_main_process},
        init::container_init_process,
    },
};
use nix_libcontainer::unistd::Pid;
use std::io::Write;

/// Whether only libcontainer's own road leads there.
pub fn is_rare(spec: &Spec) -> bool {
    let affine = spec
        .process()
        .as_ref()
        .is_some_and(|process| process.exec_cpu_affinity().is_some());
    let Some(linux) = spec.linux() else { return affine };
    let mut kinds = linux.namespaces().iter().flatten().map(|namespace| namespace.typ());
    let mut rules = linux
        .seccomp()
        .iter()
        .flat_map(|seccomp| seccomp.syscalls().iter().flatten());
    affine
        || kinds.any(|kind| matches!(kind, LinuxNamespaceType::User | LinuxNamespaceType::Time))
        || linux.net_devices().as_ref().is_some_and(|devices| !devices.is_empty())
        || rules.any(|rule| rule.action() == LinuxSeccompAction::ScmpActNotify)
}

/// Makes the process; it waits for its start on the listener in `args`.
pub fn make(args: &ContainerArgs, place: &Place) -> Result<Pid> {
    if is_rare(&args.spec) {
        return container_main_process(args).map_err(|err| {
            let kind = if matches!(err, ProcessError::Hooks(_)) {
                Kind::Hook
            } else {
                Kind::Runtime
            };
            Failure::new(kind, super::builtin::with_sources(&err))
        });
    }
    let mut between = Channel::new()?;
    let mut inits = Channel::new()?;
    let (mut init_sender, mut init_receiver) = channel::init_channel().map_err(spoken)?;
    let forked = sys::fork().map_err(failed(Kind::Runtime, "forking the go-between"))?;
    let Forked::Parent { child } = forked else {
        let done = go_between(
            args,
            place,
            &mut between,
            &mut inits,
            &mut init_sender,
            &mut init_receiver,
        );
        if let Err(failure) = &done {
            let _ = between.to_main.send_error(failure.message.clone());
        }
        sys::exit_now(i32::from(done.is_err()));
    };
    between.to_main.close().map_err(spoken)?;
    inits.to_main.close().map_err(spoken)?;
    init_receiver.close().map_err(spoken)?;
    let pid = between.main.wait_for_intermediate_ready().map_err(spoken)?;
    // Reaped by its pid; that it ended well is known from what it said.
    let _ = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(child), None);
    let ready = see_through(args, pid, &mut inits.main, &mut init_sender);
    if ready.is_err() {
        crate::cgroup::kill(pid.as_raw() as u32, libc::SIGKILL);
    }
    ready.map(|()| pid)
}

/// The hooks that run out here while the process is being made, and its last word.
fn see_through(args: &ContainerArgs, pid: Pid, inits: &mut MainReceiver, init: &mut InitSender) -> Result<()> {
    if matches!(args.container_type, ContainerType::InitContainer) && args.spec.hooks().is_some() {
        inits.wait_for_hook_request().map_err(spoken)?;
        if let Some(container) = &args.container {
            let mut container = container.clone();
            container.state.pid = Some(pid.as_raw());
            hooks::run(&args.spec, Stage::Prestart, &container)?;
            hooks::run(&args.spec, Stage::CreateRuntime, &container)?;
        }
        init.hook_done().map_err(spoken)?;
    }
    inits.wait_for_init_ready().map_err(spoken)
}

/// What one process tells the helper child.
struct Channel {
    to_main: MainSender,
    main: MainReceiver,
}

impl Channel {
    fn new() -> Result<Self> {
        let (to_main, main) = channel::main_channel().map_err(spoken)?;
        Ok(Self { to_main, main })
    }
}

fn spoken(err: channel::ChannelError) -> Failure {
    Failure::new(Kind::Runtime, super::builtin::with_sources(&err))
}

fn go_between(
    args: &ContainerArgs,
    place: &Place,
    between: &mut Channel,
    inits: &mut Channel,
    init_sender: &mut InitSender,
    init_receiver: &mut InitReceiver,
) -> Result<()> {
    let wrong = |what: &'static str| failed(Kind::Runtime, what);
    let linux = args.spec.linux().as_ref();
    place.enter()?;
    if matches!(args.container_type, ContainerType::InitContainer)
        && let Some(resources) = linux.and_then(|linux| linux.resources().as_ref())
    {
        place.limit(resources)?;
    }
    let syscall = args.syscall.create_syscall();
    let rlimits = args
        .spec
        .process()
        .as_ref()
        .and_then(|process| process.rlimits().as_ref());
    for rlimit in rlimits.into_iter().flatten() {
        let set = syscall.set_rlimit(rlimit);
        set.map_err(failed(Kind::Runtime, format_args!("setting limit {:?}", rlimit.typ())))?;
    }
    let namespaces = linux.and_then(|linux| linux.namespaces().as_ref());
    let namespaces = Namespaces::try_from(namespaces).map_err(wrong("reading the namespaces"))?;
    let pids = namespaces
        .get(LinuxNamespaceType::Pid)
        .map_err(wrong("reading the namespaces"))?;
    // Children are in it, this process is not: hence one more.
    if let Some(pids) = pids {
        namespaces
            .unshare_or_setns(pids)
            .map_err(wrong("entering the pid namespace"))?;
    }
    match sys::fork_sibling().map_err(failed(Kind::Runtime, "cloning the container's process"))? {
        Forked::Parent { child } => between.to_main.intermediate_ready(Pid::from_raw(child)).map_err(spoken),
        Forked::Child => {
            let _ = (init_sender.close(), between.to_main.close());
            let code = init(args, &mut inits.to_main, init_receiver);
            sys::exit_now(code)
        }
    }
}

/// The container's process itself. Returns only if it failed.
fn init(args: &ContainerArgs, to_main: &mut MainSender, receiver: &mut InitReceiver) -> i32 {
    let Err(err) = container_init_process(args, to_main, receiver) else {
        return 0;
    };
    let text = super::builtin::with_sources(&err);
    if let ContainerType::TenantContainer { exec_notify_fd } = args.container_type {
        let mut pipe = std::fs::File::from(sys::own(exec_notify_fd));
        let _ = pipe.write_all(text.as_bytes());
    }
    // Nobody listens once it was ready; then the status pipe has told.
    let _ = to_main.exec_failed(text);
    1
}
