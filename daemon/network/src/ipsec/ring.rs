//! Keys, and what follows from them.

use super::Peer;
use super::layout::Association;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;
use std::net::IpAddr;

/// One key of the ring.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret(#[serde(with = "hexadecimal")] [u8; 32]);

/// The keys that hosts share, as the cluster has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ring {
    pub previous: Option<Secret>,
    /// What is sent is sent by it.
    pub current: Secret,
    pub next: Secret,
    /// Seconds since 1970 at which it became so.
    pub since: u64,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    pub fn from_random(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The key of one direction between two hosts, and the number that it is found by.
    pub(super) fn between(&self, from: &Peer, to: &Peer) -> Association {
        let derived = self.derive(b"key", from, to);
        let named = self.derive(b"spi", from, to);
        let mut key = [0; 20];
        key.copy_from_slice(&derived[..20]);
        let number = u32::from_be_bytes([named[0], named[1], named[2], named[3]]);
        Association {
            from: from.address,
            to: to.address,
            // Numbers up to 255 are the IANA's (RFC 4303, 2.1).
            spi: number.max(256),
            key,
        }
    }

    /// Over everything that tells this use from any other, each part with its length before it.
    fn derive(&self, of: &[u8], from: &Peer, to: &Peer) -> [u8; 32] {
        let mut text = Vec::new();
        for part in [
            of,
            &octets(from.address),
            from.word.as_bytes(),
            &octets(to.address),
            to.word.as_bytes(),
        ] {
            text.extend(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            text.extend(part);
        }
        hmac(&self.0, &text)
    }
}

/// HMAC-SHA-256 (RFC 2104).
fn hmac(key: &[u8; 32], text: &[u8]) -> [u8; 32] {
    const BLOCK: usize = 64;
    let mut pad = [0_u8; BLOCK];
    pad[..key.len()].copy_from_slice(key);
    let inner = Sha256::new()
        .chain_update(pad.map(|byte| byte ^ 0x36))
        .chain_update(text);
    let outer = Sha256::new().chain_update(pad.map(|byte| byte ^ 0x5c));
    outer.chain_update(inner.finalize()).finalize().into()
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

impl Ring {
    /// A first ring.
    pub fn new(now: u64, mut random: impl FnMut() -> Secret) -> Self {
        Self {
            previous: None,
            current: random(),
            next: random(),
            since: now,
        }
    }

    /// The next key becomes the one in use, which every host can hear by already.
    pub fn turned(&self, now: u64, fresh: Secret) -> Self {
        Self {
            previous: Some(self.current.clone()),
            current: self.next.clone(),
            next: fresh,
            since: now,
        }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Secret> {
        self.previous.iter().chain([&self.current, &self.next])
    }
}

mod hexadecimal {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(bytes: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        serializer.serialize_str(&text)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
        let text = String::deserialize(deserializer)?;
        let bad = || D::Error::custom("64 hex digits are expected");
        if text.len() != 64 || !text.is_ascii() {
            return Err(bad());
        }
        let mut bytes = [0; 32];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[index * 2..index * 2 + 2], 16).map_err(|_| bad())?;
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(last: u8, word: &str) -> Peer {
        Peer {
            address: IpAddr::from([192, 0, 2, last]),
            word: word.to_owned(),
        }
    }

    #[test]
    fn as_rfc_4231_says() {
        let mut key = [0; 32];
        key[..20].fill(0x0b);
        let text: String = hmac(&key, b"Hi There")
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(text, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    }

    #[test]
    fn every_direction_has_a_key_of_its_own_that_both_ends_know() {
        let secret = Secret::from_random([7; 32]);
        let (one, other) = (peer(1, "a"), peer(2, "b"));
        let there = secret.between(&one, &other);
        assert_eq!(there, secret.between(&one, &other));
        let others = [
            secret.between(&other, &one),
            secret.between(&peer(1, "later"), &other),
            Secret::from_random([8; 32]).between(&one, &other),
        ];
        for other in others {
            assert!(other.key != there.key && other.spi != there.spi);
        }
        assert!(there.spi > 255);
        assert!(!format!("{secret:?}").contains('7'));
    }

    #[test]
    fn who_turned_first_is_heard_by_who_has_not() {
        let mut count = 0;
        let mut random = || {
            count += 1;
            Secret::from_random([count; 32])
        };
        let first = Ring::new(1, &mut random);
        let second = first.turned(2, random());
        assert!(first.all().any(|secret| *secret == second.current));
        assert!(second.all().any(|secret| *secret == first.current));
        assert_eq!(second.previous, Some(first.current.clone()));
        let text = serde_json::to_string(&second).unwrap();
        assert_eq!(serde_json::from_str::<Ring>(&text).unwrap(), second);
        assert!(serde_json::from_str::<Ring>(&text.replace("01", "0x")).is_err());
    }
}
