//! `create`, and what `run` shares with it.

use gantry_proto::gantry::v1 as pb;

use super::pull::{self, Show};
use crate::cli::verb::Parsed;
use crate::client::Daemon;
use crate::error::{Error, Result};
use crate::opts::{self, Wanted};
use crate::out;

pub(crate) async fn run(daemon: Daemon, parsed: Parsed) -> Result<i32> {
    match opts::container(&parsed, false) {
        Ok(wanted) => out::line(make(&daemon, &parsed, wanted).await?),
        Err(err) => return Ok(failed(&err, &parsed)),
    }
    Ok(0)
}

/// Says an error as `run` and `create` say them, and its exit code.
pub(super) fn failed(err: &Error, parsed: &Parsed) -> i32 {
    crate::attach::term::restore();
    if let Error::Bare(why) = err {
        out::warn(why);
        return 1;
    }
    out::warn(format!(
        "gantry: {err}\n\nRun 'gantry {} --help' for more information",
        parsed.path
    ));
    err.run_code()
}

/// When an image is pulled.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Policy {
    Always,
    Missing,
    Never,
}

impl Policy {
    fn read(text: Option<&str>) -> Result<Self> {
        match text {
            None | Some("" | "missing") => Ok(Self::Missing),
            Some("always") => Ok(Self::Always),
            Some("never") => Ok(Self::Never),
            Some(other) => Err(Error::refused(format!(
                "invalid pull option: '{other}': must be one of \"always\", \"missing\" or \"never\""
            ))),
        }
    }
}

/// Creates the container, pulling its image if need be; its id.
pub(super) async fn make(daemon: &Daemon, parsed: &Parsed, wanted: Wanted) -> Result<String> {
    let policy = Policy::read(parsed.text("pull"))?;
    let show = if parsed.on("quiet") {
        Show::Nothing
    } else {
        Show::OnStderr
    };
    let cidfile = parsed.text("cidfile").filter(|path| !path.is_empty());
    if let Some(path) = cidfile.filter(|path| std::path::Path::new(path).exists()) {
        return Err(Error::refused(format!(
            "container ID file found, make sure the other container isn't running or delete {path}"
        )));
    }
    let image = wanted.config.image.clone();
    if policy == Policy::Always {
        pull::pull(daemon, &image, show).await?;
    }
    let request = pb::CreateContainerRequest {
        name: wanted.name,
        config: Some(wanted.config),
        host: Some(wanted.host),
        networks: wanted.networks,
    };
    let mut created = daemon.take(daemon.containers().create(request.clone()).await);
    if policy == Policy::Missing && created.as_ref().is_err_and(Error::is_no_image) {
        if show == Show::OnStderr {
            out::warn(format!("Unable to find image '{}' locally", pull::with_tag(&image)));
        }
        pull::pull(daemon, &image, show).await?;
        created = daemon.take(daemon.containers().create(request).await);
    }
    let created = created?;
    for warning in &created.warnings {
        out::warn(format!("WARNING: {warning}"));
    }
    if let Some(path) = cidfile {
        std::fs::write(path, &created.id).map_err(Error::io(format!("write container ID file {path}")))?;
    }
    Ok(created.id)
}
