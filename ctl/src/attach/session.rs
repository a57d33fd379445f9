//! A conversation with a container's shim about the stdio of one process.
//!
//! The daemon is not in it: a session lives on while gantryd restarts. Output and input run on threads of their own, so that
//! neither a slow reader of ours nor a container that does not read can hold the other up.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gantry_proto::gantry::v1 as pb;
use gantry_proto_attach::{self as wire, Exit, HEADER_LEN, Hello, Kind, MAX_PAYLOAD, Ready, Refusal, STDERR};
use tokio::sync::mpsc;

use super::keys::Watch;
use super::term;
use crate::error::{Error, Result};
use crate::out;

/// The longest the shim may take to answer a hello.
const GREETING: Duration = Duration::from_secs(20);
const CHUNK: usize = 32 * 1024;

/// What is attached, and how.
#[derive(Debug, Clone, Default)]
pub(crate) struct Streams {
    pub(crate) stdin: bool,
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
    /// Sequence that detaches; looked for in a terminal's input only.
    pub(crate) detach_keys: Vec<u8>,
}

/// How a session ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The process ended, and every byte of its output was written.
    Exit(i32),
    /// The user left by the detach keys.
    Detached,
    /// The shim went away without a word on the process.
    Lost,
    /// Nobody reads our stdout or stderr any more.
    Unread,
}

pub(crate) struct Session {
    socket: UnixStream,
    writer: Arc<Mutex<UnixStream>>,
    streams: Streams,
    terminal: bool,
}

impl Session {
    /// Connects and waits until no byte of output can be missed.
    pub(crate) fn open(endpoint: &pb::AttachEndpoint, streams: Streams) -> Result<Self> {
        let attach = |source| Error::Io {
            what: format!("attach to {}", endpoint.socket),
            source,
        };
        let mut socket = UnixStream::connect(&endpoint.socket).map_err(attach)?;
        socket.set_read_timeout(Some(GREETING)).map_err(attach)?;
        let hello = Hello {
            container: endpoint.container.clone(),
            exec: Some(endpoint.exec.clone()).filter(|exec| !exec.is_empty()),
            stdin: streams.stdin,
            stdout: streams.stdout,
            stderr: streams.stderr && !endpoint.tty,
        };
        socket
            .write_all(&wire::encode_json(Kind::Hello, &hello))
            .map_err(attach)?;
        let mut payload = Vec::new();
        let ready: Ready = match read_frame(&mut socket, &mut payload).map_err(attach)? {
            Some((Kind::Ready, _)) => json(&payload)?,
            Some((Kind::Error, _)) => return Err(Error::Attach(json::<Refusal>(&payload)?.message)),
            Some((kind, _)) => return Err(Error::Attach(format!("shim answered a hello by {kind:?}"))),
            None => return Err(Error::Attach("shim hung up before it answered".into())),
        };
        socket.set_read_timeout(None).map_err(attach)?;
        let writer = Arc::new(Mutex::new(socket.try_clone().map_err(attach)?));
        Ok(Self {
            socket,
            writer,
            streams,
            terminal: ready.terminal,
        })
    }

    /// For frames beside stdin's.
    pub(crate) fn control(&self) -> Control {
        Control {
            writer: self.writer.clone(),
            resizing: Arc::default(),
        }
    }

    /// Starts to move bytes; what comes of it arrives on the channel.
    pub(crate) fn pump(self) -> Result<mpsc::Receiver<Result<End>>> {
        let (tell, told) = mpsc::channel(4);
        // Set before the shim hears of it: that it hangs up then is no loss.
        let left = Arc::new(AtomicBool::new(false));
        let Self {
            socket,
            writer,
            streams,
            terminal,
        } = self;
        if streams.stdin {
            let watch = terminal.then(|| Watch::new(streams.detach_keys.clone()));
            let (tell, left) = (tell.clone(), left.clone());
            spawn("stdin", move || {
                if feed_stdin(&writer, watch, &left) {
                    // The other side may be gone; then the session has ended otherwise.
                    let _ = tell.blocking_send(Ok(End::Detached));
                }
            })?;
        }
        spawn("output", move || {
            let end = match write_output(socket) {
                Ok(End::Lost) if left.load(Ordering::SeqCst) => Ok(End::Detached),
                end => end,
            };
            let _ = tell.blocking_send(end);
        })?;
        Ok(told)
    }
}

/// Sends sizes and signals on a session's socket. None of it waits for input that the container does not take.
#[derive(Clone)]
pub(crate) struct Control {
    writer: Arc<Mutex<UnixStream>>,
    /// A size waits for its turn on the socket already; it is read when the turn comes.
    resizing: Arc<AtomicBool>,
}

impl Control {
    /// Tells the window's size. With `nudge` a false one first, so that a full-screen program draws itself anew.
    pub(crate) fn resize(&self, nudge: bool) {
        if self.resizing.swap(true, Ordering::SeqCst) {
            return;
        }
        let resizing = self.resizing.clone();
        self.send(move || {
            resizing.store(false, Ordering::SeqCst);
            let Some((height, width)) = term::size() else {
                return Vec::new();
            };
            let frame = |height, width| wire::encode(Kind::Resize, 0, &wire::encode_resize(height, width));
            let mut frames = Vec::new();
            if nudge {
                frames = frame(height.saturating_add(1), width.saturating_add(1));
            }
            frames.extend(frame(height, width));
            frames
        });
    }

    pub(crate) fn signal(&self, number: i32) {
        let number = u32::try_from(number).unwrap_or(0);
        self.send(move || wire::encode(Kind::Signal, 0, &wire::encode_signal(number)));
    }

    /// Writes what `frames` makes: at once, or on a thread of its own while input holds the socket.
    fn send(&self, frames: impl FnOnce() -> Vec<u8> + Send + 'static) {
        if let Ok(mut socket) = self.writer.try_lock() {
            // A shim that went away is noticed by the reader.
            let _ = socket.write_all(&frames());
            return;
        }
        let writer = self.writer.clone();
        let wait = move || {
            if let Ok(mut socket) = writer.lock() {
                let _ = socket.write_all(&frames());
            }
        };
        if let Err(error) = spawn("control", wait) {
            out::warn(error);
        }
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work);
    // Never joined: a read of stdin cannot be ended but by the end of the program.
    thread.map(drop).map_err(Error::io(format!("start the {name} thread")))
}

/// Copies our stdin until its end; true if the user typed the detach keys.
fn feed_stdin(writer: &Mutex<UnixStream>, mut watch: Option<Watch>, left: &AtomicBool) -> bool {
    let send = |kind: Kind, payload: &[u8]| -> std::io::Result<()> {
        let Ok(mut socket) = writer.lock() else {
            return Err(ErrorKind::BrokenPipe.into());
        };
        socket.write_all(&wire::encode(kind, 0, payload))
    };
    let mut buffer = [0; CHUNK];
    loop {
        // A terminal that went away is an end too.
        let count = out::read_stdin(&mut buffer).unwrap_or(0);
        let (bytes, detach) = match &mut watch {
            Some(watch) if count == 0 => (watch.rest(), false),
            Some(watch) => watch.feed(&buffer[..count]),
            None => (buffer[..count].to_vec(), false),
        };
        let sent = if bytes.is_empty() {
            Ok(())
        } else {
            send(Kind::Stdin, &bytes)
        };
        if detach {
            left.store(true, Ordering::SeqCst);
            let _ = send(Kind::Detach, &[]);
            return true;
        }
        if sent.is_err() || count == 0 {
            let _ = send(Kind::StdinEof, &[]);
            return false;
        }
    }
}

/// Writes what arrives to our stdout and stderr until the process's exit.
fn write_output(mut socket: UnixStream) -> Result<End> {
    let mut payload = Vec::new();
    loop {
        let (kind, stream) = match read_frame(&mut socket, &mut payload) {
            Ok(Some(head)) => head,
            Ok(None) => return Ok(End::Lost),
            Err(err) if err.kind() == ErrorKind::InvalidData => return Err(Error::Attach(err.to_string())),
            Err(_) => return Ok(End::Lost),
        };
        let written = match kind {
            Kind::Output if stream == STDERR => out::write_stderr(&payload),
            Kind::Output => out::write_stdout(&payload),
            Kind::Exit => return Ok(End::Exit(json::<Exit>(&payload)?.status as i32)),
            Kind::Error => return Err(Error::Attach(json::<Refusal>(&payload)?.message)),
            // A newer shim may say more than we know.
            _ => Ok(()),
        };
        match written {
            Ok(()) => {}
            Err(err) if err.kind() == ErrorKind::BrokenPipe => return Ok(End::Unread),
            Err(source) => {
                return Err(Error::Io {
                    what: "write the container's output".into(),
                    source,
                });
            }
        }
    }
}

/// One frame; none at the end of the stream.
fn read_frame(socket: &mut UnixStream, payload: &mut Vec<u8>) -> std::io::Result<Option<(Kind, u8)>> {
    let mut head = [0; HEADER_LEN];
    match socket.read_exact(&mut head) {
        Ok(()) => {}
        Err(err) if err.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        Err(err) => return Err(err),
    }
    let (kind, stream, len) =
        wire::decode_header(&head).map_err(|err| std::io::Error::new(ErrorKind::InvalidData, err))?;
    debug_assert!(len <= MAX_PAYLOAD, "decode_header refuses more");
    payload.resize(len, 0);
    socket.read_exact(payload)?;
    Ok(Some((kind, stream)))
}

fn json<T: serde::de::DeserializeOwned>(payload: &[u8]) -> Result<T> {
    serde_json::from_slice(payload)
        .map_err(|err| Error::Attach(format!("shim sent a frame that is not the expected json: {err}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shim(answers: Vec<Vec<u8>>) -> (tempfile::TempDir, pb::AttachEndpoint, std::thread::JoinHandle<Hello>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let thread = std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let mut payload = Vec::new();
            read_frame(&mut socket, &mut payload).unwrap();
            for answer in answers {
                socket.write_all(&answer).unwrap();
            }
            serde_json::from_slice(&payload).unwrap()
        });
        let endpoint = pb::AttachEndpoint {
            socket: path.display().to_string(),
            container: "c".into(),
            ..Default::default()
        };
        (dir, endpoint, thread)
    }

    fn all() -> Streams {
        Streams {
            stdout: true,
            stderr: true,
            ..Streams::default()
        }
    }

    #[tokio::test]
    async fn an_exit_ends_the_session() {
        let ready = wire::encode_json(Kind::Ready, &Ready::default());
        let exit = wire::encode_json(
            Kind::Exit,
            &Exit {
                status: 7,
                ..Exit::default()
            },
        );
        let (_dir, endpoint, thread) = shim(vec![ready, wire::encode(Kind::Output, 1, b""), exit]);
        let session = Session::open(&endpoint, all()).unwrap();
        let mut told = session.pump().unwrap();
        assert_eq!(told.recv().await.unwrap().unwrap(), End::Exit(7));
        let hello = thread.join().unwrap();
        assert_eq!((hello.container.as_str(), hello.exec, hello.stderr), ("c", None, true));
    }

    #[tokio::test]
    async fn a_shim_that_dies_is_noticed() {
        let (_dir, endpoint, _thread) = shim(vec![wire::encode_json(Kind::Ready, &Ready::default())]);
        let mut told = Session::open(&endpoint, all()).unwrap().pump().unwrap();
        assert_eq!(told.recv().await.unwrap().unwrap(), End::Lost);
    }

    #[test]
    fn a_refusal_is_passed_on() {
        let refusal = Refusal {
            kind: wire::RefusalKind::NotFound,
            message: "no container c here".into(),
        };
        let (_dir, endpoint, _thread) = shim(vec![wire::encode_json(Kind::Error, &refusal)]);
        let err = Session::open(&endpoint, all()).err().unwrap();
        assert_eq!(err.to_string(), "no container c here");
    }
}
