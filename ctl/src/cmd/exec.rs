//! `exec`.

use std::time::Duration;

use gantry_proto::gantry::v1 as pb;

use crate::attach::{self, Attached, End, Proxy, Streams, keys};
use crate::cli::verb::Parsed;
use crate::client::Daemon;
use crate::error::{Error, Result};
use crate::{opts, out};

/// How long an exec whose shim went away may take to be known as ended.
const VERDICT: Duration = Duration::from_secs(30);

pub(crate) async fn run(daemon: Daemon, parsed: Parsed) -> Result<i32> {
    match exec(&daemon, &parsed).await {
        Ok(code) => Ok(code),
        Err(err) => {
            attach::term::restore();
            out::warn(&err);
            Ok(if err.run_code() == 125 { 1 } else { err.run_code() })
        }
    }
}

async fn exec(daemon: &Daemon, parsed: &Parsed) -> Result<i32> {
    let (detached, tty) = (parsed.on("detach"), parsed.on("tty"));
    let stdin = parsed.on("interactive") && !detached;
    attach::check_terminal(tty, stdin)?;
    let detach_keys = keys::parse(parsed.text("detach-keys")).map_err(Error::refused)?;
    let our_env = |name: &str| std::env::var(name).ok();
    let request = pb::CreateExecRequest {
        container: parsed.arg(0).to_owned(),
        cmd: parsed.args[1..].to_vec(),
        env: opts::environment(parsed.all("env-file"), parsed.all("env"), our_env)?,
        user: parsed.text("user").unwrap_or_default().to_owned(),
        working_dir: parsed.text("workdir").unwrap_or_default().to_owned(),
        tty,
        attach_stdin: stdin,
        attach_stdout: !detached,
        attach_stderr: !detached,
        privileged: parsed.on("privileged"),
        detach_keys: parsed.text("detach-keys").unwrap_or_default().to_owned(),
    };
    let created = daemon.take(daemon.execs().create(request).await)?;
    if detached {
        return start(daemon, &created.id).await.map(|()| 0);
    }
    let endpoint = created.endpoint.unwrap_or_default();
    let streams = Streams {
        stdin,
        stdout: true,
        stderr: true,
        detach_keys,
    };
    let attached = Attached::open(&endpoint, streams, Proxy::Nobody, false)?;
    start(daemon, &created.id).await?;
    match attached.run(daemon).await? {
        End::Exit(code) => Ok(code),
        End::Detached => {
            out::warn("read escape sequence");
            Ok(0)
        }
        End::Unread => Ok(1),
        End::Lost => verdict(daemon, &created.id).await,
    }
}

async fn start(daemon: &Daemon, exec: &str) -> Result<()> {
    daemon
        .take(
            daemon
                .execs()
                .start(pb::StartExecRequest { exec: exec.to_owned() })
                .await,
        )
        .map(drop)
}

/// The exit code from the daemon, where the shim could not give it.
async fn verdict(daemon: &Daemon, exec: &str) -> Result<i32> {
    let request = pb::WaitExecRequest { exec: exec.to_owned() };
    let waited = daemon.patient(|| {
        let (mut client, request) = (daemon.execs(), request.clone());
        async move { client.wait(request).await }
    });
    match tokio::time::timeout(VERDICT, waited).await {
        Ok(answer) => Ok(answer?.exit_code),
        Err(_) => Err(Error::Attach(format!(
            "lost touch with exec {exec}, and the daemon does not know its end"
        ))),
    }
}
