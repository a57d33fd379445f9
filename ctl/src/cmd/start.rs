//! `start`, attached or not.

use gantry_proto::gantry::v1 as pb;

use super::run;
use crate::attach::{self, Proxy, Streams, keys};
use crate::cli::verb::Parsed;
use crate::client::Daemon;
use crate::error::{Error, Result};
use crate::out;

pub(crate) async fn run(daemon: Daemon, parsed: Parsed) -> Result<i32> {
    if parsed.on("attach") || parsed.on("interactive") {
        if parsed.args.len() > 1 {
            return Err(Error::refused(
                "you cannot start and attach multiple containers at once",
            ));
        }
        return match attached(&daemon, &parsed).await {
            Ok(code) => Ok(code),
            Err(err) => {
                attach::term::restore();
                out::warn(&err);
                Ok(if err.run_code() == 125 { 1 } else { err.run_code() })
            }
        };
    }
    let mut failed = Vec::new();
    for name in &parsed.args {
        match run::start(&daemon, name).await {
            Ok(()) => out::line(name),
            Err(err) => {
                out::warn(err);
                failed.push(name.as_str());
            }
        }
    }
    if failed.is_empty() {
        return Ok(0);
    }
    Err(Error::refused(format!(
        "Error: failed to start containers: {}",
        failed.join(", ")
    )))
}

async fn attached(daemon: &Daemon, parsed: &Parsed) -> Result<i32> {
    let request = pb::InspectContainerRequest {
        container: parsed.arg(0).to_owned(),
        size: false,
    };
    let container = daemon
        .take(daemon.containers().inspect(request).await)?
        .container
        .unwrap_or_default();
    let config = container.config.unwrap_or_default();
    let stdin = parsed.on("interactive") && config.open_stdin;
    attach::check_terminal(config.tty, stdin)?;
    let detach_keys = keys::parse(parsed.text("detach-keys")).map_err(Error::refused)?;
    let streams = Streams {
        stdin,
        stdout: true,
        stderr: true,
        detach_keys,
    };
    let running = container
        .state
        .as_ref()
        .is_some_and(|state| state.status() == pb::ContainerStatus::Running);
    let proxy = || Proxy::Container(container.id.clone());
    let there = match running {
        // It may end, or be known to have ended, just now: then it is started like any other.
        true => super::attach::open(daemon, &container.id, streams.clone(), proxy())
            .await
            .ok(),
        false => None,
    };
    let session = match there {
        Some(session) => session,
        None => run::open(daemon, &container.id, streams, proxy()).await?,
    };
    run::start(daemon, &container.id).await?;
    run::finish(daemon, &container.id, session.run(daemon).await?, None).await
}
