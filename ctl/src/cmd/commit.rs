//! `commit` and `export`: what a container has become, as an image or as a tar.

use std::io::Write;
use std::path::Path;

use gantry_proto::gantry::v1 as pb;

use super::archive::Target;
use crate::attach::term;
use crate::cli::verb::Parsed;
use crate::client::Daemon;
use crate::error::{Error, Result};
use crate::out;

pub(crate) async fn commit(daemon: Daemon, parsed: Parsed) -> Result<i32> {
    let text = |name: &str| parsed.text(name).unwrap_or_default().to_owned();
    let request = pb::CommitContainerRequest {
        container: parsed.arg(0).to_owned(),
        reference: parsed.arg(1).to_owned(),
        author: text("author"),
        message: text("message"),
        changes: parsed.all("change").to_vec(),
        pause: parsed.on("pause"),
    };
    let made = daemon.take(daemon.containers().commit(request).await)?;
    out::line(made.id);
    Ok(0)
}

pub(crate) async fn export(daemon: Daemon, parsed: Parsed) -> Result<i32> {
    let request = pb::ExportContainerRequest {
        container: parsed.arg(0).to_owned(),
    };
    let path = parsed.text("output").filter(|path| !path.is_empty());
    if path.is_none() && term::stdout_is_terminal() {
        return Err(Error::refused(
            "cowardly refusing to save to a terminal. Use the -o flag or redirect",
        ));
    }
    // Nothing is written under the wanted name before all of it is there.
    let mut target = path.map(|path| Target::create(Path::new(path))).transpose()?;
    let mut chunks = daemon.take(daemon.containers().export(request).await)?;
    while let Some(piece) = chunks.message().await.map_err(|status| daemon.error(status))? {
        match &mut target {
            Some(target) => target
                .file
                .write_all(&piece.tar)
                .map_err(Error::io("write the archive"))?,
            None => out::put(piece.tar),
        }
    }
    target.map_or(Ok(()), Target::finish)?;
    Ok(0)
}
