//! `cp`.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use gantry_proto::gantry::v1 as pb;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::archive::feed;
use crate::attach::term;
use crate::cli::verb::Parsed;
use crate::client::Daemon;
use crate::copy::{Extractor, Found, Spec, pack, place, split_target};
use crate::error::{Error, Result};
use crate::format::units;
use crate::out;

/// Links at a destination in a container that are followed before it is called a loop.
const MAX_LINKS: usize = 16;
/// Messages on their way between the connection and the disk.
const AHEAD: usize = 8;
const CHUNK: usize = 128 * 1024;
/// The file type bits of st_mode.
const TYPE: u32 = 0o170_000;
const DIRECTORY: u32 = 0o040_000;
const LINK: u32 = 0o120_000;

pub(crate) async fn run(daemon: Daemon, parsed: Parsed) -> Result<i32> {
    if parsed.args.iter().any(String::is_empty) {
        let which = if parsed.arg(0).is_empty() {
            "source"
        } else {
            "destination"
        };
        return Err(Error::refused(format!("{which} can not be empty")));
    }
    let options = Options {
        archive: parsed.on("archive"),
        follow: parsed.on("follow-link"),
    };
    let copied = match (Spec::read(parsed.arg(0)), Spec::read(parsed.arg(1))) {
        (Spec::Container { .. }, Spec::Container { .. }) => {
            return Err(Error::refused("copying between containers is not supported"));
        }
        (Spec::Container { name, path }, Spec::Stream) => {
            to_stdout(&daemon, name, path, options).await?;
            return Ok(0);
        }
        (Spec::Container { name, path }, Spec::Local(target)) => to_host(&daemon, name, path, &target, options).await?,
        (Spec::Stream, Spec::Container { name, path }) => from_stdin(&daemon, name, path, options).await?,
        (Spec::Local(source), Spec::Container { name, path }) => {
            to_container(&daemon, &source, name, path, options).await?
        }
        _ => return Err(Error::refused("must specify at least one container source")),
    };
    if term::stderr_is_terminal() && !parsed.on("quiet") {
        out::warn(format!(
            "Successfully copied {} to {}",
            units::human_size(copied as f64, 3),
            parsed.arg(1)
        ));
    }
    Ok(0)
}

#[derive(Clone, Copy)]
struct Options {
    /// Keep user and group.
    archive: bool,
    follow: bool,
}

/// Opens the stream of a path in a container; what it is, and its tar to come.
async fn fetch(
    daemon: &Daemon,
    container: String,
    path: String,
    options: Options,
) -> Result<(pb::PathStat, tonic::Streaming<pb::CopyFromResponse>)> {
    let request = pb::CopyFromRequest {
        container,
        path: absolute(&path),
        follow_link: options.follow,
    };
    let mut stream = daemon.take(daemon.containers().copy_from(request).await)?;
    let first = stream.message().await.map_err(|status| daemon.error(status))?;
    match first.and_then(|it| it.part) {
        Some(pb::copy_from_response::Part::Stat(stat)) => Ok((stat, stream)),
        _ => Err(Error::Attach(
            "the daemon sent no description of the path to copy".into(),
        )),
    }
}

/// Paths in a container start at its root.
fn absolute(path: &str) -> String {
    if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    }
}

async fn to_stdout(daemon: &Daemon, container: String, path: String, options: Options) -> Result<()> {
    let (_, mut stream) = fetch(daemon, container, path, options).await?;
    while let Some(piece) = stream.message().await.map_err(|status| daemon.error(status))? {
        if let Some(pb::copy_from_response::Part::Tar(bytes)) = piece.part {
            out::put(bytes);
        }
    }
    Ok(())
}

async fn to_host(daemon: &Daemon, container: String, path: String, target: &str, options: Options) -> Result<u64> {
    let (stat, mut stream) = fetch(daemon, container, path.clone(), options).await?;
    let found = match std::fs::metadata(target) {
        Ok(meta) if meta.is_dir() => Found::Directory,
        Ok(_) => Found::Other,
        Err(_) => Found::Nothing,
    };
    let name = stat.name.trim_matches('/');
    let root = place(
        &absolute(&path),
        if name.is_empty() { "." } else { name },
        stat.mode & TYPE == DIRECTORY,
        target,
        found,
    )?;
    let parent = root
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    if !parent.is_dir() {
        return Err(Error::refused(format!(
            "invalid output path: directory {:?} does not exist",
            parent.display().to_string()
        )));
    }
    let (send, receive) = mpsc::channel::<io::Result<Vec<u8>>>(AHEAD);
    let extractor = Extractor::new(root, options.archive);
    let extracted = tokio::task::spawn_blocking(move || {
        extractor.run(Incoming {
            receive,
            chunk: Vec::new(),
            at: 0,
        })
    });
    let failed = loop {
        match stream.message().await {
            Ok(Some(pb::CopyFromResponse {
                part: Some(pb::copy_from_response::Part::Tar(bytes)),
            })) => {
                // The extractor that stopped says why below.
                if send.send(Ok(bytes)).await.is_err() {
                    break None;
                }
            }
            Ok(Some(_)) => {}
            Ok(None) => break None,
            Err(status) => {
                let _ = send.send(Err(io::Error::other("the stream broke off"))).await;
                break Some(daemon.error(status));
            }
        }
    };
    drop(send);
    let done = extracted
        .await
        .map_err(|err| Error::Attach(format!("extract: {err}")))?;
    match failed {
        Some(err) => Err(err),
        None => done.map_err(Error::refused),
    }
}

/// Messages as a reader, for the thread that extracts.
struct Incoming {
    receive: mpsc::Receiver<io::Result<Vec<u8>>>,
    chunk: Vec<u8>,
    at: usize,
}

impl Read for Incoming {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.at == self.chunk.len() {
            match self.receive.blocking_recv() {
                Some(chunk) => (self.chunk, self.at) = (chunk?, 0),
                None => return Ok(0),
            }
        }
        let count = into.len().min(self.chunk.len() - self.at);
        into[..count].copy_from_slice(&self.chunk[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

/// What is at a path in a container, and the path itself with links at its end followed.
async fn target_of(daemon: &Daemon, container: &str, path: &str) -> Result<(String, Found)> {
    let mut path = absolute(path);
    for _ in 0..MAX_LINKS {
        let request = pb::StatPathRequest {
            container: container.to_owned(),
            path: path.clone(),
        };
        let stat = match daemon.take(daemon.containers().stat_path(request).await) {
            Ok(stat) => stat,
            // A container that is not there is said when the copy is asked for.
            Err(err) if err.is_not_found() => return Ok((path, Found::Nothing)),
            Err(err) => return Err(err),
        };
        match stat.mode & TYPE {
            DIRECTORY => return Ok((path, Found::Directory)),
            LINK if !stat.link_target.is_empty() => {
                let parent = Path::new(&path).parent().unwrap_or(Path::new("/")).to_owned();
                path = parent.join(&stat.link_target).display().to_string();
            }
            _ => return Ok((path, Found::Other)),
        }
    }
    Err(Error::refused(format!(
        "{container}:{path}: too many levels of symbolic links"
    )))
}

fn header(container: String, path: String, options: Options) -> pb::CopyToRequest {
    let header = pb::CopyToHeader {
        container,
        path,
        no_overwrite_dir_non_dir: true,
        copy_uid_gid: options.archive,
    };
    pb::CopyToRequest {
        part: Some(pb::copy_to_request::Part::Header(header)),
    }
}

fn tar_piece(bytes: Vec<u8>) -> pb::CopyToRequest {
    pb::CopyToRequest {
        part: Some(pb::copy_to_request::Part::Tar(bytes)),
    }
}

async fn from_stdin(daemon: &Daemon, container: String, path: String, options: Options) -> Result<u64> {
    let (resolved, found) = target_of(daemon, &container, &path).await?;
    if found == Found::Other {
        return Err(Error::refused(format!(
            "destination \"{container}:{path}\" must be a directory"
        )));
    }
    let first = header(container, resolved, options);
    let (messages, verdict) = feed(out::Stdin, "read stdin".into(), Some(first), tar_piece).split();
    let answer = daemon.take(daemon.containers().copy_to(messages).await);
    verdict.first(answer).map(|answer| answer.bytes)
}

async fn to_container(daemon: &Daemon, source: &str, container: String, path: String, options: Options) -> Result<u64> {
    let follow = options.follow || source.ends_with('/') || source.ends_with("/.");
    let meta = if follow {
        std::fs::metadata(source)
    } else {
        std::fs::symlink_metadata(source)
    };
    let meta = meta.map_err(Error::io(format!("lstat {source}")))?;
    let (resolved, found) = target_of(daemon, &container, &path).await?;
    let base = base_name(source)?;
    let root = place(source, &base, meta.is_dir(), &resolved, found)?;
    // Into a directory that is there go its contents; anything else gets its name from the target's parent.
    let whole = found == Found::Directory && root == Path::new(&resolved).components().collect::<PathBuf>();
    let (directory, name) = if whole {
        (resolved, ".".to_owned())
    } else {
        split_target(&root)
    };
    let (send, receive) = mpsc::channel(AHEAD);
    let first = header(container, directory, options);
    let from = PathBuf::from(source);
    let packed = tokio::task::spawn_blocking(move || {
        if send.blocking_send(first).is_err() {
            return Ok(0);
        }
        let mut outgoing = Outgoing {
            send,
            chunk: Vec::with_capacity(CHUNK),
        };
        let bytes = pack(&from, &name, follow, &mut outgoing)?;
        outgoing.flush().map_err(|err| format!("send archive: {err}"))?;
        Ok(bytes)
    });
    let answer = daemon.take(daemon.containers().copy_to(ReceiverStream::new(receive)).await);
    let packed: Result<u64, String> = packed.await.map_err(|err| Error::Attach(format!("pack: {err}")))?;
    match (answer, packed) {
        // The daemon's refusal ends the packing too, and is the cause.
        (Err(err), Err(why)) if why.starts_with("send archive") => Err(err),
        (_, Err(why)) => Err(Error::refused(why)),
        (Err(err), Ok(_)) => Err(err),
        (Ok(_), Ok(bytes)) => Ok(bytes),
    }
}

/// The last name of a local path, also of `.` and `/`.
fn base_name(source: &str) -> Result<String> {
    if let Some(name) = Path::new(source).file_name() {
        return Ok(name.to_string_lossy().into_owned());
    }
    let whole = std::fs::canonicalize(source).map_err(Error::io(format!("lstat {source}")))?;
    Ok(whole
        .file_name()
        .map_or_else(|| ".".to_owned(), |name| name.to_string_lossy().into_owned()))
}

/// A writer whose bytes become messages.
struct Outgoing {
    send: mpsc::Sender<pb::CopyToRequest>,
    chunk: Vec<u8>,
}

impl Write for Outgoing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.chunk.extend_from_slice(bytes);
        if self.chunk.len() >= CHUNK {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK));
        self.send
            .blocking_send(tar_piece(chunk))
            .map_err(|_| io::Error::other("send archive: the call ended"))
    }
}
