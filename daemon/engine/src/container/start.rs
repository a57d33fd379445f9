//! Prepare and start.

use crate::Engine;
use crate::keeper::{FINDING, Keeper, View};
use gantry_core::lifecycle::{Event, Request, State};
use gantry_core::{ErrorKind, Result};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How long the remains of a former run may take to be cleared before a request gives up on them.
pub(super) const CLEARING: Duration = Duration::from_secs(150);

/// How long after an attach its start may follow.
const FOLLOWING: Duration = Duration::from_secs(10);

/// Where a client attaches to a process.
#[derive(Debug, Clone)]
pub struct AttachEndpoint {
    pub socket: PathBuf,
    pub container: String,
    /// Empty for the container's own process.
    pub exec: String,
    pub tty: bool,
}

/// What a start did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Started {
    pub already_running: bool,
    pub pid: u32,
}

impl Engine {
    /// Makes a container ready to run, so that a client can attach before the first byte of output.
    pub async fn prepare(&self, name: &str) -> Result<AttachEndpoint> {
        let keeper = self.find(name)?;
        settle(&keeper).await;
        keeper.ask(Event::Prepare, Request::Prepare).await?;
        self.endpoint(&keeper).await
    }

    /// Where to attach to a running (or prepared) container.
    pub async fn attach(&self, name: &str) -> Result<AttachEndpoint> {
        let keeper = self.find(name)?;
        let view = keeper.view();
        match view.state {
            State::Paused { .. } | State::Resuming { .. } => Err(gantry_core::Error::conflict(format!(
                "container {name} is paused, unpause the container before attach"
            ))),
            State::Running { .. } | State::Pausing { .. } | State::Starting { .. } | State::Prepared { .. } => {
                self.context
                    .tell(vec![self.context.container_event(
                        &keeper.record(),
                        "attach",
                        Default::default(),
                    )])
                    .await;
                self.endpoint(&keeper).await
            }
            State::Restarting { .. } => Err(gantry_core::Error::conflict(format!(
                "container {} is restarting, wait until the container is running before attach",
                keeper.id()
            ))),
            State::Created
            | State::Preparing { .. }
            | State::Clearing { .. }
            | State::Exited { .. }
            | State::Removing { .. }
            | State::Dead { .. }
            | State::Removed => Err(gantry_core::Error::conflict(
                "You cannot attach to a stopped container, start it first".to_owned(),
            )),
        }
    }

    /// The same as [`Engine::prepare`] for a client that attaches first and starts then. A container that cannot be made is kept for
    /// that start, `--rm` or not, for it is the start that tells why.
    pub async fn attach_before_start(&self, name: &str) -> Result<AttachEndpoint> {
        let keeper = self.find(name)?;
        settle(&keeper).await;
        let hold = keeper.hold();
        let made = keeper.ask(Event::Prepare, Request::Prepare).await;
        match made {
            Ok(()) => {
                drop(hold);
                self.attach(name).await
            }
            Err(error) => {
                tokio::spawn(async move {
                    let first = keeper.view().ended;
                    let tried = |view: &View| view.state.is_running() || view.ended != first;
                    keeper.until(Some(FOLLOWING), tried).await;
                    drop(hold);
                });
                Err(error)
            }
        }
    }

    async fn endpoint(&self, keeper: &Keeper) -> Result<AttachEndpoint> {
        let known = |view: &View| view.shim.is_some() || !view.state.may_hold_resources();
        let view = keeper.until(Some(FINDING), known).await;
        let shim = view.and_then(|view| view.shim).ok_or_else(|| keeper.not_running())?;
        Ok(AttachEndpoint {
            socket: shim.attach_socket().await?,
            container: keeper.id().to_string(),
            exec: String::new(),
            tty: keeper.record().config.tty,
        })
    }

    pub async fn start(&self, name: &str) -> Result<Started> {
        let keeper = self.find(name)?;
        match keeper.ask(Event::Start, Request::Start).await {
            Ok(()) => Ok(Started {
                already_running: false,
                pid: keeper.state().pid().unwrap_or(0),
            }),
            Err(error) if error.kind() == ErrorKind::NotModified => Ok(Started {
                already_running: true,
                pid: keeper.state().pid().unwrap_or(0),
            }),
            Err(error) => Err(error),
        }
    }
}

/// Lets the remains of a former run be cleared first.
pub(super) async fn settle(keeper: &Arc<Keeper>) {
    let clearing = |view: &View| matches!(view.state, State::Clearing { .. });
    if clearing(&keeper.view()) {
        keeper.until(Some(CLEARING), |view| !clearing(view)).await;
    }
}
