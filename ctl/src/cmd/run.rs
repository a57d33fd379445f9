//! `run`: create, attach, start, and stay until it ends.

use std::time::Duration;

use gantry_proto::gantry::v1 as pb;
use tokio::task::JoinHandle;

use super::create;
use crate::attach::{self, Attached, End, Proxy, Streams, keys};
use crate::cli::verb::Parsed;
use crate::client::Daemon;
use crate::error::{Error, Result};
use crate::opts::{self, Wanted};
use crate::out;

/// How long the daemon may take to have written down an end that we know of already.
const RECORDED: Duration = Duration::from_millis(500);
/// How long after its exit a `--rm` container's removal is waited for.
const REMOVAL: Duration = Duration::from_secs(60);

pub(crate) async fn run(daemon: Daemon, parsed: Parsed) -> Result<i32> {
    let ran = async {
        let detached = parsed.on("detach");
        let wanted = opts::container(&parsed, detached)?;
        let detach_keys = keys::parse(parsed.text("detach-keys")).map_err(Error::refused)?;
        if detached {
            return in_background(&daemon, &parsed, wanted).await;
        }
        attach::check_terminal(wanted.config.tty, wanted.stdin)?;
        in_foreground(&daemon, &parsed, wanted, detach_keys).await
    };
    match ran.await {
        Ok(code) => Ok(code),
        Err(err) => Ok(create::failed(&err, &parsed)),
    }
}

async fn in_background(daemon: &Daemon, parsed: &Parsed, wanted: Wanted) -> Result<i32> {
    let remove = wanted.host.auto_remove;
    let id = create::make(daemon, parsed, wanted).await?;
    let started = start(daemon, &id).await;
    match started {
        Ok(()) => {
            out::line(id);
            Ok(0)
        }
        Err(err) => {
            // As with docker, the id tells what is left behind.
            if remove {
                give_up(daemon, &id).await;
            } else {
                out::line(&id);
            }
            Err(err)
        }
    }
}

async fn in_foreground(daemon: &Daemon, parsed: &Parsed, wanted: Wanted, detach_keys: Vec<u8>) -> Result<i32> {
    let remove = wanted.host.auto_remove;
    let silent = !wanted.stdout && !wanted.stderr;
    let streams = Streams {
        stdin: wanted.stdin,
        stdout: wanted.stdout,
        stderr: wanted.stderr,
        detach_keys,
    };
    let id = create::make(daemon, parsed, wanted).await?;
    if silent {
        out::line(&id);
    }
    let proxy = if parsed.on("sig-proxy") {
        Proxy::Container(id.clone())
    } else {
        Proxy::Nobody
    };
    let removed = remove.then(|| when_removed(daemon, &id));
    let started = async {
        let attached = open(daemon, &id, streams, proxy).await?;
        start(daemon, &id).await?;
        Ok(attached)
    };
    let attached = match started.await {
        Ok(attached) => attached,
        Err(err) => {
            if remove {
                give_up(daemon, &id).await;
            }
            return Err(err);
        }
    };
    finish(daemon, &id, attached.run(daemon).await?, removed).await
}

/// Makes the container ready and attaches to it.
pub(super) async fn open(daemon: &Daemon, id: &str, streams: Streams, proxy: Proxy) -> Result<Attached> {
    let request = pb::PrepareContainerRequest {
        container: id.to_owned(),
    };
    let endpoint = daemon.patient(|| {
        let (mut client, request) = (daemon.containers(), request.clone());
        async move { client.prepare(request).await }
    });
    Attached::open(&endpoint.await?, streams, proxy, false)
}

pub(super) async fn start(daemon: &Daemon, id: &str) -> Result<()> {
    let request = pb::StartContainerRequest {
        container: id.to_owned(),
    };
    let started = daemon.patient(|| {
        let (mut client, request) = (daemon.containers(), request.clone());
        async move { client.start(request).await }
    });
    started.await.map(drop)
}

/// What the end of a session means for the exit code.
pub(super) async fn finish(daemon: &Daemon, id: &str, end: End, removed: Option<JoinHandle<()>>) -> Result<i32> {
    let code = match end {
        End::Detached => {
            out::warn("read escape sequence");
            return Ok(0);
        }
        End::Unread => return Ok(1),
        End::Exit(code) => code,
        End::Lost => wait(daemon, id, pb::WaitCondition::NotRunning).await?,
    };
    if let Some(removed) = removed {
        // A removal that takes longer than this goes on without us.
        let _ = tokio::time::timeout(REMOVAL, removed).await;
    } else {
        // The shim tells us first; who asks the daemon next should hear the same. A daemon that is away is not waited for.
        let _ = tokio::time::timeout(RECORDED, wait(daemon, id, pb::WaitCondition::NotRunning)).await;
    }
    Ok(code)
}

pub(super) async fn wait(daemon: &Daemon, id: &str, condition: pb::WaitCondition) -> Result<i32> {
    let request = pb::WaitContainerRequest {
        container: id.to_owned(),
        condition: condition.into(),
    };
    let waited = daemon.patient(|| {
        let (mut client, request) = (daemon.containers(), request.clone());
        async move { client.wait(request).await }
    });
    waited.await.map(|answer| answer.exit_code)
}

/// Ends when the container is gone, however often the daemon restarts meanwhile.
fn when_removed(daemon: &Daemon, id: &str) -> JoinHandle<()> {
    let (daemon, id) = (daemon.clone(), id.to_owned());
    tokio::spawn(async move {
        while let Err(Error::Connect { .. }) = wait(&daemon, &id, pb::WaitCondition::Removed).await {}
    })
}

/// Removes what could not be started.
async fn give_up(daemon: &Daemon, id: &str) {
    let request = pb::RemoveContainerRequest {
        container: id.to_owned(),
        force: true,
        volumes: true,
        link: false,
    };
    if let Err(err) = daemon.take(daemon.containers().remove(request).await)
        && !err.is_not_found()
    {
        out::warn(format!("WARNING: container {id} is left behind: {err}"));
    }
}
