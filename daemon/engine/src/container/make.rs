//! Making a container in the kernel: spec, host files, shim, and the shim's `create`.

use super::changes::MARK;
use super::logging;
use crate::context::Context;
use crate::gate::blocking;
use crate::keeper::{ended_by, ended_from};
use crate::{failpoint, files, host, layered, network};
use gantry_core::container::{ContainerRecord, Ended};
use gantry_core::error::io_kind;
use gantry_core::snapshot::SnapshotService;
use gantry_core::{ContainerId, Error, Mount, Result};
use gantry_task::{CreateTask, HeldStdin, Lookup, Reunion, Shim, StartShim};
use std::sync::Arc;

/// Makes it and answers the shim and the pid of the waiting process.
pub(crate) async fn make(context: &Arc<Context>, record: &Arc<ContainerRecord>) -> Result<(Shim, u32)> {
    let (worker, subject) = (context.clone(), record.clone());
    let (mounts, config) = blocking(move || outfit(&worker, &subject)).await?;
    failpoint!("engine::make::shim");
    let shim = context
        .shims
        .start(StartShim {
            namespace: context.namespace.clone(),
            id: record.id.clone(),
            spec: config,
        })
        .await?;
    network::hand_over(context, &record.id, &shim).await?;
    failpoint!("engine::make::create");
    let process = shim.create(task(context, record, mounts)?).await?;
    Ok((shim, process.pid))
}

/// What the shim is given: the mounts of the root filesystem and the text of `config.json`.
fn outfit(context: &Arc<Context>, record: &ContainerRecord) -> Result<(Vec<Mount>, Vec<u8>)> {
    let mounts = context
        .snapshots
        .mounts(&context.namespace, &record.snapshotter, &record.snapshot_key)?;
    failpoint!("engine::make::files");
    layered::mark(&mounts, MARK)
        .map_err(|error| Error::new(io_kind(&error), format!("make /{MARK} in the container: {error}")))?;
    let entered = context.networks.enter(context, record)?;
    files::write(context, record, &entered.texts)?;
    // From here on an exit record is this run's.
    gantry_task::forget_exits(&context.state_dir(&record.id))?;
    let accounts = files::accounts(context, &mounts)?;
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
    let config = serde_json::to_vec(&spec).map_err(|error| Error::internal(format!("encode the OCI spec: {error}")))?;
    Ok((mounts, config))
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

/// Looks for a container's shim.
pub(crate) async fn reunion(context: &Arc<Context>, id: &ContainerId) -> Result<Reunion> {
    let lookup = Lookup {
        namespace: context.namespace.clone(),
        id: id.clone(),
        state_dir: context.state_dir(id),
        mark: None,
    };
    Ok(context.shims.reconnect(&lookup).await?)
}

/// How a container whose shim went away has ended: what the shim wrote down last, else that nobody knows.
pub(crate) async fn outcome(context: &Arc<Context>, id: &ContainerId) -> Ended {
    match reunion(context, id).await {
        Ok(Reunion::Ended(exit)) => ended_from(exit),
        Ok(Reunion::Found { shim, .. }) => match shim.wait(None).await {
            Ok(exit) => ended_from(exit),
            Err(error) => ended_by(255, None, format!("its shim went away: {error}")),
        },
        Ok(Reunion::Idle { .. } | Reunion::Gone) => {
            ended_by(137, None, "its shim was killed, and the container with it")
        }
        Ok(Reunion::Unanswered(error)) => ended_by(255, None, format!("its shim does not answer: {error}")),
        Err(error) => ended_by(255, None, format!("its shim went away: {error}")),
    }
}
