//! A small blocking rtnetlink client: links, addresses, routes, neighbours.
//!
//! Deeds are gathered in a [`Batch`] and go to the kernel in one message; each is answered on its own, so a failure names the
//! deed that failed. The kernel goes on with a batch after one of its deeds failed: callers undo.
//! (netlink(7), rtnetlink(7); numbers are those of `linux/rtnetlink.h` and `linux/if_link.h`.)

mod address;
mod batch;
mod change;
mod link;
mod neighbour;
mod new;
mod route;
mod wire;

use crate::{Error, Result, netns};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, protocols::NETLINK_ROUTE};
use nix::errno::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{RecvFlags, recv};
use std::io;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

pub use address::Address;
pub use batch::Batch;
pub use change::{Change, PortChange};
pub use link::{Link, Statistics, Target};
pub use neighbour::{Fdb, Neighbour};
pub use new::{Kind, NewLink, Peer, Vxlan};
pub use route::Route;

/// The kernel answers at once, but for locks that others hold.
const PATIENCE: Duration = Duration::from_secs(5);

/// A dump is told again when what it tells changed meanwhile.
const DUMPS: usize = 8;

/// More than any message of a dump (the kernel fills at most 32 KiB).
const BUFFER: usize = 64 << 10;

/// One socket; it belongs to the network namespace that it was opened in.
pub struct Netlink {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Netlink {
    /// Speaks to the kernel about the calling thread's network namespace.
    pub fn open() -> Result<Self> {
        let open = || -> io::Result<Socket> {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind_auto()?;
            socket.set_cap_ack(true)?;
            socket.set_ext_ack(true)?;
            socket.set_netlink_get_strict_chk(true)?;
            set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
            set_socket_timeout(&socket, Timeout::Send, Some(PATIENCE))?;
            Ok(socket)
        };
        Ok(Self {
            socket: open().map_err(Error::NetlinkSocket)?,
            sequence: 0,
            buffer: vec![0; BUFFER],
        })
    }

    /// Speaks about another namespace, which the caller does not enter.
    pub fn open_in(namespace: BorrowedFd<'_>) -> Result<Self> {
        netns::enter(namespace, Self::open)
    }

    /// Does all of a batch. The first failure is told; what came after it was tried too, up to the end of its message.
    pub fn run(&mut self, batch: Batch) -> Result<()> {
        let deeds = batch.into_deeds();
        for part in deeds.chunks(batch::PART) {
            self.run_part(part)?;
        }
        Ok(())
    }

    fn run_part(&mut self, deeds: &[batch::Deed]) -> Result<()> {
        let first = self.sequence.wrapping_add(1);
        let mut bytes = Vec::with_capacity(deeds.len() * 256);
        for deed in deeds {
            self.sequence = self.sequence.wrapping_add(1);
            wire::encode(
                &deed.message,
                wire::ACKNOWLEDGED | deed.flags,
                self.sequence,
                &mut bytes,
            );
        }
        self.send(&deeds[0].what, &bytes)?;
        let mut answers: Vec<Option<Result<()>>> = deeds.iter().map(|_| None).collect();
        let started = Instant::now();
        while let Some(waiting) = answers.iter().position(Option::is_none) {
            let size = self.receive(&deeds[waiting].what, started)?;
            for answer in wire::answers(&self.buffer[..size]) {
                let place = answer.sequence.wrapping_sub(first) as usize;
                if let (Some(deed), wire::ERROR) = (deeds.get(place), answer.kind) {
                    answers[place] = Some(deed.judge(answer.errno(), answer.says()));
                }
            }
        }
        answers.into_iter().flatten().collect()
    }

    /// One thing; `None` if it is not there.
    fn get<T>(
        &mut self,
        what: &str,
        message: &RouteNetlinkMessage,
        read: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Option<T>> {
        self.ask(what, message, wire::REQUEST)?;
        let started = Instant::now();
        loop {
            let size = self.receive(what, started)?;
            for answer in wire::answers(&self.buffer[..size]) {
                if answer.sequence != self.sequence {
                    continue;
                }
                if answer.kind != wire::ERROR {
                    return read(answer.payload).map(Some).ok_or_else(|| unreadable(what));
                }
                return match answer.errno() {
                    Errno::ENODEV | Errno::ENOENT | Errno::UnknownErrno => Ok(None),
                    errno => Err(refused(what, errno, answer.says())),
                };
            }
        }
    }

    /// All things of a kind; what `read` answers with `None` is left out.
    fn dump<T>(
        &mut self,
        what: &str,
        message: &RouteNetlinkMessage,
        read: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Vec<T>> {
        for _ in 0..DUMPS {
            if let Some(all) = self.dump_once(what, message, &read)? {
                return Ok(all);
            }
        }
        Err(refused(what, Errno::EINTR, None))
    }

    /// `None` if things changed while they were told, or the socket could not hold them.
    fn dump_once<T>(
        &mut self,
        what: &str,
        message: &RouteNetlinkMessage,
        read: &impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Option<Vec<T>>> {
        self.ask(what, message, wire::REQUEST | wire::DUMP)?;
        let (mut all, mut torn) = (Vec::new(), false);
        let started = Instant::now();
        loop {
            let size = match self.receive(what, started) {
                Ok(size) => size,
                Err(Error::Kernel { source, .. }) if source.raw_os_error() == Some(Errno::ENOBUFS as i32) => {
                    return Ok(None);
                }
                Err(error) => return Err(error),
            };
            for answer in wire::answers(&self.buffer[..size]) {
                if answer.sequence != self.sequence {
                    continue;
                }
                torn |= answer.interrupted();
                match answer.kind {
                    wire::DONE | wire::ERROR => {
                        return match answer.errno() {
                            Errno::UnknownErrno => Ok((!torn).then_some(all)),
                            errno => Err(refused(what, errno, answer.says())),
                        };
                    }
                    _ => all.extend(read(answer.payload)),
                }
            }
        }
    }

    fn ask(&mut self, what: &str, message: &RouteNetlinkMessage, flags: u16) -> Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut bytes = Vec::with_capacity(128);
        wire::encode(message, flags, self.sequence, &mut bytes);
        self.send(what, &bytes)
    }

    fn send(&self, what: &str, bytes: &[u8]) -> Result<()> {
        loop {
            match self.socket.send(bytes, 0) {
                Ok(sent) if sent == bytes.len() => return Ok(()),
                Ok(_) => return Err(refused(what, Errno::EMSGSIZE, None)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(what, error)),
            }
        }
    }

    fn receive(&mut self, what: &str, started: Instant) -> Result<usize> {
        loop {
            if started.elapsed() > PATIENCE {
                return Err(too_slow(what));
            }
            match recv(&self.socket, self.buffer.as_mut_slice(), RecvFlags::TRUNC) {
                Ok((read, whole)) if read == whole => return Ok(read),
                Ok((_, whole)) => {
                    return Err(Error::Answer {
                        deed: what.to_owned(),
                        reason: format!("{whole} bytes are more than expected"),
                    });
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return Err(too_slow(what)),
                Err(errno) => return Err(failed(what, errno.into())),
            }
        }
    }
}

fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

fn too_slow(what: &str) -> Error {
    Error::TooSlow {
        what: what.to_owned(),
        seconds: PATIENCE.as_secs(),
    }
}

fn unreadable(what: &str) -> Error {
    Error::Answer {
        deed: what.to_owned(),
        reason: "attributes are missing".to_owned(),
    }
}

fn failed(what: &str, source: io::Error) -> Error {
    Error::Kernel {
        deed: what.to_owned(),
        source,
    }
}

/// The kernel's number, and what it says in words where it does.
fn refused(what: &str, errno: Errno, says: Option<String>) -> Error {
    let deed = match says {
        Some(says) => format!("{what} ({})", says.trim_end_matches('.')),
        None => what.to_owned(),
    };
    Error::Kernel {
        deed,
        source: io::Error::from_raw_os_error(errno as i32),
    }
}

#[cfg(test)]
mod tests;
