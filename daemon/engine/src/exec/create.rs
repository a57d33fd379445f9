//! Registering an exec.

use super::{ExecRecord, ExecState};
use crate::container::start::AttachEndpoint;
use crate::gate::blocking;
use crate::{Engine, failpoint, files, host, records};
use gantry_core::lifecycle::State;
use gantry_core::{Error, ExecId, Result, spec};
use gantry_task::{ExecSpec, HeldStdin};

/// What is to be run.
#[derive(Debug, Clone, Default)]
pub struct CreateExec {
    pub container: String,
    pub cmd: Vec<String>,
    pub env: Vec<String>,
    /// Empty = the container's.
    pub user: String,
    /// Empty = the container's.
    pub working_dir: String,
    pub tty: bool,
    /// Rows and columns of the terminal at first.
    pub console_size: Option<(u16, u16)>,
    pub attach_stdin: bool,
    pub attach_stdout: bool,
    pub attach_stderr: bool,
    /// For whoever attaches at a door that looks for them; empty = the usual keys.
    pub detach_keys: Vec<u8>,
    pub privileged: bool,
}

pub struct CreatedExec {
    pub id: ExecId,
    pub endpoint: AttachEndpoint,
}

impl Engine {
    /// Registers a process to be run in a running container and answers where to attach to it.
    pub async fn exec_create(&self, request: CreateExec) -> Result<CreatedExec> {
        let engine = self.clone();
        crate::finish(async move { engine.exec_register(request).await }).await
    }

    async fn exec_register(&self, request: CreateExec) -> Result<CreatedExec> {
        if request.cmd.is_empty() {
            return Err(Error::invalid("No exec command specified"));
        }
        let keeper = self.find(&request.container)?;
        if matches!(keeper.state(), State::Paused { .. } | State::Resuming { .. }) {
            return Err(Error::conflict(format!(
                "Container {} is paused, unpause the container before exec",
                request.container
            )));
        }
        if matches!(keeper.state(), State::Restarting { .. }) {
            return Err(Error::conflict(format!(
                "Container {} is restarting, wait until the container is running",
                keeper.id()
            )));
        }
        let shim = keeper.shim().await?;
        let record = keeper.record();
        let mounts = self.mounts_of(&record).await?;
        let id = ExecId::from_random(rand::random());
        let context = self.context.clone();
        let exec = ExecRecord {
            id: id.clone(),
            container: record.id.clone(),
            cmd: request.cmd.clone(),
            user: request.user.clone(),
            tty: request.tty,
            privileged: request.privileged,
            open_stdin: request.attach_stdin,
            open_stdout: request.attach_stdout,
            open_stderr: request.attach_stderr,
            detach_keys: request.detach_keys.clone(),
            state: ExecState::Created,
        };
        let tty = request.tty;
        let stdin = if request.attach_stdin {
            HeldStdin::Once
        } else {
            HeldStdin::No
        };
        let stored = exec.clone();
        let process = blocking(move || {
            let accounts = files::accounts(&context, &mounts)?;
            let asked = if request.user.is_empty() {
                None
            } else {
                Some(accounts.resolve(&request.user)?)
            };
            let home = accounts.resolve(&record.config.user)?.home;
            let input = spec::ExecInput {
                args: &request.cmd,
                config: &record.config,
                linked: &context.networks.linked(&context, &record)?,
                env: &request.env,
                cwd: &request.working_dir,
                user: asked,
                home: &home,
                tty: request.tty,
                console_size: request.console_size,
                privileged: request.privileged,
                bounding: context.facts.bounding,
                umask: None,
            };
            let process = spec::exec_process(&host::bundle_spec(&context, &record.id)?, &input)?;
            let process = serde_json::to_vec(&process)
                .map_err(|error| Error::internal(format!("encode the process: {error}")))?;
            records::put_exec(&context, &stored)?;
            Ok(process)
        })
        .await?;
        failpoint!("engine::exec::recorded");
        let told = self.context.container_event(
            &keeper.record(),
            &told_as("exec_create", &exec.cmd),
            exec_attribute(&id),
        );
        if let Err(error) = shim
            .exec(
                &id,
                ExecSpec {
                    process,
                    terminal: tty,
                    stdin,
                },
            )
            .await
        {
            self.forget_exec(&id).await;
            return Err(error.into());
        }
        self.context.execs.insert(exec);
        self.context.tell(vec![told]).await;
        let endpoint = AttachEndpoint {
            socket: shim.attach_socket().await?,
            container: keeper.id().to_string(),
            exec: id.to_string(),
            tty,
        };
        Ok(CreatedExec { id, endpoint })
    }

    async fn forget_exec(&self, id: &ExecId) {
        let (context, id) = (self.context.clone(), id.clone());
        if let Err(error) = blocking(move || records::delete_exec(&context, &id)).await {
            tracing::warn!(err = %error, "the record of an exec that was not made could not be deleted");
        }
    }
}

/// The action of an event: program and arguments, and the blank between them without any argument, too.
pub(super) fn told_as(deed: &str, cmd: &[String]) -> String {
    let (program, args) = cmd.split_first().map_or(("", &[][..]), |(first, rest)| (first, rest));
    format!("{deed}: {program} {}", args.join(" "))
}

pub(super) fn exec_attribute(id: &ExecId) -> gantry_core::Labels {
    [("execID".to_owned(), id.to_string())].into()
}
