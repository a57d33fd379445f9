//! Making a process's stdio: pipes or a terminal, the shim's ends into the event loop, the other ends for the child.

use crate::{
    child::{nonblocking, payload::Payload},
    failure::{Failure, Kind, Result, failed},
    io::{
        fifo, lock, logger,
        pump::{self, Writer},
    },
    shim::{Container, Process, Shim},
    sys,
};
use gantry_shim_protocol::stdio::{Binary, Stdio};
use nix::{
    fcntl::OFlag,
    sys::socket::{AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, recvmsg, socketpair},
    unistd::pipe2,
};
use std::{
    fs::File,
    io::{self, IoSliceMut},
    os::fd::{AsRawFd, OwnedFd, RawFd},
    path::Path,
    sync::Arc,
};

/// The ends that go to the child, and what the shim keeps until the child has answered.
pub struct Ends {
    pub stdio: [Option<OwnedFd>; 3],
    /// For a terminal: (the child's end, ours) of the socket on which the terminal comes.
    pub console: Option<(OwnedFd, OwnedFd)>,
    /// Where the program's start is reported: (the child's end, ours).
    pub status: (OwnedFd, OwnedFd),
}

/// What a gantry shim can do with the strings of a request (stdin, stdout, stderr), or why not.
pub fn check(names: [&str; 3]) -> Result<()> {
    for (number, name) in names.into_iter().enumerate() {
        let scheme = match Stdio::parse(name) {
            Stdio::Unknown(scheme) => scheme,
            Stdio::Binary(_) | Stdio::File(_) if number == 0 => name.split("://").next().unwrap_or_default().to_owned(),
            _ => continue,
        };
        let what = ["stdin", "stdout", "stderr"][number];
        return Err(Failure::new(
            Kind::Unsupported,
            format!("{what} of scheme {scheme}:// is not served by this shim: {name}"),
        ));
    }
    Ok(())
}

/// Makes pipes (or the socket for a terminal) and connects the shim's side. When gantryd drives there is a log or someone may attach, so
/// output is read even when no name was given for it.
pub async fn make(shim: &Arc<Shim>, container: &Container, process: &Arc<Process>) -> Result<Ends> {
    let wrong = |err: io::Error| failed(Kind::Runtime, format_args!("making stdio of {}", process.describe()))(err);
    let (ours, childs) = pipe2(OFlag::O_CLOEXEC).map_err(|errno| wrong(errno.into()))?;
    connect(shim, container, process).await.map_err(wrong)?;
    make_ends(container, process, (childs, ours)).map_err(wrong)
}

/// Connects the hub to what the request names: pipes, files, a logger.
pub async fn connect(shim: &Arc<Shim>, container: &Container, process: &Arc<Process>) -> io::Result<()> {
    connect_names(process)?;
    start_logger(shim, container, process).await
}

fn make_ends(container: &Container, process: &Arc<Process>, status: (OwnedFd, OwnedFd)) -> io::Result<Ends> {
    if process.terminal {
        let pair = socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC)?;
        return Ok(Ends {
            stdio: [None, None, None],
            console: Some(pair),
            status,
        });
    }
    let mut stdio = [None, None, None];
    if process.stdin.is_held() {
        let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
        process.stdin.set(Arc::new(nonblocking(write)?));
        stdio[0] = Some(read);
    } else {
        process.stdin.discard();
    }
    for (stream, name) in [(1, &process.names.stdout), (2, &process.names.stderr)] {
        if container.driven || !name.is_empty() {
            let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
            pump::start(
                Arc::new(nonblocking(read)?),
                stream,
                process.hub.clone(),
                Writer::Process,
            );
            stdio[usize::from(stream)] = Some(write);
        }
    }
    let (uid, gid) = container.io_owner;
    if uid != 0 || gid != 0 {
        for end in stdio.iter().flatten() {
            nix::unistd::fchown(end, Some(uid.into()), Some(gid.into()))?;
        }
    }
    Ok(Ends {
        stdio,
        console: None,
        status,
    })
}

/// The streams of a process that go somewhere, and where. A terminal has one.
fn outputs(process: &Process) -> impl Iterator<Item = (u8, Stdio)> {
    let stderr = (!process.terminal).then(|| (2, Stdio::parse(&process.names.stderr)));
    [(1, Stdio::parse(&process.names.stdout))].into_iter().chain(stderr)
}

/// Named pipes and files of a foreign caller.
fn connect_names(process: &Arc<Process>) -> io::Result<()> {
    if let Stdio::Fifo(path) = Stdio::parse(&process.names.stdin) {
        fifo::receive(process.stdin.clone(), process.hub.clone(), &path)?;
    }
    for (stream, output) in outputs(process) {
        match output {
            // A plain file at a bare path is appended to, as others do.
            Stdio::Fifo(path) if Path::new(&path).is_file() => add_file(process, stream, &path)?,
            Stdio::Fifo(path) => fifo::send(&process.hub, stream, &path)?,
            Stdio::File(path) => add_file(process, stream, &path)?,
            Stdio::Null | Stdio::Attach { .. } | Stdio::Binary(_) | Stdio::Unknown(_) => {}
        }
    }
    Ok(())
}

fn add_file(process: &Process, stream: u8, path: &str) -> io::Result<()> {
    let named = |err: io::Error| io::Error::new(err.kind(), format!("opening {path}: {err}"));
    if let Some(dir) = Path::new(path).parent() {
        std::fs::create_dir_all(dir).map_err(named)?;
    }
    let file = File::options().append(true).create(true).open(path).map_err(named)?;
    process.hub.add_file(stream, file);
    Ok(())
}

/// The program that takes the output, once for both streams. The second stream's name counts only where the first names none.
async fn start_logger(shim: &Arc<Shim>, container: &Container, process: &Arc<Process>) -> io::Result<()> {
    let mut streams = [false; 2];
    let mut program: Option<Binary> = None;
    for (stream, output) in outputs(process) {
        if let Stdio::Binary(binary) = output {
            streams[usize::from(stream) - 1] = true;
            program.get_or_insert(binary);
        }
    }
    match program {
        Some(binary) => logger::start(shim, process, &container.bundle, &binary, streams).await,
        None => Ok(()),
    }
}

impl Ends {
    /// Descriptors the child must keep.
    pub fn keep(&self) -> Vec<RawFd> {
        let console = self.console.iter().map(|(childs, _)| childs);
        self.stdio
            .iter()
            .flatten()
            .chain(console)
            .chain([&self.status.0])
            .map(AsRawFd::as_raw_fd)
            .collect()
    }

    /// How the child is to start the program.
    pub fn payload(&self) -> Payload {
        Payload::new(self.numbers(), self.console.is_some(), self.status.0.as_raw_fd())
    }

    pub fn numbers(&self) -> [Option<RawFd>; 3] {
        self.stdio.each_ref().map(|end| end.as_ref().map(AsRawFd::as_raw_fd))
    }

    pub fn console_number(&self) -> Option<RawFd> {
        self.console.as_ref().map(|(childs, _)| childs.as_raw_fd())
    }

    /// The child has made the process: lets go of its ends and takes the terminal. Returns our end of the status pipe.
    pub fn taken(self, process: &Arc<Process>, size: Option<(u16, u16)>) -> Result<OwnedFd> {
        let Self {
            stdio,
            console,
            status: (childs, ours),
        } = self;
        drop((stdio, childs));
        if let Some((childs, ours)) = console {
            drop(childs);
            let terminal = receive_terminal(&ours).map_err(failed(Kind::Runtime, "taking the terminal"))?;
            adopt_terminal(process, terminal).map_err(failed(Kind::Runtime, "taking the terminal"))?;
            if let Some((height, width)) = size {
                process.resize(height, width);
            }
        }
        Ok(ours)
    }
}

fn adopt_terminal(process: &Arc<Process>, terminal: OwnedFd) -> io::Result<()> {
    let terminal = Arc::new(nonblocking(terminal)?);
    *lock(&process.console) = Some(terminal.clone());
    process.stdin.set(terminal.clone());
    pump::start(terminal, 1, process.hub.clone(), Writer::Process);
    Ok(())
}

fn receive_terminal(socket: &OwnedFd) -> io::Result<OwnedFd> {
    let mut name = [0; 256];
    let mut space = nix::cmsg_space!([RawFd; 1]);
    let mut parts = [IoSliceMut::new(&mut name)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<UnixAddr>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
    let fd = message.cmsgs()?.find_map(|part| match part {
        ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
        _ => None,
    });
    fd.map(sys::own).ok_or_else(|| io::Error::other("no terminal came"))
}
