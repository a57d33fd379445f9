//! Connections the kernel remembers that must be forgotten: a datagram's sender keeps sending, so what was translated for a
//! port that is gone, or not translated for one that is new, would stay so for minutes.

use super::nfnetlink::{Attribute, Family, Netfilter, attribute, attributes, nested};
use super::published::Published;
use crate::Result;
use gantry_core::network::Protocol;
use std::net::{IpAddr, UdpSocket};

const CONNTRACK: u16 = 1 << 8;
const GET: u16 = CONNTRACK | 1;
const DELETE: u16 = CONNTRACK | 2;
const DUMP: u16 = 0x300;
const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const ZONE: u16 = 18;

/// One direction of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tuple {
    protocol: u8,
    source: IpAddr,
    target: IpAddr,
    port: u16,
}

/// Forgets what was sent to ports that were published, and are not now, and what was sent in vain to ports that are now.
pub(crate) fn forget(gone: &[Published], new: &[Published]) -> Result<()> {
    let datagrams = |port: &&Published| port.protocol != Protocol::Tcp;
    let gone: Vec<&Published> = gone.iter().filter(datagrams).collect();
    let new: Vec<&Published> = new.iter().filter(datagrams).collect();
    if gone.is_empty() && new.is_empty() {
        return Ok(());
    }
    let mut netfilter = Netfilter::open()?;
    for family in [Family::Ip, Family::Ip6] {
        let mut stale = Vec::new();
        netfilter.ask("list connections", GET, family as u8, DUMP, &[], |body| {
            let find = |wanted| attributes(body).find(|(kind, _)| *kind == wanted);
            let (Some(original), Some(reply)) = (find(ORIGINAL), find(REPLY)) else {
                return;
            };
            if let (Some(there), Some(back)) = (tuple(original), tuple(reply))
                && (gone.iter().any(|port| led_to(port, &there, &back))
                    || new.iter().any(|port| missed(port, &there, &back)))
            {
                stale.push(key(original, find(ZONE)));
            }
        })?;
        for key in stale {
            let deleted = netfilter.ask("forget a connection", DELETE, family as u8, 0, &key, |_| ());
            // It may have ended by itself.
            if let Err(error) = deleted {
                tracing::debug!(%error, "a connection was not forgotten");
            }
        }
    }
    Ok(())
}

fn key(original: Attribute<'_>, zone: Option<Attribute<'_>>) -> Vec<u8> {
    let mut key = nested(ORIGINAL, original.1);
    if let Some((kind, zone)) = zone {
        key.extend(attribute(kind, zone));
    }
    key
}

fn addressed(port: &Published, there: &Tuple) -> bool {
    there.protocol == number(port.protocol)
        && there.port == port.port
        && port.host.is_none_or(|host| host == there.target)
}

fn led_to(port: &Published, there: &Tuple, back: &Tuple) -> bool {
    addressed(port, there) && back.source == port.to && there.target != port.to
}

fn missed(port: &Published, there: &Tuple, back: &Tuple) -> bool {
    // Sent to this host and not translated. Only an address of its own can be bound.
    addressed(port, there) && back.source == there.target && UdpSocket::bind((there.target, 0)).is_ok()
}

fn number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
        Protocol::Sctp => 132,
    }
}

fn tuple((_, body): Attribute<'_>) -> Option<Tuple> {
    let part = |wanted| attributes(body).find(|(kind, _)| *kind == wanted).map(|(_, part)| part);
    let (addresses, ports) = (part(1)?, part(2)?);
    let address = |v4: u16, v6: u16| {
        attributes(addresses).find_map(|(kind, bytes)| match bytes.len() {
            4 if kind == v4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
            16 if kind == v6 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
            _ => None,
        })
    };
    let of = |wanted| {
        attributes(ports)
            .find(|(kind, _)| *kind == wanted)
            .map(|(_, bytes)| bytes)
    };
    Some(Tuple {
        protocol: *of(1)?.first()?,
        source: address(1, 3)?,
        target: address(2, 4)?,
        port: u16::from_be_bytes(of(3)?.try_into().ok()?),
    })
}
