//! Checkpoints: a directory that a shim writes, as a blob of the content store, and back.

use super::room::Room;
use super::task::Task;
use super::{Blob, NewCheckpoint};
use crate::gate::blocking;
use gantry_core::content::{BlobStream, ContentStore, IngestRequest};
use gantry_core::{ContainerId, Error, ErrorKind, Labels, LeaseId, Namespace, Result, error::io_kind};
use rand::Rng;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Types under which containerd's clients look for them.
const CHECKPOINT: &str = "application/vnd.containerd.container.criu.checkpoint.criu.tar";
const CONFIG: &str = "application/vnd.containerd.container.checkpoint.config.v1+proto";

/// A directory that goes with its owner.
pub(super) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    fn make(room: &Room) -> Result<Self> {
        let path = room
            .work
            .join(format!(".checkpoint-{:016x}", rand::rng().random::<u64>()));
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
        made.map_err(|error| failed("make", &path, &error))?;
        Ok(Self { path })
    }

    pub(super) fn text(&self) -> String {
        self.path.to_string_lossy().into_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(err = %error, "the directory of a checkpoint could not be removed");
        }
    }
}

/// The files of a checkpoint, for the shim to read.
pub(super) async fn unpack(room: &Arc<Room>, task: &Task, blob: Blob) -> Result<Scratch> {
    if blob.media_type != CHECKPOINT {
        return Err(Error::new(
            ErrorKind::Unknown,
            format!("unsupported checkpoint type \"{}\"", blob.media_type),
        ));
    }
    let (room, ns) = (room.clone(), task.ns.clone());
    blocking(move || {
        let scratch = Scratch::make(&room)?;
        let stream = BlobStream::new(room.content.reader(&ns, &blob.digest)?);
        let unpacked = tar::Archive::new(stream).unpack(&scratch.path);
        unpacked.map_err(|error| failed("unpack a checkpoint into", &scratch.path, &error))?;
        Ok(scratch)
    })
    .await
}

impl Room {
    pub(super) async fn checkpoint(
        self: &Arc<Self>,
        ns: &Namespace,
        id: &ContainerId,
        new: NewCheckpoint,
    ) -> Result<Vec<Blob>> {
        let container = self.meta.container(ns, id).await?;
        let task = self.find(ns, id).await?;
        let shim = task.shim()?;
        if let Some(path) = new.image_path.filter(|path| !path.is_empty()) {
            task.heard(shim.checkpoint(&path, new.options).await)?;
            return Ok(Vec::new());
        }
        let room = self.clone();
        let scratch = blocking(move || Scratch::make(&room)).await?;
        task.heard(shim.checkpoint(&scratch.text(), new.options).await)?;
        let spec = container.spec.unwrap_or_default();
        let (room, ns) = (self.clone(), ns.clone());
        blocking(move || {
            let files = store(
                &*room.content,
                &ns,
                CHECKPOINT,
                &scratch.text(),
                new.lease.as_ref(),
                |out| {
                    let mut tar = tar::Builder::new(out);
                    tar.append_dir_all(".", &scratch.path)?;
                    tar.into_inner()?.flush()
                },
            )?;
            let name = format!("{}/spec", scratch.text());
            let encoded = encode(&spec.type_url, &spec.value);
            let config = store(&*room.content, &ns, CONFIG, &name, new.lease.as_ref(), |out| {
                out.write_all(&encoded)
            })?;
            Ok(vec![files, config])
        })
        .await
    }
}

/// `google.protobuf.Any` on the wire: two fields of bytes.
fn encode(type_url: &str, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for (tag, bytes) in [(0x0a_u8, type_url.as_bytes()), (0x12, value)] {
        if bytes.is_empty() {
            continue;
        }
        out.push(tag);
        let mut length = bytes.len();
        while length >= 0x80 {
            out.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        out.push(length as u8);
        out.extend_from_slice(bytes);
    }
    out
}

fn store(
    content: &dyn ContentStore,
    ns: &Namespace,
    media_type: &str,
    reference: &str,
    lease: Option<&LeaseId>,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<Blob> {
    let request = IngestRequest {
        reference: reference.to_owned(),
        lease: lease.cloned(),
        transient: true,
        ..IngestRequest::default()
    };
    let mut ingest = content.ingest(ns, request)?;
    let mut out = io::BufWriter::with_capacity(1 << 20, Into(&mut *ingest));
    let written = write(&mut out).and_then(|()| out.flush());
    drop(out);
    written.map_err(|error| Error::new(io_kind(&error), format!("write a checkpoint: {error}")))?;
    let (digest, size) = (ingest.digest(), ingest.status().offset);
    match ingest.commit(None, None, Labels::new()) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        Ok(_) | Err(_) => Ok(Blob {
            media_type: media_type.to_owned(),
            digest,
            size,
        }),
    }
}

struct Into<'a>(&'a mut dyn gantry_core::content::Ingest);

impl Write for Into<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn failed(deed: &str, path: &Path, error: &io::Error) -> Error {
    Error::new(io_kind(error), format!("{deed} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::encode;

    #[test]
    fn an_any_is_encoded_as_protobuf_has_it() {
        assert_eq!(encode("a", b"b"), b"\x0a\x01a\x12\x01b");
        let long = encode("", &[7; 300]);
        assert_eq!(&long[..3], b"\x12\xac\x02");
        assert_eq!(long.len(), 303);
        assert!(encode("", b"").is_empty());
    }
}
