//! Running an exec and seeing it end.

use super::create::{exec_attribute, told_as};
use super::{Entry, ExecRecord, ExecState, ExecView};
use crate::context::Context;
use crate::gate::blocking;
use crate::keeper::{View, ended_by};
use crate::{AttachEndpoint, Engine, failpoint, records};
use gantry_core::container::Ended;
use gantry_core::{Error, ErrorKind, ExecId, Result};
use gantry_task::{Shim, Status};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tracing::{Instrument, warn};

/// How long an exec that has ended can still be inspected.
const REMEMBERED: Duration = Duration::from_secs(300);
/// How long whoever tells the size of a terminal waits for the start, as in Docker.
const BEGINNING: Duration = Duration::from_secs(10);
/// Between two questions to a shim that does not answer for an exec.
const ASK_AGAIN: Duration = Duration::from_secs(1);

impl Engine {
    /// Runs a registered exec; answers its pid.
    pub async fn exec_start(&self, id: &str) -> Result<u32> {
        let entry = self.context.execs.find(id)?;
        let record = entry.record();
        let refused = |state: &ExecState| match state {
            ExecState::Created | ExecState::Running { .. } => Error::conflict(format!("exec {id} is already running")),
            ExecState::Exited { .. } => Error::conflict(format!("exec {id} has already run")),
        };
        if !matches!(record.state, ExecState::Created) {
            return Err(refused(&record.state));
        }
        let keeper = self
            .context
            .registry
            .get(&record.container)
            .ok_or_else(|| Error::not_found(format!("No such container: {}", record.container)))?;
        let shim = keeper.shim().await?;
        if !entry.take() {
            return Err(refused(&entry.record().state));
        }
        let context = self.context.clone();
        crate::finish(async move {
            failpoint!("engine::exec::start");
            let began = SystemTime::now();
            // Of one that cannot be run, too.
            let told = context.container_event(
                &keeper.record(),
                &told_as("exec_start", &record.cmd),
                exec_attribute(&record.id),
            );
            context.tell(vec![told]).await;
            match shim.start(Some(&record.id)).await.map_err(Error::from) {
                Ok(pid) => {
                    store(&context, &entry, ExecState::Running { pid }).await;
                    follow(context, entry, shim, began);
                    Ok(pid)
                }
                Err(error) => {
                    let error = error.context(format!("failed to exec in container {}", keeper.record().name));
                    let code = i32::from(error.kind().exit_code()).max(126);
                    let ended = ended_by(code, None, error.to_string());
                    store(&context, &entry, ExecState::Exited { ended }).await;
                    // The registration goes; nothing ran.
                    let _ = shim.delete(Some(&record.id)).await;
                    forget_later(context, record.id.to_string());
                    Err(error)
                }
            }
        })
        .await
    }

    /// Does away with one that nobody is to run; one that was run is left alone.
    pub(crate) async fn exec_discard(&self, id: &ExecId) {
        let Ok(entry) = self.context.execs.find(id.as_str()) else {
            return;
        };
        if !entry.take() {
            return;
        }
        if let Ok(shim) = self.shim_of(&entry.record()).await
            && let Err(error) = shim.delete(Some(id)).await
        {
            warn!(err = %error, exec = %id, "the shim keeps an exec that nobody runs");
        }
        forget(&self.context, id.as_str()).await;
    }

    /// Where to attach to an exec that is to be run.
    pub async fn exec_attach(&self, id: &str) -> Result<AttachEndpoint> {
        let record = self.context.execs.find(id)?.record();
        let shim = self.shim_of(&record).await?;
        Ok(AttachEndpoint {
            socket: shim.attach_socket().await?,
            container: record.container.to_string(),
            exec: record.id.to_string(),
            tty: record.tty,
        })
    }

    /// Tells the terminal of a running exec its size.
    pub async fn exec_resize(&self, id: &str, height: u16, width: u16) -> Result<()> {
        let entry = self.context.execs.find(id)?;
        // A client tells the size as soon as it has asked for the start.
        let _ = tokio::time::timeout(BEGINNING, entry.begun()).await;
        let record = entry.record();
        if !matches!(record.state, ExecState::Running { .. }) {
            return Err(Error::conflict(format!("exec {id} is not running")));
        }
        let shim = self.shim_of(&record).await?;
        Ok(shim.resize(Some(&record.id), height, width).await?)
    }

    async fn shim_of(&self, record: &ExecRecord) -> Result<Shim> {
        let keeper = self
            .context
            .registry
            .get(&record.container)
            .ok_or_else(|| Error::not_found(format!("No such container: {}", record.container)))?;
        keeper.shim().await
    }

    pub async fn exec_inspect(&self, id: &str) -> Result<ExecView> {
        Ok(ExecView {
            record: self.context.execs.find(id)?.record(),
        })
    }

    /// Waits for its end and answers the exit code.
    pub async fn exec_wait(&self, id: &str) -> Result<i32> {
        let entry = self.context.execs.find(id)?;
        let ended = entry.exited().await;
        ended
            .map(|ended| ended.code)
            .ok_or_else(|| Error::not_found(format!("No such exec instance: {id}")))
    }
}

async fn store(context: &Arc<Context>, entry: &Entry, state: ExecState) {
    let record = entry.set(state);
    let worker = context.clone();
    if let Err(error) = blocking(move || records::put_exec(&worker, &record)).await {
        warn!(err = %error, "the state of an exec could not be written");
    }
}

/// Sees an exec to its end beside everything else.
fn follow(context: Arc<Context>, entry: Arc<Entry>, shim: Shim, began: SystemTime) {
    let work = async move {
        let record = entry.record();
        let mut ended = match shim.wait(Some(&record.id)).await {
            Ok(exit) => crate::keeper::ended_from(exit),
            Err(error) => ended_by(255, None, format!("its shim went away: {error}")),
        };
        ended.started_at = Some(began);
        let code = ended.code;
        store(&context, &entry, ExecState::Exited { ended }).await;
        if let Some(keeper) = context.registry.get(&record.container) {
            let mut attributes = exec_attribute(&record.id);
            attributes.insert("exitCode".to_owned(), code.to_string());
            context
                .tell(vec![context.container_event(&keeper.record(), "exec_die", attributes)])
                .await;
        }
        match shim.delete(Some(&record.id)).await.map_err(Error::from) {
            Ok(_) => {}
            // The shim went with its container.
            Err(error) if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::NotFound) => {}
            Err(error) => warn!(err = %error, exec = %record.id, "the shim keeps an exec that has ended"),
        }
        forget_later(context, record.id.to_string());
    };
    tokio::spawn(work.in_current_span());
}

fn forget_later(context: Arc<Context>, id: String) {
    tokio::spawn(async move {
        tokio::time::sleep(REMEMBERED).await;
        forget(&context, &id).await;
    });
}

async fn forget(context: &Arc<Context>, id: &str) {
    context.execs.remove(id);
    let (worker, id) = (context.clone(), id.to_owned());
    let deleted = blocking(move || records::delete_exec(&worker, &gantry_core::ExecId::new(id)?)).await;
    if let Err(error) = deleted {
        warn!(err = %error, "the record of an ended exec could not be deleted");
    }
}

/// After a restart: execs of living shims are followed again, the others have ended.
pub(crate) async fn recover(context: &Arc<Context>) -> Result<()> {
    let worker = context.clone();
    for record in blocking(move || records::load_execs(&worker)).await? {
        let entry = context.execs.insert(record);
        let context = context.clone();
        tokio::spawn(async move { pick_up(context, entry).await });
    }
    Ok(())
}

async fn pick_up(context: Arc<Context>, entry: Arc<Entry>) {
    let record = entry.record();
    if let ExecState::Exited { .. } = record.state {
        return forget_later(context, record.id.to_string());
    }
    let Some(keeper) = context.registry.get(&record.container) else {
        return lost(context, entry).await;
    };
    loop {
        // However long it takes: while its shim is looked for, nothing is known of it.
        let found = |view: &View| view.shim.is_some() || !view.state.is_running();
        let view = keeper.until(None, found).await;
        let Some(shim) = view.and_then(|view| view.shim) else {
            return lost(context, entry).await;
        };
        match shim.state(Some(&record.id)).await {
            // It is still to be run, and is followed then.
            Ok(state) if state.status == Status::Created => return,
            Ok(state) => {
                if matches!(record.state, ExecState::Created) {
                    store(&context, &entry, ExecState::Running { pid: state.pid }).await;
                }
                return follow(context, entry, shim, SystemTime::now());
            }
            Err(error) if error.is_lost() || error.kind() == ErrorKind::NotFound => {
                return lost(context, entry).await;
            }
            Err(error) => warn!(err = %error, exec = %record.id, "the shim does not answer for an exec yet"),
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

/// Its container ended with it while no daemon ran; the durable record knows how, if it ran.
async fn lost(context: Arc<Context>, entry: Arc<Entry>) {
    let record = entry.record();
    let (dir, id) = (context.state_dir(&record.container), record.id.clone());
    let known = blocking(move || Ok(gantry_task::exit_record(&dir, Some(id.as_str()))?)).await;
    let ended: Ended = match known {
        Ok(Some(exit)) => crate::keeper::ended_from(gantry_task::Exit::from(&exit)),
        Ok(None) | Err(_) => ended_by(255, None, "its shim is gone; the exit status is not known"),
    };
    store(&context, &entry, ExecState::Exited { ended }).await;
    forget_later(context, record.id.to_string());
}
