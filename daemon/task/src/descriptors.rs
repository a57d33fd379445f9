//! Descriptors that a shim keeps for the daemon: put before the daemon may die, taken back after it has.
//!
//! They travel beside frames of the attach socket (SCM_RIGHTS). Listing and dropping go over ttrpc: [`Shim::descriptors`],
//! [`Shim::drop_descriptors`].

use crate::attach::kind_of_refusal;
use crate::error::{Result, TaskError};
use crate::shim::Shim;
use crate::shims::blocking;
use gantry_proto_attach as wire;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use std::io::{self, IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

const SPACE: usize = rustix::cmsg_space!(ScmRights(wire::MAX_DESCRIPTORS));

impl Shim {
    /// Has the shim keep these. A name that is kept already is replaced. The shim holds duplicates: the given ones are closed here.
    pub async fn put_descriptors(&self, named: Vec<(String, OwnedFd)>) -> Result<()> {
        let (path, limit, id) = (self.attach_socket().await?, self.deadline(), self.id().to_string());
        blocking("put descriptors", move || {
            for batch in named.chunks(wire::MAX_DESCRIPTORS) {
                let names = batch.iter().map(|(name, _)| name.clone()).collect();
                let fds: Vec<BorrowedFd<'_>> = batch.iter().map(|(_, fd)| fd.as_fd()).collect();
                exchange(&path, limit, wire::Kind::Put, names, &fds).map_err(|error| error.named("put", &id))?;
            }
            Ok(())
        })
        .await
    }

    /// Duplicates of kept descriptors; names that are not kept are missing in the answer.
    pub async fn take_descriptors(&self, names: Vec<String>) -> Result<Vec<(String, OwnedFd)>> {
        let (path, limit, id) = (self.attach_socket().await?, self.deadline(), self.id().to_string());
        blocking("take descriptors", move || {
            let mut taken = Vec::with_capacity(names.len());
            for batch in names.chunks(wire::MAX_DESCRIPTORS) {
                let answer = exchange(&path, limit, wire::Kind::Take, batch.to_vec(), &[]);
                taken.extend(answer.map_err(|error| error.named("take", &id))?);
            }
            Ok(taken)
        })
        .await
    }
}

#[derive(Debug)]
enum Failure {
    Io(io::Error),
    Refused(wire::Refusal),
}

impl Failure {
    fn named(self, deed: &'static str, id: &str) -> TaskError {
        let id = id.to_owned();
        match self {
            Self::Io(source) => TaskError::Descriptors { deed, id, source },
            Self::Refused(refusal) => TaskError::DescriptorsRefused {
                deed,
                id,
                kind: kind_of_refusal(refusal.kind),
                message: refusal.message,
            },
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// One frame with descriptors, one answer. Blocks, within the limit for each step.
fn exchange(
    path: &Path,
    limit: Duration,
    kind: wire::Kind,
    names: Vec<String>,
    fds: &[BorrowedFd<'_>],
) -> Result<Vec<(String, OwnedFd)>, Failure> {
    let mut socket = UnixStream::connect(path)?;
    socket.set_read_timeout(Some(limit))?;
    socket.set_write_timeout(Some(limit))?;
    send(&mut socket, &wire::encode_json(kind, &wire::Names { names }), fds)?;
    let (frame, fds) = receive(&socket)?;
    match frame.kind {
        wire::Kind::Kept => {
            let kept: wire::Names = frame.json().map_err(nonsense)?;
            Ok(kept.names.into_iter().zip(fds).collect())
        }
        wire::Kind::Error => Err(Failure::Refused(frame.json().map_err(nonsense)?)),
        other => Err(nonsense(format!("a frame of kind {other:?} out of turn")).into()),
    }
}

fn send(socket: &mut UnixStream, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); SPACE];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "too many descriptors for one message",
        ));
    }
    let sent = sendmsg(&*socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?;
    socket.write_all(&bytes[sent..])
}

fn receive(socket: &UnixStream) -> io::Result<(wire::Frame, Vec<OwnedFd>)> {
    let (mut decoder, mut fds) = (wire::Decoder::new(), Vec::new());
    loop {
        let mut space = [MaybeUninit::uninit(); SPACE];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut buffer = [0; 16 * 1024];
        let got = recvmsg(
            socket,
            &mut [IoSliceMut::new(&mut buffer)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = message {
                fds.extend(received);
            }
        }
        if got.bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        decoder.push(&buffer[..got.bytes]);
        if let Some(frame) = decoder.next().map_err(nonsense)? {
            return Ok((frame, fds));
        }
    }
}

fn nonsense(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::net::UnixListener;

    /// A shim's side of one exchange: answers with what it received.
    fn echo(listener: &UnixListener) {
        let (mut socket, _) = listener.accept().unwrap();
        let (frame, fds) = receive(&socket).unwrap();
        let names: wire::Names = frame.json().unwrap();
        let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        send(&mut socket, &wire::encode_json(wire::Kind::Kept, &names), &borrowed).unwrap();
    }

    #[test]
    fn descriptors_travel_there_and_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let listener = UnixListener::bind(&path).unwrap();
        let shim = std::thread::spawn(move || echo(&listener));
        let (mut near, far) = UnixStream::pair().unwrap();
        let limit = Duration::from_secs(5);
        let names = vec!["port".to_owned()];
        let mut back = exchange(&path, limit, wire::Kind::Put, names, &[far.as_fd()]).unwrap();
        shim.join().unwrap();
        drop(far);
        let (name, fd) = back.pop().unwrap();
        assert_eq!(name, "port");
        UnixStream::from(fd).write_all(b"through").unwrap();
        let mut text = String::new();
        near.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
    }

    #[test]
    fn a_refusal_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let listener = UnixListener::bind(&path).unwrap();
        let shim = std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            receive(&socket).unwrap();
            let refusal = wire::Refusal {
                kind: wire::RefusalKind::Exhausted,
                message: "too many".into(),
            };
            send(&mut socket, &wire::encode_json(wire::Kind::Error, &refusal), &[]).unwrap();
        });
        let error = exchange(&path, Duration::from_secs(5), wire::Kind::Take, Vec::new(), &[]).unwrap_err();
        shim.join().unwrap();
        assert_eq!(
            error.named("take", "c").kind(),
            gantry_core::ErrorKind::ResourceExhausted
        );
    }
}
