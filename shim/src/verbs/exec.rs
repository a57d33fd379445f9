//! Exec: registered first, so that clients may attach; built and started in one go.

use super::{
    create::call,
    start::{began, explain, not_made},
};
use crate::{
    child::{self, Made, builtin, byname},
    durable,
    failure::{Failure, Kind, Result},
    foreign,
    io::{
        hub::{Hub, Last},
        lock,
        stdin::Stdin,
    },
    peer::{self, Of},
    reaper,
    shim::{Container, Exited, Phase, Process, Runtime, Shim, StdioNames},
    stdio::{self, Ends},
};
use gantry_proto_attach::{Refusal, RefusalKind};
use gantry_proto_shim::api::ExecProcessRequest;
use gantry_shim_protocol::stdio::Stdio;
use std::sync::Arc;

/// Registers an exec.
pub async fn add(shim: &Arc<Shim>, request: ExecProcessRequest) -> Result<()> {
    let container = shim.container(&request.id)?;
    let id = &request.exec_id;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    if id.is_empty() || !id.bytes().all(plain) || id.starts_with('.') {
        return Err(Failure::new(
            Kind::Invalid,
            format!("exec id {id:?} is not made of letters, digits, _, . and -"),
        ));
    }
    stdio::check([&request.stdin, &request.stdout, &request.stderr])?;
    let (phase, paused) = (container.init.life().phase, container.is_paused());
    let refused = |why: &str| {
        let text = format!("container {} {why}", container.id);
        Err(Failure::precondition(text).with_peer(peer::exec(phase, paused)))
    };
    if !matches!(phase, Phase::Created | Phase::Starting | Phase::Running) {
        return refused("is not running");
    }
    if paused {
        return refused("is paused");
    }
    let (held, once) = match Stdio::parse(&request.stdin) {
        Stdio::Attach { once } => (true, once),
        Stdio::Fifo(_) => (true, false),
        Stdio::Null | Stdio::File(_) | Stdio::Binary(_) | Stdio::Unknown(_) => (false, false),
    };
    let names = StdioNames {
        stdin: request.stdin,
        stdout: request.stdout,
        stderr: request.stderr,
    };
    let hub = Hub::new(shim.clone(), &container.state_dir, None);
    let process = Process::new(
        &container.id,
        Some(id),
        request.terminal,
        names,
        hub,
        Stdin::new(held, once, request.terminal),
        container.foreign.clone(),
    );
    if let Some(foreign) = &container.foreign {
        return foreign::life::add_exec(&container, foreign, process, request.spec.into_option()).await;
    }
    *lock(&process.spec) = request.spec.into_option().map(|any| any.value).unwrap_or_default();
    let mut execs = lock(&container.execs);
    if execs.contains_key(id) {
        let words = format!("id {id}: already exists");
        return Err(Failure::new(Kind::Exists, format!("exec {id} exists already")).with_peer(words));
    }
    execs.insert(id.clone(), process);
    Ok(())
}

/// Starts a registered exec; returns its pid.
pub async fn start(shim: &Arc<Shim>, id: &str, exec_id: &str) -> Result<u32> {
    let container = shim.container(id)?;
    let process = container.process(exec_id)?;
    if container.init.life().phase != Phase::Running {
        return Err(Failure::precondition(format!("container {id} is not running")));
    }
    if container.is_paused() {
        return Err(Failure::precondition(format!("container {id} is paused")));
    }
    let busy = |phase| {
        let text = format!("exec {exec_id} was started already");
        Failure::precondition(text).with_peer(peer::start(phase, false))
    };
    process.step(Phase::Added, Phase::Starting).map_err(busy)?;
    let started = match &container.foreign {
        Some(foreign) => foreign::life::start_exec(shim, &container, foreign, &process).await,
        None => run(shim, &container, &process, exec_id).await,
    };
    if let Err(failure) = &started {
        never_ran(shim, &container, &process, failure).await;
    }
    shim.tidy_memory();
    started.map_err(|failure| not_made(failure, &container, Of::Exec))?;
    let _ = process.step(Phase::Starting, Phase::Running);
    Ok(process.life().pid)
}

async fn run(shim: &Arc<Shim>, container: &Arc<Container>, process: &Arc<Process>, exec_id: &str) -> Result<()> {
    let spec = std::mem::take(&mut *lock(&process.spec));
    let ends = stdio::make(shim, container, process).await?;
    let init = container.init.life().pid;
    let since = std::time::Instant::now();
    let child = child::spawn(shim, &ends.keep(), || {
        build(shim, container, exec_id, init, &spec, &ends)
    })?;
    drop(spec);
    let stderr = child.stderr.clone();
    let made = match child.answer::<Made>().await {
        Ok(made) => made,
        Err(failure) => return Err(explain(failure, &ends.status.1, &stderr)),
    };
    {
        let mut life = lock(&process.life);
        life.pid = made.pid;
        life.start_time = durable::start_time(made.pid);
        life.oom_before = container.cgroups().oom_kills();
    }
    if let Some(reaped) = shim.adopt(made.pid, process, since) {
        reaper::ended(shim, process, reaped);
    }
    let status = ends
        .taken(process, made.console_size)
        .inspect_err(|_| crate::cgroup::kill(made.pid, libc::SIGKILL))?;
    match &container.runtime {
        Runtime::Builtin => began(status, process, &stderr).await,
        Runtime::Program(_) => Ok(()),
    }
}

/// In the child.
fn build(shim: &Shim, container: &Container, exec_id: &str, init: u32, spec: &[u8], ends: &Ends) -> Result<Made> {
    let dir = container.dir();
    match &container.runtime {
        Runtime::Builtin => {
            let build = builtin::Build {
                id: &container.id,
                bundle: &container.bundle,
                dir: &dir,
                payload: ends.payload(),
                filters: shim.config.filters(),
                console: ends.console_number(),
                no_pivot: false,
            };
            builtin::exec(build, exec_id, init, spec)
        }
        Runtime::Program(program) => byname::exec(&call(shim, container, program, &dir, Some(ends)), exec_id, spec),
    }
}

/// There was never a process, or it ended before its program began: whoever waits learns of it.
async fn never_ran(shim: &Arc<Shim>, container: &Arc<Container>, process: &Arc<Process>, failure: &Failure) {
    if process.life().pid != 0 {
        // The kernel tells of its end.
        return;
    }
    let refusal = Refusal {
        kind: RefusalKind::NeverStarted,
        message: failure.message.clone(),
    };
    process.hub.finish(Last::Refused(refusal));
    let exited = Exited::now(failure.exit_code());
    reaper::conclude(shim, Some(container), process, exited).await;
}
