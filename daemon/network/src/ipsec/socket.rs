//! The kernel's side of IPsec, asked and told over netlink.

use super::layout::{Association, Direction, Policy, Verdict};
use crate::{Error, Result};
use netlink_sys::protocols::NETLINK_XFRM;
use netlink_sys::{Socket, SocketAddr};
use rustix::net::sockopt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// The kernel answers at once; this is for when it does not.
const PATIENCE: Duration = Duration::from_secs(10);

const HEADER: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_CREATE: u16 = 0x400;
const NLM_F_EXCL: u16 = 0x200;

const NEW_SA: u16 = 0x10;
const DELETE_SA: u16 = 0x11;
const GET_SA: u16 = 0x12;
const DELETE_POLICY: u16 = 0x14;
const GET_POLICY: u16 = 0x15;
const UPDATE_POLICY: u16 = 0x19;

/// A socket to the IPsec of the caller's network namespace.
pub struct Xfrm {
    socket: Socket,
    sequence: u32,
}

impl Xfrm {
    pub fn open() -> Result<Self> {
        let mut socket = Socket::new(NETLINK_XFRM).map_err(Error::NetlinkSocket)?;
        socket.bind_auto().map_err(Error::NetlinkSocket)?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(PATIENCE))
            .map_err(|errno| Error::NetlinkSocket(errno.into()))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// One that is there already is left as it is, with what it has counted.
    pub fn add(&mut self, one: &Association) -> Result<()> {
        let deed = format!("add a security association from {} to {}", one.from, one.to);
        let done = self.tell(&deed, NEW_SA, NLM_F_CREATE | NLM_F_EXCL, &one.message());
        forgiving(done, io::ErrorKind::AlreadyExists)
    }

    /// One that is gone already is no failure.
    pub fn remove(&mut self, to: IpAddr, spi: u32) -> Result<()> {
        let deed = format!("remove a security association to {to}");
        gone(self.tell(&deed, DELETE_SA, 0, &Association::id(to, spi)))
    }

    /// Where those lead that bear the mark, and their numbers.
    pub fn associations(&mut self, mark: u32) -> Result<Vec<(IpAddr, u32)>> {
        let mut found = Vec::new();
        self.ask("list security associations", GET_SA, NLM_F_DUMP, &[], |body| {
            found.extend(Association::read(body, mark));
        })?;
        Ok(found)
    }

    /// Has packets to the port go encrypted only.
    pub fn allow(&mut self, direction: Direction, from: IpAddr, to: IpAddr, port: u16, spi: u32) -> Result<()> {
        self.set(&Policy {
            direction,
            from,
            to,
            port,
            verdict: Verdict::Encrypt,
            spi,
        })
    }

    /// Lets nothing to the port pass that nothing else lets pass.
    pub fn block(&mut self, direction: Direction, local: IpAddr, port: u16) -> Result<()> {
        let anyone = match local {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let (from, to) = match direction {
            Direction::In => (anyone, local),
            Direction::Out => (local, anyone),
        };
        self.set(&Policy {
            direction,
            from,
            to,
            port,
            verdict: Verdict::Block,
            spi: 0,
        })
    }

    fn set(&mut self, policy: &Policy) -> Result<()> {
        let deed = format!("set an encryption policy from {} to {}", policy.from, policy.to);
        self.tell(&deed, UPDATE_POLICY, 0, &policy.message())
    }

    /// One that is gone already is no failure.
    pub fn forget(&mut self, policy: &Policy) -> Result<()> {
        let deed = format!("remove an encryption policy from {} to {}", policy.from, policy.to);
        gone(self.tell(&deed, DELETE_POLICY, 0, &policy.id()))
    }

    /// Those for a UDP port.
    pub fn policies(&mut self, port: u16) -> Result<Vec<Policy>> {
        let mut found = Vec::new();
        self.ask("list encryption policies", GET_POLICY, NLM_F_DUMP, &[], |body| {
            found.extend(Policy::read(body, port));
        })?;
        Ok(found)
    }

    fn tell(&mut self, deed: &str, kind: u16, flags: u16, body: &[u8]) -> Result<()> {
        self.ask(deed, kind, flags | NLM_F_ACK, body, |_| {})
    }

    fn ask(&mut self, deed: &str, kind: u16, flags: u16, body: &[u8], mut each: impl FnMut(&[u8])) -> Result<()> {
        let failed = |source| Error::Kernel {
            deed: deed.to_owned(),
            source,
        };
        self.sequence = self.sequence.wrapping_add(1);
        let request = message(kind, NLM_F_REQUEST | flags, self.sequence, body);
        self.socket
            .send_to(&request, &SocketAddr::new(0, 0), 0)
            .map_err(failed)?;
        loop {
            let (packet, _) = self.socket.recv_from_full().map_err(failed)?;
            for (kind, sequence, body) in crate::firewall::nfnetlink::messages(&packet) {
                match kind {
                    _ if sequence != self.sequence => {}
                    NLMSG_DONE => return Ok(()),
                    NLMSG_ERROR => return crate::firewall::nfnetlink::acknowledged(body).map_err(failed),
                    _ => each(body),
                }
            }
        }
    }
}

fn message(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let length = HEADER + body.len();
    let mut bytes = Vec::with_capacity(length);
    let short = u32::try_from(length).expect("a request has a few hundred bytes");
    bytes.extend(short.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend(body);
    bytes
}

fn forgiving(done: Result<()>, kind: io::ErrorKind) -> Result<()> {
    match done {
        Err(Error::Kernel { source, .. }) if source.kind() == kind => Ok(()),
        other => other,
    }
}

fn gone(done: Result<()>) -> Result<()> {
    match done {
        Err(Error::Kernel { source, .. }) if source.raw_os_error() == Some(nix::errno::Errno::ESRCH as i32) => Ok(()),
        other => forgiving(other, io::ErrorKind::NotFound),
    }
}
