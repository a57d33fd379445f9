//! Processes from their making to their end: what this shim has of its own (phases, exits, bytes) is kept as for any other container.

use super::{Foreign, birth, pipes};
use crate::{
    child::Made,
    failure::{Failure, Kind, Result, failed},
    io::lock,
    reaper,
    shim::{Container, Process, Shim},
    stdio, sys,
    verbs::create::adopt,
};
use gantry_proto_shim::{
    api::{CloseIORequest, CreateTaskRequest, ExecProcessRequest, StartRequest, WaitRequest},
    protobuf::well_known_types::any::Any,
    ttrpc::context::Context,
};
use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::time::sleep;

/// How long after the end of a process its shim may take to say so, before it is asked whether it is there.
const OVERDUE: Duration = Duration::from_secs(5);
/// How long its word on a memory kill may come after that on the end, where nothing else tells.
const AFTERTHOUGHT: Duration = Duration::from_millis(200);

/// Starts the shim, and has it create the container; returns its pid.
pub async fn create(
    shim: &Arc<Shim>,
    container: &Arc<Container>,
    foreign: &Arc<Foreign>,
    request: CreateTaskRequest,
) -> Result<u32> {
    let started = birth::bear(shim, container, foreign).await?;
    let process = &container.init;
    let connected = stdio::connect(shim, container, process).await;
    connected.map_err(failed(Kind::Runtime, "making stdio"))?;
    let pipes = pipes::lay(foreign, process).map_err(failed(Kind::Runtime, "making pipes"))?;
    let wire = CreateTaskRequest {
        id: foreign.id.clone(),
        bundle: foreign.bundle().to_string_lossy().into_owned(),
        rootfs: request.rootfs,
        terminal: request.terminal,
        stdin: pipes.stdin,
        stdout: pipes.stdout,
        stderr: pipes.stderr,
        options: foreign.options.clone().into(),
        ..Default::default()
    };
    let link = foreign.link()?;
    let made = foreign
        .patient("creating", link.task.create(Context::default(), &wire))
        .await?;
    let made = Made {
        pid: made.pid,
        cgroup_path: started.cgroup_path,
        ..Default::default()
    };
    adopt(shim, container, &made, std::time::Instant::now());
    take_input(foreign, process, pipes.input);
    watch(shim, container, foreign, process);
    Ok(made.pid)
}

/// From here on what clients send goes to the process, and the end of it, too.
fn take_input(foreign: &Arc<Foreign>, process: &Arc<Process>, input: Option<pipes::Input>) {
    let Some(input) = input else { return };
    let request = CloseIORequest {
        id: foreign.id.clone(),
        exec_id: process.exec.clone().unwrap_or_default(),
        stdin: true,
        ..Default::default()
    };
    let foreign = foreign.clone();
    let closer = move || {
        tokio::spawn(async move {
            let link = foreign.link()?;
            let call = link.task.close_io(Context::default(), &request);
            foreign.brief("closing stdin", call).await
        });
    };
    process.stdin.set_with(input, Box::new(closer));
}

/// Waits for a process's end.
fn watch(shim: &Arc<Shim>, container: &Arc<Container>, foreign: &Arc<Foreign>, process: &Arc<Process>) {
    let (shim, container) = (shim.clone(), container.clone());
    let (foreign, process) = (foreign.clone(), process.clone());
    tokio::spawn(async move {
        let ended = tokio::select! {
            ended = wait(&foreign, &process) => ended,
            never = overdue(&foreign, process.life().pid) => match never {},
        };
        let (status, at) = match ended {
            Ok(ended) => ended,
            // Its death is seen to elsewhere.
            Err(_) if foreign.is_dead() => return,
            Err(failure) => {
                shim.note(&format!("waiting for {}: {failure}", process.describe()));
                (255, SystemTime::now())
            }
        };
        if status == 128 + libc::SIGKILL as u32 && container.cgroups().0.is_empty() && !foreign.told_oom() {
            sleep(AFTERTHOUGHT).await;
        }
        if process.claim_end() {
            reaper::ended_with(&shim, &process, status, at);
        }
    });
}

async fn wait(foreign: &Foreign, process: &Process) -> Result<(u32, SystemTime)> {
    let request = WaitRequest {
        id: foreign.id.clone(),
        exec_id: process.exec.clone().unwrap_or_default(),
        ..Default::default()
    };
    let ended = foreign
        .endless(foreign.link()?.task.wait(Context::default(), &request))
        .await?;
    let at = ended.exited_at.as_ref().map_or_else(SystemTime::now, |at| {
        let since = Duration::new(at.seconds.try_into().unwrap_or(0), at.nanos.try_into().unwrap_or(0));
        UNIX_EPOCH + since
    });
    Ok((ended.exit_status, at))
}

/// A shim that says nothing of an end that the kernel shows is asked whether it is there; one that is stuck is ended.
async fn overdue(foreign: &Foreign, pid: u32) -> std::convert::Infallible {
    let process = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    let seen = process.and_then(|pid| rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok());
    if let Some(seen) = seen.and_then(|seen| sys::watch_for(seen, tokio::io::Interest::READABLE).ok())
        && seen.readable().await.is_ok()
    {
        loop {
            sleep(OVERDUE).await;
            if !foreign.answers().await {
                foreign.put_down();
                break;
            }
        }
    }
    std::future::pending().await
}

/// Starts the created container.
pub async fn start(foreign: &Arc<Foreign>) -> Result<()> {
    start_process(foreign, "").await.map(drop)
}

async fn start_process(foreign: &Arc<Foreign>, exec: &str) -> Result<u32> {
    let request = StartRequest {
        id: foreign.id.clone(),
        exec_id: exec.to_owned(),
        ..Default::default()
    };
    let link = foreign.link()?;
    let started = foreign
        .patient("starting", link.task.start(Context::default(), &request))
        .await?;
    Ok(started.pid)
}

/// Registers an exec on both sides.
pub async fn add_exec(
    container: &Arc<Container>,
    foreign: &Arc<Foreign>,
    process: Arc<Process>,
    spec: Option<Any>,
) -> Result<()> {
    let id = process.exec.clone().unwrap_or_default();
    {
        let mut execs = lock(&container.execs);
        if execs.contains_key(&id) {
            return Err(Failure::new(Kind::Exists, format!("exec {id} exists already")));
        }
        execs.insert(id.clone(), process.clone());
    }
    let added = add_to_foreign(foreign, &process, &id, spec).await;
    if added.is_err() {
        lock(&container.execs).remove(&id);
        pipes::shut(foreign, Some(&id));
        process.hub.end().await;
        pipes::remove(foreign, Some(&id));
    }
    added
}

async fn add_to_foreign(foreign: &Arc<Foreign>, process: &Arc<Process>, id: &str, spec: Option<Any>) -> Result<()> {
    let pipes = pipes::lay(foreign, process).map_err(failed(Kind::Runtime, "making pipes"))?;
    let request = ExecProcessRequest {
        id: foreign.id.clone(),
        exec_id: id.to_owned(),
        terminal: process.terminal,
        stdin: pipes.stdin,
        stdout: pipes.stdout,
        stderr: pipes.stderr,
        spec: spec.into(),
        ..Default::default()
    };
    *lock(&process.input) = pipes.input;
    let link = foreign.link()?;
    foreign
        .patient("adding an exec", link.task.exec(Context::default(), &request))
        .await?;
    Ok(())
}

/// Starts a registered exec.
pub async fn start_exec(
    shim: &Arc<Shim>,
    container: &Arc<Container>,
    foreign: &Arc<Foreign>,
    process: &Arc<Process>,
) -> Result<()> {
    let exec = process.exec.as_deref();
    let connected = stdio::connect(shim, container, process).await;
    connected.map_err(failed(
        Kind::Runtime,
        format_args!("making stdio of {}", process.describe()),
    ))?;
    let started = start_process(foreign, exec.unwrap_or_default()).await;
    let pid = started.inspect_err(|_| pipes::shut(foreign, exec))?;
    {
        let mut life = lock(&process.life);
        life.pid = pid;
        life.start_time = crate::durable::start_time(pid);
        life.oom_before = container.cgroups().oom_kills();
    }
    let input = lock(&process.input).take();
    take_input(foreign, process, input);
    watch(shim, container, foreign, process);
    Ok(())
}
