//! Deeds gathered to be done together.

use super::refused;
use crate::{Error, Result};
use netlink_packet_route::RouteNetlinkMessage;
use nix::errno::Errno;

/// Deeds in one message: their answers must fit the socket's buffer, and each takes near a kilobyte of it.
pub(super) const PART: usize = 64;

/// What is to be done, in order.
#[derive(Default)]
pub struct Batch {
    deeds: Vec<Deed>,
}

pub(super) struct Deed {
    /// In words, for the error.
    pub(super) what: String,
    pub(super) message: RouteNetlinkMessage,
    pub(super) flags: u16,
    /// What counts as done all the same.
    forgiven: &'static [Errno],
    /// Of a device to be added: what the kernel may lack.
    kind: Option<&'static str>,
}

impl Batch {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn is_empty(&self) -> bool {
        self.deeds.is_empty()
    }

    pub(super) fn push(&mut self, what: String, message: RouteNetlinkMessage, flags: u16) -> &mut Deed {
        let at = self.deeds.len();
        self.deeds.push(Deed {
            what,
            message,
            flags,
            forgiven: &[],
            kind: None,
        });
        &mut self.deeds[at]
    }

    pub(super) fn into_deeds(self) -> Vec<Deed> {
        self.deeds
    }

    #[cfg(test)]
    pub(super) fn messages(&self) -> impl Iterator<Item = &RouteNetlinkMessage> {
        self.deeds.iter().map(|deed| &deed.message)
    }
}

impl Deed {
    pub(super) fn forgive(&mut self, errnos: &'static [Errno]) {
        self.forgiven = errnos;
    }

    pub(super) fn of_kind(&mut self, kind: &'static str) {
        self.kind = Some(kind);
    }

    pub(super) fn judge(&self, errno: Errno, says: Option<String>) -> Result<()> {
        match (errno, self.kind) {
            (Errno::UnknownErrno, _) => Ok(()),
            (errno, _) if self.forgiven.contains(&errno) => Ok(()),
            (Errno::EOPNOTSUPP, Some(kind)) => Err(Error::Unsupported(format!("the kernel has no {kind} devices"))),
            (errno, _) => Err(refused(&self.what, errno, says)),
        }
    }
}
