//! Making a container in the kernel: spec, host files, shim, and the shim's `create`.

use super::changes::MARK;
use super::logging;
use crate::context::Context;
use crate::gate::{UnderWay, blocking, held};
use crate::keeper::{ended_by, ended_from};
use crate::network::Entered;
use crate::{failpoint, files, host, layered, network};
use gantry_core::container::{ContainerRecord, Ended, NetworkMode};
use gantry_core::error::io_kind;
use gantry_core::snapshot::SnapshotService;
use gantry_core::{ContainerId, Error, Mount, Result};
use gantry_task::{CreateTask, HeldStdin, Lookup, Reunion, Shim, StartShim};
use std::sync::Arc;
use std::time::Duration;
use tracing::warn;

/// First and longest pause between two looks for a shim that does not answer.
const SEARCH_FIRST: Duration = Duration::from_millis(500);
const SEARCH_LONGEST: Duration = Duration::from_secs(30);

/// Makes it and answers the shim and the pid of the waiting process.
pub(crate) async fn make(
    context: &Arc<Context>,
    record: &Arc<ContainerRecord>,
    under_way: UnderWay,
) -> Result<(Shim, u32)> {
    lenders_are_found(context, record).await;
    let (worker, subject) = (context.clone(), record.clone());
    let mounts = blocking(move || {
        let (snapshotter, layer) = (&subject.snapshotter, &subject.snapshot_key);
        worker.snapshots.mounts(&worker.namespace, snapshotter, layer)
    })
    .await?;
    failpoint!("engine::make::files");
    let entered = network::enter(context, record, &under_way).await?;
    let (worker, subject, layers) = (context.clone(), record.clone(), mounts.clone());
    let config = held(&under_way, move || outfit(&worker, &subject, entered, &layers)).await?;
    failpoint!("engine::make::shim");
    let (worker, goes_on) = (context.clone(), under_way.clone());
    let start = StartShim {
        namespace: context.namespace.clone(),
        id: record.id.clone(),
        spec: config,
    };
    let started = async move {
        let shim = worker.shims.start(start).await?;
        drop(goes_on);
        Ok(shim)
    };
    let shim = crate::finish(started).await?;
    network::hand_over(context, &record.id, &shim).await?;
    failpoint!("engine::make::create");
    let process = shim.create(task(context, record, mounts)?).await?;
    Ok((shim, process.pid))
}

/// After a restart of the daemon a container whose namespaces are lent is found again before they are.
async fn lenders_are_found(context: &Arc<Context>, record: &ContainerRecord) {
    let host = &record.host;
    let mut lenders = Vec::new();
    for mode in [&host.pid_mode, &host.ipc_mode] {
        lenders.extend(mode.strip_prefix("container:"));
    }
    if let NetworkMode::Container(other) = &host.network_mode {
        lenders.push(other);
    }
    for lender in lenders {
        // One that is gone, or is not found, is complained of by who needs it.
        if let Ok(keeper) = context.registry.find(lender) {
            let _ = keeper.shim().await;
        }
    }
}

/// The text of `config.json`; host files, volumes and whatever else it names are there afterwards.
fn outfit(context: &Arc<Context>, record: &ContainerRecord, entered: Entered, mounts: &[Mount]) -> Result<Vec<u8>> {
    layered::mark(mounts, MARK)
        .map_err(|error| Error::new(io_kind(&error), format!("make /{MARK} in the container: {error}")))?;
    files::write(context, record, &entered.texts)?;
    // From here on an exit record is this run's.
    gantry_task::forget_exits(&context.state_dir(&record.id))?;
    let accounts = files::accounts(context, mounts)?;
    let mut user = accounts.resolve(&record.config.user)?;
    user.additional_gids.extend(accounts.groups(&record.host.group_add)?);
    let around = host::Around {
        network: entered.network,
        binds: context.volumes.enter(context, record)?,
        shared: host::shared::find(context, record)?,
        linked: context.networks.linked(context, record)?,
    };
    let (spec, _) = host::spec(context, record, user, around)?;
    host::real_time::hand_out(context, record)?;
    serde_json::to_vec(&spec).map_err(|error| Error::internal(format!("encode the OCI spec: {error}")))
}

fn task(context: &Context, record: &ContainerRecord, rootfs: Vec<Mount>) -> Result<CreateTask> {
    let stdin = match (record.config.open_stdin, record.config.stdin_once) {
        (false, _) => HeldStdin::No,
        (true, false) => HeldStdin::Yes,
        (true, true) => HeldStdin::Once,
    };
    Ok(CreateTask {
        rootfs,
        terminal: record.config.tty,
        runtime: context.runtime(&record.host.runtime)?,
        state_dir: context.state_dir(&record.id),
        log: logging::config(context, record)?,
        stdin,
        ..CreateTask::default()
    })
}

/// Looks for a container's shim, once.
pub(crate) async fn reunion(context: &Arc<Context>, id: &ContainerId) -> Result<Reunion> {
    let lookup = Lookup {
        namespace: context.namespace.clone(),
        id: id.clone(),
        state_dir: context.state_dir(id),
        mark: None,
    };
    Ok(context.shims.reconnect(&lookup).await?)
}

/// Looks for a container's shim until it is known what became of it. One that is only slow, or a machine that has run out of
/// something, ends no container.
pub(crate) async fn search(context: &Arc<Context>, id: &ContainerId) -> Reunion {
    let mut pause = SEARCH_FIRST;
    loop {
        match reunion(context, id).await {
            Ok(Reunion::Unanswered(error)) => warn!(err = %error, "the container's shim does not answer yet"),
            Err(error) => warn!(err = %error, "the container's shim cannot be looked for yet"),
            Ok(known) => return known,
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(SEARCH_LONGEST);
    }
}

/// How a container whose shim went away has ended: what the shim wrote down last, else that nobody knows.
pub(crate) async fn outcome(context: &Arc<Context>, id: &ContainerId) -> Ended {
    loop {
        match search(context, id).await {
            Reunion::Ended(exit) => return ended_from(exit),
            Reunion::Found { shim, .. } => match shim.wait(None).await {
                Ok(exit) => return ended_from(exit),
                Err(error) => warn!(err = %error, "the container's shim went away again"),
            },
            Reunion::Idle { .. } | Reunion::Gone | Reunion::Unanswered(_) => {
                return ended_by(137, None, "its shim was killed, and the container with it");
            }
        }
        tokio::time::sleep(SEARCH_FIRST).await;
    }
}
