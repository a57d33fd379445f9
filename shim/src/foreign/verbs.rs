//! The other verbs of the task API, passed on.

use super::{Foreign, death, pipes};
use crate::{
    failure::{Failure, Kind, Result, failed},
    shim::{Container, Phase, Process, Shim},
};
use gantry_proto_shim::{
    api::{
        CheckpointTaskRequest, DeleteRequest, PauseRequest, PidsRequest, PidsResponse, ResumeRequest, StatsRequest,
        StatsResponse, UpdateTaskRequest,
    },
    ttrpc::context::Context,
};
use std::{sync::Arc, time::Duration};

/// Sends a signal. What is being created can only be killed, and its shim with it.
pub async fn kill(container: &Container, process: &Process, foreign: &Foreign, signal: u32, all: bool) -> Result<()> {
    match process.life().phase {
        Phase::Creating if signal == libc::SIGKILL as u32 => {
            foreign.put_down();
            Ok(())
        }
        Phase::Creating | Phase::Added => Err(Failure::precondition(format!(
            "{} has no process yet; only the kill signal ends its creation",
            process.describe()
        ))),
        Phase::Stopped if all && process.exec.is_none() => {
            let left = container.cgroups().pids();
            left.into_iter().for_each(|pid| crate::cgroup::kill(pid, signal as i32));
            Ok(())
        }
        Phase::Stopped => Err(Failure::finished()),
        Phase::Created | Phase::Starting | Phase::Running => {
            foreign
                .kill(process.exec.as_deref().unwrap_or_default(), signal, all)
                .await
        }
    }
}

/// Freezes or thaws.
pub async fn set_frozen(foreign: &Foreign, frozen: bool) -> Result<()> {
    let (link, id) = (foreign.link()?, foreign.id.clone());
    if frozen {
        let request = PauseRequest {
            id,
            ..Default::default()
        };
        foreign
            .brief("pausing", link.task.pause(Context::default(), &request))
            .await?;
    } else {
        let request = ResumeRequest {
            id,
            ..Default::default()
        };
        foreign
            .brief("resuming", link.task.resume(Context::default(), &request))
            .await?;
    }
    Ok(())
}

pub async fn pids(foreign: &Foreign) -> Result<PidsResponse> {
    let request = PidsRequest {
        id: foreign.id.clone(),
        ..Default::default()
    };
    let link = foreign.link()?;
    foreign
        .brief("listing processes", link.task.pids(Context::default(), &request))
        .await
}

pub async fn stats(foreign: &Foreign) -> Result<StatsResponse> {
    let request = StatsRequest {
        id: foreign.id.clone(),
        ..Default::default()
    };
    let link = foreign.link()?;
    foreign
        .brief("sampling", link.task.stats(Context::default(), &request))
        .await
}

pub async fn update(foreign: &Foreign, request: UpdateTaskRequest) -> Result<()> {
    let link = foreign.link()?;
    foreign
        .patient("updating", link.task.update(Context::default(), &request))
        .await?;
    Ok(())
}

pub async fn checkpoint(foreign: &Foreign, request: &CheckpointTaskRequest) -> Result<()> {
    let link = foreign.link()?;
    foreign
        .patient("checkpointing", link.task.checkpoint(Context::default(), request))
        .await?;
    Ok(())
}

/// Forgets an ended exec, or one that never ran.
pub async fn forget_exec(foreign: &Foreign, exec: &str) -> Result<()> {
    let forgotten = delete_process(foreign, exec).await;
    pipes::remove(foreign, Some(exec));
    forgotten
}

async fn delete_process(foreign: &Foreign, exec: &str) -> Result<()> {
    let request = DeleteRequest {
        id: foreign.id.clone(),
        exec_id: exec.to_owned(),
        ..Default::default()
    };
    let Ok(link) = foreign.link() else {
        // All that it had went with it.
        return Ok(());
    };
    match foreign
        .patient("deleting", link.task.delete(Context::default(), &request))
        .await
    {
        Err(failure) if failure.kind == Kind::NotFound || foreign.is_dead() => Ok(()),
        deleted => deleted.map(drop),
    }
}

/// Deletes the ended container, and sends its shim away.
pub async fn delete(shim: &Arc<Shim>, container: &Arc<Container>, foreign: &Arc<Foreign>) -> Result<()> {
    delete_process(foreign, "").await?;
    foreign.dismiss(shim).await;
    let cgroups = container.cgroups();
    let child = crate::child::spawn(shim, &[], || {
        let removed = cgroups.remove(Duration::from_secs(1));
        removed.map_err(failed(Kind::Runtime, "deleting the container"))
    })?;
    child.answer::<()>().await?;
    death::remove_home(foreign)
}
