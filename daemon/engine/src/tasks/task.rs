//! One task: what is published of it, and the way to its shim.

use super::state::{Event, State, step};
use super::{Process, ProcessExit, Stdio};
use gantry_core::{ContainerId, Error, ErrorKind, Namespace, Result};
use gantry_task::{Shim, TaskError};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

/// What nobody knows is said so.
const UNKNOWN: u32 = 255;

/// What is published; reading it never waits.
struct View {
    state: State,
    stdio: Stdio,
    shim: Option<Shim>,
}

pub(super) struct Task {
    pub(super) ns: Namespace,
    pub(super) id: ContainerId,
    view: watch::Sender<View>,
    /// Somebody got no answer from the shim.
    pub(super) suspect: Notify,
}

impl Task {
    pub(super) fn new(ns: Namespace, id: ContainerId, state: State) -> Arc<Self> {
        let view = View {
            state,
            stdio: Stdio::default(),
            shim: None,
        };
        Arc::new(Self {
            ns,
            id,
            view: watch::Sender::new(view),
            suspect: Notify::new(),
        })
    }

    pub(super) fn state(&self) -> State {
        self.view.borrow().state
    }

    pub(super) fn apply(&self, event: Event) {
        self.view.send_if_modified(|view| {
            let next = step(view.state, event);
            let news = next != view.state;
            view.state = next;
            if next.is_gone() {
                // The connection ends with its last user.
                view.shim = None;
            }
            news
        });
    }

    /// Publishes the shim and what the task was given for its stdio, before the state that makes them seen.
    pub(super) fn take(&self, shim: Shim, stdio: Stdio) {
        self.view.send_modify(|view| {
            view.shim = Some(shim);
            view.stdio = stdio;
        });
    }

    pub(super) async fn until(&self, limit: Option<Duration>, test: impl Fn(State) -> bool) -> State {
        let mut view = self.view.subscribe();
        let reached = async move {
            // It fails only when the sender is gone, which is this task's.
            match view.wait_for(|view| test(view.state)).await {
                Ok(view) => view.state,
                Err(_) => self.state(),
            }
        };
        match limit {
            None => reached.await,
            Some(limit) => match timeout(limit, reached).await {
                Ok(state) => state,
                Err(_) => self.state(),
            },
        }
    }

    pub(super) fn shim(&self) -> Result<Shim> {
        let view = self.view.borrow();
        match (view.state.status(), &view.shim) {
            (Some(_), Some(shim)) => Ok(shim.clone()),
            _ => Err(self.not_found()),
        }
    }

    pub(super) fn not_found(&self) -> Error {
        not_found(&self.id)
    }

    /// Its first process as published; none if clients do not see it.
    pub(super) fn process(&self) -> Option<Process> {
        let view = self.view.borrow();
        Some(Process {
            container: self.id.clone(),
            exec: None,
            pid: view.state.pid(),
            status: view.state.status()?,
            stdio: view.stdio.clone(),
            exit: view.state.exit(),
        })
    }

    /// What a call to the shim came to. One that was not answered makes the keeper look after the shim.
    pub(super) fn heard<T>(&self, answer: Result<T, TaskError>) -> Result<T> {
        answer.map_err(|error| {
            if matches!(error, TaskError::Late { .. }) {
                self.suspect.notify_one();
            }
            told(error)
        })
    }
}

pub(super) fn not_found(id: &ContainerId) -> Error {
    Error::not_found(format!("task {id} not found"))
}

pub(super) fn unknown_exit() -> ProcessExit {
    ProcessExit {
        status: UNKNOWN,
        at: SystemTime::now(),
    }
}

/// A shim's own words go through as they are: clients know them. So do its codes.
pub(super) fn told(error: TaskError) -> Error {
    match error {
        TaskError::Refused { kind, message, .. } | TaskError::NotStarted { kind, message, .. } => {
            Error::new(kind, message)
        }
        TaskError::Lost { id, .. } => Error::new(ErrorKind::Unavailable, format!("the shim of task {id} is gone")),
        other => other.into(),
    }
}
