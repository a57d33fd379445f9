//! Stop: a polite signal, some time, then SIGKILL. Interruptible, and a second stop or kill gets through at once.

use crate::keeper::{Keeper, View};
use crate::{Engine, failpoint};
use gantry_core::container::RestartName;
use gantry_core::lifecycle::{Event, Request, State};
use gantry_core::{Error, ErrorKind, Result, signal};
use std::sync::Arc;
use std::time::Duration;

/// Seconds between the stop signal and SIGKILL when nobody says otherwise.
const DEFAULT_TIMEOUT: i32 = 10;
/// How long a killed container may take to be seen dead.
const AFTER_KILL: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Default)]
pub struct StopOptions {
    /// Seconds; `None` = the container's own, negative = never SIGKILL.
    pub timeout: Option<i32>,
    /// Empty = the container's own.
    pub signal: String,
}

impl Engine {
    /// Whether it ran.
    pub async fn stop(&self, name: &str, options: StopOptions) -> Result<bool> {
        let keeper = self.find(name)?;
        self.stop_as(&keeper, options, true).await
    }

    /// `by_hand`: whatever its policy says, it is not run again until somebody starts it.
    pub(crate) async fn stop_as(&self, keeper: &Arc<Keeper>, options: StopOptions, by_hand: bool) -> Result<bool> {
        let ran = stop(keeper, &options, by_hand).await?;
        if ran {
            self.context
                .tell(vec![self.context.container_event(
                    &keeper.record(),
                    "stop",
                    Default::default(),
                )])
                .await;
        }
        Ok(ran)
    }
}

/// The container's process is over, whether its remains are cleared yet or not.
pub(super) fn over(view: &View) -> bool {
    !(view.state.is_running()
        || matches!(
            view.state,
            State::Preparing { .. } | State::Prepared { .. } | State::Starting { .. }
        ))
}

/// Stops it and answers whether there was something to stop. It answers when the process has ended.
pub(super) async fn stop(keeper: &Arc<Keeper>, options: &StopOptions, by_hand: bool) -> Result<bool> {
    let policy = keeper.record().host.restart.name;
    let waits = match keeper.state() {
        State::Restarting { .. } => true,
        State::Clearing { .. } => policy != RestartName::No,
        _ => false,
    };
    if !waits && over(&keeper.view()) {
        return Ok(false);
    }
    // What cannot be done changes nothing.
    let number = stop_signal(keeper, options)?;
    if by_hand {
        keeper.stopped().await;
    }
    if waits && by_hand {
        let back = |view: &View| !matches!(view.state, State::Restarting { .. });
        keeper.until(Some(AFTER_KILL), back).await;
        if over(&keeper.view()) {
            return Ok(true);
        }
    }
    if over(&keeper.view()) {
        return Ok(false);
    }
    if !keeper.state().is_running() {
        // Being started: broken off, or killed as soon as it is there.
        return kill_until_over(keeper).await;
    }
    failpoint!("engine::stop::signal");
    if !send(keeper, number).await? {
        return Ok(true);
    }
    let seconds = options
        .timeout
        .or(keeper.record().config.stop_timeout)
        .unwrap_or(DEFAULT_TIMEOUT);
    let limit = u64::try_from(seconds).ok().map(Duration::from_secs);
    if keeper.until(limit, over).await.is_some() || over(&keeper.view()) {
        return Ok(true);
    }
    kill_until_over(keeper).await
}

/// The signal that is asked for, else the container's own.
fn stop_signal(keeper: &Keeper, options: &StopOptions) -> Result<i32> {
    let record = keeper.record();
    let mut named = [options.signal.as_str(), record.config.stop_signal.as_str()].into_iter();
    let named = named.find(|name| !name.is_empty());
    named.map_or(Ok(nix::libc::SIGTERM), signal::parse)
}

/// Whether the signal found the process alive.
async fn send(keeper: &Arc<Keeper>, number: i32) -> Result<bool> {
    match keeper.ask(Event::Kill { signal: number }, Request::Kill).await {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::NotFound) && over(&keeper.view()) => {
            Ok(false)
        }
        // Its shim does not answer: it is waited for as if it had been told.
        Err(error) if error.kind() == ErrorKind::Unavailable => Ok(true),
        // Ended already, the news is on its way.
        Err(error) if error.kind() == ErrorKind::Conflict => Ok(keeper.until(Some(AFTER_KILL), over).await.is_none()),
        Err(error) => Err(error),
    }
}

/// SIGKILL, repeated should the container still be on its way up, until the process is over.
pub(super) async fn kill_until_over(keeper: &Arc<Keeper>) -> Result<bool> {
    let deadline = tokio::time::Instant::now() + AFTER_KILL;
    while tokio::time::Instant::now() < deadline {
        if let Err(error) = send(keeper, nix::libc::SIGKILL).await {
            tracing::debug!(err = %error, "SIGKILL was not taken");
        }
        if keeper.until(Some(Duration::from_secs(2)), over).await.is_some() || over(&keeper.view()) {
            return Ok(true);
        }
    }
    Err(Error::new(
        ErrorKind::DeadlineExceeded,
        format!(
            "container {} did not end within {} s of SIGKILL; its process may wait for a disk or another machine",
            keeper.id(),
            AFTER_KILL.as_secs()
        ),
    ))
}
