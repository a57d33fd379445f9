//! Commands that are one request per container.

use gantry_proto::gantry::v1 as pb;

use super::{Outcome, each, run};
use crate::cli::verb::Parsed;
use crate::client::Daemon;
use crate::error::{Error, Result};
use crate::format::table;
use crate::out;

/// `--timeout` as the wire has it; negative means for ever.
fn timeout(parsed: &Parsed) -> Option<i32> {
    parsed
        .int("timeout")
        .map(|seconds| seconds.clamp(-1, i64::from(i32::MAX)) as i32)
}

fn signal(parsed: &Parsed) -> String {
    parsed.text("signal").unwrap_or_default().to_owned()
}

fn done<T>(_: T) -> Outcome {
    Outcome::Done
}

pub(crate) async fn stop(daemon: Daemon, parsed: Parsed) -> Result<i32> {
    each(&parsed.args, |container| {
        let request = pb::StopContainerRequest {
            container,
            timeout: timeout(&parsed),
            signal: signal(&parsed),
        };
        let daemon = daemon.clone();
        async move { daemon.take(daemon.containers().stop(request).await).map(done) }
    })
    .await
}

pub(crate) async fn restart(daemon: Daemon, parsed: Parsed) -> Result<i32> {
    each(&parsed.args, |container| {
        let request = pb::RestartContainerRequest {
            container,
            timeout: timeout(&parsed),
            signal: signal(&parsed),
        };
        let daemon = daemon.clone();
        async move { daemon.take(daemon.containers().restart(request).await).map(done) }
    })
    .await
}

pub(crate) async fn kill(daemon: Daemon, parsed: Parsed) -> Result<i32> {
    each(&parsed.args, |container| {
        let request = pb::KillContainerRequest {
            container,
            signal: signal(&parsed),
        };
        let daemon = daemon.clone();
        async move { daemon.take(daemon.containers().kill(request).await).map(done) }
    })
    .await
}

pub(crate) async fn pause(daemon: Daemon, parsed: Parsed) -> Result<i32> {
    each(&parsed.args, |container| {
        let daemon = daemon.clone();
        async move {
            daemon
                .take(daemon.containers().pause(pb::PauseContainerRequest { container }).await)
                .map(done)
        }
    })
    .await
}

pub(crate) async fn unpause(daemon: Daemon, parsed: Parsed) -> Result<i32> {
    each(&parsed.args, |container| {
        let daemon = daemon.clone();
        async move {
            daemon
                .take(
                    daemon
                        .containers()
                        .unpause(pb::UnpauseContainerRequest { container })
                        .await,
                )
                .map(done)
        }
    })
    .await
}

pub(crate) async fn rm(daemon: Daemon, parsed: Parsed) -> Result<i32> {
    let (force, volumes, link) = (parsed.on("force"), parsed.on("volumes"), parsed.on("link"));
    // A name may be given as the daemon's own listing shows it in inspect.
    let bare = |name: &String| name.trim_start_matches('/').to_owned();
    let names: Vec<String> = parsed.args.iter().map(bare).collect();
    if let Some(at) = names.iter().position(String::is_empty) {
        return Err(Error::refused(format!(
            "Container name cannot be empty: {:?}",
            parsed.args[at]
        )));
    }
    each(&names, |container| {
        let request = pb::RemoveContainerRequest {
            container,
            force,
            volumes,
            link,
        };
        let daemon = daemon.clone();
        async move {
            match daemon.take(daemon.containers().remove(request).await) {
                // With --force what is gone already is as wanted.
                Err(err) if force && err.is_not_found() => {
                    out::warn(&err);
                    Ok(Outcome::Nothing)
                }
                other => other.map(done),
            }
        }
    })
    .await
}

pub(crate) async fn rename(daemon: Daemon, parsed: Parsed) -> Result<i32> {
    let (container, name) = (parsed.arg(0).trim().to_owned(), parsed.arg(1).trim().to_owned());
    if container.is_empty() || name.is_empty() {
        return Err(Error::refused("Error: Neither old nor new names may be empty"));
    }
    daemon.take(
        daemon
            .containers()
            .rename(pb::RenameContainerRequest { container, name })
            .await,
    )?;
    Ok(0)
}

pub(crate) async fn wait(daemon: Daemon, parsed: Parsed) -> Result<i32> {
    let condition = match parsed.text("condition") {
        None | Some("" | "not-running") => pb::WaitCondition::NotRunning,
        Some("next-exit") => pb::WaitCondition::NextExit,
        Some("removed") => pb::WaitCondition::Removed,
        Some(other) => return Err(Error::refused(format!("invalid condition: {other:?}"))),
    };
    let mut errors = Vec::new();
    for name in &parsed.args {
        match run::wait(&daemon, name, condition).await {
            Ok(code) => out::line(code.to_string()),
            Err(err) => errors.push(err.to_string()),
        }
    }
    if errors.is_empty() {
        Ok(0)
    } else {
        Err(Error::Several(errors))
    }
}

pub(crate) async fn top(daemon: Daemon, parsed: Parsed) -> Result<i32> {
    let request = pb::TopRequest {
        container: parsed.arg(0).to_owned(),
        ps_args: parsed.args[1..].join(" "),
    };
    let answer = daemon.take(daemon.containers().top(request).await)?;
    let mut text = format!("{}\n", answer.titles.join("\t"));
    for process in &answer.processes {
        text.push_str(&process.items.join("\t"));
        text.push('\n');
    }
    out::put(table::align_with(&text, 20, 3));
    Ok(0)
}

pub(crate) async fn diff(daemon: Daemon, parsed: Parsed) -> Result<i32> {
    let request = pb::ChangesRequest {
        container: parsed.arg(0).to_owned(),
    };
    for change in daemon.take(daemon.containers().changes(request).await)?.changes {
        let letter = match change.kind() {
            pb::change::Kind::Modified => 'C',
            pb::change::Kind::Added => 'A',
            pb::change::Kind::Deleted => 'D',
        };
        out::line(format!("{letter} {}", change.path));
    }
    Ok(0)
}
