//! A connection that becomes a process's stdio.
//!
//! What the process writes goes out until it ends, whoever has closed which half; a client that closes its half has no more
//! stdin, and that is all it means.

use crate::answer::{self, Body};
use crate::call::{Call, Version};
use crate::escape::Watch;
use crate::framing::{self, FRAMED, RAW, STDERR, STDOUT};
use crate::unread_unsafe::unread;
use crate::websocket;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, Stream, StreamExt, TryStreamExt};
use gantry_engine::AttachEndpoint;
use gantry_task::attach::{AttachEvent, AttachInput, AttachOutput, AttachTo, Attached, OutputStream};
use http::header::{CONNECTION, HeaderValue, UPGRADE};
use http::{Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use std::io::{self, Cursor};
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio_util::io::{ReaderStream, StreamReader};
use tracing::debug;

/// How long a shim may take to answer.
const JOIN: Duration = Duration::from_secs(20);
const CHUNK: usize = 32 * 1024;
/// How long a client may take to read the head of an answer before the rest is sent all the same.
const HEAD: Duration = Duration::from_millis(50);
/// Looks that cost no wait.
const YIELDS: usize = 20;

/// From here on the type says whether a stream is framed.
const MULTIPLEXED: Version = Version(1, 42);

/// Which streams a client wants.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    pub tty: bool,
    pub detach_keys: Vec<u8>,
}

/// What is written to the client before the process's own bytes.
pub type Before = Pin<Box<dyn Stream<Item = Bytes> + Send>>;

pub fn nothing_before() -> Before {
    Box::pin(futures::stream::empty())
}

pub async fn join(endpoint: AttachEndpoint, wanted: &Wanted) -> gantry_core::Result<Attached> {
    let to = AttachTo {
        container: endpoint.container,
        exec: Some(endpoint.exec).filter(|exec| !exec.is_empty()),
        stdin: wanted.stdin,
        stdout: wanted.stdout,
        stderr: wanted.stderr && !wanted.tty,
    };
    Ok(Attached::connect(&endpoint.socket, to, JOIN).await?)
}

/// What is done once the client is there: nothing, or the start of what it is to see. The error is said to the client.
pub type Begin = BoxFuture<'static, Result<(), String>>;

pub fn begun() -> Begin {
    Box::pin(futures::future::ready(Ok(())))
}

/// What is waited for when the process has ended, before the client sees the end.
pub type Settled = BoxFuture<'static, ()>;

pub fn settled() -> Settled {
    Box::pin(futures::future::ready(()))
}

/// What happens beside the bytes.
pub struct Course {
    pub begin: Begin,
    pub settled: Settled,
}

/// The client's side of a call that becomes a process's stdio.
pub struct Hijack {
    way: Way,
    content: &'static str,
    framed: bool,
}

enum Way {
    /// The connection is taken over.
    Whole(OnUpgrade),
    /// The same, and what is moved are a websocket's messages.
    Socket {
        upgrade: Option<OnUpgrade>,
        accept: String,
        text: bool,
    },
    /// A client that does not ask for that: the answer's body is the output, and the request's the input.
    Bodies(Incoming),
}

impl Hijack {
    pub fn of(call: Call, tty: bool) -> Self {
        let asked = call.headers.contains_key(UPGRADE);
        let framed = !tty;
        match call.upgrade.filter(|_| asked) {
            Some(upgrade) => Self {
                content: if !tty && call.version >= MULTIPLEXED {
                    FRAMED
                } else {
                    RAW
                },
                way: Way::Whole(upgrade),
                framed,
            },
            None => Self {
                content: RAW,
                way: Way::Bodies(call.body),
                framed,
            },
        }
    }

    /// A websocket; `accept` answers the client's key.
    pub fn socket(call: Call, accept: String, text: bool) -> Self {
        Self {
            way: Way::Socket {
                upgrade: call.upgrade,
                accept,
                text,
            },
            content: RAW,
            framed: false,
        }
    }

    /// Whether the streams are told apart.
    pub fn framed(&self) -> bool {
        self.framed
    }

    /// Answers, and from then on moves bytes until the process ends or the client is gone. Without a process it only says what is to be
    /// said.
    pub fn answer(self, attached: Option<Attached>, wanted: Wanted, before: Before, course: Course) -> Response<Body> {
        let flow = Flow {
            attached,
            wanted,
            framed: self.framed,
            before,
            course,
        };
        match self.way {
            Way::Whole(upgrade) => {
                tokio::spawn(async move {
                    match upgrade.await {
                        Ok(upgraded) => taken_over(upgraded, flow).await,
                        Err(error) => debug!(err = %error, "a connection was not taken over"),
                    }
                });
                switched(self.content)
            }
            Way::Socket { upgrade, accept, text } => {
                tokio::spawn(async move {
                    let Some(Ok(upgraded)) = futures::future::OptionFuture::from(upgrade).await else {
                        return debug!("a websocket did not come about");
                    };
                    let (near, far) = tokio::io::duplex(CHUNK);
                    let (reader, writer) = tokio::io::split(near);
                    let mut carried = std::pin::pin!(websocket::carry(upgraded, far, text));
                    tokio::select! {
                        () = flow.run(reader, writer, futures::future::pending()) => {}
                        () = carried.as_mut() => return,
                    }
                    // What was written last goes out.
                    carried.await;
                });
                websocket::switched(&accept)
            }
            Way::Bodies(body) => {
                let (near, far) = tokio::io::duplex(CHUNK);
                let input = body.into_data_stream().map_err(io::Error::other);
                // Whoever serves the connection drops the answer's body when the client is gone.
                let (held, dropped) = oneshot::channel::<()>();
                tokio::spawn(async move {
                    let (_, writer) = tokio::io::split(near);
                    let gone = dropped.map(drop);
                    flow.run(StreamReader::new(input), writer, gone).await;
                });
                let output = ReaderStream::with_capacity(far, CHUNK).map(move |piece| {
                    let _held = &held;
                    piece
                });
                answer::stream(self.content, output)
            }
        }
    }
}

/// Of a unix socket both ends can be seen to be closed; of others only that no more input comes.
async fn taken_over(upgraded: Upgraded, flow: Flow) {
    match upgraded.downcast::<TokioIo<UnixStream>>() {
        Ok(parts) => {
            let stream = parts.io.into_inner();
            head_is_read(&stream).await;
            let watched = stream.as_fd().try_clone_to_owned();
            let (reader, writer) = stream.into_split();
            let reader = Cursor::new(parts.read_buf).chain(reader);
            flow.run(reader, writer, gone(watched)).await;
        }
        Err(upgraded) => {
            let (reader, writer) = tokio::io::split(TokioIo::new(upgraded));
            flow.run(reader, writer, futures::future::pending()).await;
        }
    }
}

/// Waits until the client has read the answer's head, for a while: some (docker-py) lose what they read together with it.
async fn head_is_read(stream: &UnixStream) {
    let is_unread = || unread(stream.as_fd()).is_ok_and(|count| count > 0);
    let begun = Instant::now();
    for _ in 0..YIELDS {
        if !is_unread() {
            return;
        }
        tokio::task::yield_now().await;
    }
    while is_unread() && begun.elapsed() < HEAD {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// When the peer has closed both its halves.
async fn gone(socket: io::Result<OwnedFd>) {
    let socket = socket.map(std::os::unix::net::UnixStream::from);
    if let Ok(socket) = socket.and_then(UnixStream::from_std) {
        while let Ok(ready) = socket.ready(Interest::WRITABLE).await {
            if ready.is_write_closed() {
                return;
            }
            // That there is room to write is no news: the next is waited for.
            let _ = socket.try_io(Interest::WRITABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
        }
    }
    // It cannot be seen: the next write tells.
    std::future::pending().await
}

/// 101, in Docker's words.
fn switched(content: &'static str) -> Response<Body> {
    let mut response = answer::with_type(StatusCode::SWITCHING_PROTOCOLS, content, answer::empty());
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("tcp"));
    response.extensions_mut().insert(ReasonPhrase::from_static(b"UPGRADED"));
    response
}

/// What moves between a client and a process.
struct Flow {
    attached: Option<Attached>,
    wanted: Wanted,
    framed: bool,
    before: Before,
    course: Course,
}

impl Flow {
    /// Until the process ends or the client is gone.
    async fn run(
        self,
        reader: impl AsyncRead + Unpin,
        mut writer: impl AsyncWrite + Unpin,
        gone: impl Future<Output = ()>,
    ) {
        let Self {
            attached,
            wanted,
            framed,
            mut before,
            course,
        } = self;
        while let Some(bytes) = before.next().await {
            if writer.write_all(&bytes).await.is_err() {
                return;
            }
        }
        if let Err(error) = course.begin.await {
            // The status is said; what remains is to say it as the process would.
            let said = framing::piece(framed, STDOUT, Bytes::from(format!("{error}\r\n")));
            let _ = writer.write_all(&said).await;
            let _ = writer.shutdown().await;
            return;
        }
        let Some(Attached { output, input, .. }) = attached else {
            // Whoever reads sees the end.
            let _ = writer.shutdown().await;
            return;
        };
        tokio::select! {
            outcome = write(output, writer, framed, course.settled) => {
                if let Err(error) = outcome {
                    debug!(err = %error, "a client stopped reading");
                }
            }
            () = read(reader, input, wanted, gone) => {}
        }
    }
}

async fn write(
    mut output: AttachOutput,
    mut writer: impl AsyncWrite + Unpin,
    framed: bool,
    settled: Settled,
) -> io::Result<()> {
    while let Some(AttachEvent::Output { stream, bytes }) = output.next().await.map_err(io::Error::other)? {
        let number = match stream {
            OutputStream::Stdout => STDOUT,
            OutputStream::Stderr => STDERR,
        };
        writer.write_all(&framing::piece(framed, number, bytes)).await?;
        writer.flush().await?;
    }
    settled.await;
    writer.shutdown().await
}

/// Ends when the client detaches, breaks off or is gone; its orderly end of input alone ends nothing, for output may come.
async fn read(
    mut reader: impl AsyncRead + Unpin,
    mut input: AttachInput,
    wanted: Wanted,
    gone: impl Future<Output = ()>,
) {
    let mut buffer = vec![0; CHUNK];
    let mut watch = (wanted.tty && wanted.stdin).then(|| Watch::new(wanted.detach_keys.clone()));
    loop {
        let count = match reader.read(&mut buffer).await {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) => {
                debug!(err = %error, "a client broke off");
                return;
            }
        };
        if !wanted.stdin {
            continue;
        }
        let (bytes, detached) = match &mut watch {
            Some(watch) => watch.pass(&buffer[..count]),
            None => (buffer[..count].to_vec(), false),
        };
        // A process that ended takes no more; its end comes on the other half.
        let taken = bytes.is_empty() || input.stdin(&bytes).await.is_ok();
        if detached {
            let _ = input.detach().await;
            return;
        }
        if !taken {
            break;
        }
    }
    if wanted.stdin {
        // The same.
        let _ = input.stdin_eof().await;
    }
    gone.await;
}
