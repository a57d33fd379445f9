//! Wait for an end.

use crate::Engine;
use crate::keeper::View;
use gantry_core::Result;
use gantry_core::lifecycle::State;

/// What is waited for (Docker API 1.30 `condition`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitFor {
    NotRunning,
    NextExit,
    Removed,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Waited {
    pub code: i32,
    pub error: String,
}

impl Engine {
    /// Answers when the condition holds; a container that goes away meets every condition.
    pub async fn wait(&self, name: &str, condition: WaitFor) -> Result<Waited> {
        let keeper = self.find(name)?;
        let first = keeper.view();
        let busy = |state: &State| matches!(state, State::Starting { .. } | State::Restarting { .. });
        let running = |view: &View| view.state.is_running() || busy(&view.state);
        let reached = match condition {
            // The end of a run is an end, though another follows.
            WaitFor::NotRunning => {
                keeper
                    .until(None, |view| !running(view) || view.exits > first.exits)
                    .await
            }
            WaitFor::NextExit => {
                keeper
                    .until(None, |view| view.exits > first.exits || view.state == State::Removed)
                    .await
            }
            WaitFor::Removed => keeper.until(None, |view| view.state == State::Removed).await,
        };
        let ended = reached.unwrap_or(first).ended;
        Ok(ended.map_or_else(Waited::default, |ended| Waited {
            code: ended.code,
            error: ended.error,
        }))
    }
}
