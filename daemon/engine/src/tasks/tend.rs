//! Tasks that are kept as their containers' labels want them: containerd's restart monitor (core/runtime/restart). A container with
//! `containerd.io/restart.status` has a task that runs, and is made anew when it has ended as its policy says, or one that is ended.

use super::state::State;
use super::{NewTask, ProcessExit, Stdio, Tasks};
use crate::meta::ContainerUpdate;
use gantry_core::meta::{Change, Container};
use gantry_core::{ContainerId, Error, ErrorKind, Labels, Namespace, Result};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tracing::warn;

const STATUS: &str = "containerd.io/restart.status";
const POLICY: &str = "containerd.io/restart.policy";
const COUNT: &str = "containerd.io/restart.count";
const LOG: &str = "containerd.io/restart.loguri";
const STOPPED: &str = "containerd.io/restart.explicitly-stopped";
/// Policies as clients are told of them.
pub const RESTART_POLICIES: [&str; 4] = ["no", "always", "on-failure", "unless-stopped"];
const SIGKILL: u32 = 9;
/// How many containers are seen to at the same time.
const AT_ONCE: usize = 16;
/// How long the end of a killed task is waited for, until the next look.
const END: Duration = Duration::from_secs(30);

type Key = (Namespace, ContainerId);

/// What is to be done about a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Nothing,
    /// What is left of it is ended, and it is made anew.
    Start,
    End,
}

impl Tasks {
    /// Looks after the tasks of all clients' containers, again and again. One that is slow delays only itself.
    pub async fn tend(self, every: Duration) {
        let mut under_way = BTreeSet::new();
        let mut work = JoinSet::new();
        let permits = Arc::new(Semaphore::new(AT_ONCE));
        loop {
            while let Some(done) = work.try_join_next() {
                if let Ok(key) = done {
                    under_way.remove(&key);
                }
            }
            if work.is_empty() {
                // What panicked has told no key.
                under_way.clear();
            }
            match self.wanting(every).await {
                Ok(found) => {
                    for (key, container, deed) in found {
                        if under_way.insert(key.clone()) {
                            work.spawn(self.clone().see_to(key, container, deed, permits.clone()));
                        }
                    }
                }
                Err(error) => warn!(err = %error, "it is not known which tasks are to be restarted"),
            }
            tokio::time::sleep(every).await;
        }
    }

    async fn see_to(self, key: Key, container: Container, deed: Deed, permits: Arc<Semaphore>) -> Key {
        // It is never closed.
        let _permit = permits.acquire().await;
        let (ns, id) = &key;
        let done = match deed {
            Deed::Nothing => Ok(()),
            Deed::Start => self.start_anew(ns, &container).await,
            Deed::End => self.end(ns, id).await,
        };
        if let Err(error) = done {
            warn!(%ns, container = %id, err = %error, "its task is not as its labels want it");
        }
        key
    }

    /// Containers whose task is not as it is to be. The engine's own have policies of its own.
    async fn wanting(&self, every: Duration) -> Result<Vec<(Key, Container, Deed)>> {
        let meta = &self.context.meta;
        let mut found = Vec::new();
        for (ns, _) in meta.namespaces().await? {
            if ns == self.context.namespace {
                continue;
            }
            for container in meta.containers(&ns).await? {
                if container.labels.contains_key(STATUS) {
                    let key = (ns.clone(), container.id.clone());
                    let state = self.room().task(&key).map(|task| task.state());
                    // Whoever has just made it is about to make its task.
                    let is_new = container.created_at.elapsed().is_ok_and(|age| age < every);
                    if is_new && state.is_none() {
                        continue;
                    }
                    let deed = deed(&container.labels, state).unwrap_or_else(|error| {
                        warn!(%ns, container = %container.id, err = %error, "its restart policy is not understood");
                        Deed::Nothing
                    });
                    if deed != Deed::Nothing {
                        found.push((key, container, deed));
                    }
                }
            }
        }
        Ok(found)
    }

    async fn start_anew(&self, ns: &Namespace, container: &Container) -> Result<()> {
        let id = &container.id;
        let stdio = stdio(container)?;
        // Before the task: a client that hears of it reads the count that is right.
        let count = count(&container.labels).unwrap_or(0).saturating_add(1);
        let labels = Labels::from([(COUNT.to_owned(), count.to_string())]);
        let update = ContainerUpdate {
            labels: Some(Change::Merge(labels)),
            ..ContainerUpdate::default()
        };
        self.context.meta.update_container(ns, id, update).await?;
        self.end(ns, id).await?;
        let new = NewTask {
            stdio,
            ..NewTask::default()
        };
        self.create(ns, id, new).await?;
        self.start(ns, id, None).await.map(drop)
    }

    /// Ends and forgets a task, if there is one.
    async fn end(&self, ns: &Namespace, id: &ContainerId) -> Result<()> {
        let absent = |error: &Error| error.kind() == ErrorKind::NotFound;
        match self.kill(ns, id, None, SIGKILL, true).await {
            // Its process has ended already, or it is not there at all.
            Err(error) if !absent(&error) && error.kind() != ErrorKind::FailedPrecondition => return Err(error),
            Ok(()) | Err(_) => {}
        }
        match tokio::time::timeout(END, self.wait(ns, id, None)).await {
            Ok(Err(error)) if absent(&error) => return Ok(()),
            Ok(ended) => drop(ended?),
            Err(_) => {
                return Err(Error::new(
                    ErrorKind::DeadlineExceeded,
                    "it was killed and does not end",
                ));
            }
        }
        match self.delete(ns, id).await {
            Err(error) if !absent(&error) => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

/// What is to be done where labels want this and the state is that; no state = no task.
fn deed(labels: &Labels, state: Option<State>) -> Result<Deed> {
    let is_on_its_way = matches!(
        state,
        // One that a client has made and not yet started is about to be.
        Some(State::Making | State::Finding | State::Created { .. } | State::Gone { .. })
    );
    let exit = match state {
        Some(State::Stopped { exit, .. }) => Some(exit),
        _ => None,
    };
    let runs = matches!(state, Some(State::Running { .. } | State::Paused { .. }));
    match labels.get(STATUS).map(String::as_str) {
        Some("running") if !is_on_its_way && !runs && is_restarted(labels, exit)? => Ok(Deed::Start),
        Some("stopped") if runs => Ok(Deed::End),
        _ => Ok(Deed::Nothing),
    }
}

fn is_restarted(labels: &Labels, exit: Option<ProcessExit>) -> Result<bool> {
    let text = labels.get(POLICY).map_or("", String::as_str);
    let (policy, most) = text
        .split_once(':')
        .map_or((text, None), |(name, most)| (name, Some(most)));
    match (policy, most) {
        ("" | "always", None) => Ok(true),
        ("unless-stopped", None) => Ok(!labels.get(STOPPED).is_some_and(|text| is_true(text))),
        // containerd, too, takes this word and knows no deed for it.
        ("no", None) => Ok(false),
        ("on-failure", most) => {
            let most: u32 = most.map_or(Ok(0), str::parse).map_err(|_| refused(text))?;
            // How one ended that is deleted is not known.
            let failed = exit.is_some_and(|exit| exit.status != 0);
            Ok(failed && (most == 0 || count(labels)? < most))
        }
        _ => Err(refused(text)),
    }
}

fn refused(policy: &str) -> Error {
    Error::invalid(format!(
        "restart policy {policy:?} is none of {}",
        RESTART_POLICIES.join(", ")
    ))
}

fn count(labels: &Labels) -> Result<u32> {
    let text = labels.get(COUNT).map_or("", String::as_str);
    match text.is_empty() {
        true => Ok(0),
        false => text
            .parse()
            .map_err(|_| Error::invalid(format!("label {COUNT}: {text:?} is no number"))),
    }
}

/// As Go reads truth.
fn is_true(text: &str) -> bool {
    matches!(text, "1" | "t" | "T" | "true" | "TRUE" | "True")
}

/// Where its output goes: to what its label names, or nowhere.
fn stdio(container: &Container) -> Result<Stdio> {
    let log = container.labels.get(LOG).cloned().unwrap_or_default();
    if log.is_empty() {
        return Ok(Stdio::default());
    }
    let spec = container
        .spec
        .as_ref()
        .map(|spec| spec.value.as_slice())
        .unwrap_or_default();
    let spec: Spec = serde_json::from_slice(spec)
        .map_err(|error| Error::invalid(format!("the spec of container {}: {error}", container.id)))?;
    Ok(Stdio {
        stdin: String::new(),
        stdout: log.clone(),
        stderr: log,
        terminal: spec.process.terminal,
    })
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Spec {
    process: Process,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Process {
    terminal: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        let pairs = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        pairs.collect()
    }

    fn stopped(status: u32) -> Option<State> {
        let at = SystemTime::UNIX_EPOCH;
        Some(State::Stopped {
            pid: 1,
            exit: ProcessExit { status, at },
        })
    }

    #[test]
    fn a_policy_says_which_end_is_none() {
        for (policy, count, ended, started) in [
            ("", "", 0, true),
            ("always", "9", 137, true),
            ("no", "", 1, false),
            ("on-failure", "", 0, false),
            ("on-failure", "100", 1, true),
            ("on-failure:2", "", 1, true),
            ("on-failure:2", "1", 1, true),
            ("on-failure:2", "2", 1, false),
            ("unless-stopped", "", 0, true),
        ] {
            let labels = labels(&[(STATUS, "running"), (POLICY, policy), (COUNT, count)]);
            let want = if started { Deed::Start } else { Deed::Nothing };
            assert_eq!(deed(&labels, stopped(ended)).unwrap(), want, "{policy} {count} {ended}");
        }
        let by_hand = labels(&[(STATUS, "running"), (POLICY, "unless-stopped"), (STOPPED, "true")]);
        assert_eq!(deed(&by_hand, stopped(0)).unwrap(), Deed::Nothing);
        for policy in ["always:1", "sometimes", "on-failure:x"] {
            let labels = labels(&[(STATUS, "running"), (POLICY, policy)]);
            assert!(deed(&labels, stopped(1)).is_err(), "{policy}");
        }
    }

    #[test]
    fn what_is_under_way_is_left_alone() {
        let running = labels(&[(STATUS, "running")]);
        let (pid, exit) = (1, None);
        assert_eq!(deed(&running, None).unwrap(), Deed::Start);
        for state in [
            State::Making,
            State::Finding,
            State::Created { pid },
            State::Running { pid },
            State::Paused { pid },
            State::Gone { pid, exit },
        ] {
            assert_eq!(deed(&running, Some(state)).unwrap(), Deed::Nothing, "{state:?}");
        }
        let to_end = labels(&[(STATUS, "stopped")]);
        assert_eq!(deed(&to_end, Some(State::Running { pid })).unwrap(), Deed::End);
        assert_eq!(deed(&to_end, Some(State::Paused { pid })).unwrap(), Deed::End);
        assert_eq!(deed(&to_end, stopped(0)).unwrap(), Deed::Nothing);
        assert_eq!(deed(&to_end, None).unwrap(), Deed::Nothing);
        // Clients that clear a label may leave it empty.
        assert_eq!(deed(&labels(&[(STATUS, "")]), None).unwrap(), Deed::Nothing);
        assert_eq!(deed(&Labels::new(), None).unwrap(), Deed::Nothing);
    }
}
