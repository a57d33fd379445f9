//! Joining the stdio of a process: a client of the shim's attach socket.
//!
//! [`Attached::connect`] answers when no byte of output can be missed any more; then the two halves are used apart. The shim sends the exit after the last
//! byte of output. Not reading holds back the writer once the shim's spool is full; nothing is ever dropped.

use crate::connect::connect;
use crate::error::{Result, TaskError};
use crate::words::{Exit, instant};
use bytes::{Buf, Bytes, BytesMut};
use gantry_core::ErrorKind;
use gantry_proto_attach as wire;
use gantry_proto_shim::extras;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

/// Which process, and which of its streams.
#[derive(Clone, Debug, Default)]
pub struct AttachTo {
    pub container: String,
    pub exec: Option<String>,
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputStream {
    /// A terminal's one stream is this one.
    Stdout,
    Stderr,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttachEvent {
    Output {
        stream: OutputStream,
        bytes: Bytes,
    },
    /// The last event.
    Exit(Exit),
}

/// A joined process.
#[derive(Debug)]
pub struct Attached {
    pub terminal: bool,
    /// Its stdin takes what is sent.
    pub stdin: bool,
    pub started: bool,
    pub output: AttachOutput,
    pub input: AttachInput,
}

/// What comes from the process.
#[derive(Debug)]
pub struct AttachOutput {
    id: String,
    socket: OwnedReadHalf,
    buffer: BytesMut,
    ended: bool,
}

/// What goes to the process. Dropping it alone detaches nothing: the conversation ends with both halves.
#[derive(Debug)]
pub struct AttachInput {
    id: String,
    socket: OwnedWriteHalf,
}

/// How the clients of a process fare.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttachState {
    pub clients: Vec<AttachClient>,
    /// The process's writes wait because a client's spool is full.
    pub held_back: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachClient {
    pub number: u64,
    /// Bytes waiting for it, and how many of them on disk.
    pub waiting: u64,
    pub spooled: u64,
    pub sent: u64,
    pub holds_back: bool,
}

impl AttachState {
    pub(crate) fn from_wire(state: extras::AttachStateResponse) -> Self {
        let client = |client: extras::AttachClient| AttachClient {
            number: client.number,
            waiting: client.waiting,
            spooled: client.spooled,
            sent: client.sent,
            holds_back: client.holds_back,
        };
        Self {
            clients: state.clients.into_iter().map(client).collect(),
            held_back: state.held_back,
        }
    }
}

impl Attached {
    /// Connects to a shim's attach socket and waits until no byte of output can be missed.
    pub async fn connect(path: &Path, to: AttachTo, limit: Duration) -> Result<Self> {
        let id = to.container.clone();
        let fail = |source| TaskError::Attach {
            id: id.clone(),
            path: path.to_owned(),
            source,
        };
        let stream = connect(path, limit).await.map_err(fail)?;
        let (read, mut write) = stream.into_split();
        let AttachTo {
            container,
            exec,
            stdin,
            stdout,
            stderr,
        } = to;
        let hello = wire::Hello {
            container,
            exec,
            stdin,
            stdout,
            stderr,
        };
        write
            .write_all(&wire::encode_json(wire::Kind::Hello, &hello))
            .await
            .map_err(fail)?;
        let mut output = AttachOutput {
            id: id.clone(),
            socket: read,
            buffer: BytesMut::new(),
            ended: false,
        };
        let first = tokio::time::timeout(limit, output.frame()).await;
        let first = first.map_err(|_| TaskError::Late {
            deed: "attach to",
            id: id.clone(),
            after: limit,
        })??;
        let ready: wire::Ready = match first.kind {
            wire::Kind::Ready => output.json(&first)?,
            _ => return Err(output.unexpected(&first)),
        };
        let input = AttachInput { id, socket: write };
        Ok(Self {
            terminal: ready.terminal,
            stdin: ready.stdin,
            started: ready.started,
            output,
            input,
        })
    }
}

/// A frame whose payload shares the buffer's memory.
struct RawFrame {
    kind: wire::Kind,
    stream: u8,
    payload: Bytes,
}

impl AttachOutput {
    /// The next event; `None` after the exit. Safe to drop half way: nothing is lost.
    pub async fn next(&mut self) -> Result<Option<AttachEvent>> {
        if self.ended {
            return Ok(None);
        }
        let frame = self.frame().await?;
        match frame.kind {
            wire::Kind::Output => {
                let stream = if frame.stream == wire::STDERR {
                    OutputStream::Stderr
                } else {
                    OutputStream::Stdout
                };
                Ok(Some(AttachEvent::Output {
                    stream,
                    bytes: frame.payload,
                }))
            }
            wire::Kind::Exit => {
                self.ended = true;
                let exit: wire::Exit = self.json(&frame)?;
                let exit = Exit {
                    oom: exit.oom_killed,
                    ..Exit::new(exit.status, instant(&exit.exited_at))
                };
                Ok(Some(AttachEvent::Exit(exit)))
            }
            _ => Err(self.unexpected(&frame)),
        }
    }

    async fn frame(&mut self) -> Result<RawFrame> {
        loop {
            if let Some(frame) = self.buffered()? {
                return Ok(frame);
            }
            self.buffer.reserve(16 * 1024);
            let read = self.socket.read_buf(&mut self.buffer).await;
            let cause = match read {
                Ok(0) => "it hung up before the end".to_owned(),
                Ok(_) => continue,
                Err(error) => error.to_string(),
            };
            self.ended = true;
            return Err(TaskError::Lost {
                deed: "stay attached to",
                id: self.id.clone(),
                cause,
            });
        }
    }

    fn buffered(&mut self) -> Result<Option<RawFrame>> {
        let Some(header) = self.buffer.first_chunk::<{ wire::HEADER_LEN }>() else {
            return Ok(None);
        };
        let decoded = wire::decode_header(header);
        let (kind, stream, len) = decoded.map_err(|error| self.nonsense(error.to_string()))?;
        if self.buffer.len() < wire::HEADER_LEN + len {
            return Ok(None);
        }
        self.buffer.advance(wire::HEADER_LEN);
        Ok(Some(RawFrame {
            kind,
            stream,
            payload: self.buffer.split_to(len).freeze(),
        }))
    }

    fn json<T: serde::de::DeserializeOwned>(&self, frame: &RawFrame) -> Result<T> {
        serde_json::from_slice(&frame.payload).map_err(|error| self.nonsense(error.to_string()))
    }

    fn unexpected(&mut self, frame: &RawFrame) -> TaskError {
        self.ended = true;
        if frame.kind != wire::Kind::Error {
            return self.nonsense(format!("the shim sent a frame of kind {:?} out of turn", frame.kind));
        }
        match self.json::<wire::Refusal>(frame) {
            Ok(refusal) => TaskError::AttachRefused {
                id: self.id.clone(),
                kind: kind_of_refusal(refusal.kind),
                message: refusal.message,
            },
            Err(error) => error,
        }
    }

    fn nonsense(&self, message: String) -> TaskError {
        TaskError::AttachWire {
            id: self.id.clone(),
            message,
        }
    }
}

pub(crate) fn kind_of_refusal(kind: wire::RefusalKind) -> ErrorKind {
    match kind {
        wire::RefusalKind::NotFound => ErrorKind::NotFound,
        wire::RefusalKind::Invalid => ErrorKind::InvalidArgument,
        wire::RefusalKind::NeverStarted => ErrorKind::FailedPrecondition,
        wire::RefusalKind::Exhausted => ErrorKind::ResourceExhausted,
        wire::RefusalKind::Internal => ErrorKind::Internal,
    }
}

impl AttachInput {
    /// Sends bytes to the process's stdin.
    pub async fn stdin(&mut self, bytes: &[u8]) -> Result<()> {
        for piece in bytes.chunks(wire::MAX_OUTPUT) {
            self.send(wire::Kind::Stdin, piece).await?;
        }
        Ok(())
    }

    /// This client has no more stdin.
    pub async fn stdin_eof(&mut self) -> Result<()> {
        self.send(wire::Kind::StdinEof, &[]).await
    }

    pub async fn resize(&mut self, height: u16, width: u16) -> Result<()> {
        self.send(wire::Kind::Resize, &wire::encode_resize(height, width)).await
    }

    pub async fn signal(&mut self, signal: u32) -> Result<()> {
        self.send(wire::Kind::Signal, &wire::encode_signal(signal)).await
    }

    /// Leaves; the process goes on.
    pub async fn detach(mut self) -> Result<()> {
        self.send(wire::Kind::Detach, &[]).await
    }

    async fn send(&mut self, kind: wire::Kind, payload: &[u8]) -> Result<()> {
        let sent = self.socket.write_all(&wire::encode(kind, 0, payload)).await;
        sent.map_err(|error| TaskError::Lost {
            deed: "send to",
            id: self.id.clone(),
            cause: error.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;
    use tokio::net::{UnixListener, UnixStream};

    const LIMIT: Duration = Duration::from_secs(5);

    /// A shim's side: answers the hello with these bytes, then gives the socket back.
    async fn shim(listener: UnixListener, answer: Vec<u8>) -> (wire::Frame, UnixStream) {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut decoder = wire::Decoder::new();
        let hello = loop {
            let mut buffer = [0; 1024];
            let read = socket.read(&mut buffer).await.unwrap();
            decoder.push(&buffer[..read]);
            if let Some(frame) = decoder.next().unwrap() {
                break frame;
            }
        };
        // Cut anywhere.
        for piece in answer.chunks(7) {
            socket.write_all(piece).await.unwrap();
        }
        (hello, socket)
    }

    fn to() -> AttachTo {
        AttachTo {
            container: "c".into(),
            stdout: true,
            ..AttachTo::default()
        }
    }

    #[tokio::test]
    async fn output_comes_whole_and_then_the_exit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let mut answer = wire::encode_json(
            wire::Kind::Ready,
            &wire::Ready {
                terminal: false,
                stdin: true,
                started: true,
            },
        );
        answer.extend(wire::encode(wire::Kind::Output, 1, b"\x00\xffout"));
        answer.extend(wire::encode(wire::Kind::Output, 2, b"err"));
        let exit = wire::Exit {
            status: 7,
            exited_at: "1970-01-01T00:00:05.000000000Z".into(),
            oom_killed: true,
        };
        answer.extend(wire::encode_json(wire::Kind::Exit, &exit));
        let served = tokio::spawn(shim(UnixListener::bind(&path).unwrap(), answer));
        let mut attached = Attached::connect(&path, to(), LIMIT).await.unwrap();
        assert!(attached.stdin && !attached.terminal);
        let out = AttachEvent::Output {
            stream: OutputStream::Stdout,
            bytes: Bytes::from_static(b"\x00\xffout"),
        };
        assert_eq!(attached.output.next().await.unwrap(), Some(out));
        let err = AttachEvent::Output {
            stream: OutputStream::Stderr,
            bytes: Bytes::from_static(b"err"),
        };
        assert_eq!(attached.output.next().await.unwrap(), Some(err));
        let exit = Exit {
            oom: true,
            ..Exit::new(7, UNIX_EPOCH + Duration::from_secs(5))
        };
        assert_eq!(attached.output.next().await.unwrap(), Some(AttachEvent::Exit(exit)));
        assert_eq!(attached.output.next().await.unwrap(), None);
        let (hello, _socket) = served.await.unwrap();
        assert_eq!(hello.json::<wire::Hello>().unwrap().container, "c");
        attached.input.stdin(b"x").await.unwrap();
        attached.input.detach().await.unwrap();
    }

    #[tokio::test]
    async fn a_refusal_and_a_lost_shim_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let refusal = wire::Refusal {
            kind: wire::RefusalKind::NotFound,
            message: "no such exec".into(),
        };
        let answer = wire::encode_json(wire::Kind::Error, &refusal);
        let served = tokio::spawn(shim(UnixListener::bind(&path).unwrap(), answer));
        let error = Attached::connect(&path, to(), LIMIT).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        served.await.unwrap();

        let path = dir.path().join("b");
        let ready = wire::encode_json(wire::Kind::Ready, &wire::Ready::default());
        let served = tokio::spawn(shim(UnixListener::bind(&path).unwrap(), ready));
        let mut attached = Attached::connect(&path, to(), LIMIT).await.unwrap();
        drop(served.await.unwrap());
        assert!(attached.output.next().await.unwrap_err().is_lost());
    }
}
