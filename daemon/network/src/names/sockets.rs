//! The two sockets of a sandbox's server.

use super::redirect::redirect;
use crate::files::EMBEDDED;
use crate::{Error, Result, netns};
use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Bound to 127.0.0.11 inside a sandbox, each on a port of the kernel's choice; the TCP one listens. They may be kept by
/// another process and given back: what was asked meanwhile waits in them.
#[derive(Debug)]
pub struct Sockets {
    pub udp: OwnedFd,
    pub tcp: OwnedFd,
}

/// Where they are bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    pub udp: u16,
    pub tcp: u16,
}

impl Sockets {
    /// Makes them in the namespace, whose loopback device is up, and leads port 53 of 127.0.0.11 to them there. Blocks.
    pub fn open(namespace: BorrowedFd<'_>) -> Result<Self> {
        netns::enter(namespace, || {
            let sockets = bind().map_err(|source| failed("bind the name server of a sandbox", source))?;
            redirect(sockets.ports()?)?;
            Ok(sockets)
        })
    }

    /// Sets the redirection again, as after a restart, or when something in the sandbox removed it. Blocks.
    pub fn mend(&self, namespace: BorrowedFd<'_>) -> Result<()> {
        let ports = self.ports()?;
        netns::enter(namespace, || redirect(ports))
    }

    pub fn try_clone(&self) -> Result<Self> {
        let clone = |fd: &OwnedFd| {
            fd.try_clone()
                .map_err(|source| failed("copy a name server's socket", source))
        };
        Ok(Self {
            udp: clone(&self.udp)?,
            tcp: clone(&self.tcp)?,
        })
    }

    pub(super) fn ports(&self) -> Result<Ports> {
        Ok(Ports {
            udp: port(self.udp.as_fd())?,
            tcp: port(self.tcp.as_fd())?,
        })
    }
}

fn bind() -> io::Result<Sockets> {
    let udp = UdpSocket::bind((EMBEDDED, 0))?;
    let tcp = TcpListener::bind((EMBEDDED, 0))?;
    udp.set_nonblocking(true)?;
    tcp.set_nonblocking(true)?;
    Ok(Sockets {
        udp: udp.into(),
        tcp: tcp.into(),
    })
}

fn port(socket: BorrowedFd<'_>) -> Result<u16> {
    let what = "see where a name server's socket is bound";
    let bound = rustix::net::getsockname(socket).map_err(|errno| failed(what, errno.into()))?;
    let bound = std::net::SocketAddr::try_from(bound).map_err(|errno| failed(what, errno.into()))?;
    match bound.ip() == EMBEDDED && bound.port() != 0 {
        true => Ok(bound.port()),
        false => Err(failed(what, io::Error::other(format!("it is bound to {bound}")))),
    }
}

pub fn failed(what: &str, source: io::Error) -> Error {
    Error::File {
        what: what.to_owned(),
        source,
    }
}
