//! The attach socket: stdio conversations with any number of clients, and the keeping of descriptors.

use crate::{
    io::hub::{Client, Next},
    shim::{Container, Process, Shim},
    sys,
};
use gantry_proto_attach::{
    Decoder, Frame, Hello, Kind, MAX_DESCRIPTORS, Names, Ready, Refusal, RefusalKind, decode_resize, decode_signal,
    encode_json,
};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, recvmsg, sendmsg};
use std::{
    collections::VecDeque,
    io::{self, IoSlice, IoSliceMut},
    os::fd::{AsRawFd, OwnedFd, RawFd},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::{
    io::Interest,
    net::{UnixListener, UnixStream},
};

/// How long a client may take to say what it wants.
const HELLO: Duration = Duration::from_secs(10);
/// Clients of one process, and descriptors kept.
const MAX_CLIENTS: usize = 256;
const MAX_KEPT: usize = 65_536;

/// One client's connection: frames in, descriptors that came with them.
struct Conversation {
    stream: UnixStream,
    decoder: Decoder,
    descriptors: VecDeque<OwnedFd>,
}

/// Accepts for as long as the shim lives.
pub async fn serve(shim: Arc<Shim>, listener: UnixListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let shim = shim.clone();
                tokio::spawn(async move {
                    let conversation = Conversation {
                        stream,
                        decoder: Decoder::new(),
                        descriptors: VecDeque::new(),
                    };
                    let _ = converse(&shim, conversation).await;
                    shim.tidy_memory();
                });
            }
            // Out of descriptors, most likely: some will be freed.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn converse(shim: &Arc<Shim>, mut conversation: Conversation) -> io::Result<()> {
    let first = tokio::time::timeout(HELLO, conversation.next())
        .await
        .map_err(|_| io::ErrorKind::TimedOut)??;
    let Some(frame) = first else { return Ok(()) };
    match frame.kind {
        Kind::Hello => stdio(shim, conversation, &frame).await,
        Kind::Put | Kind::Take => keep(shim, conversation, frame).await,
        _ => {
            conversation
                .refuse(RefusalKind::Invalid, "a conversation starts with hello, put or take")
                .await
        }
    }
}

async fn stdio(shim: &Arc<Shim>, conversation: Conversation, frame: &Frame) -> io::Result<()> {
    let hello: Hello = match frame.json() {
        Ok(hello) => hello,
        Err(err) => return conversation.refuse(RefusalKind::Invalid, &err.to_string()).await,
    };
    let found = shim.container(&hello.container).and_then(|container| {
        let process = container.process(hello.exec.as_deref().unwrap_or_default())?;
        Ok((container, process))
    });
    let (container, process) = match found {
        Ok(found) => found,
        Err(failure) => return conversation.refuse(RefusalKind::NotFound, &failure.message).await,
    };
    if process.hub.clients().len() >= MAX_CLIENTS {
        return conversation
            .refuse(
                RefusalKind::Exhausted,
                &format!("{} has {MAX_CLIENTS} clients", process.describe()),
            )
            .await;
    }
    let client = process.hub.join(hello.stdout, hello.stderr, true);
    let done = serve_client(&container, &process, &client, conversation, &hello).await;
    process.hub.leave(&client);
    if hello.stdin {
        process.stdin.client_ended();
    }
    done
}

async fn serve_client(
    container: &Container,
    process: &Process,
    client: &Client,
    conversation: Conversation,
    hello: &Hello,
) -> io::Result<()> {
    let phase = process.life().phase;
    let started = matches!(phase, crate::shim::Phase::Running | crate::shim::Phase::Stopped);
    let ready = Ready {
        terminal: process.terminal,
        stdin: process.stdin.is_held(),
        started,
    };
    conversation.write_all(&encode_json(Kind::Ready, &ready), None).await?;
    let Conversation {
        stream,
        decoder,
        descriptors,
    } = conversation;
    let stream = Arc::new(stream);
    let reading = ReadHalf {
        stream: stream.clone(),
        decoder,
        descriptors,
    };
    tokio::select! {
        read = hear(process, reading, hello) => read,
        written = tell(container, process, client, &stream) => written,
    }
}

/// From the client to the process, until the client leaves.
async fn hear(process: &Process, mut reading: ReadHalf, hello: &Hello) -> io::Result<()> {
    while let Some(frame) = reading.next().await? {
        match frame.kind {
            Kind::Stdin if hello.stdin => process.stdin.write(&frame.payload, &process.hub.ended).await,
            Kind::Stdin => {}
            Kind::StdinEof if hello.stdin => process.stdin.client_ended(),
            Kind::StdinEof => {}
            Kind::Resize => {
                if let Some((height, width)) = decode_resize(&frame.payload) {
                    process.resize(height, width);
                }
            }
            Kind::Signal => {
                if let Some(signal) = decode_signal(&frame.payload).filter(|signal| (1..=64).contains(signal)) {
                    let _ = process.signal(signal as i32);
                }
            }
            Kind::Detach => return Ok(()),
            Kind::Hello
            | Kind::Put
            | Kind::Take
            | Kind::Ready
            | Kind::Output
            | Kind::Exit
            | Kind::Error
            | Kind::Kept => {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
    }
    Ok(())
}

/// From the process to the client, to the last frame.
async fn tell(container: &Container, process: &Process, client: &Client, stream: &UnixStream) -> io::Result<()> {
    loop {
        match process.hub.next(client)? {
            Next::Finished => return Ok(()),
            Next::Wait => client.wake.notified().await,
            Next::Send(piece) => {
                write_all(stream, &piece, Some((client, container.drain))).await?;
                client.sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
            }
        }
    }
}

/// Writes everything. A client that stands still is waited for, unless its process has ended and its patience is used up.
async fn write_all(stream: &UnixStream, mut left: &[u8], patience: Option<(&Client, Duration)>) -> io::Result<()> {
    while !left.is_empty() {
        match patience {
            None => tokio::time::timeout(HELLO, stream.writable())
                .await
                .map_err(|_| io::ErrorKind::TimedOut)??,
            Some((client, drain)) => match tokio::time::timeout(drain, stream.writable()).await {
                Ok(ready) => ready?,
                Err(_) if client.is_finished() => return Err(io::ErrorKind::TimedOut.into()),
                Err(_) => continue,
            },
        }
        match stream.try_write(left) {
            Ok(count) => left = &left[count..],
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => {}
            Err(err) => return Err(err),
        }
    }
    Ok(())
}

/// PUT and TAKE, as many as the client likes.
async fn keep(shim: &Arc<Shim>, mut conversation: Conversation, first: Frame) -> io::Result<()> {
    let mut next = Some(first);
    while let Some(frame) = next {
        let Ok(Names { names }) = frame.json() else {
            return conversation
                .refuse(RefusalKind::Invalid, "the frame holds no names")
                .await;
        };
        match frame.kind {
            Kind::Put if names.len() <= MAX_DESCRIPTORS && conversation.descriptors.len() >= names.len() => {
                if shim.with_kept(|kept| kept.len() + names.len() > MAX_KEPT) {
                    return conversation
                        .refuse(RefusalKind::Exhausted, "too many descriptors are kept")
                        .await;
                }
                for name in &names {
                    if let Some(fd) = conversation.descriptors.pop_front() {
                        shim.with_kept(|kept| kept.insert(name.clone(), fd));
                    }
                }
                conversation
                    .write_all(&encode_json(Kind::Kept, &Names { names }), None)
                    .await?;
            }
            Kind::Take if names.len() <= MAX_DESCRIPTORS => {
                let found = shim.with_kept(|kept| {
                    let pairs = names
                        .into_iter()
                        .filter_map(|name| Some((sys::dup(kept.get(&name)?).ok()?, name)));
                    pairs.collect::<Vec<_>>()
                });
                conversation.send_kept(found).await?;
            }
            _ => {
                return conversation
                    .refuse(
                        RefusalKind::Invalid,
                        "the names and descriptors of the frame do not agree",
                    )
                    .await;
            }
        }
        next = conversation.next().await?;
    }
    Ok(())
}

impl Conversation {
    async fn next(&mut self) -> io::Result<Option<Frame>> {
        next_frame(&self.stream, &mut self.decoder, &mut self.descriptors).await
    }

    async fn write_all(&self, bytes: &[u8], patience: Option<(&Client, Duration)>) -> io::Result<()> {
        write_all(&self.stream, bytes, patience).await
    }

    async fn refuse(&self, kind: RefusalKind, message: &str) -> io::Result<()> {
        self.write_all(
            &encode_json(
                Kind::Error,
                &Refusal {
                    kind,
                    message: message.to_owned(),
                },
            ),
            None,
        )
        .await
    }

    async fn send_kept(&self, found: Vec<(OwnedFd, String)>) -> io::Result<()> {
        let (fds, names): (Vec<OwnedFd>, Vec<String>) = found.into_iter().unzip();
        let frame = encode_json(Kind::Kept, &Names { names });
        let numbers: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        let messages = [ControlMessage::ScmRights(&numbers)];
        let messages = if numbers.is_empty() {
            &messages[..0]
        } else {
            &messages[..]
        };
        let sent = loop {
            self.stream.writable().await?;
            let fd = self.stream.as_raw_fd();
            let send = || {
                Ok(sendmsg::<UnixAddr>(
                    fd,
                    &[IoSlice::new(&frame)],
                    messages,
                    MsgFlags::MSG_NOSIGNAL,
                    None,
                )?)
            };
            match self.stream.try_io(Interest::WRITABLE, send) {
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => {}
                done => break done?,
            }
        };
        self.write_all(&frame[sent..], None).await
    }
}

/// The hearing side of a stdio conversation.
struct ReadHalf {
    stream: Arc<UnixStream>,
    decoder: Decoder,
    descriptors: VecDeque<OwnedFd>,
}

impl ReadHalf {
    async fn next(&mut self) -> io::Result<Option<Frame>> {
        // Descriptors mean nothing in a stdio conversation.
        self.descriptors.clear();
        next_frame(&self.stream, &mut self.decoder, &mut self.descriptors).await
    }
}

async fn next_frame(
    stream: &UnixStream,
    decoder: &mut Decoder,
    descriptors: &mut VecDeque<OwnedFd>,
) -> io::Result<Option<Frame>> {
    loop {
        if let Some(frame) = decoder
            .next()
            .map_err(|err| io::Error::new(io::ErrorKind::InvalidData, err))?
        {
            return Ok(Some(frame));
        }
        stream.readable().await?;
        match stream.try_io(Interest::READABLE, || receive(stream.as_raw_fd(), decoder, descriptors)) {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => {}
            Err(err) => return Err(err),
        }
    }
}

fn receive(fd: RawFd, decoder: &mut Decoder, descriptors: &mut VecDeque<OwnedFd>) -> io::Result<usize> {
    let mut buffer = vec![0; 32 * 1024];
    let mut space = nix::cmsg_space!([RawFd; MAX_DESCRIPTORS]);
    let count = {
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let message = recvmsg::<UnixAddr>(fd, &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
        for part in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(fds) = part {
                descriptors.extend(fds.into_iter().map(sys::own));
            }
        }
        message.bytes
    };
    decoder.push(&buffer[..count]);
    Ok(count)
}
