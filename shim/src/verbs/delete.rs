//! Delete: an ended process is forgotten; with a container's first process goes all that was made for it.

use super::{create::call, start::with_words};
use crate::{
    child::{self, byname, undo},
    failure::{Failure, Kind, Result},
    foreign,
    io::{hub::Last, lock},
    peer,
    shim::{Container, Exited, Phase, Process, Runtime, Shim},
};
use gantry_proto_attach::{Refusal, RefusalKind};
use gantry_shim_protocol::bundle;
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// How long readers of named pipes may take for the last of the output; containerd's clients close theirs after a deletion.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Deletes; returns the pid it had and how it ended.
pub async fn delete(shim: &Arc<Shim>, id: &str, exec: &str) -> Result<(u32, Exited)> {
    let container = shim.container(id)?;
    if exec.is_empty() {
        delete_container(shim, &container).await
    } else {
        delete_exec(&container, exec).await
    }
}

async fn delete_exec(container: &Container, exec: &str) -> Result<(u32, Exited)> {
    let process = container.process(exec)?;
    let ended = match process.life().phase {
        Phase::Added => {
            forget_unstarted(&process);
            Exited::now(0)
        }
        Phase::Stopped => process.exited().unwrap_or_else(|| Exited::now(255)),
        Phase::Creating | Phase::Created | Phase::Starting | Phase::Running => {
            let words = peer::delete(process.life().phase, false);
            return Err(Failure::precondition(format!("exec {exec} is running: end it first")).with_peer(words));
        }
    };
    process.hub.sent(LAST_WORDS).await;
    if let Some(foreign) = &container.foreign {
        foreign::verbs::forget_exec(foreign, exec).await?;
    }
    lock(&container.execs).remove(exec);
    Ok((process.life().pid, ended))
}

fn forget_unstarted(process: &Process) {
    let message = format!("{} was removed before it was started", process.describe());
    process.hub.finish(Last::Refused(Refusal {
        kind: RefusalKind::NeverStarted,
        message,
    }));
}

async fn delete_container(shim: &Arc<Shim>, container: &Arc<Container>) -> Result<(u32, Exited)> {
    let process = &container.init;
    let phase = process.life().phase;
    if !matches!(phase, Phase::Created | Phase::Stopped) {
        let text = format!("container {} is running or being made: end it first", container.id);
        return Err(Failure::precondition(text).with_peer(peer::delete(phase, container.is_paused())));
    }
    if container.deleting.swap(true, Ordering::Relaxed) {
        return Err(Failure::precondition(format!(
            "container {} is being deleted already",
            container.id
        )));
    }
    let deleted = delete_claimed(shim, container).await;
    if deleted.is_err() {
        container.deleting.store(false, Ordering::Relaxed);
    }
    deleted
}

async fn delete_claimed(shim: &Arc<Shim>, container: &Arc<Container>) -> Result<(u32, Exited)> {
    let process = &container.init;
    if process.life().phase == Phase::Created {
        let _ = process.signal(libc::SIGKILL);
    }
    if lock(&container.restore).is_some() {
        crate::reaper::conclude(shim, None, process, Exited::now(0)).await;
    }
    let ended = tokio::time::timeout(Duration::from_secs(10), process.wait()).await;
    let ended = ended.map_err(|_| Failure::new(Kind::Runtime, format!("container {} does not end", container.id)))?;
    process.hub.sent(LAST_WORDS).await;
    match &container.foreign {
        Some(foreign) => foreign::verbs::delete(shim, container, foreign).await?,
        None => undo_own(shim, container).await?,
    }
    for exec in lock(&container.execs)
        .values()
        .filter(|exec| exec.life().phase == Phase::Added)
    {
        forget_unstarted(exec);
    }
    // Nobody shall look for its process any more. The file itself goes with the bundle, out of everybody's way.
    let _ = std::fs::rename(
        container.bundle.join(bundle::STATE),
        container.bundle.join(bundle::STATE_GONE),
    );
    shim.remove(&container.id);
    Ok((process.life().pid, ended))
}

/// Takes away what creating it made.
async fn undo_own(shim: &Arc<Shim>, container: &Arc<Container>) -> Result<()> {
    let cgroups = container.cgroups();
    let plain = matches!(container.runtime, Runtime::Builtin) && !container.in_host;
    if plain && !container.poststop.load(Ordering::Relaxed) && undo::delete_at_once(&cgroups) {
        return Ok(());
    }
    let child = child::spawn(shim, &[], || match &container.runtime {
        Runtime::Builtin => undo::delete(&container.id, &container.bundle, &container.dir(), &cgroups),
        Runtime::Program(program) => {
            let done = byname::delete(&call(shim, container, program, &container.dir(), None));
            cgroups
                .remove(Duration::from_secs(1))
                .map_err(crate::failure::failed(Kind::Runtime, "deleting the container"))
                .and(done)
        }
    })?;
    let stderr = child.stderr.clone();
    match child.answer::<()>().await {
        Ok(()) => Ok(()),
        // The container is gone all the same.
        Err(failure) if failure.kind == Kind::Hook => {
            shim.note(&with_words(failure, &stderr).message);
            Ok(())
        }
        Err(failure) => Err(with_words(failure, &stderr)),
    }
}
