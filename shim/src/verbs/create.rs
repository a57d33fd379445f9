//! Create: the container is registered, a helper child builds it, the answer makes it `Created`.

use crate::{
    cgroup::Cgroups,
    child::{self, Made, builtin, byname, mounts::Mount, undo},
    durable,
    failure::{Failure, Kind, Result, failed},
    foreign::{self, Foreign},
    io::{
        hub::{Hub, Last},
        lock,
        log::Log,
        stdin::Stdin,
    },
    oom,
    peer::Of,
    reaper,
    shim::{Container, Phase, Process, Restore, Runtime, Shim, StdioNames, make_private_dir},
    stdio::{self, Ends},
};
use gantry_proto_attach::{Refusal, RefusalKind};
use gantry_proto_shim::{
    CREATE_OPTIONS_TYPE, api::CreateTaskRequest, extras::CreateOptions, is_type, protobuf::Message,
    runc_options::Options as RuncOptions,
};
use gantry_shim_protocol::{BundleState, bundle, exit_file_name, stdio::Stdio};
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::watch;

const RUNC_OPTIONS_TYPE: &str = "containerd.runc.v1.Options";

/// What the request and its options come to.
struct Plan {
    options: CreateOptions,
    driven: bool,
    runtime: Runtime,
    rootfs: Vec<Mount>,
    /// What containerd asks of a runc shim.
    runc: RuncOptions,
}

/// Creates a container; returns its pid.
pub async fn create(shim: &Arc<Shim>, request: CreateTaskRequest) -> Result<u32> {
    stdio::check([&request.stdin, &request.stdout, &request.stderr])?;
    if shim.closed.load(Ordering::Relaxed) {
        return Err(Failure::precondition("the sandbox has been stopped"));
    }
    let plan = plan(shim, &request)?;
    let container = register(shim, &request, &plan)?;
    if lock(&container.restore).is_some() {
        // There is a process once it starts.
        container.init.set_phase(Phase::Created);
        return Ok(0);
    }
    let built = match &container.foreign {
        Some(foreign) => foreign::life::create(shim, &container, foreign, request).await,
        None => build(shim, &container, &plan).await,
    };
    if let Err(failure) = &built {
        let refusal = Refusal {
            kind: RefusalKind::NeverStarted,
            message: failure.message.clone(),
        };
        container.init.hub.finish(Last::Refused(refusal));
        let unmade = match &container.foreign {
            Some(foreign) => foreign::unmake(shim, &container, foreign).await,
            None => unmake(shim, &container).await,
        };
        if let Err(failure) = unmade {
            shim.note(&failure.message);
        }
        shim.remove(&container.id);
    }
    shim.tidy_memory();
    built.map_err(|failure| super::start::not_made(failure, &container, Of::Init))
}

fn plan(shim: &Shim, request: &CreateTaskRequest) -> Result<Plan> {
    let mount = |mount: &gantry_proto_shim::api::Mount| Mount {
        kind: mount.type_.clone(),
        source: mount.source.clone(),
        target: mount.target.clone(),
        options: mount.options.clone(),
    };
    let rootfs = request.rootfs.iter().map(mount).collect();
    let mut runc = RuncOptions::default();
    let (options, driven) = match request.options.as_ref() {
        Some(any) if is_type(any, CREATE_OPTIONS_TYPE) => {
            let options = CreateOptions::parse_from_bytes(&any.value)
                .map_err(failed(Kind::Invalid, "reading the create options"))?;
            (options, true)
        }
        Some(any) if is_type(any, RUNC_OPTIONS_TYPE) => {
            runc = RuncOptions::parse_from_bytes(&any.value).map_err(failed(Kind::Invalid, "reading runc options"))?;
            let options = CreateOptions {
                runtime: runc.binary_name.clone(),
                systemd_cgroup: runc.systemd_cgroup,
                ..Default::default()
            };
            (options, false)
        }
        Some(any) if !any.type_url.is_empty() => {
            return Err(Failure::new(
                Kind::Invalid,
                format!("options of type {} are not for this shim", any.type_url),
            ));
        }
        _ => (CreateOptions::default(), false),
    };
    let runtime = if options.runtime.is_empty() {
        refuse_for_builtin(&options, &runc, request)?;
        Runtime::Builtin
    } else {
        if !runc.criu_image_path.is_empty() {
            return Err(Failure::new(
                Kind::Unsupported,
                "criu_image_path is not served: each checkpoint says where its image goes",
            ));
        }
        let (name, args) = (options.runtime.clone(), options.runtime_args.clone());
        Runtime::Program(byname::Program {
            name,
            args,
            systemd_cgroup: options.systemd_cgroup,
            root: (!runc.root.is_empty()).then(|| Path::new(&runc.root).join(&shim.config.namespace)),
            no_pivot: runc.no_pivot_root,
            no_new_keyring: runc.no_new_keyring,
        })
    };
    Ok(Plan {
        options,
        driven,
        runtime,
        rootfs,
        runc,
    })
}

/// What only a program does, and the built-in runtime does not, is refused by name. (It makes no keyring: `no_new_keyring` asks for nothing.)
fn refuse_for_builtin(options: &CreateOptions, runc: &RuncOptions, request: &CreateTaskRequest) -> Result<()> {
    let refused = [
        (options.systemd_cgroup, "systemd_cgroup: it makes plain cgroups"),
        (!runc.root.is_empty(), "root: it keeps its state in the bundle"),
        (
            !runc.criu_image_path.is_empty(),
            "criu_image_path: it makes no checkpoints",
        ),
        (
            !runc.criu_work_path.is_empty(),
            "criu_work_path: it makes no checkpoints",
        ),
        (!request.checkpoint.is_empty(), "restore from a checkpoint"),
    ];
    match refused.into_iter().find_map(|(asked, what)| asked.then_some(what)) {
        Some(what) => Err(Failure::new(
            Kind::Unsupported,
            format!("the built-in runtime has no {what}; name a runtime program, as runc"),
        )),
        None => Ok(()),
    }
}

fn register(shim: &Arc<Shim>, request: &CreateTaskRequest, plan: &Plan) -> Result<Arc<Container>> {
    let options = &plan.options;
    let bundle = PathBuf::from(&request.bundle);
    let bundle = if bundle.as_os_str().is_empty() {
        shim.config.bundle.clone()
    } else {
        bundle
    };
    let state_dir = if options.state_dir.is_empty() {
        bundle.clone()
    } else {
        PathBuf::from(&options.state_dir)
    };
    make_private_dir(&state_dir).map_err(failed(Kind::Runtime, format_args!("making {}", state_dir.display())))?;
    if plan.driven {
        forget_exits(&state_dir);
    }
    shim.events.keep_in(&state_dir);
    let foreign = Foreign::asked(&shim.config, options, &request.id, &bundle).map(Arc::new);
    let log = open_log(plan, &state_dir, &request.id)?;
    let names = StdioNames {
        stdin: request.stdin.clone(),
        stdout: request.stdout.clone(),
        stderr: request.stderr.clone(),
    };
    let hub = Hub::new(shim.clone(), &state_dir, log.clone());
    let (held, once) = match Stdio::parse(&names.stdin) {
        Stdio::Attach { once } => (true, once),
        Stdio::Fifo(_) => (true, false),
        Stdio::Null | Stdio::File(_) | Stdio::Binary(_) | Stdio::Unknown(_) => (options.open_stdin, options.stdin_once),
    };
    let stdin = Stdin::new(held, once, request.terminal);
    let container = Arc::new(Container {
        id: request.id.clone(),
        bundle,
        state_dir,
        runtime: plan.runtime.clone(),
        foreign: foreign.clone(),
        in_host: options.mount_in_host,
        driven: plan.driven,
        drain: Duration::from_secs(if options.drain_seconds == 0 {
            60
        } else {
            options.drain_seconds.into()
        }),
        io_owner: (plan.runc.io_uid, plan.runc.io_gid),
        memory_kills: watch::Sender::new(0),
        restore: Mutex::new(restore(request, plan)),
        init: Process::new(&request.id, None, request.terminal, names, hub, stdin, foreign),
        execs: Mutex::new(HashMap::new()),
        cgroups: Mutex::default(),
        cgroup_path: Mutex::default(),
        log,
        paused: AtomicBool::new(false),
        poststart: AtomicBool::new(false),
        poststop: AtomicBool::new(false),
        deleting: AtomicBool::new(false),
        helper: Mutex::default(),
    });
    if !shim.add(container.clone()) {
        return Err(Failure::new(
            Kind::Exists,
            format!("container {} exists already", request.id),
        ));
    }
    Ok(container)
}

/// The checkpoint to begin from, if one is named.
fn restore(request: &CreateTaskRequest, plan: &Plan) -> Option<Restore> {
    let work = &plan.runc.criu_work_path;
    (!request.checkpoint.is_empty()).then(|| Restore {
        image: PathBuf::from(&request.checkpoint),
        work: (!work.is_empty()).then(|| PathBuf::from(work)),
        rootfs: plan.rootfs.clone(),
    })
}

/// Records of a life before this one would be taken for this one's.
fn forget_exits(state_dir: &Path) {
    for entry in std::fs::read_dir(state_dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name == exit_file_name(None) || (name.starts_with("exit-") && name.ends_with(".json")) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

fn open_log(plan: &Plan, state_dir: &Path, id: &str) -> Result<Option<Arc<Mutex<Log>>>> {
    let options = plan.options.log.clone().unwrap_or_default();
    match options.driver.as_str() {
        _ if !plan.driven => Ok(None),
        "none" => Ok(None),
        "" | "json-file" => {
            let log = Log::open(&options, state_dir, id)
                .map_err(failed(Kind::Runtime, format_args!("opening the log of container {id}")))?;
            Ok(Some(Arc::new(Mutex::new(log))))
        }
        other => Err(Failure::new(
            Kind::Unsupported,
            format!("log driver {other} is not served by this shim"),
        )),
    }
}

async fn build(shim: &Arc<Shim>, container: &Arc<Container>, plan: &Plan) -> Result<u32> {
    build_by(shim, container, |ends| run(shim, container, plan, ends)).await
}

/// Makes the first process with `run`, which works in a child.
pub async fn build_by(
    shim: &Arc<Shim>,
    container: &Arc<Container>,
    run: impl FnOnce(&Ends) -> Result<Made>,
) -> Result<u32> {
    let ends = stdio::make(shim, container, &container.init).await?;
    let since = Instant::now();
    let child = child::spawn(shim, &ends.keep(), || run(&ends))?;
    *lock(&container.helper) = Some(child.pid);
    let stderr = child.stderr.clone();
    let made = child.answer::<Made>().await;
    lock(&container.helper).take();
    let made = match made {
        Ok(made) => made,
        Err(failure) => {
            let status = ends.status.1;
            drop((ends.stdio, ends.console, ends.status.0));
            return Err(super::start::explain(failure, &status, &stderr));
        }
    };
    adopt(shim, container, &made, since);
    let status = ends.taken(&container.init, made.console_size);
    match status {
        Ok(status) => *lock(&container.init.status_pipe) = Some((status, stderr)),
        Err(failure) => {
            crate::cgroup::kill(made.pid, libc::SIGKILL);
            return Err(failure);
        }
    }
    Ok(made.pid)
}

/// Nothing of a creation that failed stays.
async fn unmake(shim: &Arc<Shim>, container: &Arc<Container>) -> Result<()> {
    let dir = container.dir();
    let child = child::spawn(shim, &[], || {
        if let Runtime::Program(program) = &container.runtime {
            // It may not have come far enough to know the container.
            let _ = byname::delete(&call(shim, container, program, &dir, None));
        }
        undo::undo(&container.id, &container.bundle, &dir)
    })?;
    child.answer::<()>().await
}

/// In the child.
fn run(shim: &Shim, container: &Container, plan: &Plan, ends: &Ends) -> Result<Made> {
    match &plan.runtime {
        Runtime::Builtin => {
            let build = builtin::Build {
                id: &container.id,
                bundle: &container.bundle,
                dir: &container.dir(),
                payload: ends.payload(),
                filters: shim.config.filters(),
                console: ends.console_number(),
                no_pivot: plan.runc.no_pivot_root,
            };
            builtin::create(build, &plan.rootfs, container.in_host)
        }
        Runtime::Program(program) => byname::create(
            &call(shim, container, program, &container.dir(), Some(ends)),
            &plan.rootfs,
            container.in_host,
        ),
    }
}

/// A runtime program's view of a container.
pub fn call<'a>(
    shim: &'a Shim,
    container: &'a Container,
    program: &'a byname::Program,
    dir: &'a Path,
    ends: Option<&Ends>,
) -> byname::Call<'a> {
    byname::Call {
        program,
        id: &container.id,
        bundle: &container.bundle,
        dir,
        sockets: shim.config.task_socket.parent().unwrap_or(Path::new("/run")),
        stdio: ends.map_or([None; 3], Ends::numbers),
        console: ends.and_then(Ends::console_number),
    }
}

/// The process exists: from here on it is ours. `since` is when its making began.
pub fn adopt(shim: &Arc<Shim>, container: &Arc<Container>, made: &Made, since: Instant) {
    let cgroups = Cgroups::of(made.pid, &made.cgroup_path);
    let start_time = durable::start_time(made.pid);
    {
        let mut life = lock(&container.init.life);
        life.pid = made.pid;
        life.start_time = start_time;
        life.oom_before = cgroups.oom_kills();
        if life.phase == Phase::Creating {
            life.phase = Phase::Created;
        }
    }
    oom::watch(shim, container, &cgroups);
    let state = BundleState {
        id: container.id.clone(),
        pid: made.pid,
        start_time,
        boot_id: shim.boot_id.clone(),
        cgroups: cgroups.paths(),
        runtime: match &container.runtime {
            Runtime::Builtin => String::new(),
            Runtime::Program(program) => program.name.clone(),
        },
        runtime_root: match &container.runtime {
            Runtime::Builtin => String::new(),
            Runtime::Program(program) => program.root_for(&container.dir()).to_string_lossy().into_owned(),
        },
    };
    *lock(&container.cgroups) = cgroups;
    lock(&container.cgroup_path).clone_from(&made.cgroup_path);
    container.poststart.store(made.poststart, Ordering::Relaxed);
    container.poststop.store(made.poststop, Ordering::Relaxed);
    let written = serde_json::to_vec(&state).map_err(std::io::Error::from);
    let written = written.and_then(|text| durable::write_volatile(&container.bundle.join(bundle::STATE), &text));
    if let Err(err) = written {
        shim.note(&format!("writing the state of container {}: {err}", container.id));
    }
    if container.foreign.is_none()
        && let Some(reaped) = shim.adopt(made.pid, &container.init, since)
    {
        reaper::ended(shim, &container.init, reaped);
    }
}
