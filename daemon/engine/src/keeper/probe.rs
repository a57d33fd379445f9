//! Asking a running container whether it is well, by running its check in it as an exec.

use super::{Keeper, Message};
use crate::Engine;
use crate::context::Context;
use crate::exec::{CreateExec, CreatedExec};
use gantry_core::container::HealthCheck;
use gantry_core::health::{Health, OUTPUT, Probe, Schedule};
use gantry_core::lifecycle::State;
use gantry_core::{Error, Result};
use gantry_task::attach::{AttachEvent, AttachTo, Attached};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::debug;

/// Code of a probe that took too long, or could not be run.
const FAILED: i32 = -1;
/// How long the shim may take to let us listen.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a killed probe may take to be seen dead before the next one is run all the same.
const AFTER_KILL: Duration = Duration::from_secs(5);

/// Which run is probed.
pub(super) struct Run {
    pub began: SystemTime,
    /// The same, as the monotonic clock has it.
    pub since: Instant,
}

/// Probes the run that began then, until it is broken off with the run.
pub(super) async fn watch(
    context: Arc<Context>,
    keeper: Arc<Keeper>,
    inbox: mpsc::Sender<Message>,
    check: HealthCheck,
    run: Run,
) {
    let schedule = Schedule::of(&check);
    let engine = Engine { context };
    loop {
        let health: Health = keeper.view().health.unwrap_or_default();
        tokio::time::sleep(schedule.pause(&health, run.since.elapsed())).await;
        if !matches!(keeper.state(), State::Running { .. }) {
            return;
        }
        let start = SystemTime::now();
        let (code, output) = match probe(&engine, &keeper, &check, schedule.timeout).await {
            Ok(outcome) => outcome,
            Err(error) => {
                debug!(err = %error, "the check of health could not be run");
                (FAILED, error.to_string())
            }
        };
        let probe = Probe {
            start,
            end: SystemTime::now(),
            code,
            output,
        };
        if inbox.send(Message::Probed(run.began, probe)).await.is_err() {
            return;
        }
    }
}

/// Exit code and output of one run of the check.
async fn probe(engine: &Engine, keeper: &Keeper, check: &HealthCheck, limit: Duration) -> Result<(i32, String)> {
    let registered = Registered::new(engine, keeper, check).await?;
    let created = &registered.exec;
    let to = AttachTo {
        container: created.endpoint.container.clone(),
        exec: Some(created.id.to_string()),
        stdin: false,
        stdout: true,
        stderr: true,
    };
    let mut attached = Attached::connect(&created.endpoint.socket, to, CONNECT).await?;
    engine.exec_start(created.id.as_str()).await?;
    let mut output = Vec::new();
    let ended = tokio::time::timeout(limit, read(&mut attached, &mut output)).await;
    let text = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(OUTPUT)]).into_owned();
    if let Ok(code) = ended {
        return Ok((code?, text(&output)));
    }
    let shim = keeper.shim().await?;
    shim.kill(Some(&created.id), nix::libc::SIGKILL.unsigned_abs(), false)
        .await?;
    // Nothing of it is left running beside the next one.
    let _ = tokio::time::timeout(AFTER_KILL, read(&mut attached, &mut Vec::new())).await;
    let mut told = format!("Health check exceeded timeout ({})", spelled(limit));
    if !output.is_empty() {
        told.push_str(": ");
        told.push_str(&text(&output));
    }
    Ok((FAILED, told))
}

/// The exec of one probe. A probe that is broken off before it is run leaves nothing of it.
struct Registered {
    engine: Engine,
    exec: CreatedExec,
}

impl Registered {
    /// Registered to the end, whether or not it is still wanted then.
    async fn new(engine: &Engine, keeper: &Keeper, check: &HealthCheck) -> Result<Self> {
        let request = CreateExec {
            container: keeper.id().to_string(),
            cmd: command(check, &keeper.record().config.shell),
            attach_stdout: true,
            attach_stderr: true,
            ..CreateExec::default()
        };
        let engine = engine.clone();
        crate::finish(async move {
            let exec = engine.exec_create(request).await?;
            Ok(Self { engine, exec })
        })
        .await
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let (engine, id) = (self.engine.clone(), self.exec.id.clone());
        // One that was run is left alone.
        tokio::spawn(async move { engine.exec_discard(&id).await });
    }
}

/// Reads to the end, keeping no more than is remembered; the exit code.
async fn read(attached: &mut Attached, output: &mut Vec<u8>) -> Result<i32> {
    loop {
        match attached.output.next().await? {
            Some(AttachEvent::Output { bytes, .. }) => {
                let room = OUTPUT.saturating_sub(output.len()).min(bytes.len());
                output.extend_from_slice(&bytes[..room]);
            }
            Some(AttachEvent::Exit(exit)) => {
                return i32::try_from(exit.status).map_err(|_| Error::internal("an exit status out of range"));
            }
            None => return Err(Error::internal("the probe ended without an exit status")),
        }
    }
}

fn command(check: &HealthCheck, shell: &[String]) -> Vec<String> {
    match check.test.split_first() {
        Some((kind, rest)) if kind == "CMD-SHELL" => {
            let usual = ["/bin/sh", "-c"].map(str::to_owned);
            let shell = if shell.is_empty() { &usual } else { shell };
            shell.iter().chain(rest.first()).cloned().collect()
        }
        Some((_, rest)) => rest.to_vec(),
        None => Vec::new(),
    }
}

/// As Go spells it: `30s`, `1m30s`, `500ms`.
fn spelled(limit: Duration) -> String {
    let seconds = limit.as_secs();
    match (seconds / 60, seconds % 60, limit.subsec_millis()) {
        (0, 0, milliseconds) => format!("{milliseconds}ms"),
        (0, seconds, 0) => format!("{seconds}s"),
        (0, seconds, milliseconds) => format!("{seconds}.{milliseconds:03}s"),
        (minutes, seconds, _) => format!("{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_limits() {
        let check = |test: &[&str]| HealthCheck {
            test: test.iter().map(|word| (*word).to_owned()).collect(),
            ..HealthCheck::default()
        };
        let line = check(&["CMD-SHELL", "exit 1"]);
        assert_eq!(command(&line, &[]), ["/bin/sh", "-c", "exit 1"]);
        assert_eq!(
            command(&line, &["/bin/ash".to_owned(), "-ec".to_owned()]),
            ["/bin/ash", "-ec", "exit 1"]
        );
        assert_eq!(command(&check(&["CMD", "true", "x"]), &[]), ["true", "x"]);
        for (millis, text) in [(500, "500ms"), (30_000, "30s"), (90_000, "1m30s"), (1_500, "1.500s")] {
            assert_eq!(spelled(Duration::from_millis(millis)), text);
        }
    }
}
