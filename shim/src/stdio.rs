//! Making a process's stdio: pipes or a terminal, the shim's ends into the event loop, the other ends for the child.

use crate::{
    child::{nonblocking, payload::Payload},
    failure::{Failure, Kind, Result, failed},
    io::{fifo, lock, pump},
    shim::Process,
    sys,
};
use gantry_shim_protocol::stdio::Stdio;
use nix::{
    fcntl::OFlag,
    sys::socket::{AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, recvmsg, socketpair},
    unistd::pipe2,
};
use std::{
    fs::File,
    io::{self, IoSliceMut},
    os::fd::{AsRawFd, OwnedFd, RawFd},
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

/// What a gantry shim can do with the strings of a request, or why not.
pub fn check(names: [&str; 3]) -> Result<()> {
    for name in names {
        if let Stdio::Unknown(scheme) = Stdio::parse(name) {
            return Err(Failure::new(
                Kind::Unsupported,
                format!("stdio scheme {scheme}:// is not served by this shim: {name}"),
            ));
        }
    }
    Ok(())
}

/// Makes pipes (or the socket for a terminal) and connects the shim's side. `keep_output`: there is a log or someone may attach, so
/// output is read even when no name was given for it.
pub fn make(process: &Arc<Process>, keep_output: bool) -> Result<Ends> {
    make_ends(process, keep_output).map_err(failed(
        Kind::Runtime,
        format_args!("making stdio of {}", process.describe()),
    ))
}

fn make_ends(process: &Arc<Process>, keep_output: bool) -> io::Result<Ends> {
    let (ours, childs) = pipe2(OFlag::O_CLOEXEC)?;
    let status = (childs, ours);
    connect_names(process)?;
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
        if keep_output || !name.is_empty() {
            let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
            pump::start(Arc::new(nonblocking(read)?), stream, process.hub.clone());
            stdio[usize::from(stream)] = Some(write);
        }
    }
    Ok(Ends {
        stdio,
        console: None,
        status,
    })
}

/// Named pipes and files of a foreign caller.
fn connect_names(process: &Arc<Process>) -> io::Result<()> {
    if let Stdio::Fifo(path) = Stdio::parse(&process.names.stdin) {
        fifo::receive(process.stdin.clone(), process.hub.clone(), &path)?;
    }
    let mut outputs = vec![(1, &process.names.stdout)];
    if !process.terminal {
        outputs.push((2, &process.names.stderr));
    }
    for (stream, name) in outputs {
        match Stdio::parse(name) {
            Stdio::Fifo(path) => fifo::send(&process.hub, stream, &path)?,
            Stdio::File(path) => process
                .hub
                .add_file(stream, File::options().append(true).create(true).open(path)?),
            Stdio::Null | Stdio::Attach { .. } | Stdio::Unknown(_) => {}
        }
    }
    Ok(())
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
    pump::start(terminal, 1, process.hub.clone());
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
