//! `attach`.

use gantry_proto::gantry::v1 as pb;

use super::run;
use crate::attach::{self, Attached, Proxy, Streams, keys};
use crate::cli::verb::Parsed;
use crate::client::Daemon;
use crate::error::{Error, Result};

pub(crate) async fn run(daemon: Daemon, parsed: Parsed) -> Result<i32> {
    let request = pb::InspectContainerRequest {
        container: parsed.arg(0).to_owned(),
        size: false,
    };
    let container = daemon
        .take(daemon.containers().inspect(request).await)?
        .container
        .unwrap_or_default();
    let config = container.config.unwrap_or_default();
    match container.state.unwrap_or_default().status() {
        pb::ContainerStatus::Running => {}
        pb::ContainerStatus::Paused => {
            return Err(Error::refused(
                "You cannot attach to a paused container, unpause it first",
            ));
        }
        pb::ContainerStatus::Restarting => {
            return Err(Error::refused(
                "You cannot attach to a restarting container, wait until it is running",
            ));
        }
        _ => {
            return Err(Error::refused(
                "You cannot attach to a stopped container, start it first",
            ));
        }
    }
    let stdin = !parsed.on("no-stdin") && config.open_stdin;
    attach::check_terminal(config.tty, stdin)?;
    let detach_keys = keys::parse(parsed.text("detach-keys")).map_err(Error::refused)?;
    let streams = Streams {
        stdin,
        stdout: true,
        stderr: true,
        detach_keys,
    };
    let proxy = if parsed.on("sig-proxy") {
        Proxy::Container(container.id.clone())
    } else {
        Proxy::Nobody
    };
    let attached = open(&daemon, &container.id, streams, proxy).await?;
    run::finish(&daemon, &container.id, attached.run(&daemon).await?, None).await
}

/// Attaches to a running container.
pub(super) async fn open(daemon: &Daemon, id: &str, streams: Streams, proxy: Proxy) -> Result<Attached> {
    let request = pb::AttachContainerRequest {
        container: id.to_owned(),
    };
    let endpoint = daemon.take(daemon.containers().attach(request).await)?;
    Attached::open(&endpoint, streams, proxy, true)
}
