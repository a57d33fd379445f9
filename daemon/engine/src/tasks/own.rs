//! The engine's own containers as clients of the containerd API see them: watched, signalled, paused and joined by execs, but made
//! and deleted only by the engine.

use super::task::{not_found, told};
use super::{Process, ProcessExit, ProcessStatus, Stdio};
use crate::context::Context;
use crate::keeper::{Keeper, View};
use gantry_core::container::Ended;
use gantry_core::lifecycle::{Event, Request, State};
use gantry_core::{ContainerId, Error, ExecId, Namespace, Result};
use gantry_task::Shim;
use std::sync::Arc;
use std::time::Duration;

/// How long a running container's shim is waited for after a restart.
const FINDING: Duration = Duration::from_secs(5);

pub(super) fn find(context: &Context, ns: &Namespace, id: &ContainerId) -> Option<Arc<Keeper>> {
    (*ns == context.namespace).then(|| context.registry.get(id)).flatten()
}

pub(super) fn all(context: &Context, ns: &Namespace) -> Vec<Arc<Keeper>> {
    match *ns == context.namespace {
        true => context.registry.all(),
        false => Vec::new(),
    }
}

pub(super) fn refuse(keeper: &Keeper, deed: &str) -> Error {
    let (id, name) = (keeper.id(), keeper.record().name.clone());
    Error::precondition(format!(
        "{deed} task {id}: it belongs to container {name} of the engine; use that to do it"
    ))
}

fn status(state: &State) -> Option<ProcessStatus> {
    match state {
        State::Prepared { .. } | State::Starting { .. } => Some(ProcessStatus::Created),
        State::Running { .. } | State::Resuming { .. } => Some(ProcessStatus::Running),
        State::Pausing { .. } => Some(ProcessStatus::Pausing),
        State::Paused { .. } => Some(ProcessStatus::Paused),
        State::Clearing { ended: Some(_), .. } => Some(ProcessStatus::Stopped),
        State::Created
        | State::Preparing { .. }
        | State::Clearing { ended: None, .. }
        | State::Exited { .. }
        | State::Restarting { .. }
        | State::Removing { .. }
        | State::Dead { .. }
        | State::Removed => None,
    }
}

fn exit(ended: &Ended) -> ProcessExit {
    ProcessExit {
        status: u32::try_from(ended.code).unwrap_or(255),
        at: ended.finished_at,
    }
}

/// Its first process; none while nothing of it runs.
pub(super) fn process(keeper: &Keeper) -> Option<Process> {
    let state = keeper.state();
    let status = status(&state)?;
    let ended = state.ended().filter(|_| status == ProcessStatus::Stopped);
    Some(Process {
        container: keeper.id().clone(),
        exec: None,
        pid: state.pid().unwrap_or_default(),
        status,
        stdio: Stdio {
            terminal: keeper.record().config.tty,
            ..Stdio::default()
        },
        exit: ended.map(exit),
    })
}

/// The shim, while something of the container runs. After a restart of the daemon it is found again first.
pub(super) async fn shim(keeper: &Keeper) -> Result<Shim> {
    let known = |view: &View| view.shim.is_some() || status(&view.state).is_none();
    keeper.until(Some(FINDING), known).await;
    known_shim(keeper).ok_or_else(|| not_found(keeper.id()))
}

pub(super) fn known_shim(keeper: &Keeper) -> Option<Shim> {
    let view = keeper.view();
    view.shim.filter(|_| status(&view.state).is_some())
}

pub(super) async fn kill(keeper: &Keeper, exec: Option<&ExecId>, signal: u32, all: bool) -> Result<()> {
    let shim = shim(keeper).await?;
    if exec.is_some() || all {
        return shim.kill(exec, signal, all).await.map_err(told);
    }
    let signal = i32::try_from(signal).map_err(|_| Error::invalid(format!("invalid signal {signal}")))?;
    keeper.ask(Event::Kill { signal }, Request::Kill).await
}

pub(super) async fn pause(keeper: &Keeper, on: bool) -> Result<()> {
    shim(keeper).await?;
    match on {
        true => keeper.ask(Event::Pause, Request::Pause).await,
        false => keeper.ask(Event::Resume, Request::Resume).await,
    }
}

pub(super) async fn wait(keeper: &Keeper, exec: Option<&ExecId>) -> Result<ProcessExit> {
    let shim = shim(keeper).await?;
    let Some(exec) = exec else {
        let before = keeper.view().exits;
        let over = |view: &View| view.exits > before || status(&view.state).is_none();
        let ended = keeper.until(None, over).await.and_then(|view| view.ended);
        return Ok(ended.as_ref().map_or_else(super::task::unknown_exit, exit));
    };
    match shim.ended(Some(exec)).await {
        Ok(exit) => Ok(ProcessExit {
            status: exit.status,
            at: exit.at,
        }),
        Err(error) if error.is_lost() => Ok(super::task::unknown_exit()),
        Err(error) => Err(told(error)),
    }
}
