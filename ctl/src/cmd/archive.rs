//! `load`, `save` and `import`: archives in and out.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use gantry_proto::gantry::v1 as pb;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::attach::term;
use crate::cli::verb::Parsed;
use crate::client::Daemon;
use crate::error::{Error, Result};
use crate::format::units;
use crate::out;
use crate::progress::{Progress, To};

/// Bytes of an archive per message.
const CHUNK: usize = 256 * 1024;
/// Messages read ahead of the connection.
const AHEAD: usize = 4;

/// An archive's bytes as messages, read on a thread of their own; a read error is kept for after the call.
pub(super) struct Feed<T> {
    pub(super) messages: ReceiverStream<T>,
    failed: tokio::sync::oneshot::Receiver<std::io::Error>,
    what: String,
}

impl<T> Feed<T> {
    /// The stream for the call, and what tells afterwards whether reading went well.
    pub(super) fn split(self) -> (ReceiverStream<T>, Verdict) {
        (
            self.messages,
            Verdict {
                failed: self.failed,
                what: self.what,
            },
        )
    }
}

pub(super) struct Verdict {
    failed: tokio::sync::oneshot::Receiver<std::io::Error>,
    what: String,
}

impl Verdict {
    /// A failure to read is the cause of whatever the daemon said of the cut-off archive.
    pub(super) fn first<R>(mut self, answer: Result<R>) -> Result<R> {
        match self.failed.try_recv() {
            Ok(source) => Err(Error::Io {
                what: self.what,
                source,
            }),
            Err(_) => answer,
        }
    }
}

pub(super) fn feed<T: Send + 'static>(
    mut from: impl Read + Send + 'static,
    what: String,
    first: Option<T>,
    wrap: impl Fn(Vec<u8>) -> T + Send + 'static,
) -> Feed<T> {
    let (send, receive) = mpsc::channel(AHEAD);
    let (fail, failed) = tokio::sync::oneshot::channel();
    // Ends when the archive does or the call is over; never joined, a read of stdin cannot be ended.
    std::thread::spawn(move || {
        if first.is_some_and(|first| send.blocking_send(first).is_err()) {
            return;
        }
        loop {
            let mut chunk = vec![0; CHUNK];
            match from.read(&mut chunk) {
                Ok(0) => return,
                Ok(count) => {
                    chunk.truncate(count);
                    if send.blocking_send(wrap(chunk)).is_err() {
                        return;
                    }
                }
                Err(err) if err.kind() == std::io::ErrorKind::Interrupted => {}
                Err(err) => {
                    let _ = fail.send(err);
                    return;
                }
            }
        }
    });
    Feed {
        messages: ReceiverStream::new(receive),
        failed,
        what,
    }
}

/// The file, or stdin for "-".
fn open(path: &str) -> Result<(Box<dyn Read + Send>, u64)> {
    if path == "-" {
        return Ok((Box::new(out::Stdin), 0));
    }
    let file = File::open(path).map_err(Error::io(format!("open {path}")))?;
    let meta = file.metadata().map_err(Error::io(format!("open {path}")))?;
    if meta.is_dir() {
        return Err(Error::refused(format!(
            "read {path}: it is a directory, not an archive"
        )));
    }
    Ok((Box::new(file), meta.len()))
}

pub(crate) async fn load(daemon: Daemon, parsed: Parsed) -> Result<i32> {
    let input = parsed.text("input").unwrap_or("-");
    if input == "-" && term::stdin_is_terminal() {
        return Err(Error::refused("requested load from stdin, but stdin is empty"));
    }
    let quiet = parsed.on("quiet") || !term::stdout_is_terminal();
    let (from, size) = open(input)?;
    let mut progress = Progress::new(To::Stdout);
    let feed = feed(from, format!("read {input}"), None, |chunk| pb::LoadRequest { chunk });
    let (messages, verdict) = feed.split();
    let loaded = async {
        let mut news = daemon.take(daemon.images().load(messages).await)?;
        while let Some(piece) = news.message().await.map_err(|status| daemon.error(status))? {
            if !piece.loaded_reference.is_empty() {
                progress.show("", &format!("Loaded image: {}", piece.loaded_reference), 0, 0);
            } else if !piece.loaded_id.is_empty() {
                progress.show("", &format!("Loaded image ID: {}", piece.loaded_id), 0, 0);
            } else if !quiet && !piece.id.is_empty() {
                progress.show(
                    &piece.id,
                    &piece.status,
                    piece.current,
                    piece.total.max(if piece.current > 0 { size } else { 0 }),
                );
            }
        }
        Ok(0)
    };
    let answer = loaded.await;
    verdict.first(answer)
}

pub(crate) async fn import(daemon: Daemon, parsed: Parsed) -> Result<i32> {
    let source = parsed.arg(0);
    if source.starts_with("http://") || source.starts_with("https://") {
        return Err(Error::refused(format!(
            "import {source} is refused: importing from a URL is not built yet, pipe it into 'gantry import -'"
        )));
    }
    if source == "-" && term::stdin_is_terminal() {
        return Err(Error::refused("requested import from stdin, but stdin is empty"));
    }
    let (from, _) = open(source)?;
    let header = pb::ImportHeader {
        reference: parsed.arg(1).to_owned(),
        message: parsed.text("message").unwrap_or_default().to_owned(),
        changes: parsed.all("change").to_vec(),
        platform: parsed.text("platform").unwrap_or_default().to_owned(),
    };
    let first = pb::ImportRequest {
        part: Some(pb::import_request::Part::Header(header)),
    };
    let wrap = |chunk| pb::ImportRequest {
        part: Some(pb::import_request::Part::Tar(chunk)),
    };
    let (messages, verdict) = feed(from, format!("read {source}"), Some(first), wrap).split();
    let answer = daemon.take(daemon.images().import(messages).await);
    out::line(verdict.first(answer)?.id);
    Ok(0)
}

pub(crate) async fn save(daemon: Daemon, parsed: Parsed) -> Result<i32> {
    let request = pb::SaveRequest {
        images: parsed.args.clone(),
    };
    let Some(path) = parsed.text("output").filter(|path| !path.is_empty()) else {
        if term::stdout_is_terminal() {
            return Err(Error::refused(
                "cowardly refusing to save to a terminal. Use the -o flag or redirect",
            ));
        }
        let mut chunks = daemon.take(daemon.images().save(request).await)?;
        while let Some(piece) = chunks.message().await.map_err(|status| daemon.error(status))? {
            out::put(piece.chunk);
        }
        return Ok(0);
    };
    // Nothing is written under the wanted name before all of it is there.
    let mut target = Target::create(Path::new(path))?;
    let mut chunks = daemon.take(daemon.images().save(request).await)?;
    let live = term::stderr_is_terminal();
    let (mut written, mut told) = (0_u64, 0_u64);
    while let Some(piece) = chunks.message().await.map_err(|status| daemon.error(status))? {
        target
            .file
            .write_all(&piece.chunk)
            .map_err(Error::io(format!("write {path}")))?;
        written += piece.chunk.len() as u64;
        if live && written - told > 4 << 20 {
            told = written;
            out::put_err(format!(
                "\rSaving {path}: {}\x1b[K",
                units::human_size(written as f64, 4)
            ));
        }
    }
    if live && told > 0 {
        out::put_err("\r\x1b[K");
    }
    target.finish()?;
    Ok(0)
}

/// A file that takes its name when it is whole.
pub(super) struct Target {
    pub(super) file: File,
    path: PathBuf,
    /// None when the name is a device or pipe, which is written in place.
    draft: Option<PathBuf>,
}

impl Target {
    pub(super) fn create(path: &Path) -> Result<Self> {
        let what = || format!("create {}", path.display());
        let special = std::fs::metadata(path).is_ok_and(|meta| !meta.is_file());
        if special {
            let file = OpenOptions::new().write(true).open(path).map_err(Error::io(what()))?;
            return Ok(Self {
                file,
                path: path.to_owned(),
                draft: None,
            });
        }
        let name = path
            .file_name()
            .ok_or_else(|| Error::refused(format!("invalid output path {}", path.display())))?;
        let draft = path.with_file_name(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&draft)
            .map_err(Error::io(what()))?;
        Ok(Self {
            file,
            path: path.to_owned(),
            draft: Some(draft),
        })
    }

    pub(super) fn finish(mut self) -> Result<()> {
        if let Some(draft) = self.draft.take() {
            let renamed = std::fs::rename(&draft, &self.path);
            if renamed.is_err() {
                let _ = std::fs::remove_file(&draft);
            }
            renamed.map_err(Error::io(format!("create {}", self.path.display())))?;
        }
        Ok(())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Some(draft) = self.draft.take() {
            let _ = std::fs::remove_file(draft);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unfinished_file_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tar");
        drop(Target::create(&path).unwrap());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        let mut target = Target::create(&path).unwrap();
        target.file.write_all(b"x").unwrap();
        target.finish().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"x");
        assert!(Target::create(Path::new("/no/such/dir/a.tar")).is_err());
    }

    #[test]
    fn a_directory_is_no_archive() {
        assert!(open("/").err().unwrap().to_string().contains("is a directory"));
        assert!(open("/no/such").err().unwrap().to_string().starts_with("open /no/such"));
    }
}
