//! The little of nfnetlink that programs would be too slow for: the ruleset's generation, how many rules and elements are
//! there, and connections that must be forgotten. Layouts: `linux/netfilter/nfnetlink.h`, `nf_tables.h`, `nfnetlink_conntrack.h`.

use crate::{Error, Result};
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use rustix::net::sockopt;
use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

/// The kernel answers at once; this is for when it does not.
const PATIENCE: Duration = Duration::from_secs(10);

const HEADER: usize = 16;
const GENERIC: usize = 4;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
/// The attribute's type without its flags (`NLA_TYPE_MASK`).
const TYPE: u16 = 0x3fff;
const NESTED: u16 = 0x8000;

const NFTABLES: u16 = 10 << 8;
const GET_RULE: u16 = NFTABLES | 7;
const GET_ELEMENTS: u16 = NFTABLES | 13;
const GET_GENERATION: u16 = NFTABLES | 16;
/// The multicast group that hears of every change of a ruleset.
const GROUP_NFTABLES: u32 = 7;

/// A family as nfnetlink counts them (`NFPROTO_*`, which are those of `AF_*` here).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    Ip = 2,
    Bridge = 7,
    Ip6 = 10,
}

/// A netlink socket to the netfilter of the caller's network namespace.
pub(crate) struct Netfilter {
    socket: Socket,
    sequence: u32,
}

/// One attribute: its type, and what is in it.
pub(crate) type Attribute<'a> = (u16, &'a [u8]);

impl Netfilter {
    pub fn open() -> Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER).map_err(Error::NetlinkSocket)?;
        socket.bind_auto().map_err(Error::NetlinkSocket)?;
        // More than a dump's usual share, so that nothing is lost while it is read.
        socket.set_rx_buf_sz(1_u32 << 20).map_err(Error::NetlinkSocket)?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(PATIENCE))
            .map_err(|errno| Error::NetlinkSocket(errno.into()))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// A socket that is told of every change of the ruleset and never waits when read.
    pub fn listen() -> Result<Socket> {
        let mut socket = Socket::new(NETLINK_NETFILTER).map_err(Error::NetlinkSocket)?;
        socket.bind_auto().map_err(Error::NetlinkSocket)?;
        socket.add_membership(GROUP_NFTABLES).map_err(Error::NetlinkSocket)?;
        socket.set_non_blocking(true).map_err(Error::NetlinkSocket)?;
        Ok(socket)
    }

    /// A number that grows with each change of the nftables ruleset, whoever made it.
    pub fn generation(&mut self) -> Result<u32> {
        let mut found = None;
        self.ask("read the generation of nftables", GET_GENERATION, 0, 0, &[], |body| {
            let id = attributes(body).find(|(kind, _)| *kind == 1);
            found = id.and_then(|(_, bytes)| Some(u32::from_be_bytes(bytes.try_into().ok()?)));
        })?;
        found.ok_or_else(|| Error::Answer {
            deed: "read the generation of nftables".to_owned(),
            reason: "no generation".to_owned(),
        })
    }

    /// How many rules each chain of a table has; empty if there is no such table.
    pub fn rules(&mut self, family: Family, table: &str) -> Result<BTreeMap<String, usize>> {
        let mut counts = BTreeMap::new();
        let deed = format!("list the rules of table {table}");
        let of = attribute(1, &text(table));
        let asked = self.ask(&deed, GET_RULE, family as u8, NLM_F_DUMP, &of, |body| {
            let read = |wanted| {
                attributes(body)
                    .find(|(kind, _)| *kind == wanted)
                    .map(|(_, bytes)| String::from_utf8_lossy(bytes.strip_suffix(&[0]).unwrap_or(bytes)).into_owned())
            };
            // Kernels before 3.14 do not obey the filter.
            if let (Some(of), Some(chain)) = (read(1), read(2))
                && of == table
            {
                *counts.entry(chain).or_default() += 1;
            }
        });
        none_is_empty(asked)?;
        Ok(counts)
    }

    /// How many elements a set or map has; none if it is not there.
    pub fn elements(&mut self, family: Family, table: &str, set: &str) -> Result<usize> {
        let mut count = 0;
        let deed = format!("count the elements of {set} in table {table}");
        let of = [attribute(1, &text(table)), attribute(2, &text(set))].concat();
        let asked = self.ask(&deed, GET_ELEMENTS, family as u8, NLM_F_DUMP, &of, |body| {
            count += attributes(body)
                .filter(|(kind, _)| *kind == 3)
                .map(|(_, list)| attributes(list).count())
                .sum::<usize>();
        });
        none_is_empty(asked)?;
        Ok(count)
    }

    /// Sends one request and hands over the body (after the family header) of each answer.
    pub fn ask(
        &mut self,
        deed: &str,
        kind: u16,
        family: u8,
        flags: u16,
        attributes: &[u8],
        mut each: impl FnMut(&[u8]),
    ) -> Result<()> {
        let failed = |source| Error::Kernel {
            deed: deed.to_owned(),
            source,
        };
        self.sequence = self.sequence.wrapping_add(1);
        let dump = flags & NLM_F_DUMP == NLM_F_DUMP;
        let flags = NLM_F_REQUEST | flags | if dump { 0 } else { NLM_F_ACK };
        let request = message(kind, flags, self.sequence, family, attributes);
        let kernel = SocketAddr::new(0, 0);
        self.socket.send_to(&request, &kernel, 0).map_err(failed)?;
        loop {
            let (packet, _) = self.socket.recv_from_full().map_err(failed)?;
            for (kind, sequence, body) in messages(&packet) {
                if sequence != self.sequence {
                    continue;
                }
                match kind {
                    NLMSG_DONE => return Ok(()),
                    NLMSG_ERROR => return acknowledged(body).map_err(failed),
                    _ => each(body.get(GENERIC..).unwrap_or_default()),
                }
            }
        }
    }
}

fn none_is_empty(asked: Result<()>) -> Result<()> {
    match asked {
        Err(Error::Kernel { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

pub(crate) fn acknowledged(body: &[u8]) -> io::Result<()> {
    let code = body
        .get(..4)
        .and_then(|code| Some(i32::from_ne_bytes(code.try_into().ok()?)));
    match code {
        Some(0) => Ok(()),
        Some(code) => Err(io::Error::from_raw_os_error(code.saturating_neg())),
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn message(kind: u16, flags: u16, sequence: u32, family: u8, attributes: &[u8]) -> Vec<u8> {
    let length = HEADER + GENERIC + attributes.len();
    let mut bytes = Vec::with_capacity(length);
    bytes.extend(
        u32::try_from(length)
            .expect("a request has a few hundred bytes")
            .to_ne_bytes(),
    );
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend([family, 0, 0, 0]);
    bytes.extend(attributes);
    bytes
}

pub(crate) fn messages(packet: &[u8]) -> impl Iterator<Item = (u16, u32, &[u8])> {
    let mut rest = packet;
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(rest.get(..4)?.try_into().ok()?) as usize;
        let kind = u16::from_ne_bytes(rest.get(4..6)?.try_into().ok()?);
        let sequence = u32::from_ne_bytes(rest.get(8..12)?.try_into().ok()?);
        let body = rest.get(HEADER..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, sequence, body))
    })
}

/// The attributes that stand one after another in `bytes`.
pub(crate) fn attributes(bytes: &[u8]) -> impl Iterator<Item = Attribute<'_>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(rest.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?);
        let body = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind & TYPE, body))
    })
}

pub(crate) fn attribute(kind: u16, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + body.len()).expect("an attribute of a request is short");
    let mut bytes = Vec::with_capacity(usize::from(length).next_multiple_of(4));
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(body);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

pub(crate) fn nested(kind: u16, body: &[u8]) -> Vec<u8> {
    attribute(kind | NESTED, body)
}

fn text(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_as_they_are_written() {
        let bytes = [attribute(1, b"abc"), nested(2, &attribute(7, &[1, 2, 3, 4]))].concat();
        let read: Vec<_> = attributes(&bytes).collect();
        assert_eq!(read[0], (1, &b"abc"[..]));
        assert_eq!(read[1].0, 2);
        assert_eq!(attributes(read[1].1).next(), Some((7, &[1, 2, 3, 4][..])));
        for end in 0..bytes.len() {
            assert!(attributes(&bytes[..end]).count() <= 2);
        }
        assert_eq!(attributes(&[0, 0, 0, 0]).count(), 0);
        assert_eq!(messages(&[3, 0, 0, 0, 1]).count(), 0);
    }
}
