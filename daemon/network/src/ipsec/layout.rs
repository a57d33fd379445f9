//! How the kernel's messages about IPsec lie in bytes (`linux/xfrm.h`).

use super::MARK;
use crate::firewall::nfnetlink::attribute;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// One direction between two hosts by one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Association {
    pub from: IpAddr,
    pub to: IpAddr,
    pub spi: u32,
    /// Sixteen bytes of AES and four of salt.
    pub key: [u8; 20],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    In = 0,
    Out = 1,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    Encrypt,
    Block,
}

/// Which packets, and what becomes of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    pub direction: Direction,
    /// An unspecified address stands for everyone.
    pub from: IpAddr,
    pub to: IpAddr,
    /// The UDP port that they go to.
    pub port: u16,
    pub verdict: Verdict,
    /// The association that is used; 0 = any.
    pub spi: u32,
}

const ESP: u8 = 50;
const UDP: u8 = 17;
const TRANSPORT: u8 = 0;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const FLAG_ESN: u8 = 128;
const ACTION_BLOCK: u8 = 1;
/// Smaller goes before greater.
const BEFORE: u32 = 1000;
const AFTER: u32 = 2000;
/// How far packets may overtake each other.
const WINDOW: u32 = 1024;

const XFRMA_TMPL: u16 = 5;
const XFRMA_ALG_AEAD: u16 = 18;
const XFRMA_REPLAY_ESN_VAL: u16 = 23;

const ALGORITHM: &str = "rfc4106(gcm(aes))";
const NAME: usize = 64;
const TAG_BITS: u32 = 128;

/// `struct xfrm_selector`.
const SELECTOR: usize = 56;
/// `struct xfrm_usersa_info`.
const STATE: usize = 224;
/// `struct xfrm_userpolicy_info`.
const POLICY: usize = 168;

fn family(address: IpAddr) -> u16 {
    if address.is_ipv4() { AF_INET } else { AF_INET6 }
}

/// `xfrm_address_t`.
fn address(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&address.octets());
            bytes
        }
        IpAddr::V6(address) => address.octets(),
    }
}

fn put(into: &mut [u8], at: usize, bytes: &[u8]) {
    into[at..at + bytes.len()].copy_from_slice(bytes);
}

/// No end by bytes or packets; no times are set.
fn without_end(into: &mut [u8], at: usize) {
    for limit in 0..4 {
        put(into, at + limit * 8, &u64::MAX.to_ne_bytes());
    }
}

impl Association {
    /// The body of `XFRM_MSG_NEWSA`.
    pub fn message(&self) -> Vec<u8> {
        let mut state = vec![0; STATE];
        // The selector is empty: everything may go by it.
        put(&mut state, 56, &address(self.to));
        put(&mut state, 72, &self.spi.to_be_bytes());
        state[76] = ESP;
        put(&mut state, 80, &address(self.from));
        without_end(&mut state, 96);
        put(&mut state, 208, &MARK.to_ne_bytes());
        put(&mut state, 212, &family(self.to).to_ne_bytes());
        state[214] = TRANSPORT;
        state[216] = FLAG_ESN;
        state.extend(attribute(XFRMA_ALG_AEAD, &self.algorithm()));
        state.extend(attribute(XFRMA_REPLAY_ESN_VAL, &replay()));
        state
    }

    /// `struct xfrm_algo_aead`.
    fn algorithm(&self) -> Vec<u8> {
        let mut bytes = ALGORITHM.as_bytes().to_vec();
        bytes.resize(NAME, 0);
        bytes.extend((u32::try_from(self.key.len()).unwrap_or_default() * 8).to_ne_bytes());
        bytes.extend(TAG_BITS.to_ne_bytes());
        bytes.extend(self.key);
        bytes
    }

    /// The body of `XFRM_MSG_DELSA`: `struct xfrm_usersa_id`.
    pub fn id(to: IpAddr, spi: u32) -> Vec<u8> {
        let mut bytes = vec![0; 24];
        put(&mut bytes, 0, &address(to));
        put(&mut bytes, 16, &spi.to_be_bytes());
        put(&mut bytes, 20, &family(to).to_ne_bytes());
        bytes[22] = ESP;
        bytes
    }

    /// Where one leads and its number, of a message about one that bears the mark.
    pub fn read(body: &[u8], mark: u32) -> Option<(IpAddr, u32)> {
        if number(body, 208)? != mark {
            return None;
        }
        let to = read_address(body, 56, half(body, 212)?)?;
        Some((to, number(body, 72)?.to_be()))
    }
}

/// `struct xfrm_replay_state_esn`, with nothing counted yet: the words of its window are left for the kernel to make.
fn replay() -> Vec<u8> {
    let mut bytes = vec![0; 24];
    put(&mut bytes, 0, &(WINDOW / 32).to_ne_bytes());
    put(&mut bytes, 20, &WINDOW.to_ne_bytes());
    bytes
}

impl Policy {
    fn selector(&self) -> Vec<u8> {
        let mut bytes = vec![0; SELECTOR];
        let length = |of: IpAddr| match of {
            of if of.is_unspecified() => 0,
            IpAddr::V4(_) => 32,
            IpAddr::V6(_) => 128,
        };
        put(&mut bytes, 0, &address(self.to));
        put(&mut bytes, 16, &address(self.from));
        put(&mut bytes, 32, &self.port.to_be_bytes());
        put(&mut bytes, 34, &u16::MAX.to_be_bytes());
        put(&mut bytes, 40, &family(self.to).to_ne_bytes());
        bytes[42] = length(self.to);
        bytes[43] = length(self.from);
        bytes[44] = UDP;
        bytes
    }

    /// The body of `XFRM_MSG_UPDPOLICY`, which makes what is not there.
    pub fn message(&self) -> Vec<u8> {
        let mut bytes = self.selector();
        bytes.resize(POLICY, 0);
        without_end(&mut bytes, SELECTOR);
        let (priority, action) = match self.verdict {
            Verdict::Encrypt => (BEFORE, 0),
            Verdict::Block => (AFTER, ACTION_BLOCK),
        };
        put(&mut bytes, 152, &priority.to_ne_bytes());
        bytes[160] = self.direction as u8;
        bytes[161] = action;
        if self.verdict == Verdict::Encrypt {
            bytes.extend(attribute(XFRMA_TMPL, &self.template()));
        }
        bytes
    }

    /// `struct xfrm_user_tmpl`.
    fn template(&self) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        put(&mut bytes, 0, &address(self.to));
        put(&mut bytes, 16, &self.spi.to_be_bytes());
        bytes[20] = ESP;
        put(&mut bytes, 24, &family(self.to).to_ne_bytes());
        put(&mut bytes, 28, &address(self.from));
        put(&mut bytes, 44, &MARK.to_ne_bytes());
        bytes[48] = TRANSPORT;
        // Any algorithm: the association has the one.
        for at in [52, 56, 60] {
            put(&mut bytes, at, &u32::MAX.to_ne_bytes());
        }
        bytes
    }

    /// The body of `XFRM_MSG_DELPOLICY`: `struct xfrm_userpolicy_id`.
    pub fn id(&self) -> Vec<u8> {
        let mut bytes = self.selector();
        bytes.resize(64, 0);
        bytes[60] = self.direction as u8;
        bytes
    }

    /// One of UDP to that port, of a message about a policy.
    pub fn read(body: &[u8], port: u16) -> Option<Self> {
        let direction = match body.get(160)? {
            0 => Direction::In,
            1 => Direction::Out,
            _ => return None,
        };
        let of_port = *body.get(44)? == UDP && half(body, 32)?.to_be() == port && half(body, 34)? == u16::MAX;
        let family = half(body, 40)?;
        let template =
            crate::firewall::nfnetlink::attributes(body.get(POLICY..)?).find(|(kind, _)| *kind == XFRMA_TMPL);
        let policy = Self {
            direction,
            from: read_address(body, 16, family)?,
            to: read_address(body, 0, family)?,
            port,
            verdict: match body.get(161)? {
                0 => Verdict::Encrypt,
                _ => Verdict::Block,
            },
            spi: template
                .and_then(|(_, bytes)| number(bytes, 16))
                .unwrap_or_default()
                .to_be(),
        };
        of_port.then_some(policy)
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn read_address(bytes: &[u8], at: usize, family: u16) -> Option<IpAddr> {
    let bytes: [u8; 16] = bytes.get(at..at + 16)?.try_into().ok()?;
    match family {
        AF_INET => Some(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).into()),
        AF_INET6 => Some(Ipv6Addr::from(bytes).into()),
        _ => None,
    }
}
