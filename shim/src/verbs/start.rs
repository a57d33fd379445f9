//! Start: the waiting process is let go, and the answer says whether its program really began.

use super::create::{build_by, call};
use crate::{
    child::{self, Stderr, builtin, byname, nonblocking, payload::ABOUT_TO_EXEC},
    failure::{Failure, Kind, Result, failed},
    foreign,
    io::lock,
    peer::{self, Of},
    shim::{Container, Phase, Process, Runtime, Shim},
};
use std::{
    io::Read,
    os::fd::OwnedFd,
    sync::{Arc, atomic::Ordering},
};

/// The longest report of a start.
const MAX_REPORT: u64 = 16 * 1024;

/// Starts a created container; returns its pid.
pub async fn start(shim: &Arc<Shim>, id: &str) -> Result<u32> {
    let container = shim.container(id)?;
    let process = &container.init;
    if container.deleting.load(Ordering::Relaxed) {
        return Err(Failure::precondition(format!("container {id} is being deleted")));
    }
    process
        .step(Phase::Created, Phase::Starting)
        .map_err(|phase| refused(id, phase).with_peer(peer::start(phase, container.is_paused())))?;
    let started = match (&container.foreign, &container.runtime) {
        (Some(foreign), _) => foreign::life::start(foreign).await,
        (None, Runtime::Builtin) => start_builtin(shim, &container).await,
        (None, Runtime::Program(program)) => start_program(shim, &container, program).await,
    };
    lock(&process.status_pipe).take();
    shim.tidy_memory();
    started?;
    // It may have ended already.
    let _ = process.step(Phase::Starting, Phase::Running);
    Ok(process.life().pid)
}

fn refused(id: &str, phase: Phase) -> Failure {
    let why = match phase {
        Phase::Added | Phase::Creating => "is still being created",
        Phase::Created => "is not ready",
        Phase::Starting => "is being started already",
        Phase::Running => "is running already",
        Phase::Stopped => "has ended",
    };
    Failure::precondition(format!("container {id} {why}"))
}

async fn start_builtin(shim: &Arc<Shim>, container: &Arc<Container>) -> Result<()> {
    builtin::start(&container.dir()).map_err(failed(
        Kind::Runtime,
        format_args!("starting container {}", container.id),
    ))?;
    let pipe = lock(&container.init.status_pipe).take();
    let (pipe, stderr) =
        pipe.ok_or_else(|| Failure::precondition(format!("container {} is not ready", container.id)))?;
    began(pipe, &container.init, &stderr).await?;
    if !container.poststart.load(Ordering::Relaxed) {
        return Ok(());
    }
    let pid = container.init.life().pid;
    let child = child::spawn(shim, &[], || builtin::poststart(&container.id, &container.bundle, pid))?;
    *lock(&container.helper) = Some(child.pid);
    let stderr = child.stderr.clone();
    let done = child.answer::<()>().await;
    lock(&container.helper).take();
    done.map_err(|failure| {
        let _ = container.init.signal(libc::SIGKILL);
        with_words(failure, &stderr)
    })
}

async fn start_program(shim: &Arc<Shim>, container: &Arc<Container>, program: &byname::Program) -> Result<()> {
    let dir = container.dir();
    let from = lock(&container.restore).clone();
    if let Some(from) = from {
        let made = build_by(shim, container, |ends| {
            byname::restore(
                &call(shim, container, program, &dir, Some(ends)),
                &from,
                container.in_host,
            )
        });
        if let Err(failure) = made.await {
            // It may be tried again.
            let _ = container.init.step(Phase::Starting, Phase::Created);
            return Err(failure);
        }
        lock(&container.restore).take();
        return Ok(());
    }
    let child = child::spawn(shim, &[], || byname::start(&call(shim, container, program, &dir, None)))?;
    *lock(&container.helper) = Some(child.pid);
    let done = child.answer::<()>().await;
    lock(&container.helper).take();
    done
}

/// Reads the status pipe to its end: it closes when the program begins, or when the process dies first.
pub async fn began(pipe: OwnedFd, process: &Arc<Process>, stderr: &Stderr) -> Result<()> {
    let report = read_report(pipe).await;
    match report.split_first() {
        Some((&ABOUT_TO_EXEC, [])) => Ok(()),
        Some((&ABOUT_TO_EXEC, rest)) | Some((_, rest)) if !rest.is_empty() => {
            let text = if report[0] == ABOUT_TO_EXEC { rest } else { &report };
            let unreadable = || {
                Failure::new(
                    Kind::Runtime,
                    format!("starting {}: unreadable report", process.describe()),
                )
            };
            Err(serde_json::from_slice(text).unwrap_or_else(|_| unreadable()))
        }
        _ => {
            // Between the start and the program stand only the hooks.
            let exited = tokio::time::timeout(std::time::Duration::from_secs(5), process.wait()).await;
            let how = exited.map_or_else(|_| String::new(), |exited| format!(" (exit code {})", exited.status));
            let failure = Failure::new(
                Kind::Hook,
                format!("{} ended before its program began{how}", process.describe()),
            );
            Err(with_words(failure, stderr))
        }
    }
}

async fn read_report(pipe: OwnedFd) -> Vec<u8> {
    let mut report = Vec::new();
    let Ok(pipe) = nonblocking(pipe) else { return report };
    let mut buffer = [0; 512];
    while let Ok(mut guard) = pipe.readable().await {
        match nix::unistd::read(pipe.get_ref(), &mut buffer) {
            Ok(0) => break,
            Ok(count) => report.extend_from_slice(&buffer[..count]),
            Err(nix::errno::Errno::EAGAIN) => guard.clear_ready(),
            Err(nix::errno::Errno::EINTR) => {}
            Err(_) => break,
        }
        if report.len() as u64 > MAX_REPORT {
            break;
        }
    }
    report
}

/// The best reason there is for a failed build: the payload's own, else the runtime's with what it (or a hook) wrote to stderr.
pub fn explain(failure: Failure, status: &OwnedFd, stderr: &Stderr) -> Failure {
    let mut report = Vec::new();
    let flags = nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK);
    if nix::fcntl::fcntl(status, flags).is_ok()
        && let Ok(pipe) = status.try_clone()
    {
        let _ = std::fs::File::from(pipe).take(MAX_REPORT).read_to_end(&mut report);
    }
    serde_json::from_slice(&report).unwrap_or_else(|_| with_words(failure, stderr))
}

/// A process that could not be made, in the words of containerd's own shim as well.
pub fn not_made(failure: Failure, container: &Container, of: Of) -> Failure {
    let ours = match failure.kind {
        Kind::Runtime | Kind::CommandNotFound | Kind::CommandNotExecutable | Kind::Hook => false,
        // It did not come to the making, or it was ended from here.
        Kind::Mount
        | Kind::Aborted
        | Kind::Spec
        | Kind::NotFound
        | Kind::Exists
        | Kind::Precondition
        | Kind::Invalid
        | Kind::Unsupported => true,
    };
    if ours || container.foreign.is_some() {
        return failure;
    }
    let said = failure.peer.as_ref().unwrap_or(&failure.message);
    let words = match &container.runtime {
        Runtime::Builtin => peer::not_made(of, said),
        Runtime::Program(_) => peer::program_failed(of, said),
    };
    failure.with_peer(words)
}

/// Adds what was said on stderr.
pub fn with_words(mut failure: Failure, stderr: &Stderr) -> Failure {
    let words = stderr.text();
    if !words.is_empty() {
        failure.message = format!("{}: {words}", failure.message);
    }
    // libcontainer passes failures of hooks inside the container as this text only.
    if failure.kind == Kind::Runtime && failure.message.contains("failed to run hooks") {
        failure.kind = Kind::Hook;
    }
    failure
}
