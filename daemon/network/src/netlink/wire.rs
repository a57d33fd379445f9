//! How messages lie in bytes.

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use nix::errno::Errno;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(super) const REQUEST: u16 = NLM_F_REQUEST;
pub(super) const ACKNOWLEDGED: u16 = NLM_F_REQUEST | NLM_F_ACK;
pub(super) const DUMP: u16 = NLM_F_DUMP;
/// `NLMSG_ERROR` and `NLMSG_DONE`.
pub(super) const ERROR: u16 = 2;
pub(super) const DONE: u16 = 3;

const HEADER: usize = 16;
/// `NLMSGERR_ATTR_MSG`.
const SAYS: u16 = 1;
/// The two high bits of an attribute's type are flags.
const TYPE_MASK: u16 = 0x3fff;

pub(super) fn encode(message: &RouteNetlinkMessage, flags: u16, sequence: u32, into: &mut Vec<u8>) {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    header.sequence_number = sequence;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message.clone()));
    message.finalize();
    let start = into.len();
    let length = message.buffer_len();
    into.resize(start + aligned(length), 0);
    message.serialize(&mut into[start..start + length]);
}

fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

/// One answer of the kernel.
pub(super) struct Answer<'a> {
    pub(super) kind: u16,
    flags: u16,
    pub(super) sequence: u32,
    pub(super) payload: &'a [u8],
}

impl Answer<'_> {
    pub(super) fn interrupted(&self) -> bool {
        self.flags & NLM_F_DUMP_INTR != 0
    }

    /// Of an error or an end; `UnknownErrno` (0) is success.
    pub(super) fn errno(&self) -> Errno {
        Errno::from_raw(u32_at(self.payload, 0).map_or(0, |code| (code as i32).wrapping_neg()))
    }

    /// The kernel's own words. An error repeats the header of what it answers (no more: `NETLINK_CAP_ACK`).
    pub(super) fn says(&self) -> Option<String> {
        if self.flags & NLM_F_ACK_TLVS == 0 {
            return None;
        }
        let skip = if self.kind == ERROR { 4 + HEADER } else { 4 };
        find(self.payload.get(skip..)?, SAYS).map(text)
    }
}

/// The messages of one datagram; what is cut off at its end is left out.
pub(super) fn answers(mut bytes: &[u8]) -> impl Iterator<Item = Answer<'_>> {
    std::iter::from_fn(move || {
        let length = u32_at(bytes, 0)? as usize;
        let message = bytes.get(..length).filter(|message| message.len() >= HEADER)?;
        bytes = bytes.get(aligned(length)..).unwrap_or_default();
        Some(Answer {
            kind: u16_at(message, 4)?,
            flags: u16_at(message, 6)?,
            sequence: u32_at(message, 8)?,
            payload: &message[HEADER..],
        })
    })
}

/// The attributes that lie in `bytes`.
pub(super) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(bytes, 0)?);
        let kind = u16_at(bytes, 2)? & TYPE_MASK;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(aligned(length)..).unwrap_or_default();
        Some((kind, value))
    })
}

pub(super) fn find(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(bytes)
        .find(|(kind, _)| *kind == wanted)
        .map(|(_, value)| value)
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

pub(super) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

pub(super) fn ip(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_off_is_left_out() {
        let whole: Vec<u8> = [
            20u32.to_ne_bytes(),
            [2, 0, 0, 0],
            7u32.to_ne_bytes(),
            [0; 4],
            (-17i32).to_ne_bytes(),
        ]
        .concat();
        let mut bytes = whole.clone();
        bytes.extend(&whole[..18]);
        let read: Vec<_> = answers(&bytes)
            .map(|answer| (answer.sequence, answer.errno()))
            .collect();
        assert_eq!(read, [(7, Errno::EEXIST)]);
        assert_eq!(attributes(&[8, 0, 3, 0x80, 1, 2]).count(), 0);
        assert_eq!(attributes(&[5, 0, 3, 0x80, 1]).collect::<Vec<_>>(), [(3, &[1u8][..])]);
    }
}
