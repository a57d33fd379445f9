//! Ends of processes: reaped as they come, written down durably, then told.

use crate::{
    durable,
    io::{hub::Last, lock},
    oom,
    shim::{Container, Exited, Phase, Process, Reaped, Shim},
};
use gantry_proto_attach::Exit;
use gantry_shim_protocol::{ExitRecord, exit_file_name, rfc3339};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// How long an exit waits for the execs of its container to end first.
const EXECS_FIRST: Duration = Duration::from_secs(2);

/// Blocks SIGCHLD so that it arrives as bytes to read. To be called before anything is forked.
pub fn listen() -> std::io::Result<SignalFd> {
    let mut mask = nix::sys::signal::SigSet::empty();
    mask.add(nix::sys::signal::Signal::SIGCHLD);
    mask.thread_block()?;
    Ok(SignalFd::with_flags(
        &mask,
        SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC,
    )?)
}

/// Reaps for as long as the shim lives.
pub async fn run(shim: Arc<Shim>, signals: SignalFd) -> std::io::Result<()> {
    let signals = crate::sys::watch(crate::sys::dup(&signals)?)?;
    loop {
        reap_all(&shim);
        let mut guard = signals.readable().await?;
        let mut buffer = [0; 1024];
        if nix::unistd::read(signals.get_ref(), &mut buffer).is_err() {
            guard.clear_ready();
        }
    }
}

fn reap_all(shim: &Arc<Shim>) {
    loop {
        let mut status = 0;
        // SAFETY: waitpid writes one int to the pointer, which outlives the call.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
        if pid <= 0 {
            return;
        }
        let reaped = Reaped {
            pid: pid as u32,
            status,
            at: SystemTime::now(),
            seen: Instant::now(),
        };
        if let Some(process) = shim.reaped(reaped) {
            ended(shim, &process, reaped);
        }
    }
}

/// A process of ours ended: everything that follows runs beside the rest.
pub fn ended(shim: &Arc<Shim>, process: &Arc<Process>, reaped: Reaped) {
    ended_with(shim, process, exit_code(reaped.status), reaped.at);
}

/// The same of a process that another had.
pub fn ended_with(shim: &Arc<Shim>, process: &Arc<Process>, code: u32, at: SystemTime) {
    let (shim, process) = (shim.clone(), process.clone());
    tokio::spawn(async move {
        let _busy = shim.busy();
        let container = shim.container(&process.container).ok();
        if let Some(container) = container.as_ref().filter(|_| process.exec.is_none()) {
            last_of_container(container).await;
        }
        let container = container.as_deref();
        let first = container.filter(|_| process.exec.is_none());
        let memory_kills = first.map_or(0, oom::count);
        let oom_killed =
            memory_kills > 0 || container.is_some_and(|container| was_oom_killed(container, &process, code));
        conclude(
            &shim,
            container,
            &process,
            Exited {
                status: code,
                at,
                oom_killed,
                memory_kills,
            },
        )
        .await;
    });
}

/// Delivers the rest of the output, writes the record, tells everyone: in this order.
pub async fn conclude(shim: &Arc<Shim>, container: Option<&Container>, process: &Arc<Process>, exited: Exited) {
    process.hub.end().await;
    process.stdin.discard();
    lock(&process.console).take();
    if let Some(container) = container
        && let Err(err) = record(shim, container, process, &exited)
    {
        shim.note(&format!("writing the exit record of {}: {err}", process.describe()));
    }
    tell_end(shim, container, process, &exited);
    process.set_phase(Phase::Stopped);
    process.exit.send_replace(Some(exited.clone()));
    process.hub.finish(Last::Exit(Exit {
        status: exited.status,
        exited_at: text_of(exited.at),
        oom_killed: exited.oom_killed,
    }));
    shim.tidy_memory();
}

/// News of an end come after the news of its start, and after those of memory kills.
fn tell_end(shim: &Shim, container: Option<&Container>, process: &Process, exited: &Exited) {
    use gantry_proto_shim::{protobuf::MessageField, task_events::task::TaskExit, topics};
    let life = process.life();
    if life.pid == 0 {
        return;
    }
    let oom = container.and_then(|container| oom::news(shim, container));
    let event = TaskExit {
        container_id: process.container.clone(),
        id: process.exec.clone().unwrap_or_else(|| process.container.clone()),
        pid: life.pid,
        exit_status: exited.status,
        exited_at: MessageField::some(crate::task::timestamp(exited.at)),
        ..Default::default()
    };
    let exit = shim.events.envelope(topics::TASK_EXIT_EVENT_TOPIC, &event);
    let told = oom.into_iter().chain(exit);
    if life.announced || life.phase != Phase::Starting {
        told.for_each(|envelope| shim.events.send(Some(envelope)));
    } else {
        lock(&process.pending).extend(told);
    }
}

/// When a container's first process ends, nothing else of it goes on, and its execs end before it.
async fn last_of_container(container: &Arc<Container>) {
    let cgroups = container.cgroups();
    let deadline = tokio::time::Instant::now() + EXECS_FIRST;
    while !cgroups.pids().is_empty() && tokio::time::Instant::now() < deadline {
        cgroups.kill_all();
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let execs: Vec<Arc<Process>> = lock(&container.execs).values().cloned().collect();
    for exec in &execs {
        if matches!(exec.life().phase, Phase::Starting | Phase::Running) {
            let _ = tokio::time::timeout_at(deadline, exec.wait()).await;
        }
        // Its start is told by whoever started it, at once.
        while !lock(&exec.pending).is_empty() && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

fn was_oom_killed(container: &Container, process: &Process, code: u32) -> bool {
    let kills = container.cgroups().oom_kills();
    let told = container.foreign.as_ref().is_some_and(|foreign| foreign.told_oom());
    (kills > process.life().oom_before || told) && (process.exec.is_none() || code == 128 + libc::SIGKILL as u32)
}

fn record(shim: &Shim, container: &Container, process: &Process, exited: &Exited) -> std::io::Result<()> {
    let life = process.life();
    let record = ExitRecord {
        container: container.id.clone(),
        exec: process.exec.clone().unwrap_or_default(),
        pid: life.pid,
        status: exited.status,
        exited_at: text_of(exited.at),
        boot_id: shim.boot_id.clone(),
        start_time: life.start_time,
        oom_killed: exited.oom_killed,
        memory_kills: exited.memory_kills,
    };
    let path = container.state_dir.join(exit_file_name(process.exec.as_deref()));
    let text = serde_json::to_vec(&record)?;
    if container.driven && process.exec.is_none() {
        return durable::write(&path, &text);
    }
    // An exec does not outlive a boot, nor does a question after it; and a probe every second would have this one thread wait for the
    // disk as often. A client's daemon is told by events; its bundles do not outlive a boot either.
    durable::write_volatile(&path, &text)
}

fn text_of(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    rfc3339(since.as_secs() as i64, since.subsec_nanos())
}

/// Exit code, or 128 and the signal's number.
fn exit_code(status: i32) -> u32 {
    if libc::WIFSIGNALED(status) {
        128 + libc::WTERMSIG(status) as u32
    } else {
        libc::WEXITSTATUS(status) as u32
    }
}
