//! Sockets that hold ports.

use gantry_core::network::Protocol;
use rustix::net::{AddressFamily, SocketAddrAny, SocketFlags, SocketType, ipproto, sockopt};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Which addresses of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// All of both families.
    Both,
    /// One; unspecified, all of its family.
    One(IpAddr),
}

impl Scope {
    pub fn of(host: Option<IpAddr>) -> Self {
        host.map_or(Self::Both, Self::One)
    }

    pub fn overlaps(self, host: IpAddr) -> bool {
        match self {
            Self::Both => true,
            Self::One(one) => {
                one.is_ipv4() == host.is_ipv4() && (one == host || one.is_unspecified() || host.is_unspecified())
            }
        }
    }

    /// As Docker names it.
    pub fn text(self) -> String {
        match self {
            Self::Both => "0.0.0.0".to_owned(),
            Self::One(IpAddr::V4(address)) => address.to_string(),
            Self::One(IpAddr::V6(address)) => format!("[{address}]"),
        }
    }
}

pub(super) fn bound(protocol: Protocol, scope: Scope, port: u16) -> io::Result<OwnedFd> {
    match scope {
        Scope::Both => match made(protocol, AddressFamily::INET6) {
            Ok(socket) => {
                sockopt::set_ipv6_v6only(&socket, false)?;
                bind(socket, Ipv6Addr::UNSPECIFIED.into(), port)
            }
            Err(error) if error.raw_os_error() == Some(nix::libc::EAFNOSUPPORT) => {
                bind(made(protocol, AddressFamily::INET)?, Ipv4Addr::UNSPECIFIED.into(), port)
            }
            Err(error) => Err(error),
        },
        Scope::One(host @ IpAddr::V4(_)) => bind(made(protocol, AddressFamily::INET)?, host, port),
        Scope::One(host @ IpAddr::V6(_)) => {
            let socket = made(protocol, AddressFamily::INET6)?;
            sockopt::set_ipv6_v6only(&socket, true)?;
            bind(socket, host, port)
        }
    }
}

fn made(protocol: Protocol, family: AddressFamily) -> io::Result<OwnedFd> {
    let (kind, number) = match protocol {
        Protocol::Tcp => (SocketType::STREAM, ipproto::TCP),
        Protocol::Udp => (SocketType::DGRAM, ipproto::UDP),
        Protocol::Sctp => (SocketType::STREAM, ipproto::SCTP),
    };
    let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, Some(number))?;
    if protocol == Protocol::Udp {
        // The kernel makes it the smallest that it allows.
        sockopt::set_socket_recv_buffer_size(&socket, 1)?;
    }
    Ok(socket)
}

fn bind(socket: OwnedFd, host: IpAddr, port: u16) -> io::Result<OwnedFd> {
    rustix::net::bind(&socket, &SocketAddr::new(host, port))?;
    Ok(socket)
}

pub(super) fn is_v6(socket: &OwnedFd) -> bool {
    address(socket.as_fd()).is_ok_and(|address| address.is_ipv6())
}

/// The port a socket is bound to.
pub(super) fn port(socket: BorrowedFd<'_>) -> io::Result<u16> {
    Ok(address(socket)?.port())
}

fn address(socket: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    let address: SocketAddrAny = rustix::net::getsockname(socket)?;
    Ok(SocketAddr::try_from(address)?)
}
